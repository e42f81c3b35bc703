"""Compares variants with their references, given the runs, one row for each comparison.

The family of comparisons is everything that one call compares; its verdicts are adjusted together.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

import numpy as np

from blocksearch.ablation.config import MARGIN, AblationConfig
from blocksearch.ablation.design import alike
from blocksearch.ablation.images import ImageGroups, OtherImages, gains, on_other_images
from blocksearch.ablation.looks import sequential
from blocksearch.ablation.stats import Accuracies, Comparison, Pair, Rules, compare_pairs
from blocksearch.ablation.variant import Arm, Variant
from blocksearch.arch.cost import Cost, cost
from blocksearch.arch.network import Network
from blocksearch.runs.questions import QuestionHistory
from blocksearch.runs.records import Run
from blocksearch.training.recipe import Recipe

SHOWN = ("flops", "params", "activations")  # of `arch.cost.METRICS`
Lookup = Callable[[Arm, int], Run | None]  # the run of a network under a recipe, with a seed


class Absence(StrEnum):
    """Why a row of an ablation has no comparison."""

    INAPPLICABLE = "does not apply"
    SAME_NETWORK = "same network"
    NO_SEED = "no seed completed"


class Agreement(StrEnum):
    """What becomes of a claim that somebody made."""

    AGREES = "agrees"
    DISAGREES = "disagrees"
    UNDECIDED = "undecided"


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What a source says of a variant against its reference, and whether what was found agrees."""

    section: str
    text: str
    agreement: Agreement

    def __str__(self) -> str:
        return f"Section {self.section}: {self.text}, {self.agreement}"


@dataclass(frozen=True, kw_only=True)
class VariantResult:
    """A variant with what its runs say.

    `comparison` is None for references and if there is an `absence`. `runs` are those of the
    variant's network that completed, of the seeds that it was judged by; `failed` are the others.
    `elsewhere` says what the effect would be on other images, if that was asked.
    The accuracies of an interaction are effects, in points. Over several validation splits they
    are means over these, and `runs` has those of every split.
    """

    variant: Variant
    comparison: Comparison | None
    absence: Absence | None
    runs: tuple[Run, ...]
    failed: tuple[Run, ...]
    statements: tuple[Statement, ...] = ()
    elsewhere: OtherImages | None = None

    @cached_property
    def cost(self) -> Cost | None:
        """What the variant's network costs; None if it has none, or is an interaction's."""
        network = self.variant.network
        return cost(network.layers) if network and not self.variant.is_interaction else None

    @cached_property
    def reference_cost(self) -> Cost:
        """What the reference costs."""
        return cost(self.variant.reference.layers)

    @property
    def digest(self) -> str:
        """Digest of the variant's network, "" without one."""
        return self.variant.network.digest if self.variant.network else ""

    @property
    def accuracies(self) -> dict[int, float]:
        """Accuracy in percent by seed, of an interaction the effect in points."""
        if self.variant.is_interaction:
            own = self.comparison
            return dict(zip(own.seeds, own.variant, strict=True)) if own else {}
        found: dict[int, list[float]] = {}
        for run in self.runs:
            if run.accuracy is not None:
                found.setdefault(run.key.seed, []).append(run.accuracy)
        return {seed: sum(own) / len(own) for seed, own in found.items()}

    @property
    def curves(self) -> dict[int, tuple[float, ...]]:
        """Accuracy after each epoch, by seed."""
        own = () if self.variant.is_interaction else self.runs
        whole = [run for run in own if len(run.accuracies) == run.epoch_to - run.epoch_from]
        found: dict[int, list[tuple[float, ...]]] = {}
        for run in whole:
            found.setdefault(run.key.seed, []).append(run.accuracies)
        return {
            seed: tuple(sum(each) / len(each) for each in zip(*own, strict=False))
            for seed, own in found.items()
        }

    def record(self, asked: QuestionHistory | None = None) -> dict[str, object]:
        """Return a flat record: accuracies in percent, differences in points, costs for one image.

        `n` seeds have an accuracy; what does not apply is None. `p_value_counted` counts all
        questions that were `asked` about these runs.
        """
        variant, own = self.variant, self.comparison or NOTHING
        found = list(self.accuracies.values())
        return {
            "given": variant.given,
            "factor": variant.factor,
            "value": variant.value,
            "reference": variant.reference_value,
            "role": str(variant.role),
            "channels": variant.channels,
            "text": str(variant.network) if variant.network else None,
            "network_id": variant.network.digest if variant.network else None,
            **self._costs(),
            "n": len(found),
            "seeds": list(self.accuracies),
            "accuracy": sum(found) / len(found) if found and self.cost else None,
            "accuracies": found,
            **self._effect(),
            "differences_by_split": list(own.by_split) or None,
            "correlation": own.correlation,
            "verdict": str(own.verdict) if self.comparison else None,
            "margin": own.margin if self.comparison else None,
            "absence": self.absence and str(self.absence),
            "rule": variant.rule,
            "claims": [str(statement) for statement in self.statements],
            "smallest_effect": own.decides,
            "p_value_counted": own.counted(asked.count if asked else 1),
            "failures": [run.ending for run in self.failed],
        }

    def _effect(self) -> dict[str, object]:
        own, elsewhere = self.comparison or NOTHING, self.elsewhere
        low, high = own.interval or (None, None)
        far_low, far_high = (elsewhere and elsewhere.interval) or (None, None)
        return {
            "difference": own.difference,
            "interval_low": low,
            "interval_high": high,
            "error": own.error,
            "freedom": own.freedom,
            "p_value": own.p_value,
            "p_raw": own.p_raw,
            "p_own": own.p_own,
            "error_images": elsewhere and elsewhere.error,
            "images_interval_low": far_low,
            "images_interval_high": far_high,
            "images_p_value": elsewhere and elsewhere.p_value,
            "other_images": elsewhere and elsewhere.generality and str(elsewhere.generality),
            "p_sign_flip": own.p_sign_flip,
            "p_sign_flip_smallest": own.p_sign_flip_smallest,
        }

    def _costs(self) -> dict[str, int | None]:
        if self.cost is None:
            return dict.fromkeys([*SHOWN, *(f"{name}_difference" for name in SHOWN)])
        own, base = (
            {name: getattr(price, name) for name in SHOWN}
            for price in (self.cost, self.reference_cost)
        )
        return own | {f"{name}_difference": own[name] - base[name] for name in SHOWN}


NOTHING = Comparison(seeds=(), reference=(), variant=(), margin=MARGIN)


def compare_variants(
    found: Sequence[Variant],
    config: AblationConfig,
    lookup: Lookup,
    train: Callable[[Iterable[Variant], Sequence[int]], None] = lambda *_: None,
    groups: ImageGroups | None = None,
    others: Sequence[Lookup] = (),
    overlap: float = 0.0,
) -> list[VariantResult]:
    """Compare variants with their references over the seeds that both completed.

    `lookup` returns the run of a network with a seed, None if there is none, after `train` was
    asked for it. `groups` are those of the images that judged, if other images are asked about.
    `others` have the runs on further validation splits, with which seeds are crossed: a seed counts
    that both completed on all of them, and a split judges `overlap` images for each that it learns
    from. Variants that compare the same networks are one comparison of the family, and say so.
    """
    first, seeds = alike(found), config.seed_list
    lookups = (lookup, *others)
    every = [*dict.fromkeys(first.values())]
    counts: dict[int, int] = {}

    def pairs(indices: Sequence[int], count: int) -> dict[int, Pair]:
        counts.update(dict.fromkeys(indices, count))
        return {index: _pair(found[index], seeds[:count], lookups) for index in indices}

    def more(indices: Sequence[int], count: int) -> dict[int, Pair]:
        train([found[index] for index in indices], seeds[:count])
        return pairs(indices, count)

    how: Rules = {"margin": config.margin, "variance": config.variance, "overlap": overlap}
    if config.stages:
        compared = sequential(every, config.stages, more, **how)
    else:
        train(found, seeds)
        compared = compare_pairs(pairs(every, len(seeds)), **how)
    elsewhere = _elsewhere(found, compared, groups, lookup) if groups is not None else {}
    same = [first.get(index, index) for index in range(len(found))]
    return [
        _result(
            _told(variant, found[index]),
            compared.get(index),
            elsewhere.get(index),
            _runs((variant.network, variant.recipe), seeds[: counts.get(index)], lookups),
        )
        for variant, index in zip(found, same, strict=True)
    ]


def _elsewhere(
    found: Sequence[Variant],
    compared: Mapping[int, Comparison],
    groups: ImageGroups,
    lookup: Lookup,
) -> dict[int, OtherImages]:
    """Say what effects would be on other images, where runs have stored what that needs."""
    gained = {
        index: found_gains
        for index, own in compared.items()
        if own.n and (found_gains := gains(found[index], own.seeds, groups, lookup)) is not None
    }
    return on_other_images(compared, gained, groups)


def _told(variant: Variant, first: Variant) -> Variant:
    """Let a variant say which other one compares the same networks."""
    if first is variant:
        return variant
    where = f" given {first.given}" if first.given else " above"
    where = "" if first.given == variant.given else where
    return replace(variant, rule=f"the same networks as {first.factor} {first.value}{where}")


def _pair(variant: Variant, seeds: Sequence[int], lookups: Sequence[Lookup]) -> Pair:
    """Return the accuracies by seed of a variant's reference and its own; of an interaction, the
    two effects by seed.
    """
    reference = _accuracies((variant.reference, variant.reference_recipe), seeds, lookups)
    own = _accuracies((variant.network, variant.recipe), seeds, lookups)
    if variant.minus is None:
        return reference, own
    return _effects(*_pair(variant.minus, seeds, lookups)), _effects(reference, own)


def _accuracies(
    arm: tuple[Network | None, Recipe | None], seeds: Sequence[int], lookups: Sequence[Lookup]
) -> Accuracies:
    """Return the accuracy of each seed that completed; of several splits, on all of them."""
    known = [
        {run.key.seed: run.accuracy for run in _runs(arm, seeds, [one]) if run.accuracy is not None}
        for one in lookups
    ]
    if len(known) == 1:
        return known[0]
    whole = [seed for seed in known[0] if all(seed in own for own in known)]
    return {seed: np.array([own[seed] for own in known]) for seed in whole}


def _effects(reference: Accuracies, own: Accuracies) -> Accuracies:
    return {seed: own[seed] - reference[seed] for seed in own if seed in reference}


def _runs(
    arm: tuple[Network | None, Recipe | None], seeds: Sequence[int], lookups: Sequence[Lookup]
) -> list[Run]:
    network, recipe = arm
    if network is None:
        return []
    found = [lookup((network, recipe), seed) for seed in seeds for lookup in lookups]
    return [run for run in found if run]


def _result(
    variant: Variant,
    own: Comparison | None,
    elsewhere: OtherImages | None,
    found: Sequence[Run],
) -> VariantResult:
    complete = [run for run in found if run.accuracy is not None]
    absence = None
    if variant.is_reference:
        own = None
    elif variant.network is None:
        absence = Absence.INAPPLICABLE
    elif not variant.compared:
        absence = Absence.SAME_NETWORK
    elif not complete:
        own, absence = None, Absence.NO_SEED
    if own and own.n:
        complete = [run for run in complete if run.key.seed in own.seeds]
    if own and variant.is_interaction:
        own = replace(own, verdict=own.verdict.of_effects())
    # accuracies lie between 0 and 100 %, effects within ±100 points
    most = 200.0 if variant.is_interaction else 100.0
    if own:
        own = replace(own, interval=_within(own.interval, most))
    if elsewhere:
        elsewhere = replace(elsewhere, interval=_within(elsewhere.interval, most))
    return VariantResult(
        variant=variant,
        comparison=own,
        elsewhere=elsewhere if own else None,
        absence=absence,
        runs=tuple(complete),
        failed=tuple(run for run in found if run.accuracy is None),
    )


def _within(interval: tuple[float, float] | None, most: float) -> tuple[float, float] | None:
    return interval and (max(interval[0], -most), min(interval[1], most))
