"""Checks of images, labels and groups that a user hands over: each error names the argument, the
rule and the value.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from blocksearch.data.config import SIDES, suits
from blocksearch.data.datasets import Arrays, times
from blocksearch.errors import ConfigError, DataError

Handed: TypeAlias = Arrays | tuple[Any, ...]  # (images, labels) or (images, labels, groups)
MOST_CHANNELS = 16
_RULE = "labels must be 0, 1, … without gaps"


def own_arrays(handed: Handed, argument: str = "dataset") -> Arrays:
    """Check images to train on: N×H×W×C or N×H×W uint8, labels 0, 1, … without gaps, and groups of
    images that must not be divided, or None. Each class has two images, one to learn from and one
    to validate on; two groups where there are groups.

    Raises DataError or ConfigError that names `argument`, the rule and the value.
    """
    found = checked(handed, argument)
    check_sides(found.images.shape[1:3], argument)
    check_classes(found, argument)
    return found


def check_sides(sides: Sequence[int], where: str) -> None:
    """Raise ConfigError unless networks here are for images of that height and width."""
    if not suits(sides):
        raise ConfigError(
            f"{where}: images must be {SIDES[0]} to {SIDES[1]} pixels a side, but one is "
            f"{times(sides)}: resize brings all to one size, such as 64x64"
        )


def check_classes(found: Arrays, argument: str, names: Sequence[str] = ()) -> None:
    """Raise DataError unless each class can be learned and validated; `names` are the classes'."""
    labels, groups, held = found.labels, found.groups, found.held
    if not names and labels.max() >= len(labels):
        raise DataError(f"{argument}: {_RULE}, but one of {len(labels):,} is {labels.max()}")
    if labels.max() == 0:
        only = repr(names[0]) if names else "0"
        raise DataError(
            f"{argument}: there must be at least two classes, but all labels are {only}"
        )
    counts = np.bincount(labels, minlength=len(names))
    if not counts.all():
        rule = "each class has images" if names else _RULE
        lacking = _named(int(counts.argmin()), names)
        raise DataError(f"{argument}: {rule}, but no image has {lacking}")
    if held is not None:
        learned = np.bincount(labels[~held], minlength=len(counts))
        if not learned.all():
            lacking = _named(int(learned.argmin()), names)
            raise DataError(f"{argument}: class {lacking} has validation images, but none to learn")
        return
    what = "images"
    if groups is not None:
        pairs = np.unique(np.stack([groups.astype(np.int64), labels]), axis=1)
        counts, what = np.bincount(pairs[1]), "groups"
    if counts.min() < 2:
        raise DataError(
            f"{argument}: each class must have two {what}, one to learn from and one to validate "
            f"on, but class {_named(int(counts.argmin()), names)} has 1"
        )


def _named(label: int, names: Sequence[str]) -> str:
    return repr(names[label]) if names else str(label)


def own_test_arrays(handed: Handed, training: Arrays, argument: str = "test") -> Arrays:
    """Check test images beside their training images: the same shape, and no class that is not
    learned. Classes may be missing, and one image of a class is enough. Raises DataError.
    """
    found = checked(handed, argument)
    if found.images.shape[1:] != training.images.shape[1:]:
        raise DataError(
            f"{argument}: images must be {times(training.images.shape[1:])} as the training "
            f"images are, but are {times(found.images.shape[1:])}"
        )
    strange = np.flatnonzero(found.labels > training.labels.max())
    if strange.size:
        raise DataError(
            f"{argument}: labels must be 0 to {training.labels.max()} as those of the training "
            f"images are, but image {strange[0]} has {found.labels[strange[0]]}"
        )
    return found


def check_groups(training: Handed, test: Handed) -> None:
    """Raise DataError if training and test images are of one group."""
    own, other = (
        each.groups if isinstance(each, Arrays) else (*each, None)[2] for each in (training, test)
    )
    if own is None or other is None:
        return
    both = np.intersect1d(np.asarray(own).astype(str), np.asarray(other).astype(str))
    if both.size:
        raise DataError(
            f"test: a group must be on one side, but {both.size:,} are divided; the first: "
            f"{str(both[0])[:50]!r} is in train and in test"
        )


def checked(handed: object, argument: str) -> Arrays:
    """Check what holds for training and test images alike. Raises DataError."""
    if isinstance(handed, Arrays):
        handed = (handed.images, handed.labels, handed.groups)
    if not isinstance(handed, tuple | list) or len(handed) not in (2, 3):
        raise DataError(
            f"{argument}: must be arrays (images, labels) or (images, labels, groups), but got "
            f"{type(handed).__name__}"
        )
    try:
        images, labels = np.asarray(handed[0]), np.asarray(handed[1])
    except Exception as error:  # a tensor that has a gradient, or is on another device
        raise DataError(f"{argument}: no arrays of images and labels: {error}") from error
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.dtype != np.uint8 or not images.size:
        advice = ": (255 * images).round().astype('uint8')" if images.dtype.kind == "f" else ""
        raise DataError(
            f"{argument}: images must be N×H×W×C whole numbers of 8 bits (uint8), but got "
            f"{images.dtype} of shape {np.shape(handed[0])}{advice}"
        )
    if images.shape[3] > 4 >= images.shape[1]:
        raise DataError(
            f"{argument}: images must be N×H×W×C, but {images.shape} looks like N×C×H×W: "
            "images.transpose(0, 2, 3, 1)"
        )
    if images.shape[3] > MOST_CHANNELS:
        raise DataError(
            f"{argument}: images must have 1 to {MOST_CHANNELS} channels, but have "
            f"{images.shape[3]}"
        )
    if labels.shape == (len(images), 1):  # as some files have them
        labels = labels[:, 0]
    _check_whole(f"{argument}: labels", labels, len(images))
    if labels.min() < 0:
        raise DataError(f"{argument}: {_RULE}, but image {labels.argmin()} has {labels.min()}")
    if labels.max() >= 2**31:  # where some kinds of whole numbers end
        raise DataError(f"{argument}: {_RULE}, but one of {len(labels):,} is {labels.max()}")
    groups = handed[2] if len(handed) == 3 else None
    if groups is not None:
        groups = numbered(np.asarray(groups), len(images), argument)
    return Arrays(
        np.ascontiguousarray(images), np.ascontiguousarray(labels, np.int64), groups=groups
    )


def numbered(groups: NDArray[Any], count: int, argument: str) -> NDArray[np.int32]:
    """Return groups as numbers; they may be any whole numbers, or words. Raises DataError."""
    if groups.dtype.kind in "US" and groups.shape == (count,):
        groups = np.unique(groups, return_inverse=True)[1]
    _check_whole(f"{argument}: groups", groups, count)
    if abs(groups.astype(np.float64)).max() >= 2**31:  # names of groups, so any others do
        groups = np.unique(groups, return_inverse=True)[1]
    return np.ascontiguousarray(groups, np.int32)


def _check_whole(what: str, values: NDArray[Any], count: int) -> None:
    if values.shape != (count,) or not np.issubdtype(values.dtype, np.integer):
        raise DataError(
            f"{what} must be {count:,} whole numbers, one an image, but got {values.dtype} of "
            f"shape {values.shape}"
        )
