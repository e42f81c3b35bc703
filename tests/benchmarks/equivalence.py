"""Does the fast way train as well as the plain loop? Final accuracies of both, over three nets, as
a test of equivalence.

    python -m tests.benchmarks.equivalence

digits, 8,000 training images, 6 epochs, widths 8,16,32. Seed s has the same first weights and the
same batches in both arms. A pilot gives the spread of the differences, from which follows how many
seeds two one-sided tests within 0.5 points need for 90 % power; then all are trained, and the tests
made. The nets are three that have nearly converged by then: of effnet and mobilenet, which have
not, pairs differ by 1.8 points from rounding alone, and 33 seeds of each would be needed.
"""

import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
from scipy import stats

from blocksearch.arch.notation import parse
from blocksearch.data.splits import Prepared, Split, prepare
from blocksearch.runs.plan import task_from
from blocksearch.training.recipe import RECIPES
from blocksearch.training.schedules import SCHEDULES

NETS = ("baseline", "mobilenet_v2", "mob_imp")
RECIPE = replace(RECIPES["fast"], epochs=6)
MARGIN, ALPHA, POWER = 0.5, 0.05, 0.9
PILOT = 6
FUSED = 3
WORKERS = 2


def data() -> Prepared:
    return prepare(Split("digits", images=8000))


def layers(name: str):
    return parse(name, task_from("digits", "8,16,32"), dataset="digits").layers


def fast(name: str, seeds: list[int]) -> list[float]:
    """Our way: seeds side by side in one module."""
    from blocksearch.training.trainer import Training

    training = Training(layers(name), data(), RECIPE, seeds)
    while not training.finished:
        training.step()
    return [outcome.accuracies[-1] for outcome in training.outcomes()]


def plain(name: str, seeds: list[int]) -> list[float]:
    """The user's way: one seed after another."""
    return [_plain_accuracy(name, data(), seed) for seed in seeds]


def _plain_accuracy(name: str, images: Prepared, seed: int) -> float:
    """Train one seed the plain way, with weights and batch order of our own training of it; return
    the last epoch's accuracy in percent.
    """
    import torch
    from torch.utils.data import DataLoader

    from blocksearch.training.plain import _Loop, _Pictures

    loop = _Loop(layers(name), images, RECIPE, seed, "cpu")
    order, count = np.random.Generator(np.random.PCG64(seed)), len(images.training.labels)
    pictures, steps = loop.loader.dataset, count // RECIPE.batch
    schedule = SCHEDULES.made(RECIPE.schedule)
    for epoch in range(RECIPE.epochs):
        own = order.permutation(count).tolist()
        loader = DataLoader(pictures, RECIPE.batch, sampler=own, drop_last=True)
        for batch, (x, y) in enumerate(loader):
            for group in loop.optimizer.param_groups:
                share = schedule(epoch * steps + batch, RECIPE.epochs * steps)
                group["lr"] = RECIPE.learning_rate * share
            loop.step(x, y)
    loop.module.eval()
    with torch.no_grad():
        batches = DataLoader(_Pictures(images.evaluation, images), RECIPE.batch)
        right = sum(int((loop.module(x).argmax(1) == y).sum()) for x, y in batches)
    return 100 * right / len(images.evaluation.labels)


def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def train(pool: ProcessPoolExecutor, seeds: list[int], found: dict) -> None:
    """Train both arms of every net with more seeds."""
    parts = [seeds[start : start + FUSED] for start in range(0, len(seeds), FUSED)]
    answers = {
        (arm.__name__, name): [pool.submit(arm, name, part) for part in parts]
        for name in NETS
        for arm in (fast, plain)
    }
    for key, futures in answers.items():
        found.setdefault(key, []).extend(
            accuracy for future in futures for accuracy in future.result()
        )


def differences(found: dict) -> dict[str, np.ndarray]:
    """Fast minus plain, pair by pair, for each net."""
    return {name: np.array(found["fast", name]) - np.array(found["plain", name]) for name in NETS}


def needed(found: dict) -> int:
    """Seeds of each net at which the tests of the pooled difference have the power, were there no
    difference.
    """
    variance = float(np.mean([own.var(ddof=1) for own in differences(found).values()]))
    quantiles = stats.norm.ppf(1 - ALPHA) + stats.norm.ppf((1 + POWER) / 2)
    return max(PILOT, math.ceil(variance / len(NETS) * (quantiles / MARGIN) ** 2))


def main() -> None:
    found: dict = {}
    with ProcessPoolExecutor(WORKERS, get_context("spawn"), one_thread) as pool:
        train(pool, list(range(PILOT)), found)
        spreads = ", ".join(
            f"{name} {own.std(ddof=1):.2f}" for name, own in differences(found).items()
        )
        seeds = FUSED * math.ceil(needed(found) / FUSED)
        print(
            f"pilot of {PILOT} seeds: pairs differ with a spread of {spreads} points; {seeds} "
            f"seeds give {POWER:.0%} power",
            flush=True,
        )
        train(pool, list(range(PILOT, seeds)), found)
    for name, own in differences(found).items():
        ours, theirs = (np.array(found[arm, name]) for arm in ("fast", "plain"))
        correlation = np.corrcoef(ours, theirs)[0, 1]
        means = f"fast {ours.mean():.2f} %, plain {theirs.mean():.2f} %, {own.mean():+.2f} points"
        print(f"{name}: {means}, correlation over seeds {correlation:+.2f}")
    difference = float(np.mean([own.mean() for own in differences(found).values()]))
    error = math.sqrt(sum(own.var(ddof=1) for own in differences(found).values()) / seeds) / len(
        NETS
    )
    freedom = len(NETS) * (seeds - 1)
    p = max(
        stats.t.sf((MARGIN - difference) / error, freedom),
        stats.t.sf((MARGIN + difference) / error, freedom),
    )
    half = stats.t.ppf(1 - ALPHA, freedom) * error
    print(
        f"pooled difference {difference:+.2f} points, 90 % interval [{difference - half:+.2f}, "
        f"{difference + half:+.2f}]"
    )
    print(
        f"equivalent within {MARGIN} points: {'yes' if p < ALPHA else 'not shown'} (two one-sided "
        f"tests, p = {p:.4f})"
    )


if __name__ == "__main__":
    main()
