"""Builds an automaton without backtracking that spells every network of a space as layers.

A word is a network's resolved layers in order, with a shortcut before the body that it goes around,
so two networks are equal if and only if their words are. The automaton assigns a factor at the step
of a block's expansion that first reads it, and forgets it after the last, so that a space is never
enumerated block by block.

If one block serves all stages of a large space, its stages are spelled in lockstep: a symbol is
then what one step adds to every stage. This tells networks apart as well as the flat word does, if
a stage's layers tell where it ends (see `spelling`).
"""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import islice, product
from typing import Any, NamedTuple, TypeAlias, assert_never

from blocksearch.arch.block import Block
from blocksearch.arch.expansion import STEPS
from blocksearch.arch.layers import Shape
from blocksearch.arch.network import classifier
from blocksearch.arch.stem import STEM, ConvStem
from blocksearch.errors import SpecError
from blocksearch.space.layouts import (
    DECISIONS,
    Decision,
    Genotype,
    Layout,
    Product,
    Stage,
    StageKind,
    Undecided,
)
from blocksearch.space.speller import Cursor, Speller, Word

Values = tuple[tuple[str, Any], ...]  # of factors; of a stage its width, depth and stride
Bundle: TypeAlias = tuple[Stage, ...] | Undecided
_FINAL = DECISIONS
_FLAT, _MOST_FLAT = 5_000, 200_000  # shared blocks that are still spelled layer by layer


class State(NamedTuple):
    """A state of the automaton: the part it spells, the bundles of stages that are left, how far
    the first of these is, and the factors still needed. `stem` is one of its own, still to be
    spelled.
    """

    part: int
    rest: tuple[Bundle, ...]
    entry: Shape
    head: str
    stem: ConvStem | None = None
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
        self.products, self.speller = products, Speller(lockstep=lockstep)
        self._states: list[State] = []
        self._numbers: dict[State, int] = {}
        self._transitions: dict[int, tuple[Transition, ...]] = {}
        self._blocks: dict[Hashable, Block] = {}

    @cached_property
    def starts(self) -> dict[int, tuple[int, Layout]]:
        """The states that networks start from, each with its part and layout, in order."""
        found: dict[int, tuple[int, Layout]] = {}
        for part, made in enumerate(self.products):
            for layout in made.layouts:
                rest = None
                if made.stages and not self.speller.lockstep:
                    rest = layout.plan(made.stages)
                found.setdefault(self._start(part, layout, rest), (part, layout))
        return found

    def _start(self, part: int, layout: Layout, rest: tuple[Bundle, ...] | None = None) -> int:
        """Return the state before a layout's networks, or those of all choices of `rest`."""
        if rest is None:
            stages = layout.stages
            rest = (stages,) if self.speller.lockstep else tuple((stage,) for stage in stages)
        stem = layout.stem if isinstance(layout.stem, ConvStem) else None
        return self._number(State(part, rest, layout.input, layout.head, stem))

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

    def spell(self, word: Word) -> Genotype:
        """Return what the network of a word is made of, by the first options that spell it."""
        made = (self._made(start, *own, word) for start, own in self.starts.items())
        found = next(filter(None, made), None)
        assert found is not None, "the word is of no network of the space"
        return found

    def first(self, part: int, layout: Layout) -> Genotype | None:
        """Return what the first network of a layout is made of, or None if it has none."""
        return self._made(self._start(part, layout), part, layout, None)

    def _made(self, start: int, part: int, layout: Layout, word: Word | None) -> Genotype | None:
        """Return what a word, or the first one, is made of if it starts from a state."""
        path = self._path(start, word)
        if path is None:
            return None
        steps, blocks, chosen = iter(path), list[Block](), list[tuple[int, int, int]]()
        if isinstance(layout.stem, ConvStem):
            next(steps)
        waiting = list(self._states[start].rest)
        while waiting:
            bundle = waiting.pop(0)
            if isinstance(bundle, Undecided):
                ((_, choice),) = next(steps)
                chosen.append(choice)
                waiting[:0] = [(stage,) for stage in bundle.stages(*choice)]
                continue
            decided = dict(pair for values in islice(steps, DECISIONS) for pair in values)
            if any(stage.kind is StageKind.OWN for stage in bundle):
                blocks.append(self.products[part].base.with_factors(decided))
        if chosen:
            widths, depths, strides = zip(*chosen, strict=True)
            layout = layout._replace(widths=widths, depths=depths, strides=strides)
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
        if state.stem is not None:
            yield from self._stem(state, state.stem)
            return
        if not state.rest:
            word = self.speller.plain(classifier(made.task, state.entry, state.head))
            yield word, State(state.part, (), state.entry, state.head, step=_FINAL), ()
            return
        if isinstance(state.rest[0], Undecided):
            yield from _decided(state, state.rest[0])
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

    def _stem(self, state: State, stem: ConvStem) -> Iterator[tuple[Word, State, Values]]:
        with suppress(SpecError):  # the map may be too small for it
            layers = stem.layers(state.entry)
            after = state._replace(entry=layers[-1].output, stem=None)
            yield self.speller.plain(layers), after, ()

    def _decide(
        self, state: State, block: Block, decided: Values, decision: Decision
    ) -> tuple[Word, State, Values]:
        bundle, rest = state.rest[0], state.rest[1:]
        assert not isinstance(bundle, Undecided)
        blocks = [_stage_block(stage, block) for stage in bundle]
        if state.step == 0:
            widths = [stage.width for stage in bundle]
            word, stages = self.speller.open(tuple(zip(widths, blocks, strict=True)), state.entry)
        else:
            word, stages = self.speller.step(state.step - 1, blocks, state.stages)
        goes_on = bool(rest) and _kind(rest[0]) is StageKind.SHARED
        known = tuple(
            pair for pair in state.known + decided if goes_on or pair[0] in decision.needed
        )
        if state.step < len(STEPS):
            following = state._replace(step=state.step + 1, stages=stages, known=known)
        else:
            following = State(state.part, rest, stages[-1].output, state.head, known=known)
        return word, following, decided

    def _block(self, part: int, values: Values) -> Block:
        """Make a block of which some factors are not decided yet, without checking its rules."""
        key = part, values
        if key not in self._blocks:
            self._blocks[key] = _block_of(vars(self.products[part].base) | dict(values))
        return self._blocks[key]


def _decided(state: State, stage: Undecided) -> Iterator[tuple[Word, State, Values]]:
    """Choose width, depth and stride of a stage, which spells nothing by itself."""
    for choice in product(*stage.options):
        bundles = tuple((each,) for each in stage.stages(*choice))
        yield (), state._replace(rest=(*bundles, *state.rest[1:])), (("stage", choice),)


def _kind(bundle: Bundle) -> StageKind:
    return bundle.kind if isinstance(bundle, Undecided) else bundle[0].kind


def _stage_block(stage: Stage, block: Block) -> Block:
    match stage.kind:
        case StageKind.CONV:
            return STEM
        case StageKind.OWN | StageKind.SHARED:
            return block if stage.halves else _block_of(vars(block) | {"pooling": "none"})
    assert_never(stage.kind)


def _block_of(values: dict[str, Any]) -> Block:
    """Make a block without checking it."""
    block = object.__new__(Block)
    block.__dict__.update(values)
    return block


def spelling(products: Sequence[Product]) -> tuple[bool, bool]:
    """Say whether stages are spelled in lockstep, and whether that tells all networks apart.

    Layer by layer always does, but lists every block that a layout shares. Lockstep needs stages
    that end alike, as many in every layout, and no 1×1 kernel, which could be a pointwise layer.
    """
    layouts = [layout for made in products for layout in made.layouts]
    if not all(layout.shared for layout in layouts):
        return False, True
    pattern = {
        (isinstance(layout.stem, ConvStem), *(stage.halves for stage in layout.stages))
        for layout in layouts
    }
    kernels = [kernel for made in products for kernel in made.kernels]
    alike = len(pattern) == 1 and not any((1, 1) in kernel.sizes for kernel in kernels)
    blocks = sum(made.combinations for made in products)
    lockstep = blocks > (_FLAT if alike else _MOST_FLAT)
    return lockstep, alike or not lockstep
