"""Defines the layers that a network resolves to, each with its shapes and its cost.

Every layer knows its input shape and derives its output shape, so a tree that exists is consistent.
Cost, module, text and layer table are all read from this tree. Pools are in `pools`; layers made of
layers, and how a tree is stored and digested, are in `tree`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

from blocksearch.arch.cost import Cost, Place, moves
from blocksearch.arch.cost import Layer as Layer
from blocksearch.arch.cost import Layers as Layers
from blocksearch.arch.cost import flat as flat
from blocksearch.arch.pools import GlobalPool as GlobalPool
from blocksearch.arch.pools import Pool as Pool
from blocksearch.arch.pools import PoolKind as PoolKind
from blocksearch.arch.pools import halving
from blocksearch.arch.shape import Shape as Shape
from blocksearch.arch.shape import even_parts
from blocksearch.arch.tree import CustomOp as CustomOp
from blocksearch.arch.tree import Join as Join
from blocksearch.arch.tree import JoinKind as JoinKind
from blocksearch.arch.tree import UserModel as UserModel
from blocksearch.arch.tree import decode as decode
from blocksearch.arch.tree import encode as encode
from blocksearch.arch.tree import fingerprint as fingerprint
from blocksearch.errors import SpecError

ActivationKind = Literal[
    "relu", "leaky", "relu6", "elu", "gelu", "silu", "hardswish", "tanh", "sigmoid", "hardsigmoid"
]

_ACTIVATION_KINDS = get_args(ActivationKind)

LEAKY_SLOPE = 0.2  # not given in the paper: a choice of ours


@dataclass(frozen=True, repr=False)
class Conv(Layer):
    """A convolution without bias. `uneven` groups are parallel convolutions over `parts`.

    >>> Conv(Shape(8, 16, 16), 16, (3, 3)).cost.macs
    294912
    """

    input: Shape
    out_channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    groups: int = 1
    dilation: tuple[int, int] = (1, 1)
    uneven: bool = False

    place = Place.OPENS

    def __post_init__(self) -> None:
        if self.out_channels < 1:
            raise SpecError(
                f"a convolution needs at least one output channel, but got {self.out_channels}"
            )
        if min(*self.kernel, *self.stride, *self.dilation, self.groups) < 1:
            raise SpecError(
                "kernel, stride, dilation and groups of a convolution must be at least one, but "
                f"got {self.kernel}, {self.stride}, {self.dilation} and {self.groups}"
            )
        channels = (self.input.channels, self.out_channels)
        if self.groups > min(channels):
            raise SpecError(
                "a convolution has at most as many groups as channels, "
                f"but {self.groups} > {min(channels)}"
            )
        if not self.uneven and any(c % self.groups for c in channels):
            raise SpecError(
                f"{self.groups} groups must divide both channel counts, "
                f"but got {channels[0]} → {channels[1]}"
            )

    @cached_property
    def output(self) -> Shape:
        return self.input.strided(self.stride).with_channels(self.out_channels)

    @property
    def cost(self) -> Cost:
        out, weights = self.output, self.weights
        peak = self.input.elements + out.elements
        return Cost(
            macs=weights * out.height * out.width,
            params=weights,
            layer_activations=(out.elements,),
            peak_activations=peak,
        )

    @property
    def depthwise(self) -> bool:
        return self.groups == self.input.channels > 1

    @property
    def parts(self) -> tuple[tuple[int, int], ...]:
        """Input and output channels of each group."""
        inputs = even_parts(self.input.channels, self.groups)
        return tuple(zip(inputs, even_parts(self.out_channels, self.groups), strict=True))

    @property
    def weights(self) -> int:
        per_tap = (
            sum(i * o for i, o in self.parts)
            if self.uneven
            else self.input.channels * self.out_channels // self.groups
        )
        return per_tap * self.kernel[0] * self.kernel[1]

    @property
    def label(self) -> str:
        dilated = f"d{max(self.dilation)}" if max(self.dilation) > 1 else ""
        size = f"{self.kernel[0]}x{self.kernel[1]}{dilated}"
        strided = f" + {halving(self.stride, 'stride')}" if self.stride != (1, 1) else ""
        if not self.depthwise:
            groups = f"gc{self.groups} " if self.groups > 1 else ""
            return f"{groups}{size}x{self.out_channels}{strided}"
        multiplied = f"x{self.out_channels}" if self.out_channels != self.input.channels else ""
        return f"dw {size}{multiplied}{strided}"

    @property
    def traffic(self) -> int:
        """Forward, it reads and writes; backward, it reads both and writes its input's gradient."""
        return 3 * self.input.elements + 2 * self.output.elements


def grouped_conv(
    input: Shape, out_channels: int, groups: int, kernel: tuple[int, int], stride: tuple[int, int]
) -> Conv:
    """Make a convolution in groups as even as possible, at most as many as there are channels."""
    groups = min(groups, input.channels, out_channels)
    uneven = bool(input.channels % groups or out_channels % groups)
    return Conv(input, out_channels, kernel, stride, groups, uneven=uneven)


@dataclass(frozen=True, repr=False)
class Norm(Layer):
    """Batch normalisation with scale and shift per channel."""

    input: Shape

    place, in_place, suffix = Place.RIDES, True, ""

    @property
    def cost(self) -> Cost:
        return Cost(params=2 * self.input.channels, peak_activations=self.input.elements)

    @property
    def traffic(self) -> int:
        """It reads its input twice (statistics, then values); backward likewise, with gradients."""
        return 8 * self.input.elements


@dataclass(frozen=True, repr=False)
class Activation(Layer):
    """A pointwise non-linearity; a linear position has no layer."""

    input: Shape
    kind: ActivationKind

    place, in_place, traffic = Place.RIDES, True, 0  # training computes it within its neighbours

    def __post_init__(self) -> None:
        if self.kind not in _ACTIVATION_KINDS:
            known = ", ".join(_ACTIVATION_KINDS)
            raise SpecError(f"an activation is {known}, but got {self.kind!r}")

    @property
    def cost(self) -> Cost:
        return Cost(peak_activations=self.input.elements)

    @property
    def label(self) -> str:
        return self.kind

    @property
    def suffix(self) -> str:
        return f" · {self.kind}"


@dataclass(frozen=True, repr=False)
class Shuffle(Layer):
    """Channel shuffle (ShuffleNet): take one channel of each group in turn."""

    input: Shape
    groups: int

    def __post_init__(self) -> None:
        if not 1 <= self.groups <= self.input.channels:
            raise SpecError(
                f"a shuffle has 1 to {self.input.channels} groups here, one for each channel at "
                f"most, but got {self.groups}"
            )

    @property
    def cost(self) -> Cost:
        return moves(self)

    @property
    def order(self) -> tuple[int, ...]:
        """Input channel at each output position; groups are as even as possible."""
        parts = even_parts(self.input.channels, self.groups)
        starts = [sum(parts[:group]) for group in range(self.groups)]
        groups = list(zip(starts, parts, strict=True))
        return tuple(start + k for k in range(max(parts)) for start, size in groups if k < size)


@dataclass(frozen=True, repr=False)
class MatchChannels(Layer):
    """Zero-pad missing channels at the end, or drop surplus ones: a shortcut that costs nothing."""

    input: Shape
    out_channels: int

    @property
    def output(self) -> Shape:
        return self.input.with_channels(self.out_channels)

    @property
    def cost(self) -> Cost:
        return moves(self)

    @property
    def label(self) -> str:
        return f"match {self.out_channels}"


@dataclass(frozen=True, repr=False)
class Dropout(Layer):
    """Zero each input with probability `rate` while training."""

    input: Shape
    rate: float

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise SpecError(f"a dropout's rate is at least 0 and below 1, but got {self.rate}")

    @property
    def cost(self) -> Cost:
        return Cost(peak_activations=self.input.elements)


@dataclass(frozen=True, repr=False)
class Linear(Layer):
    """The classifier, with bias, on the flattened map."""

    input: Shape
    classes: int

    place, label = Place.OPENS, "fully connected"

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise SpecError(f"a classifier needs at least one class, but got {self.classes}")

    @property
    def output(self) -> Shape:
        return Shape(self.classes, 1, 1)

    @property
    def cost(self) -> Cost:
        weights = self.input.elements * self.classes
        peak = self.input.elements + self.classes
        return Cost(
            macs=weights,
            params=weights + self.classes,
            layer_activations=(self.classes,),
            peak_activations=peak,
        )

    @property
    def traffic(self) -> int:
        return 3 * self.input.elements + 2 * self.output.elements
