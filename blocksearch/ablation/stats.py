"""Paired accuracies to comparisons whose intervals and verdicts cannot contradict each other.

Accuracies, differences and margins are in percentage points. A family is everything that one
command compares. README.md in this folder gives the reason for each rule, and what holds it.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import special

from blocksearch.ablation.config import MARGIN
from blocksearch.errors import ConfigError
from blocksearch.runs.metrics import ALPHA, RESOLUTION, spread
from blocksearch.runs.plan import MOST_SEEDS

POWER = 0.8
MOST_FLIPPED = 20  # seeds up to which all 2ⁿ sign flips are enumerated
LARGEST = 1e100  # points; beyond it squares would overflow
QUANTILES = (np.arange(200) + 0.5) / 200

Floats = NDArray[np.float64]
Accuracies = Mapping[int, float]  # by seed
Pair = tuple[Accuracies, Accuracies]  # of a reference, and of its variant
Name = TypeVar("Name", bound=Hashable)


class Verdict(StrEnum):
    """What a test decided about a difference; of two effects, which one is higher."""

    HELPS = "helps"
    HURTS = "hurts"
    WITHIN = "within"
    HIGHER = "higher"
    LOWER = "lower"
    UNDECIDED = "undecided"

    @property
    def differs(self) -> bool:
        """Whether a difference was found; *within* and *undecided* found none."""
        return self not in (Verdict.WITHIN, Verdict.UNDECIDED)

    def of_effects(self) -> "Verdict":
        """Say the verdict of a difference as one about two effects.

        >>> str(Verdict.HURTS.of_effects())
        'lower'
        """
        return {Verdict.HELPS: Verdict.HIGHER, Verdict.HURTS: Verdict.LOWER}.get(self, self)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Hold a variant against its reference over the seeds that both completed.

    `reference` and `variant` are their accuracies, seed by seed. None marks what so many seeds
    cannot say. `interval` is simultaneous over the family. `p_raw` is the paired t-test's and
    `p_value` its Holm adjustment; `p_sign_flip` is exact, and never below `p_sign_flip_smallest`.
    `correlation` is what pairing achieved, from three seeds on (of two it is ±1).
    `seeds_to_decide` is for an undecided comparison: the seeds at which the effect and spread seen
    so far would be decided with 80 % power, None beyond 1,000.
    """

    seeds: tuple[int, ...]
    reference: tuple[float, ...]
    variant: tuple[float, ...]
    margin: float
    verdict: Verdict = Verdict.UNDECIDED
    difference: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    p_raw: float | None = None
    p_sign_flip: float | None = None
    p_sign_flip_smallest: float | None = None
    correlation: float | None = None
    seeds_to_decide: int | None = None

    @property
    def n(self) -> int:
        """The number of paired seeds."""
        return len(self.seeds)

    @property
    def differences(self) -> tuple[float, ...]:
        """The variant's accuracies less the reference's, seed by seed."""
        return tuple(b - a for a, b in zip(self.reference, self.variant, strict=True))


@dataclass(frozen=True)
class _Family:
    """The rules one family shares: `level` is the strictest, α/m."""

    alpha: float
    level: float
    margin: float


def compare_pairs(
    pairs: Mapping[Name, Pair],
    *,
    alpha: float = ALPHA,
    margin: float = MARGIN,
    rejected: Collection[Name] = (),
) -> dict[Name, Comparison]:
    """Compare each variant with its reference, seed by seed, and adjust over the m pairs that share
    two seeds or more.

    *helps* and *hurts* are the Holm-adjusted paired t-test's, and come first. Intervals are
    Bonferroni's, 1 − α/m each. If Holm decides although such an interval reaches across zero,
    that end is put at zero and is open, because Holm has excluded zero. The m intervals together
    then miss with probability at most α if no effect is real, and at most (2 − 1/m)·α if some are.
    *Within* needs the whole printed interval inside ±margin. This is two one-sided tests at α/2m
    each, stricter than the usual ones at α/m, so that no printed interval says otherwise.

    Differences that are equal on every seed leave t no spread to measure. On a small validation set
    two seeds often agree so by chance; p is then the sign flip's 2/2ⁿ (1 for no difference), and
    the interval is that point once 2/2ⁿ decides, None before.

    Variants that an earlier analysis has `rejected` stay in the family, and Holm goes on behind
    them. Raises ConfigError for an accuracy that is not finite, and for alpha or margin out of
    range.

    >>> found = compare_pairs({"add": ({0: 90.0, 1: 91.0, 2: 90.5}, {0: 92.0, 1: 93.1, 2: 92.4})})
    >>> str(found["add"].verdict), round(found["add"].difference, 2)
    ('helps', 2.0)
    """
    if not 0 < alpha < 1:
        raise ConfigError(f"alpha must lie between 0 and 1, but got {alpha}")
    if not 0 < margin < LARGEST:
        raise ConfigError(f"margin must be a positive number of points, but got {margin}")
    for name, (reference, accuracies) in pairs.items():
        _check("reference", reference)
        _check(name, accuracies)
    bare = {name: _paired(*pair, margin) for name, pair in pairs.items()}
    raw = {name: _t_test(np.array(own.differences)) for name, own in bare.items() if own.n >= 2}
    adjusted = dict(
        zip(raw, holm([0.0 if name in rejected else p for name, p in raw.items()]), strict=True)
    )
    family = _Family(alpha, alpha / max(1, len(raw)), margin)
    return {
        name: _tested(own, raw[name], adjusted[name], family) if name in raw else own
        for name, own in bare.items()
    }


def sequential(
    names: Iterable[Name],
    stages: Sequence[int],
    more: Callable[[list[Name], int], Mapping[Name, Pair]],
    *,
    alpha: float = ALPHA,
    margin: float = MARGIN,
) -> dict[Name, Comparison]:
    """Compare at growing numbers of seeds until each comparison is decided or the stages are over.

    `more(names, n)` returns the accuracies of these variants' first n seeds, after those of their
    references. Each stage may be wrong with its share of the error rate, α/stages, over the whole
    family (Holm), so all of them together with at most α, whatever the outcomes depend on (union
    bound). Intervals are the repeated ones, each at its stage's share. A comparison is the one of
    the stage that decided it, or of the last; its `p_value` is adjusted for the stages, too, so
    that it is below α exactly if a difference was found. A variant without a pair at some stage
    gets no more seeds.
    """
    order, found, seen = list(names), dict[Name, Comparison](), dict[Name, Pair]()
    for stage in stages:
        open_ = [name for name in order if name not in found or _is_open(found[name])]
        if not open_:
            break
        seen |= more(open_, stage)
        rejected = {name for name, own in found.items() if own.verdict.differs}
        analysed = compare_pairs(seen, alpha=alpha / len(stages), margin=margin, rejected=rejected)
        found |= {
            name: _over_stages(analysed[name], len(stages)) for name in open_ if name in analysed
        }
    return found


def _is_open(own: Comparison) -> bool:
    return own.verdict is Verdict.UNDECIDED and own.n > 0


def _over_stages(own: Comparison, stages: int) -> Comparison:
    if own.p_value is None:
        return own
    return replace(own, p_value=min(1.0, stages * own.p_value))


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

    Both powers are the exact ones of the rules in `compare_pairs` (the t-test's in the direction of
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


def _check(name: object, accuracies: Accuracies) -> None:
    for seed, value in accuracies.items():
        if not abs(value) <= LARGEST:  # also if value is nan
            raise ConfigError(
                f"an accuracy must be finite and at most {LARGEST:g}, "
                f"but {name} at seed {seed} has {value}"
            )


def _paired(reference: Accuracies, variant: Accuracies, margin: float) -> Comparison:
    """Pair accuracies by seed. One seed has a difference but no spread; none has nothing."""
    seeds = tuple(sorted(set(reference) & set(variant)))
    before, after = (tuple(float(own[seed]) for seed in seeds) for own in (reference, variant))
    difference = after[0] - before[0] if len(seeds) == 1 else None
    return Comparison(
        seeds=seeds, reference=before, variant=after, margin=margin, difference=difference
    )


def _t_test(differences: Floats) -> float:
    deviation, mean, n = spread(differences), float(differences.mean()), len(differences)
    if deviation == 0:
        return 1.0 if abs(mean) <= RESOLUTION else _smallest_flip(n)
    return float(2 * special.stdtr(n - 1, -abs(mean) / (deviation / math.sqrt(n))))


def _smallest_flip(n: int) -> float:
    return 2.0 ** (1 - n)


def _critical(n: int, level: float) -> float:
    return -float(special.stdtrit(n - 1, level / 2))


def _tested(own: Comparison, p_raw: float, p_value: float, family: _Family) -> Comparison:
    """Test a comparison of two seeds or more."""
    differences = np.array(own.differences)
    n, mean, deviation = own.n, float(differences.mean()), spread(differences)
    interval = _interval(n, mean, deviation, p_value, family)
    needed = None
    if p_value < family.alpha:
        verdict = Verdict.HELPS if mean > 0 else Verdict.HURTS
    elif interval and -family.margin < interval[0] and interval[1] < family.margin:
        verdict = Verdict.WITHIN
    else:
        verdict = Verdict.UNDECIDED
        needed = seeds_to_decide(mean, deviation, family.level, family.margin)
    return replace(
        own,
        verdict=verdict,
        difference=mean,
        interval=interval,
        p_value=p_value,
        p_raw=p_raw,
        p_sign_flip=sign_flip_p(differences),
        p_sign_flip_smallest=_smallest_flip(n),
        correlation=_correlation(np.array(own.reference), np.array(own.variant)),
        seeds_to_decide=needed,
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
