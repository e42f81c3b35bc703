"""Estimates how many seeds a question would need, from the spreads of its stored runs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from blocksearch.ablation.config import AblationConfig, Variance
from blocksearch.ablation.design import alike
from blocksearch.ablation.power import seeds_for, seeds_within, spread_limits
from blocksearch.ablation.results import Lookup, compare_variants
from blocksearch.ablation.variant import Variant
from blocksearch.runs.metrics import ALPHA, spread


@dataclass(frozen=True, kw_only=True)
class Needed:
    """The seeds that one comparison of a new question would need, each with 80 % power.

    `deviation` is the spread of its differences, in points, over `n` stored seeds. `fewest` and
    `most` seeds decide the effect that was asked about, by the 80 % limits of that spread; `within`
    seeds show a difference of 0 to lie within the margin. None is beyond 1,000, or not asked.
    """

    factor: str
    value: str
    given: str
    n: int
    deviation: float
    fewest: int | None
    most: int | None
    within: int | None


def outlook(found: Sequence[Variant], config: AblationConfig, lookup: Lookup) -> list[Needed]:
    """Say what each comparison needs of which two seeds or more are stored."""
    level = ALPHA / max(1, len(set(alike(found).values())))
    pilot = replace(config, seeds=config.seed_list, variance=Variance.OWN)
    needed = []
    for result in compare_variants(found, pilot, lookup):
        own = result.comparison
        deviation = spread(np.array(own.differences)) if own and own.n >= 2 else 0.0
        if not own or deviation == 0:
            continue
        limits = spread_limits(deviation, own.n - 1)
        effect = config.effect
        fewest, most = (
            (None, None) if effect is None else (seeds_for(effect, each, level) for each in limits)
        )
        needed.append(
            Needed(
                factor=result.variant.factor,
                value=result.variant.shown,
                given=result.variant.given,
                n=own.n,
                deviation=deviation,
                fewest=fewest,
                most=most,
                within=seeds_within(config.margin, deviation, level),
            )
        )
    return needed
