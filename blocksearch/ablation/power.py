"""Computes Student's t, and the power of a number of seeds.

Spreads, effects and margins are in points. A spread is that of paired differences between seeds.
Powers are exact for normal differences: Φ averaged over 200 quantiles of the sample spread, good to
0.002.
"""

import math
from bisect import bisect_left
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy import special

from blocksearch.runs.metrics import Floats
from blocksearch.runs.plan import MOST_SEEDS

POWER = 0.8
QUANTILES = (np.arange(200) + 0.5) / 200


def two_sided(t: float, freedom: float) -> float:
    """Return the p of a t value.

    >>> round(two_sided(2.776445, 4), 6)
    0.05
    """
    return float(2 * special.stdtr(freedom, -abs(t)))


def critical(freedom: float, level: float) -> float:
    """Return the t value whose p is `level`.

    >>> round(critical(4, 0.05), 3)
    2.776
    """
    return -float(special.stdtrit(freedom, level / 2))


def smallest_effect(deviation: float, n: int, freedom: float, level: float) -> float:
    """Return the effect that n seeds decide with 80 % power at `level`, given the spread.

    `freedom` are the degrees of freedom that the spread is known by, n − 1 for its own n seeds.

    >>> [round(smallest_effect(1.0, n, n - 1, 0.05), 2) for n in (5, 8, 12, 20)]
    [1.68, 1.16, 0.89, 0.66]
    """
    return _errors_needed(freedom, level) * deviation / math.sqrt(n)


def seeds_for(effect: float, deviation: float, level: float) -> int | None:
    """Return the seeds that decide a true effect with 80 % power by their own t-test; None beyond
    1,000.

    >>> seeds_for(1.0, 1.5, 0.05)
    20
    """
    return _first(lambda n: _differs(effect, deviation, n, level))


def seeds_within(margin: float, deviation: float, level: float) -> int | None:
    """Return the seeds at which the interval lies inside ±margin with 80 % power if the true effect
    is 0; None beyond 1,000.

    >>> seeds_within(0.5, 1.4, 0.05)
    85
    """
    return _first(lambda n: _within(margin, deviation, n, level))


def spread_limits(deviation: float, freedom: float) -> tuple[float, float]:
    """Return the limits between which the true spread lies with 80 % confidence.

    >>> low, high = spread_limits(1.0, 4)
    >>> round(low, 2), round(high, 2)
    (0.72, 1.94)
    """
    low, high = (
        math.sqrt(2 * float(special.gammaincinv(freedom / 2, q)) / freedom) for q in (0.9, 0.1)
    )
    return deviation / low, deviation / high


def _first(power: Callable[[int], float]) -> int | None:
    if power(MOST_SEEDS) < POWER:
        return None
    return bisect_left(range(MOST_SEEDS + 1), True, lo=2, key=lambda n: power(n) >= POWER)


def _differs(effect: float, deviation: float, n: int, level: float) -> float:
    reach = critical(n - 1, level) * _sample_deviations(n - 1)
    return float(special.ndtr(abs(effect) * math.sqrt(n) / deviation - reach).mean())


def _within(margin: float, deviation: float, n: int, level: float) -> float:
    # The interval's reach at each quantile of the sample spread, in standard errors; given that,
    # the mean is normal.
    reach = critical(n - 1, level) * _sample_deviations(n - 1)
    room = np.maximum(margin * math.sqrt(n) / deviation - reach, 0.0)
    return float((special.ndtr(room) - special.ndtr(-room)).mean())


@lru_cache(maxsize=MOST_SEEDS)
def _sample_deviations(freedom: float) -> Floats:
    """Quantiles of the sample spread, with so many degrees of freedom, if the true one is 1."""
    return np.asarray(np.sqrt(2 * special.gammaincinv(freedom / 2, QUANTILES) / freedom))


@lru_cache(maxsize=MOST_SEEDS)
def _errors_needed(freedom: float, level: float) -> float:
    """Return the effect that is decided with 80 % power, in standard errors."""
    reach = critical(freedom, level) * _sample_deviations(freedom)
    low, high = 0.0, float(reach.max()) + 10
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        if special.ndtr(middle - reach).mean() < POWER:
            low = middle
        else:
            high = middle
    return high
