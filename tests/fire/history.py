"""A command that is struck while it runs, and goes on: begun in a folder of its own, watched, and
judged by how it ends and what it leaves. It is a process that begins anew, or a fork.
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
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import psutil

from tests.fire import forks, kept

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


def load() -> float:
    """By how much slower than alone a process may be here."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


class Fork:
    """A command that is a fork of this process; watched as a process that began anew is."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.pid, self.returncode = forks.forked(act), -1
        self._ended = False

    def poll(self) -> int | None:
        """Return how it ended, once it has."""
        if not self._ended:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if not found:
                return None
            self._ended, self.returncode = True, os.waitstatus_to_exitcode(status)
        return self.returncode


Process = subprocess.Popen[bytes] | Fork


def _hook() -> ModuleType:
    found = spec_from_file_location("fire_hook", HERE / "hook" / "sitecustomize.py")
    assert found is not None
    assert found.loader is not None
    module = module_from_spec(found)
    found.loader.exec_module(module)
    return module


@dataclass
class History:
    """A command that is struck and goes on, in a folder of its own."""

    folder: Path
    command: list[str]
    data: Path
    anew: bool = True  # as processes that begin anew, not as forks
    known: kept.Rows = field(default_factory=dict)  # what was seen to be committed
    wrong: list[str] = field(default_factory=list)
    struck: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0  # seconds from a signal, or from a driver's end, until all had ended
    said: str = ""  # on stderr, and on stdout
    answer: bytes = b""
    sessions: set[int] = field(default_factory=set)  # of its processes

    @property
    def fire(self) -> Path:
        """The folder of the hook, beside the command's own."""
        return self.folder.with_name(f"{self.folder.name}-fire")

    @property
    def beside(self) -> Path:
        """The folder of what a second command says, which runs beside one that is stopped."""
        return self.fire / "beside"

    def begin(self, strikes: list[dict]) -> Process:
        """Begin the command, with what is to strike it."""
        shutil.rmtree(self.fire, ignore_errors=True)
        self.beside.mkdir(parents=True)
        (self.fire / "strikes.json").write_text(json.dumps(strikes))
        return self._begun(self.fire, struck=True)

    def _begun(self, said: Path, *, struck: bool) -> Process:
        own = {"COLUMNS": "300", "BLOCKSEARCH_DATA": str(self.data)}
        words = [*self.command, "--workers", "2", "--json"]
        if not self.anew:
            return Fork(lambda: self._fork(words, said, own, struck=struck))
        path = (HERE / "hook", HERE.parents[1]) if struck else (HERE.parents[1],)
        own |= {"PYTHONPATH": os.pathsep.join(map(str, path))}
        own |= {"BLOCKSEARCH_FIRE": str(self.fire)}
        with (said / "out").open("wb") as out, (said / "err").open("wb") as err:
            return subprocess.Popen(
                [sys.executable, "-m", "blocksearch", *words],
                stdout=out,
                stderr=err,
                env=os.environ | own,
                cwd=self.folder,
                start_new_session=True,
                preexec_fn=_hear,  # noqa: PLW1509 (there are no threads)
            )

    def _fork(self, words: list[str], said: Path, own: dict[str, str], *, struck: bool) -> int:
        os.setsid()
        _hear()
        if struck:
            striker = _hook().arm(self.fire, "driver")
            forks.at_workers_begin.append(lambda: striker.begin("worker"))
        return forks.command(self.folder, words, said, own)

    def attempt(self, strikes: list[dict]) -> int:
        """Carry the command out once, struck or not, and look at what it left; return its code."""
        before = len(self.known.get(self._counted, []))
        process = self.begin(strikes)
        self.sessions = {process.pid}
        asked = self._watch(process, {strike["id"]: strike for strike in strikes})
        ended = time.monotonic()
        alone = len(self.sessions) == 1
        since = asked if asked is not None and alone else ended
        self.wrong += [f"{each} is still there" for each in self._left(since)]
        self.said = (self.fire / "err").read_text(errors="replace")
        self.answer = kept.timeless((self.fire / "out").read_bytes())
        self._judge(process.returncode, asked is not None)
        rows, sound = kept.read_dead(self.folder / "a.db", self.fire)
        self.wrong += [f"SQLite says {sound}"] if sound != "ok" else []
        self._see(rows)
        told = len(re.findall(r"^\[\d+/\d+\] ", self.said, re.MULTILINE))
        new = len(rows.get(self._counted, [])) - before
        if told > new and "from the database" not in self.said:
            self.wrong.append(f"{told} results were told, and fewer are kept")
        return process.returncode

    @property
    def _counted(self) -> str:
        return "search_steps" if self.command[0] == "search" else "ledger_runs"

    def _see(self, rows: kept.Rows) -> None:
        self.wrong += kept.lost(self.known, rows) + kept.wrong(rows)
        self.known = rows or self.known

    def _watch(self, process: Process, strikes: dict[int, dict]) -> float | None:
        """Send what the hook asks for until the command ends, and one beside it; return when it was
        first asked to."""
        asked, stopped, began = None, dict[int, tuple[float, dict]](), time.monotonic()
        looked, every = began, [process]
        while any(each.poll() is None for each in every):
            now = time.monotonic()
            for strike in self._new_strikes(strikes):
                if strike["how"] == "stop":
                    stopped[strike["pid"]] = now + strike["held"], strike
                    if strike["beside"] and len(every) == 1:
                        every.append(self._begin_beside())
                elif strike["how"] in ANSWERED:
                    asked = (asked or now) if strike["who"] == "driver" else asked
                    _send(strike)
            for pid in [pid for pid, (until, _) in stopped.items() if now >= until]:
                kill = stopped.pop(pid)[1]["then"] == "kill"
                self.struck["kill"] += kill
                _signal(pid, signal.SIGKILL if kill else signal.SIGCONT)
            if now - looked > 1.0 and (rows := kept.read_live(self.folder / "a.db")):
                looked = now
                self._see(rows)
            if now - began > ENDLESS * load():
                self.wrong.append("it hangs")
                self._end_all()
            time.sleep(0.05)
        list(self._new_strikes(strikes))  # that came in the last moment
        for pid in stopped:  # one that is stopped could not notice that its driver is gone
            _signal(pid, signal.SIGCONT)
        for second in every[1:]:
            self._judge_second(second)
        return asked

    def _new_strikes(self, strikes: dict[int, dict]) -> Iterator[dict]:
        for token in self.fire.glob("struck-*"):
            if strike := self._read(token, strikes):
                yield strike

    def _begin_beside(self) -> Process:
        second = self._begun(self.beside, struck=False)
        self.struck["beside"] += 1
        self.sessions.add(second.pid)
        return second

    def _end_all(self) -> None:
        for each in self.sessions:
            with suppress(ProcessLookupError):
                os.killpg(each, signal.SIGKILL)

    def _judge_second(self, process: Process) -> None:
        """Note an end of the command beside that is neither its answer nor a refusal."""
        said = (self.beside / "err").read_text(errors="replace")
        last = said.splitlines()[-1:] or [""]
        refused = process.returncode == 2 and last[0].startswith("blocksearch: ")
        self.struck["refused"] += refused
        if any(each in said for each in NOISE) or not (refused or process.returncode == 0):
            self.wrong.append(f"beside: code {process.returncode}: {said[-2000:]}")

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
            with suppress(psutil.Error, ProcessLookupError):
                ours = os.getsid(each.pid) in self.sessions
                ours = ours or each.environ().get("BLOCKSEARCH_FIRE") == str(self.fire)
                if ours and each.status() != psutil.STATUS_ZOMBIE:
                    yield each

    def _judge(self, code: int, asked: bool) -> None:
        """Note an end that is none of those that its strikes explain."""
        last = self.said.strip().splitlines()[-1:] or [""]
        noise = [each for each in NOISE if each in self.said]
        killed = any(self._ends_the_driver())
        died = any(each in self.said for each in ("worker process died", "times ("))
        # one that was stopped before it had begun finds that the one beside it has
        beside = len(self.sessions) > 1 and "another search is running" in last[0]
        explained = {0: True, -9: killed, 130: asked, 1: died, 2: died or beside}
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
