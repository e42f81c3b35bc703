"""What a search costs its driver beside the trainings: deciding a step, writing it, and mirroring its trial for Optuna.

    python -m tests.benchmarks.bookkeeping

A study of a space with thousands of members in a temporary folder, by a function that is made up and cheap. Counted is the time
between the end of one call of that function and the start of the next; one thread, one process.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median

from blocksearch.experiments.search.driver import Audience, Effort, Question, evaluate
from blocksearch.experiments.search.study import SAMPLERS, Wishes
from blocksearch.runs.studies import StepRow
from blocksearch.space.load import load_grammar
from blocksearch.space.network import Network
from tests.benchmarks.courses import Smooth

EARLY, LATE = (80, 120), (1_960, 2_000)


class Watch(Audience):
    """Adds up, for each trial, the seconds between calls of the objective; what a search does for later seeds counts too."""

    def __init__(self, smooth: Smooth) -> None:
        self.smooth, self.left, self.networks = smooth, time.perf_counter(), 0
        self.seconds: dict[int, float] = {}

    def objective(self, network: Network, seed: int) -> float:
        self.seconds[self.networks] = self.seconds.get(self.networks, 0.0) + time.perf_counter() - self.left
        found = self.smooth(network, seed)
        self.left = time.perf_counter()
        return found

    def told(self, row: StepRow, trials: int, reused: bool) -> None:
        self.networks += row.kind == "new"

    def milliseconds(self, trials: tuple[int, int]) -> list[float]:
        return [1000 * self.seconds[trial] for trial in range(*trials)]


def measure(space: str, sampler: str, late: tuple[int, int]) -> Watch:
    """Search a space in a temporary folder up to the end of `late`."""
    grammar, _ = load_grammar(space)
    watch = Watch(Smooth(0))
    with tempfile.TemporaryDirectory() as folder:
        question = Question(space, grammar, (), Wishes(sampler=sampler), space)
        evaluate(question, watch.objective, str(Path(folder) / "study.db"), Effort(late[1]), watch)
    return watch


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--space", default="section3")
    parser.add_argument("--sampler", default="evolution", choices=SAMPLERS)
    parser.add_argument("--trials", type=int, default=LATE[1])
    chosen = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    window = LATE[1] - LATE[0]
    watch = measure(chosen.space, chosen.sampler, (chosen.trials - window, chosen.trials))
    for trials in (EARLY, (chosen.trials - window, chosen.trials)):
        found = watch.milliseconds(trials)
        print(f"{chosen.sampler}, trials {trials[0]:,}-{trials[1]:,}: median {median(found):6.1f} ms, worst {max(found):6.1f} ms")
