"""Loops over pixels that torch's own operators do not do in one pass, compiled for this processor
by numba.

Images are rows of channels: R×C float32, one row for each pixel of each image, or `repeats` such
rows laid end to end, so that an inner loop fills whole vector registers. Each channel's numbers
depend on that channel alone: seeds side by side in one module cannot touch each other, and a NaN
stays in its channel.
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

VERSION = "1"  # of the order in which these loops add up; another order is another version

_LANES = 16  # floats in the widest vector register
_WIDTH = 128  # floats that an inner loop should have at least
_ROWS = 128  # rows summed in single precision before they are added up in double

MEAN, SCALE, SHIFT = 0, 1, 2  # rows of what `normalised` keeps for `normalised_gradient`


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile with numba when first called, and keep the result on disk where there is a place for
    it.
    """
    # No reordering of sums and no assumption that numbers are finite: a diverging seed must be seen
    # to diverge.
    options: dict[str, Any] = {
        "fastmath": {"contract", "nsz", "arcp"},
        "nogil": True,
        "error_model": "numpy",
    }
    try:
        made: Callable[P, R] = numba.njit(cache=True, **options)(function)
    except (
        RuntimeError
    ):  # numba's word for: neither the package's folder nor the user's cache can be written
        made = numba.njit(**options)(function)
    return made


def wide(rows: int, channels: int) -> int:
    """Return how many rows are laid end to end so that an inner loop fills whole vector registers;
    it divides `rows`.
    """
    repeats = _LANES // gcd(channels, _LANES)
    while repeats * channels < _WIDTH:
        repeats *= 2
    return gcd(repeats, rows)


@compiled
def normalised(
    x: Floats,
    weight: Floats,
    bias: Floats,
    eps: float,
    slope: np.float32,
    y: Floats,
    kept: Floats,
    mean: Floats,
    variance: Floats,
) -> None:
    """Write y = weight·(x − mean)/√(variance + eps) + bias, times `slope` where that is not
    positive, and the statistics.

    `kept` is 3 rows as long as those of x: mean, scale and shift, with y = scale·x + shift.
    """
    rows, columns = x.shape
    channels = len(weight)
    count = rows * columns // channels
    origin = np.empty(
        columns, np.float32
    )  # sums of squares near a value of x's own lose no digits to the mean
    for j in range(columns):
        origin[j] = x[0, j % channels]
    total, squares = np.zeros(columns), np.zeros(columns)
    some, some_squares = np.zeros(columns, np.float32), np.zeros(columns, np.float32)
    for first in range(0, rows, _ROWS):
        some[:] = 0
        some_squares[:] = 0
        for i in range(first, min(rows, first + _ROWS)):
            for j in range(columns):
                value = x[i, j] - origin[j]
                some[j] += value
                some_squares[j] += value * value
        for j in range(columns):
            total[j] += some[j]
            squares[j] += some_squares[j]
    for c in range(channels):
        offset, spread = 0.0, 0.0
        for j in range(c, columns, channels):
            offset += total[j] / count
            spread += squares[j] / count
        spread = max(spread - offset * offset, 0.0)
        centre = offset + origin[c]
        scale = weight[c] / np.sqrt(spread + eps)
        mean[c], variance[c] = centre, spread
        for j in range(c, columns, channels):
            kept[MEAN, j], kept[SCALE, j], kept[SHIFT, j] = centre, scale, bias[c] - centre * scale
    scales, shifts = kept[SCALE], kept[SHIFT]
    for i in range(rows):
        for j in range(columns):
            value = x[i, j] * scales[j] + shifts[j]
            y[i, j] = value if value > 0 else slope * value


@compiled
def normalised_gradient(
    dy: Floats,
    x: Floats,
    kept: Floats,
    variance: Floats,
    eps: float,
    slope: np.float32,
    dx: Floats,
    d_weight: Floats,
    d_bias: Floats,
) -> None:
    """Write the gradients of what `normalised` read, out of that of y; x and y are not both needed."""
    rows, columns = x.shape
    channels = len(d_weight)
    count = rows * columns // channels
    means, scales, shifts = kept[MEAN], kept[SCALE], kept[SHIFT]
    total, products = np.zeros(columns), np.zeros(columns)
    some, some_products = np.zeros(columns, np.float32), np.zeros(columns, np.float32)
    for first in range(0, rows, _ROWS):
        some[:] = 0
        some_products[:] = 0
        for i in range(first, min(rows, first + _ROWS)):
            for j in range(columns):
                value = dy[i, j] if x[i, j] * scales[j] + shifts[j] > 0 else slope * dy[i, j]
                some[j] += value
                some_products[j] += value * (x[i, j] - means[j])
        for j in range(columns):
            total[j] += some[j]
            products[j] += some_products[j]
    along, constant = np.empty(columns, np.float32), np.empty(columns, np.float32)
    for c in range(channels):
        sum_, product = 0.0, 0.0
        for j in range(c, columns, channels):
            sum_ += total[j]
            product += products[j]
        precision = 1 / (variance[c] + eps)
        d_weight[c], d_bias[c] = product * np.sqrt(precision), sum_
        for j in range(c, columns, channels):
            along[j], constant[j] = (
                -scales[c] * precision * product / count,
                -scales[c] * sum_ / count,
            )
    for i in range(rows):
        for j in range(columns):
            value = dy[i, j] if x[i, j] * scales[j] + shifts[j] > 0 else slope * dy[i, j]
            dx[i, j] = scales[j] * value + (along[j] * (x[i, j] - means[j]) + constant[j])


@compiled
def gathered(
    pixels: NDArray[np.uint8], indices: NDArray[np.int64], scale: Floats, shift: Floats, x: Floats
) -> None:
    """Write scale·pixel + shift for N×K images out of M×P×C pixels: x is N×P×(K·C), the K images of
    a row side by side.
    """
    rows, copies = indices.shape
    _, places, channels = pixels.shape
    for i in range(rows):
        for k in range(copies):
            image = indices[i, k]
            for p in range(places):
                for c in range(channels):
                    x[i, p, k * channels + c] = pixels[image, p, c] * scale[c] + shift[c]
