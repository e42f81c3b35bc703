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
RESAMPLES = 2000
RESAMPLING_SEED = 20180119


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
    near-copies) it is the percentile bootstrap over whole groups, 2,000 resamples with a fixed
    seed; if all groups are equally right, a bootstrap would have no width, so it is Wilson's
    with groups for images. Raises ConfigError without images, or where lengths differ.
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
    sizes, right = np.bincount(members), np.bincount(members, weights=bits)
    if np.ptp(right / sizes) <= RESOLUTION:
        return _wilson(float(bits.mean()), sizes.size, alpha)
    random = np.random.default_rng(RESAMPLING_SEED)
    draws = (random.integers(sizes.size, size=sizes.size) for _ in range(RESAMPLES))
    low, high = np.quantile(
        [right[draw].sum() / sizes[draw].sum() for draw in draws], [alpha / 2, 1 - alpha / 2]
    )
    return 100 * float(low), 100 * float(high)


def _wilson(share: float, count: int, alpha: float) -> tuple[float, float]:
    """Source: Wilson 1927, JASA 22, 209-212."""
    z = float(special.ndtri(1 - alpha / 2))
    shrink = 1 / (1 + z**2 / count)
    middle = shrink * (share + z**2 / (2 * count))
    reach = shrink * z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return 100 * max(0.0, middle - reach), 100 * min(1.0, middle + reach)
