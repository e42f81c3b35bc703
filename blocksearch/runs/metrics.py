"""Computes intervals of accuracies from stored runs, over images, over groups of images and over
seeds.

Accuracies are in percent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

from blocksearch.errors import ConfigError

Floats = NDArray[np.float64]
ALPHA = 0.05
RESOLUTION = 1e-9  # points, and share of the data's size: below it a difference is rounding


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return Student's interval of a mean accuracy over seeds, in percent, between 0 and 100.

    None below two seeds, and if all are equal, because there is no spread to measure.

    >>> low, high = mean_interval([90.0, 91.0, 92.0])
    >>> round(low, 2), round(high, 2)
    (88.52, 93.48)
    """
    if len(values) < 2 or spread(np.array(values, float)) == 0:
        return None
    half = (
        float(special.stdtrit(len(values) - 1, 1 - ALPHA / 2))
        * float(np.std(values, ddof=1))
        / math.sqrt(len(values))
    )
    centre = float(np.mean(values))
    return max(0.0, centre - half), min(100.0, centre + half)


def spread(values: NDArray[np.float64]) -> float:
    """Sample deviation, exactly zero where values are equal up to rounding."""
    if np.ptp(values) <= RESOLUTION * max(1.0, float(np.abs(values).max())):
        return 0.0
    return float(values.std(ddof=1))


def accuracy_interval(
    bits: NDArray[np.bool_], groups: NDArray[Any] | None = None
) -> tuple[float, float]:
    """Return the 95 % interval of one run's accuracy, in percent, over what other images might
    have given.

    Without groups it is Wilson's. With one group label per image (tracks whose frames are
    near-copies) it is Student's over whole groups, by the linearised error of a ratio on the logit
    scale; if all groups are equally right there is no such error, and it is Wilson's with
    groups for images. Raises ConfigError without images, or if lengths differ.

    >>> low, high = accuracy_interval(np.arange(400) % 4 > 0, np.arange(400) // 10 * 7 % 30)
    >>> round(low, 1), round(high, 1)
    (72.9, 77.0)
    """
    if bits.size == 0:
        raise ConfigError("an accuracy needs at least one evaluated image, but there is none")
    if groups is None:
        return _wilson(float(bits.mean()), bits.size)
    if len(groups) != len(bits):
        raise ConfigError(
            f"each image needs one group, but there are {len(bits)} images and {len(groups)} groups"
        )
    members = np.unique(groups, return_inverse=True)[1]
    weights = (np.ones(bits.size), bits)
    sizes, right = (np.bincount(members, own).astype(np.float64) for own in weights)
    error = 0.0 if np.ptp(right / sizes) <= RESOLUTION else clustered_error(right, sizes)
    return _over_groups(float(bits.mean()), error, sizes.size, sizes.size)


def mean_share_interval(
    shares: "Shares", groups: NDArray[Any] | None = None
) -> tuple[float, float]:
    """Return the 95 % interval of the mean over classes of each class's share, in percent, over
    what other images might have given.

    It is made as that of an accuracy is: Wilson's, or Student's over groups. The linearised error
    of a mean of ratios says how many images it is worth. A class that is wholly right or wholly
    wrong, or seen once, tells no error: it has that of a share which two more images draw towards
    the mean of all classes and one more that is half right. Source: Korn and Graubard 1998, Survey
    Methodology 24, 193-201.

    >>> labels, right = np.arange(60) % 3, np.ones(60, bool)
    >>> own = {"classes": labels, "right": right, "sizes": np.ones(60), "images": np.arange(60)}
    >>> low, high = mean_share_interval(Shares(**own))
    >>> round(low, 1), round(high, 1)
    (94.0, 100.0)
    """
    units = shares.images if groups is None else groups[shares.images]
    units = np.unique(units, return_inverse=True)[1]
    rows = np.unique(shares.classes, return_inverse=True)[1]
    shape, at = (int(rows.max()) + 1, int(units.max()) + 1), (rows, units)
    right, sizes = (
        sparse.coo_array((own.astype(np.float64), at), shape).tocsr()
        for own in (shares.right, shares.sizes)
    )
    totals: NDArray[np.float64] = sizes.sum(1)
    count = np.diff(sizes.indptr)
    each = right.sum(1) / totals
    mean = float(each.mean())
    apart = right - sparse.diags_array(each) @ sizes
    # a deviation among few is too small by that factor; one alone has none
    scale = np.sqrt(np.where(count > 1, count / np.maximum(1, count - 1), 0)) / totals / len(each)
    told = np.asarray(apart.multiply(apart).sum(1)) > RESOLUTION
    error = float((((scale * told) @ apart) ** 2).sum())
    worth: NDArray[np.float64] = (sizes @ sparse.diags_array(1 / sizes.sum(0))).sum(1)
    usual = (each.sum() + 0.5) / (len(each) + 1)
    drawn = (worth * each + 2 * usual) / (worth + 2)
    error += float((drawn * (1 - drawn) / worth)[~told].sum()) / len(each) ** 2
    alone = len(each) ** 2 / float((1 / worth).sum())
    error = error if 0 < mean < 1 else 0.0
    if groups is None:
        return _wilson(mean, mean * (1 - mean) / error if error else alone)
    return _over_groups(mean, math.sqrt(error), shape[1], alone)


@dataclass(frozen=True, kw_only=True)
class Shares:
    """What counts for the share of each class: so many `right` of so many images, its `sizes`, of
    the class and the image of an entry. An image may count for several classes, in part.
    """

    classes: NDArray[np.int64]
    right: NDArray[Any]
    sizes: NDArray[np.float64]
    images: NDArray[np.int64]


def _over_groups(share: float, error: float, groups: int, alone: float) -> tuple[float, float]:
    """Return Student's interval on the logit scale; Wilson's for so many groups `alone` where they
    show no error, or are one, which has nothing to differ from.
    """
    if error == 0 or groups < 2:
        return _wilson(share, alone)
    reach = float(special.stdtrit(groups - 1, 1 - ALPHA / 2)) * error / (share * (1 - share))
    centre = float(special.logit(share))
    low, high = (float(special.expit(centre + side * reach)) for side in (-1, 1))
    return 100 * low, 100 * high


def clustered_error(sums: NDArray[np.float64], sizes: NDArray[np.float64]) -> float:
    """Return the standard error of Σ sums / Σ sizes over groups that are drawn whole: a ratio,
    linearised.

    Source: Cochran 1977, Sampling Techniques, section 6.4.

    >>> round(clustered_error(np.array([1.0, 0, 1, 1]), np.ones(4)), 3)
    0.25
    """
    count = len(sizes)
    if count < 2:
        return math.inf
    apart = sums - sums.sum() / sizes.sum() * sizes
    return math.sqrt(count / (count - 1) * float(apart @ apart)) / float(sizes.sum())


def _wilson(share: float, count: float) -> tuple[float, float]:
    """Source: Wilson 1927, JASA 22, 209-212."""
    z = float(special.ndtri(1 - ALPHA / 2))
    shrink = 1 / (1 + z**2 / count)
    middle = shrink * (share + z**2 / (2 * count))
    reach = shrink * z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return 100 * max(0.0, middle - reach), 100 * min(1.0, middle + reach)
