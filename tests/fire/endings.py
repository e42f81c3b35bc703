"""How long a command takes to end after Ctrl-C at a drawn moment, until its last process is gone.

    python -m tests.fire.endings --times 20 --seed 0

It needs a quiet core: what is told are seconds of this machine's clock.
"""

import argparse
import os
import random
import signal
import statistics
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.fire import forks
from tests.fire.history import History
from tests.fire.kills import COMMANDS

ENDLESS = 120.0


def seconds(story: History, after: float) -> float | None:
    """Begin a command, interrupt it after so many seconds, and return how many it then took; none
    where it had ended before."""
    process = story.begin([])
    story.sessions = {process.pid}
    time.sleep(after)
    if process.poll() is not None:
        return None
    began = time.monotonic()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    while process.poll() is None or any(story._own()):
        assert time.monotonic() - began < ENDLESS, story.folder
        time.sleep(0.01)
    return time.monotonic() - began


def measured(command: str, times: int, seed: int, place: Path) -> list[float]:
    """Interrupt a command so often, each time from the beginning, at any moment that it has."""
    draw, found = random.Random(f"{seed} {command}"), list[float]()
    for number in range(2):  # the first one draws the images
        folder, began = place / f"{command}-whole-{number}", time.monotonic()
        folder.mkdir()
        whole = History(folder, COMMANDS[command], place / "data")
        assert whole.attempt([]) == 0, whole.said
        longest = time.monotonic() - began
    for number in range(10 * times):
        if len(found) == times:
            break
        folder = place / f"{command}-{number}"
        folder.mkdir()
        took = seconds(History(folder, COMMANDS[command], place / "data"), draw.uniform(0, longest))
        found += [took] if took is not None else []
    return found


def run(arguments: list[str]) -> int:
    """Measure; print the median and the longest of each command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    with forks.somewhere() as place:
        for command in ("search", "ablate", "train"):
            found = measured(command, asked.times, asked.seed, place)
            middle, longest = statistics.median(found), max(found)
            print(
                f"{command}: {len(found)} times, {middle:.2f} s, at most {longest:.2f} s",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
