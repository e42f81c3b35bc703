"""Does every sampler keep to what is affordable and untrained? Counted on a space with thousands of
members under a budget.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.filter
    OMP_NUM_THREADS=1 python -m tests.benchmarks.filter --sampler gp

Accuracies are made up; proposals are the search's own. A trial is a duplicate where its network is
that of an earlier trial.
"""

import argparse
import time

from blocksearch.search.config import StudyConfig
from blocksearch.search.samplers import SAMPLERS
from blocksearch.space.load import load_space
from tests.benchmarks.queues import Space, new, take

SPACE, BUDGETS = "section3", ("flops <= 500k", "params <= 24k")
TRIALS = {"gp": 300}


def measure(sampler: str, trials: int) -> tuple[int, int, int, float]:
    """Search with a sampler; return the trials, duplicates and networks over budget among them, and
    the seconds it took.
    """
    start = time.perf_counter()
    queue = Space(load_space(SPACE), BUDGETS).queue(StudyConfig(sampler=sampler), trials)
    found = new(take(queue))
    seconds = time.perf_counter() - start
    pool = queue.policy.pool
    prints = {pool.network(trial.row).digest for trial in found}
    over = sum(
        pool.cost(trial.row)["flops"] > 500_000 or pool.cost(trial.row)["params"] > 24_000
        for trial in found
    )
    return len(found), len(found) - len(prints), over, seconds


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--sampler", choices=SAMPLERS)
    asked = parser.parse_args().sampler
    members = load_space(SPACE).where(*BUDGETS).size
    print(f"{SPACE} within {' and '.join(BUDGETS)}: {members:,} members")
    print(f"{'sampler':10} {'trials':>6} {'duplicates':>10} {'over budget':>11} {'seconds':>8}")
    for sampler in [asked] if asked else SAMPLERS:
        trials, duplicates, over, seconds = measure(sampler, TRIALS.get(sampler, 1_000))
        print(f"{sampler:10} {trials:6,} {duplicates:10} {over:11} {seconds:8.1f}", flush=True)
