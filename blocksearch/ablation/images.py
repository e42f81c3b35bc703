"""Estimates how far other images would move an effect, from its error over groups of images.

Verdicts are about the images at hand. Seeds alone grow ever surer of those; what holds for others
needs the error over images, too. Images of one group (frames of one traffic sign) are drawn
together. The interaction of seeds and images is counted twice, so intervals are a little wide.

Two errors together have more degrees of freedom than one, which could make an interval narrower
than that over seeds alone. A claim about other images says more, so it is never the surer one.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from blocksearch.ablation.moderation import Name, PairedMean
from blocksearch.ablation.power import two_sided
from blocksearch.ablation.stats import Comparison, Verdict, adjust, interval_of
from blocksearch.ablation.variant import Arm, Variant
from blocksearch.runs.metrics import ALPHA, Floats, clustered_error
from blocksearch.runs.plan import Experiment
from blocksearch.runs.records import Run

GROUPS = 20  # below it an error over groups is not to be trusted


class Generality(StrEnum):
    """Whether a verdict holds on other images, too."""

    YES = "yes"
    NOT_SHOWN = "not shown"


@dataclass(frozen=True, kw_only=True)
class OtherImages:
    """The estimate of an effect on other images.

    `error` is over images, in points. `interval` and the adjusted `p_value` have the errors over
    seeds and images; they are None below two seeds or 20 groups, and `generality` is where nothing
    was decided.
    """

    error: float
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    generality: Generality | None = None


@dataclass(frozen=True)
class ImageGroups:
    """Which group each evaluated image belongs to, as a number from 0."""

    members: NDArray[np.intp]

    @cached_property
    def sizes(self) -> Floats:
        """How many images each group has."""
        return np.bincount(self.members).astype(float)

    @classmethod
    def of(cls, experiment: Experiment) -> "ImageGroups | None":
        """Return the groups of the images by which runs are judged, each its own where images come
        alone; None if they come in groups that nobody published.
        """
        if experiment.ungrouped:
            return None
        groups = experiment.images.groups
        if groups is None:
            return cls(np.arange(experiment.images.evaluation))
        return cls(np.unique(groups, return_inverse=True)[1])

    def right(self, run: Run | None) -> Floats | None:
        """Count the images of each group that a run got right; None if it has no bits of these
        images.
        """
        if run is None or len(run.right) != len(self.members):
            return None
        counted = np.bincount(self.members, weights=run.right, minlength=len(self.sizes))
        return counted.astype(float)


def gains(
    variant: Variant,
    seeds: Sequence[int],
    groups: ImageGroups,
    lookup: Callable[[Arm, int], Run | None],
) -> Floats | None:
    """Return by how many images of each group a variant is better than its reference, as the mean
    over seeds; of an interaction, the difference of both gains. None if a run has no bits.
    """
    assert variant.network
    total = np.zeros(len(groups.sizes))
    for seed in seeds:
        own, reference = (groups.right(lookup(variant.arms[place], seed)) for place in (1, 0))
        if own is None or reference is None:
            return None
        total += own - reference
    found = total / len(seeds)
    if variant.minus is None:
        return found
    minus = gains(variant.minus, seeds, groups, lookup)
    return None if minus is None else found - minus


def on_other_images(
    compared: Mapping[Name, Comparison],
    gained: Mapping[Name, Floats],
    groups: ImageGroups | Mapping[Name, ImageGroups],
) -> dict[Name, OtherImages]:
    """Say of each comparison what its effect would be on other images, by its gains in groups, all
    of one set or each of its own.

    The p-values are adjusted for the family as those of the verdicts are.
    """
    sets = dict.fromkeys(gained, groups) if isinstance(groups, ImageGroups) else groups
    errors = {name: 100 * clustered_error(own, sets[name].sizes) for name, own in gained.items()}
    both = {
        name: _with_both(compared[name], error, len(own) - 1)
        for name, error in errors.items()
        if compared[name].n >= 2 and len(own := sets[name].sizes) >= GROUPS
    }
    family = [own for own in compared.values() if own.n >= 2]
    rest = {own: 1.0 for own in compared if own not in both and compared[own].n >= 2}
    raw = {
        name: min(1.0, max(own.p, compared[name].p_raw or 0.0) / compared[name].share)
        for name, own in both.items()
    }
    adjusted = adjust(raw | rest)
    return {
        name: _judged(compared[name], error, both[name], adjusted[name], len(family))
        if name in both
        else OtherImages(error=error)
        for name, error in errors.items()
    }


def _with_both(own: Comparison, error: float, freedom: int) -> PairedMean:
    """Join the errors over seeds and over images, with Satterthwaite's degrees of freedom."""
    assert own.error is not None and own.freedom is not None
    assert own.difference is not None and own.p_raw is not None
    joint = math.hypot(own.error, error)
    parts = own.error**4 / own.freedom + error**4 / freedom
    joint_freedom = joint**4 / parts if parts else own.freedom
    p = two_sided(own.difference / joint, joint_freedom) if joint else own.p_raw
    return PairedMean(
        n=own.n, mean=own.difference, error=joint, freedom=joint_freedom, p=p, p_own=p
    )


def _judged(
    own: Comparison, error: float, both: PairedMean, p_value: float, size: int
) -> OtherImages:
    level = ALPHA * own.share / size
    interval = interval_of(both, level, decided=p_value < ALPHA)
    if interval and own.interval:
        (low, high), (own_low, own_high) = interval, own.interval
        interval = min(low, own_low), max(high, own_high)
    match own.verdict:
        case Verdict.UNDECIDED:
            holds = None
        case Verdict.WITHIN:
            holds = bool(interval and max(map(abs, interval)) < own.margin)
        case Verdict.HELPS | Verdict.HURTS | Verdict.HIGHER | Verdict.LOWER:
            holds = p_value < ALPHA
        case _:
            assert_never(own.verdict)
    known = {None: None, True: Generality.YES, False: Generality.NOT_SHOWN}
    return OtherImages(error=error, interval=interval, p_value=p_value, generality=known[holds])
