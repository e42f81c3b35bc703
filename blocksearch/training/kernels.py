"""Compiles loops over pixels by numba for this processor, which torch's operators do not do in one
pass.

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
Float32s = NDArray[np.float32]

VERSION = "1"  # of the order in which these loops add up; another order is another version

_LANES = 16  # floats in the widest vector register
_WIDTH = 128  # floats that an inner loop should have at least
_ROWS = 128  # rows summed in single precision before they are added up in double

ONE = np.float32(1)
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


def compiled_for() -> str:
    """Name the processor whose instructions these loops are compiled to."""
    from numba.core.registry import cpu_target

    return str(cpu_target.target_context.codegen().magic_tuple()[1])


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
    x: Float32s,
    weight: Float32s,
    bias: Float32s,
    eps: float,
    slope: np.float32,
    y: Float32s,
    kept: Float32s,
    statistics: Float32s,
) -> None:
    """Write y = weight·(x − mean)/√(variance + eps) + bias, times `slope` where that is not
    positive, and mean and variance as the rows of `statistics`.

    `kept` is 3 rows as long as those of x: mean, scale and shift, with y = scale·x + shift.
    """
    (rows, columns), channels = x.shape, len(weight)
    count = rows * columns // channels
    # Sums of squares near a value of x's own lose no digits to the mean.
    origin = np.empty(columns, np.float32)
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
        spread, centre = max(spread - offset * offset, 0.0), offset + origin[c]
        scale = weight[c] / np.sqrt(spread + eps)
        statistics[0, c], statistics[1, c] = centre, spread
        for j in range(c, columns, channels):
            kept[MEAN, j], kept[SCALE, j], kept[SHIFT, j] = centre, scale, bias[c] - centre * scale
    scales, shifts = kept[SCALE], kept[SHIFT]
    for i in range(rows):
        for j in range(columns):
            value = x[i, j] * scales[j] + shifts[j]
            y[i, j] = value if value > 0 else slope * value


@compiled
def normalised_gradient(
    dy: Float32s,
    x: Float32s,
    kept: Float32s,
    statistics: Float32s,
    eps: float,
    slope: np.float32,
    dx: Float32s,
    d_affine: Float32s,
) -> None:
    """Write the gradients of what `normalised` read from that of y: of x, and of weight and bias
    as rows.
    """
    rows, columns = x.shape
    channels = statistics.shape[1]
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
        precision = 1 / (statistics[1, c] + eps)
        d_affine[0, c], d_affine[1, c] = product * np.sqrt(precision), sum_
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
    pixels: NDArray[np.uint8],
    indices: NDArray[np.int64],
    scale: Float32s,
    shift: Float32s,
    x: Float32s,
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


@compiled
def within(index: int, size: int, reflect: bool) -> int:
    """Return where a row or column beyond the border is read: reflected, or -1 for nowhere."""
    if 0 <= index < size:
        return index
    if not reflect:
        return -1
    if size == 1:
        return 0
    period = 2 * (size - 1)
    found = abs(index) % period
    return found if found < size else period - found


@compiled
def levels(gain: float, lift: float, scale: Float32s, shift: Float32s, table: Float32s) -> None:
    """Write what each of 256 levels of each channel becomes, tinted and normalised: table C×256."""
    for c in range(len(scale)):
        mean = -shift[c] / scale[c]
        for level in range(256):
            tinted = min(max(gain * level + lift * mean, np.float32(0)), np.float32(255))
            table[c, level] = tinted * scale[c] + shift[c]


@compiled
def interpolated(
    image: NDArray[np.uint8],
    m: Float32s,
    reflect: bool,
    table: Float32s,
    shift: Float32s,
    x: Float32s,
) -> None:
    """Read an H×W×C image between its pixels: x is H×W×C, levels become what `table` has."""
    height, width, channels = image.shape
    for r in range(height):
        for c in range(width):
            row, column = m[0, 0] * r + m[0, 1] * c + m[0, 2], m[1, 0] * r + m[1, 1] * c + m[1, 2]
            top, left = int(np.floor(row)), int(np.floor(column))
            down, along = row - np.float32(top), column - np.float32(left)
            if top >= 0 and top + 1 < height and left >= 0 and left + 1 < width:
                for ch in range(channels):
                    own = table[ch]
                    above = (ONE - along) * own[image[top, left, ch]]
                    above += along * own[image[top, left + 1, ch]]
                    below = (ONE - along) * own[image[top + 1, left, ch]]
                    below += along * own[image[top + 1, left + 1, ch]]
                    x[r, c, ch] = (ONE - down) * above + down * below
                continue
            r0, r1 = within(top, height, reflect), within(top + 1, height, reflect)
            c0, c1 = within(left, width, reflect), within(left + 1, width, reflect)
            for ch in range(channels):
                total = np.float32(0)
                for row_, share in ((r0, ONE - down), (r1, down)):
                    for column_, part in ((c0, ONE - along), (c1, along)):
                        level = shift[ch]
                        if row_ >= 0 and column_ >= 0:
                            level = table[ch, image[row_, column_, ch]]
                        total += share * part * level
                x[r, c, ch] = total


@compiled
def warped(
    pixels: NDArray[np.uint8],
    indices: NDArray[np.int64],
    matrices: Float32s,
    tints: Float32s,
    holes: NDArray[np.int32],
    how: tuple[bool, bool],
    normalisation: tuple[Float32s, Float32s],
    x: Float32s,
) -> None:
    """Write N×K images as `gathered` does, each changed as its row of a `Warp` says: x is
    N×H×W×(K·C), pixels M×H×W×C, and the N·K rows go image by image, seed by seed. `how` says
    whether images move by whole pixels, and whether they are reflected at their borders.
    """
    (whole, reflect), (scale, shift) = how, normalisation
    rows, copies = indices.shape
    _, height, width, channels = pixels.shape
    table = np.empty((channels, 256), np.float32)
    columns = np.empty(width, np.int64)
    for i in range(rows):
        for k in range(copies):
            own = i * copies + k
            if own == 0 or tints[own, 0] != tints[own - 1, 0] or tints[own, 1] != tints[own - 1, 1]:
                levels(tints[own, 0], tints[own, 1], scale, shift, table)
            image, m, first = pixels[indices[i, k]], matrices[own], k * channels
            if whole:
                for c in range(width):
                    columns[c] = within(int(np.rint(m[1, 1] * c + m[1, 2])), width, reflect)
                for r in range(height):
                    row = within(int(np.rint(m[0, 0] * r + m[0, 2])), height, reflect)
                    for c in range(width):
                        column = columns[c]
                        for ch in range(channels):
                            if row < 0 or column < 0:
                                x[i, r, c, first + ch] = shift[ch]
                            else:
                                x[i, r, c, first + ch] = table[ch, image[row, column, ch]]
            else:
                interpolated(image, m, reflect, table, shift, x[i, :, :, first : first + channels])
            for r in range(holes[own, 0], holes[own, 2]):
                for c in range(holes[own, 1], holes[own, 3]):
                    x[i, r, c, first : first + channels] = 0
