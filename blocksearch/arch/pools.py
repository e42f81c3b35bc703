"""Defines the layers that pool a map."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

from blocksearch.arch.cost import Cost, Layer, Place, moves
from blocksearch.arch.shape import Shape, pooled
from blocksearch.errors import SpecError

PoolKind = Literal["max", "average"]
_POOL_KINDS = get_args(PoolKind)


def halving(stride: tuple[int, int], what: str) -> str:
    """Name a halving as Table 1 does: `mp`, or `1d mp` along one axis."""
    return f"1d {what}" if min(stride) == 1 < max(stride) else what


@dataclass(frozen=True, repr=False)
class Pool(Layer):
    """Pooling that leaves padded positions out of the maximum and of the average.

    An odd kernel is centred, an even one padded at the end only. Raises SpecError where PyTorch
    then gives another map than ⌈n / stride⌉, as for a kernel of 2 with a stride of 1.
    """

    input: Shape
    kind: PoolKind
    kernel: tuple[int, int]
    stride: tuple[int, int]

    place = Place.FOLDS

    def __post_init__(self) -> None:
        if self.kind not in _POOL_KINDS:
            raise SpecError(f"a pool is {', '.join(_POOL_KINDS)}, but got {self.kind!r}")
        if min(self.kernel) < 1:
            raise SpecError(f"a pool's kernel is two whole numbers from 1, but got {self.kernel}")
        axes = zip(self.input.map, self.kernel, self.stride, strict=True)
        if (own := tuple(pooled(*axis, to_end=self.to_end) for axis in axes)) != self.output.map:
            raise SpecError(
                f"a pool of {self.kernel} with stride {self.stride} makes {own} of a map of "
                f"{self.input.map} in PyTorch, not {self.output.map}"
            )

    @property
    def to_end(self) -> bool:
        """Whether windows reach over the end of the map (PyTorch's ceil mode)."""
        return not all(size % 2 for size in self.kernel)

    @cached_property
    def output(self) -> Shape:
        return self.input.strided(self.stride)

    @property
    def cost(self) -> Cost:
        return moves(self)

    @property
    def label(self) -> str:
        return halving(self.stride, {"max": "mp", "average": "ap"}[self.kind])


@dataclass(frozen=True, repr=False)
class GlobalPool(Layer):
    """Average of each channel over the whole map: C×1×1 out."""

    input: Shape

    label = "global ap"

    @property
    def output(self) -> Shape:
        return Shape(self.input.channels, 1, 1)

    @property
    def cost(self) -> Cost:
        return moves(self)
