"""Estimates the error of an effect over several validation splits of the same images.

Every seed trains on every split, so a difference has a part of its split, a part of its seed on all
splits, and a rest. Splits share images and are no independent draws: the variance of their mean is
(1/J + r)·S² instead of S²/J, for J splits of which r images are judged for each that is learnt
from. What a seed does on all splits stays however many splits there are, so it is added. No
interval is narrower than that over splits alone, or over seeds alone.

Source: Nadeau and Bengio 2003, Machine Learning 52, 239-281, for 1/J + r; Bouckaert and Frank 2004,
PAKDD, 3-12, for its use over repeated splits; Satterthwaite 1946, Biometrics Bull. 2, 110-114, for
the degrees of freedom of a sum.
"""

import math

from blocksearch.ablation.flips import smallest_flip
from blocksearch.ablation.moderation import PairedMean
from blocksearch.ablation.power import two_sided
from blocksearch.runs.metrics import RESOLUTION, Floats, spread


def crossed(differences: Floats, overlap: float) -> PairedMean:
    """Estimate an effect from differences of n seeds on J splits, n×J, both at least 2.

    Without any spread the p is the sign flip's of the seeds.

    >>> import numpy as np
    >>> found = crossed(np.array([[1.0, 2.0], [1.5, 2.5], [0.5, 1.5]]), 0.25)
    >>> found.mean, round(found.error, 3), round(found.p, 3)
    (1.5, 0.677, 0.247)
    """
    n, splits = differences.shape
    mean = float(differences.mean())
    by_seed, by_split = (differences.mean(axis) for axis in (1, 0))
    rest = differences - by_seed[:, None] - by_split + mean
    noise = float((rest**2).sum()) / ((n - 1) * (splits - 1))
    over_splits = spread(by_split) ** 2 * (1 / splits + overlap)
    over_seeds = spread(by_seed) ** 2 / n
    shared = max(0.0, over_seeds - noise / (splits * n))
    joint = over_splits + shared
    if joint == 0:
        p = 1.0 if abs(mean) <= RESOLUTION else smallest_flip(n)
        return PairedMean(n=n, mean=mean, error=0.0, freedom=n - 1, p=p, p_own=p)
    freedom = joint**2 / (over_splits**2 / (splits - 1) + shared**2 / (n - 1))
    every = [
        (math.sqrt(variance), own)
        for variance, own in ((joint, freedom), (over_splits, splits - 1), (over_seeds, n - 1))
    ]
    p = max(two_sided(mean / error, own) for error, own in every if error)
    (error, own), *also = every
    return PairedMean(n=n, mean=mean, error=error, freedom=own, p=p, p_own=p, also=tuple(also))
