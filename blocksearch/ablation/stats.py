"""Turns paired accuracies into comparisons whose intervals and verdicts never contradict.

Accuracies, differences and margins are in percentage points. A family is everything that one
command compares. README.md in this folder gives the reason for each rule, and what holds it.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypedDict, assert_never

import numpy as np

from blocksearch.ablation.config import MARGIN, Variance
from blocksearch.ablation.flips import sign_flip_p, smallest_flip
from blocksearch.ablation.moderation import Name, PairedMean, Prior, estimates
from blocksearch.ablation.power import critical, smallest_effect
from blocksearch.ablation.splits import crossed
from blocksearch.errors import ConfigError
from blocksearch.runs.metrics import ALPHA, Floats, spread

LARGEST = 1e100  # points; beyond it squares would overflow

Accuracies = Mapping[int, float | Floats]  # by seed; an array has one for each split
Pair = tuple[Accuracies, Accuracies]  # of a reference, and of its variant


class Rules(TypedDict, total=False):
    """The rules by which comparisons are decided, as a user chooses them and the images require."""

    margin: float
    variance: Variance
    overlap: float


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
        match self:
            case Verdict.HELPS | Verdict.HURTS | Verdict.HIGHER | Verdict.LOWER:
                return True
            case Verdict.WITHIN | Verdict.UNDECIDED:
                return False
        assert_never(self)

    def of_effects(self) -> "Verdict":
        """Say the verdict of a difference as one about two effects.

        >>> str(Verdict.HURTS.of_effects())
        'lower'
        """
        match self:
            case Verdict.HELPS | Verdict.HIGHER:
                return Verdict.HIGHER
            case Verdict.HURTS | Verdict.LOWER:
                return Verdict.LOWER
            case Verdict.WITHIN | Verdict.UNDECIDED:
                return self
        assert_never(self)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Hold a variant against its reference over the seeds that both completed.

    `reference` and `variant` are their accuracies, seed by seed. None marks what so many seeds
    cannot say. `interval` is simultaneous over the family. `p_raw` is the paired t-test's and
    `p_value` its adjustment for the family and for interim analyses; `p_sign_flip` is exact, and
    never below `p_sign_flip_smallest`. `correlation` is what pairing achieved, from three seeds on
    (of two it is ±1).

    `error` is that of the difference over seeds, known by `freedom` degrees of freedom, and `prior`
    is what moderated it, if anything; `p_own` is the t-test's p without it. `level` is what the
    interval misses by itself, and `share` the part of the error rate that its analysis may spend.
    Over several validation splits, accuracies are means over them, and `by_split` has the
    difference on each; there is no sign flip then.
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
    error: float | None = None
    freedom: float | None = None
    p_own: float | None = None
    level: float | None = None
    share: float = 1.0
    prior: Prior | None = None
    by_split: tuple[float, ...] = ()

    @property
    def n(self) -> int:
        """The number of paired seeds."""
        return len(self.seeds)

    @property
    def differences(self) -> tuple[float, ...]:
        """The variant's accuracies less the reference's, seed by seed."""
        return tuple(b - a for a, b in zip(self.reference, self.variant, strict=True))

    def counted(self, looks: int) -> float | None:
        """Return the p-value if several looks at the same runs count."""
        return None if self.p_value is None else min(1.0, looks * self.p_value)

    @property
    def decides(self) -> float | None:
        """The smallest effect, in points, that these seeds decide with 80 % power; None without an
        error.
        """
        if not self.error or self.freedom is None or self.level is None:
            return None
        deviation = self.error * math.sqrt(self.n)
        return smallest_effect(deviation, self.n, self.freedom, self.level)


def compare_pairs(
    pairs: Mapping[Name, Pair],
    *,
    alpha: float = ALPHA,
    margin: float = MARGIN,
    variance: Variance = Variance.MODERATED,
    overlap: float = 0.0,
    share: float = 1.0,
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

    In a family of ten or more comparisons of five seeds or more, spreads are moderated by the
    family's, unless `variance` says otherwise: see `moderation`. Differences that are equal on
    every seed leave t no spread to measure where they have no prior. On a small validation set
    two seeds often agree so by chance; p is then the sign flip's 2/2ⁿ (1 for no difference), and
    the interval is that point once 2/2ⁿ decides, None before.

    Where accuracies are arrays, one for each validation split, seeds are crossed with splits of
    the same images, of which `overlap` are judged for each that is learnt from: see `splits`.

    An interim analysis may spend a `share` of α. Variants that an earlier one has `rejected` stay
    in the family, and Holm goes on behind them. Raises ConfigError for an accuracy that is not
    finite, and for alpha or margin out of range.

    >>> found = compare_pairs({"add": ({0: 90.0, 1: 91.0, 2: 90.5}, {0: 92.0, 1: 93.1, 2: 92.4})})
    >>> str(found["add"].verdict), round(found["add"].difference, 2)
    ('helps', 2.0)
    """
    _check(pairs, alpha, margin)
    bare = {name: _paired(*pair, margin) for name, pair in pairs.items()}
    found, prior = _estimates(pairs, bare, variance, alpha, overlap)
    level = alpha * share / max(1, len(found))  # the strictest, Bonferroni's
    adjusted = adjust({name: own.p for name, own in found.items()}, share, rejected)
    judged = {
        name: _judged(bare[name], own, adjusted[name], level, decided=adjusted[name] < alpha)
        for name, own in found.items()
    }
    return bare | {name: replace(own, share=share, prior=prior) for name, own in judged.items()}


def adjust(
    p_values: Mapping[Name, float], share: float = 1.0, rejected: Collection[Name] = ()
) -> dict[Name, float]:
    """Adjust p-values for their family and the share of the error rate that decides; those that
    are rejected already take part as the smallest.
    """
    found = holm([0.0 if name in rejected else p for name, p in p_values.items()])
    return {name: min(1.0, p / share) for name, p in zip(p_values, found, strict=True)}


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values by Holm's step-down rule, in the order given. Source: Holm 1979, Scand. J.
    Statist. 6, 65-70.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda k: p_values[k])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _check(pairs: Mapping[Name, Pair], alpha: float, margin: float) -> None:
    if not 0 < alpha < 1:
        raise ConfigError(f"alpha must lie between 0 and 1, but got {alpha}")
    if not 0 < margin < LARGEST:
        raise ConfigError(f"margin must be a positive number of points, but got {margin}")
    for name, (reference, accuracies) in pairs.items():
        _check_finite("reference", reference)
        _check_finite(name, accuracies)


def _check_finite(name: object, accuracies: Accuracies) -> None:
    for seed, value in accuracies.items():
        if not np.all(np.abs(value) <= LARGEST):  # also if value is nan
            raise ConfigError(
                f"an accuracy must be finite and at most {LARGEST:g}, "
                f"but {name} at seed {seed} has {value}"
            )


def _paired(reference: Accuracies, variant: Accuracies, margin: float) -> Comparison:
    """Pair accuracies by seed. One seed has a difference but no spread; none has nothing."""
    seeds = tuple(sorted(set(reference) & set(variant)))
    before, after = (tuple(_mean(own[seed]) for seed in seeds) for own in (reference, variant))
    difference = after[0] - before[0] if len(seeds) == 1 else None
    over = np.array([variant[seed] - reference[seed] for seed in seeds])
    by_split = tuple(map(float, over.mean(0))) if over.ndim == 2 else ()
    return Comparison(
        seeds=seeds,
        reference=before,
        variant=after,
        margin=margin,
        difference=difference,
        by_split=by_split,
    )


def _mean(value: float | Floats) -> float:
    return float(value.mean()) if isinstance(value, np.ndarray) else float(value)


def _estimates(
    pairs: Mapping[Name, Pair],
    bare: Mapping[Name, Comparison],
    variance: Variance,
    alpha: float,
    overlap: float,
) -> tuple[dict[Name, PairedMean], Prior | None]:
    """Estimate the effects of which two seeds or more are there, over splits where there are some;
    with the prior of the family, if it has one.
    """
    own = {name: each for name, each in bare.items() if each.n >= 2}
    if not any(each.by_split for each in own.values()):
        return estimates({k: np.array(v.differences) for k, v in own.items()}, variance, alpha)
    over = {
        name: np.array([pairs[name][1][seed] - pairs[name][0][seed] for seed in each.seeds])
        for name, each in own.items()
    }
    return {name: crossed(each, overlap) for name, each in over.items()}, None


def _judged(
    own: Comparison, found: PairedMean, p_value: float, level: float, *, decided: bool
) -> Comparison:
    """Say what a test found out about a comparison of two seeds or more."""
    differences, found = np.array(own.differences), found.at(level)
    interval = interval_of(found, level, decided=decided)
    if decided:
        verdict = Verdict.HELPS if found.mean > 0 else Verdict.HURTS
    elif interval and -own.margin < interval[0] and interval[1] < own.margin:
        verdict = Verdict.WITHIN
    else:
        verdict = Verdict.UNDECIDED
    return replace(
        own,
        verdict=verdict,
        difference=found.mean,
        interval=interval,
        p_value=p_value,
        p_raw=found.p,
        p_own=found.p_own,
        p_sign_flip=None if own.by_split else sign_flip_p(differences),
        p_sign_flip_smallest=None if own.by_split else smallest_flip(own.n),
        correlation=_correlation(np.array(own.reference), np.array(own.variant)),
        error=found.error,
        freedom=found.freedom,
        level=level,
    )


def interval_of(found: PairedMean, level: float, *, decided: bool) -> tuple[float, float] | None:
    """Return the interval of an effect, which excludes zero if and only if the test rejects it;
    None if there is no error to measure and nothing is decided.
    """
    mean = found.mean
    if found.error == 0:
        return (mean, mean) if decided or smallest_flip(found.n) < level else None
    reach = critical(found.freedom, level) * found.error
    low, high = mean - reach, mean + reach
    if not decided:  # Bonferroni's holds zero wherever Holm rejects nothing, but for rounding
        return min(low, 0.0), max(high, 0.0)
    return (max(low, 0.0), high) if mean > 0 else (low, min(high, 0.0))


def _correlation(reference: Floats, variant: Floats) -> float | None:
    if len(reference) < 3 or spread(reference) == 0 or spread(variant) == 0:
        return None
    return float(np.clip(np.corrcoef(reference, variant)[0, 1], -1, 1))
