"""Members of a grammar as words: the letters are layers, and a machine without backtracking spells
every member.

A word is the network's resolved layers in order, a shortcut written before the body that it goes
around, so two networks are equal exactly where their words are. The machine assigns factors at the
step of a block's expansion that first reads them and forgets them after the last, so that a space
is never walked block by block.

Where one block serves all stages of a large space, its stages are spelled side by side (`abreast`):
a letter is then what one step adds to every stage. This is as good as the flat word where a stage's
layers tell where it ends (see `Grammar`).
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple, TypeVar

from blocksearch.arch.block import SHORTCUT_FACTORS, STEPS, Block, body_output, shortcut
from blocksearch.arch.factors import Value
from blocksearch.arch.layers import Shape
from blocksearch.arch.network import VANILLA, Network, classifier
from blocksearch.errors import PluginError, SpecError
from blocksearch.space.alphabet import Alphabet, Word
from blocksearch.space.layouts import TURNS, Genes, Plan, Product, Stage, Turn

Values = tuple[tuple[str, Value], ...]


class Lane(NamedTuple):
    """A stage being spelled: where it started and where it is, and what that means for the price of
    its next layer.
    """

    width: int
    shape: Shape
    output: Shape
    held: int = 0  # floats of the input, kept for the shortcut
    fresh: bool = True  # no layer of the body is spelled yet
    folding: int = 0
    tail: Word = ()


class Node(NamedTuple):
    """A state of the machine: the part it spells, the bundles of stages left, how far the first is,
    and factors still needed.
    """

    part: int
    rest: tuple[tuple[Stage, ...], ...]
    entry: Shape
    step: int = 0
    lanes: tuple[Lane, ...] = ()
    known: Values = ()


class Arc(NamedTuple):
    """What the machine may spell next, where that leads, and the factors decided by it."""

    word: Word
    node: int
    decided: Values


_ENDED = TURNS


class Machine:
    """Spell the members of a union of products. States are numbers, in order of first use."""

    def __init__(self, products: Sequence[Product], *, abreast: bool) -> None:
        self.products, self.abreast, self.alphabet = products, abreast, Alphabet()
        self._nodes: list[Node] = []
        self._numbers: dict[Node, int] = {}
        self._arcs: dict[int, tuple[Arc, ...]] = {}
        self._opened: dict[Hashable, tuple[Word, Lane] | SpecError] = {}
        self._stepped: dict[Hashable, tuple[Word, Lane] | SpecError] = {}
        self._blocks: dict[Hashable, Block] = {}

    @cached_property
    def starts(self) -> dict[int, tuple[int, Plan]]:
        """The states that members start from, each with its part and plan, in order."""
        found: dict[int, tuple[int, Plan]] = {}
        for part, made in enumerate(self.products):
            for plan in made.plans:
                bundles = (
                    (plan.stages,) if self.abreast else tuple((stage,) for stage in plan.stages)
                )
                found.setdefault(self._number(Node(part, bundles, made.task.input)), (part, plan))
        return found

    def ended(self, node: int) -> int | None:
        """Return the part whose members end in a state, or None."""
        found = self._nodes[node]
        return found.part if found.step == _ENDED else None

    def arcs(self, node: int) -> tuple[Arc, ...]:
        """List what may follow a state, in the order of the options. Raises PluginError where a
        user's option fails.
        """
        if node not in self._arcs:
            found: dict[tuple[Word, int], Values] = {}
            for word, following, decided in self._follow(self._nodes[node]):
                found.setdefault((word, self._number(following)), decided)
            self._arcs[node] = tuple(
                Arc(word, following, decided) for (word, following), decided in found.items()
            )
        return self._arcs[node]

    def word(self, network: Network) -> Word:
        """Spell any network."""
        task = network.task
        ending = self.alphabet.letters(classifier(task, network.stages[-1][0].input))[0]
        if not self.abreast:
            word: Word = ()
            for stage in network.stages[:-1]:
                word += self.alphabet.stage(stage)
            return word + ending
        lanes = tuple(zip(task.widths, network.stage_blocks, strict=True))
        letter, opened = self._open(lanes, task.input)
        word = letter
        for step in range(len(STEPS)):
            letter, opened = self._step(step, network.stage_blocks, opened)
            word += letter
        return word + ending

    def spell(self, word: Word) -> Genes:
        """Return what the member that a word spells is made of, by the first options that do."""
        for start, (part, plan) in self.starts.items():
            path = self._path(start, word)
            if path is not None:
                return Genes(part, plan, tuple(self._spelled(self._nodes[start], path)))
        raise AssertionError("the word is no member's")

    def first(self, part: int, plan: Plan) -> Genes | None:
        """Return what the first member of a plan is made of, or None where it has none."""
        start = next(start for start, made in self.starts.items() if made == (part, plan))
        path = self._path(start, None)
        return (
            None
            if path is None
            else Genes(part, plan, tuple(self._spelled(self._nodes[start], path)))
        )

    def _spelled(self, start: Node, path: list[Values]) -> Iterator[Block]:
        for index, bundle in enumerate(start.rest):
            decided = dict(
                pair for values in path[index * TURNS : (index + 1) * TURNS] for pair in values
            )
            if any(stage.kind == "own" for stage in bundle):
                yield self.products[start.part].base.with_factors(decided)

    def _number(self, node: Node) -> int:
        found = self._numbers.setdefault(node, len(self._nodes))
        if found == len(self._nodes):
            self._nodes.append(node)
        return found

    def _path(self, start: int, word: Word | None) -> list[Values] | None:
        """Find the first way to an end that spells a word, or any word."""
        dead: set[tuple[int, int]] = set()
        trail, way = [(start, 0, iter(self.arcs(start)))], list[Values]()
        while trail:
            node, at, arcs = trail[-1]
            if self.ended(node) is not None and (word is None or at == len(word)):
                return way
            for arc in arcs:
                end = at + len(arc.word)
                if (word is None or word[at:end] == arc.word) and (arc.node, end) not in dead:
                    trail.append((arc.node, end, iter(self.arcs(arc.node))))
                    way.append(arc.decided)
                    break
            else:
                dead.add((node, at))
                trail.pop()
                del way[-1:]
        return None

    def _follow(self, node: Node) -> Iterator[tuple[Word, Node, Values]]:
        if node.step == _ENDED:
            return
        made = self.products[node.part]
        if not node.rest:
            word, _ = self.alphabet.letters(classifier(made.task, node.entry))
            yield word, Node(node.part, (), node.entry, _ENDED), ()
            return
        bundle = node.rest[0]
        turn = made.turns[node.step]
        own = next((stage for stage in bundle if stage.kind == "own"), None)
        options = made.options[own.options] if own else {}
        names = [name for name in turn.decides if name in options]
        for chosen in product(*(options[name] for name in names)):
            decided = tuple(zip(names, chosen, strict=True))
            block = self._block(node.part, node.known + decided)
            if own and not all(rule.holds(vars(block)) for rule in turn.rules):
                continue
            try:
                yield self._turn(node, block, decided, turn)
            except PluginError:
                raise
            except SpecError:  # this combination makes no network
                continue

    def _turn(
        self, node: Node, block: Block, decided: Values, turn: Turn
    ) -> tuple[Word, Node, Values]:
        bundle = node.rest[0]
        blocks = [self._stage_block(stage.kind, block) for stage in bundle]
        if node.step == 0:
            widths = [stage.width for stage in bundle]
            word, lanes = self._open(tuple(zip(widths, blocks, strict=True)), node.entry)
        else:
            word, lanes = self._step(node.step - 1, blocks, node.lanes)
        goes_on = len(node.rest) > 1 and node.rest[1][0].kind in ("same", "again")
        known = tuple(pair for pair in node.known + decided if goes_on or pair[0] in turn.needed)
        if node.step < len(STEPS):
            return (
                word,
                Node(node.part, node.rest, node.entry, node.step + 1, lanes, known),
                decided,
            )
        return (
            word,
            Node(node.part, node.rest[1:], lanes[-1].output, known=known if goes_on else ()),
            decided,
        )

    def _block(self, part: int, values: Values) -> Block:
        """Make a block of which some factors are not decided yet: the rules are checked when their
        factors are.
        """
        key = part, values
        if key not in self._blocks:
            block = object.__new__(Block)
            block.__dict__.update(vars(self.products[part].base) | dict(values))
            self._blocks[key] = block
        return self._blocks[key]

    def _stage_block(self, kind: str, block: Block) -> Block:
        match kind:
            case "vanilla":
                return VANILLA
            case "again":
                keeps = object.__new__(Block)
                keeps.__dict__.update(vars(block) | {"pooling": "none"})
                return keeps
            case _:
                return block

    def _open(
        self, stages: Sequence[tuple[int, Block]], entry: Shape
    ) -> tuple[Word, tuple[Lane, ...]]:
        """Spell the shortcuts of some stages, which fixes what each stage reads and hands on."""
        words, lanes = [], []
        for width, block in stages:
            key = width, entry, *(vars(block)[name] for name in SHORTCUT_FACTORS)
            word, lane = _remember(self._opened, key, self._open_stage, block, entry, width)
            words.append(word)
            lanes.append(lane)
            entry = lane.output
        return self._side_by_side(words), tuple(lanes)

    def _open_stage(self, block: Block, entry: Shape, width: int) -> tuple[Word, Lane]:
        body, around = body_output(block, entry, width), shortcut(block, entry, width)
        if around is None:
            return (), Lane(width, entry, body)
        opening, closing = self.alphabet.brackets(around.kind, entry, body, around.layers)
        return opening, Lane(
            width,
            entry,
            around.output,
            entry.floats,
            tail=closing + self.alphabet.letters(around.after)[0],
        )

    def _step(
        self, step: int, blocks: Sequence[Block], lanes: Sequence[Lane]
    ) -> tuple[Word, tuple[Lane, ...]]:
        words, after = [], []
        for block, lane in zip(blocks, lanes, strict=True):
            values = vars(block)
            key = step, *lane[:-1], *[values[name] for name in STEPS[step].factors]
            word, lane_after = _remember(self._stepped, key, self._step_stage, step, block, lane)
            words.append(word + lane.tail if step == len(STEPS) - 1 else word)
            after.append(lane_after._replace(tail=lane.tail) if lane.tail else lane_after)
        return self._side_by_side(words), tuple(after)

    def _step_stage(self, step: int, block: Block, lane: Lane) -> tuple[Word, Lane]:
        layers = STEPS[step].layers(block, lane.shape, lane.width)
        word, folding = self.alphabet.letters(layers, lane.held, lane.fresh, lane.folding)
        shape = layers[-1].output if layers else lane.shape
        return word, lane._replace(
            shape=shape, fresh=lane.fresh and not layers, folding=folding, tail=()
        )

    def _side_by_side(self, words: Sequence[Word]) -> Word:
        if not self.abreast:
            (word,) = words
            return word
        return (self.alphabet.chord(tuple(words)),)


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
        except PluginError:
            raise
        except SpecError as error:
            found[key] = error
    made = found[key]
    if isinstance(made, SpecError):
        raise made
    return made
