"""Says what the values of factors are, with their texts and readers, and what the words for
activations and pooling do.

A value is a word, a whole number, one of these small dataclasses, or a user's op; its text is its
`str`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Literal, TypeAlias

from blocksearch.arch.layers import Activation, Layers, Shape
from blocksearch.arch.ops import Op
from blocksearch.errors import SpecError

Size: TypeAlias = tuple[int, int]
MOST = 10**6  # what the texts of numbers can hold


@dataclass(frozen=True)
class Reduce:
    """First pointwise layer with the block's output channels / `factor` (Section 3, Bottleneck)."""

    factor: int

    def __post_init__(self) -> None:
        _check(1 <= self.factor < MOST, f"reduce(k) needs a k from 1, but got {self.factor}")

    def __str__(self) -> str:
        return f"reduce({self.factor})"


@dataclass(frozen=True)
class Expand:
    """First pointwise layer with the input channels · `rate`, rounded down (Section 6.2)."""

    rate: Fraction

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", Fraction(self.rate))
        small = 0 < self.rate.numerator < 10**10 and self.rate.denominator < MOST
        _check(small, f"expand(r) needs a rate above 0, but got {self.rate}")

    def __str__(self) -> str:
        return f"expand({self.rate})"


@dataclass(frozen=True)
class Groups:
    """Grouped pointwise layers: only the `last`, or `both` with a shuffle after the first."""

    where: str
    count: int

    def __post_init__(self) -> None:
        known = self.where in ("last", "both") and 1 <= self.count < MOST
        _check(known, f"groups are last(g) or both(g) with a g from 1, but got {self}")

    def __str__(self) -> str:
        return f"{self.where}({self.count})"

    @property
    def first(self) -> int:
        """Groups of the first pointwise layer."""
        return self.count if self.where == "both" else 1


@dataclass(frozen=True)
class Kernel:
    """Spatial kernels in order, height × width each: 3×3, or 1×3 then 3×1.

    No `dilations` means 1 for each.
    """

    sizes: tuple[Size, ...]
    dilations: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        known = 1 <= len(self.sizes) <= 4 and all(
            n in range(1, 100, 2) for n in sum(self.sizes, ())
        )
        own = self.dilations or (1,) * len(self.sizes)
        known = known and len(own) == len(self.sizes) and all(1 <= d <= 9 for d in own)
        _check(known, f"a kernel is one to four odd sizes, but got {self.sizes}, {self.dilations}")
        object.__setattr__(self, "dilations", own if max(own) > 1 else ())

    def __str__(self) -> str:
        return "+".join(f"{h}x{w}" + (f"d{d}" if d > 1 else "") for h, w, d in self.layers)

    @cached_property
    def layers(self) -> tuple[tuple[int, int, int], ...]:
        """Height, width and dilation of each spatial layer."""
        dilations = self.dilations or (1,) * len(self.sizes)
        return tuple((h, w, d) for (h, w), d in zip(self.sizes, dilations, strict=True))


def _check(holds: bool, rule: str) -> None:
    if not holds:
        raise SpecError(rule)


Value: TypeAlias = str | int | Reduce | Expand | Groups | Kernel | Op
SpatialKind = Literal["depthwise", "dense"]
LastKind = Literal["pointwise", "none"]
Residual = Literal["none", "add", "project", "concatenate"]
SEPARATED = Kernel(((1, 3), (3, 1)))
SQUARE = Kernel(((3, 3),))

ACTIVATIONS: dict[str, Callable[[Shape], Layers]] = {
    "relu": lambda shape: (Activation(shape, "relu"),),
    "leaky": lambda shape: (Activation(shape, "leaky"),),
    "linear": lambda shape: (),
}

# The stride or pool of the spatial layer at an index that may be the final one.
Phases: TypeAlias = Callable[[int, bool], Size]
NOWHERE, BOTH, ACROSS, DOWN = (1, 1), (2, 2), (1, 2), (2, 1)


def _phases(index: int, final: bool) -> Size:
    """Halve the width at the first layer and the height at the second; a single one does both."""
    if index == 0:
        return BOTH if final else ACROSS
    return DOWN if index == 1 else NOWHERE


@dataclass(frozen=True, kw_only=True)
class Pooling:
    """Where a block halves its map, at spatial layers, in the last pointwise one, or behind it."""

    strides: Phases = lambda index, final: NOWHERE
    pools: Phases = lambda index, final: NOWHERE
    last: Size = NOWHERE  # stride and kernel of the last pointwise layer
    behind: Size = NOWHERE  # pool behind it
    whole: Size = BOTH  # what the block does in all, and so its shortcut

    @property
    def needs_last(self) -> bool:
        return self.last != NOWHERE or self.behind != NOWHERE


POOLINGS = {
    "stride": Pooling(strides=_phases),
    "last": Pooling(pools=lambda index, final: BOTH if final else NOWHERE),
    "first": Pooling(pools=lambda index, final: NOWHERE if index else BOTH),
    "separable": Pooling(pools=_phases),
    "separable_end": Pooling(pools=lambda index, final: NOWHERE if index else ACROSS, behind=DOWN),
    "separable_conv": Pooling(pools=lambda index, final: NOWHERE if index else ACROSS, last=DOWN),
    "none": Pooling(whole=NOWHERE),
}


def read_whole(text: str) -> int | None:
    """Read a whole number from 1 that a text of six digits holds. None for any other text."""
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,5}", text) else None


def read_bottleneck(text: str) -> Value | None:
    """Read none, reduce(k), k alone, or expand(r). None for any other text."""
    if match := re.fullmatch(r"reduce\(([1-9][0-9]{0,5})\)|([1-9][0-9]{0,5})", text):
        return Reduce(int(match[1] or match[2]))
    number = r"[0-9]{1,10}(?:/[1-9][0-9]{0,5}|\.[0-9]{1,5})?"
    if match := re.fullmatch(rf"expand\(({number})\)", text):
        return Expand(Fraction(match[1]))
    return "none" if text == "none" else None


def read_groups(text: str) -> Value | None:
    """Read none, last(g) or both(g). None for any other text."""
    match = re.fullmatch(r"(last|both)\(([1-9][0-9]{0,5})\)", text)
    return Groups(match[1], int(match[2])) if match else ("none" if text == "none" else None)


def read_kernel(text: str) -> Value | None:
    """Read kernels such as 3x3, 1x3+3x1 or 3x3d2. None for any other text."""
    size = r"([1-9][0-9]?)x([1-9][0-9]?)(?:d([1-9]))?"
    found = [match for part in text.split("+") if (match := re.fullmatch(size, part))]
    if len(found) <= text.count("+"):
        return None
    return Kernel(
        tuple((int(match[1]), int(match[2])) for match in found),
        tuple(int(match[3] or 1) for match in found),
    )
