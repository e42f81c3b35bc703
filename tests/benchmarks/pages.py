"""How long the page of a study of many trials takes to be written and to be opened by a browser,
and how much memory either takes.

    python -m tests.benchmarks.pages 100000 1000000
"""

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from blocksearch.report.front import front_report
from blocksearch.report.writers import save
from blocksearch.search.results import Axis, Entry, Summary, walk

AXES = (Axis(name="accuracy", unit=" %", maximise=True), Axis(name="flops"))
CHROMIUM = "--headless --no-sandbox --disable-gpu --virtual-time-budget=10000 --dump-dom"


def study(trials: int) -> Summary:
    """Make up a study in which costly networks are better, by chance."""
    rng = np.random.default_rng(0)
    flops = rng.integers(10**4, 10**7, trials)
    accuracy = np.clip(10 * np.log10(flops) + rng.normal(0, 4, trials), 0, 100)
    order = np.lexsort((-accuracy, flops))
    best = np.maximum.accumulate(np.concatenate([[-1.0], accuracy[order][:-1]]))
    on_front = np.zeros(trials, bool)
    on_front[order] = accuracy[order] > best
    entries = tuple(
        Entry(
            trial=n,
            origin="evolution",
            text=f"input=3x32x32 widths=8,16 classes=10 stem=block [kernel=3x3 groups={n}]",
            costs={"flops": int(flops[n])},
            mean=float(accuracy[n]),
            on_front=bool(on_front[n]),
        )
        for n in range(trials)
    )
    scaled = np.column_stack([accuracy / 100, np.log10(flops) / 7])
    return Summary(
        name="made",
        title=f"{trials:,} trials",
        others=(),
        axes=AXES,
        budgets=(),
        entries=entries,
        front=tuple(sorted((e for e in entries if e.on_front), key=lambda e: e.costs["flops"])),
        volume=0.5,
        walk=walk(scaled),
        frame="accuracy from 0 to 100 %",
    )


def main() -> None:
    """Write and open pages of so many trials."""
    for trials in map(int, sys.argv[1:]):
        found = study(trials)
        with tempfile.TemporaryDirectory() as folder:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            began, file = time.perf_counter(), Path(folder) / "a.html"
            save(front_report(found), file)
            written = time.perf_counter() - began
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            size = file.stat().st_size / 1e6
            said = f"{trials:,} trials: written in {written:.1f} s, {size:.1f} MB"
            said += f"; {before:,.0f} MB of memory before, at most {after:,.0f} MB"
            if shutil.which("chromium"):
                command = ["chromium", *CHROMIUM.split(), f"--user-data-dir={folder}/profile"]
                began = time.perf_counter()
                subprocess.run([*command, file.as_uri()], check=True, capture_output=True)
                most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
                said += f"; opened in {time.perf_counter() - began:.1f} s, {most:,.0f} MB a process"
            print(said, flush=True)


if __name__ == "__main__":
    main()
