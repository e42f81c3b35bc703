"""The fixed validation split of a training set: part of a run's identity, so its rule never changes
without a new version.
"""

import numpy as np
from numpy.typing import NDArray

from blocksearch.errors import DataError

VERSION = 1
PERCENT = 20  # NAS-Bench-101 holds out 10,000 of CIFAR-10's 50,000 training images, too


def split_id(number: int, images: int | None = None) -> str:
    """Name a split in a run's identity: its share, version and number, and the cap on images."""
    cap = "" if images is None else f"-n{images}"
    return f"val{PERCENT}-v{VERSION}.{number}{cap}"


def validation_split(
    labels: NDArray[np.int64], groups: NDArray[np.int32] | None = None, number: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices to train on and those to validate on, stratified by class, the same for
    ever.

    With groups (GTSRB: frames of one physical sign are near-copies), whole groups go to one side,
    at least one of each class to validation and, where a class has two, one to training. Both
    results are ordered so that any prefix is stratified. Raises DataError where a group has two
    classes.
    """
    if groups is not None and len(np.unique(np.stack([groups, labels]), axis=1)[0]) != len(
        np.unique(groups)
    ):
        raise DataError(
            "a group of images (GTSRB: one physical sign) must belong to one class, but some belong to several"
        )
    # RandomState's stream is frozen by numpy's policy (NEP 19); that of Generator is not.
    random = np.random.RandomState(number)
    units = np.arange(len(labels), dtype=np.int64) if groups is None else groups.astype(np.int64)
    held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.unique(units[labels == label])
        count = (
            max(1, round(len(members) * PERCENT / 100))
            if len(members) > 1
            else int(groups is not None)
        )
        chosen = members[random.permutation(len(members))[:count]]
        held_out |= (labels == label) & np.isin(units, chosen)
    training, validation = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    return _interleaved(training, labels, random), _interleaved(validation, labels, random)


def _interleaved(
    indices: NDArray[np.int64], labels: NDArray[np.int64], random: np.random.RandomState
) -> NDArray[np.int64]:
    """Shuffle, then order by each index's relative rank within its class, so that every prefix has
    the classes' shares.
    """
    shuffled = indices[random.permutation(len(indices))]
    ranks = np.empty(len(shuffled))
    for label in np.unique(labels[shuffled]):
        places = np.flatnonzero(labels[shuffled] == label)
        ranks[places] = (np.arange(len(places)) + 0.5) / len(places)
    return shuffled[np.argsort(ranks, kind="stable")]
