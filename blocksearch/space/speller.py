"""Spells networks in symbols, which stand for layers and for the brackets of a shortcut, each with
its price. Stages are spelled by the steps of their blocks' expansion. What was spelled once is
remembered.
"""

from collections.abc import Callable, Hashable, Sequence
from itertools import chain
from operator import add
from typing import Any, NamedTuple, TypeVar

from blocksearch.arch.block import Block
from blocksearch.arch.cost import Cost, Layer, Layers, layer_cost
from blocksearch.arch.expansion import STEPS, Around, step_of
from blocksearch.arch.network import Network
from blocksearch.arch.quantities import COUNTED, ROWS
from blocksearch.arch.shape import Shape
from blocksearch.arch.stem import ConvStem
from blocksearch.arch.tree import Join, JoinKind, shortcut_cost
from blocksearch.errors import SpecError

Word = tuple[int, ...]


Price = tuple[int, ...]  # what a symbol costs: `ROWS`, of which all but the last add up
FREE: Price = (0,) * len(ROWS)
MOST = 2**56  # of a part: the sums over a network are whole numbers of 63 bits


def then(one: Price, other: Price) -> Price:
    """Return the price of one symbol after another; the peak is the larger."""
    return (*map(add, one[:-1], other[:-1]), max(one[-1], other[-1]))


class Cursor(NamedTuple):
    """A stage's spelling so far, with its shapes and what prices its next layer."""

    width: int
    shape: Shape
    output: Shape
    held: int = 0  # floats of the input, kept for the shortcut
    fresh: bool = True  # no layer of the body is spelled yet
    folding: int = 0
    tail: Word = ()


class Speller:
    """Spells stages one after the other, or with `lockstep` all at once, step by step. Symbols are
    numbered in order of first use.
    """

    def __init__(self, *, lockstep: bool) -> None:
        self.lockstep = lockstep
        self._prices: list[Price] = []
        self._numbers: dict[Hashable, int] = {}
        self._spelled: dict[tuple[Layer, int, int], tuple[int, int]] = {}
        self._joints: dict[tuple[Word, ...], int] = {}
        self._opened: dict[Hashable, tuple[Word, Cursor] | SpecError] = {}
        self._stepped: dict[Hashable, tuple[Word, Cursor] | SpecError] = {}

    def price(self, word: Word) -> Price:
        """Price a word."""
        total = FREE
        for symbol in word:
            total = then(total, self._prices[symbol])
        if max(total) > MOST:
            raise SpecError("a network of this space costs more than can be counted, 2^56")
        return total

    def plain(self, layers: Layers) -> Word:
        """Spell layers that no factor decides: a stem of its own, or a classifier."""
        return self._symbols(layers)[0]

    def word(self, network: Network) -> Word:
        """Spell any network."""
        *stages, ending = network.stages
        if not self.lockstep:
            word: Word = ()
            for stage in stages:
                word += self._stage(stage)
            return word + self.plain(ending)
        entry, word = network.task.input, ()
        if isinstance(network.stem, ConvStem):
            word, entry = self.plain(stages[0]), stages[0][-1].output
        blocks = network.stage_blocks
        symbol, opened = self.open(tuple(zip(network.task.widths, blocks, strict=True)), entry)
        word += symbol
        for step in range(len(STEPS)):
            symbol, opened = self.step(step, blocks, opened)
            word += symbol
        return word + self.plain(ending)

    def open(
        self, stages: Sequence[tuple[int, Block]], entry: Shape
    ) -> tuple[Word, tuple[Cursor, ...]]:
        """Spell the shortcuts of some stages, which fixes what each stage reads and hands on."""
        words, opened = [], []
        for width, block in stages:
            key = width, entry, *(vars(block)[name] for name in Around._fields)
            word, stage = _remember(self._opened, key, self._open_stage, block, entry, width)
            words.append(word)
            opened.append(stage)
            entry = stage.output
        return self._side_by_side(words), tuple(opened)

    def _open_stage(self, block: Block, entry: Shape, width: int) -> tuple[Word, Cursor]:
        step = step_of(block, Around)
        body, around = step.body(entry, width), step.shortcut(entry, width)
        if around is None:
            return (), Cursor(width, entry, body)
        opening, closing = self._brackets(around.kind, entry, body, around.layers)
        tail = closing + self.plain(around.after)
        return opening, Cursor(width, entry, around.output, entry.elements, tail=tail)

    def step(
        self, step: int, blocks: Sequence[Block], stages: Sequence[Cursor]
    ) -> tuple[Word, tuple[Cursor, ...]]:
        words, after = [], []
        for block, stage in zip(blocks, stages, strict=True):
            values = vars(block)
            key = step, *stage[:-1], *[values[name] for name in STEPS[step]._fields]
            word, moved = _remember(self._stepped, key, self._step_stage, step, block, stage)
            words.append(word + stage.tail if step == len(STEPS) - 1 else word)
            after.append(moved._replace(tail=stage.tail) if stage.tail else moved)
        return self._side_by_side(words), tuple(after)

    def _step_stage(self, step: int, block: Block, stage: Cursor) -> tuple[Word, Cursor]:
        layers = step_of(block, STEPS[step]).layers(stage.shape, stage.width)
        word, folding = self._symbols(layers, stage.held, stage.fresh, stage.folding)
        shape = layers[-1].output if layers else stage.shape
        fresh = stage.fresh and not layers
        return word, stage._replace(shape=shape, fresh=fresh, folding=folding, tail=())

    def _side_by_side(self, words: Sequence[Word]) -> Word:
        """Return the word of one stage, or in lockstep the one symbol that stands for all."""
        if not self.lockstep:
            (word,) = words
            return word
        key = tuple(words)
        if key not in self._joints:
            self._joints[key] = self._number(key, self.price(tuple(chain(*key))))
        return (self._joints[key],)

    def _stage(self, layers: Layers) -> Word:
        """Spell a resolved stage."""
        if not isinstance(layers[0], Join):
            return self.plain(layers)
        join = layers[0]
        body, around = join.branches
        opening, closing = self._brackets(join.kind, join.input, body[-1].output, around)
        spelled = self._symbols(body, join.input.elements)[0]
        return opening + spelled + closing + self.plain(layers[1:])

    def _brackets(
        self, kind: JoinKind, entry: Shape, body: Shape, around: Layers
    ) -> tuple[Word, Word]:
        """Spell what is around a body: its shortcut, priced with the join, and the end."""
        price = _price(shortcut_cost(kind, entry, body, around))
        return (self._number(("(", kind, entry, around), price),), (self._number(")", FREE),)

    def _symbols(
        self, layers: Layers, held: int = 0, fresh: bool = True, folding: int = 0
    ) -> tuple[Word, int]:
        """Spell layers in order; return what a pool after them would fold into, too.

        `held` floats are alive beside every layer but the first of a body (`fresh`), because that
        one reads them itself.
        """
        word = []
        for layer in layers:
            key = layer, 0 if fresh else held, folding
            if key not in self._spelled:
                counted, after = layer_cost(layer, folding)
                self._spelled[key] = self._number(layer, _price(counted.beside(key[1]))), after
            symbol, folding = self._spelled[key]
            word.append(symbol)
            fresh = False
        return tuple(word), folding

    def _number(self, key: Hashable, price: Price) -> int:
        """Number a symbol. Its price is part of it, because what stood before changes it."""
        found = self._numbers.setdefault((key, price), len(self._prices))
        if found == len(self._prices):
            self._prices.append(price)
        return found


def _price(counted: Cost) -> Price:
    counts = counted.counts or (0,) * len(COUNTED)
    summed = counted.macs, counted.params, counted.activations
    return (*summed, *counts, counted.peak_activations)


_Made = TypeVar("_Made")


def _remember(
    found: dict[Hashable, _Made | SpecError],
    key: Hashable,
    make: Callable[..., _Made],
    *arguments: Any,
) -> _Made:
    """Make something once, and remember failures, too."""
    if key not in found:
        try:
            found[key] = make(*arguments)
        except SpecError as error:
            found[key] = error
    made = found[key]
    if isinstance(made, SpecError):
        raise made
    return made
