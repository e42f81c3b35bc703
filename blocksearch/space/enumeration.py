"""The members of a grammar: how many distinct networks, which is the i-th, and what they all cost.

Options and rules of blocks are counted exactly at any size. A constraint that sees the whole
network (a budget, or a user's function) is counted by looking at every network up to `STREAMED`;
beyond that the count is an estimate and says so.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from blocksearch.arch.constraints import QUANTITIES, Budget
from blocksearch.arch.network import Network
from blocksearch.errors import ConfigError, SpecError, unknown
from blocksearch.space.automaton import Machine
from blocksearch.space.constraints import Check
from blocksearch.space.cost_table import Costs, Count, estimate
from blocksearch.space.diagram import CHUNK, Arrays, Diagram, undominated
from blocksearch.space.layouts import Genes, Product

STREAMED = 10**7
_SURVEYED = 100_000  # members looked at for an estimate
_SURVEYED_BY_CHECKS = 1_000  # the same where a user's function must see each network
_PLAIN_BLOCKS, _MOST_PLAIN_BLOCKS = (
    5_000,
    200_000,
)  # shared blocks that are still spelled layer by layer
Progress = Callable[[float], None]
Filter = Budget | Check


class Members:
    """The distinct networks of a union of products, each with filters that see whole networks."""

    def __init__(self, products: Sequence[Product], filters: Sequence[tuple[Filter, ...]]) -> None:
        self.products, self.filters = tuple(products), tuple(filters)
        self.abreast, self.counted = _spelling(self.products)

    @cached_property
    def diagram(self) -> Diagram:
        """The members by options and rules alone, before filters."""
        return Diagram(Machine(self.products, abreast=self.abreast))

    @property
    def filtered(self) -> bool:
        return any(self.filters)

    @property
    def streamable(self) -> bool:
        return self.diagram.size <= STREAMED

    def count(self, progress: Progress | None = None) -> Count:
        """Count the members, exactly where that can be done."""
        if not self.filtered:
            return Count(self.diagram.size, self.counted)
        if self.streamable:
            return Count(len(self.kept(progress)), self.counted)
        surveyed = _SURVEYED_BY_CHECKS if self._checks else _SURVEYED
        indices = np.array(_draws(self.diagram.size, surveyed, 0), dtype=object)
        share = float(self._passes(self.diagram.priced(indices), indices).mean())
        return estimate(self.diagram.size, share, surveyed)

    def size(self) -> int:
        """Return the exact number of members. Raises SpecError where only an estimate can be had."""
        count = self.count()
        if not count.exact:
            raise SpecError(
                f"the exact size is out of reach: {count}; ask count() for the estimate"
            )
        return count.value

    def genes(self, index: int) -> Genes:
        """Return what the member of a number is made of. Raises IndexError beyond the last."""
        size = self.size()
        if not -size <= index < size:
            raise IndexError(f"a grammar of {size:,} networks has none of number {index}")
        return self._genes(self._number(index % size))

    def network(self, genes: Genes) -> Network:
        return self.products[genes.part].network(genes.plan, genes.blocks)

    def index(self, network: Network) -> int | None:
        """Return the number of the member that has the same layers, or None."""
        found = self._found(network)
        if found is None or not self.filtered:
            return found
        place = int(np.searchsorted(self.kept(), found))
        return place if place < len(self.kept()) and self.kept()[place] == found else None

    def genes_of(self, network: Network) -> Genes | None:
        """Return what the member with the same layers is made of, or None: membership that no size
        hinders.
        """
        found = self._found(network)
        if found is None or not self.passes(found):
            return None
        return self._genes(found)

    def places(self, most: int, seed: int) -> list[int]:
        """Return the places in the diagram of all members where they are `most` or fewer, in order,
        else of so many drawn ones.

        A place tells a member from all others at any size; `genes_at`, `located` and `price`
        translate it.
        """
        if self.diagram.size <= (STREAMED if self.filtered else most):
            everything = (
                [int(place) for place in self.kept()]
                if self.filtered
                else list(range(self.diagram.size))
            )
            if len(everything) <= most:
                return everything
        return sorted(self._sampled(most, seed))

    def drawn(self, count: int, seed: int) -> list[int]:
        """Draw up to `count` places, each equally likely, and leave out those that the filters do
        not let pass.
        """
        found = np.array(
            _draws(self.diagram.size, count, seed),
            dtype=np.int64 if self.diagram.size < 1 << 62 else object,
        )
        passes = (
            self._passes(self.diagram.priced(found), found)
            if self.filtered
            else np.ones(len(found), bool)
        )
        return [int(place) for place in found[passes]]

    def located(self, network: Network) -> int | None:
        """Return the place of a member, or None for a stranger."""
        found = self._found(network)
        return found if found is not None and self.passes(found) else None

    def genes_at(self, place: int) -> Genes:
        """Return what the member in a place is made of."""
        return self._genes(place)

    def price(self, places: Sequence[int]) -> Costs:
        """Price members by their places."""
        return _costs(self.diagram.priced(places))

    def broken(self, network: Network) -> tuple[Filter, Costs] | None:
        """Return the filter that excludes a network which options and rules let in, and the
        network's costs.
        """
        found = self._found(network)
        if found is None or self.passes(found):
            return None
        priced = self.diagram.priced([found])
        parts = self.diagram.kinds[int(priced[-1, 0])]
        numbers = np.array([found], dtype=object)
        filters = (each for part in sorted(parts) for each in self.filters[part])
        return next(
            each for each in filters if not self._holds(each, priced, numbers).all()
        ), _costs(priced)

    def passes(self, found: int) -> bool:
        """Say whether the filters let a member of the diagram pass."""
        return (
            bool(self._passes(self.diagram.priced([found]), np.array([found], dtype=object))[0])
            if self.filtered
            else True
        )

    def walk(self) -> Iterator[Network]:
        """Walk the members in order, in memory that does not grow."""
        start = 0
        for chunk in self.diagram.chunks() if self.filtered else self._ranges():
            numbers = range(start, start + chunk.shape[1])
            passes = (
                self._passes(chunk, np.array(numbers))
                if self.filtered
                else np.ones(len(numbers), bool)
            )
            for number in np.flatnonzero(passes):
                yield self.network(self._genes(start + int(number)))
            start += len(numbers)

    def sample(self, count: int, seed: int) -> list[Network]:
        """Draw distinct members, each set of them equally likely."""
        return [self.network(self._genes(number)) for number in self._sampled(count, seed)]

    def costs(self, numbers: Sequence[int] | NDArray[np.int64]) -> Costs:
        """Price members by their numbers."""
        size = self.size()
        if any(
            not 0 <= number < size for number in (min(numbers, default=0), max(numbers, default=0))
        ):
            raise IndexError(f"a grammar of {size:,} networks has numbers from 0 to {size - 1:,}")
        chosen = self.kept()[np.asarray(numbers)] if self.filtered else numbers
        return _costs(self.diagram.priced(chosen))

    def chunks(self) -> Iterator[Costs]:
        """Price all members in order, some hundred thousand at a time."""
        start = 0
        for chunk in self.diagram.chunks():
            numbers = np.arange(start, start + chunk.shape[1]) if self.filtered else None
            yield _costs(chunk if numbers is None else chunk[:, self._passes(chunk, numbers)])
            start += chunk.shape[1]

    def extremes(self) -> tuple[Costs, Costs]:
        """Return the least and the largest of each cost by options and rules, exactly at any size,
        as arrays of one.
        """
        least, most = self.diagram.extremes()
        return _costs(np.array(least)[:, None]), _costs(np.array(most)[:, None])

    def survey(self, count: int, seed: int) -> Costs:
        """Price a uniform sample, for spaces too large to price whole; of a filtered one as many as
        so many draws hold.
        """
        found = (
            self._sampled(count, seed)
            if not self.filtered or self.streamable
            else self.drawn(count, seed)
        )
        if not found:
            raise SpecError(
                f"none of {count:,} networks drawn meets the constraints: restrict the options to those that do"
            )
        return _costs(self.diagram.priced(found))

    def nearest(self, quantity: str, wanted: float, count: int) -> list[int]:
        """Return the numbers of the members nearest to a cost, nearest first, the earlier of two
        that are as near.
        """
        if count < 1:
            raise ConfigError(f"a count must be at least 1, but got {count}")
        if self.diagram.size > STREAMED:
            raise SpecError(
                f"the nearest of {self.diagram.size:,} networks are out of reach: only up to {STREAMED:,} are looked at"
            )
        best, numbers = np.empty(0), np.empty(0, np.int64)
        start = 0
        for costs in self.chunks():
            best = np.concatenate([best, np.abs(costs.of(quantity) - wanted)])
            numbers = np.concatenate([numbers, np.arange(start, start + len(costs))])
            order = np.argsort(best, kind="stable")[:count]
            best, numbers = best[order], numbers[order]
            start += len(costs)
        return [int(number) for number in numbers]

    def frontier(self, quantities: Sequence[str]) -> list[Network]:
        """Return the members that no other undercuts in some costs: exact at any size where the
        filters are upper bounds.
        """
        bounds = {
            each
            for filters in self.filters
            for each in filters
            if isinstance(each, Budget) and each.relation in ("<", "<=")
        }
        everything = {each for filters in self.filters for each in filters}
        chosen = [_row(quantity) for quantity in quantities]
        if everything == bounds and len(set(self.filters)) == 1:
            rows = sorted({*chosen, *(_row(each.quantity) for each in bounds)})
            numbers = [number for number in self.diagram.frontier(rows) if self.passes(number)]
        else:
            numbers = [int(number) for number in self.kept()]
        points = self.diagram.priced(numbers)[chosen].T
        return [self.network(self._genes(numbers[row])) for row in undominated(points)]

    def kept(self, progress: Progress | None = None) -> NDArray[np.int64]:
        """Return the numbers of the diagram that the filters let pass. Raises SpecError where the
        space is too large.
        """
        if self._kept is None:
            if not self.streamable:
                rules = " and ".join(
                    dict.fromkeys(str(each) for filters in self.filters for each in filters)
                )
                raise SpecError(
                    f"members of a space of {self.diagram.size:,} networks under {rules} are not numbered: only up to "
                    f"{STREAMED:,} are looked at one by one; sample or walk them, or restrict the options"
                )
            found, start = [], 0
            for chunk in self.diagram.chunks():
                numbers = np.arange(start, start + chunk.shape[1])
                found.append(numbers[self._passes(chunk, numbers)])
                start += chunk.shape[1]
                if progress:
                    progress(start / self.diagram.size)
            if not sum(map(len, found)):
                raise SpecError(self._none_left())
            self._kept = np.concatenate(found)
        return self._kept

    def _none_left(self) -> str:
        """Say that no network meets the filters, and which of several excludes all on its own."""
        filters = list(dict.fromkeys(each for filters in self.filters for each in filters))
        alone = [each for each in filters if len(filters) == 1 or not self._is_met(each)]
        message = f"no network of the space meets {' and '.join(map(_named, alone or filters))}"
        if not alone:
            return f"{message} together"
        least, most = self.extremes()
        ranges = ", ".join(
            f"{least.of(name)[0]:,} to {most.of(name)[0]:,} {name}"
            for name in dict.fromkeys(each.quantity for each in alone if isinstance(each, Budget))
        )
        return f"{message}; its networks have {ranges}" if ranges else message

    def _is_met(self, each: Filter) -> bool:
        start = 0
        for chunk in self.diagram.chunks():
            numbers = np.arange(start, start + chunk.shape[1])
            if self._holds(each, chunk, numbers).any():
                return True
            start += chunk.shape[1]
        return False

    _kept: NDArray[np.int64] | None = None

    @property
    def _checks(self) -> bool:
        return any(isinstance(each, Check) for filters in self.filters for each in filters)

    def _genes(self, number: int) -> Genes:
        return self.diagram.machine.spell(self.diagram.at(number))

    def _number(self, index: int) -> int:
        return int(self.kept()[index]) if self.filtered else index

    def _found(self, network: Network) -> int | None:
        try:
            return self.diagram.index(self.diagram.machine.word(network))
        except SpecError:
            return None

    def _ranges(self) -> Iterator[Arrays]:
        """Stand in for chunks where nobody reads the costs."""
        for start in range(0, self.diagram.size, CHUNK):
            yield np.empty((0, min(CHUNK, self.diagram.size - start)), np.int64)

    def _sampled(self, count: int, seed: int) -> list[int]:
        """Draw numbers of the diagram, without replacement, that the filters let pass."""
        if not self.filtered or self.streamable:
            size = self.size()
            if not 1 <= count <= size:
                raise SpecError(
                    f"a sample must hold 1 to {size:,} of the grammar's networks, but got {count}"
                )
            return [self._number(index) for index in _draws(size, count, seed)]
        chosen: dict[int, None] = {}
        for attempt in range(100):
            drawn = np.array(
                _draws(self.diagram.size, 10 * count, seed + attempt * 1_000_003), dtype=object
            )
            passes = self._passes(self.diagram.priced(drawn), drawn)
            chosen.update(dict.fromkeys(int(number) for number in drawn[passes]))
            if len(chosen) >= count:
                return list(chosen)[:count]
        raise SpecError(
            f"only {len(chosen)} of {1000 * count:,} networks drawn meet the constraints, but {count} are wanted"
        )

    def _passes(
        self, chunk: Arrays, numbers: NDArray[np.int64] | NDArray[np.object_]
    ) -> NDArray[np.bool_]:
        passes = np.zeros(chunk.shape[1], bool)
        for kind, parts in enumerate(self.diagram.kinds):
            here = np.flatnonzero(chunk[-1] == kind)
            for part in sorted(parts):
                left = here[~passes[here]]
                for each in sorted(self.filters[part], key=lambda each: isinstance(each, Check)):
                    left = left[self._holds(each, chunk[:, left], numbers[left])]
                passes[left] = True
        return passes

    def _holds(
        self, each: Filter, priced: Arrays, numbers: NDArray[np.int64] | NDArray[np.object_]
    ) -> NDArray[np.bool_]:
        if isinstance(each, Budget):
            found: NDArray[np.bool_] = each.holds(_costs(priced).of(each.quantity))
            return found
        return np.array(
            [each.holds(self.network(self._genes(int(number)))) for number in numbers], bool
        )


def _named(each: Filter) -> str:
    return each.name if each.name == str(each) else f"{each.name} ({each})"


def _costs(priced: Arrays) -> Costs:
    return Costs(*priced[:4])


def _row(quantity: str) -> int:
    rows = {"macs": 0, "flops": 0, "params": 1, "floats": 2, "peak": 3}
    if quantity not in rows:
        raise unknown("cost", quantity, QUANTITIES)
    return rows[quantity]


def _draws(size: int, count: int, seed: int) -> list[int]:
    draw = random.Random(seed)  # noqa: S311 - a sample, not a secret
    count = min(count, size)
    if size < 1 << 62:
        return draw.sample(range(size), count)
    chosen: dict[int, None] = {}
    while len(chosen) < count:
        chosen[draw.randrange(size)] = None
    return list(chosen)


def _spelling(products: Sequence[Product]) -> tuple[bool, bool]:
    """Say how members are spelled, stages abreast or layer by layer, and whether that tells all of
    them apart.

    Layer by layer always does, but lists every block that a plan shares; abreast needs stages that
    end alike, as many in every plan, and no 1×1 kernel that could stand for a pointwise layer.
    """
    if not all(plan.shared for made in products for plan in made.plans):
        return False, True
    pattern = {
        tuple(stage.kind == "again" for stage in plan.stages)
        for made in products
        for plan in made.plans
    }
    alike = len(pattern) == 1 and not any(
        (1, 1) in kernel.sizes for made in products for kernel in made.kernels
    )
    blocks = sum(made.combinations for made in products)
    abreast = blocks > (_PLAIN_BLOCKS if alike else _MOST_PLAIN_BLOCKS)
    return abreast, alike or not abreast
