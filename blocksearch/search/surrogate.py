"""Models accuracy over factors, pairs of factors and exact costs, with the noise between seeds.

A Bayesian linear model. The mean of a network over n seeds is normal around its features' sum, with
variance τ² + σ²/n: τ is what the features do not explain, σ the deviation between seeds. How much
factors, pairs and costs may matter, and τ, maximise the marginal likelihood on a small grid; σ
comes from networks that have several seeds. A network with values outside the space gets a larger
τ², by what factors and pairs may matter, so its own results weigh more.

A search uses one value of each scale; what is reported is averaged over them (`averaging`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import sqrt
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from blocksearch.runs.metrics import Floats

Codes = NDArray[np.int16]
Lone = TypeVar("Lone", float, Floats)
MODELLED = ("flops", "params", "peak_activations")  # the costs that the model sees
# percentage points, before any network has two seeds: what effnet's seeds differ by on GTSRB
SEED_DEVIATION = 2.0
SEED_FREEDOM = 2.0  # how many degrees of freedom that guess is worth
FREEDOM_KNOWN = 4  # degrees of freedom below which the guess decides
LEARNT_FROM = 256  # networks that the scales are chosen by
OWN = (0.02, 0.1, 0.3)  # what features may leave unexplained, as a share
_SHARES = tuple(product((0.1, 0.3, 1.0), (0.1, 0.3, 1.0), (0.03, 0.1, 0.3), OWN))
PART = 16_384  # networks whose features are in memory at a time


class Features:
    """What the model sees of a network: costs, each factor's level, and each pair's, as rows of
    numbers.

    `levels` says how many options each factor has; a code of −1 is an option of none, and leaves
    its features 0.
    """

    def __init__(self, levels: Sequence[int], costs: Floats) -> None:
        self.levels = tuple(levels)
        self.pairs = [(f, g) for f in range(len(levels)) for g in range(f)]
        logs = np.log10(np.maximum(costs, 1.0))
        self._middle, self._spread = logs.mean(0), np.maximum(logs.std(0), 1e-9)
        self._starts = np.concatenate([[0], np.cumsum(self.levels)]).astype(int)
        sizes = [self.levels[f] * self.levels[g] for f, g in self.pairs]
        self._pair_starts = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
        self.groups = np.array(
            [0]
            + [1] * 2 * costs.shape[1]
            + [2] * int(self._starts[-1])
            + [3] * int(self._pair_starts[-1])
        )

    def rows(self, codes: Codes, costs: Floats) -> Floats:
        """Return N×P features; each group (costs, factors, pairs) has about unit length."""
        logs = (np.log10(np.maximum(costs, 1.0)) - self._middle) / self._spread
        ours = np.zeros((len(codes), len(self.groups)))
        ours[:, 0] = 1
        ours[:, 1 : 1 + 2 * logs.shape[1]] = np.hstack([logs, logs**2 - 1]) / np.sqrt(
            2 * logs.shape[1]
        )
        first = 1 + 2 * logs.shape[1]
        for f in range(len(self.levels)):
            self._mark(
                ours, first + self._starts[f], codes[:, f], 1 / np.sqrt(max(1, len(self.levels)))
            )
        first += self._starts[-1]
        for place, (f, g) in enumerate(self.pairs):
            known = (codes[:, f] >= 0) & (codes[:, g] >= 0)
            cell = np.where(known, codes[:, f] * self.levels[g] + codes[:, g], -1)
            self._mark(ours, first + self._pair_starts[place], cell, 1 / np.sqrt(len(self.pairs)))
        return ours

    def outside(self, rows: Floats) -> tuple[Floats, Floats]:
        """Return what share of the factors, and of their pairs, is at an option of none."""
        factors, pairs = (np.square(rows[:, self.groups == group]).sum(1) for group in (2, 3))
        some = [len(self.levels) > 0, len(self.pairs) > 0]
        return np.round(some[0] - factors, 9), np.round(some[1] - pairs, 9)

    @staticmethod
    def _mark(rows: Floats, first: int, level: NDArray[np.integer], value: float) -> None:
        known = np.flatnonzero(level >= 0)
        rows[known, first + level[known]] = value


@dataclass(frozen=True, kw_only=True)
class Scales:
    """Prior variances of costs, factors and pairs, τ² and σ², in squared percentage points."""

    costs: float
    factors: float
    pairs: float
    unexplained: float
    seeds: float
    middle: float
    spread: float

    def prior(self, features: Features) -> Floats:
        """Return the prior variance of each feature's weight."""
        kinds = np.array([self.spread, self.costs, self.factors, self.pairs])
        found: Floats = kinds[features.groups]
        return found

    def own(self, lone_factors: Lone, lone_pairs: Lone) -> Lone:
        """Return the variance of what features do not explain of networks, some of whose factors
        and pairs are at an option of none.
        """
        return self.unexplained + self.factors * lone_factors + self.pairs * lone_pairs


@dataclass(frozen=True, kw_only=True)
class FeatureRows:
    """Features of networks, N×P, made from their codes and costs where they are read: a million
    networks have gigabytes of them.
    """

    features: Features
    codes: Codes
    costs: Floats

    def __getitem__(self, place: slice | NDArray[np.intp], /) -> Floats:
        return self.features.rows(self.codes[place], self.costs[place])


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Networks with results: features N×P, the mean over seeds (percent), and how many seeds that
    is worth.
    """

    rows: Floats | FeatureRows
    means: Floats
    counts: Floats

    def parts(self) -> Iterator[slice]:
        """Divide the networks into parts whose features fit into memory."""
        for first in range(0, len(self.means), PART):
            yield slice(first, first + PART)


@dataclass(frozen=True)
class SeedNoise:
    """The noise between seeds of a network: its variance in squared percentage points, and the
    degrees of freedom of the runs that it was learnt from.
    """

    variance: float
    freedom: int

    @classmethod
    def of(cls, results: Sequence[Sequence[float]]) -> "SeedNoise":
        """Pool the variance of each network's results, with a guess worth two runs.

        >>> SeedNoise.of([[61.0, 63.0], [70.0]])
        SeedNoise(variance=3.3333333333333335, freedom=1)
        """
        several = [np.array(each) for each in results if len(each) > 1]
        freedom = sum(len(each) - 1 for each in several)
        squares = sum(float(((each - each.mean()) ** 2).sum()) for each in several)
        pooled = (SEED_FREEDOM * SEED_DEVIATION**2 + squares) / (SEED_FREEDOM + freedom)
        return cls(pooled, freedom)

    @property
    def deviation(self) -> float:
        """The deviation between seeds, in percentage points."""
        return sqrt(self.variance)

    @property
    def guessed(self) -> bool:
        """Whether the runs say less than the guess."""
        return self.freedom < FREEDOM_KNOWN


class Evidence:
    """The networks that scales are held against, at one variance between seeds."""

    def __init__(self, features: Features, seen: Seen, seeds: float) -> None:
        kept = slice(max(0, len(seen.means) - LEARNT_FROM), None)
        rows, means = seen.rows[kept], seen.means[kept]
        self._seeds, self._noise = seeds, seeds / seen.counts[kept]
        self._middle = float(np.average(means, weights=1 / (self._noise + means.var() + 1e-9)))
        self._spread = max(float(means.var()) - float(self._noise.mean()), 1.0)
        self._values = means - self._middle
        self._kernels = [
            rows[:, features.groups == group] @ rows[:, features.groups == group].T
            for group in (1, 2, 3)
        ]
        self._lone = features.outside(rows)

    def scales(self, shares: Sequence[float]) -> Scales:
        """Return scales from their shares of the spread: costs, factors, pairs, unexplained."""
        cost, factor, pair, own = (share * self._spread for share in shares)
        return Scales(
            costs=cost,
            factors=factor,
            pairs=pair,
            unexplained=own,
            seeds=self._seeds,
            middle=self._middle,
            spread=self._spread,
        )

    def log_likelihood(self, scales: Scales) -> float:
        """Return how likely what was seen is, as a logarithm and but for a constant."""
        covariance = (
            scales.spread
            + scales.costs * self._kernels[0]
            + scales.factors * self._kernels[1]
            + scales.pairs * self._kernels[2]
            + np.diag(scales.own(*self._lone) + self._noise)
        )
        try:
            root = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            return -np.inf
        solved = np.linalg.solve(root, self._values)
        return float(-0.5 * solved @ solved - np.log(np.diag(root)).sum())


def choose_scales(features: Features, seen: Seen, seeds: float) -> Scales:
    """Choose the scales under which what was seen is most likely."""
    evidence = Evidence(features, seen, seeds)
    return max(map(evidence.scales, _SHARES), key=evidence.log_likelihood)


class Model:
    """The posterior of the features' weights; results may be folded in one by one between fits."""

    def __init__(self, features: Features, scales: Scales, seen: Seen) -> None:
        self.features, self.scales = features, scales
        prior = scales.prior(features)
        self._linear, information = np.zeros(len(prior)), np.diag(1 / prior)
        for part in seen.parts():
            rows = seen.rows[part]
            weight = 1 / (self.unexplained(rows) + scales.seeds / seen.counts[part])
            self._linear += rows.T @ (weight * (seen.means[part] - scales.middle))
            scaled = rows * np.sqrt(weight)[:, None]
            information += scaled.T @ scaled  # numpy knows the symmetry: half the work
        self.covariance = np.linalg.inv(information)

    @property
    def weights(self) -> Floats:
        found: Floats = self.covariance @ self._linear
        return found

    def fold_in(
        self, row: Floats, before: tuple[float, float], after: tuple[float, float]
    ) -> Floats:
        """Update a network's (weight, mean), and return the step by which variances fall,
        (row·step)².
        """
        change = after[0] - before[0]
        self._linear = self._linear + row * (
            after[0] * (after[1] - self.scales.middle)
            - before[0] * (before[1] - self.scales.middle)
        )
        across = self.covariance @ row
        step: Floats = across * np.sqrt(max(change, 0.0) / (1 + change * float(row @ across)))
        self.covariance = self.covariance - np.outer(step, step)
        return step

    def weight(self, row: Floats, count: float) -> float:
        """Return the weight of a network's mean that is worth so many seeds."""
        return 1 / (float(self.unexplained(row[None])[0]) + self.scales.seeds / count)

    def unexplained(self, rows: Floats) -> Floats:
        """Return the variance of what the features do not explain of networks."""
        return self.scales.own(*self.features.outside(rows))

    def mean(self, rows: Floats) -> Floats:
        """Return the expected accuracy of networks, before their own results are looked at."""
        found: Floats = self.scales.middle + rows @ self.weights
        return found

    def variance(self, rows: Floats) -> Floats:
        """Return the variance of the features' part of the accuracy."""
        found: Floats = np.einsum("np,np->n", rows @ self.covariance, rows)
        return found

    def settled(self, seen: Seen) -> tuple[Floats, Floats]:
        """Return mean and deviation of the true accuracy of networks that have results of their
        own.
        """
        found = []
        for part in seen.parts():
            rows = seen.rows[part]
            share, noise = self._share(rows, seen, part), self.scales.seeds / seen.counts[part]
            found.append((1 - share) ** 2 * self.variance(rows) + share * noise)
        variance = np.concatenate([np.zeros(0), *found])
        return self.settled_means(seen), np.sqrt(np.maximum(variance, 0.0))

    def settled_means(self, seen: Seen) -> Floats:
        """Return the mean of the true accuracy of networks that have results of their own."""
        found = []
        for part in seen.parts():
            rows = seen.rows[part]
            expected = self.mean(rows)
            share = self._share(rows, seen, part)
            found.append(expected + share * (seen.means[part] - expected))
        return np.concatenate([np.zeros(0), *found])

    def _share(self, rows: Floats, seen: Seen, part: slice) -> Floats:
        """Return the weight of a network's own results against the model's prediction."""
        unexplained = self.unexplained(rows)
        found: Floats = unexplained / (unexplained + self.scales.seeds / seen.counts[part])
        return found
