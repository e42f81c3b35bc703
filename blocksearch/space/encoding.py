"""Encodes networks as rows of small whole numbers, one for each choice that a space leaves, and
makes neighbours, mutations and crosses of them.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from blocksearch.arch.block import Block
from blocksearch.arch.network import Network
from blocksearch.arch.stem import stages_without_block
from blocksearch.errors import SpecError
from blocksearch.space.enumeration import Enumeration
from blocksearch.space.layouts import HALVING, Genotype, Layout, Product
from blocksearch.space.reasons import why_not

Code: TypeAlias = tuple[int, ...]
_TRIES = 20  # children that may leave the space before a parent is returned
_Each = TypeVar("_Each")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Name a choice of a space: a factor, of all blocks or of one slot, from 1."""

    factor: str
    slot: int | None = None

    def __str__(self) -> str:
        return self.factor if self.slot is None else f"{self.factor}@{self.slot}"

    @classmethod
    def read(cls, text: str) -> "Choice":
        """Read a name as a study stores it; one that no space gives is a factor that none has.

        >>> Choice.read("residual@2"), Choice.read("a@b")
        (Choice(factor='residual', slot=2), Choice(factor='a@b', slot=None))
        """
        factor, mark, slot = text.partition("@")
        known = mark and re.fullmatch("[1-9][0-9]{0,5}", slot)
        return cls(factor=factor, slot=int(slot)) if known else cls(factor=text)


class Encoding:
    """Number the options of every choice: those of the layout, and the factors of each slot.

    Choices are named `widths`, `stem`, `depth`, `head`, `resolution`, `channels`, and by factor,
    such as `residual`, or `residual@2` if stage 2 has its own. Where stages have options of their
    own there are `stage2_width`, `stage2_depth` and `stage2_stride`. A union has the choice `part`,
    too. `levels` has the options of each choice with at least two.
    """

    def __init__(self, products: Sequence[Product]) -> None:
        self._products = products
        self._stages = max(len(each.stages) for each in products)
        inputs = [{layout.input for layout in each.layouts} for each in products]
        self._reads_several = max(map(len, inputs)) > 1
        layouts = [(part, layout) for part, made in enumerate(products) for layout in made.layouts]
        self._slots = max(len(layout.slots) for _, layout in layouts)
        self._layouts = {tuple(self._choices(*each).items()): each for each in layouts}
        levels: dict[str, dict[object, None]] = {}
        for each in self._layouts:
            for name, value in each:
                levels.setdefault(name, {})[value] = None
        self._first = {name: next(iter(values)) for name, values in levels.items()}
        for part, layout in layouts:
            for slot, options in self._numbered(layout.slots):
                for name, values in products[part].options[options].items():
                    levels.setdefault(self._name(name, slot), {}).update(dict.fromkeys(values))
        self.levels = {name: list(values) for name, values in levels.items() if len(values) > 1}
        self._index = {
            name: {value: level for level, value in enumerate(values)}
            for name, values in self.levels.items()
        }

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.levels)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many options each choice has."""
        return tuple(map(len, self.levels.values()))

    def encode(self, genotype: Genotype) -> Code:
        """Number the choices of a genotype. One that its layout has no room for, or that is no
        option here, is −1.
        """
        values: dict[str, object] = dict(self._choices(genotype.part, genotype.layout))
        for slot, block in self._numbered(genotype.blocks):
            values |= {self._name(name, slot): value for name, value in block.values().items()}
        return tuple(self._index[name].get(values.get(name), -1) for name in self.levels)

    def encode_network(self, network: Network) -> Code:
        """Number the choices of any network, in the space or not, as it is written."""
        widths, without = network.task.widths, stages_without_block(network.stem)
        once, halving = (1,) * len(widths), (HALVING,) * len(widths)
        ends = network.stem, self._slots == 1, network.head, network.task.input
        layout = Layout(widths, once, halving, *ends)
        blocks = network.blocks
        if len(blocks) == 1:
            blocks *= len(widths) - without
        return self.encode(Genotype(0, layout, tuple(blocks[-self._slots :])))

    def decode(self, code: Sequence[int]) -> Genotype | None:
        """Return the genotype of a row of choices, or None if they make none.

        Choices that the layout has no room for are ignored; −1 is a factor's first option.
        """
        if len(code) != len(self.levels) or any(
            level >= size for level, size in zip(code, self.sizes, strict=True)
        ):
            return None
        values = {
            name: self.levels[name][level]
            for name, level in zip(self.levels, code, strict=True)
            if level >= 0
        }
        chosen = [
            (name, values.get(name) if name in self.levels else first)
            for name, first in self._first.items()
        ]
        if (found := self._layouts.get(tuple(chosen))) is None:
            return None
        part, layout = found
        made, blocks = self._products[part], []
        for slot, options in self._numbered(layout.slots):
            own = {
                name: values.get(self._name(name, slot), first)
                for name, (first, *_) in made.options[options].items()
            }
            try:
                blocks.append(Block(**made.base.values() | own))
            except SpecError:
                return None
        return Genotype(part, layout, tuple(blocks))

    def neighbours(self, code: Code) -> Iterator[Code]:
        """Yield the rows that differ in one choice, of those that the layout has room for."""
        for place, (level, size) in enumerate(zip(code, self.sizes, strict=True)):
            others = range(size) if level >= 0 else ()
            yield from (
                (*code[:place], other, *code[place + 1 :]) for other in others if other != level
            )

    def mutate(self, code: Code, rng: np.random.Generator) -> Code | None:
        """Change one choice at random; None if there is none to change."""
        if not code:
            return None
        place = int(rng.integers(len(code)))
        others = np.setdiff1d(np.arange(self.sizes[place]), code[place])
        return (*code[:place], int(rng.choice(others)), *code[place + 1 :])

    def cross(self, one: Code, other: Code, rng: np.random.Generator) -> Code:
        """Take each choice from one of two rows."""
        chosen: NDArray[np.int64] = np.where(rng.random(len(one)) < 0.5, one, other)
        return tuple(map(int, chosen))

    def _name(self, factor: str, slot: int) -> str:
        return str(Choice(factor=factor, slot=None if self._slots == 1 else slot + 1))

    def _numbered(self, slots: Sequence[_Each]) -> Iterator[tuple[int, _Each]]:
        """Number a layout's slots; the last slots of all layouts have one number."""
        return enumerate(slots, self._slots - len(slots))

    def _choices(self, part: int, layout: Layout) -> dict[str, object]:
        """Return the choices that a layout is, by name."""
        found: dict[str, object] = {"part": part} if len(self._products) > 1 else {}
        if self._stages:
            found |= {"stem": layout.stem, "head": layout.head}
            rows = {"width": layout.widths, "depth": layout.depths, "stride": layout.strides}
            for number in range(self._stages):
                for name, values in rows.items():
                    own = values[number] if number < len(values) else None
                    found[f"stage{number + 1}_{name}"] = own
        else:
            found |= {"widths": layout.widths, "stem": layout.stem}
            found |= {"depth": self._depth(layout), "head": layout.head}
        if self._reads_several:
            height, width = layout.input.map
            found |= {"resolution": f"{height}x{width}", "channels": layout.input.channels}
        return found

    def _depth(self, layout: Layout) -> object:
        """Return the depths of the stages that are blocks, as one number if all are equal."""
        depths = layout.depths[stages_without_block(layout.stem) :]
        if len(set(depths[-1:] if layout.shared else layout.depths)) == 1:
            return depths[-1]
        return depths


def neighbours(space: Enumeration, encoding: Encoding, network: Network) -> list[Network]:
    """Return the other networks that differ from one in a single choice."""
    genotypes = map(encoding.decode, encoding.neighbours(_code(space, encoding, network)))
    made = (_made(space, genotype) for genotype in genotypes)
    near = {each.digest: each for each in made if each is not None}
    return [each for digest, each in near.items() if digest != network.digest]


def crossed(
    space: Enumeration, encoding: Encoding, parents: tuple[Network, Network], seed: object
) -> Network:
    """Return a network that takes each choice from one of two parents; one of them if twenty such
    in turn are not in the space.
    """
    rng = np.random.default_rng(seed)  # type: ignore[arg-type]
    one, other = (_code(space, encoding, each) for each in parents)
    for _ in range(_TRIES):
        child = _made(space, encoding.decode(encoding.cross(one, other, rng)))
        if child is not None:
            return child
    return parents[rng.integers(2)]


def _code(space: Enumeration, encoding: Encoding, network: Network) -> Code:
    genotype = space.genotype_of(network)
    if genotype is None:
        raise SpecError(f"the network is not in the space: {why_not(space, network)}")
    return encoding.encode(genotype)


def _made(space: Enumeration, genotype: Genotype | None) -> Network | None:
    """Build a genotype's network; None if that is none of the space."""
    if genotype is None:
        return None
    try:
        network = space.network(genotype)
    except SpecError:
        return None
    return network if space.rank(network) is not None else None
