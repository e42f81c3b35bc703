"""Numbers labels and groups of a user's images, part by part, and refuses what is wrong with them
in one line, whether images are trained on or only looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blocksearch.data.arrays import check_classes, numbered
from blocksearch.data.datasets import Arrays
from blocksearch.data.listings import Purpose
from blocksearch.data.sources import ImageSource
from blocksearch.errors import DataError, near


@dataclass(kw_only=True)
class Given:
    """What is said of images of one store, as they come in."""

    labels: list[str | int] = field(default_factory=list)
    groups: list[Any] = field(default_factory=list)
    parts: list[Purpose] = field(default_factory=list)

    def add(self, label: str | int, group: Any, part: Purpose) -> None:
        """Take in what is said of one image."""
        self.labels.append(label)
        self.groups.append(group)
        self.parts.append(part)


def numbered_parts(
    sources: Sequence[ImageSource], train: Given, test: Given
) -> tuple[dict[str, Arrays], tuple[str, ...]]:
    """Return labels and groups of each part as numbers, without any pixels, and the classes' names.

    Raises DataError for what cannot be learned, validated or tested.
    """
    what, none = sources[0].what, np.zeros((0, 1, 1, 1), np.uint8)
    labels, classes = _numbers(train.labels, sources[0])
    groups = _groups([*train.groups, *test.groups], what)
    held = np.array([part is Purpose.VALIDATION for part in train.parts], bool)
    count = len(labels)
    own = None if groups is None else groups[:count]
    found = Arrays(none, labels, groups=own, held=held if held.any() else None)
    check_classes(found, what, classes)
    if groups is not None:
        _check_whole_groups(train, test, what)
    parts = {"train": found}
    if test.labels:
        numbers = _test_numbers(test.labels, sources[-1].what, classes, int(labels.max()) + 1)
        parts["test"] = Arrays(none, numbers, groups=None if groups is None else groups[count:])
    return parts, classes


def _check_whole_groups(train: Given, test: Given, what: str) -> None:
    parts = [*train.parts, *[Purpose.TEST] * len(test.labels)]
    sides: dict[str, Purpose] = {}
    divided: dict[str, Purpose] = {}
    for group, part in zip([*train.groups, *test.groups], parts, strict=True):
        if sides.setdefault(str(group), part) is not part:
            divided.setdefault(str(group), part)
    if divided:
        group, part = next(iter(divided.items()))
        raise DataError(
            f"{what}: a group must be on one side, but {len(divided):,} of {len(sides):,} are "
            f"divided; the first: {group[:50]!r} is in {sides[group]} and in {part}"
        )


def _numbers(
    labels: Sequence[str | int], source: ImageSource
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    words = {each for each in labels if isinstance(each, str)}
    if not words:
        names = source.classes or ()
        if (most := max(map(int, labels))) >= 2**31:  # more than there can be classes
            raise DataError(
                f"{source.what}: labels must be 0, 1, … without gaps, but one of "
                f"{len(labels):,} is {most}"
            )
        found = np.array(labels, np.int64)
        if names and found.max() >= len(names):
            raise DataError(
                f"{source.what}: there are {len(names)} classes, but an image has {found.max()}"
            )
        return found, names
    if len(words) < len(set(labels)):
        raise DataError(f"{source.what}: labels must be numbers or names, but are both")
    classes = source.classes or tuple(sorted(words))
    if strange := sorted(words - set(classes)):
        raise DataError(
            f"{source.what}: classes are {', '.join(classes)}, but one is {strange[0]!r}"
        )
    place = {name: k for k, name in enumerate(classes)}
    return np.array([place[str(each)] for each in labels], np.int64), classes


def _test_numbers(
    labels: Sequence[str | int], what: str, classes: Sequence[str], count: int
) -> NDArray[np.int64]:
    """Return test labels by the training images' classes. Raises DataError for a strange one."""
    place = {name: k for k, name in enumerate(classes)}
    found = []
    for each in labels:
        number = place.get(each, -1) if isinstance(each, str) else each
        if not 0 <= number < count:
            raise DataError(
                f"{what}: test images must be of classes that are learned, but one is of {each!r}"
                f"{near(str(each), classes)}"
            )
        found.append(number)
    return np.array(found, np.int64)


def _groups(names: Sequence[Any], what: str) -> NDArray[np.int32] | None:
    if all(name is None for name in names):
        return None
    if any(name is None for name in names):
        raise DataError(
            f"{what}: each image must have a group, but image {names.index(None)} has none"
        )
    return numbered(np.array([str(name) for name in names]), len(names), what)
