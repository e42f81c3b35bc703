"""Paired accuracies to effects with intervals and verdicts that cannot contradict each other. The one door to scipy's tests.

Accuracies and differences are in percentage points. A family is everything that one command compares.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from blocksearch.errors import UsageError

ALPHA = 0.05
MARGIN = 0.5  # points within which two accuracies count as equal
POWER = 0.8
MOST_SEEDS = 1000
MOST_FLIPPED = 20  # seeds up to which all 2ⁿ sign flips are enumerated

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Effect:
    """What a variant does against its reference, over the `n` seeds that both completed.

    `interval` is simultaneous over the family; `p_value` is the paired t-test's, Holm-adjusted; `p_sign_flip` is exact, and never
    below `p_sign_flip_smallest`; `correlation` is what pairing achieved. `seeds_to_decide` is for an undecided comparison: the
    seeds at which the effect and spread seen so far would be decided with 80 % power, None beyond 1,000.
    """

    n: int
    verdict: str = "undecided"
    difference: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    p_sign_flip: float | None = None
    p_sign_flip_smallest: float | None = None
    correlation: float | None = None
    seeds_to_decide: int | None = None


def compare(
    reference: Mapping[int, float],
    variants: Mapping[str, Mapping[int, float]],
    *,
    alpha: float = ALPHA,
    margin: float = MARGIN,
) -> dict[str, Effect]:
    """Compare each variant with the reference, seed by seed.

    *helps* and *hurts* are the Holm-adjusted paired t-test's. Intervals are Bonferroni's, 1 − α/m each over the m comparisons
    with two seeds or more; where Holm decides although such an interval reaches across zero, its end is put at zero, which Holm's
    test has excluded. (All intervals together then miss with a probability between α and 2α at worst, when some effects are
    exactly zero.) *Within ±margin* needs the printed interval inside ±margin: stricter than two one-sided tests at α/m, and
    the figure that stands beside the verdict bears it out. Raises UsageError for an accuracy that is not finite.
    """
    pairs = {name: _paired(reference, accuracies) for name, accuracies in variants.items()}
    family = [name for name, (a, _) in pairs.items() if len(a) >= 2]
    raw = {name: _t_test(pairs[name][1] - pairs[name][0]) for name in family}
    adjusted = dict(zip(family, holm([raw[name] for name in family]), strict=True))
    level = alpha / max(1, len(family))
    return {
        name: _effect(*pair, adjusted[name], alpha=alpha, level=level, margin=margin) if name in adjusted else _single(*pair)
        for name, pair in pairs.items()
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values by Holm's step-down rule, in the order given."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda k: p_values[k])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def sign_flip_p(differences: Floats) -> float | None:
    """Two-sided exact p of the mean under flips of each pair's sign; None beyond 20 seeds, where 2ⁿ is too many."""
    n = len(differences)
    if not 1 <= n <= MOST_FLIPPED:
        return None
    # Sums over all sign choices, doubled seed by seed; rounding must not make a flip larger than the data it equals.
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums + difference, sums - difference])
    observed = abs(float(differences.sum()))
    return float(np.mean(np.abs(sums) >= observed - 1e-9 * max(1.0, float(np.abs(differences).sum()))))


def seeds_to_decide(mean: float, deviation: float, level: float, margin: float) -> int | None:
    """Return the seeds at which a paired t-test at `level`, or equivalence within `margin`, has 80 % power; None beyond 1,000.

    Power of the t-test is exact (noncentral t); that of equivalence is the usual two-sided approximation from the same t.
    """
    if deviation == 0:
        return 2

    def decided(n: int) -> bool:
        return max(_t_power(mean, deviation, n, level), _within_power(mean, deviation, n, level, margin)) >= POWER

    if not decided(MOST_SEEDS):
        return None
    return bisect_left(range(MOST_SEEDS + 1), True, lo=2, key=decided)


def _paired(reference: Mapping[int, float], variant: Mapping[int, float]) -> tuple[Floats, Floats]:
    for accuracies in (reference, variant):
        for seed, value in accuracies.items():
            if not math.isfinite(value):
                raise UsageError(f"an accuracy must be finite, but seed {seed} has {value}")
    seeds = sorted(set(reference) & set(variant))
    return np.array([reference[s] for s in seeds], float), np.array([variant[s] for s in seeds], float)


def _spread(differences: Floats) -> float:
    """Sample deviation, exactly zero where differences are equal up to rounding."""
    if np.ptp(differences) <= 1e-9 * max(1.0, float(np.abs(differences).max())):
        return 0.0
    return float(differences.std(ddof=1))


def _t_test(differences: Floats) -> float:
    """Two-sided p of the paired t-test; without spread it is 1 for no difference at all, and 0 for a constant one."""
    deviation, mean = _spread(differences), float(differences.mean())
    if deviation == 0:
        return 1.0 if abs(mean) <= 1e-9 else 0.0
    t = mean / (deviation / math.sqrt(len(differences)))
    return float(2 * stats.t.sf(abs(t), len(differences) - 1))


def _single(reference: Floats, variant: Floats) -> Effect:
    """One seed has a difference but no spread; none has nothing."""
    return Effect(len(reference), difference=float((variant - reference)[0]) if len(reference) else None)


def _effect(reference: Floats, variant: Floats, p_value: float, *, alpha: float, level: float, margin: float) -> Effect:
    differences = variant - reference
    n, mean, deviation = len(differences), float(differences.mean()), _spread(differences)
    reach = float(stats.t.isf(level / 2, n - 1)) * deviation / math.sqrt(n)
    low, high = mean - reach, mean + reach
    effect = Effect(
        n,
        difference=mean,
        p_value=p_value,
        p_sign_flip=sign_flip_p(differences),
        p_sign_flip_smallest=2.0 ** (1 - n),
        correlation=_correlation(reference, variant),
    )
    if p_value < alpha:
        low, high = (max(low, 0.0), high) if mean > 0 else (low, min(high, 0.0))
        return replace(effect, verdict="helps" if mean > 0 else "hurts", interval=(low, high))
    if -margin < low and high < margin:
        return replace(effect, verdict=f"within ±{margin:g}", interval=(low, high))
    return replace(effect, interval=(low, high), seeds_to_decide=seeds_to_decide(mean, deviation, level, margin))


def _correlation(reference: Floats, variant: Floats) -> float | None:
    if _spread(reference) == 0 or _spread(variant) == 0:
        return None
    return float(np.corrcoef(reference, variant)[0, 1])


def _t_power(mean: float, deviation: float, n: int, level: float) -> float:
    critical = float(stats.t.isf(level / 2, n - 1))
    shift = abs(mean) * math.sqrt(n) / deviation
    return float(stats.nct.sf(critical, n - 1, min(shift, 30.0)))


def _within_power(mean: float, deviation: float, n: int, level: float, margin: float) -> float:
    error, critical = deviation / math.sqrt(n), float(stats.t.isf(level / 2, n - 1))
    upper, lower = ((margin - mean) / error - critical, (margin + mean) / error - critical)
    return max(0.0, float(stats.t.cdf(upper, n - 1) + stats.t.cdf(lower, n - 1) - 1))
