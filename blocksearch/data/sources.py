"""Streams a user's images from picture files, arrays, a Dataset of PyTorch's, or any iterable of
(image, label). No more than a few images are in memory at once.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from operator import index
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from blocksearch.data.arrays import MOST_CHANNELS
from blocksearch.data.datasets import Arrays, one_line
from blocksearch.data.listings import ListedPicture, Listing, Purpose
from blocksearch.data.pictures import Pixels, from_pillow, picture, quietly
from blocksearch.errors import DataError

Made = TypeVar("Made", covariant=True)
AT_ONCE = 32  # pictures that are opened in parallel, and wait for their turn


@dataclass(frozen=True, kw_only=True)
class Sample(Generic[Made]):
    """An image as something was made of it, or None and the `damage` for which it cannot be read.

    `label` is the class's name, or its number.
    """

    name: str
    made: Made | None
    label: str | int
    part: Purpose
    group: Any = None
    damage: str = ""


class ImageSource:
    """Images of a user's own; `what` is how messages call them and `title` how titles do, `count`
    how many there are if that is known. What has a `stamp` need not be read again while the stamp
    is the same. `classes` are the names in the order of labels, where the source says so.
    """

    what: str
    title = "your own"
    count: int | None = None
    stamp: str | None = None
    classes: tuple[str, ...] | None = None

    def samples(self, make: Callable[[Pixels, str], Made]) -> Iterator[Sample[Made]]:
        """Yield what `make` makes of each image, H×W×C uint8, and of its name, in an order that
        stays the same.
        """
        raise NotImplementedError


class PictureSource(ImageSource):
    """The picture files of a listing, opened in parallel."""

    def __init__(self, found: Listing) -> None:
        self.what = self.title = found.what
        self.count, self.stamp = len(found.entries), found.stamp
        own = {e.label for e in found.entries if e.label and e.part is not Purpose.TEST}
        self.classes = tuple(sorted(own))
        self._entries = found.entries

    def samples(self, make: Callable[[Pixels, str], Made]) -> Iterator[Sample[Made]]:
        def opened(each: ListedPicture) -> Sample[Made]:
            if each.damage:
                return _sample(each, None, each.damage)
            try:
                return _sample(each, make(picture(each.path), str(each.path)))
            except DataError as error:
                return _sample(each, None, str(error))

        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
        entries = iter(self._entries)
        with quietly(), ThreadPoolExecutor(workers) as pool:
            while some := list(islice(entries, AT_ONCE)):
                yield from pool.map(opened, some)


def _sample(each: ListedPicture, made: Made | None, damage: str = "") -> Sample[Made]:
    return Sample(
        name=str(each.path),
        made=made,
        label=each.label,
        part=each.part,
        group=each.group,
        damage=damage,
    )


class ArraySource(ImageSource):
    """Checked arrays, image by image."""

    def __init__(self, arrays: Arrays, what: str) -> None:
        self.what, self._arrays, self.count = what, arrays, len(arrays.labels)

    def samples(self, make: Callable[[Pixels, str], Made]) -> Iterator[Sample[Made]]:
        own = self._arrays
        for k, (pixels, label) in enumerate(zip(own.images, own.labels, strict=True)):
            held = own.held is not None and own.held[k]
            part = Purpose.VALIDATION if held else Purpose.TRAIN
            group = None if own.groups is None else int(own.groups[k])
            name = f"{self.what}: image {k}"
            yield Sample(
                name=name, made=make(pixels, name), label=int(label), part=part, group=group
            )


class ItemSource(ImageSource):
    """A Dataset of PyTorch's, or any iterable of (image, label) or (image, label, group).

    An image is a picture of pillow's, an array H×W×C or H×W, or a tensor C×H×W; numbers are uint8,
    or floats from 0 to 1.
    """

    def __init__(self, given: Any, what: str) -> None:
        self._given, self.what = given, what
        self._indexed = hasattr(given, "__getitem__") and hasattr(given, "__len__")
        if self._indexed:
            self.count = len(given)
        names = getattr(given, "classes", None)
        named = isinstance(names, list | tuple) and all(isinstance(each, str) for each in names)
        self.classes = tuple(names) if named and names else None

    def samples(self, make: Callable[[Pixels, str], Made]) -> Iterator[Sample[Made]]:
        found = self._by_index() if self._indexed else self._in_turn()
        for number, item in enumerate(found):
            where = f"{self.what}: item {number}"
            if isinstance(item, DataError):
                yield Sample(name=where, made=None, label=0, part=Purpose.TRAIN, damage=str(item))
                continue
            image, label, group = _parts_of(item, where)
            yield Sample(
                name=where,
                made=make(_pixels(image, where), where),
                label=label,
                part=Purpose.TRAIN,
                group=group,
            )

    def _by_index(self) -> Iterator[Any]:
        for number in range(self.count or 0):
            try:
                yield self._given[number]
            except Exception as error:  # a user's own code may raise anything
                yield self._trouble(number, error)

    def _in_turn(self) -> Iterator[Any]:
        items, number = iter(self._given), 0
        while True:
            try:
                item = next(items)
            except StopIteration:
                return
            except Exception as error:  # nothing comes after it
                raise self._trouble(number, error) from error
            yield item
            number += 1

    def _trouble(self, number: int, error: Exception) -> DataError:
        return DataError(
            f"{self.what}: item {number} could not be read: {type(error).__name__}: "
            f"{one_line(error)}"
        )


def _parts_of(item: Any, where: str) -> tuple[Any, str | int, Any]:
    """Take an item apart. Raises DataError if it is none."""
    if not isinstance(item, tuple | list) or len(item) not in (2, 3):
        raise DataError(
            f"{where} must be (image, label) or (image, label, group), but is a "
            f"{type(item).__name__}"
        )
    image, label, *group = item
    if not isinstance(label, str):
        try:
            label = index(label)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{where}: a label must be a whole number or the name of a class, but got "
                f"{str(label)[:50]!r}"
            ) from error
        if label < 0:
            raise DataError(f"{where}: a label must not be negative, but is {label}")
    return image, label, (group[0] if group else None)


def _pixels(image: Any, where: str) -> Pixels:
    """Return an image as H×W×C uint8. Raises DataError for what is none."""
    if hasattr(image, "getbands"):
        return from_pillow(image, Path(where))
    tensor = hasattr(image, "detach")
    found = np.asarray(image.detach().cpu() if tensor else image)
    if found.ndim == 2:
        found = found[None] if tensor else found[..., None]
    if found.ndim != 3 or not found.size:
        form = "C×H×W" if tensor else "H×W×C"
        raise DataError(f"{where}: an image must be {form}, but is of shape {found.shape}")
    if tensor:
        found = found.transpose(1, 2, 0)
    if found.shape[2] > MOST_CHANNELS:
        advice = ": transpose it to H×W×C" if found.shape[0] <= MOST_CHANNELS else ""
        raise DataError(
            f"{where}: an image must have 1 to {MOST_CHANNELS} channels, but has {found.shape[2]}"
            f"{advice}"
        )
    if np.issubdtype(found.dtype, np.floating):
        if not (found.min() >= 0 and found.max() <= 1):  # nor is it if one is no number
            raise DataError(
                f"{where}: floats must be 0 to 1, before any normalisation, but are "
                f"{found.min():.3g} to {found.max():.3g}"
            )
        found = np.rint(found * 255).astype(np.uint8)
    if found.dtype != np.uint8:
        raise DataError(
            f"{where}: pixels must be uint8, or floats from 0 to 1, but are {found.dtype}"
        )
    return found


def is_items(given: object) -> bool:
    """Return whether something is a Dataset or an iterable of items, and not a pair of arrays."""
    if isinstance(given, str | bytes | Path | Arrays | np.ndarray | np.generic | tuple | type):
        return False
    if isinstance(given, list):
        return bool(given) and isinstance(given[0], tuple | list)
    return isinstance(given, Iterable) or hasattr(given, "__getitem__")
