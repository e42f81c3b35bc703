"""Surveys a whole space, its size, what its networks cost, and where the named points lie in it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from blocksearch.arch.network import Network, Task
from blocksearch.arch.quantities import COSTS
from blocksearch.arch.zoo import NAMED, named_network
from blocksearch.errors import ConfigError, SpecError
from blocksearch.space.cost_table import Costs, Count
from blocksearch.space.enumeration import Enumeration, ProgressFunction
from blocksearch.space.grammar import Grammar

_WHOLE = 10**6  # spaces up to this size are priced whole, larger ones by a sample
_SAMPLED = 100_000
_BINS = 12
MOST_LISTED = 100_000


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Least, middle and largest of a cost."""

    least: int
    median: int
    most: int


@dataclass(frozen=True, kw_only=True)
class Point:
    """A named network in the space's task, with its costs and the share of members with fewer
    FLOPs, or why it is none.
    """

    name: str
    flops: int | None
    params: int | None
    below: float | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Survey:
    """A description of a space before anything is trained. `priced` networks were looked at; all
    where `whole`.
    """

    count: Count
    combinations: int
    whole: bool
    priced: int
    spreads: Mapping[str, Spread]
    histogram: Sequence[tuple[int, int, int]]  # FLOPs from, below, and networks
    points: Sequence[Point]


def survey(grammar: Grammar, progress: ProgressFunction) -> Survey:
    """Look at a space; where it has more than a million networks, costs are those of a uniform
    sample of 100,000.
    """
    count = grammar.count(progress)
    space = grammar.enumeration
    whole = count.exact and count.value <= min(_WHOLE, space.streamed)
    costs = grammar.costs() if whole else _sampled(space)
    spreads = {name: _spread(row) for name, row in costs.named(COSTS).items()}
    if not space.filtered and grammar.skeleton is None:  # the ends are exact whatever the size
        least, most = space.extremes()
        spreads = {
            n: Spread(least=int(least.of(n)[0]), median=s.median, most=int(most.of(n)[0]))
            for n, s in spreads.items()
        }
    points = [_point(name, grammar, costs) for name in NAMED]
    combinations = sum(part.product.combinations for part in grammar.parts)
    return Survey(
        count=count,
        combinations=combinations,
        whole=whole,
        priced=len(costs),
        spreads=spreads,
        histogram=_histogram(costs.flops),
        points=points,
    )


def listed(
    grammar: Grammar, sample: int | None, seed: int, *, everything: bool
) -> Iterator[dict[str, object]]:
    """Walk the networks that a user asks for: a sample, all of them, or none."""
    networks = (
        grammar.sample(sample, seed) if sample is not None else iter(grammar if everything else ())
    )
    return (_row(network) for network in networks)


def check_listed(grammar: Grammar) -> None:
    """Raise ConfigError if the networks are too many to be shown at once."""
    if (count := grammar.count()).value > MOST_LISTED:
        raise ConfigError(
            f"{count} networks are too many to list at once: save them as .csv, or draw a sample"
        )


def _row(network: Network) -> dict[str, object]:
    return network.cost.named(COSTS) | {"network": str(network)}


def _sampled(space: Enumeration) -> Costs:
    """Price a uniform sample; a large space under constraints gives those of some draws."""
    sampled = min(_SAMPLED, space.surveyed)
    if not space.filtered or space.streamable:
        ranks = space.fitting(space.ranks(sampled, seed=0))
    elif not (ranks := space.drawn(sampled, seed=0)):
        raise SpecError(
            f"none of {sampled:,} networks drawn meets the constraints: restrict the options"
        )
    return space.price(ranks)


def _spread(values: NDArray[np.int64]) -> Spread:
    return Spread(least=int(values.min()), median=int(np.median(values)), most=int(values.max()))


def _histogram(values: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Count values in bins of equal ratio."""
    edges = np.unique(
        np.geomspace(max(1, values.min()), values.max() + 1, _BINS + 1).astype(np.int64)
    )
    edges[-1] = values.max() + 1
    numbers, _ = np.histogram(values, edges)
    return [
        (int(low), int(high), int(n))
        for low, high, n in zip(edges, edges[1:], numbers, strict=False)
    ]


def reference_task(grammar: Grammar) -> Task:
    """Return the task of the reference networks: the grammar's, with the first of its widths."""
    return replace(grammar.task, widths=grammar.parts[0].widths[0])


def _point(name: str, grammar: Grammar, costs: Costs) -> Point:
    try:
        network = named_network(name, reference_task(grammar))
        network = network.inside(grammar.skeleton) if grammar.skeleton else network
        price = network.cost
    except SpecError as error:
        return Point(name=name, flops=None, params=None, below=None, reason=str(error))
    below = float((costs.flops < price.flops).mean())
    return Point(
        name=name,
        flops=price.flops,
        params=price.params,
        below=below,
        reason=grammar.why_not(network),
    )
