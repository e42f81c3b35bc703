"""How stages are spelled as symbols, step by step of their blocks' expansion; what was spelled once
is remembered.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeVar

from blocksearch.arch.block import Block
from blocksearch.arch.expansion import SHORTCUT_FACTORS, STEPS, body_output, shortcut
from blocksearch.arch.layers import Layers, Shape
from blocksearch.arch.network import Network
from blocksearch.arch.stem import ConvStem
from blocksearch.errors import SpecError
from blocksearch.space.alphabet import Alphabet, Word


class Cursor(NamedTuple):
    """How far a stage is spelled: its shapes, and what its next layer's price depends on."""

    width: int
    shape: Shape
    output: Shape
    held: int = 0  # floats of the input, kept for the shortcut
    fresh: bool = True  # no layer of the body is spelled yet
    folding: int = 0
    tail: Word = ()


class Speller:
    """Spells stages one after the other, or with `lockstep` all at once, step by step."""

    def __init__(self, *, lockstep: bool) -> None:
        self.lockstep, self.alphabet = lockstep, Alphabet()
        self._opened: dict[Hashable, tuple[Word, Cursor] | SpecError] = {}
        self._stepped: dict[Hashable, tuple[Word, Cursor] | SpecError] = {}

    def plain(self, layers: Layers) -> Word:
        """Spell layers that no factor decides: a stem of its own, or a classifier."""
        return self.alphabet.symbols(layers)[0]

    def word(self, network: Network) -> Word:
        """Spell any network."""
        *stages, ending = network.stages
        if not self.lockstep:
            word: Word = ()
            for stage in stages:
                word += self.alphabet.stage(stage)
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
            key = width, entry, *(vars(block)[name] for name in SHORTCUT_FACTORS)
            word, stage = _remember(self._opened, key, self._open_stage, block, entry, width)
            words.append(word)
            opened.append(stage)
            entry = stage.output
        return self._side_by_side(words), tuple(opened)

    def _open_stage(self, block: Block, entry: Shape, width: int) -> tuple[Word, Cursor]:
        body, around = body_output(block, entry, width), shortcut(block, entry, width)
        if around is None:
            return (), Cursor(width, entry, body)
        opening, closing = self.alphabet.brackets(around.kind, entry, body, around.layers)
        return opening, Cursor(
            width,
            entry,
            around.output,
            entry.elements,
            tail=closing + self.alphabet.symbols(around.after)[0],
        )

    def step(
        self, step: int, blocks: Sequence[Block], stages: Sequence[Cursor]
    ) -> tuple[Word, tuple[Cursor, ...]]:
        words, after = [], []
        for block, stage in zip(blocks, stages, strict=True):
            values = vars(block)
            key = step, *stage[:-1], *[values[name] for name in STEPS[step].factors]
            word, moved = _remember(self._stepped, key, self._step_stage, step, block, stage)
            words.append(word + stage.tail if step == len(STEPS) - 1 else word)
            after.append(moved._replace(tail=stage.tail) if stage.tail else moved)
        return self._side_by_side(words), tuple(after)

    def _step_stage(self, step: int, block: Block, stage: Cursor) -> tuple[Word, Cursor]:
        layers = STEPS[step].layers(block, stage.shape, stage.width)
        word, folding = self.alphabet.symbols(layers, stage.held, stage.fresh, stage.folding)
        shape = layers[-1].output if layers else stage.shape
        fresh = stage.fresh and not layers
        return word, stage._replace(shape=shape, fresh=fresh, folding=folding, tail=())

    def _side_by_side(self, words: Sequence[Word]) -> Word:
        if not self.lockstep:
            (word,) = words
            return word
        return (self.alphabet.joint(tuple(words)),)


_Made = TypeVar("_Made")


def _remember(
    found: dict[Hashable, _Made | SpecError],
    key: Hashable,
    make: Callable[..., _Made],
    *arguments: Any,
) -> _Made:
    """Make something once; what cannot be made cannot be made the next time, either."""
    if key not in found:
        try:
            found[key] = make(*arguments)
        except SpecError as error:
            found[key] = error
    made = found[key]
    if isinstance(made, SpecError):
        raise made
    return made
