"""Tests paired differences by sign flips, which assume nothing about their distribution."""

import numpy as np

from blocksearch.runs.metrics import RESOLUTION, Floats

MOST_FLIPPED = 20  # seeds up to which all 2ⁿ sign flips are enumerated


def smallest_flip(n: int) -> float:
    """Return the least p that a sign flip of n differences has."""
    return 2.0 ** (1 - n)


def sign_flip_p(differences: Floats) -> float | None:
    """Return the exact two-sided p of the mean under flips of each pair's sign; None beyond 20
    seeds, where 2ⁿ is too many.
    """
    n = len(differences)
    if not 1 <= n <= MOST_FLIPPED:
        return None
    # Sums over all sign choices, doubled seed by seed; rounding must not make a flip smaller than
    # the data it equals.
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums + difference, sums - difference])
    observed = abs(float(differences.sum()))
    return float(
        np.mean(np.abs(sums) >= observed - RESOLUTION * max(1.0, float(np.abs(differences).sum())))
    )
