"""Averages what is reported of networks over the likely scales of the model.

It is averaged over σ, given the repeated runs, and under each σ over τ, by its likelihood (Kass and
Steffey 1989). With few repeated runs, a σ that comes out small by chance would believe lucky
results, and its intervals would leave out that it is not known. σ's prior is half-Cauchy (Gelman
2006), whose scale is the guess that a search begins with: it yields to runs that contradict it.
Single runs say nothing of σ, as σ and τ cannot be told apart by them.

Networks whose results are worth as many seeds, and whose options the space has, are alike: under
each scale they have one weight. So their features are multiplied once for all scales.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from blocksearch.runs.metrics import Floats
from blocksearch.search.surrogate import (
    OWN,
    PART,
    SEED_DEVIATION,
    SEED_FREEDOM,
    Evidence,
    Features,
    Scales,
    SeedNoise,
    Seen,
)

# quantiles of σ as a normal variable, and their weights
LIKELY = np.linspace(-2.5, 2.5, 11)
WEIGHTS = np.exp(-(LIKELY**2) / 2) / np.exp(-(LIKELY**2) / 2).sum()
NEGLIGIBLE = 1e-3  # weight of scales that an average leaves out
_AT_A_TIME = 64  # groups of networks


def likely_variances(noise: SeedNoise) -> Floats:
    """Return eleven values of the variance between seeds, with the weights `WEIGHTS`, given the
    runs and a half-Cauchy prior of the deviation, whose scale is the guess; from a twentieth of
    that to 50 times as much.

    >>> likely_variances(SeedNoise(4.0, 60))[[1, 5, 9]].round(1)
    array([2.9, 4. , 6. ])
    """
    guess = SEED_FREEDOM * SEED_DEVIATION**2
    squares = max(noise.variance * (SEED_FREEDOM + noise.freedom) - guess, 0.0)
    values = SEED_DEVIATION * np.geomspace(1 / 20, 50, 2001)
    prior = np.log(values) - np.log1p((values / SEED_DEVIATION) ** 2)
    logs = prior - noise.freedom * np.log(values) - squares / (2 * values**2)
    shares = np.exp(logs - logs.max())
    below = np.cumsum(shares) - shares / 2
    wanted = [NormalDist().cdf(each) for each in LIKELY]
    found: Floats = np.interp(wanted, below / shares.sum(), values) ** 2
    return found


def likely_scales(
    features: Features, seen: Seen, noise: SeedNoise, chosen: Scales
) -> list[tuple[float, Scales]]:
    """Return scales with their weights, σ over its posterior and τ over its likelihood; the others
    keep the shares that were chosen.
    """
    shares = [part / chosen.spread for part in (chosen.costs, chosen.factors, chosen.pairs)]
    found: list[tuple[float, Scales]] = []
    for seeds, worth in zip(likely_variances(noise).tolist(), WEIGHTS, strict=True):
        evidence = Evidence(features, seen, seeds)
        scales = [evidence.scales((*shares, own)) for own in OWN]
        logs = np.array([evidence.log_likelihood(each) for each in scales])
        weights = np.exp(logs - logs.max())
        found += zip((worth * weights / weights.sum()).tolist(), scales, strict=True)
    return found


def averaged(
    features: Features, seen: Seen, noise: SeedNoise, chosen: Scales
) -> tuple[Floats, Floats]:
    """Return mean and deviation of the true accuracy of each network that has results."""
    every = likely_scales(features, seen, noise, chosen)
    worth, scales = zip(*((w, own) for w, own in every if w > NEGLIGIBLE), strict=True)
    alike = _alike(features, seen)
    posterior = _Posterior(features, scales, np.array(worth) / sum(worth))
    for first in range(0, len(alike), _AT_A_TIME):
        posterior.learn(seen, alike[first : first + _AT_A_TIME])
    mean, variance = np.zeros(len(seen.means)), np.zeros(len(seen.means))
    posterior.settle()
    for group in alike:
        for places, own_mean, own_variance in posterior.expected(seen, group):
            mean[places], variance[places] = own_mean, own_variance
    return mean, np.sqrt(np.maximum(variance, 0.0))


@dataclass(frozen=True, kw_only=True)
class _Alike:
    """Networks whose means are worth so many seeds, with such a share of options of none."""

    count: float
    lone: tuple[float, float]
    places: NDArray[np.intp]


def _alike(features: Features, seen: Seen) -> list[_Alike]:
    """Group the networks that have equal weights under every scale."""
    lone = [np.column_stack(features.outside(seen.rows[part])) for part in seen.parts()]
    keys = np.column_stack([np.round(seen.counts, 9), np.concatenate([np.zeros((0, 2)), *lone])])
    kinds, of = np.unique(keys, axis=0, return_inverse=True)
    order = np.argsort(of.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(of.ravel(), minlength=len(kinds)))[:-1]
    return [
        _Alike(count=float(kind[0]), lone=(float(kind[1]), float(kind[2])), places=places)
        for kind, places in zip(kinds, np.split(order, ends), strict=True)
    ]


class _Posterior:
    """The posteriors of the features' weights under K scales of some weight."""

    def __init__(self, features: Features, scales: Sequence[Scales], worth: Floats) -> None:
        self._scales, self._worth = scales, worth
        self._middle = np.array([own.middle for own in scales])
        self._seeds = np.array([own.seeds for own in scales])
        self._information = np.array([np.diag(1 / own.prior(features)) for own in scales])
        self._linear = np.zeros(self._information.shape[:2])

    def _variances(self, group: _Alike) -> tuple[Floats, Floats]:
        """Return what features do not explain of a group, and the noise of its means, each K."""
        own = np.array([scales.own(*group.lone) for scales in self._scales])
        return own, self._seeds / group.count

    def learn(self, seen: Seen, groups: Sequence[_Alike]) -> None:
        """Take up the results of some groups, and multiply features once for all scales."""
        products, sums, means = zip(*(_products(seen, group) for group in groups), strict=True)
        weights = np.array([1 / sum(self._variances(group)) for group in groups])
        self._information += np.tensordot(weights.T, np.array(products), 1)
        self._linear += weights.T @ np.array(means)
        self._linear -= self._middle[:, None] * (weights.T @ np.array(sums))

    def settle(self) -> None:
        """Invert what was learnt."""
        self._covariance = np.linalg.inv(self._information)
        self._weights = np.einsum("kpq,kq->kp", self._covariance, self._linear)

    def expected(
        self, seen: Seen, group: _Alike
    ) -> Iterator[tuple[NDArray[np.intp], Floats, Floats]]:
        """Yield the indices of some networks of a group, with mean and variance of their accuracy,
        averaged over scales.
        """
        own, noise = self._variances(group)
        share = own / (own + noise)
        within = np.tensordot(self._worth * (1 - share) ** 2, self._covariance, 1)
        for places in _parts(group):
            rows = seen.rows[places]
            features = self._middle + rows @ self._weights.T
            means = features + share * (seen.means[places, None] - features)
            mean = means @ self._worth
            variance = np.einsum("np,np->n", rows @ within, rows) + self._worth @ (share * noise)
            yield places, mean, variance + (means - mean[:, None]) ** 2 @ self._worth


def _products(seen: Seen, group: _Alike) -> tuple[Floats, Floats, Floats]:
    """Return the features' products with each other, their sums, and products with the means."""
    found = [
        (rows.T @ rows, rows.sum(0), rows.T @ seen.means[places])
        for places in _parts(group)
        for rows in (seen.rows[places],)
    ]
    squares, sums, means = (sum(each) for each in zip(*found, strict=True))
    return squares, sums, means


def _parts(group: _Alike) -> list[NDArray[np.intp]]:
    return np.array_split(group.places, len(group.places) // PART + 1)
