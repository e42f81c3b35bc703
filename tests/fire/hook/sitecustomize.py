"""Strike a process at a moment that can be named: its Nth statement of SQLite, commit, sync,
rename, removal or opened file, its Nth line on stderr, or after so many seconds.

Python imports this by itself in every process that has the folder on PYTHONPATH: a command and its
workers run as they are, and no code of theirs knows of it. BLOCKSEARCH_FIRE names a folder with a
list of strikes (`strikes.json`); each is carried out once, by whoever comes to its moment first.
Forks are armed by hand (`arm`). With BLOCKSEARCH_CLOCK the system's clock is set, by so many
seconds as `ahead` says.
"""

import datetime
import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

WRITES = ("insert", "update", "delete", "create", "begin", "commit", "pragma journal_mode")
KEPT_EVERY = 0.05  # seconds of training between two checkpoints, which are else too few to be hit

ahead = 0.0  # seconds by which the clock is set


def role(line: list[str]) -> str | None:
    """Say what a process is by its command line: the driver, a worker, or none of ours."""
    if any("multiprocessing.spawn" in each for each in line):
        return "worker"
    return "driver" if line[1:3] == ["-m", "blocksearch"] else None


class Striker:
    """Counts what a process does, and strikes it where a moment comes."""

    def __init__(self, folder: Path, own: str) -> None:
        self.folder = folder
        self.begin(own)

    def begin(self, own: str) -> None:
        """Count from the beginning, as a driver or as a worker."""
        self.counts = Counter[str]()
        every = json.loads((self.folder / "strikes.json").read_text())
        self.strikes = [each for each in every if each["who"] == own]
        for each in self.strikes:
            if each["at"] in ("seconds", "processor"):
                threading.Thread(target=self.later, args=(each,), daemon=True).start()
        if own == "worker":
            _keep_often()

    def later(self, strike: dict) -> None:
        """Strike after seconds on the wall, or of the processor, which a busy machine leaves as
        they are."""
        clock = time.process_time if strike["at"] == "processor" else time.monotonic
        start = clock() if strike["at"] == "seconds" else 0.0
        while clock() - start < strike["number"]:
            time.sleep(0.01)
        self.carry_out(strike, f"{strike['number']} s")

    def came(self, kind: str, what: str) -> None:
        """Count a moment of a kind, and strike if it is one that was asked for."""
        self.counts[kind] += 1
        for each in self.strikes:
            if (each["at"], each["number"]) == (kind, self.counts[kind]):
                if kind == "commit":  # while SQLite writes and syncs
                    threading.Thread(target=self.soon, args=(each, what), daemon=True).start()
                else:
                    self.carry_out(each, what)

    def soon(self, strike: dict, what: str) -> None:
        """Strike a moment later."""
        time.sleep(strike["delay"])
        self.carry_out(strike, what)

    def carry_out(self, strike: dict, what: str) -> None:
        """Note who was struck where, and strike; what a handler of Python answers is sent by the
        campaign, because here it would be raised in the middle of a callback."""
        token = self.folder / f"struck-{strike['id']}"
        note = json.dumps({**strike, "pid": os.getpid(), "what": what[:60]}).encode()
        try:
            new = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            return
        os.write(new, note)
        os.close(new)
        match strike["how"]:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "kill group":
                os.killpg(os.getpgid(0), signal.SIGKILL)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)

    def listen(self) -> None:
        """Have every moment told."""
        sync, write, connect = os.fsync, sys.stderr.write, sqlite3.connect

        def fsync(file: int) -> None:
            self.came("fsync", "")
            sync(file)

        def said(text: str) -> int:
            found = write(text)
            if text.strip():
                self.came("line", text)
            return found

        def connected(*given: Any, **named: Any) -> sqlite3.Connection:
            made = connect(*given, **named)
            made.set_trace_callback(self.traced)
            return made

        os.fsync, sys.stderr.write = fsync, said  # type: ignore[method-assign]
        sqlite3.connect = sqlite3.dbapi2.connect = connected
        sys.addaudithook(self.heard)

    def heard(self, event: str, arguments: tuple) -> None:
        """Hear what Python tells of files."""
        match event:
            case "os.rename" | "os.remove":
                self.came(event[3:], str(arguments[0]))
            case "open" if arguments[2] & (os.O_WRONLY | os.O_RDWR) and arguments[0] != os.devnull:
                if not str(arguments[0]).startswith(str(self.folder)):
                    self.came("open", str(arguments[0]))

    def traced(self, statement: str) -> None:
        """Hear a statement that SQLite is about to carry out."""
        plain = " ".join(statement.split()).lower()
        if plain.startswith(WRITES):
            self.came("statement", plain)
        if plain.startswith("commit"):
            self.came("commit", plain)


def unbind_clock() -> None:
    """Have the system's clock go `ahead` of its own."""
    real = time.time

    class Stepped(datetime.datetime):
        @classmethod
        def now(cls, zone: datetime.tzinfo | None = None) -> datetime.datetime:
            return super().now(zone) + datetime.timedelta(seconds=ahead)

    time.time = lambda: real() + ahead
    datetime.datetime = Stepped  # type: ignore[misc]


def _keep_often() -> None:
    from blocksearch.training import weights

    weights.SECONDS = KEPT_EVERY


def arm(folder: Path, own: str) -> Striker:
    """Have this process struck as a driver or a worker."""
    found = Striker(folder, own)
    found.listen()
    return found


def begin() -> None:
    """Arm this process, if it is one to be struck."""
    if "BLOCKSEARCH_CLOCK" in os.environ:
        unbind_clock()
    own = role(sys.orig_argv)
    if own is None or "BLOCKSEARCH_FIRE" not in os.environ:
        return
    arm(Path(os.environ["BLOCKSEARCH_FIRE"]), own)


begin()
