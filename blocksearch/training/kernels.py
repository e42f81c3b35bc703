"""Loops over pixels that torch's own operators do not do in one pass, compiled for this processor by numba.

Arrays are rows of channels: R×C float32, one row for each pixel of each image. Each channel's numbers depend on that channel
alone, so that seeds side by side in one module cannot touch each other, and a NaN stays in its channel.
"""

from collections.abc import Callable
from math import gcd
from typing import Any, ParamSpec, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

P = ParamSpec("P")
R = TypeVar("R")
Floats = NDArray[np.float32]

_LANES = 16  # floats in the widest vector register
_WIDTH = 128  # floats that an inner loop should have at least
_ROWS = 128  # rows summed in single precision before they are added up in double


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile with numba when first called, and keep the result on disk where there is a place for it."""
    # No reordering of sums and no assumption that numbers are finite: a diverging seed must be seen to diverge.
    options: dict[str, Any] = {"fastmath": {"contract", "nsz", "arcp"}, "nogil": True}
    try:
        made: Callable[P, R] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba's word for: neither the package's folder nor the user's cache can be written
        made = numba.njit(**options)(function)
    return made


def wide(rows: int, channels: int) -> int:
    """Return how many rows are laid end to end so that an inner loop fills whole vector registers; it divides `rows`."""
    repeats = _LANES // gcd(channels, _LANES)
    while repeats * channels < _WIDTH:
        repeats *= 2
    return gcd(repeats, rows)


@compiled
def moments(x: Floats, shift: Floats, total: NDArray[np.float64], squares: NDArray[np.float64]) -> None:
    """Add up x − shift and its square over the rows of each column."""
    rows, columns = x.shape
    some, some_squares = np.zeros(columns, np.float32), np.zeros(columns, np.float32)
    for first in range(0, rows, _ROWS):
        some[:] = 0
        some_squares[:] = 0
        for i in range(first, min(rows, first + _ROWS)):
            for j in range(columns):
                value = x[i, j] - shift[j]
                some[j] += value
                some_squares[j] += value * value
        for j in range(columns):
            total[j] += some[j]
            squares[j] += some_squares[j]


@compiled
def scaled(x: Floats, scale: Floats, shift: Floats, slope: np.float32, y: Floats) -> None:
    """Write y = scale·x + shift, times `slope` where that is not positive."""
    rows, columns = x.shape
    for i in range(rows):
        for j in range(columns):
            value = x[i, j] * scale[j] + shift[j]
            y[i, j] = value if value > 0 else slope * value


@compiled
def gradient_moments(
    dy: Floats,
    x: Floats,
    scale: Floats,
    shift: Floats,
    mean: Floats,
    slope: np.float32,
    total: NDArray[np.float64],
    products: NDArray[np.float64],
) -> None:
    """Add up the gradient before the activation, and its product with x − mean, over the rows of each column."""
    rows, columns = x.shape
    some, some_products = np.zeros(columns, np.float32), np.zeros(columns, np.float32)
    for first in range(0, rows, _ROWS):
        some[:] = 0
        some_products[:] = 0
        for i in range(first, min(rows, first + _ROWS)):
            for j in range(columns):
                gradient = dy[i, j] if x[i, j] * scale[j] + shift[j] > 0 else slope * dy[i, j]
                some[j] += gradient
                some_products[j] += gradient * (x[i, j] - mean[j])
        for j in range(columns):
            total[j] += some[j]
            products[j] += some_products[j]


@compiled
def gradient(
    dy: Floats,
    x: Floats,
    scale: Floats,
    shift: Floats,
    mean: Floats,
    slope: np.float32,
    along: Floats,
    constant: Floats,
    dx: Floats,
) -> None:
    """Write dx = scale·(gradient before the activation) + along·(x − mean) + constant."""
    rows, columns = x.shape
    for i in range(rows):
        for j in range(columns):
            value = dy[i, j] if x[i, j] * scale[j] + shift[j] > 0 else slope * dy[i, j]
            dx[i, j] = scale[j] * value + (along[j] * (x[i, j] - mean[j]) + constant[j])


@compiled
def gathered(pixels: NDArray[np.uint8], indices: NDArray[np.int64], scale: Floats, shift: Floats, x: Floats) -> None:
    """Write scale·pixel + shift for N×K images out of M×P×C pixels: x is N×P×(K·C), the K images of a row side by side."""
    rows, copies = indices.shape
    _, places, channels = pixels.shape
    for i in range(rows):
        for k in range(copies):
            image = indices[i, k]
            for p in range(places):
                for c in range(channels):
                    x[i, p, k * channels + c] = pixels[image, p, c] * scale[c] + shift[c]
