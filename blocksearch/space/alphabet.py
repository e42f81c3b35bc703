"""Symbols that stand for layers and for the brackets of a shortcut, each with its price."""

from collections.abc import Hashable
from itertools import chain
from typing import NamedTuple

from blocksearch.arch.cost import Cost, Layer, Layers, layer_cost
from blocksearch.arch.shape import Shape
from blocksearch.arch.tree import Join, JoinKind, shortcut_cost

Word = tuple[int, ...]


class Price(NamedTuple):
    """What a symbol costs. macs, params and activations add up; the peak is the largest."""

    macs: int
    params: int
    activations: int
    peak_activations: int

    def then(self, other: "Price") -> "Price":
        return Price(
            self.macs + other.macs,
            self.params + other.params,
            self.activations + other.activations,
            max(self.peak_activations, other.peak_activations),
        )


FREE = Price(0, 0, 0, 0)


class Alphabet:
    """Number symbols in order of first use, and price them."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._spelled: dict[tuple[Layer, int, int], tuple[int, int]] = {}
        self._joints: dict[tuple[Word, ...], int] = {}
        self.prices: list[Price] = []

    def number(self, key: Hashable, price: Price) -> int:
        """Number a symbol. Its price is part of it, because what stood before changes it."""
        found = self._numbers.setdefault((key, price), len(self.prices))
        if found == len(self.prices):
            self.prices.append(price)
        return found

    def price(self, word: Word) -> Price:
        """Price a word."""
        total = FREE
        for symbol in word:
            total = total.then(self.prices[symbol])
        return total

    def joint(self, words: tuple[Word, ...]) -> int:
        """Return the one symbol that stands for several words side by side."""
        if words not in self._joints:
            self._joints[words] = self.number(words, self.price(tuple(chain(*words))))
        return self._joints[words]

    def stage(self, layers: Layers) -> Word:
        """Spell a resolved stage."""
        if not isinstance(layers[0], Join):
            return self.symbols(layers)[0]
        join = layers[0]
        body, around = join.branches
        opening, closing = self.brackets(join.kind, join.input, body[-1].output, around)
        spelled = self.symbols(body, join.input.elements)[0]
        return opening + spelled + closing + self.symbols(layers[1:])[0]

    def brackets(
        self, kind: JoinKind, entry: Shape, body: Shape, around: Layers
    ) -> tuple[Word, Word]:
        """Spell what is around a body: its shortcut, priced with the join, and the end."""
        opening = self.number(
            ("(", kind, entry, around), _price(shortcut_cost(kind, entry, body, around))
        )
        return (opening,), (self.number(")", FREE),)

    def symbols(
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
                self._spelled[key] = self.number(layer, _price(counted.beside(key[1]))), after
            symbol, folding = self._spelled[key]
            word.append(symbol)
            fresh = False
        return tuple(word), folding


def _price(counted: Cost) -> Price:
    return Price(counted.macs, counted.params, counted.activations, counted.peak_activations)
