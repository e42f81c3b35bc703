"""Lists the factors of a block in one table, with names, defaults, values and their readers.

A value is a word, a whole number, one of the small dataclasses below, or a user's op; its text is
its `str`. What the words for activations and pooling do stands beside them.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from operator import index
from typing import Any, Literal, SupportsIndex, TypeAlias, get_args

from blocksearch.arch.layers import Activation, Layers, PoolKind, Shape
from blocksearch.arch.ops import NAME, NO_OPS, Op, Ops, checked, loaded_ops, read_op
from blocksearch.errors import SpecError, near, unknown

Size: TypeAlias = tuple[int, int]
_MOST = 10**6  # what the texts of numbers can hold


@dataclass(frozen=True)
class Reduce:
    """First pointwise layer with the block's output channels / `factor` (Section 3, Bottleneck)."""

    factor: int

    def __post_init__(self) -> None:
        _check(1 <= self.factor < _MOST, f"reduce(k) needs a k from 1, but got {self.factor}")

    def __str__(self) -> str:
        return f"reduce({self.factor})"


@dataclass(frozen=True)
class Expand:
    """First pointwise layer with the input channels · `rate`, rounded down (Section 6.2)."""

    rate: Fraction

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", Fraction(self.rate))
        small = 0 < self.rate.numerator < 10**10 and self.rate.denominator < _MOST
        _check(small, f"expand(r) needs a rate above 0, but got {self.rate}")

    def __str__(self) -> str:
        return f"expand({self.rate})"


@dataclass(frozen=True)
class Groups:
    """Grouped pointwise layers: only the `last`, or `both` with a shuffle after the first."""

    where: str
    count: int

    def __post_init__(self) -> None:
        known = self.where in ("last", "both") and 1 <= self.count < _MOST
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Factor:
    """One factor: its name, its default, the values that an ablation tries, and how text is read.

    `rule` says what a value may be, `types` are those of values that are no text, and `op` is the
    kind of user's op that it takes, if any.
    """

    name: str
    default: Value
    values: tuple[Value, ...]
    rule: str
    read: Callable[[str], Value | None]
    meaning: str
    types: type | tuple[type, ...] = ()
    op: str = ""

    def value(self, given: Value) -> Value:
        """Take a value or its text, and check it. Raises SpecError."""
        if isinstance(given, Op):
            return checked(self.name, self.op, given)
        if self.types is int:
            whole = isinstance(given, SupportsIndex) and not isinstance(given, bool)
            number = index(given) if whole else 0  # type: ignore[arg-type]
            if 1 <= number < _MOST:  # numpy's numbers are as good
                return number
        elif self.types and isinstance(given, self.types):
            return given
        return self.parse(str(given))

    def parse(self, text: str, ops: Ops = NO_OPS) -> Value:
        """Read a value, or a user's op. Raises SpecError that names factor, text and rule."""
        text = text.strip()
        try:
            value = self.read(text)
        except SpecError:
            value = None
        value = value or read_op(self.name, self.op, text, ops)
        if value is None:
            uncalled = self.op and re.fullmatch(NAME, text)
            hint = f"; call it: {text}()" if uncalled else near(text, map(str, self.values))
            said = f"{self.name} must be {self.rule}, but got {text!r}{hint}"
            raise SpecError(said + ("" if uncalled else loaded_ops(self.op, ops)))
        return value


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,5}", text) else None


def _bottleneck(text: str) -> Value | None:
    if match := re.fullmatch(r"reduce\(([1-9][0-9]{0,5})\)|([1-9][0-9]{0,5})", text):
        return Reduce(int(match[1] or match[2]))
    number = r"[0-9]{1,10}(?:/[1-9][0-9]{0,5}|\.[0-9]{1,5})?"
    if match := re.fullmatch(rf"expand\(({number})\)", text):
        return Expand(Fraction(match[1]))
    return "none" if text == "none" else None


def _groups(text: str) -> Value | None:
    match = re.fullmatch(r"(last|both)\(([1-9][0-9]{0,5})\)", text)
    return Groups(match[1], int(match[2])) if match else ("none" if text == "none" else None)


def _kernel(text: str) -> Value | None:
    size = r"([1-9][0-9]?)x([1-9][0-9]?)(?:d([1-9]))?"
    found = [match for part in text.split("+") if (match := re.fullmatch(size, part))]
    if len(found) <= text.count("+"):
        return None
    return Kernel(
        tuple((int(match[1]), int(match[2])) for match in found),
        tuple(int(match[3] or 1) for match in found),
    )


def _choice(
    name: str,
    default: str,
    words: Iterable[str],
    meaning: str,
    tried: int | None = None,
    op: str = "",
) -> Factor:
    """Make a factor whose values are words; an ablation tries the first `tried` of them."""
    known = tuple(words)
    return Factor(
        name=name,
        default=default,
        values=known[:tried],
        rule=" or ".join(known),
        read=lambda text: text if text in known else None,
        meaning=meaning,
        op=op,
    )


def _activation(name: str, default: str, meaning: str) -> Factor:
    return _choice(name, default, ACTIVATIONS, meaning, op="activation")


_ROWS = (
    Factor(
        name="bottleneck",
        default="none",
        values=(Reduce(1), Reduce(2), Reduce(4), Reduce(8)),
        rule="none, reduce(k) of the block's outputs (or k alone), or expand(r) of its inputs",
        read=_bottleneck,
        meaning="first pointwise layer",
        types=(Reduce, Expand),
    ),
    Factor(
        name="minimum",
        default=1,
        values=(1, 6),
        rule="a whole number of channels from 1",
        read=_whole,
        meaning="least channels that reduce() leaves",
        types=int,
    ),
    _choice("spatial", "depthwise", get_args(SpatialKind), "kind of the spatial convolutions"),
    Factor(
        name="kernel",
        default=SQUARE,
        values=(SQUARE, SEPARATED),
        rule="one to four odd sizes such as 3x3, 1x3+3x1 or 3x3d2 (dilated)",
        read=_kernel,
        meaning="spatial kernels, in order",
        types=Kernel,
    ),
    Factor(
        name="depth_multiplier",
        default=1,
        values=(1, 2),
        rule="a whole number from 1",
        read=_whole,
        meaning="output channels per input channel of the first depthwise layer",
        types=int,
    ),
    _choice(
        "attention", "none", ["none"], "a user's layers after the spatial ones", op="attention"
    ),
    # none is for deeper networks; an ablation does not try it, as it multiplies the cost behind it.
    _choice("pooling", "last", POOLINGS, "where the map is halved", tried=len(POOLINGS) - 1),
    _choice("pool_kind", "max", get_args(PoolKind), "kind of the pools"),
    _choice("last", "pointwise", get_args(LastKind), "last pointwise layer; none if spatial=dense"),
    Factor(
        name="groups",
        default="none",
        values=("none", Groups("last", 4), Groups("both", 4)),
        rule="none, last(g) or both(g)",
        read=_groups,
        meaning="groups of the pointwise layers",
        types=Groups,
    ),
    _choice("residual", "none", get_args(Residual), "shortcut around the block", op="residual"),
    _activation("first_activation", "relu", "after the first pointwise layer"),
    _activation("spatial_activation", "linear", "after each spatial layer"),
    _activation("activation", "relu", "after the last layer"),
    _activation("join_activation", "linear", "after the shortcut has joined"),
)
FACTORS: dict[str, Factor] = {factor.name: factor for factor in _ROWS}
DEFAULTS: dict[str, Any] = {factor.name: factor.default for factor in _ROWS}


def factor_named(name: str) -> Factor:
    """Find a factor. Raises ConfigError with the known names."""
    if name not in FACTORS:
        raise unknown("factor", name, FACTORS)
    return FACTORS[name]
