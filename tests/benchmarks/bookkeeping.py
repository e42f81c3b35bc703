"""What a search costs its driver beside the trainings: deciding a trial, writing it, and copying it
for Optuna.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bookkeeping

A study of a space with thousands of members in a temporary folder, by a function that is made up
and cheap. Counted is the time between the end of one call of that function and the start of the
next, by the clock and of the processor: on a busy machine only the second says something. One
thread, one process.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import fmean

from blocksearch.arch.network import Network
from blocksearch.runs.callback import Callback
from blocksearch.search.config import StudyConfig
from blocksearch.search.loop import StoppingRule, evaluate
from blocksearch.search.samplers import SAMPLERS
from blocksearch.search.trials import Trial, TrialKind
from blocksearch.space.load import load_space
from tests.benchmarks.queues import Smooth

EARLY, LATE = (80, 120), (1_960, 2_000)


class Clock(Callback):
    """Adds up, for each trial, the seconds between calls of the objective; what a search does for
    later seeds counts too.
    """

    def __init__(self) -> None:
        self.smooth, self.networks = Smooth(), 0
        self.clock: dict[int, float] = defaultdict(float)
        self.processor: dict[int, float] = defaultdict(float)
        self.left = time.perf_counter(), time.process_time()

    def objective(self, network: Network, seed: int) -> float:
        self.clock[self.networks] += time.perf_counter() - self.left[0]
        self.processor[self.networks] += time.process_time() - self.left[1]
        found = self.smooth(network, seed)
        self.left = time.perf_counter(), time.process_time()
        return found

    def trial_finished(self, trial: Trial, total: int, reused: bool) -> None:
        self.networks += trial.kind == TrialKind.NEW


def milliseconds(seconds: dict[int, float], trials: tuple[int, int]) -> float:
    """Return the mean over some trials: copies for Optuna are made in batches, which a median would
    not see.
    """
    return 1000 * fmean(seconds[trial] for trial in range(*trials))


def measure(space: str, sampler: str, late: tuple[int, int]) -> Clock:
    """Search a space in a temporary folder up to the end of `late`."""
    grammar = load_space(space)
    watch = Clock()
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "study.db")
        config = StudyConfig(sampler=sampler)
        evaluate(space, grammar, config, watch.objective, file, StoppingRule(late[1]), watch)
    return watch


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--space", default="section3")
    parser.add_argument("--sampler", default="evolution", choices=SAMPLERS)
    parser.add_argument("--trials", type=int, default=LATE[1])
    chosen = parser.parse_args()
    late = (chosen.trials - LATE[1] + LATE[0], chosen.trials)
    watch = measure(chosen.space, chosen.sampler, late)
    for trials in (EARLY, late):
        clock, processor = milliseconds(watch.clock, trials), milliseconds(watch.processor, trials)
        print(
            f"{chosen.sampler}, trials {trials[0]:,}-{trials[1]:,}: {clock:.1f} ms by the clock, "
            f"{processor:.1f} ms of processor"
        )
