"""The members that a search may train, as rows of arrays: what they are made of, and what they cost
exactly.

A space of up to `MOST` members is listed whole. Of a larger one the pool lists a uniform sample,
and grows by what samplers make. What it draws depends on the space, its seed and the generator,
never on what it has grown by.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blocksearch.arch.block import Block
from blocksearch.arch.cost import Cost, cost
from blocksearch.arch.network import Network
from blocksearch.errors import PluginError, SpecError
from blocksearch.search.surrogate import Codes, Floats
from blocksearch.space.enumeration import Members
from blocksearch.space.grammar import Grammar
from blocksearch.space.layouts import Genes, Plan

MOST, LISTED = (
    20_000,
    5_000,
)  # members of a space that is listed whole, and how many are listed of a larger one
_ROUNDS = 100  # of drawing `LISTED` networks, until as many are within the budgets
_BATCHES = (
    4,
    64,
    1024,
    16_384,
)  # how many are drawn in turn from a space that is not listed, until one is free
COSTS = ("flops", "params", "floats", "peak")


class Encoding:
    """Names every choice that a grammar leaves: the plan's, and the factors of each place for a
    block; as small whole numbers.

    Names are `widths`, `first_layer`, `depth`, and a factor such as `residual`, or `residual@2`
    where stage 2 has its own.
    """

    def __init__(self, grammar: Grammar) -> None:
        products = grammar.members.products
        plans = [(part, plan) for part, made in enumerate(products) for plan in made.plans]
        self._places = max(plan.blocks for _, plan in plans)
        self.levels: dict[str, list[object]] = {}
        for part, plan in plans:
            for name, value in self._plan(part, plan, len(products)).items():
                self._add(name, value)
        for part, plan in plans:
            stages = [stage for stage in plan.stages if stage.kind == "own"]
            for place, stage in enumerate(stages, self._places - len(stages)):
                for name, values in products[part].options[stage.options].items():
                    for value in values:
                        self._add(self._name(name, place), value)
        self.levels = {name: values for name, values in self.levels.items() if len(values) > 1}
        self._index = {
            name: {value: level for level, value in enumerate(values)}
            for name, values in self.levels.items()
        }
        self._plans = {
            tuple(self._plan(part, plan, len(products)).items()): (part, plan)
            for part, plan in plans
        }
        self._plan_names = tuple(self._plan(*plans[0], len(products)))
        self._plan_values = {
            name: dict.fromkeys(dict(key)[name] for key in self._plans) for name in self._plan_names
        }
        self._products = products

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.levels)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many options each choice has."""
        return tuple(map(len, self.levels.values()))

    def code(self, genes: Genes) -> tuple[int, ...]:
        """Number the choices of a member; one that its plan has no room for, or that is no option
        here, is −1.
        """
        values: dict[str, object] = dict(self._plan(genes.part, genes.plan, len(self._products)))
        for place, block in enumerate(genes.blocks, self._places - len(genes.blocks)):
            values |= {self._name(name, place): value for name, value in block.values().items()}
        return tuple(self._index[name].get(values.get(name), -1) for name in self.levels)

    def stranger(self, network: Network) -> tuple[int, ...]:
        """Number the choices of a network that need not be a member."""
        vanilla = network.first_layer == "vanilla"
        plan = Plan(
            network.task.widths,
            (1,) * len(network.task.widths),
            network.first_layer,
            self._places == 1,
        )
        blocks = (
            network.blocks
            if len(network.blocks) > 1
            else network.blocks * (len(plan.widths) - vanilla)
        )
        return self.code(Genes(0, plan, tuple(blocks[-self._places :])))

    def genes(self, code: Sequence[int]) -> Genes | None:
        """Return what a row of choices makes, or None where they make nothing.

        Choices for which the plan has no room are passed over; −1, and a choice that is none, stand
        for the first option.
        """
        if len(code) != len(self.levels) or any(
            level >= size for level, size in zip(code, self.sizes, strict=True)
        ):
            return None
        values = {
            name: self.levels[name][level] if level >= 0 else None
            for name, level in zip(self.levels, code, strict=True)
        }
        choices = tuple(
            (name, values.get(name, next(iter(self._plan_values[name]))))
            for name in self._plan_names
        )
        if choices not in self._plans:
            return None
        part, plan = self._plans[choices]
        made = self._products[part]
        base, blocks = made.base.values(), []
        stages = [stage for stage in plan.stages if stage.kind == "own"]
        for place, stage in enumerate(stages, self._places - len(stages)):
            fixed = {name: options[0] for name, options in made.options[stage.options].items()}
            own = {name: values.get(self._name(name, place)) for name in fixed}
            chosen = {name: value for name, value in own.items() if value is not None}
            try:
                blocks.append(Block(**{**base, **fixed, **chosen}))  # type: ignore[arg-type]
            except PluginError:
                raise
            except SpecError:
                return None
        return Genes(part, plan, tuple(blocks))

    def _name(self, factor: str, place: int) -> str:
        return factor if self._places == 1 else f"{factor}@{place + 1}"

    @staticmethod
    def _plan(part: int, plan: Plan, parts: int) -> dict[str, object]:
        found: dict[str, object] = {
            "widths": plan.widths,
            "first_layer": plan.first_layer,
            "depth": plan.depths,
        }
        if (
            plan.first_layer == "vanilla"
        ):  # its first stage is no block: depths are those of the others
            found["depth"] = plan.depths[1:]
        if len(set(plan.depths[-1:] if plan.shared else plan.depths)) == 1:
            found["depth"] = plan.depths[-1]
        return ({"part": part} if parts > 1 else {}) | found

    def _add(self, name: str, value: object) -> None:
        values = self.levels.setdefault(name, [])
        if value not in values:
            values.append(value)


class Pool:
    """Networks by row: first the members that were listed, then whatever else came to be known,
    named points too.
    """

    def __init__(self, grammar: Grammar, seed: int = 0) -> None:
        self.grammar, self.encoding = grammar, Encoding(grammar)
        members = grammar.members
        places, self.whole = _listed(members, seed)
        self.listed = len(places)
        self._codes = np.array(
            [self.encoding.code(members.genes_at(place)) for place in places], np.int16
        )
        self._codes = self._codes.reshape(len(places), len(self.encoding.names))
        costs = members.price(places)
        self._costs = np.stack([costs.of(name) for name in COSTS], axis=1).astype(float)
        self._members = np.ones(len(places), bool)
        self._places: list[int | None] = list(places)
        self._rows = {place: row for row, place in enumerate(places)}
        self._by_code: dict[tuple[int, ...], int | None] = {
            tuple(code): row for row, code in enumerate(self._codes.tolist())
        }
        self._networks: dict[int, Network] = {}
        self._strangers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._places)

    def place(self, row: int) -> int:
        """Return the place in the grammar of a row that is a member: the same in every pool."""
        place = self._places[row]
        assert place is not None
        return place

    @property
    def codes(self) -> Codes:
        return self._codes[: len(self)]

    @property
    def members(self) -> NDArray[np.bool_]:
        """Say of each row whether it is a member; others are named points: trained, but never
        proposed.
        """
        return self._members[: len(self)]

    def costs(self, names: Sequence[str]) -> Floats:
        """Return some costs of all rows, N × names."""
        return self._costs[: len(self), [COSTS.index(name) for name in names]]

    def cost(self, row: int) -> dict[str, int]:
        """Return the costs of a row by name."""
        return {name: int(value) for name, value in zip(COSTS, self._costs[row], strict=True)}

    def network(self, row: int) -> Network:
        """Return the network of a row."""
        if row not in self._networks:
            members = self.grammar.members
            self._networks[row] = members.network(
                members.genes_at(self.place(row))
            )  # strangers are kept when they come
        return self._networks[row]

    def row(self, network: Network) -> int:
        """Return the row of a network; it gets one where it had none."""
        place = self.grammar.members.located(network)
        if place is not None:
            return self._row(place)
        if network.digest not in self._strangers:
            price: Cost = cost(network.layers)
            costs = [price.flops, price.params, price.floats, price.peak_activation_floats]
            self._strangers[network.digest] = self._append(
                None, self.encoding.stranger(network), costs
            )
            self._networks[len(self) - 1] = network
        return self._strangers[network.digest]

    def recall(self, fingerprint: str, code: Sequence[int], text: str) -> int:
        """Return the row of a network that was trained before. Raises SpecError where it cannot be
        read here.
        """
        if fingerprint in self._strangers:
            return self._strangers[fingerprint]
        found = self.decode(code)
        if found is not None and self.network(found).digest == fingerprint:
            return found
        raise SpecError(f"the network {text} of this study cannot be made from its space any more")

    def decode(self, code: Sequence[int]) -> int | None:
        """Return the row of the member that a row of choices makes, or None where it makes none."""
        key = tuple(map(int, code))
        if key not in self._by_code:
            self._by_code[key] = self._made(key)
        return self._by_code[key]

    def draw(self, rng: np.random.Generator, taken: NDArray[np.bool_]) -> int | None:
        """Draw a member that is not taken, each equally likely; None where there is none."""
        if self.whole:
            left = self.left(taken)
            return int(rng.choice(left)) if len(left) else None
        for count in _BATCHES:
            for place in self.grammar.members.drawn(count, int(rng.integers(2**62))):
                row = self._row(place)
                if row >= len(taken) or not taken[row]:
                    return row
        return self._last(rng, taken)

    def left(self, taken: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the listed members that are not taken."""
        return np.flatnonzero(~taken[: self.listed])

    def mutate(self, row: int, rng: np.random.Generator) -> int | None:
        """Change one choice of a row; None where that makes no member."""
        code = self._codes[row].copy()
        if not len(code):
            return None
        place = int(rng.integers(len(code)))
        others = np.setdiff1d(np.arange(self.encoding.sizes[place]), code[place])
        code[place] = rng.choice(others)
        return self.decode(code)

    def cross(self, one: int, other: int, rng: np.random.Generator) -> int | None:
        """Take each choice from one of two rows; None where that makes no member."""
        return self.decode(
            np.where(rng.random(self._codes.shape[1]) < 0.5, self._codes[one], self._codes[other])
        )

    def _last(self, rng: np.random.Generator, taken: NDArray[np.bool_]) -> int | None:
        """Draw from all that is left of a space that is nearly used up, or of the list where the
        space is out of sight.
        """
        members = self.grammar.members
        if not members.streamable:
            left = self.left(taken)
            return int(rng.choice(left)) if len(left) else None
        everything = members.kept() if members.filtered else np.arange(members.diagram.size)
        used = [place for row in np.flatnonzero(taken) if (place := self._places[row]) is not None]
        free = np.setdiff1d(everything, used)
        return self._row(int(rng.choice(free))) if len(free) else None

    def _made(self, code: tuple[int, ...]) -> int | None:
        genes = self.encoding.genes(code)
        if genes is None:
            return None
        try:
            place = self.grammar.members.located(self.grammar.members.network(genes))
        except PluginError:
            raise
        except SpecError:
            return None
        return None if place is None else self._row(place)

    def _row(self, place: int) -> int:
        if place not in self._rows:
            costs = self.grammar.members.price([place])
            code = self.encoding.code(self.grammar.members.genes_at(place))
            self._rows[place] = self._append(
                place, code, [int(costs.of(name)[0]) for name in COSTS]
            )
            self._by_code[code] = self._rows[place]
        return self._rows[place]

    def _append(self, place: int | None, code: Sequence[int], costs: Sequence[int]) -> int:
        row = len(self)
        if row == len(self._members):  # room for twice as many
            more = max(row, 64)
            self._members = np.append(self._members, np.zeros(more, bool))
            self._codes = np.vstack([self._codes, np.zeros((more, self._codes.shape[1]), np.int16)])
            self._costs = np.vstack([self._costs, np.zeros((more, len(COSTS)))])
        self._members[row], self._codes[row], self._costs[row] = place is not None, code, costs
        self._places.append(place)
        return row


def _listed(members: Members, seed: int) -> tuple[list[int], bool]:
    """Return the places of all members where they are few enough, else of some that are drawn; and
    whether these are all.

    Raises SpecError where none of many that were drawn is within the budgets.
    """
    if members.streamable or not members.filtered:
        places = members.places(MOST, seed)
        if len(places) == members.size():
            return places, True
        return sorted(
            int(each) for each in np.random.default_rng(seed).choice(places, LISTED, replace=False)
        ), False
    rng, found = np.random.default_rng(seed), dict[int, None]()
    for _ in range(_ROUNDS):
        found |= dict.fromkeys(members.drawn(LISTED, int(rng.integers(2**62))))
        if len(found) >= LISTED:
            break
    if not found:
        raise SpecError(
            f"none of {_ROUNDS * LISTED:,} networks that were drawn is within the budgets: draw from a smaller space"
        )
    return sorted(list(found)[:LISTED]), False
