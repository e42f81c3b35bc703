"""A real PostgreSQL: the same answers as a file gives, also after kills and a server that stops.

pytest -m fire tests/fire/test_server.py      # needs initdb, pg_ctl and psycopg
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.fire.forks import images
from tests.fire.storage import ABLATE, ROOT, SEARCH

pytestmark = [
    pytest.mark.fire,
    pytest.mark.skipif(not shutil.which("initdb"), reason="needs PostgreSQL's initdb and pg_ctl"),
]
SECRET, PORT = "s3cr3t-w0rd", 54_329
NOBODY = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root


class Server:
    """A server in a folder, on a socket there and a port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if NOBODY:
            shutil.chown(folder, NOBODY)
        self.call("initdb", "-D", folder / "data", "-U", "owner", "-A", "trust")
        self.start()
        self.query(f"CREATE ROLE me LOGIN PASSWORD '{SECRET}'")

    def call(self, *words: object) -> None:
        subprocess.run(
            [*map(str, words)], check=True, user=NOBODY, cwd=self.folder, capture_output=True
        )

    def start(self) -> None:
        own = f"-p {PORT} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        log = self.folder / "log"
        self.call("pg_ctl", "-D", self.folder / "data", "-l", log, "-w", "-o", own, "start")

    def stop(self, how: str = "immediate") -> None:
        self.call("pg_ctl", "-D", self.folder / "data", "-m", how, "stop")

    def query(self, text: str) -> None:
        where = ("-h", self.folder, "-p", PORT, "-U", "owner", "-d", "postgres")
        self.call("psql", *where, "-c", text)

    def database(self, name: str) -> str:
        self.query(f"CREATE DATABASE {name} OWNER me")
        return f"postgresql+psycopg://me:{SECRET}@127.0.0.1:{PORT}/{name}"


@pytest.fixture(scope="module")
def server():
    pytest.importorskip("psycopg")
    with TemporaryDirectory() as folder:  # pytest's own are shut to others again and again
        found = Server(Path(folder))
        yield found
        found.stop()


@pytest.fixture
def at(tmp_path):
    images(tmp_path)
    return tmp_path


def environment(folder):
    own = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return os.environ | own | {"BLOCKSEARCH_DATA": str(folder / "data")}


def command(words, place, database):
    words = [database if word in ("a.db", "s.db") else word for word in words]
    return {"args": [sys.executable, "-m", "blocksearch", *words], "cwd": place,
            "env": environment(place), "text": True, "stdout": -1, "stderr": -1}  # fmt: skip


def run(words, place, database, code=0):
    done = subprocess.run(**command(words, place, database), check=False)
    assert done.returncode == code, done.stderr
    assert SECRET not in done.stdout + done.stderr
    if code:
        assert done.stderr.splitlines()[-1].startswith("blocksearch: ")
        assert "Traceback" not in done.stderr
    return done.stdout


def told(words, place, database):
    """Return an answer, where it says neither the database nor the time."""
    found = json.loads(run([*words, "--json"], place, database))
    return _without(found, ("seconds", "date", "created", "location", "title", "db"))


def _without(found, names):
    match found:
        case dict():
            return {key: _without(own, names) for key, own in found.items() if key not in names}
        case list():
            return [_without(own, names) for own in found]
    return found


QUESTIONS = [
    [*ABLATE, "2", "--quiet"],
    [*SEARCH, "--trials", "4", "--quiet"],
    ["pareto", "s.db"],
    ["importance", "s.db"],
    ["test", "s.db", "--workers", "1", "--quiet"],
    [*SEARCH, "--trials", "6", "--quiet"],
    [*ABLATE, "3", "--quiet"],
    ["pareto", "s.db"],
    ["test", "s.db", "--workers", "1", "--quiet"],
]


def test_a_server_gives_what_a_file_gives(server, at):
    url = server.database("same")
    for words in QUESTIONS:
        assert told(words, at, url) == told(words, at, "file.db"), words
    run(["verify", url, "--workers", "1"], at, url)
    # and what is in the one is in the other
    run(["merge", "file.db", url], at, url)
    assert " 0 runs copied" in f" {run(['merge', url, 'file.db'], at, url)}"
    empty = server.database("empty")
    run(["merge", empty, "file.db"], at, empty, code=2)
    run([*ABLATE, "1", "--quiet"], at, empty)
    run(["merge", empty, "file.db"], at, empty)
    assert " 0 runs copied" in f" {run(['merge', empty, url], at, empty)}"


def test_what_is_wrong_is_one_line_without_the_password(server, at):
    url = server.database("wrong")
    run(["pareto", url], at, url, code=2)
    run(["test", url], at, url, code=2)
    run([*ABLATE, "1", "--quiet"], at, url.replace("wrong", "no_such"), code=2)
    run([*ABLATE, "1", "--quiet"], at, url.replace(str(PORT), "1"), code=2)
    run([*ABLATE, "1", "--quiet"], at, url.replace("me:", "nobody:"), code=2)
    run(["merge", url, url], at, url, code=2)
    server.query("ALTER ROLE me SET default_transaction_read_only = on")
    run([*ABLATE, "1", "--quiet"], at, url, code=2)
    server.query("ALTER ROLE me RESET default_transaction_read_only")


@contextmanager
def begun(words, place, database, lines):
    """Begin a command, and wait until it said so many lines of results."""
    process = subprocess.Popen(**command(words, place, database))
    assert process.stderr is not None
    seen = 0
    while seen < lines and (line := process.stderr.readline()):
        seen += line.startswith("[")
    yield process
    process.communicate(timeout=60)


def test_a_search_that_is_killed_goes_on_to_the_same_front(server, at):
    url, words = server.database("killed"), [*SEARCH, "--trials", "6"]
    for results in (0, 1, 3, 5):
        with begun(words, at, url, results) as process:
            process.send_signal(signal.SIGKILL)
    assert told([*words, "--quiet"], at, url) == told([*words, "--quiet"], at, "whole.db")


def test_a_server_that_stops_is_one_line_and_the_command_goes_on(server, at):
    url = server.database("stops")
    for words, results in (([*ABLATE, "4"], 2), ([*SEARCH, "--trials", "6"], 3)):
        with begun(words, at, url, results) as process:
            server.stop()
            said = process.communicate(timeout=60)[1]
        assert process.returncode == 2
        assert "Traceback" not in said
        assert len([line for line in said.splitlines() if line.startswith("blocksearch: ")]) == 1
        assert SECRET not in said
        server.start()
        time.sleep(0.5)
        assert told([*words, "--quiet"], at, url) == told([*words, "--quiet"], at, "whole.db")
