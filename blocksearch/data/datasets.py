"""Data sets: what one is, those that are known by name, and a user's own images.

A data set is added in one place: a subclass of `Dataset` with `read`, and one call of `register`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from blocksearch.arch.layers import Shape
from blocksearch.arch.network import Task
from blocksearch.arch.zoo import TASKS
from blocksearch.errors import ConfigError, DataError, unknown

PARTS = ("train", "test")
ARRAYS = ("images", "labels", "groups")
OWN_WIDTHS = (8, 16, 32)  # of reference networks, where a space has no say
_OWN = re.compile(r"own-([0-9]{1,3})x([0-9]{1,5})x([0-9]{1,5})-([0-9]{1,5})-[0-9a-f]{16}", re.ASCII)


DEFAULT = "digits"  # needs no files: what is trained on unless a data set is named


@dataclass(frozen=True)
class Arrays:
    """Images N×H×W×C uint8, labels N int64 from 0, and groups N int32 or None: images of one group
    (GTSRB: of one physical sign) are never divided by a split.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    groups: NDArray[np.int32] | None = None


def named(arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Return the arrays that are there, by name."""
    found = {name: getattr(arrays, name) for name in ARRAYS}
    return {name: array for name, array in found.items() if array is not None}


def digest(arrays: Arrays) -> str:
    """Digest images, labels and groups: the identity of the data in every run.

    >>> digest(Arrays(np.zeros((2, 1, 1, 1), np.uint8), np.arange(2)))[:16]
    '873a277185ff4378'
    """
    whole = sha256()
    for name, array in named(arrays).items():
        whole.update(f"{name}:{array.dtype.str}:{array.shape}:".encode())
        whole.update(np.ascontiguousarray(array).data)
    return whole.hexdigest()


def prints(images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return a number an image, equal for equal images: 8 bytes of a digest of its pixels.

    >>> len(set(prints(np.array([7, 8, 7], np.uint8).reshape(3, 1, 1, 1))))
    2
    """
    found = b"".join(blake2b(x.tobytes(), digest_size=8).digest() for x in images)
    return np.frombuffer(found, np.uint64)


Handed: TypeAlias = Arrays | tuple[Any, ...]  # (images, labels) or (images, labels, groups)


@dataclass(frozen=True)
class Archive:
    """A published file: its URL, its MD5, and the folder under the data root for its contents."""

    url: str
    md5: str
    folder: str = "."

    @property
    def file_name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set known by name. Subclass it, write `read`, and hand an instance to `register`.

    `task` holds the shape of the images, the number of classes and the widths of its reference
    networks; `epochs` is the default length of a training; `counts` are the published numbers of
    training and test images, 0 where nobody published any; `origins` says, by digest, how images
    differ from the published ones. A part is "train" or "test".

    >>> import numpy as np
    >>> class Dots(Dataset):
    ...     def read(self, part, root):
    ...         return Arrays(np.zeros((20, 8, 8, 1), np.uint8), np.arange(20) % 2)
    >>> dots = Dots(name="dots", task=Task(input=Shape(1, 8, 8), classes=2, widths=(4, 8)))
    >>> dots.read("train", Path()).images.shape
    (20, 8, 8, 1)
    """

    name: str
    task: Task
    description: str = ""
    epochs: int = 10
    counts: tuple[int, int] = (0, 0)
    archives: tuple[Archive, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict, repr=False)

    def read(self, part: str, root: Path) -> Arrays:
        """Decode a part from the files under `root`. Raises DataError if they are damaged."""
        raise NotImplementedError

    def sources(self, part: str, root: Path) -> list[Path]:
        """List the files that a part is decoded from; none where images are drawn.

        Raises DataError if one is missing.
        """
        return []

    def stamp(self, part: str, root: Path) -> list[Any]:
        """Return what changes if the images do: each source's name, size and time of change.

        A data set whose images are drawn returns a version or a digest of them.
        """
        stats = [(path, path.stat()) for path in self.sources(part, root)]
        return [
            [path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns]
            for path, stat in stats
        ]

    def download(self, root: Path, *, progress: bool = False) -> None:
        """Download the archives, check them, and extract them under `root`. Raises DataError."""
        from blocksearch.data.download import install

        if not self.archives:
            raise DataError(f"{self.name} has no published files to download")
        for archive in self.archives:
            install(archive, root, progress=progress)

    def origin(self, digest: str, images: int, part: str) -> str:
        """Say in a phrase what images of this digest are; empty where they may be as published."""
        published = self.counts[PARTS.index(part)]
        if digest in self.origins or images == published or not published:
            return self.origins.get(digest, "")
        kind = "test" if part == "test" else "training"
        return f"{images:,} {kind} images where {published:,} are published"

    def wanted(self, path: Path, root: Path) -> Path:
        """Return a source if it is there. Raises DataError that says how to get it."""
        if not is_file(path):
            fetch = f"`blocksearch data fetch {self.name}` downloads it, and "
            raise DataError(
                f"{path.relative_to(root)} is not under {root}; {fetch if self.archives else ''}"
                "BLOCKSEARCH_DATA names another folder"
            )
        return path


DATASETS: dict[str, Dataset] = {}
_WORD = "1 to 64 letters, digits, - and _, not beginning like own-3x32x32-10-"


def register(dataset: Dataset) -> Dataset:
    """Make a data set known by its name, and its task by the same name.

    Worker processes need not know it: they find the decoded images by the name. Raises ConfigError
    for a name that is none, or is taken by another data set.
    """
    if not is_name(dataset.name) or _OWN.fullmatch(dataset.name):
        raise ConfigError(f"a data set's name must be {_WORD}, but got {dataset.name!r}")
    if DATASETS.get(dataset.name, dataset) != dataset:
        raise ConfigError(f"another data set has the name {dataset.name!r} already")
    TASKS.setdefault(dataset.name, dataset.task)
    DATASETS[dataset.name] = dataset
    return dataset


def get(name: str) -> Dataset:
    """Find a data set, a user's own by its long name too. Raises ConfigError with the known names.

    >>> get("gtsrb").task.classes
    43
    """
    if found := _OWN.fullmatch(name):
        channels, height, width, classes = map(int, found.groups())
        shape = Shape(channels, height, width)
        return OwnImages(name=name, task=Task(input=shape, widths=OWN_WIDTHS, classes=classes))
    if name not in DATASETS:
        advice = "; images of your own are handed over in Python, as arrays (images, labels)"
        raise unknown("data set", name, DATASETS, advice)
    return DATASETS[name]


def is_name(name: str) -> bool:
    """Whether a text may be a data set's name, and so part of a folder's."""
    return re.fullmatch("[A-Za-z0-9_-]{1,64}", name, re.ASCII) is not None


def check_part(part: str) -> None:
    """Raise ConfigError unless a part is one of two: no other name may open the test images."""
    if part not in PARTS:
        raise ConfigError(f"a split must be {' or '.join(PARTS)}, but got {part!r}")


@dataclass(frozen=True, kw_only=True)
class OwnImages(Dataset):
    """A user's own images, which only the cache holds once a training has begun.

    The name says what a network must know, so that workers and later commands need nothing else:
    `own-3x32x32-10-4f2a…` has images of 3×32×32 in 10 classes.
    """

    description: str = "images of your own"

    def stamp(self, part: str, root: Path) -> list[Any]:
        raise DataError(
            f"the {part} images of {self.name} are not under {root}: hand their arrays to `Study` "
            "again, test images as `test=`"
        )

    def origin(self, digest: str, images: int, part: str) -> str:
        return self.description


def own_arrays(handed: Handed, argument: str = "dataset") -> Arrays:
    """Check images to train on: N×H×W×C uint8, labels 0, 1, … without gaps, and groups of images
    that must not be divided, or None. Each class has two images, one to learn from and one to
    validate on; two groups where there are groups.

    Raises DataError that names `argument`, the rule and the value.
    """
    found = _arrays(handed, argument)
    labels, groups = found.labels, found.groups
    if labels.max() >= len(labels):
        raise DataError(f"{argument}: {_RULE}, but one of {len(labels):,} is {labels.max()}")
    if labels.max() == 0:
        raise DataError(f"{argument}: there must be at least two classes, but all labels are 0")
    units, what = labels, "images"
    if groups is not None:
        pairs = np.unique(np.stack([groups.astype(np.int64), labels]), axis=1)
        several = np.flatnonzero(np.unique(pairs[0], return_counts=True)[1] > 1)
        if several.size:
            group = np.unique(pairs[0])[several[0]]
            raise DataError(f"{argument}: a group must be of one class, but {group} is of several")
        units, what = pairs[1], "groups"
    counts = np.bincount(units)
    if not counts.all():
        raise DataError(f"{argument}: {_RULE}, but no image has {counts.argmin()}")
    if counts.min() < 2:
        raise DataError(
            f"{argument}: each class must have two {what}, one to learn from and one to validate "
            f"on, but class {counts.argmin()} has 1"
        )
    return found


def own_test_arrays(handed: Handed, training: Arrays, argument: str = "test") -> Arrays:
    """Check test images beside their training images: the same shape, and no class that is not
    learned. Classes may be missing, and one image of a class is enough. Raises DataError.
    """
    found = _arrays(handed, argument)
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


def own_name(arrays: Arrays, digest: str) -> str:
    """Name a user's images by their shape, classes and digest."""
    _, height, width, channels = arrays.images.shape
    return f"own-{channels}x{height}x{width}-{int(arrays.labels.max()) + 1}-{digest[:16]}"


_RULE = "labels must be 0, 1, … without gaps"


def _arrays(handed: object, argument: str) -> Arrays:
    """Check what holds for training and test images alike."""
    if isinstance(handed, Arrays):
        handed = (handed.images, handed.labels, handed.groups)
    if not isinstance(handed, tuple | list) or len(handed) not in (2, 3):
        raise DataError(
            f"{argument}: must be arrays (images, labels) or (images, labels, groups), but got "
            f"{type(handed).__name__}"
        )
    images, labels = np.asarray(handed[0]), np.asarray(handed[1])
    if images.ndim != 4 or images.dtype != np.uint8 or not images.size:
        raise DataError(
            f"{argument}: images must be N×H×W×C whole numbers of 8 bits (uint8), but got "
            f"{images.dtype} of shape {images.shape}"
        )
    if images.shape[3] > 4 >= images.shape[1]:
        raise DataError(
            f"{argument}: images must be N×H×W×C, but {images.shape} looks like N×C×H×W: "
            "images.transpose(0, 2, 3, 1)"
        )
    _check_whole(f"{argument}: labels", labels, len(images))
    if labels.min() < 0:
        raise DataError(f"{argument}: {_RULE}, but image {labels.argmin()} has {labels.min()}")
    groups = handed[2] if len(handed) == 3 else None
    if groups is not None:
        groups = np.asarray(groups)
        _check_whole(f"{argument}: groups", groups, len(images))
        if abs(groups).max() >= 2**31:  # names of groups, so any other numbers do
            groups = np.unique(groups, return_inverse=True)[1]
        groups = np.ascontiguousarray(groups, np.int32)
    return Arrays(np.ascontiguousarray(images), np.ascontiguousarray(labels, np.int64), groups)


def _check_whole(what: str, values: NDArray[Any], count: int) -> None:
    if values.shape != (count,) or not np.issubdtype(values.dtype, np.integer):
        raise DataError(
            f"{what} must be {count:,} whole numbers, one an image, but got {values.dtype} of "
            f"shape {values.shape}"
        )


def is_file(path: Path) -> bool:
    """Whether a file is there. Raises DataError where that cannot be said."""
    try:
        return path.is_file()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def times(numbers: Iterable[int]) -> str:
    """Write a shape, such as 32×32×3."""
    return "×".join(map(str, numbers))


def one_line(error: Exception) -> str:
    """Bring an error of another package to one short line."""
    return " ".join(str(error).split())[:300]
