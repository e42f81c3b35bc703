"""Kill a search's driver and workers at random, go on with the same command, and compare with an
uninterrupted search.

python -m tests.benchmarks.kills --kills 100
"""

import argparse
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import psutil

from blocksearch.runs.ledger import Ledger
from blocksearch.search.trials import Studies, Trial

NAME = "killed"
SEARCH = [
    "search",
    "tiny",
    "--dataset",
    "digits",
    "--max-images",
    "1000",
    "--epochs",
    "3",
    "--rungs",
    "1,2",
    "--seeds",
    "2",
]


def command(file: Path, trials: int) -> list[str]:
    """Return the command of a search, the same after every kill."""
    options = [
        "--db",
        str(file),
        "--name",
        NAME,
        "--trials",
        str(trials),
        "--workers",
        "2",
        "--quiet",
    ]
    return [sys.executable, "-m", "blocksearch", *SEARCH, *options]


def steps_in(file: Path) -> int:
    """Count the steps that are stored; 0 where there is no study yet."""
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM search_steps").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def ended_before(process: subprocess.Popen[str], file: Path, steps: float, pause: float) -> bool:
    """Wait until a search has so many steps, and a pause longer; say whether it ended before."""
    while process.poll() is None and steps_in(file) < steps:
        time.sleep(0.05)
    try:
        process.wait(timeout=pause)
    except subprocess.TimeoutExpired:
        return False
    return True


def killed_search(file: Path, trials: int, kills: int, seed: int, total: int) -> tuple[int, int]:
    """Run a search to its end under so many kills at most, spread over its `total` steps; return
    those of drivers and workers.
    """
    draw, drivers, workers = random.Random(seed), 0, 0
    while True:
        process = subprocess.Popen(
            command(file, trials), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        while drivers + workers < kills:
            if ended_before(
                process, file, steps_in(file) + draw.uniform(0, total / kills), draw.uniform(0, 0.3)
            ):
                break
            victims = [
                each
                for each in psutil.Process(process.pid).children()
                if "spawn_main" in " ".join(each.cmdline())
            ]
            if victims and draw.random() < 0.5:
                draw.choice(victims).kill()
                workers += 1
            else:
                process.kill()
                drivers += 1
                break
        _, said = process.communicate()
        if process.returncode == 0:
            return drivers, workers
        if process.returncode > 0:
            raise SystemExit(f"the search ended with {process.returncode}: {said}")


def contents(file: Path) -> tuple[list[Trial], set[tuple[object, ...]], list[str]]:
    """Return what a study holds but for times: its steps, its runs, and what is wrong with them."""
    with closing(Ledger(file, create=False)) as ledger:
        steps, runs = Studies(ledger).trials(NAME), ledger.runs()
    plain = {
        (run.key, run.epoch_to, run.state, run.accuracies, run.losses)
        for run in runs
        if run.state != "failed"
    }
    repeated = len([run for run in runs if run.state != "failed"]) - len(plain)
    wrong = [f"{repeated} trainings are there twice"] if repeated else []
    wrong += [f"failed: {run.reason}" for run in runs if run.state == "failed"]
    return steps, plain, wrong


def left_behind() -> list[psutil.Process]:
    """Return worker processes whose driver is gone, once they have had time to notice."""
    deadline = time.monotonic() + 10
    while True:
        orphans = [each for each in psutil.process_iter() if _is_orphan(each)]
        if not orphans or time.monotonic() > deadline:
            return orphans
        time.sleep(0.2)


def _is_orphan(process: psutil.Process) -> bool:
    try:
        ours = process.environ().get("BLOCKSEARCH_KILLS") == str(os.getpid())
        return ours and "spawn_main" in " ".join(process.cmdline()) and process.ppid() == 1
    except psutil.Error:
        return False


def compare(folder: Path, trials: int, kills: int, seed: int) -> list[str]:
    """Search twice, once under kills; return what differs."""
    os.environ["BLOCKSEARCH_KILLS"] = str(os.getpid())
    subprocess.run(command(folder / "whole.db", trials), check=True, stdout=subprocess.DEVNULL)
    drivers, workers = killed_search(
        folder / "killed.db", trials, kills, seed, steps_in(folder / "whole.db")
    )
    print(f"killed {drivers} drivers and {workers} workers", flush=True)
    whole, cut = contents(folder / "whole.db"), contents(folder / "killed.db")
    found = cut[2] + [f"{len(left_behind())} workers outlived their driver"] * bool(left_behind())
    if whole[0] != cut[0]:
        found.append(f"steps differ: {len(whole[0])} and {len(cut[0])}")
    if whole[1] != cut[1]:
        found.append(f"runs differ: {len(whole[1] - cut[1])} lost, {len(cut[1] - whole[1])} others")
    return found


def main() -> None:
    """Print what differs, or that nothing does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        differences = compare(Path(folder), chosen.trials, chosen.kills, chosen.seed)
    print(
        "\n".join(differences)
        or "the same steps and runs, nothing lost, nothing twice, no worker left"
    )
    sys.exit(bool(differences))


if __name__ == "__main__":
    main()
