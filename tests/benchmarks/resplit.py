"""Small trainings whose true difference is known: two kinds of networks, with seeds crossed with
splits of the same images, and drawn anew for the truth.

An image is a point in six dimensions whose class depends on two of them and their product. A
network has hidden units that its seed draws, and may see products of dimensions, too; its readout
is a ridge regression, so that it trains in microseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blocksearch.ablation.power import critical
from blocksearch.ablation.splits import crossed
from blocksearch.runs.metrics import ALPHA

Floats = NDArray[np.float64]
IMAGES, HELD_OUT, SIDES, PENALTY = 150, 0.2, 6, 1.0
OVERLAP = HELD_OUT / (1 - HELD_OUT)


@dataclass(frozen=True)
class Kind:
    """A kind of network: its hidden units, what they do, and what else it sees."""

    units: int
    rectified: bool = False
    products: bool = False
    points: bool = False

    def sees(self, seed: int, points: Floats) -> Floats:
        """Return what the readout of a network sees of images."""
        weights = np.random.default_rng([seed, self.units]).normal(size=(SIDES + 1, self.units))
        hidden = points @ weights[1:] + weights[0]
        own = [np.ones((len(points), 1)), np.maximum(hidden, 0) if self.rectified else hidden > 0]
        if self.points or self.products:
            own.append(points)
        if self.products:
            first, second = np.triu_indices(SIDES)
            own.append(points[:, first] * points[:, second])
        return np.hstack(own)


@dataclass(frozen=True)
class World:
    """Two kinds of networks of which the second is compared with the first."""

    name: str
    kinds: tuple[Kind, Kind]

    def differences(self, random: np.random.Generator, n: int, splits: int) -> Floats:
        """Draw images, train n seeds on each split of them; return differences, n×J, in points."""
        points, classes = drawn(random, IMAGES)
        order = np.argsort(random.random((splits, IMAGES)), axis=1)
        judged = (order < HELD_OUT * IMAGES).astype(float)
        seeds = random.integers(2**32, size=n)
        return np.array([self._one(seed, points, classes, judged) for seed in seeds.tolist()])

    def truth(self, random: np.random.Generator, repeats: int) -> float:
        """Return the mean difference over new images and seeds, judged by many images."""
        learnt, found = round((1 - HELD_OUT) * IMAGES), []
        for seed in random.integers(2**32, size=repeats).tolist():
            points, classes = drawn(random, 1000)
            judged = (np.arange(1000) >= learnt).astype(float)[None]
            found.append(self._one(seed, points, classes, judged))
        return float(np.mean(found))

    def _one(self, seed: int, points: Floats, classes: Floats, judged: Floats) -> Floats:
        before, after = (
            (right(kind.sees(seed, points), classes, 1 - judged) * judged).sum(1)
            for kind in self.kinds
        )
        return np.asarray(100 * (after - before) / judged.sum(1))


SEEDS_MATTER = World("seeds matter", (Kind(8, rectified=True), Kind(12)))
IMAGES_MATTER = World("images matter", (Kind(1, points=True), Kind(1, products=True)))
WORLDS = (SEEDS_MATTER, IMAGES_MATTER)


def drawn(random: np.random.Generator, count: int) -> tuple[Floats, Floats]:
    """Draw images, N×6, and their classes, −1 or 1."""
    points = random.normal(size=(count, SIDES))
    scores = points[:, 0] + points[:, 1] + 0.7 * points[:, 0] * points[:, 1]
    return points, np.sign(scores + random.normal(size=count))


def right(seen: Floats, classes: Floats, learnt: Floats) -> Floats:
    """Learn from some images, J×N of 0 and 1, each time; say which images come out right, J×N."""
    weighted = learnt[:, :, None] * seen
    grams = np.swapaxes(weighted, 1, 2) @ seen + PENALTY * np.eye(seen.shape[1])
    readouts = np.linalg.solve(grams, ((learnt * classes) @ seen)[..., None])
    return (np.sign(seen @ readouts)[..., 0] == classes).astype(float)


RULES = ("seeds and splits", "all runs as one sample (control)", "splits as a sample (control)")


def covered(drawings: Sequence[Floats], truth: float) -> list[float]:
    """Say how often the 95 % interval of each rule holds the truth, in percent."""
    held = []
    for own in drawings:
        off, ours = abs(own.mean() - truth), crossed(own, OVERLAP).at(ALPHA)
        reaches = [critical(ours.freedom, ALPHA) * ours.error]
        for sample in (own.ravel(), own.mean(0)):
            error = sample.std(ddof=1) / np.sqrt(len(sample))
            reaches.append(critical(len(sample) - 1, ALPHA) * error)
        held.append([off <= reach for reach in reaches])
    return [100 * float(share) for share in np.mean(held, axis=0)]
