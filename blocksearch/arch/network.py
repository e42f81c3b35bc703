"""A network as a value: input, first layer, a block per stage, widths, classes. What it resolves to
is `layers`.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from operator import index

from blocksearch.arch.block import Block, bottleneck_channels, expand
from blocksearch.arch.factors import Value
from blocksearch.arch.layers import Dropout, Layers, Linear, Shape, fingerprint
from blocksearch.errors import SpecError

FIRST_LAYERS = ("vanilla", "block")
VANILLA = Block(
    spatial="dense", last="none"
)  # a 3×3 convolution with 2×2 max-pooling (Table 1, first rows)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a data set fixes about a network: input, stage widths, classes and dropout before the
    classifier.
    """

    input: Shape
    widths: tuple[int, ...]
    classes: int
    dropout: float = 0.0

    def __post_init__(self) -> None:
        try:  # numbers of numpy's, and lists, are as good
            object.__setattr__(self, "widths", tuple(map(index, self.widths)))
            object.__setattr__(self, "classes", index(self.classes))
        except TypeError as error:
            raise SpecError(
                f"widths and classes must be whole numbers, but got {self.widths} and {self.classes}"
            ) from error
        if not self.widths or min(self.widths) < 1:
            raise SpecError(
                f"widths must be one or more whole numbers from 1, but got {self.widths_text or 'none'}"
            )
        if self.classes < 2:
            raise SpecError(
                f"a classifier tells at least 2 classes apart, but got classes={self.classes}"
            )
        if not 0 <= self.dropout < 1:
            raise SpecError(f"dropout must be at least 0 and below 1, but got {self.dropout}")

    @property
    def widths_text(self) -> str:
        return ",".join(map(str, self.widths))


@dataclass(frozen=True, kw_only=True, repr=False)
class Network:
    """Blocks in a task. One block serves every stage; several are one per stage that the block
    covers.

    `first_layer="vanilla"` makes the first stage a 3×3 convolution with 2×2 max-pooling, and blocks
    cover the stages after it; `"block"` makes every stage a block. Raises SpecError where the
    network cannot be built.
    """

    task: Task
    blocks: tuple[Block, ...]
    first_layer: str = "block"

    def __post_init__(self) -> None:
        if self.first_layer not in FIRST_LAYERS:
            raise SpecError(f"first_layer must be vanilla or block, but got {self.first_layer!r}")
        stages = len(self.task.widths) - (self.first_layer == "vanilla")
        if len(self.blocks) not in {1, stages}:
            raise SpecError(
                f"a network takes one block or one for each of its {stages} block stages, but got {len(self.blocks)}"
            )
        _ = self.layers  # an instance that exists resolves

    def __str__(self) -> str:
        """Write the network on one line, as `parse_network` reads it."""
        task = self.task
        dropout = f" dropout={task.dropout!r}" if task.dropout else ""
        head = f"input={task.input} widths={task.widths_text} classes={task.classes}{dropout}"
        return f"{head} first_layer={self.first_layer} {' '.join(f'[{block}]' for block in self.blocks)}"

    def __repr__(self) -> str:
        return f"<Network {self}>"

    @cached_property
    def stages(self) -> tuple[Layers, ...]:
        """The resolved layers of each stage, then those of the classifier."""
        task, shape = self.task, self.task.input
        stages: list[Layers] = []
        for block, width in zip(self.stage_blocks, task.widths, strict=True):
            stages.append(expand(block, shape, width))
            shape = stages[-1][-1].output
        return (*stages, classifier(task, shape))

    @property
    def bottlenecks(self) -> tuple[int | None, ...]:
        """The channels that each stage's first pointwise layer gives, as `minimum` leaves them;
        None where it has none.
        """
        shapes = (self.task.input, *(stage[-1].output for stage in self.stages[:-2]))
        return tuple(map(bottleneck_channels, self.stage_blocks, shapes, self.task.widths))

    @property
    def stage_blocks(self) -> tuple[Block, ...]:
        """The block of each stage, the vanilla first layer written as one."""
        first = (VANILLA,) if self.first_layer == "vanilla" else ()
        rest = len(self.task.widths) - len(first)
        return first + (self.blocks * rest if len(self.blocks) == 1 else self.blocks)

    @cached_property
    def layers(self) -> Layers:
        """The resolved layer tree: the network's identity."""
        return tuple(layer for stage in self.stages for layer in stage)

    @cached_property
    def digest(self) -> str:
        """Digest of the resolved layers: equal spellings merge, inactive factors vanish."""
        return fingerprint(self.layers)

    def with_factor(self, name: str, value: Value) -> "Network":
        """Return this network with one factor changed, in every block."""
        if name == "first_layer":
            return self._with_first_layer(str(value))
        return replace(
            self, blocks=tuple(block.with_factors({name: value}) for block in self.blocks)
        )

    def _with_first_layer(self, first_layer: str) -> "Network":
        if len(self.blocks) > 1 and first_layer != self.first_layer:
            raise SpecError(
                "first_layer cannot be changed in a network with a block per stage: their number would no longer match"
            )
        return replace(self, first_layer=first_layer)


def classifier(task: Task, shape: Shape) -> Layers:
    """Dropout, where the task has some, and the linear classifier on the flattened map."""
    dropout = (Dropout(shape, task.dropout),) if task.dropout else ()
    return (*dropout, Linear(shape, task.classes))
