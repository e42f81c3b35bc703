"""The factors of a block: for each, its values and how a value is written.

A value is a word, a whole number, or one of the small dataclasses below; its text is its `str`.
`FACTORS` is the vocabulary that notation, grammar, ablation and the command line share.
"""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeAlias

from blocksearch.arch.ops import NO_OPTIONS, Option, Options, check_fills, read_option
from blocksearch.errors import SpecError, unknown


@dataclass(frozen=True)
class Reduce:
    """First pointwise layer with the block's *output* channels divided by `factor` (Section 3,
    Bottleneck).
    """

    factor: int

    def __str__(self) -> str:
        return f"reduce({self.factor})"


@dataclass(frozen=True)
class Expand:
    """First pointwise layer with the block's *input* channels times `rate`, rounded down (Section
    6.2).
    """

    rate: Fraction

    def __str__(self) -> str:
        return f"expand({self.rate})"


@dataclass(frozen=True)
class Groups:
    """Grouped pointwise layers: only the `last`, or `both` with a channel shuffle after the first
    (Section 3).
    """

    where: str
    count: int

    def __str__(self) -> str:
        return f"{self.where}({self.count})"


@dataclass(frozen=True)
class Kernel:
    """Spatial kernels in order, height × width each: 3×3, or 1×3 then 3×1. No `dilations` means 1
    for each.
    """

    sizes: tuple[tuple[int, int], ...]
    dilations: tuple[int, ...] = ()

    def __str__(self) -> str:
        return "+".join(f"{h}x{w}" + (f"d{d}" if d > 1 else "") for h, w, d in self.layers)

    @property
    def layers(self) -> tuple[tuple[int, int, int], ...]:
        """Height, width and dilation of each spatial layer."""
        dilations = self.dilations or (1,) * len(self.sizes)
        return tuple((h, w, d) for (h, w), d in zip(self.sizes, dilations, strict=True))


Value: TypeAlias = str | int | Reduce | Expand | Groups | Kernel | Option


@dataclass(frozen=True)
class Factor:
    """One factor: its name, the values an ablation tries, and the reader of its text. Defaults
    stand in `Block`.
    """

    name: str
    values: tuple[Value, ...]
    grammar: str
    read: Callable[[str], Value | None]
    meaning: str

    def value(self, given: Value) -> Value:
        """Take a value or its text, and check it."""
        if isinstance(given, Option):
            check_fills(self.name, given)
            return given
        return self.parse(str(given))

    def parse(self, text: str, options: Options = NO_OPTIONS) -> Value:
        """Read a value, a user's among them. Raises SpecError that names the factor, the text and
        what it may be.
        """
        value = self.read(text.strip()) or read_option(self.name, text.strip(), options)
        if value is None:
            words = [str(option) for option in self.values]
            near = difflib.get_close_matches(text, words, 1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise SpecError(f"{self.name} must be {self.grammar}, but got {text!r}{hint}")
        return value


def _words(*words: str) -> Callable[[str], Value | None]:
    return lambda text: text if text in words else None


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,5}", text) else None


def _bottleneck(text: str) -> Value | None:
    if text == "none":
        return "none"
    if match := re.fullmatch(r"(?:reduce\(([1-9][0-9]{0,5})\)|([1-9][0-9]{0,5}))", text):
        return Reduce(int(match[1] or match[2]))
    if match := re.fullmatch(
        r"expand\(([0-9]{1,10}/[1-9][0-9]{0,5}|[0-9]{1,5}(?:\.[0-9]{1,5})?)\)", text
    ):
        rate = Fraction(match[1])
        return Expand(rate) if rate > 0 else None
    return None


def _groups(text: str) -> Value | None:
    match = re.fullmatch(r"(last|both)\(([1-9][0-9]{0,5})\)", text)
    return Groups(match[1], int(match[2])) if match else ("none" if text == "none" else None)


def _kernel(text: str) -> Value | None:
    found = [
        re.fullmatch(r"([1-9][0-9]?)x([1-9][0-9]?)(?:d([1-9]))?", size) for size in text.split("+")
    ]
    if len(found) > 4 or not all(found):
        return None
    sizes = tuple((int(match[1]), int(match[2])) for match in found if match)
    dilations = tuple(int(match[3] or 1) for match in found if match)
    return (
        Kernel(sizes, dilations if max(dilations) > 1 else ())
        if all(n % 2 for size in sizes for n in size)
        else None
    )


_POOLINGS = ("stride", "last", "first", "separable", "separable_end", "separable_conv")
_RESIDUALS = ("none", "add", "project", "concatenate")
_ACTIVATIONS = ("relu", "leaky", "linear")
SEPARATED = Kernel(((1, 3), (3, 1)))
SQUARE = Kernel(((3, 3),))


def _choice(name: str, values: tuple[str, ...], meaning: str) -> Factor:
    return Factor(name, values, " or ".join(values), _words(*values), meaning)


FACTORS: dict[str, Factor] = {
    factor.name: factor
    for factor in (
        Factor(
            "bottleneck",
            (Reduce(1), Reduce(2), Reduce(4), Reduce(8)),
            "none, reduce(k) of the block's outputs (or k alone), or expand(r) of its inputs",
            _bottleneck,
            "first pointwise layer",
        ),
        Factor(
            "minimum",
            (1, 6),
            "a whole number of channels from 1",
            _whole,
            "least channels that reduce() leaves",
        ),
        _choice("spatial", ("depthwise", "dense"), "kind of the spatial convolutions"),
        Factor(
            "kernel",
            (SQUARE, SEPARATED),
            "one to four odd sizes such as 3x3, 1x3+3x1 or 3x3d2 (dilated)",
            _kernel,
            "spatial kernels, in order",
        ),
        Factor(
            "depth_multiplier",
            (1, 2),
            "a whole number from 1",
            _whole,
            "output channels per input channel of the first depthwise layer",
        ),
        _choice("attention", ("none",), "layers of a user's option after the spatial ones"),
        # "none" is for deeper networks; an ablation does not try it, since it multiplies the cost
        # of all that follows.
        replace(
            _choice("pooling", (*_POOLINGS, "none"), "where the map is halved"), values=_POOLINGS
        ),
        _choice("pool_kind", ("max", "average"), "kind of the pools"),
        _choice("last", ("pointwise", "none"), "last pointwise layer; none only in a dense block"),
        Factor(
            "groups",
            ("none", Groups("last", 4), Groups("both", 4)),
            "none, last(g) or both(g)",
            _groups,
            "groups of the pointwise layers",
        ),
        _choice("residual", _RESIDUALS, "shortcut around the block"),
        _choice("first_activation", _ACTIVATIONS, "after the first pointwise layer"),
        _choice("spatial_activation", _ACTIVATIONS, "after each spatial layer"),
        _choice("activation", _ACTIVATIONS, "after the last layer"),
        _choice("join_activation", _ACTIVATIONS, "after the shortcut has joined"),
    )
}


def factor_named(name: str) -> Factor:
    """Find a factor. Raises ConfigError with the known names."""
    if name not in FACTORS:
        raise unknown("factor", name, FACTORS)
    return FACTORS[name]
