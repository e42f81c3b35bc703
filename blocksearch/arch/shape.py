"""Defines shapes of tensors, and how strides, padding and groups divide them."""

import re
from dataclasses import dataclass
from numbers import Integral

from blocksearch.errors import SpecError


@dataclass(frozen=True)
class Shape:
    """Describe one image's tensor as channels × height × width.

    >>> Shape(3, 32, 32).strided((2, 2)).with_channels(8)
    Shape(channels=8, height=16, width=16)
    """

    channels: int
    height: int
    width: int

    def __post_init__(self) -> None:
        own = self.channels, self.height, self.width
        if not type(own[0]) is type(own[1]) is type(own[2]) is int:
            own = self._as_numbers()  # a space is priced by millions that have no need of it
        if min(own) < 1:
            raise self._refused()

    def _as_numbers(self) -> tuple[int, int, int]:
        """Bring whole numbers of another library to Python's. Raises SpecError for all else."""
        for name, value in list(vars(self).items()):
            if isinstance(value, bool) or not isinstance(value, Integral):
                raise self._refused()
            object.__setattr__(self, name, int(value))
        return self.channels, self.height, self.width

    def _refused(self) -> SpecError:
        return SpecError(f"a tensor needs at least one channel, row and column, but got {self}")

    def __str__(self) -> str:
        return f"{self.channels}x{self.height}x{self.width}"

    @property
    def elements(self) -> int:
        return self.channels * self.height * self.width

    @property
    def map(self) -> tuple[int, int]:
        return self.height, self.width

    def with_channels(self, channels: int) -> "Shape":
        return Shape(channels, self.height, self.width)

    def strided(self, stride: tuple[int, int]) -> "Shape":
        """Return the shape after a strided layer: ⌈n / stride⌉ along each axis.

        Raises SpecError if an axis of size one would be reduced again, and for what is no stride.
        """
        try:  # a space is priced by millions of these
            down, across = stride
            height, width = -(-self.height // down), -(-self.width // across)
        except (TypeError, ValueError, ZeroDivisionError):
            down = across = height = width = 0
        if down < 1 or across < 1:
            raise SpecError(f"a stride is two whole numbers from 1, but got {stride!r}")
        if (self.height == 1 and down > 1) or (self.width == 1 and across > 1):
            raise SpecError(
                f"a map is not pooled below 1×1, but a stride of {down}×{across} "
                f"meets a map of {self}"
            )
        return Shape(self.channels, height, width)


def read_shape(text: str) -> Shape | None:
    """Read channels×height×width, written 3x32x32."""
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})x([0-9]{1,5})", text)
    return Shape(int(match[1]), int(match[2]), int(match[3])) if match else None


def padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Return the zeros before and after one axis that give an output of ⌈size / stride⌉ entries.

    Odd kernels are centred (3 is padded by 1). An even kernel is padded at the end, and only if the
    map is odd.
    """
    span = dilation * (kernel - 1)
    total = max(0, (-(-size // stride) - 1) * stride + span + 1 - size)
    before = span // 2
    return before, max(0, total - before)


def pooled(size: int, kernel: int, stride: int, *, to_end: bool) -> int:
    """Return how many windows PyTorch pools along one axis, padded by (kernel - 1) // 2 on both
    sides; with `to_end`, its ceil mode, also the last one that begins within the map.
    """
    before = (kernel - 1) // 2
    room = size + 2 * before - kernel
    if not to_end:
        return room // stride + 1
    windows = -(-room // stride) + 1
    return windows - ((windows - 1) * stride >= size + before)


def even_parts(channels: int, groups: int) -> tuple[int, ...]:
    """Split channels into groups as even as possible, the larger ones first.

    >>> even_parts(6, 4)
    (2, 2, 1, 1)
    """
    share, rest = divmod(channels, groups)
    return tuple(share + (group < rest) for group in range(groups))
