"""Chooses the groups that a validation split holds out, if groups have several classes."""

import numpy as np
from numpy.typing import NDArray

DRAWS = 4  # more would come to the same groups for every number of a split


def held_out_groups(
    labels: NDArray[np.int64],
    groups: NDArray[np.int32],
    share: float,
    random: np.random.RandomState,
) -> NDArray[np.bool_]:
    """Hold out groups that may have several classes: of a few draws the one that leaves the most
    classes on both sides, and of those the nearest to the share of every class and of all images.
    """
    classes = np.unique(labels, return_inverse=True)[1]
    members = np.unique(groups, return_inverse=True)[1]
    counts = np.zeros((members.max() + 1, classes.max() + 1))
    np.add.at(counts, (members, classes), 1)
    draws = [_drawn(counts, share, random.permutation(len(counts))) for _ in range(DRAWS)]
    lacking = [int((counts[chosen].sum(0) == 0).sum()) for chosen in draws]
    apart = [_apart(counts[chosen].sum(0), counts.sum(0), share) for chosen in draws]
    best = min(range(DRAWS), key=lambda k: (lacking[k], apart[k]))
    found: NDArray[np.bool_] = draws[best][members]
    return found


def _drawn(
    counts: NDArray[np.float64], share: float, order: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Take groups (rows; columns are classes) in an order, each that brings the held-out shares
    nearer to what they should be; then one for each class that has none; and give those back
    without which it is nearer.

    No group leaves a class without an image to learn from.
    """
    totals = counts.sum(0)
    held, chosen = np.zeros(len(totals)), np.zeros(len(counts), bool)

    def nearer(now: NDArray[np.float64]) -> bool:
        before = _apart(held, totals, share)
        return bool((now < totals).all()) and _apart(now, totals, share) < before

    for group in order:
        if nearer(held + counts[group]):
            held, chosen[group] = held + counts[group], True
    for label in np.flatnonzero(held == 0):
        for group in order:
            if not held[label] and counts[group, label] and (held + counts[group] < totals).all():
                held, chosen[group] = held + counts[group], True
    for group in order[chosen[order]]:  # of which those that came last may make it too many
        without = held - counts[group]
        if nearer(without) and ((without > 0) | (held == 0)).all():
            held, chosen[group] = without, False
    return chosen


def _apart(held: NDArray[np.float64], totals: NDArray[np.float64], share: float) -> float:
    """Return how far held-out images are from their share, of each class and of all."""
    of_all = held.sum() / totals.sum() - share
    return float(((held / totals - share) ** 2).mean() + of_all**2)
