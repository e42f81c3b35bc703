"""Successive halving for several objectives: of the networks that came to a rung, the best by
Pareto rank are trained further.

Costs are known exactly, so only accuracy is raced: a network is held against those that cost no
more. What is raced is the accuracy that the model expects at the horizon, which knows how much of a
single early result is noise.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from blocksearch.search.objectives import Floats, ranks

SHARE = 3  # one of so many goes on from a rung


def promoted(
    rung: Mapping[int, float], reached: Mapping[int, int], epochs: int, costs: Floats
) -> int | None:
    """Return the row to take further from a rung at `epochs`, or None where no more have earned it.

    `rung` holds the accuracies (percent) that are raced by row, `reached` the epochs that each row
    has or is on its way to, `costs` those of each row of `rung`, N × costs.
    """
    rows = list(rung)
    accuracies = np.array([rung[row] for row in rows])
    order = best_first(accuracies, costs)[: len(rows) // SHARE]
    return next((rows[place] for place in order if reached[rows[place]] <= epochs), None)


def best_first(accuracies: Floats, costs: Floats) -> Sequence[int]:
    """Order networks by Pareto rank, and within a rank by how far they are above the best that
    costs no more.
    """
    if not len(accuracies):
        return []
    cheaper = (costs[None, :, :] <= costs[:, None, :]).all(2) & ~np.eye(len(costs), dtype=bool)
    rival = np.where(cheaper, accuracies[None, :], 0.0).max(1, initial=0.0)
    order = np.lexsort((rival - accuracies, ranks(np.column_stack([accuracies, costs]))))
    return [int(place) for place in order]
