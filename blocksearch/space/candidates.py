"""Lists the networks that a search may try, as rows of codes and of exact costs.

A space of up to `MOST` networks is listed whole. Of a larger one a uniform sample is listed, and
the table grows by what samplers make. Inside a user's model, where a network has to be made to be
priced, a hundred are listed. What is drawn depends on the space, its seed and the generator, never
on what the table has grown by.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blocksearch.arch.network import Network
from blocksearch.arch.quantities import COSTS, uncounted
from blocksearch.errors import SpecError
from blocksearch.space.enumeration import Enumeration
from blocksearch.space.grammar import Grammar

MOST, LISTED = 20_000, 5_000  # networks of a space listed whole, and listed of a larger one
_ROUNDS = 100  # of drawing `LISTED` networks, until as many are within the budgets
_ROUNDS_OF_MODELS = 3  # the same where each has to be made to be priced
_BATCHES = 4, 64, 1024, 16_384  # networks drawn from a space not listed, until one is free


class Candidates:
    """Networks by row: first those of the space that were listed, then what else came to be known.

    A row is a member if its network is in the space; others are named networks, which are trained
    but never proposed.
    """

    def __init__(self, grammar: Grammar, seed: int = 0) -> None:
        self.grammar, self.encoding = grammar, grammar.encoding
        space = grammar.enumeration
        ranks, self.whole = _listed(space, seed)
        ranks = space.fitting(ranks)
        self.listed = len(ranks)
        self._codes = np.array([self.encoding.encode(space.unrank(r)) for r in ranks], np.int16)
        self._codes = self._codes.reshape(len(ranks), len(self.encoding.names))
        costs = space.price(ranks)
        known = costs.named(COSTS)
        self._names = tuple(known)
        self._costs = np.stack(list(known.values()), axis=1).astype(float)
        self._members = np.ones(len(ranks), bool)
        self._ranks: list[int | None] = list(ranks)
        self._rows = {rank: row for row, rank in enumerate(ranks)}
        self._by_code: dict[tuple[int, ...], int | None] = {
            tuple(code): row for row, code in enumerate(self._codes.tolist())
        }
        self._networks: dict[int, Network] = {}
        self._outside: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._ranks)

    def rank(self, row: int) -> int:
        """Return the rank of a member, which is the same in every table of a space."""
        rank = self._ranks[row]
        assert rank is not None
        return rank

    @property
    def codes(self) -> NDArray[np.int16]:
        return self._codes[: len(self)]

    @property
    def members(self) -> NDArray[np.bool_]:
        """Say of each row whether its network is in the space."""
        return self._members[: len(self)]

    def costs(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Return some costs of all rows, N × names. Raises SpecError for what is not known."""
        for name in names:
            if name not in self._names:
                raise uncounted(name)
        return self._costs[: len(self), [self._names.index(name) for name in names]]

    def cost(self, row: int) -> dict[str, int]:
        """Return the costs of a row by name."""
        return {name: int(value) for name, value in zip(self._names, self._costs[row], strict=True)}

    def network(self, row: int) -> Network:
        """Return the network of a row."""
        if row not in self._networks:  # one outside the space was kept when it came
            space = self.grammar.enumeration
            self._networks[row] = space.network(space.unrank(self.rank(row)))
        return self._networks[row]

    def row(self, network: Network) -> int:
        """Return the row of a network, which gets one if it had none."""
        rank = self.grammar.enumeration.rank(network)
        if rank is not None:
            return self._row(rank)
        if network.digest not in self._outside:
            costs = list(network.cost.named(self._names).values())
            code = self.encoding.encode_network(network)
            self._outside[network.digest] = self._append(None, code, costs)
            self._networks[len(self) - 1] = network
        return self._outside[network.digest]

    def recall(self, digest: str, code: Sequence[int], text: str) -> int:
        """Return the row of a network that was trained before. Raises SpecError if the space does
        not make it any more.
        """
        if digest in self._outside:
            return self._outside[digest]
        found = self.decode(code)
        if found is not None and self.network(found).digest == digest:
            return found
        raise SpecError(f"the network {text} of this study cannot be made from its space any more")

    def decode(self, code: Sequence[int]) -> int | None:
        """Return the row of the member that a row of choices makes, or None if it makes none."""
        key = tuple(map(int, code))
        if key not in self._by_code:
            self._by_code[key] = self._made(key)
        return self._by_code[key]

    def draw(self, rng: np.random.Generator, taken: NDArray[np.bool_]) -> int | None:
        """Draw a member that is not taken, each equally likely; None if there is none."""
        if self.whole:
            left = self.left(taken)
            return int(rng.choice(left)) if len(left) else None
        for count in _BATCHES:
            space = self.grammar.enumeration
            for rank in space.fitting(space.drawn(count, int(rng.integers(2**62)))):
                row = self._row(rank)
                if row >= len(taken) or not taken[row]:
                    return row
        return self._last(rng, taken)

    def left(self, taken: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the listed members that are not taken."""
        return np.flatnonzero(~taken[: self.listed])

    def mutate(self, row: int, rng: np.random.Generator) -> int | None:
        """Change one choice of a row; None if that makes no member."""
        code = self.encoding.mutate(self._code(row), rng)
        return None if code is None else self.decode(code)

    def cross(self, one: int, other: int, rng: np.random.Generator) -> int | None:
        """Take each choice from one of two rows; None if that makes no member."""
        return self.decode(self.encoding.cross(self._code(one), self._code(other), rng))

    def _code(self, row: int) -> tuple[int, ...]:
        return tuple(self._codes[row].tolist())

    def _last(self, rng: np.random.Generator, taken: NDArray[np.bool_]) -> int | None:
        """Draw from all that is left of a nearly exhausted space, or from the listed networks if
        there are too many to look at.
        """
        space = self.grammar.enumeration
        if not space.streamable:
            left = self.left(taken)
            return int(rng.choice(left)) if len(left) else None
        everything = space.kept() if space.filtered else np.arange(space.diagram.size)
        used = [rank for row in np.flatnonzero(taken) if (rank := self._ranks[row]) is not None]
        free = np.setdiff1d(everything, used)
        return self._row(int(rng.choice(free))) if len(free) else None

    def _made(self, code: tuple[int, ...]) -> int | None:
        genotype = self.encoding.decode(code)
        if genotype is None:
            return None
        space = self.grammar.enumeration
        try:
            rank = space.rank(space.network(genotype))
            return None if rank is None else self._row(rank)
        except SpecError:
            return None

    def _row(self, rank: int) -> int:
        if rank not in self._rows:
            space = self.grammar.enumeration
            costs = space.price([rank]).named(self._names)
            code = self.encoding.encode(space.unrank(rank))
            self._rows[rank] = self._append(rank, code, [int(own[0]) for own in costs.values()])
            self._by_code[code] = self._rows[rank]
        return self._rows[rank]

    def _append(self, rank: int | None, code: Sequence[int], costs: Sequence[int]) -> int:
        row = len(self)
        if row == len(self._members):  # room for twice as many
            more = max(row, 64)
            self._members = np.append(self._members, np.zeros(more, bool))
            self._codes = np.vstack([self._codes, np.zeros((more, self._codes.shape[1]), np.int16)])
            self._costs = np.vstack([self._costs, np.zeros((more, len(self._names)))])
        self._members[row], self._codes[row], self._costs[row] = rank is not None, code, costs
        self._ranks.append(rank)
        return row


def _listed(space: Enumeration, seed: int) -> tuple[list[int], bool]:
    """Return the ranks of all networks if they are few enough, else of some that are drawn; and
    whether these are all.

    Raises SpecError if none of many that were drawn is within the budgets.
    """
    most, listed = min(MOST, space.streamed), min(LISTED, space.streamed)
    if space.streamable or not space.filtered:
        ranks = space.ranks(most, seed)
        if len(ranks) == space.size():
            return ranks, True
        chosen = np.random.default_rng(seed).choice(ranks, listed, replace=False)
        return sorted(int(rank) for rank in chosen), False
    rng, found = np.random.default_rng(seed), dict[int, None]()
    rounds = _ROUNDS if space.streamed > MOST else _ROUNDS_OF_MODELS
    for _ in range(rounds):
        found |= dict.fromkeys(space.drawn(listed, int(rng.integers(2**62))))
        if len(found) >= listed:
            break
    if not found:
        raise SpecError(
            f"none of {rounds * listed:,} networks that were drawn is within the budgets: "
            "draw from a smaller space"
        )
    return sorted(list(found)[:listed]), False
