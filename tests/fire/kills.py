"""Kill, stop and interrupt commands at drawn moments, go on with the same command, and compare with
one that nobody interrupted.

    python -m tests.fire.kills --kills 300 --seed 0
    python -m tests.fire.kills --only search --first 4 --histories 1     # one history again

What strikes where depends on the seed, the command, the history's number and the attempt alone. A
moment is the Nth of what a process does (`hook/sitecustomize.py`), so that it comes again. What is
lost, doubled, other or left behind is found by `kept.py`, which imports none of the package.
"""

import argparse
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from tests.fire import kept

HERE = Path(__file__).parent
SMALL = ["--dataset", "digits", "--max-images", "200", "--widths", "4,4,8"]
SEARCH = ["search", "tiny", "--references", "effnet", "--db", "a.db"]
COMMANDS = {
    "search": [*SEARCH, *SMALL[:4], "--epochs", "3", "--rungs", "1,2", "--seeds", "2"],
    "ablate": [
        *("ablate", "--factor", "residual", "--factor", "pooling", *SMALL),
        *("--epochs", "2", "--seeds", "2", "--db", "a.db", "--save", "a.csv"),
    ],
    "test": ["test", "a.db", "--save", "a.md"],
    "reproduce": [
        *("reproduce", "section3", *SMALL, "--epochs", "1", "--seeds", "1", "--db", "a.db"),
    ],
    "train": [
        *("train", "effnet", *SMALL, "--epochs", "3", "--seeds", "6", "--db", "a.db"),
        *("--keep-weights", "weights"),
    ],
}
COMMANDS["search"] += ["--trials", "8"]
PREPARED = [*SEARCH, "--dataset", "own.npz", "--epochs", "2", "--seeds", "1", "--trials", "4"]
KILLS = 20  # of one history at most; then nobody disturbs it
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
DRIVERS = {"statement": (5, 40), "commit": (5, 8), "line": (2, 6), "open": (1, 5)}
DRIVERS |= {"rename": (1, 2), "remove": (1, 4), "processor": (3, 4), "seconds": (1, 12)}
WORKERS = {"open": (2, 6), "rename": (2, 6), "fsync": (2, 6), "remove": (1, 2)}
WORKERS |= {"processor": (4, 4), "seconds": (1, 12)}
HOW = {
    "driver": {"kill": 7, "kill group": 3, "stop": 1} | dict.fromkeys(ANSWERED, 1),
    "worker": {"kill": 9, "stop": 1, "term": 1},
}


def drawn(seed: int, command: str, history: int, attempt: int) -> list[dict]:
    """Draw what strikes in one attempt of a history: workers, and the driver where the first of two
    moments comes."""
    draw = random.Random(f"{seed} {command} {history} {attempt}")
    found = []
    for place, who in enumerate([*["driver"] * 2, *["worker"] * draw.choice([0, 1, 1, 2, 2, 3])]):
        moments = WORKERS if who == "worker" else DRIVERS
        at = draw.choices(list(moments), [share for share, _ in moments.values()])[0]
        most = moments[at][1]
        number = math.floor(math.exp(draw.uniform(0, math.log(most + 1))))
        strike = {
            "id": place,
            "who": who,
            "at": at,
            "number": draw.uniform(0.2, most) if at in ("processor", "seconds") else number,
            "how": draw.choices(list(HOW[who]), list(HOW[who].values()))[0],
            "delay": draw.uniform(0, 0.003),
            "held": 65 if draw.random() < 0.1 else 6,  # the one is longer than anything waits
            "then": draw.choice(["go on", "kill"]),
        }
        found.append(strike)
    return found


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
        if asked and not self.said:  # before it had begun
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


@dataclass
class Reference:
    """What a command gives that nobody interrupts: its answer, the second one, rows and files."""

    answer: bytes
    again: bytes
    rows: kept.Rows
    files: dict[str, str]


def prepare(command: str, at: Path) -> None:
    """Make what a command needs beforehand in a folder; for `test` a study of images drawn here."""
    at.mkdir()
    if command != "test":
        return
    draw = np.random.default_rng(0)
    means = draw.integers(60, 200, (10, 16, 16, 3))
    parts = {}
    for part, count in (("train", 200), ("test", 100)):
        labels = np.arange(count) % 10
        noise = draw.integers(-60, 56, (count, 16, 16, 3))
        parts |= {f"{part}_images": (means[labels] + noise).astype(np.uint8)}
        parts |= {f"{part}_labels": labels}
    np.savez(at / "own.npz", **parts)
    searched = History(at, PREPARED, at.parent / "data")
    assert searched.attempt([]) == 0, searched.said


def refer(command: str, work: Path) -> Reference:
    """Carry a command out twice, undisturbed."""
    prepare(command, work / f"{command}-prepared")
    folder = work / f"{command}-reference"
    shutil.copytree(work / f"{command}-prepared", folder)
    whole = History(folder, COMMANDS[command], work / "data")
    assert whole.attempt([]) == 0, whole.said
    answer, rows = whole.answer, whole.known
    assert whole.attempt([]) == 0, whole.said
    assert not whole.wrong, whole.wrong
    return Reference(answer, whole.answer, rows, kept.files(folder))


def tell(command: str, number: int, seed: int, work: Path, reference: Reference) -> History:
    """Carry out a history: attempts that are struck until one ends, and then the same again."""
    folder = work / f"{command}-{number}"
    shutil.copytree(work / f"{command}-prepared", folder)
    story = History(folder, COMMANDS[command], work / "data")
    for attempt in range(1000):
        quiet = story.struck["kill"] >= KILLS or attempt > 2 * KILLS
        strikes = [] if quiet else drawn(seed, command, number, attempt)
        if story.attempt(strikes) == 0 or story.wrong:
            break
    if not story.wrong:
        story.wrong += compare(story, reference)
    if not story.wrong:
        shutil.rmtree(folder)
        shutil.rmtree(story.fire)
    return story


def compare(story: History, reference: Reference) -> list[str]:
    """Say in what the end of a history differs from that of an undisturbed command."""
    found = kept.different(story.known, reference.rows) + kept.unfinished(story.known)
    if story.answer not in (reference.answer, reference.again):
        found.append(f"the answer is another: {story.answer[:500]!r}")
    rows = story.known
    if story.attempt([]) != 0 or story.answer != reference.again or story.known != rows:
        found.append(f"the same command again gives another answer: {story.answer[:500]!r}")
    there = kept.files(story.folder)
    if there != reference.files:
        found.append(f"files: {sorted(set(there.items()) ^ set(reference.files.items()))}")
    return found


@contextmanager
def workplace(folder: Path | None) -> Iterator[Path]:
    """Work in a folder that is kept, or in one that is not."""
    with tempfile.TemporaryDirectory() as own:
        yield (folder or Path(own)).resolve()


def run(arguments: list[str]) -> int:
    """Tell histories until enough was killed; print what is wrong, and how much was struck."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=COMMANDS, action="append")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--histories", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="keeps what is wrong")
    asked = parser.parse_args(arguments)
    struck, wrong, began, told, slowest = Counter[str](), 0, time.monotonic(), 0, 0.0
    with workplace(asked.folder) as work:
        references = dict[str, Reference]()
        for number in range(asked.first, asked.first + asked.histories):
            for command in asked.only or COMMANDS:
                if struck["kill"] >= asked.kills:
                    break
                if command not in references:
                    references[command] = refer(command, work)
                story = tell(command, number, asked.seed, work, references[command])
                struck += story.struck
                told, wrong = told + 1, wrong + bool(story.wrong)
                slowest = max(slowest, story.slowest)
                print(f"{command} {number}: {dict(story.struck)}", *story.wrong, flush=True)
    print(f"{told} histories in {time.monotonic() - began:,.0f} s: {dict(struck)}")
    print(f"all ended {slowest:.1f} s later at most, times the load; {wrong} histories wrong")
    return min(1, wrong)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
