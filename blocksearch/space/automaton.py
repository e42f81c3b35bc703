"""An automaton without backtracking that spells every network of a space as a word of layers.

A word is a network's resolved layers in order, with a shortcut before the body that it goes around,
so networks are equal exactly where their words are. The automaton assigns a factor at the step of a
block's expansion that first reads it, and forgets it after the last, so that a space is never
enumerated block by block.

If one block serves all stages of a large space, its stages are spelled in lockstep: a symbol is
then what one step adds to every stage. This tells networks apart as well as the flat word does, if
a stage's layers tell where it ends (see `spelling`).
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple, TypeVar, assert_never

from blocksearch.arch.block import Block
from blocksearch.arch.expansion import SHORTCUT_FACTORS, STEPS, body_output, shortcut
from blocksearch.arch.factors import Value
from blocksearch.arch.layers import Shape
from blocksearch.arch.network import STEM, Network, classifier
from blocksearch.errors import SpecError
from blocksearch.space.alphabet import Alphabet, Word
from blocksearch.space.layouts import (
    DECISIONS,
    Decision,
    Genotype,
    Layout,
    Product,
    Stage,
    StageKind,
)

Values = tuple[tuple[str, Value], ...]
_FINAL = DECISIONS
_FLAT, _MOST_FLAT = 5_000, 200_000  # shared blocks that are still spelled layer by layer


class Cursor(NamedTuple):
    """How far a stage is spelled: its shapes, and what its next layer's price depends on."""

    width: int
    shape: Shape
    output: Shape
    held: int = 0  # floats of the input, kept for the shortcut
    fresh: bool = True  # no layer of the body is spelled yet
    folding: int = 0
    tail: Word = ()


class State(NamedTuple):
    """A state of the automaton: the part it spells, the bundles of stages that are left, how far
    the first of these is, and the factors still needed.
    """

    part: int
    rest: tuple[tuple[Stage, ...], ...]
    entry: Shape
    head: str
    step: int = 0
    stages: tuple[Cursor, ...] = ()
    known: Values = ()


class Transition(NamedTuple):
    """What the automaton may spell next, the state that leads to, and the factors it decides."""

    word: Word
    state: int
    decided: Values


class Automaton:
    """Spell the networks of a union of products. States are numbers, in order of first use."""

    def __init__(self, products: Sequence[Product], *, lockstep: bool) -> None:
        self.products, self.lockstep, self.alphabet = products, lockstep, Alphabet()
        self._states: list[State] = []
        self._numbers: dict[State, int] = {}
        self._transitions: dict[int, tuple[Transition, ...]] = {}
        self._opened: dict[Hashable, tuple[Word, Cursor] | SpecError] = {}
        self._stepped: dict[Hashable, tuple[Word, Cursor] | SpecError] = {}
        self._blocks: dict[Hashable, Block] = {}

    @cached_property
    def starts(self) -> dict[int, tuple[int, Layout]]:
        """The states that networks start from, each with its part and layout, in order."""
        found: dict[int, tuple[int, Layout]] = {}
        for part, made in enumerate(self.products):
            for layout in made.layouts:
                stages = layout.stages
                bundles = (stages,) if self.lockstep else tuple((stage,) for stage in stages)
                found.setdefault(
                    self._number(State(part, bundles, made.task.input, layout.head)), (part, layout)
                )
        return found

    def ended(self, state: int) -> int | None:
        """Return the part whose networks end in a state, or None."""
        found = self._states[state]
        return found.part if found.step == _FINAL else None

    def transitions(self, state: int) -> tuple[Transition, ...]:
        """List what may follow a state, in the order of the options. Raises PluginError if a
        user's op fails.
        """
        if state not in self._transitions:
            found: dict[tuple[Word, int], Values] = {}
            for word, following, decided in self._follow(self._states[state]):
                found.setdefault((word, self._number(following)), decided)
            self._transitions[state] = tuple(
                Transition(word, following, decided) for (word, following), decided in found.items()
            )
        return self._transitions[state]

    def word(self, network: Network) -> Word:
        """Spell any network."""
        ending = self.alphabet.symbols(network.stages[-1])[0]
        if not self.lockstep:
            word: Word = ()
            for stage in network.stages[:-1]:
                word += self.alphabet.stage(stage)
            return word + ending
        stages = tuple(zip(network.task.widths, network.stage_blocks, strict=True))
        word, opened = self._open(stages, network.task.input)
        for step in range(len(STEPS)):
            symbol, opened = self._step(step, network.stage_blocks, opened)
            word += symbol
        return word + ending

    def spell(self, word: Word) -> Genotype:
        """Return what the network of a word is made of, by the first options that spell it."""
        found = next(filter(None, (self._made(start, word) for start in self.starts)), None)
        assert found is not None, "the word is of no network of the space"
        return found

    def first(self, part: int, layout: Layout) -> Genotype | None:
        """Return what the first network of a layout is made of, or None if it has none."""
        start = next(start for start, made in self.starts.items() if made == (part, layout))
        return self._made(start, None)

    def _made(self, start: int, word: Word | None) -> Genotype | None:
        """Return what a word, or the first one, is made of if it starts from a state."""
        path = self._path(start, word)
        if path is None:
            return None
        part, layout = self.starts[start]
        blocks = []
        for index, bundle in enumerate(self._states[start].rest):
            if any(stage.kind is StageKind.OWN for stage in bundle):
                decided = path[index * DECISIONS : (index + 1) * DECISIONS]
                values = dict(pair for values in decided for pair in values)
                blocks.append(self.products[part].base.with_factors(values))
        return Genotype(part, layout, tuple(blocks))

    def _number(self, state: State) -> int:
        found = self._numbers.setdefault(state, len(self._states))
        if found == len(self._states):
            self._states.append(state)
        return found

    def _path(self, start: int, word: Word | None) -> list[Values] | None:
        """Find the first way to an end that spells a word, or any word."""
        dead: set[tuple[int, int]] = set()
        trail, path = [(start, 0, iter(self.transitions(start)))], list[Values]()
        while trail:
            state, at, transitions = trail[-1]
            if self.ended(state) is not None and (word is None or at == len(word)):
                return path
            for each in transitions:
                end = at + len(each.word)
                if (word is None or word[at:end] == each.word) and (each.state, end) not in dead:
                    trail.append((each.state, end, iter(self.transitions(each.state))))
                    path.append(each.decided)
                    break
            else:
                dead.add((state, at))
                trail.pop()
                del path[-1:]
        return None

    def _follow(self, state: State) -> Iterator[tuple[Word, State, Values]]:
        if state.step == _FINAL:
            return
        made = self.products[state.part]
        if not state.rest:
            word, _ = self.alphabet.symbols(classifier(made.task, state.entry, state.head))
            yield word, State(state.part, (), state.entry, state.head, _FINAL), ()
            return
        decision = made.decisions[state.step]
        own = next((stage for stage in state.rest[0] if stage.kind is StageKind.OWN), None)
        options = made.options[own.options] if own else {}
        names = [name for name in decision.decides if name in options]
        for chosen in product(*(options[name] for name in names)):
            decided = tuple(zip(names, chosen, strict=True))
            block = self._block(state.part, state.known + decided)
            if own and not all(rule.holds(vars(block)) for rule in decision.rules):
                continue
            try:
                yield self._decide(state, block, decided, decision)
            except SpecError:  # this combination makes no network
                continue

    def _decide(
        self, state: State, block: Block, decided: Values, decision: Decision
    ) -> tuple[Word, State, Values]:
        bundle, rest = state.rest[0], state.rest[1:]
        blocks = [self._stage_block(stage.kind, block) for stage in bundle]
        if state.step == 0:
            widths = [stage.width for stage in bundle]
            word, stages = self._open(tuple(zip(widths, blocks, strict=True)), state.entry)
        else:
            word, stages = self._step(state.step - 1, blocks, state.stages)
        goes_on = bool(rest) and rest[0][0].kind in (StageKind.SHARED, StageKind.REPEATED)
        known = tuple(
            pair for pair in state.known + decided if goes_on or pair[0] in decision.needed
        )
        if state.step < len(STEPS):
            following = state._replace(step=state.step + 1, stages=stages, known=known)
        else:
            goes_on_with = known if goes_on else ()
            following = State(state.part, rest, stages[-1].output, state.head, known=goes_on_with)
        return word, following, decided

    def _block(self, part: int, values: Values) -> Block:
        """Make a block of which some factors are not decided yet, without checking its rules."""
        key = part, values
        if key not in self._blocks:
            self._blocks[key] = _block_of(vars(self.products[part].base) | dict(values))
        return self._blocks[key]

    def _stage_block(self, kind: StageKind, block: Block) -> Block:
        match kind:
            case StageKind.CONV:
                return STEM
            case StageKind.REPEATED:
                return _block_of(vars(block) | {"pooling": "none"})
            case StageKind.OWN | StageKind.SHARED:
                return block
            case _:
                assert_never(kind)

    def _open(
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

    def _step(
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


def _block_of(values: dict[str, Any]) -> Block:
    """Make a block without checking it."""
    block = object.__new__(Block)
    block.__dict__.update(values)
    return block


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


def spelling(products: Sequence[Product]) -> tuple[bool, bool]:
    """Say whether stages are spelled in lockstep, and whether that tells all networks apart.

    Layer by layer always does, but lists every block that a layout shares. Lockstep needs stages
    that end alike, as many in every layout, and no 1×1 kernel, which could be a pointwise layer.
    """
    layouts = [layout for made in products for layout in made.layouts]
    if not all(layout.shared for layout in layouts):
        return False, True
    pattern = {
        tuple(stage.kind is StageKind.REPEATED for stage in layout.stages) for layout in layouts
    }
    kernels = [kernel for made in products for kernel in made.kernels]
    alike = len(pattern) == 1 and not any((1, 1) in kernel.sizes for kernel in kernels)
    blocks = sum(made.combinations for made in products)
    lockstep = blocks > (_FLAT if alike else _MOST_FLAT)
    return lockstep, alike or not lockstep
