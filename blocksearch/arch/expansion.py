"""Expands a block into layers, in steps that each read some factors.

A step is a named tuple of the factors that it reads, so it sees no others. So a space is counted
and priced step by step, without a look at whole blocks.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar, assert_never

from blocksearch.arch.block import Block
from blocksearch.arch.cost import Layer, Layers
from blocksearch.arch.factors import FACTORS
from blocksearch.arch.layers import (
    Conv,
    MatchChannels,
    Norm,
    Pool,
    PoolKind,
    Shuffle,
    grouped_conv,
)
from blocksearch.arch.ops import Op
from blocksearch.arch.shape import Shape
from blocksearch.arch.tree import Join, JoinKind
from blocksearch.arch.values import (
    ACTIVATIONS,
    NOWHERE,
    POOLINGS,
    Expand,
    Groups,
    Kernel,
    LastKind,
    Reduce,
    Residual,
    Size,
    SpatialKind,
)
from blocksearch.errors import SpecError


def _end(layers: Layers, entry: Shape) -> Shape:
    return layers[-1].output if layers else entry


def _conv_unit(conv: Conv, activation: Op | str) -> Layers:
    """Follow a convolution by batch normalisation and its activation: an order of our choice."""
    layers: tuple[Layer, ...] = (conv, Norm(conv.output))
    return layers + _activate(conv.output, activation)


def _activate(shape: Shape, kind: Op | str) -> Layers:
    return kind.expand(shape) if isinstance(kind, Op) else ACTIVATIONS[kind](shape)


def _pool(shape: Shape, kind: PoolKind, size: Size) -> Layers:
    return () if size == NOWHERE else (Pool(shape, kind, size, size),)


class FirstPointwise(NamedTuple):
    """The bottleneck or expansion that a block may begin with."""

    bottleneck: Reduce | Expand | Literal["none"]
    minimum: int
    groups: Groups | Literal["none"]
    first_activation: Op | str

    def layers(self, entry: Shape, width: int) -> Layers:
        channels = self.channels(entry, width)
        if channels is None:
            return ()
        groups = 1 if self.groups == "none" else self.groups.first
        conv = grouped_conv(entry, channels, groups, (1, 1), (1, 1))
        unit = _conv_unit(conv, self.first_activation)
        return (*unit, Shuffle(conv.output, conv.groups)) if conv.groups > 1 else unit

    def channels(self, entry: Shape, width: int) -> int | None:
        """Return the channels it gives, or None without one. Raises SpecError if none are left."""
        match self.bottleneck:
            case Reduce(factor):
                return max(self.minimum, width // factor)
            case Expand(rate):
                channels = int(entry.channels * rate)
                if channels < 1:
                    raise SpecError(
                        f"bottleneck={self.bottleneck} of {entry.channels} input channels "
                        "leaves none"
                    )
                return channels
            case "none":
                return None
            case _:
                assert_never(self.bottleneck)


class Spatial(NamedTuple):
    """The spatial convolutions, which may stride or be pooled, and may end the block."""

    spatial: SpatialKind
    kernel: Kernel
    depth_multiplier: int
    pooling: str
    pool_kind: PoolKind
    last: LastKind
    spatial_activation: Op | str
    activation: Op | str

    def layers(self, entry: Shape, width: int) -> Layers:
        layers: Layers = ()
        kernels, halving = self.kernel.layers, POOLINGS[self.pooling]
        for index, (rows, columns, dilation) in enumerate(kernels):
            shape, final = _end(layers, entry), index == len(kernels) - 1
            ends_block = final and self.last == "none"
            groups, channels = self._channels(shape, index)
            conv = Conv(
                shape,
                width if ends_block else channels,
                (rows, columns),
                halving.strides(index, final),
                groups,
                # An axis of one tap has no dilation, so that equal layers are equal.
                dilation=(dilation if rows > 1 else 1, dilation if columns > 1 else 1),
            )
            layers += _conv_unit(conv, self.activation if ends_block else self.spatial_activation)
            layers += _pool(conv.output, self.pool_kind, halving.pools(index, final))
        return layers

    def _channels(self, shape: Shape, index: int) -> tuple[int, int]:
        """Return groups and output channels of the convolution at an index."""
        match self.spatial:
            case "depthwise":
                multiplier = 1 if index else self.depth_multiplier
                return shape.channels, shape.channels * multiplier
            case "dense":
                return 1, shape.channels
            case _:
                assert_never(self.spatial)


class Attention(NamedTuple):
    """A user's layers behind the spatial ones."""

    attention: Op | Literal["none"]

    def layers(self, entry: Shape, width: int) -> Layers:
        return () if self.attention == "none" else self.attention.expand(entry)


class LastPointwise(NamedTuple):
    """The pointwise convolution to the block's width, which may stride or be pooled."""

    last: LastKind
    groups: Groups | Literal["none"]
    activation: Op | str
    pooling: str
    pool_kind: PoolKind

    def layers(self, entry: Shape, width: int) -> Layers:
        match self.last:
            case "none":
                return ()
            case "pointwise":
                groups = 1 if self.groups == "none" else self.groups.count
                halving = POOLINGS[self.pooling]
                conv = grouped_conv(entry, width, groups, kernel=halving.last, stride=halving.last)
                unit = _conv_unit(conv, self.activation)
                return unit + _pool(conv.output, self.pool_kind, halving.behind)
            case _:
                assert_never(self.last)


@dataclass(frozen=True, kw_only=True)
class Shortcut:
    """The way around a block's body: how it joins, its layers, and what follows the join."""

    kind: JoinKind
    layers: Layers
    after: Layers
    output: Shape


class Around(NamedTuple):
    """The shortcut, which is averaged to the body's map and then fitted to its channels.

    ShuffleNet's is the concatenated one, with an overlapping 3×3 average; others do not overlap.
    """

    residual: Op | Residual
    join_activation: Op | str
    pooling: str

    def body(self, entry: Shape, width: int) -> Shape:
        """Return the shape that the body ends in: only pooling changes the map, in one way."""
        return entry.strided(POOLINGS[self.pooling].whole).with_channels(width)

    def shortcut(self, entry: Shape, width: int) -> Shortcut | None:
        """Return the way around the body, or None without one."""
        if self.residual == "none":
            return None
        body = self.body(entry, width)
        layers, kind = _joined(self.residual, entry, body)
        channels = body.channels + _end(layers, entry).channels
        joined = body.with_channels(channels) if kind == "concatenate" else body
        after = _activate(joined, self.join_activation)
        return Shortcut(kind=kind, layers=layers, after=after, output=_end(after, joined))


def _joined(
    residual: Op | Literal["add", "project", "concatenate"], entry: Shape, body: Shape
) -> tuple[Layers, JoinKind]:
    match residual:
        case Op():
            layers = residual.expand(entry, body)
            end = _end(layers, entry)
            if end.map != body.map:
                raise SpecError(
                    f"residual={residual} ends in {end}, but a shortcut has the map of the body's "
                    f"output, {body}"
                )
            return layers, "add" if end == body else "concatenate"
        case "concatenate":
            return _averaged(entry, body, overlap=True), "concatenate"
        case "add":
            layers = _averaged(entry, body)
            end = _end(layers, entry)
            same = end.channels == body.channels
            return layers if same else (*layers, MatchChannels(end, body.channels)), "add"
        case "project":
            layers = _averaged(entry, body)
            projection = Conv(_end(layers, entry), body.channels, (1, 1))
            return layers + _conv_unit(projection, "linear"), "add"
        case _:
            assert_never(residual)


def _averaged(entry: Shape, body: Shape, *, overlap: bool = False) -> Layers:
    """Average to the body's map."""
    rows, columns = -(-entry.height // body.height), -(-entry.width // body.width)
    if (rows, columns) == (1, 1):
        return ()
    size = (rows + rows // 2, columns + columns // 2) if overlap else (rows, columns)
    return (Pool(entry, "average", size, (rows, columns)),)


_Step = TypeVar("_Step", bound=NamedTuple)
STEPS: tuple[type[Any], ...] = (FirstPointwise, Spatial, Attention, LastPointwise)
_READ = {*Around._fields, *(name for step in STEPS for name in step._fields)}
if unread := ", ".join(sorted(set(FACTORS) - _READ)):  # else spaces would be counted wrong
    raise TypeError(f"factor {unread} is no field of a step that reads it, in arch/expansion.py")
if unknown := ", ".join(sorted(_READ - set(FACTORS))):
    raise TypeError(f"a step reads {unknown}, which is no row of arch/factors.py")


def step_of(block: Block, step: type[_Step]) -> _Step:
    """Return a step with its factors, and no others, of a block."""
    return step(*map(block.__dict__.__getitem__, step._fields))


def expand(block: Block, entry: Shape, width: int) -> Layers:
    """Expand a block that reads `entry` and is `width` channels wide into layers.

    >>> [type(layer).__name__ for layer in expand(Block(pooling="none"), Shape(8, 16, 16), 8)]
    ['Conv', 'Norm', 'Conv', 'Norm', 'Activation']

    With residual=concatenate the output has width + entry channels. Raises SpecError if a shape
    becomes impossible, PluginError if a user's op fails.
    """
    body: Layers = ()
    shape = entry
    for step in STEPS:
        if made := step_of(block, step).layers(shape, width):
            body, shape = body + made, made[-1].output
    around = step_of(block, Around).shortcut(entry, width)
    return (Join(entry, around.kind, (body, around.layers)), *around.after) if around else body
