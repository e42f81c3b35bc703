"""A user's own images, handed over as arrays: kept where decoded data sets are, under a name that
says what they are.

The name holds what a network must know, so that workers and later commands need nothing else:
`own-3x32x32-10-4f2a…` has images of 3×32×32 in 10 classes.
"""

import re

import numpy as np
from numpy.typing import NDArray

from blocksearch.arch.layers import Shape
from blocksearch.arch.network import Task
from blocksearch.data.readers import Arrays
from blocksearch.errors import DataError

WIDTHS = (8, 16, 32)  # of named points, where a space has no say
EPOCHS = 10
_NAME = re.compile(
    r"own-([0-9]{1,3})x([0-9]{1,5})x([0-9]{1,5})-([0-9]{1,5})-[0-9a-f]{16}", re.ASCII
)


def own_task(name: str) -> Task | None:
    """Return what the name of a user's images says of them, or None for another name."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    channels, height, width, classes = map(int, found.groups())
    return Task(input=Shape(channels, height, width), widths=WIDTHS, classes=classes)


def own_split(
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
    groups: NDArray[np.integer] | None = None,
) -> Arrays:
    """Check images N×H×W×C uint8, labels N from 0, and groups N of images that must not be divided.
    Raises DataError.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim != 4 or images.dtype != np.uint8:
        raise DataError(
            f"images must be N×H×W×C whole numbers of 8 bits (uint8), but got {images.dtype} of shape {images.shape}"
        )
    if images.shape[3] > 4 >= images.shape[1]:
        raise DataError(
            f"images must be N×H×W×C, but {images.shape} looks like N×C×H×W: images.transpose(0, 2, 3, 1)"
        )
    _check_whole("labels", labels, len(images))
    if groups is not None:
        _check_whole("groups", np.asarray(groups), len(images))
    possible = len(labels) and labels.min() >= 0 and labels.max() < len(labels)
    counts = np.bincount(labels) if possible else np.zeros(0)
    if len(counts) < 2 or counts.min() < 2:
        raise DataError("labels must be 0, 1, … with at least two classes and two images of each")
    kept = None if groups is None else np.ascontiguousarray(groups, np.int32)
    return Arrays(np.ascontiguousarray(images), np.ascontiguousarray(labels, np.int64), kept)


def own_name(split: Arrays, digest: str) -> str:
    """Name a user's images by their shape, classes and digest."""
    _, height, width, channels = split.images.shape
    return f"own-{channels}x{height}x{width}-{int(split.labels.max()) + 1}-{digest[:16]}"


def _check_whole(what: str, values: NDArray[np.integer], count: int) -> None:
    if values.shape != (count,) or not np.issubdtype(values.dtype, np.integer):
        raise DataError(
            f"{what} must be {count} whole numbers, one an image, but got {values.dtype} of shape {values.shape}"
        )
