"""Paired accuracies to effects with intervals and verdicts that cannot contradict each other. The
one door to scipy's tests.

Accuracies, differences and margins are in percentage points. A family is everything that one
command compares.
"""

import math
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from blocksearch.errors import ConfigError
from blocksearch.runs.metrics import RESOLUTION, spread

ALPHA = 0.05
MARGIN = 0.5  # points within which two accuracies count as equal
POWER = 0.8
MOST_SEEDS = 1000
MOST_FLIPPED = 20  # seeds up to which all 2ⁿ sign flips are enumerated
MOST_PERMUTED = 8  # entries of which all n! orders are compared
LARGEST = 1e100  # points; beyond it squares would overflow
QUANTILES = (np.arange(200) + 0.5) / 200

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Effect:
    """What a variant does against its reference, over the `n` `seeds` that both completed. None
    marks what n cannot say.

    `interval` is simultaneous over the family. `p_raw` is the paired t-test's and `p_value` its
    Holm adjustment; `p_sign_flip` is exact, and never below `p_sign_flip_smallest`. `correlation`
    is what pairing achieved, from three seeds on (of two it is ±1). `seeds_to_decide` is for an
    undecided comparison: the seeds at which the effect and spread seen so far would be decided with
    80 % power, None beyond 1,000.
    """

    n: int
    verdict: str = "undecided"
    difference: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    p_raw: float | None = None
    p_sign_flip: float | None = None
    p_sign_flip_smallest: float | None = None
    correlation: float | None = None
    seeds_to_decide: int | None = None
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Family:
    """The rules one family shares: `level` is the strictest, α/m."""

    alpha: float
    level: float
    margin: float


def compare(
    reference: Mapping[int, float],
    variants: Mapping[str, Mapping[int, float]],
    *,
    alpha: float = ALPHA,
    margin: float = MARGIN,
    rejected: Collection[str] = (),
) -> dict[str, Effect]:
    """Compare variants with one reference: see `compare_pairs`."""
    pairs = {name: (reference, accuracies) for name, accuracies in variants.items()}
    return compare_pairs(pairs, alpha=alpha, margin=margin, rejected=rejected)


def compare_pairs(
    pairs: Mapping[str, tuple[Mapping[int, float], Mapping[int, float]]],
    *,
    alpha: float = ALPHA,
    margin: float = MARGIN,
    rejected: Collection[str] = (),
) -> dict[str, Effect]:
    """Compare each variant with its reference, seed by seed, and adjust over the m pairs that share
    two seeds or more.

    *helps* and *hurts* are the Holm-adjusted paired t-test's, and come first. Intervals are
    Bonferroni's, 1 − α/m each. Where Holm decides although such an interval reaches across zero,
    that end is put at zero and is open: Holm has excluded zero. The m intervals together then miss
    with probability at most α where no effect is real, and at most (2 − 1/m)·α where some are.
    *Within ±margin* needs the whole printed interval inside ±margin: two one-sided tests at α/2m
    each, so stricter than the usual ones at α/m, chosen because no reader can then find a printed
    interval that says otherwise.

    Differences that are equal on every seed leave t no spread to measure. On a small validation set
    two seeds often agree so by chance; p is then the sign flip's 2/2ⁿ (1 for no difference), and
    the interval is that point once 2/2ⁿ decides, None before.

    Variants that an earlier look has `rejected` stay in the family, and Holm goes on behind them.

    Raises ConfigError for an accuracy that is not finite, and for alpha or margin out of range.
    """
    if not 0 < alpha < 1:
        raise ConfigError(f"alpha must lie between 0 and 1, but got {alpha}")
    if not 0 < margin < LARGEST:
        raise ConfigError(f"margin must be a positive number of points, but got {margin}")
    for name, (reference, accuracies) in pairs.items():
        _check("reference", reference)
        _check(name, accuracies)
    shared = {
        name: tuple(sorted(set(reference) & set(variant)))
        for name, (reference, variant) in pairs.items()
    }
    paired = {
        name: (_at(shared[name], reference), _at(shared[name], variant))
        for name, (reference, variant) in pairs.items()
    }
    raw = {
        name: _t_test(after - before) for name, (before, after) in paired.items() if len(after) >= 2
    }
    adjusted = dict(
        zip(raw, holm([0.0 if name in rejected else p for name, p in raw.items()]), strict=True)
    )
    family = _Family(alpha, alpha / max(1, len(raw)), margin)
    found = {
        name: _effect(*paired[name], raw[name], adjusted[name], family)
        if name in raw
        else _single(*paired[name])
        for name in pairs
    }
    return {name: replace(effect, seeds=shared[name]) for name, effect in found.items()}


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> tuple[float, float] | None:
    """Return Spearman's correlation of two lists and its two-sided p, by all permutations up to
    eight entries.

    None where there is no order: fewer than three entries, or all of a list equal.
    """
    if len(one) < 3 or len(set(one)) == 1 or len(set(other)) == 1:
        return None
    ranks, others = (stats.rankdata(values) for values in (one, other))
    found = float(np.corrcoef(ranks, others)[0, 1])
    if len(one) > MOST_PERMUTED:
        return found, float(stats.spearmanr(one, other).pvalue)
    orders = np.array(list(permutations(ranks - ranks.mean())))
    sums = np.abs(orders @ (others - others.mean()))
    observed = abs(float((ranks - ranks.mean()) @ (others - others.mean())))
    return found, float(np.mean(sums >= observed - RESOLUTION))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values by Holm's step-down rule, in the order given. Source: Holm 1979, Scand. J.
    Statist. 6, 65-70.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda k: p_values[k])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def sign_flip_p(differences: Floats) -> float | None:
    """Two-sided exact p of the mean under flips of each pair's sign; None beyond 20 seeds, where 2ⁿ
    is too many.
    """
    n = len(differences)
    if not 1 <= n <= MOST_FLIPPED:
        return None
    # Sums over all sign choices, doubled seed by seed; rounding must not make a flip smaller than
    # the data it equals.
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums + difference, sums - difference])
    observed = abs(float(differences.sum()))
    return float(
        np.mean(np.abs(sums) >= observed - RESOLUTION * max(1.0, float(np.abs(differences).sum())))
    )


def seeds_to_decide(mean: float, deviation: float, level: float, margin: float) -> int | None:
    """Return the seeds at which the t-test at `level`, or equivalence within `margin`, has 80 %
    power; None beyond 1,000.

    Both powers are the exact ones of the rules in `compare` (the t-test's in the direction of
    `mean`) for normal differences of this mean and deviation in points: Φ averaged over 200
    quantiles of the sample deviation, good to 0.002. Without deviation it is the seeds at which the
    sign flip's 2/2ⁿ falls below `level`.
    """
    if deviation == 0:
        return math.floor(1 - math.log2(level)) + 1

    def decided(n: int) -> bool:
        return max(_powers(mean, deviation, n, level, margin)) >= POWER

    if not decided(MOST_SEEDS):
        return None
    return bisect_left(range(MOST_SEEDS + 1), True, lo=2, key=decided)


def _check(name: str, accuracies: Mapping[int, float]) -> None:
    for seed, value in accuracies.items():
        if not abs(value) <= LARGEST:  # also where value is nan
            raise ConfigError(
                f"an accuracy must be finite and at most {LARGEST:g}, but {name} at seed {seed} has {value}"
            )


def _at(seeds: Sequence[int], accuracies: Mapping[int, float]) -> Floats:
    return np.array([accuracies[seed] for seed in seeds], float)


def _t_test(differences: Floats) -> float:
    deviation, mean, n = spread(differences), float(differences.mean()), len(differences)
    if deviation == 0:
        return 1.0 if abs(mean) <= RESOLUTION else _smallest_flip(n)
    return float(2 * special.stdtr(n - 1, -abs(mean) / (deviation / math.sqrt(n))))


def _smallest_flip(n: int) -> float:
    return 2.0 ** (1 - n)


def _critical(n: int, level: float) -> float:
    return -float(special.stdtrit(n - 1, level / 2))


def _single(reference: Floats, variant: Floats) -> Effect:
    """One seed has a difference but no spread; none has nothing."""
    return Effect(
        len(reference), difference=float((variant - reference)[0]) if len(reference) else None
    )


def _effect(
    reference: Floats, variant: Floats, p_raw: float, p_value: float, family: _Family
) -> Effect:
    differences = variant - reference
    n, mean, deviation = len(differences), float(differences.mean()), spread(differences)
    effect = Effect(
        n,
        difference=mean,
        interval=_interval(n, mean, deviation, p_value, family),
        p_value=p_value,
        p_raw=p_raw,
        p_sign_flip=sign_flip_p(differences),
        p_sign_flip_smallest=_smallest_flip(n),
        correlation=_correlation(reference, variant),
    )
    if p_value < family.alpha:
        return replace(effect, verdict="helps" if mean > 0 else "hurts")
    if (
        effect.interval
        and -family.margin < effect.interval[0]
        and effect.interval[1] < family.margin
    ):
        return replace(effect, verdict=f"within ±{family.margin:g}")
    return replace(
        effect, seeds_to_decide=seeds_to_decide(mean, deviation, family.level, family.margin)
    )


def _interval(
    n: int, mean: float, deviation: float, p_value: float, family: _Family
) -> tuple[float, float] | None:
    decided = p_value < family.alpha
    if deviation == 0:
        return (mean, mean) if decided or _smallest_flip(n) < family.level else None
    reach = _critical(n, family.level) * deviation / math.sqrt(n)
    low, high = mean - reach, mean + reach
    if (
        not decided
    ):  # Bonferroni's interval holds zero wherever Holm rejects nothing, but for rounding
        return min(low, 0.0), max(high, 0.0)
    return (max(low, 0.0), high) if mean > 0 else (low, min(high, 0.0))


def _correlation(reference: Floats, variant: Floats) -> float | None:
    if len(reference) < 3 or spread(reference) == 0 or spread(variant) == 0:
        return None
    return float(np.clip(np.corrcoef(reference, variant)[0, 1], -1, 1))


@lru_cache(maxsize=MOST_SEEDS)
def _sample_deviations(n: int) -> Floats:
    """Quantiles of the sample deviation of n values whose true deviation is 1."""
    return np.sqrt(2 * np.asarray(special.gammaincinv((n - 1) / 2, QUANTILES)) / (n - 1))


def _powers(
    mean: float, deviation: float, n: int, level: float, margin: float
) -> tuple[float, float]:
    """Chance that the t-test decides in the direction of `mean`, and that the interval lies inside
    ±margin.
    """
    error = deviation / math.sqrt(n)
    # The interval's reach at each quantile of the sample deviation, in standard errors; given that,
    # the mean is normal.
    reach = _critical(n, level) * _sample_deviations(n)
    room = np.maximum(margin / error - reach, 0.0)
    differs = special.ndtr(abs(mean) / error - reach)
    within = special.ndtr(room - mean / error) - special.ndtr(-room - mean / error)
    return float(differs.mean()), float(within.mean())
