"""Defines the stem that a network begins with, as a word or as a convolution of its own."""

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

from blocksearch.arch.block import Block
from blocksearch.arch.layers import Activation, Conv, Layers, Norm, Shape
from blocksearch.errors import SpecError

STEMS = ("conv", "block")
STEM = Block(spatial="dense", last="none")  # 3×3 convolution, 2×2 max-pool (Table 1, first rows)
RULE = "conv, block, or a convolution of its own such as conv(kernel=3,stride=2,width=16)"
STRIDES = (1, 2, 4)
_WIDEST, _LARGEST = 10**6, 15


@dataclass(frozen=True, kw_only=True)
class ConvStem:
    """A square convolution with normalisation and ReLU, before the stages of a network.

    >>> stem = ConvStem(width=16)
    >>> str(stem), stem.layers(Shape(3, 96, 96))[-1].output
    ('conv(kernel=3,stride=2,width=16)', Shape(channels=16, height=48, width=48))

    The kernel is odd, and the stride 1, 2 or 4. Raises SpecError for what cannot be.
    """

    kernel: int = 3
    stride: int = 2
    width: int

    def __post_init__(self) -> None:
        if self.kernel not in range(1, _LARGEST + 1, 2):
            raise SpecError(f"a stem's kernel is odd, 1 to {_LARGEST}, but got {self.kernel}")
        if self.stride not in STRIDES:
            raise SpecError(f"a stem's stride is 1, 2 or 4, but got {self.stride}")
        if not 1 <= self.width < _WIDEST:
            raise SpecError(f"a stem's width is a whole number from 1, but got {self.width}")

    def __str__(self) -> str:
        return f"conv(kernel={self.kernel},stride={self.stride},width={self.width})"

    def layers(self, entry: Shape) -> Layers:
        """Return its layers. Raises SpecError if the map is too small for the stride."""
        size, stride = (self.kernel, self.kernel), (self.stride, self.stride)
        conv = Conv(entry, self.width, size, stride)
        return (conv, Norm(conv.output), Activation(conv.output, "relu"))


Stem: TypeAlias = str | ConvStem


def read_stem(given: Any) -> Stem:
    """Take a stem or its text; kernel and stride may be left out. Raises SpecError.

    >>> read_stem("conv(stride=4, width=24)")
    ConvStem(kernel=3, stride=4, width=24)
    """
    if isinstance(given, ConvStem):
        return given
    text = re.sub(r"\s", "", given) if isinstance(given, str) else ""
    if text in STEMS:
        return text
    pair = r"(?:kernel|stride|width)=[0-9]{1,6}"
    match = re.fullmatch(rf"conv\(({pair}(?:,{pair}){{0,2}})\)", text)
    pairs = [each.split("=") for each in match[1].split(",")] if match else []
    values = {name: int(value) for name, value in pairs}
    if len(values) < len(pairs) or "width" not in values:
        raise SpecError(f"stem must be {RULE}, but got {given!r}")
    return ConvStem(**values)


def stages_without_block(stem: Stem) -> int:
    """Return how many of a network's stages the stem takes the place of."""
    return 1 if stem == "conv" else 0
