"""Numbers the networks of a space that are a user's model around a block as blocks are numbered,
and prices them one by one, because only torch's counter knows what such a model costs.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from blocksearch.arch.cost import Budget, Cost
from blocksearch.arch.network import Network
from blocksearch.arch.quantities import COUNTED, ROWS
from blocksearch.arch.skeleton import Skeleton
from blocksearch.errors import SpecError
from blocksearch.space.cost_table import Costs
from blocksearch.space.diagram import Arrays, undominated
from blocksearch.space.enumeration import Enumeration, Filter, Ranks
from blocksearch.space.layouts import Genotype, Product

PRICED = 100  # networks that are priced at once


class InsideEnumeration(Enumeration):
    """Blocks by number, each in a skeleton. Blocks count once where the networks of the space's
    task and widths are equal; those that do not fit into the model are left out when networks are
    listed, drawn or compared with a budget.
    """

    streamed = surveyed = surveyed_by_checks = PRICED

    def __init__(
        self,
        products: Sequence[Product],
        filters: Sequence[tuple[Filter, ...]],
        skeleton: Skeleton,
    ) -> None:
        super().__init__(products, filters)
        self.skeleton = skeleton

    def network(self, genotype: Genotype) -> Network:
        """Put the block of a genotype into the skeleton."""
        return super().network(genotype).inside(self.skeleton)

    def fitting(self, ranks: Sequence[int]) -> list[int]:
        """Return the ranks whose block fits into the model. Raises SpecError if none does."""
        found, reason = list[int](), None
        for rank in ranks:
            try:
                self._cost(rank)
                found.append(rank)
            except SpecError as error:
                reason = reason or error
        if reason and not found:
            raise reason
        return found

    def price(self, ranks: Sequence[int]) -> Costs:
        """Price models by the ranks of their blocks."""
        found = [self._cost(rank) for rank in ranks]
        known = [name for name in ROWS if name not in COUNTED]
        return Costs({n: np.array([getattr(own, n) for own in found], np.int64) for n in known})

    def _cost(self, rank: int) -> Cost:
        return self.network(self.unrank(int(rank))).cost

    def costs(self, indices: Sequence[int] | NDArray[np.int64]) -> Costs:
        """Price networks by their indices. Raises IndexError beyond the last."""
        return self.price([self._rank_at(int(index)) for index in indices])

    def chunks(self) -> Iterator[Costs]:
        """Price all networks in order, a hundred at a time."""
        ranks: Sequence[int] = self.kept().tolist() if self.filtered else range(self.size())
        for start in range(0, len(ranks), PRICED):
            yield self.price(ranks[start : start + PRICED])

    def extremes(self) -> tuple[Costs, Costs]:
        """Return the least and the largest of each cost among at most a hundred networks."""
        costs = self.price(self.fitting(self.some(PRICED)))
        return (
            Costs({name: row.min(keepdims=True) for name, row in costs.rows.items()}),
            Costs({name: row.max(keepdims=True) for name, row in costs.rows.items()}),
        )

    def frontier(self, quantities: Sequence[str]) -> list[Network]:
        """Return the networks that no other undercuts in some costs. Raises SpecError for a space
        of more than a hundred.
        """
        if not self.streamable:
            raise SpecError(
                f"the networks of a space of {self.diagram.size:,} are not priced one by one: "
                f"only up to {PRICED} are, inside a model of yours"
            )
        ranks = self.fitting(self.kept().tolist() if self.filtered else range(self.size()))
        costs = self.price(ranks)
        points = np.stack([costs.of(quantity) for quantity in quantities], axis=1)
        return [self.network(self.unrank(ranks[row])) for row in undominated(points)]

    def _holds(self, each: Filter, priced: Arrays, ranks: Ranks) -> NDArray[np.bool_]:
        if not isinstance(each, Budget):
            return super()._holds(each, priced, ranks)
        return np.array([self._within(each, int(rank)) for rank in ranks], bool)

    def _within(self, budget: Budget, rank: int) -> bool:
        try:
            return bool(budget.holds(self.price([rank]).of(budget.quantity))[0])
        except SpecError:
            return False
