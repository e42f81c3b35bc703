"""The letters that networks are spelled with: layers and the brackets of a shortcut, each with its price."""

from collections.abc import Hashable
from typing import NamedTuple

from blocksearch.space.cost import Cost, layer_cost, shortcut_cost
from blocksearch.space.layers import Join, JoinKind, Layers, Shape

Word = tuple[int, ...]


class Price(NamedTuple):
    """What a letter costs: macs, params and floats add up along a word, the peak is the largest."""

    macs: int
    params: int
    floats: int
    peak: int

    def then(self, other: "Price") -> "Price":
        return Price(self.macs + other.macs, self.params + other.params, self.floats + other.floats, max(self.peak, other.peak))


FREE = Price(0, 0, 0, 0)


class Alphabet:
    """Numbers for letters, in order of first use, and their prices."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self.prices: list[Price] = []

    def number(self, key: Hashable, price: Price) -> int:
        """Number a letter. One prefix of a word always prices the next layer alike, so the price is part of the letter."""
        found = self._numbers.setdefault((key, price), len(self.prices))
        if found == len(self.prices):
            self.prices.append(price)
        return found

    def price(self, word: Word) -> Price:
        total = FREE
        for letter in word:
            total = total.then(self.prices[letter])
        return total

    def stage(self, layers: Layers) -> Word:
        """Spell a resolved stage."""
        if not isinstance(layers[0], Join):
            return self.letters(layers, 0, True, 0)[0]
        join = layers[0]
        body, around = join.branches
        opening, closing = self.brackets(join.kind, join.input, body[-1].output, around)
        spelled = self.letters(body, join.input.floats, True, 0)[0]
        return opening + spelled + closing + self.letters(layers[1:], 0, True, 0)[0]

    def brackets(self, kind: JoinKind, entry: Shape, body: Shape, around: Layers) -> tuple[Word, Word]:
        opening = self.number(("(", kind, entry, around), _price(shortcut_cost(kind, entry, body, around)))
        return (opening,), (self.number(")", FREE),)

    def letters(self, layers: Layers, held: int, fresh: bool, folding: int) -> tuple[Word, int]:
        word = []
        for layer in layers:
            counted, folding = layer_cost(layer, folding)
            counted = counted if fresh else counted.beside(held)
            word.append(self.number(layer, _price(counted)))
            fresh = False
        return tuple(word), folding


def _price(counted: Cost) -> Price:
    return Price(counted.macs, counted.params, counted.floats, counted.peak_activation_floats)
