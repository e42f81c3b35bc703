"""Defines what a data set is, and registers data sets by name.

A data set is added in one place: a subclass of `Dataset` with `read`, and with `sources` for files
or a `stamp` for drawn images; and one call of `register`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blocksearch.arch.layers import Shape
from blocksearch.arch.network import Task
from blocksearch.arch.zoo import OWN_WIDTHS, TASKS
from blocksearch.errors import ConfigError, DataError, check_type, unknown

PARTS = ("train", "test")
ARRAYS = ("images", "labels", "groups", "held")
MIRRORED = "mirrored, it is another one or none"  # what a flip does to a sign or a digit
_OWN = re.compile(r"own-([0-9]{1,3})x([0-9]{1,5})x([0-9]{1,5})-([0-9]{1,5})-[0-9a-f]{16}", re.ASCII)

DEFAULT = "digits"  # needs no files: what is trained on unless a data set is named
PRICED = "cifar10"  # what a network is priced for unless a data set is named, as in the paper


@dataclass(frozen=True)
class Arrays:
    """Images N×H×W×C uint8, labels N int64 from 0, and what decides how they are divided.

    Images of one of the `groups`, N int32 (GTSRB: of one physical sign), are never divided by a
    split. `held`, N bool, marks the validation images where a user chose them. Both may be None.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    _: KW_ONLY
    groups: NDArray[np.int32] | None = None
    held: NDArray[np.bool_] | None = None


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


@dataclass(frozen=True, kw_only=True)
class About:
    """What is known of images beside their arrays: the names of the classes, in the
    order of labels, and a phrase that says what the images are.
    """

    classes: tuple[str, ...] = ()
    origin: str = ""


@dataclass(frozen=True, kw_only=True)
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
    differ from the published ones; `class_names` are in the order of labels, where classes have
    names; `unsuited` says of transforms (of training) why they do not suit these images;
    `test_groups` says in what groups test images come, where nobody published which is of which. A
    part is "train" or "test".

    >>> import numpy as np
    >>> class Dots(Dataset):
    ...     def read(self, part, root):
    ...         return Arrays(np.zeros((20, 8, 8, 1), np.uint8), np.arange(20) % 2)
    ...     def stamp(self, part, root):
    ...         return ["dots", 1]  # another number where `read` draws other images
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
    class_names: tuple[str, ...] = ()
    unsuited: Mapping[str, str] = field(default_factory=dict, repr=False)
    test_groups: str = field(default="", repr=False)

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

    def about(self, part: str, root: Path) -> About:
        """Say what is kept beside a part when it is decoded: nothing that its name does not say."""
        return About()

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
DERIVED: list[Callable[[str], Dataset | None]] = []  # what makes one of another by a name
_WORD = "1 to 64 letters, digits, - and _, not beginning like own-3x32x32-10-"


def register(dataset: Dataset) -> Dataset:
    """Make a data set known by its name, and its task by the same name.

    Worker processes need not know it: they find the decoded images by the name. Raises ConfigError
    for a name that is none, or is taken by another data set, and for one of drawn images that does
    not say when they change.
    """
    if not is_name(dataset.name) or _OWN.fullmatch(dataset.name):
        raise ConfigError(f"a data set's name must be {_WORD}, but got {dataset.name!r}")
    if DATASETS.get(dataset.name, dataset) != dataset:
        raise ConfigError(f"another data set has the name {dataset.name!r} already")
    kind = type(dataset)
    if kind.sources is Dataset.sources and kind.stamp is Dataset.stamp:
        raise ConfigError(
            f"data set {dataset.name!r} is read from no `sources`, so it needs a `stamp`, which "
            "changes if its images do"
        )
    TASKS.setdefault(dataset.name, dataset.task)
    DATASETS[dataset.name] = dataset
    return dataset


def get(name: str) -> Dataset:
    """Find a data set, a user's own by its long name, and one at another input by that. Raises
    ConfigError with the known names.

    >>> get("gtsrb").task.classes, get("gtsrb-at-1x24x24").task.input
    (43, Shape(channels=1, height=24, width=24))
    """
    check_type("a data set's name", name, str)
    if found := _OWN.fullmatch(name):
        channels, height, width, classes = map(int, found.groups())
        shape = Shape(channels, height, width)
        return OwnImages(name=name, task=Task(input=shape, widths=OWN_WIDTHS, classes=classes))
    if name not in DATASETS:
        for made_from in DERIVED:
            if derived := made_from(name):
                return derived
        advice = "; images of your own are a folder, a .csv listing, an .npz file or arrays"
        raise unknown("data set", name, DATASETS, advice)
    return DATASETS[name]


def is_name(name: str) -> bool:
    """Return whether a text may be a data set's name, and so part of a folder's."""
    return re.fullmatch("[A-Za-z0-9_-]{1,64}", name, re.ASCII) is not None


def name_of(input: Shape, classes: int, digest: str) -> str:
    """Name a user's images by what a network must know of them, which `get` reads from the name.

    >>> name_of(Shape(3, 32, 32), 10, 64 * "a")
    'own-3x32x32-10-aaaaaaaaaaaaaaaa'
    """
    return f"own-{input}-{classes}-{digest[:16]}"


def is_own(name: str) -> bool:
    """Return whether a name is that of a user's own images.

    >>> is_own("own-3x32x32-10-0123456789abcdef"), is_own("cifar10")
    (True, False)
    """
    return _OWN.fullmatch(name) is not None


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
            f"the {part} images of {self.name} are not under {root}: where there are any, give "
            "them with the data set again (`test`, or a folder or split of that name)"
            if part == "test"
            else f"the {part} images of {self.name} are not under {root}: give them again"
        )

    def origin(self, digest: str, images: int, part: str) -> str:
        return self.description


def is_file(path: Path) -> bool:
    """Return whether a file exists. Raises DataError if that cannot be found out."""
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
