"""Enumerates the distinct networks of a space, counts and indexes them, and prices them all.

Options and rules of blocks are counted exactly at any size. A constraint that sees the whole
network (a budget, or a user's function) is counted by looking at every network up to `STREAMED`;
beyond that the count is an estimate and says so.

A network has a *rank*, its number by options and rules alone, which exists at any size, and an
*index*, its number among those that meet the constraints on whole networks, too.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from blocksearch.arch.cost import Budget
from blocksearch.arch.network import Network
from blocksearch.arch.quantities import QUANTITIES, ROWS, metric_named
from blocksearch.errors import ConfigError, SpecError, check_type, typed
from blocksearch.space.automaton import Automaton, spelling
from blocksearch.space.constraints import Check
from blocksearch.space.cost_table import Costs, Count, estimate
from blocksearch.space.diagram import LARGEST, Arrays, Diagram, drawn_numbers, undominated
from blocksearch.space.layouts import Genotype, Product

STREAMED = 10**7
_SURVEYED = 100_000  # networks looked at for an estimate
_SURVEYED_BY_CHECKS = 1_000  # the same if a user's function must see each network
ProgressFunction: TypeAlias = Callable[[float], None]
Filter: TypeAlias = Budget | Check
Ranks: TypeAlias = NDArray[np.int64] | NDArray[np.object_]


class Enumeration:
    """The distinct networks of a union of products, each with filters that see whole networks.

    Up to `streamed` networks are looked at one by one; `surveyed` are looked at for an estimate, or
    `surveyed_by_checks` where a user's function must see each.
    """

    streamed, surveyed, surveyed_by_checks = STREAMED, _SURVEYED, _SURVEYED_BY_CHECKS

    def __init__(self, products: Sequence[Product], filters: Sequence[tuple[Filter, ...]]) -> None:
        self.products, self.filters = tuple(products), tuple(filters)
        self.lockstep, self.exact = spelling(self.products)
        self._kept: NDArray[np.int64] | None = None

    @cached_property
    def diagram(self) -> Diagram:
        """The networks by options and rules alone, before filters."""
        return Diagram(Automaton(self.products, lockstep=self.lockstep))

    @property
    def filtered(self) -> bool:
        return any(self.filters)

    @property
    def streamable(self) -> bool:
        return self.diagram.size <= self.streamed

    def count(self, progress: ProgressFunction | None = None) -> Count:
        """Count the networks, exactly if that can be done."""
        if not self.filtered:
            return Count(value=self.diagram.size, exact=self.exact)
        if self.streamable:
            return Count(value=len(self.kept(progress)), exact=self.exact)
        checks = any(isinstance(each, Check) for each in self._filters)
        surveyed = self.surveyed_by_checks if checks else self.surveyed
        ranks = np.array(drawn_numbers(self.diagram.size, surveyed, 0), dtype=object)
        share = float(self._passes(self.diagram.priced(ranks), ranks).mean())
        return estimate(self.diagram.size, share, surveyed)

    def size(self) -> int:
        """Return the exact number of networks. Raises SpecError if only an estimate can be had."""
        count = self.count()
        if not count.exact:
            raise SpecError(
                f"the exact size is out of reach: {count}; ask count() for the estimate"
            )
        return count.value

    def genotype(self, index: int) -> Genotype:
        """Return what the network of an index is made of. Raises IndexError beyond the last."""
        size = self.size()
        if not -size <= index < size:
            raise IndexError(f"a space of {size:,} networks has none of index {index}")
        return self.unrank(self._rank_at(index % size))

    def unrank(self, rank: int) -> Genotype:
        """Return what the network of a rank is made of."""
        return self.diagram.automaton.spell(self.diagram.unrank(rank))

    def network(self, genotype: Genotype) -> Network:
        """Build the network of a genotype. Raises SpecError if that is none."""
        return self.products[genotype.part].network(genotype.layout, genotype.blocks)

    def rank(self, network: Network) -> int | None:
        """Return the rank of the network with the same layers; None if the space has none."""
        found = self._spelled(network)
        return found if found is not None and self.passes(found) else None

    def index(self, network: Network) -> int | None:
        """Return the index of the network with the same layers; None if the space has none."""
        found = self._spelled(network)
        if found is None or not self.filtered:
            return found
        index = int(np.searchsorted(self.kept(), found))
        return index if index < len(self.kept()) and self.kept()[index] == found else None

    def genotype_of(self, network: Network) -> Genotype | None:
        """Return what the network with the same layers is made of, or None, at any size."""
        rank = self.rank(network)
        return None if rank is None else self.unrank(rank)

    def passes(self, rank: int) -> bool:
        """Say whether the network of a rank meets the filters."""
        if not self.filtered:
            return True
        return bool(self._passes(self.diagram.priced([rank]), np.array([rank], object))[0])

    def broken(self, network: Network) -> tuple[Filter, Costs] | None:
        """Return the filter that excludes a network which options and rules let in, and costs."""
        found = self._spelled(network)
        if found is None or self.passes(found):
            return None
        priced = self.diagram.priced([found])
        parts = self.diagram.kinds[int(priced[-1, 0])]
        ranks = np.array([found], dtype=object)
        filters = (each for part in sorted(parts) for each in self.filters[part])
        broken = next(each for each in filters if not self._holds(each, priced, ranks).all())
        return broken, self.price([found])

    def ranks(self, most: int, seed: int) -> list[int]:
        """Return the ranks of all networks in order if they are at most `most`, else of a uniform
        sample of that size.
        """
        if self.diagram.size <= (self.streamed if self.filtered else most):
            everything = self.kept().tolist() if self.filtered else range(self.diagram.size)
            if len(everything) <= most:
                return list(everything)
        return sorted(self._sampled(most, seed))

    def drawn(self, count: int, seed: int) -> list[int]:
        """Draw up to `count` ranks uniformly, and leave out those that do not meet the filters."""
        dtype = np.int64 if self.diagram.size < LARGEST else object
        found = np.array(drawn_numbers(self.diagram.size, count, seed), dtype=dtype)
        if self.filtered:
            found = found[self._passes(self.diagram.priced(found), found)]
        return [int(rank) for rank in found]

    def walk(self) -> Iterator[Network]:
        """Yield the networks in order, in memory that does not grow."""
        for rank in self._passing() if self.filtered else range(self.diagram.size):
            yield self.network(self.unrank(rank))

    @typed
    def sample(self, count: int, seed: int) -> list[Network]:
        """Draw distinct networks, each set of them equally likely."""
        return [self.network(self.unrank(rank)) for rank in self._sampled(count, seed)]

    def kept(self, progress: ProgressFunction | None = None) -> NDArray[np.int64]:
        """Return the ranks that meet the filters. Raises SpecError if there are none, or if the
        space is too large.
        """
        if self._kept is None:
            if not self.streamable:
                rules = " and ".join(dict.fromkeys(map(str, self._filters)))
                raise SpecError(
                    f"the networks of a space of {self.diagram.size:,} under {rules} are not "
                    f"numbered: only up to {self.streamed:,} are looked at one by one; sample or "
                    "iterate over them, or restrict the options"
                )
            found = []
            for ranks, chunk in self._numbered_chunks():
                found.append(ranks[self._passes(chunk, ranks)])
                if progress:
                    progress((int(ranks[-1]) + 1) / self.diagram.size)
            if not sum(map(len, found)):
                raise SpecError(self._none_left())
            self._kept = np.concatenate(found)
        return self._kept

    def some(self, count: int) -> list[int]:
        """Return up to so many ranks by options and rules alone: all, or a fixed sample."""
        return sorted(drawn_numbers(self.diagram.size, count, 0))

    def fitting(self, ranks: Sequence[int]) -> list[int]:
        """Return the ranks whose networks can be built: all but inside a user's model."""
        return list(ranks)

    def price(self, ranks: Sequence[int]) -> Costs:
        """Price networks by their ranks."""
        return _costs(self.diagram.priced(ranks))

    def costs(self, indices: Sequence[int] | NDArray[np.int64]) -> Costs:
        """Price networks by their indices. Raises IndexError beyond the last."""
        size, chosen = self.size(), np.asarray(indices)
        if chosen.ndim != 1 or chosen.dtype.kind not in "iu":
            check_type("indices", chosen.tolist(), Sequence[int])
        if len(chosen) and not 0 <= chosen.min() <= chosen.max() < size:
            raise IndexError(f"a space of {size:,} networks has indices from 0 to {size - 1:,}")
        return _costs(self.diagram.priced(self.kept()[chosen] if self.filtered else chosen))

    def chunks(self) -> Iterator[Costs]:
        """Price all networks in order, some hundred thousand at a time."""
        if not self.filtered:
            yield from map(_costs, self.diagram.chunks())
            return
        for ranks, chunk in self._numbered_chunks():
            yield _costs(chunk[:, self._passes(chunk, ranks)])

    def extremes(self) -> tuple[Costs, Costs]:
        """Return the least and the largest of each cost by options and rules, exactly at any size,
        as arrays of one.
        """
        least, most = self.diagram.extremes()
        return _costs(np.array(least)[:, None]), _costs(np.array(most)[:, None])

    def nearest(self, quantity: str, wanted: float, count: int) -> list[int]:
        """Return the indices of the networks nearest to a cost, nearest first; of two that are as
        near, the earlier first.
        """
        check_type("count", count, int)
        check_type(quantity, wanted, float)
        if count < 1 or wanted != wanted:
            raise ConfigError(f"nearest takes a count from 1 and a cost, but got {count}, {wanted}")
        if not self.streamable:
            raise SpecError(
                f"the nearest of {self.diagram.size:,} networks are out of reach: "
                f"only up to {self.streamed:,} are looked at"
            )
        best, indices, start = np.empty(0), np.empty(0, np.int64), 0
        for costs in self.chunks():
            best = np.concatenate([best, np.abs(costs.of(quantity) - wanted)])
            indices = np.concatenate([indices, np.arange(start, start + len(costs))])
            order = np.argsort(best, kind="stable")[:count]
            best, indices = best[order], indices[order]
            start += len(costs)
        return [int(index) for index in indices]

    @typed
    def frontier(self, quantities: Sequence[str]) -> list[Network]:
        """Return the networks that no other undercuts in some costs: exact at any size if the
        filters are upper bounds.
        """
        bounds = [
            each for each in self._filters if isinstance(each, Budget) and each.relation.is_upper
        ]
        chosen = [_row(quantity) for quantity in quantities]
        if bounds == self._filters and len(set(self.filters)) == 1:
            rows = sorted({*chosen, *(_row(each.quantity) for each in bounds)})
            ranks = [rank for rank in self.diagram.frontier(rows) if self.passes(rank)]
        else:
            ranks = self.kept().tolist()
        points = self.diagram.priced(ranks)[chosen].T
        return [self.network(self.unrank(ranks[row])) for row in undominated(points)]

    @property
    def _filters(self) -> list[Filter]:
        return list(dict.fromkeys(each for filters in self.filters for each in filters))

    def _passing(self) -> Iterator[int]:
        for ranks, chunk in self._numbered_chunks():
            yield from ranks[self._passes(chunk, ranks)].tolist()

    def _numbered_chunks(self) -> Iterator[tuple[NDArray[np.int64], Arrays]]:
        """Price all networks before filters, some at a time, with their ranks."""
        start = 0
        for chunk in self.diagram.chunks():
            yield np.arange(start, start + chunk.shape[1]), chunk
            start += chunk.shape[1]

    def _none_left(self) -> str:
        """Say that no network meets the filters, and which of several excludes all on its own."""
        filters = self._filters
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
        return any(
            self._holds(each, chunk, ranks).any() for ranks, chunk in self._numbered_chunks()
        )

    def _rank_at(self, index: int) -> int:
        return int(self.kept()[index]) if self.filtered else index

    def _spelled(self, network: Network) -> int | None:
        try:
            return self.diagram.rank(self.diagram.automaton.speller.word(network))
        except SpecError:
            return None

    def _sampled(self, count: int, seed: int) -> list[int]:
        """Draw ranks that meet the filters, without replacement."""
        if not self.filtered or self.streamable:
            size = self.size()
            if not 1 <= count <= size:
                raise SpecError(
                    f"a sample must hold 1 to {size:,} of the space's networks, but got {count}"
                )
            return [self._rank_at(index) for index in drawn_numbers(size, count, seed)]
        chosen: dict[int, None] = {}
        for attempt in range(100):
            chosen |= dict.fromkeys(self.drawn(10 * count, seed + attempt * 1_000_003))
            if len(chosen) >= count:
                return list(chosen)[:count]
        raise SpecError(
            f"only {len(chosen)} of {1000 * count:,} networks drawn meet the constraints, "
            f"but {count} are wanted"
        )

    def _passes(self, chunk: Arrays, ranks: Ranks) -> NDArray[np.bool_]:
        passes = np.zeros(chunk.shape[1], bool)
        for kind, parts in enumerate(self.diagram.kinds):
            here = np.flatnonzero(chunk[-1] == kind)
            for part in sorted(parts):
                left = here[~passes[here]]
                for each in sorted(self.filters[part], key=lambda each: isinstance(each, Check)):
                    left = left[self._holds(each, chunk[:, left], ranks[left])]
                passes[left] = True
        return passes

    def _holds(self, each: Filter, priced: Arrays, ranks: Ranks) -> NDArray[np.bool_]:
        if isinstance(each, Budget):
            found: NDArray[np.bool_] = each.holds(_costs(priced).of(each.quantity))
            return found
        return np.array([each.holds(self.network(self.unrank(int(rank)))) for rank in ranks], bool)


def _named(each: Filter) -> str:
    return each.name if each.name == str(each) else f"{each.name} ({each})"


def _costs(priced: Arrays) -> Costs:
    return Costs(dict(zip(ROWS, priced, strict=False)))


def _row(quantity: str) -> int:
    return ROWS.index(QUANTITIES[metric_named(quantity)].base[1])
