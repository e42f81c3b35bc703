"""Defines a network by task, widths, stem, blocks and head. `layers` has what it resolves to."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from importlib import import_module
from operator import index
from typing import TYPE_CHECKING, Any, SupportsIndex

from blocksearch.arch.block import Block
from blocksearch.arch.cost import Cost, cost
from blocksearch.arch.expansion import FirstPointwise, expand, step_of
from blocksearch.arch.layers import Dropout, GlobalPool, Layers, Linear, Shape, fingerprint
from blocksearch.arch.quantities import QUANTITIES
from blocksearch.arch.skeleton import Skeleton
from blocksearch.arch.stem import STEM, ConvStem, Stem, read_stem, stages_without_block
from blocksearch.arch.values import Value
from blocksearch.errors import SpecError, as_python, check_type

if TYPE_CHECKING:
    from torch import nn

HEADS = ("flatten", "global_pool")


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a data set fixes about a network: input, classes, and dropout before the classifier.

    `widths` are the stage widths that its reference networks have; a network may have others. The
    input is a `Shape`, or its three numbers. Raises SpecError for what cannot be.

    >>> Task(input=(3, 32, 32), classes=10).input
    Shape(channels=3, height=32, width=32)
    """

    input: Shape
    classes: int
    dropout: float = 0.0
    widths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "input", read_input(self.input))
        try:  # numbers of numpy's, and lists, are as good
            object.__setattr__(self, "widths", tuple(map(index, self.widths)))
            object.__setattr__(self, "classes", index(self.classes))
        except TypeError as error:
            raise SpecError(
                "widths and classes must be whole numbers, "
                f"but got {self.widths} and {self.classes}"
            ) from error
        if self.widths and min(self.widths) < 1:
            raise SpecError(
                f"widths must be one or more whole numbers from 1, but got {self.widths_text}"
            )
        if self.classes < 2:
            raise SpecError(
                f"a classifier tells at least 2 classes apart, but got classes={self.classes}"
            )
        check_type("dropout", self.dropout, float)
        if not 0 <= self.dropout < 1:
            raise SpecError(f"dropout must be at least 0 and below 1, but got {self.dropout}")
        object.__setattr__(self, "dropout", as_python(self.dropout))

    @property
    def widths_text(self) -> str:
        return ",".join(map(str, self.widths))


def read_input(given: Any) -> Shape:
    """Return an input as a `Shape`, given as one or by its three numbers. Raises SpecError."""
    if isinstance(given, Shape):
        return given
    try:
        channels, height, width = map(index, given)
    except (TypeError, ValueError) as error:
        raise SpecError(
            f"input must be a Shape or (channels, height, width), but got {given!r}"
        ) from error
    return Shape(channels, height, width)


def read_resolution(given: Any) -> tuple[int, int]:
    """Take height and width: a pair, one number for both, or a text such as 64x48. Raises
    SpecError.

    >>> read_resolution("64x48"), read_resolution(96)
    ((64, 48), (96, 96))
    """
    pair = given
    if isinstance(given, str):
        match = re.fullmatch(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", given)
        pair = (match[1], match[2] or match[1]) if match else None
    elif isinstance(given, SupportsIndex):
        pair = (given, given)
    try:
        height, width = (int(each) if isinstance(each, str) else index(each) for each in pair)
    except (TypeError, ValueError) as error:
        raise SpecError(f"a resolution is a size such as 96 or 64x48, but got {given!r}") from error
    if min(height, width) < 1:
        raise SpecError(f"a resolution is at least 1x1, but got {given!r}")
    return height, width


def read_channels(given: Any) -> int:
    """Take a number of channels, or its text. Raises SpecError."""
    text = str(given)
    if isinstance(given, bool) or not re.fullmatch(r"[1-9][0-9]?", text):
        raise SpecError(f"channels must be a whole number from 1, but got {given!r}")
    return int(text)


@dataclass(frozen=True, repr=False)
class Network:
    """Blocks on a task. One block serves every stage; several are one for each stage.

    `widths` are the channels of its stages, those of the task if left out. With `stem="conv"` the
    first stage is a 3×3 convolution with 2×2 max-pooling, and blocks cover the stages after it;
    with `"block"` every stage is a block, and `"conv(kernel=3,stride=2,width=16)"` is a convolution
    of its own before them. The classifier reads the flattened last map, as in the
    paper; with `head="global_pool"` it reads the average of each channel, so that its size does
    not depend on the input's. With a `skeleton` it is the user's model around its one block, whose
    layers, costs and module are read from that; widths are then those by which spaces tell blocks
    apart. Raises SpecError if the network cannot be built.

    >>> task = Task(input=(3, 32, 32), classes=43)
    >>> Network(task=task, widths=(8, 16, 32), blocks=[Block(residual="add")]).cost.params
    23132
    """

    task: Task
    blocks: tuple[Block, ...]
    _: KW_ONLY
    widths: tuple[int, ...] = ()
    stem: Stem = "block"
    head: str = "flatten"
    skeleton: Skeleton | None = None

    def __post_init__(self) -> None:
        self._take(self.task, self.blocks, self.widths)
        object.__setattr__(self, "stem", read_stem(self.stem))
        if self.head not in HEADS:
            raise SpecError(f"head must be {' or '.join(HEADS)}, but got {self.head!r}")
        stages = len(self.widths) - stages_without_block(self.stem)
        if len(self.blocks) not in {1, stages}:
            raise SpecError(
                f"a network takes one block or one for each of its {stages} block stages, "
                f"but got {len(self.blocks)}"
            )
        if self.skeleton is None:
            _ = self.layers  # an instance that exists resolves; a user's model is made when asked
        elif len(self.blocks) > 1 or (self.stem, self.head) != ("block", HEADS[0]):
            raise SpecError("a skeleton takes one block, and has a stem and a head of its own")

    def _take(self, task: Any, blocks: Any, widths: Any) -> None:
        """Keep lists as tuples, and the widths in the task as well: they are the network's."""
        if not isinstance(task, Task):
            raise SpecError(f"task must be a Task, but got {task!r}")
        check_type("widths", widths, Sequence[int])
        given = tuple(widths) or task.widths
        own = task if given == task.widths else replace(task, widths=given)
        if not own.widths:
            raise SpecError("a network needs widths, such as widths=(8, 16, 32)")
        given = (blocks,) if isinstance(blocks, Block) else blocks
        if not isinstance(given, Iterable) or isinstance(given, str):
            raise SpecError(f"blocks must be Block values, but got {given!r}")
        given = tuple(given)
        if wrong := [block for block in given if not isinstance(block, Block)]:
            raise SpecError(f"blocks must be Block values, but got {wrong[0]!r}")
        for name, value in (("task", own), ("widths", own.widths), ("blocks", given)):
            object.__setattr__(self, name, value)

    def __str__(self) -> str:
        """Write the network on one line, as `parse` reads it."""
        task = self.task
        if self.skeleton:
            what = f"model={self.skeleton.name} input={task.input} classes={task.classes}"
            return f"{what} [{self.blocks[0]}]"
        dropout = f" dropout={task.dropout!r}" if task.dropout else ""
        head = f"input={task.input} widths={task.widths_text} classes={task.classes}{dropout}"
        end = "" if self.head == "flatten" else f" head={self.head}"
        return f"{head} stem={self.stem}{end} {' '.join(f'[{block}]' for block in self.blocks)}"

    def __repr__(self) -> str:
        return f"<Network {self}>"

    @property
    def text(self) -> str:
        return str(self)

    @cached_property
    def stages(self) -> tuple[Layers, ...]:
        """The layers of each stage, then those of the classifier; first those of a stem of its
        own.
        """
        shape, stages = self.task.input, list[Layers]()
        if isinstance(self.stem, ConvStem):
            stages.append(self.stem.layers(shape))
            shape = stages[-1][-1].output
        for block, width in zip(self.stage_blocks, self.widths, strict=True):
            stages.append(expand(block, shape, width))
            shape = stages[-1][-1].output
        return (*stages, classifier(self.task, shape, self.head))

    @property
    def bottlenecks(self) -> tuple[int | None, ...]:
        """The channels that each stage's first pointwise layer gives, or None without one."""
        shapes = (self.task.input, *(stage[-1].output for stage in self.stages[:-2]))
        entries = shapes[-len(self.widths) :]
        return tuple(
            step_of(block, FirstPointwise).channels(entry, width)
            for block, entry, width in zip(self.stage_blocks, entries, self.widths, strict=True)
        )

    @property
    def stage_blocks(self) -> tuple[Block, ...]:
        """The block of each stage, a convolution as stem written as one."""
        first = (STEM,) * stages_without_block(self.stem)
        rest = len(self.widths) - len(first)
        return first + (self.blocks * rest if len(self.blocks) == 1 else self.blocks)

    @cached_property
    def layers(self) -> Layers:
        """The resolved layer tree: the network's identity."""
        if self.skeleton:
            return self.skeleton.layers(self.blocks[0], self.task.input, self.task.classes)
        return tuple(layer for stage in self.stages for layer in stage)

    @cached_property
    def digest(self) -> str:
        """Digest of the layers: equal spellings merge, inactive factors vanish."""
        return fingerprint(self.layers)

    @cached_property
    def cost(self) -> Cost:
        """What the network costs: `network.cost.flops` and the other `METRICS`."""
        if self.skeleton:
            return self.skeleton.cost(self.blocks[0], self.task.input, self.task.classes)
        return cost(self.layers)

    if not TYPE_CHECKING:  # a checker knows what is there

        def __getattr__(self, name: str) -> Any:
            if name in QUANTITIES:
                raise AttributeError(f"a network has no {name!r}: it is network.cost.{name}")
            return object.__getattribute__(self, name)  # raises what a property raised

    def table(self) -> str:
        """Return its layers and costs as plain text, as the command `show` prints them."""
        return str(import_module("blocksearch.api.networks").layers(self).table())

    def _repr_html_(self) -> str:
        return str(import_module("blocksearch.api.networks").layers(self)._repr_html_())

    def module(self, seed: int | None = None) -> "nn.Module":
        """Build it in PyTorch: N×C×H×W floats in, N×classes logits out. Its parts are `stem` where
        it has one of its own, `stage1` and so on, and `head`.

        A seed gives the weights with which its training begins; without one, torch's own generator
        draws them.
        """
        training = import_module("blocksearch.training.build")
        own = training.read_seed(seed)
        if self.skeleton:
            return self.skeleton.module(self.blocks[0], own)
        numbered = (f"stage{number}" for number in range(1, len(self.widths) + 1))
        stem = ["stem"] if isinstance(self.stem, ConvStem) else []
        names = (*stem, *numbered, "head")
        made: nn.Module = training.build_stages(dict(zip(names, self.stages, strict=True)), own)
        return made

    def inside(self, skeleton: Skeleton) -> "Network":
        """Return a user's model around this network's block. Raises SpecError if blocks differ."""
        if len(set(self.blocks)) > 1:
            raise SpecError(f"a skeleton takes one block, but these differ in {self}")
        return Network(self.task, self.blocks[:1], widths=self.widths, skeleton=skeleton)

    def with_factor(self, name: str, value: Value) -> "Network":
        """Return this network with one factor changed in every block, or another stem, head,
        resolution or number of channels.
        """
        check_type("a factor's name", name, str)
        if self.skeleton and name in ("stem", "head", "resolution", "channels"):
            raise SpecError(f"{name} is for {self.skeleton.name} to decide")
        match name:
            case "head":
                return replace(self, head=str(value))
            case "stem":
                return self._with_stem(read_stem(value))
            case "resolution":
                height, width = read_resolution(value)
                return self._reading(Shape(self.task.input.channels, height, width))
            case "channels":
                return self._reading(self.task.input.with_channels(read_channels(value)))
        blocks = tuple(block.with_factors({name: value}) for block in self.blocks)
        return replace(self, blocks=blocks)

    def _reading(self, input: Shape) -> "Network":
        return replace(self, task=replace(self.task, input=input))

    def _with_stem(self, stem: Stem) -> "Network":
        places = [stages_without_block(each) for each in (stem, self.stem)]
        if len(self.blocks) > 1 and places[0] != places[1]:
            raise SpecError(
                "stem cannot be changed in a network with a block for each stage: "
                "their number would no longer match"
            )
        return replace(self, stem=stem)


def classifier(task: Task, shape: Shape, head: str) -> Layers:
    """Make what a head is: an average of each channel or none, dropout if the task has some, and
    the classifier.
    """
    if head == "global_pool":
        pool = GlobalPool(shape)
        return (pool, *classifier(task, pool.output, "flatten"))
    dropout = (Dropout(shape, task.dropout),) if task.dropout else ()
    return (*dropout, Linear(shape, task.classes))
