"""Storage that fails, is full or is only to be read; and what a cut-off writer leaves."""

import ctypes
import errno
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager

import pytest

from blocksearch import cli
from blocksearch.runs.ledger import Ledger
from tests.fire import storage
from tests.fire.forks import images
from tests.runs.test_ledger import make_job, make_run
from tests.search.made import searched

compiled = pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler, as cc")

WRITE = """
import os, sys
try:
    for name in "abc":
        os.write(os.open(os.path.join(sys.argv[1], name), os.O_WRONLY | os.O_CREAT), b"x")
except OSError as error:
    os._exit(error.errno)
"""


@compiled
def test_the_shim_lets_the_call_fail_that_it_is_told_to(tmp_path):
    with storage.shimmed() as environment:
        page = storage.shared(environment[storage.SHIM])
        ends = []
        for nth, fault in [(0, "EIO"), (2, "EIO"), (3, "ENOSPC"), (7, "full")]:
            folder = tmp_path / str(nth)
            folder.mkdir()
            storage.arm(page, folder, nth, storage.FAULTS[fault])
            command = [sys.executable, "-c", WRITE, folder]
            ends.append(subprocess.run(command, env=environment, check=False).returncode)
            ends.append(sorted(each.name for each in folder.iterdir() if each.stat().st_size))
    assert ends == [0, [*"abc"], errno.EIO, [], errno.ENOSPC, ["a"], 0, [*"abc"]]
    assert page.counted == 6  # three files are made and written


COMMANDS = [word for name in ("ablate", "search", "report") for word in ("--only", name)]


@compiled
@pytest.mark.slow
@pytest.mark.parametrize(
    "asked",
    [
        [*COMMANDS, "--every", "25", "--in-turn"],
        [*COMMANDS, "--within", "tmp", "--fault", "full"],
    ],
)
def test_a_call_that_fails_is_one_line_and_the_next_command_is_right(asked):
    done = subprocess.run(
        [sys.executable, "-m", "tests.fire.storage", *asked],
        cwd=storage.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n0 wrong" in done.stdout


CUT_OFF = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.executescript("PRAGMA journal_mode=DELETE; PRAGMA cache_size=1; BEGIN IMMEDIATE")
connection.execute("UPDATE ledger_runs SET reason = 'half done'")
connection.execute("CREATE TABLE large (text TEXT)")
connection.executemany("INSERT INTO large VALUES (?)", [("x" * 4000,)] * 100)
os._exit(9)
"""


def test_what_a_cut_off_writer_left_is_taken_back_by_whoever_reads(tmp_path):
    file = tmp_path / "a.db"
    with closing(Ledger(file)) as ledger:
        ledger.add_all([(make_job(), make_run(make_job()))])
        before = ledger.runs()
    subprocess.run([sys.executable, "-c", CUT_OFF, file], check=False)
    assert (tmp_path / "a.db-journal").stat().st_size
    with closing(Ledger(file, read_only=True)) as ledger:
        assert ledger.runs()[0].reason == before[0].reason
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            ledger.location.connect(read_only=True).execute("CREATE TABLE t (a)")
    assert not (tmp_path / "a.db-journal").exists()


@contextmanager
def without_rights():
    """Let permissions hold for root as well, to whom every file is else to be written."""
    libc, head = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522, 0)
    rights = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; low and high
    assert libc.capget(head, rights) == 0
    before = rights[0]
    rights[0] &= ~(1 << 1)  # CAP_DAC_OVERRIDE
    assert libc.capset(head, rights) == 0
    try:
        yield
    finally:
        rights[0] = before
        libc.capset(head, rights)


@pytest.fixture(scope="module")
def read_only(tmp_path_factory):
    place = tmp_path_factory.mktemp("place")
    folder = place / "ro"
    folder.mkdir()
    images(place)
    searched(folder / "s.db", trials=8)
    for file in (folder / "a.db", place / "b.db"):
        with closing(Ledger(file)) as ledger:
            ledger.add_all([(make_job(len(file.parts)), make_run(make_job(len(file.parts))))])
    folder.chmod(0o555)
    for each in folder.iterdir():
        each.chmod(0o444)
    yield place
    folder.chmod(0o755)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "refused"),
    [
        ("pareto ro/s.db", ""),
        ("pareto ro/s.db --save ro/a.html", "ro/a.html cannot be written: Permission denied"),
        ("merge b.db ro/a.db", ""),
        ("merge ro/a.db b.db", "ro/a.db: attempt to write a readonly database"),
        ("search small.py --dataset own.npz --db ro/s.db", "ro/s.db-small-own.lock cannot be made"),
        ("search small.py --dataset own.npz --db ro/new.db", "cannot be made: Permission denied"),
        ("ablate --factor residual --dataset own.npz --db ro/a.db", "ro/a.db: "),
        ("ablate --factor residual --dataset own.npz --db ro/new.db", "ro/new.db: "),
        (
            "ablate --factor residual --dataset own.npz --db ro/in/new.db",
            "a folder that exists, but got ro/in/new.db",
        ),
        (
            "train effnet --dataset own.npz --db c.db --data-root ro/data",
            "images of your own cannot be written under ro/data: Permission denied",
        ),
    ],
)
def test_in_a_read_only_folder_reading_works_and_writing_is_one_line(
    read_only, monkeypatch, capsys, words, refused
):
    quiet = ["--quiet"] * words.startswith(("search", "ablate", "train"))
    monkeypatch.chdir(read_only)
    monkeypatch.setenv("BLOCKSEARCH_DATA", "data")
    monkeypatch.setenv("XDG_CACHE_HOME", str(read_only / "ro" / "cache"))
    monkeypatch.setattr(sys, "argv", ["blocksearch", *words.split(), *quiet])
    before = {each: each.read_bytes() for each in (read_only / "ro").iterdir()}
    with without_rights():
        code = cli._run()
    said = capsys.readouterr().err
    assert {each: each.read_bytes() for each in (read_only / "ro").iterdir()} == before
    assert code == (2 if refused else 0), said
    if refused:
        assert refused in said
        assert said.count("\n") == 1
