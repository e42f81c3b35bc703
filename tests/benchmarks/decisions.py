"""The decision rule of `ablation.stats` for thousands of families at once, in numpy.

`tests/ablation/test_evidence.py` holds it to the project's own functions. Arrays are families ×
comparisons, of differences families × comparisons × seeds.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from blocksearch.ablation.looks import shares
from blocksearch.ablation.moderation import CAP, FAMILY, FLOOR, SEEDS

ALPHA = 0.05
Floats = NDArray[np.float64]
Bits = NDArray[np.bool_]


class Rule(StrEnum):
    """Which spread comparisons are tested by; the last two are controls that must fail."""

    OWN = "own spread"
    MODERATED = "moderated"
    UNWEIGHTED = "moderated, unweighted"
    POOLED = "pooled"


@dataclass(frozen=True)
class Seen:
    """What seeds say: means and variances of differences, and the number of seeds of each."""

    mean: Floats
    square: Floats
    n: Floats

    @classmethod
    def of(cls, differences: Floats) -> "Seen":
        """Summarise differences, seed by seed in the last axis."""
        mean = differences.mean(-1)
        n = np.full(mean.shape, float(differences.shape[-1]))
        return cls(mean, differences.var(-1, ddof=1), n)


def decided(differences: Floats, rule: Rule) -> Bits:
    """Say which comparisons one look decides."""
    return holm(p_values(Seen.of(differences), rule)) < ALPHA


def decided_by_looks(differences: Floats, stages: Any, rule: Rule, rates: Any = None) -> Bits:
    """Say which comparisons are decided by looks after so many seeds, each with its share."""
    rates = shares(len(stages)) if rates is None else rates
    seen, done = Seen.of(differences[..., : stages[0]]), np.zeros(differences.shape[:2], bool)
    for stage, share in zip(stages, rates, strict=True):
        new = Seen.of(differences[..., :stage])
        seen = Seen(
            *(
                np.where(done, old, own)
                for old, own in zip(vars(seen).values(), vars(new).values(), strict=True)
            )
        )
        p = np.where(done, 0.0, p_values(seen, rule))
        done |= holm(p) / share < ALPHA
    return done


def holm(p: Floats) -> Floats:
    """Adjust each family's p-values, row by row."""
    order = np.argsort(p, axis=1, kind="stable")
    m = p.shape[1]
    steps = np.minimum(1.0, np.take_along_axis(p, order, 1) * (m - np.arange(m)))
    found = np.empty_like(p)
    np.put_along_axis(found, order, np.maximum.accumulate(steps, axis=1), 1)
    return found


def p_values(seen: Seen, rule: Rule) -> Floats:
    """Return raw p-values of comparisons with some spread."""
    f = seen.n - 1
    own = _two_sided(seen.mean / np.sqrt(seen.square / seen.n), f)
    if rule is Rule.OWN or seen.mean.shape[1] < FAMILY or seen.n.min() < SEEDS:
        return own
    if rule is Rule.POOLED:
        square = seen.square.mean(1, keepdims=True)
        return _two_sided(seen.mean / np.sqrt(square / seen.n), f.sum(1, keepdims=True))
    d0, usual = _priors(seen.square, f)
    if rule is Rule.UNWEIGHTED:
        lent = np.minimum(d0, 8.0)
    else:
        cap = np.minimum(d0, CAP)
        lent = cap * special.fdtrc(f, cap, seen.square / usual)
    square = np.maximum(seen.square, (lent * usual + f * seen.square) / (lent + f))
    p = _two_sided(seen.mean / np.sqrt(square / seen.n), f + lent)
    unsure = own > ALPHA
    return np.where(unsure & (rule is Rule.MODERATED), np.maximum(p, own), p)


def _two_sided(t: Floats, f: Floats) -> Floats:
    return np.asarray(2 * special.stdtr(f, -np.abs(t)))


def _priors(square: Floats, f: Floats) -> tuple[Floats, Floats]:
    """Fit each family's prior: degrees of freedom (uncapped) and variance, as columns."""
    floor = FLOOR * np.median(square, axis=1, keepdims=True)
    logs = np.log(np.maximum(square, floor)) - special.psi(f / 2) + np.log(f / 2)
    mean = logs.mean(1, keepdims=True)
    excess = logs.var(1, ddof=1, keepdims=True)
    excess = excess - special.polygamma(1, f / 2).mean(1, keepdims=True)
    usable = excess > 1e-12
    target = np.where(usable, excess, 1.0)
    y = 0.5 + 1 / target
    for _ in range(30):
        slope = special.polygamma(1, y)
        y += slope * (1 - slope / target) / special.polygamma(2, y)
    shifted = np.exp(mean + special.psi(y) - np.log(y))
    return np.where(usable, 2 * y, np.inf), np.where(usable, shifted, np.exp(mean))
