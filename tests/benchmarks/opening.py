"""How long a study of 10,000 trials takes to open and to have its front drawn: the whole process,
from nothing; or, once and with the memory, a study of as many trials as are asked for.

    python -m tests.benchmarks.opening
    python -m tests.benchmarks.opening 1000000

The study is written into a temporary folder: members of a space at random, with made-up accuracies,
some of them with more seeds.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from blocksearch.search.trials import TrialKind
from blocksearch.space.candidates import Candidates
from blocksearch.space.load import load_space
from tests.search.made import definition, row, write

TRIALS, RUNS = 10_000, 3


def study(file: Path, space: str, objectives: tuple[str, ...], trials: int = TRIALS) -> None:
    """Write a study of a space; where it is smaller, its members come more than once under other
    names.
    """
    rng = np.random.default_rng(0)
    pool = Candidates(load_space(space))
    places = rng.permutation(np.arange(trials) % pool.listed)
    texts = {int(place): str(pool.network(int(place))) for place in np.unique(places)}
    rows = []
    for trial, place in enumerate(map(int, places)):
        costs, code = pool.cost(place), [int(level) for level in pool.codes[place]]
        true = 10 * np.log10(costs["flops"]) + rng.normal(0, 4)
        for own in range(3 if trial % 50 == 0 else 1):
            kind, accuracy = (
                TrialKind.SEED if own else TrialKind.NEW,
                float(np.clip(true + rng.normal(), 5, 99)),
            )
            rows.append(
                row(len(rows), trial, accuracy, costs, code, own, kind=kind, text=texts[place])
            )
    choices = [
        [name, [str(value) for value in values]] for name, values in pool.encoding.levels.items()
    ]
    listed = pool.costs(objectives[1:])[: pool.listed]
    frame = {"chance": 2.3, "least": list(listed.min(0)), "largest": list(listed.max(0))}
    write(file, space, definition(choices, objectives, frame=frame), rows)


def seconds(*arguments: str) -> tuple[float, float]:
    """Run a command; return the seconds that passed, and the processor's, which a busy machine
    stretches less.
    """
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "blocksearch", *arguments], check=True, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (
        time.perf_counter() - start,
        after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime,
    )


def measure(space: str, objectives: tuple[str, ...], *arguments: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "study.db"
        study(file, space, objectives)
        command = [arguments[0], str(file), *(text.format(folder=folder) for text in arguments[1:])]
        passed, worked = map(median, zip(*(seconds(*command) for _ in range(RUNS)), strict=True))
        what = f"{space}, {','.join(objectives)}, {TRIALS:,} trials: {' '.join(arguments)}"
        print(f"{what}: {passed:.2f} s ({worked:.2f} s of processor)")


def large(trials: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file, page = Path(folder) / "study.db", Path(folder) / "a.html"
        study(file, "section3", ("accuracy", "flops"), trials)
        passed, worked = seconds("pareto", str(file), "--save", str(page))
        most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        print(
            f"{trials:,} trials, {file.stat().st_size / 1e6:.0f} MB: {passed:.0f} s ({worked:.0f} "
            f"s of processor), {most:.1f} GiB; a page of {page.stat().st_size / 1e6:.1f} MB"
        )


if __name__ == "__main__":
    if sys.argv[1:]:
        large(int(sys.argv[1]))
        sys.exit()
    for objectives in (("accuracy", "flops"), ("accuracy", "flops", "params")):
        measure("section3", objectives, "pareto")
    measure("per_stage", ("accuracy", "flops"), "pareto")
    measure("section3", ("accuracy", "flops"), "pareto", "--save", "{folder}/a.html")
    measure("section3", ("accuracy", "flops"), "pareto", "--save", "{folder}/a.png")
    measure("section3", ("accuracy", "flops"), "effects")
