"""The letters that networks are spelled with: layers and the brackets of a shortcut, each with its
price.
"""

from collections.abc import Hashable
from itertools import chain
from typing import NamedTuple

from blocksearch.arch.cost import Cost, layer_cost, shortcut_cost
from blocksearch.arch.layers import Join, JoinKind, Layer, Layers, Shape

Word = tuple[int, ...]


class Price(NamedTuple):
    """What a letter costs: macs, params and floats add up along a word, the peak is the largest."""

    macs: int
    params: int
    floats: int
    peak: int

    def then(self, other: "Price") -> "Price":
        return Price(
            self.macs + other.macs,
            self.params + other.params,
            self.floats + other.floats,
            max(self.peak, other.peak),
        )


FREE = Price(0, 0, 0, 0)


class Alphabet:
    """Numbers for letters, in order of first use, and their prices."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._spelled: dict[tuple[Layer, int, int], tuple[int, int]] = {}
        self._chords: dict[tuple[Word, ...], int] = {}
        self.prices: list[Price] = []

    def number(self, key: Hashable, price: Price) -> int:
        """Number a letter. One prefix of a word always prices the next layer alike, so the price is
        part of the letter.
        """
        found = self._numbers.setdefault((key, price), len(self.prices))
        if found == len(self.prices):
            self.prices.append(price)
        return found

    def price(self, word: Word) -> Price:
        """Price a word."""
        total = FREE
        for letter in word:
            total = total.then(self.prices[letter])
        return total

    def chord(self, words: tuple[Word, ...]) -> int:
        """Return the letter that stands for several words side by side."""
        if words not in self._chords:
            self._chords[words] = self.number(words, self.price(tuple(chain(*words))))
        return self._chords[words]

    def stage(self, layers: Layers) -> Word:
        """Spell a resolved stage."""
        if not isinstance(layers[0], Join):
            return self.letters(layers)[0]
        join = layers[0]
        body, around = join.branches
        opening, closing = self.brackets(join.kind, join.input, body[-1].output, around)
        spelled = self.letters(body, join.input.floats)[0]
        return opening + spelled + closing + self.letters(layers[1:])[0]

    def brackets(
        self, kind: JoinKind, entry: Shape, body: Shape, around: Layers
    ) -> tuple[Word, Word]:
        """Spell what stands around a body: its shortcut, with the price of that and of the join,
        and where the body ends.
        """
        opening = self.number(
            ("(", kind, entry, around), _price(shortcut_cost(kind, entry, body, around))
        )
        return (opening,), (self.number(")", FREE),)

    def letters(
        self, layers: Layers, held: int = 0, fresh: bool = True, folding: int = 0
    ) -> tuple[Word, int]:
        """Spell layers in order; return what a pool after them would fold into.

        `held` floats are alive beside every layer but the first of a body (`fresh`), which reads
        them itself.
        """
        word = []
        for layer in layers:
            key = layer, 0 if fresh else held, folding
            if key not in self._spelled:
                counted, after = layer_cost(layer, folding)
                self._spelled[key] = self.number(layer, _price(counted.beside(key[1]))), after
            letter, folding = self._spelled[key]
            word.append(letter)
            fresh = False
        return tuple(word), folding


def _price(counted: Cost) -> Price:
    return Price(counted.macs, counted.params, counted.floats, counted.peak_activation_floats)
