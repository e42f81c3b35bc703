"""Primitive layers with shapes: the tree that a network resolves to, and that cost, module, text
and diagram all read.

Every layer knows its input shape and derives its output shape, so a tree that exists is consistent.
Identity of networks is equality of these trees; `fingerprint` is their digest and `encode`/`decode`
their stored form.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal, TypeAlias

from blocksearch.errors import SpecError

PoolKind = Literal["max", "average"]
ActivationKind = Literal[
    "relu", "leaky", "relu6", "elu", "gelu", "silu", "hardswish", "tanh", "sigmoid", "hardsigmoid"
]
JoinKind = Literal["add", "concatenate", "multiply"]

LEAKY_SLOPE = 0.2  # not given in the paper: a choice of ours


@dataclass(frozen=True)
class Shape:
    """One image's tensor: channels × height × width."""

    channels: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if min(self.channels, self.height, self.width) < 1:
            raise SpecError(f"a tensor needs at least one channel, row and column, but got {self}")

    def __str__(self) -> str:
        return f"{self.channels}x{self.height}x{self.width}"

    @property
    def floats(self) -> int:
        return self.channels * self.height * self.width

    @property
    def map(self) -> tuple[int, int]:
        return self.height, self.width

    def with_channels(self, channels: int) -> "Shape":
        return Shape(channels, self.height, self.width)

    def strided(self, stride: tuple[int, int]) -> "Shape":
        """Return the shape after a strided layer: ⌈n / stride⌉ along each axis, never below one.

        Raises SpecError where an axis of size one would be reduced again.
        """
        if (self.height == 1 and stride[0] > 1) or (self.width == 1 and stride[1] > 1):
            raise SpecError(
                f"a map is not pooled below 1×1, but a stride of {stride[0]}×{stride[1]} meets a map of {self}"
            )
        return Shape(self.channels, -(-self.height // stride[0]), -(-self.width // stride[1]))


def padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Return the zeros before and after one axis so that the output has ⌈size / stride⌉ entries.

    Odd kernels are centred (3 is padded by 1); an even kernel is padded at the end, and only where
    the map is odd.
    """
    span = dilation * (kernel - 1)
    total = max(0, (-(-size // stride) - 1) * stride + span + 1 - size)
    before = span // 2
    return before, max(0, total - before)


def even_parts(channels: int, groups: int) -> tuple[int, ...]:
    """Split channels into groups as even as possible, the larger ones first: 6 in 4 groups is 2, 2,
    1, 1.
    """
    share, rest = divmod(channels, groups)
    return tuple(share + (group < rest) for group in range(groups))


@dataclass(frozen=True)
class Conv:
    """A convolution without bias. `uneven` groups are built as parallel convolutions over `parts`."""

    input: Shape
    out_channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    groups: int = 1
    dilation: tuple[int, int] = (1, 1)
    uneven: bool = False

    def __post_init__(self) -> None:
        if self.out_channels < 1:
            raise SpecError(
                f"a convolution needs at least one output channel, but got {self.out_channels}"
            )
        if min(*self.kernel, *self.stride, *self.dilation, self.groups) < 1:
            raise SpecError(
                f"kernel, stride, dilation and groups of a convolution must be at least one: {self}"
            )
        channels = (self.input.channels, self.out_channels)
        if self.groups > min(channels):
            raise SpecError(
                f"a convolution has at most as many groups as channels, but {self.groups} > {min(channels)}"
            )
        if not self.uneven and any(c % self.groups for c in channels):
            raise SpecError(
                f"{self.groups} groups must divide both channel counts, but got {channels[0]} → {channels[1]}"
            )

    @cached_property
    def output(self) -> Shape:
        return self.input.strided(self.stride).with_channels(self.out_channels)

    @property
    def depthwise(self) -> bool:
        return self.groups == self.input.channels > 1

    @property
    def parts(self) -> tuple[tuple[int, int], ...]:
        """Input and output channels of each group."""
        inputs, outputs = (
            even_parts(self.input.channels, self.groups),
            even_parts(self.out_channels, self.groups),
        )
        return tuple(zip(inputs, outputs, strict=True))

    @property
    def weights(self) -> int:
        per_tap = (
            sum(i * o for i, o in self.parts)
            if self.uneven
            else self.input.channels * self.out_channels // self.groups
        )
        return per_tap * self.kernel[0] * self.kernel[1]


def grouped_conv(
    input: Shape, out_channels: int, groups: int, kernel: tuple[int, int], stride: tuple[int, int]
) -> Conv:
    """Make a convolution in `groups` groups, as even as possible and at most as many as there are
    channels.
    """
    groups = min(groups, input.channels, out_channels)
    uneven = bool(input.channels % groups or out_channels % groups)
    return Conv(input, out_channels, kernel, stride, groups, uneven=uneven)


@dataclass(frozen=True)
class Norm:
    """Batch normalisation with scale and shift per channel."""

    input: Shape

    @property
    def output(self) -> Shape:
        return self.input


@dataclass(frozen=True)
class Activation:
    """A pointwise non-linearity; a linear position has no layer."""

    input: Shape
    kind: ActivationKind

    @property
    def output(self) -> Shape:
        return self.input


@dataclass(frozen=True)
class Pool:
    """Pooling that leaves padded positions out of the maximum and of the average."""

    input: Shape
    kind: PoolKind
    kernel: tuple[int, int]
    stride: tuple[int, int]

    @cached_property
    def output(self) -> Shape:
        return self.input.strided(self.stride)


@dataclass(frozen=True)
class GlobalPool:
    """Average of each channel over the whole map: C×1×1 out."""

    input: Shape

    @property
    def output(self) -> Shape:
        return Shape(self.input.channels, 1, 1)


@dataclass(frozen=True)
class Shuffle:
    """Channel shuffle (ShuffleNet): take one channel of each group in turn."""

    input: Shape
    groups: int

    @property
    def output(self) -> Shape:
        return self.input

    @property
    def order(self) -> tuple[int, ...]:
        """Input channel at each output position; groups are as even as possible."""
        parts = even_parts(self.input.channels, self.groups)
        starts = [sum(parts[:group]) for group in range(self.groups)]
        return tuple(
            start + k
            for k in range(max(parts))
            for start, size in zip(starts, parts, strict=True)
            if k < size
        )


@dataclass(frozen=True)
class MatchChannels:
    """Zero-pad missing channels at the end, or drop surplus ones: a shortcut that costs nothing."""

    input: Shape
    out_channels: int

    @property
    def output(self) -> Shape:
        return self.input.with_channels(self.out_channels)


@dataclass(frozen=True)
class Join:
    """Run branches on one input, in order, and add, concatenate or multiply their outputs. An empty
    branch is the identity.

    A factor of a product may be a single value per channel (C×1×1) after the first branch.
    """

    input: Shape
    kind: JoinKind
    branches: tuple["Layers", ...]

    def __post_init__(self) -> None:
        shapes = self.branch_outputs
        first, per_channel = shapes[0], Shape(shapes[0].channels, 1, 1)
        match self.kind:
            case "add":
                fits = all(shape == first for shape in shapes)
            case "concatenate":
                fits = all(shape.map == first.map for shape in shapes)
            case _:
                fits = all(shape in (first, per_channel) for shape in shapes)
        if not fits:
            raise SpecError(
                f"branches to {self.kind} must match, but got {' and '.join(map(str, shapes))}"
            )

    @property
    def branch_outputs(self) -> tuple[Shape, ...]:
        return tuple(branch[-1].output if branch else self.input for branch in self.branches)

    @property
    def output(self) -> Shape:
        first, *rest = self.branch_outputs
        return (
            first.with_channels(first.channels + sum(s.channels for s in rest))
            if self.kind == "concatenate"
            else first
        )


@dataclass(frozen=True)
class Custom:
    """Layers that a user's option expands to, with where they come from: a changed definition is
    another network.

    `origin` is the option's text, `namespace.name(parameters)`, and `source` the digest of the code
    that defines it.
    """

    input: Shape
    origin: str
    source: str
    body: "Layers"

    @property
    def output(self) -> Shape:
        return self.body[-1].output if self.body else self.input


@dataclass(frozen=True)
class Dropout:
    """Zero each input with probability `rate` while training."""

    input: Shape
    rate: float

    @property
    def output(self) -> Shape:
        return self.input


@dataclass(frozen=True)
class Linear:
    """The classifier, with bias, on the flattened map."""

    input: Shape
    classes: int

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise SpecError(f"a classifier needs at least one class, but got {self.classes}")

    @property
    def output(self) -> Shape:
        return Shape(self.classes, 1, 1)


Layer: TypeAlias = (
    Conv
    | Norm
    | Activation
    | Pool
    | GlobalPool
    | Shuffle
    | MatchChannels
    | Join
    | Custom
    | Dropout
    | Linear
)
Layers: TypeAlias = tuple[Layer, ...]

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        Conv,
        Norm,
        Activation,
        Pool,
        GlobalPool,
        Shuffle,
        MatchChannels,
        Join,
        Custom,
        Dropout,
        Linear,
    )
}


def flat(layers: Layers) -> Iterator[Layer]:
    """Walk a sequence with the bodies of customs in their place; branches of a join stay inside it."""
    for layer in layers:
        if isinstance(layer, Custom):
            yield from flat(layer.body)
        else:
            yield layer


def encode(layers: Layers) -> str:
    """Write a layer tree as canonical JSON: the form that is stored and digested."""
    return json.dumps([_to_data(layer) for layer in layers], separators=(",", ":"))


def decode(text: str) -> Layers:
    """Read back what `encode` wrote. Raises SpecError on anything else."""
    try:
        return tuple(_layer(data) for data in json.loads(text))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise SpecError(f"stored layers do not decode: {type(error).__name__}: {error}") from error


def fingerprint(layers: Layers) -> str:
    """Digest a layer tree: equal exactly where the trees are equal."""
    return hashlib.sha256(encode(layers).encode()).hexdigest()


def _to_data(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_to_data(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return {"": type(value).__name__} | {
            field.name: _to_data(getattr(value, field.name)) for field in fields(value)
        }
    return value


def _layer(data: dict[str, Any]) -> Layer:
    kind = _KINDS[data[""]]
    layer: Layer = kind(**{name: _value(value) for name, value in data.items() if name})
    return layer


def _value(data: Any) -> Any:
    if isinstance(data, list):
        return tuple(_value(item) for item in data)
    if isinstance(data, dict):
        kind = data[""]
        return Shape(**{k: v for k, v in data.items() if k}) if kind == "Shape" else _layer(data)
    return data
