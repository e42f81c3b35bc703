"""A command that is struck while it runs, and goes on: begun in a folder of its own, watched, and
judged by how it ends and what it leaves.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.fire import kept

HERE = Path(__file__).parent
SOON = 5.0  # seconds in which a command ends that is asked to, on an idle machine
ENDLESS = 900.0  # seconds after which a command counts as one that hangs
NOISE = ("Traceback", "Exception ignored", "resource_tracker", "Fatal Python error")
ANSWERED = {
    "term": [signal.SIGTERM],
    "hup": [signal.SIGHUP],
    "interrupt": [signal.SIGINT],
    "interrupt twice": [signal.SIGINT] * 2,
}
# moments of a process with their shares, and how far they are counted


def load() -> float:
    """By how much slower than alone a process may be here."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@dataclass
class History:
    """A command that is struck and goes on, in a folder of its own."""

    folder: Path
    command: list[str]
    data: Path
    known: kept.Rows = field(default_factory=dict)  # what was seen to be committed
    wrong: list[str] = field(default_factory=list)
    struck: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0  # seconds from a signal, or from a driver's end, until all had ended
    said: str = ""  # on stderr, and on stdout
    answer: bytes = b""

    @property
    def fire(self) -> Path:
        """The folder of the hook, beside the command's own."""
        return self.folder.with_name(f"{self.folder.name}-fire")

    def begin(self, strikes: list[dict]) -> subprocess.Popen[bytes]:
        """Begin the command, with what is to strike it."""
        shutil.rmtree(self.fire, ignore_errors=True)
        self.fire.mkdir()
        (self.fire / "strikes.json").write_text(json.dumps(strikes))
        path = os.pathsep.join(map(str, (HERE / "hook", HERE.parents[1])))
        own = {"PYTHONPATH": path, "BLOCKSEARCH_FIRE": str(self.fire), "COLUMNS": "300"}
        own |= {
            "BLOCKSEARCH_DATA": str(self.data),
        }
        command = [sys.executable, "-m", "blocksearch", *self.command, "--workers", "2", "--json"]
        with (self.fire / "out").open("wb") as out, (self.fire / "err").open("wb") as err:
            return subprocess.Popen(
                command,
                stdout=out,
                stderr=err,
                env=os.environ | own,
                cwd=self.folder,
                start_new_session=True,
                preexec_fn=_hear,  # noqa: PLW1509 (there are no threads)
            )

    def attempt(self, strikes: list[dict]) -> int:
        """Carry the command out once, struck or not, and look at what it left; return its code."""
        before = len(self.known.get(self._counted, []))
        process = self.begin(strikes)
        asked = self._watch(process, {strike["id"]: strike for strike in strikes})
        ended = time.monotonic()
        self.wrong += [f"{each} is still there" for each in self._left(asked or ended)]
        self.said = (self.fire / "err").read_text(errors="replace")
        self.answer = kept.timeless((self.fire / "out").read_bytes())
        self._judge(process.returncode, asked is not None)
        rows, sound = kept.read_dead(self.folder / "a.db", self.fire)
        self.wrong += [f"SQLite says {sound}"] if sound != "ok" else []
        self._see(rows)
        told = len(re.findall(r"^\[\d+/\d+\] ", self.said, re.MULTILINE))
        if told > len(rows.get(self._counted, [])) - before and "from the ledger" not in self.said:
            self.wrong.append(f"{told} results were told, and fewer are kept")
        return process.returncode

    @property
    def _counted(self) -> str:
        return "search_steps" if self.command[0] == "search" else "ledger_runs"

    def _see(self, rows: kept.Rows) -> None:
        self.wrong += kept.lost(self.known, rows) + kept.wrong(rows)
        self.known = rows or self.known

    def _watch(self, process: subprocess.Popen[bytes], strikes: dict[int, dict]) -> float | None:
        """Send what the hook asks for until the command ends; return when it was first asked to."""
        asked, stopped, looked = None, dict[int, tuple[float, dict]](), time.monotonic()
        began = looked
        while process.poll() is None:
            now = time.monotonic()
            for token in self.fire.glob("struck-*"):
                strike = self._read(token, strikes)
                if strike and strike["how"] == "stop":
                    stopped[strike["pid"]] = now + strike["held"], strike
                elif strike and strike["how"] in ANSWERED:
                    asked = (asked or now) if strike["who"] == "driver" else asked
                    _send(strike)
            for pid, (until, strike) in list(stopped.items()):
                if now >= until:
                    del stopped[pid]
                    self.struck["kill"] += strike["then"] == "kill"
                    _signal(pid, signal.SIGKILL if strike["then"] == "kill" else signal.SIGCONT)
            if now - looked > 1.0 and (rows := kept.read_live(self.folder / "a.db")):
                looked = now
                self._see(rows)
            if now - began > ENDLESS * load():
                self.wrong.append("it hangs")
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(0.05)
        for token in self.fire.glob("struck-*"):  # that came in the last moment
            self._read(token, strikes)
        for pid in stopped:  # one that is stopped could not notice that its driver is gone
            _signal(pid, signal.SIGCONT)
        return asked

    def _read(self, token: Path, strikes: dict[int, dict]) -> dict | None:
        """Return who was struck, the first time that a token is seen whole."""
        try:
            strike = json.loads(token.read_text())
        except ValueError:
            return None
        if strikes.pop(strike["id"], None) is None:
            return None
        self.struck[strike["how"].partition(" group")[0]] += 1
        self.struck[strike["who"]] += 1
        return strike

    def _left(self, since: float) -> list[str]:
        """Return processes that are there 5 seconds after the driver's end, longer where the
        machine is busy; end them."""
        deadline = time.monotonic() + SOON * load()
        while (there := list(self._own())) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.slowest = max(self.slowest, (time.monotonic() - since) / load())
        for each in there:
            _signal(each.pid, signal.SIGKILL)
        return [f"process {each.pid}" for each in there]

    def _own(self) -> Iterator[psutil.Process]:
        for each in psutil.process_iter():
            with suppress(psutil.Error):
                ours = each.environ().get("BLOCKSEARCH_FIRE") == str(self.fire)
                if ours and each.status() != psutil.STATUS_ZOMBIE:
                    yield each

    def _judge(self, code: int, asked: bool) -> None:
        """Note an end that is none of those that its strikes explain."""
        last = self.said.strip().splitlines()[-1:] or [""]
        noise = [each for each in NOISE if each in self.said]
        killed = any(self._ends_the_driver())
        died = any(each in self.said for each in ("worker process died", "times ("))
        explained = {0: True, -9: killed, 130: asked, 1: died, 2: died}
        if asked and (self.answer or not self.said):  # after it had answered, or before it began
            explained |= dict.fromkeys((-signal.SIGINT, -signal.SIGTERM, -signal.SIGHUP), True)
        if noise or not explained.get(code, False):
            self.wrong.append(f"code {code}, {noise}: {last[0][:300]}\n{self.said[-2000:]}")
        if asked and self.slowest > SOON:
            self.wrong.append(f"it ended {self.slowest:.1f} s after it was asked to")

    def _ends_the_driver(self) -> Iterator[bool]:
        for token in self.fire.glob("struck-*"):
            strike = json.loads(token.read_text())
            how = strike["then"] if strike["how"] == "stop" else strike["how"]
            yield how == "kill group" or (how == "kill" and strike["who"] == "driver")


def _hear() -> None:
    for each in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _send(strike: dict) -> None:
    """Send the signals of a strike; Ctrl-C goes to workers too, as from a terminal."""
    for place, number in enumerate(ANSWERED[strike["how"]]):
        time.sleep(0.1 * (place > 0))
        with suppress(ProcessLookupError):
            if number == signal.SIGINT:
                os.killpg(strike["pid"], number)
            else:
                os.kill(strike["pid"], number)
