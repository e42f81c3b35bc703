"""What a grammar's members are made of: plans of stages, blocks for their places, and when each
factor of a block is decided.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import NamedTuple

from blocksearch.arch.block import RULES, SHORTCUT_FACTORS, STEPS, Block
from blocksearch.arch.constraints import Rule
from blocksearch.arch.factors import Kernel, Value
from blocksearch.arch.network import Network, Task
from blocksearch.errors import SpecError


class Stage(NamedTuple):
    """One stage of a plan: its width, whose options its block has, and its kind.

    own has a block of its own, same has the block of the stage before (a shared block), again has
    it without pooling (depth), and vanilla is the first convolution.
    """

    width: int
    kind: str
    options: int


class Plan(NamedTuple):
    """A network but for its blocks: the width and the number of blocks of each stage, and what the
    first layer is.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    first_layer: str
    shared: bool

    @property
    def stages(self) -> tuple[Stage, ...]:
        stages: list[Stage] = []
        for index, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True)):
            if self.first_layer == "vanilla" and index == 0:
                stages.append(Stage(width, "vanilla", 0))
                continue
            fresh = not self.shared or all(stage.kind == "vanilla" for stage in stages)
            options = 0 if self.shared else index
            stages.append(Stage(width, "own" if fresh else "same", options))
            stages += [Stage(width, "again", options)] * (depth - 1)
        return tuple(stages)

    @property
    def blocks(self) -> int:
        """How many blocks the plan has room for."""
        return sum(stage.kind == "own" for stage in self.stages)


class Genes(NamedTuple):
    """A member as what it is made of: its part, its plan, and a block for each place of the plan."""

    part: int
    plan: Plan
    blocks: tuple[Block, ...]


class Turn(NamedTuple):
    """One step of a block: the factors it decides, the rules it completes, and the factors still
    needed after it.
    """

    decides: tuple[str, ...]
    rules: tuple[Rule, ...]
    needed: frozenset[str]


def _schedule(rules: tuple[Rule, ...], options: set[str]) -> tuple[Turn, ...]:
    """Say what is decided, checked and forgotten at each step, so that every rule sees its factors.

    Raises SpecError for a factor that no step declares: its values would be left out of the count.
    """
    reads = [SHORTCUT_FACTORS, *(step.factors for step in STEPS)]
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
    turns = []
    for index in range(len(reads)):
        later = {name for names in reads[index + 1 :] for name in names}
        later |= {name for rule, step in due.items() if step > index for name in rule.factors}
        decides = tuple(name for name in reads[index] if first[name] == index)
        turns.append(
            Turn(
                decides,
                tuple(rule for rule, step in due.items() if step == index),
                frozenset(later),
            )
        )
    return tuple(turns)


TURNS = len(STEPS) + 1


@dataclass(frozen=True)
class Product:
    """What the machine spells: a task, options for each kind of stage, rules between a block's
    factors, and plans.
    """

    task: Task
    base: Block
    options: tuple[Mapping[str, tuple[Value, ...]], ...]
    rules: tuple[Rule, ...]
    plans: tuple[Plan, ...]

    @cached_property
    def turns(self) -> tuple[Turn, ...]:
        return _schedule((*RULES, *self.rules), {name for each in self.options for name in each})

    @property
    def combinations(self) -> int:
        """Combinations of options over all plans, before rules and equal networks are seen."""
        of_options = [prod(len(values) for values in options.values()) for options in self.options]
        return sum(
            prod(of_options[s.options] for s in plan.stages if s.kind == "own")
            for plan in self.plans
        )

    @property
    def kernels(self) -> set[Kernel]:
        """Every kernel that a block may have."""
        values = {
            value
            for options in self.options
            for value in options.get("kernel", (self.base.kernel,))
        }
        return {value for value in values if isinstance(value, Kernel)}

    def network(self, plan: Plan, blocks: Sequence[Block]) -> Network:
        """Put blocks in the places of a plan. Raises SpecError where the network cannot be built."""
        coming, placed = iter(blocks), []
        for stage in plan.stages:
            if stage.kind == "own":
                own = next(coming)
            if stage.kind != "vanilla":
                placed.append(
                    own.with_factors({"pooling": "none"}) if stage.kind == "again" else own
                )
        task = replace(self.task, widths=tuple(stage.width for stage in plan.stages))
        single = plan.shared and max(plan.depths) == 1
        return Network(
            task=task, blocks=tuple(placed[:1] if single else placed), first_layer=plan.first_layer
        )
