"""Finds runs that collapsed, which are too far below the others of their network to be noise."""

from collections.abc import Mapping
from statistics import median, median_low

import numpy as np

from blocksearch.ablation.moderation import Name
from blocksearch.runs.metrics import ALPHA, spread

LEAST = 5.0  # points below a network's median
TIMES = 5.0  # of the median spread of networks; less than one in 10,000 normal samples of five


def collapsed(
    accuracies: Mapping[Name, Mapping[int, float]], least: float = LEAST
) -> dict[Name, tuple[int, ...]]:
    """Return the seeds of each network that collapsed, given accuracies by network and seed. A run
    that is less than `least` below its network's median has not.

    >>> runs = {"a": {0: 90.0, 1: 91.0, 2: 70.0}, "b": {0: 88.0, 1: 88.5, 2: 88.0}}
    >>> collapsed(runs)
    {'a': (2,)}
    """
    own = {name: each for name, each in accuracies.items() if len(each) >= 2}
    if not own:
        return {}
    # of two networks the lower: the other may be the one that collapsed
    usual = median_low(spread(np.array(list(each.values()))) for each in own.values())
    depth = max(least, TIMES * usual)
    found = {
        name: tuple(s for s, value in each.items() if value < median(each.values()) - depth)
        for name, each in own.items()
    }
    return {name: seeds for name, seeds in found.items() if seeds}


def unseen(n: int) -> float:
    """Return the largest share of collapses that n runs without one cannot exclude (95 %).

    >>> [round(unseen(n), 2) for n in (5, 8, 12, 20)]
    [0.45, 0.31, 0.22, 0.14]
    """
    return 1 - float(ALPHA ** (1 / n))
