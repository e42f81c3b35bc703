"""Kill, stop and interrupt commands at drawn moments, go on with the same command, and compare with
one that nobody interrupted.

    python -m tests.fire.kills --kills 300 --seed 0
    python -m tests.fire.kills --only search --first 4 --histories 1     # one history again
    python -m tests.fire.kills --how stop --histories 8        # a second command beside each stop

What strikes where depends on the seed, the command, the history's number and the attempt alone. A
moment is the Nth of what a process does (`hook/sitecustomize.py`), so that it comes again. What is
lost, doubled, other or left behind is found by `kept.py`, which imports none of the package.

The undisturbed commands, and every fifth history, are processes that begin anew; the others are
forks of this one, which cost a tenth.
"""

import argparse
import json
import math
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.fire import forks, kept
from tests.fire.history import ANSWERED, History

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
ANEW = 5  # each such history is one of processes that begin anew
PACE = 0.2  # what a fork takes of the time of those, which import everything first
# moments of a process with their shares, and how far they are counted
DRIVERS = {"statement": (5, 40), "commit": (5, 8), "line": (2, 6), "open": (1, 5)}
DRIVERS |= {"rename": (1, 2), "remove": (1, 4), "processor": (3, 4), "seconds": (1, 12)}
WORKERS = {"open": (2, 6), "rename": (2, 6), "fsync": (2, 6), "remove": (1, 2)}
WORKERS |= {"processor": (4, 4), "seconds": (1, 12)}
HOW = {
    "driver": {"kill": 7, "kill group": 3, "stop": 1} | dict.fromkeys(ANSWERED, 1),
    "worker": {"kill": 9, "stop": 1, "term": 1},
}


def drawn(seed: int, command: str, history: int, attempt: int, how: str = "") -> list[dict]:
    """Draw what strikes in one attempt of a history: workers, or the driver where the first of two
    moments comes."""
    draw = random.Random(f"{seed} {command} {history} {attempt}")
    found = []
    drivers, workers = draw.choice([(0, 2), (0, 3), (1, 1), (1, 2), (2, 0), (2, 1)])
    for place, who in enumerate([*["driver"] * drivers, *["worker"] * workers]):
        moments = WORKERS if who == "worker" else DRIVERS
        at = draw.choices(list(moments), [share for share, _ in moments.values()])[0]
        most = moments[at][1]
        number: float = math.floor(math.exp(draw.uniform(0, math.log(most + 1))))
        if at in ("processor", "seconds"):
            number = draw.uniform(0.2, most) * (PACE if history % ANEW else 1)
        strike = {
            "id": place,
            "who": who,
            "at": at,
            "number": number,
            "how": draw.choices(list(HOW[who]), list(HOW[who].values()))[0],
            "delay": draw.uniform(0, 0.003),
            "held": 65 if draw.random() < 0.1 else 6,  # the one is longer than anything waits
            "then": draw.choice(["go on", "kill"]),
            "beside": who == "driver" and draw.random() < 0.7,
        }
        found.append(strike | ({"how": how, "beside": who == "driver"} if how else {}))
    return found


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


def tell(
    command: str,
    number: int,
    seed: int,
    work: Path,
    reference: Reference,
    kills: int,
    how: str = "",
) -> History:
    """Carry out a history: attempts that are struck until one ends, by so many kills at most, and
    then the same again.
    """
    folder = work / f"{command}-{number}"
    shutil.copytree(work / f"{command}-prepared", folder)
    story = History(folder, COMMANDS[command], work / "data", anew=number % ANEW == 0)
    for attempt in range(1000):
        quiet = story.struck["kill"] >= kills or attempt > 2 * kills
        strikes = [] if quiet else drawn(seed, command, number, attempt, how)
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
    with forks.somewhere() as own:
        yield (folder or own).resolve()


def run(arguments: list[str]) -> int:
    """Tell histories until enough was killed; print what is wrong, and how much was struck."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=COMMANDS, action="append")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--histories", type=int, default=1000)
    parser.add_argument("--how", choices=[*HOW["driver"], ""], default="", help="this one alone")
    parser.add_argument("--folder", type=Path, help="keeps what is wrong")
    parser.add_argument("--record", type=Path, help="keeps what was told, and goes on from there")
    asked = parser.parse_args(arguments)
    if not forks.ALONE.items() <= os.environ.items():
        again = [sys.executable, "-m", "tests.fire.kills", *arguments]
        return subprocess.run(again, env=os.environ | forks.ALONE, check=False).returncode
    forks.import_everything()
    began, told = time.monotonic(), _recorded(asked.record)
    with workplace(asked.folder) as work:
        references = dict[str, Reference]()
        for number in range(asked.first, asked.first + asked.histories):
            for command in asked.only or COMMANDS:
                left = asked.kills - sum(each["struck"].get("kill", 0) for each in told.values())
                if left <= 0 or (command, number) in told:
                    continue
                if command not in references:
                    references[command] = refer(command, work)
                most = min(KILLS, left)
                story = tell(
                    command, number, asked.seed, work, references[command], most, asked.how
                )
                told[command, number] = found = {
                    "struck": story.struck, "slowest": story.slowest, "wrong": story.wrong
                }  # fmt: skip
                if asked.record:
                    with asked.record.open("a") as record:
                        print(json.dumps([command, number, found]), file=record)
                ended = f"ended {story.slowest:.1f} s later"
                print(
                    f"{command} {number}: {dict(story.struck)}, {ended}", *story.wrong, flush=True
                )
    struck = sum((Counter[str](each["struck"]) for each in told.values()), Counter[str]())
    wrong = sum(bool(each["wrong"]) for each in told.values())
    slowest = max(each["slowest"] for each in told.values())
    print(f"{len(told)} histories in {time.monotonic() - began:,.0f} s: {dict(struck)}")
    print(f"all ended {slowest:.1f} s later at most, times the load; {wrong} histories wrong")
    return min(1, wrong)


def _recorded(file: Path | None) -> dict[tuple[str, int], dict[str, Any]]:
    """Read which histories were told before."""
    lines = file.read_text().splitlines() if file and file.exists() else []
    return {(command, number): found for command, number, found in map(json.loads, lines)}


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
