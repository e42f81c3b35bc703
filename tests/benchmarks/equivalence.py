"""Does the fast way train as well as the plain loop? Final accuracies of both, over three nets, as a test of equivalence.

    python -m tests.benchmarks.equivalence

digits, all training images, 6 epochs, widths 8,16,32. A pilot of both arms gives the spread between seeds, from which follows
how many seeds two one-sided tests within 0.5 points need for 90 % power; then all are trained, and the tests made.
"""

import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
from scipy import stats

from blocksearch.experiments.plan import network_from, setting_from
from blocksearch.training.protocol import Prepared, Protocol, prepare
from blocksearch.training.recipe import RECIPES

NETS = ("effnet", "mobilenet", "baseline")
RECIPE = replace(RECIPES["fast"], epochs=6)
MARGIN, ALPHA, POWER = 0.5, 0.05, 0.9
PILOT = 6
FUSED = 3
WORKERS = 2


def data() -> Prepared:
    return prepare(Protocol("digits"))


def layers(name: str):
    return network_from(name, setting_from("digits", "8,16,32"), dataset="digits").layers


def fast(name: str, seeds: list[int]) -> list[float]:
    """Our way: seeds side by side in one module."""
    from blocksearch.training.train import Training

    training = Training(layers(name), data(), RECIPE, seeds)
    while not training.finished:
        training.step()
    return [outcome.accuracies[-1] for outcome in training.outcomes()]


def plain(name: str, seeds: list[int]) -> list[float]:
    """The user's way: one seed after another."""
    from blocksearch.training.plain import plain_accuracy

    return [plain_accuracy(layers(name), data(), RECIPE, seed) for seed in seeds]


def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def train(pool: ProcessPoolExecutor, seeds: list[int], found: dict) -> None:
    """Train both arms of every net with more seeds."""
    parts = [seeds[start : start + FUSED] for start in range(0, len(seeds), FUSED)]
    answers = {(arm.__name__, name): [pool.submit(arm, name, part) for part in parts] for name in NETS for arm in (fast, plain)}
    for key, futures in answers.items():
        found.setdefault(key, []).extend(accuracy for future in futures for accuracy in future.result())


def needed(found: dict) -> int:
    """Seeds of each arm and net at which the tests of the pooled difference have the power, were there no difference."""
    variance = float(np.mean([np.var(values, ddof=1) for values in found.values()]))
    quantiles = stats.norm.ppf(1 - ALPHA) + stats.norm.ppf((1 + POWER) / 2)
    return max(PILOT, math.ceil(2 * variance / len(NETS) * (quantiles / MARGIN) ** 2))


def main() -> None:
    found: dict = {}
    with ProcessPoolExecutor(WORKERS, get_context("spawn"), one_thread) as pool:
        train(pool, list(range(PILOT)), found)
        spreads = ", ".join(f"{arm} {name} {np.std(values, ddof=1):.2f}" for (arm, name), values in found.items())
        print(f"spread between seeds, points: {spreads}", flush=True)
        seeds = FUSED * math.ceil(needed(found) / FUSED)
        print(f"{seeds} seeds of each net and arm give {POWER:.0%} power, says a pilot of {PILOT}", flush=True)
        train(pool, list(range(PILOT, seeds)), found)
    arms = {name: (np.array(found["fast", name]), np.array(found["plain", name])) for name in NETS}
    for name, (ours, theirs) in arms.items():
        spreads = f"spread {ours.std(ddof=1):.2f} and {theirs.std(ddof=1):.2f}"
        print(f"{name}: fast {ours.mean():.2f} %, plain {theirs.mean():.2f} %, {spreads}")
    difference = float(np.mean([ours.mean() - theirs.mean() for ours, theirs in arms.values()]))
    error = math.sqrt(sum(ours.var(ddof=1) + theirs.var(ddof=1) for ours, theirs in arms.values()) / seeds) / len(NETS)
    freedom = 2 * len(NETS) * (seeds - 1)
    p = max(stats.t.sf((MARGIN - difference) / error, freedom), stats.t.sf((MARGIN + difference) / error, freedom))
    half = stats.t.ppf(1 - ALPHA, freedom) * error
    print(f"pooled difference {difference:+.2f} points, 90 % interval [{difference - half:+.2f}, {difference + half:+.2f}]")
    print(f"equivalent within {MARGIN} points: {'yes' if p < ALPHA else 'not shown'} (two one-sided tests, p = {p:.4f})")


if __name__ == "__main__":
    main()
