"""Lays out the networks of a space, as layouts of stages, a block for each slot of a layout, and
the step of a block's expansion at which each factor is decided.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from math import prod
from typing import NamedTuple, assert_never

from blocksearch.arch.block import RULES, Block, Rule
from blocksearch.arch.expansion import STEPS, Around
from blocksearch.arch.layers import Shape
from blocksearch.arch.network import Network, Task
from blocksearch.arch.stem import Stem, stages_without_block
from blocksearch.arch.values import Kernel, Value
from blocksearch.errors import SpecError


class StageKind(StrEnum):
    """Where the block of a stage comes from."""

    CONV = "conv"  # it has none: the first stage is a plain convolution
    OWN = "own"  # a block of its own: a slot of the layout
    SHARED = "shared"  # the block of the stage before

    __hash__ = str.__hash__  # states of the automaton are hashed often, and Enum's own is slow


class Stage(NamedTuple):
    """One stage of a layout: its width, the kind of its block, the number of its options, and
    whether it halves the map. One that does not has its block without pooling.
    """

    width: int
    kind: StageKind
    options: int
    halves: bool = True


class StageOptions(NamedTuple):
    """What a stage may be: its widths, its depths (blocks) and its strides, 1 or 2."""

    widths: tuple[int, ...]
    depths: tuple[int, ...] = (1,)
    strides: tuple[int, ...] = (2,)


class Undecided(NamedTuple):
    """A stage whose width, depth and stride are not chosen yet."""

    options: StageOptions
    kind: StageKind
    number: int

    def stages(self, width: int, depth: int, stride: int) -> tuple[Stage, ...]:
        """Return the stages that a choice makes: those after the first keep the map."""
        first = Stage(width, self.kind, self.number, stride == HALVING)
        after = Stage(width, StageKind.SHARED, self.number, halves=False)
        return (first, *[after] * (depth - 1))


HALVING = 2


class Layout(NamedTuple):
    """A network but for its blocks: width, depth and stride of each stage, what is around them, and
    the input.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    strides: tuple[int, ...]
    stem: Stem
    shared: bool
    head: str
    input: Shape

    @property
    def stages(self) -> tuple[Stage, ...]:
        chosen = zip(self.widths, self.depths, self.strides, strict=True)
        plan = self.plan([StageOptions((w,), (d,), (s,)) for w, d, s in chosen])
        return tuple(
            stage
            for each, *choice in zip(plan, self.widths, self.depths, self.strides, strict=True)
            for stage in each.stages(*choice)
        )

    def plan(self, options: Sequence[StageOptions]) -> tuple[Undecided, ...]:
        """Say where the block of each stage comes from, whatever is chosen of its options."""
        without, plan = stages_without_block(self.stem), []
        for index, each in enumerate(options):
            kind = StageKind.SHARED if self.shared and index > without else StageKind.OWN
            kind = StageKind.CONV if index < without else kind
            plan.append(Undecided(each, kind, 0 if self.shared else index))
        return tuple(plan)

    @property
    def slots(self) -> tuple[int, ...]:
        """The places for a block, each as the number of its options."""
        return tuple(stage.options for stage in self.stages if stage.kind is StageKind.OWN)


class Genotype(NamedTuple):
    """What a network of the space is made of: its part, its layout, and a block for each slot."""

    part: int
    layout: Layout
    blocks: tuple[Block, ...]


class Decision(NamedTuple):
    """What one step of a block's expansion decides: its new factors, the rules that these complete,
    and the factors still needed after it.
    """

    decides: tuple[str, ...]
    rules: tuple[Rule, ...]
    needed: frozenset[str]


def _schedule(rules: tuple[Rule, ...], options: set[str]) -> tuple[Decision, ...]:
    """Say what is decided, checked and forgotten at each step, so that every rule sees its factors.

    Raises SpecError for a factor that no step declares: its values would be left out of the count.
    """
    reads = [Around._fields, *(step._fields for step in STEPS)]
    first = {
        name: next(i for i, names in enumerate(reads) if name in names)
        for names in reads
        for name in names
    }
    if undeclared := sorted((options | {n for rule in rules for n in rule.factors}) - set(first)):
        raise SpecError(
            f"no step of a block declares that it reads the factor {undeclared[0]}, "
            "so that a space cannot vary it and a constraint cannot name it"
        )
    due = {rule: max(first[name] for name in rule.factors) for rule in rules}
    decisions = []
    for index in range(len(reads)):
        later = {name for names in reads[index + 1 :] for name in names}
        later |= {name for rule, step in due.items() if step > index for name in rule.factors}
        decides = tuple(name for name in reads[index] if first[name] == index)
        decisions.append(
            Decision(
                decides,
                tuple(rule for rule, step in due.items() if step == index),
                frozenset(later),
            )
        )
    return tuple(decisions)


DECISIONS = len(STEPS) + 1


@dataclass(frozen=True, kw_only=True)
class Product:
    """A product of options as the automaton reads it: options of each slot, rules, and layouts.

    `stages` are there if layouts are all choices of them, stage by stage.
    """

    task: Task
    base: Block
    options: tuple[Mapping[str, tuple[Value, ...]], ...]
    rules: tuple[Rule, ...]
    layouts: tuple[Layout, ...]
    stages: tuple[StageOptions, ...] = ()

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        return _schedule((*RULES, *self.rules), {name for each in self.options for name in each})

    @property
    def combinations(self) -> int:
        """Combinations of options over all layouts, before rules and equal networks are seen."""
        of_options = [prod(len(values) for values in options.values()) for options in self.options]
        return sum(prod(of_options[slot] for slot in layout.slots) for layout in self.layouts)

    @property
    def kernels(self) -> set[Kernel]:
        """Every kernel that a block may have."""
        values = {
            value
            for options in self.options
            for value in options.get("kernel", (self.base.kernel,))
        }
        return {value for value in values if isinstance(value, Kernel)}

    def network(self, layout: Layout, blocks: Sequence[Block]) -> Network:
        """Put blocks into the slots of a layout. Raises SpecError if that cannot be built."""
        coming, placed, stages = iter(blocks), list[Block](), layout.stages
        for stage in stages:
            match stage.kind:
                case StageKind.CONV:
                    continue
                case StageKind.OWN:
                    own = next(coming)
                case StageKind.SHARED:
                    pass
                case _:
                    assert_never(stage.kind)
            placed.append(own if stage.halves else own.with_factors({"pooling": "none"}))
        widths = tuple(stage.width for stage in stages)
        task = replace(self.task, input=layout.input, widths=widths)
        single = layout.shared and all(stage.halves for stage in stages)
        made = tuple(placed[:1] if single else placed)
        return Network(task=task, blocks=made, stem=layout.stem, head=layout.head)
