"""Lists the factors of a block in one table, with names, defaults, values and their readers."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import index
from typing import Any, SupportsIndex, get_args

from blocksearch.arch.layers import PoolKind
from blocksearch.arch.ops import NAME, NO_OPS, Op, Ops, checked, loaded_ops, read_op
from blocksearch.arch.values import (
    ACTIVATIONS,
    MOST,
    POOLINGS,
    SEPARATED,
    SQUARE,
    Expand,
    Groups,
    Kernel,
    LastKind,
    Reduce,
    Residual,
    SpatialKind,
    Value,
    read_bottleneck,
    read_groups,
    read_kernel,
    read_whole,
)
from blocksearch.errors import SpecError, near, unknown


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
            if 1 <= number < MOST:  # numpy's numbers are as good
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
        read=read_bottleneck,
        meaning="first pointwise layer",
        types=(Reduce, Expand),
    ),
    Factor(
        name="minimum",
        default=1,
        values=(1, 6),
        rule="a whole number of channels from 1",
        read=read_whole,
        meaning="least channels that reduce() leaves",
        types=int,
    ),
    _choice("spatial", "depthwise", get_args(SpatialKind), "kind of the spatial convolutions"),
    Factor(
        name="kernel",
        default=SQUARE,
        values=(SQUARE, SEPARATED),
        rule="one to four odd sizes such as 3x3, 1x3+3x1 or 3x3d2 (dilated)",
        read=read_kernel,
        meaning="spatial kernels, in order",
        types=Kernel,
    ),
    Factor(
        name="depth_multiplier",
        default=1,
        values=(1, 2),
        rule="a whole number from 1",
        read=read_whole,
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
        read=read_groups,
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
