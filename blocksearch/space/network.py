"""A network as a value: input, first layer, a block per stage, widths, classes. What it resolves to is `layers`."""

from dataclasses import dataclass, replace
from functools import cached_property

from blocksearch.errors import SpaceError
from blocksearch.space.block import Block, conv_unit, expand
from blocksearch.space.factors import Value
from blocksearch.space.layers import Conv, Dropout, Layers, Linear, Pool, Shape, fingerprint

FIRST_LAYERS = ("vanilla", "block")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a data set fixes about a network: input, stage widths, classes and dropout before the classifier."""

    input: Shape
    widths: tuple[int, ...]
    classes: int
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise SpaceError(f"widths must be one or more whole numbers from 1, but got {self.widths_text or 'none'}")
        if self.classes < 2:
            raise SpaceError(f"a classifier tells at least 2 classes apart, but got classes={self.classes}")
        if not 0 <= self.dropout < 1:
            raise SpaceError(f"dropout must be at least 0 and below 1, but got {self.dropout}")

    @property
    def widths_text(self) -> str:
        return ",".join(map(str, self.widths))


@dataclass(frozen=True, kw_only=True)
class Network:
    """Blocks in a setting. One block serves every stage; several are one per stage that the block covers.

    `first_layer="vanilla"` makes the first stage a 3×3 convolution with 2×2 max-pooling, and blocks cover the stages after it;
    `"block"` makes every stage a block. Raises SpaceError where the network cannot be built.
    """

    setting: Setting
    blocks: tuple[Block, ...]
    first_layer: str = "block"

    def __post_init__(self) -> None:
        if self.first_layer not in FIRST_LAYERS:
            raise SpaceError(f"first_layer must be vanilla or block, but got {self.first_layer!r}")
        stages = len(self.setting.widths) - (self.first_layer == "vanilla")
        if len(self.blocks) not in {1, stages}:
            raise SpaceError(
                f"a network takes one block or one for each of its {stages} block stages, but got {len(self.blocks)}"
            )
        _ = self.layers  # an instance that exists resolves

    @cached_property
    def stages(self) -> tuple[Layers, ...]:
        """The resolved layers of each stage, then those of the classifier."""
        setting, shape, widths = self.setting, self.setting.input, list(self.setting.widths)
        stages: list[Layers] = []
        if self.first_layer == "vanilla":
            stages.append(_vanilla(shape, widths.pop(0)))
            shape = stages[-1][-1].output
        for block, width in zip(self.blocks * len(widths), widths, strict=False):
            stages.append(expand(block, shape, width))
            shape = stages[-1][-1].output
        dropout = (Dropout(shape, setting.dropout),) if setting.dropout else ()
        return (*stages, (*dropout, Linear(shape, setting.classes)))

    @cached_property
    def layers(self) -> Layers:
        """The resolved layer tree: the network's identity."""
        return tuple(layer for stage in self.stages for layer in stage)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the resolved layers: equal spellings merge, inactive factors vanish."""
        return fingerprint(self.layers)

    def with_factor(self, name: str, value: Value) -> "Network":
        """Return this network with one factor changed, in every block."""
        if name == "first_layer":
            return self._with_first_layer(str(value))
        return replace(self, blocks=tuple(block.with_factors({name: value}) for block in self.blocks))

    def _with_first_layer(self, first_layer: str) -> "Network":
        if len(self.blocks) > 1 and first_layer != self.first_layer:
            raise SpaceError(
                "first_layer cannot be changed in a network with a block per stage: their number would no longer match"
            )
        return replace(self, first_layer=first_layer)


def _vanilla(shape: Shape, width: int) -> Layers:
    unit = conv_unit(Conv(shape, width, (3, 3)), "relu")
    return (*unit, Pool(unit[-1].output, "max", (2, 2), (2, 2)))
