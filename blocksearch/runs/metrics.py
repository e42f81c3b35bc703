"""What stored bits and accuracies of runs say: an accuracy's interval over images, over groups of
images, and over seeds.

Accuracies are in percent.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from blocksearch.errors import ConfigError

ALPHA = 0.05
RESOLUTION = 1e-9  # points, and share of the data's size: below it a difference is rounding


def mean_interval(values: Sequence[float], alpha: float = ALPHA) -> tuple[float, float] | None:
    """Return Student's interval of a mean accuracy over seeds, in percent, between 0 and 100.

    None below two seeds, and if all are equal, because there is no spread to measure.

    >>> low, high = mean_interval([90.0, 91.0, 92.0])
    >>> round(low, 2), round(high, 2)
    (88.52, 93.48)
    """
    if len(values) < 2 or spread(np.array(values, float)) == 0:
        return None
    half = (
        float(special.stdtrit(len(values) - 1, 1 - alpha / 2))
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
    bits: NDArray[np.bool_], groups: NDArray[Any] | None = None, *, alpha: float = ALPHA
) -> tuple[float, float]:
    """Return the 1 − α interval of one run's accuracy, in percent, over what other images might
    have given.

    Without groups it is Wilson's. With one group label per image (tracks whose frames are
    near-copies) it is Student's over whole groups, by the linearised error of a ratio on the logit
    scale; if all groups are equally right there is no such error, and it is Wilson's with
    groups for images. Raises ConfigError without images, or where lengths differ.

    >>> low, high = accuracy_interval(np.arange(400) % 4 > 0, np.arange(400) // 10 * 7 % 30)
    >>> round(low, 1), round(high, 1)
    (72.9, 77.0)
    """
    if bits.size == 0:
        raise ConfigError("an accuracy needs at least one evaluated image, but there is none")
    if groups is None:
        return _wilson(float(bits.mean()), bits.size, alpha)
    if len(groups) != len(bits):
        raise ConfigError(
            f"each image needs one group, but there are {len(bits)} images and {len(groups)} groups"
        )
    members = np.unique(groups, return_inverse=True)[1]
    weights = (np.ones(bits.size), bits)
    sizes, right = (np.bincount(members, own).astype(np.float64) for own in weights)
    share = float(bits.mean())
    error = 0.0 if np.ptp(right / sizes) <= RESOLUTION else clustered_error(right, sizes)
    if error == 0:
        return _wilson(share, sizes.size, alpha)
    reach = float(special.stdtrit(sizes.size - 1, 1 - alpha / 2)) * error / (share * (1 - share))
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


def _wilson(share: float, count: int, alpha: float) -> tuple[float, float]:
    """Source: Wilson 1927, JASA 22, 209-212."""
    z = float(special.ndtri(1 - alpha / 2))
    shrink = 1 / (1 + z**2 / count)
    middle = shrink * (share + z**2 / (2 * count))
    reach = shrink * z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return 100 * max(0.0, middle - reach), 100 * min(1.0, middle + reach)
