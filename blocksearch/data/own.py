"""Images of one's own: read from whatever they come from, checked, named, and put where workers
find them. What was read once is not read again.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blocksearch.data.arrays import Handed, check_classes, numbered, own_arrays, own_test_arrays
from blocksearch.data.cache import data_root, noted, places, write_first
from blocksearch.data.cache_files import Description, Writer, describe_anew, open_arrays
from blocksearch.data.config import SIDES, DataConfig
from blocksearch.data.datasets import About, Arrays, digest, times
from blocksearch.data.listings import Purpose
from blocksearch.data.pictures import Pixels, fitted
from blocksearch.data.sources import ImageSource, Sample
from blocksearch.errors import ConfigError, DataError, near
from blocksearch.files import check_regular, replace_file

SHOWN = 3  # damaged pictures that a message names
Progress = Callable[[float], None]


class Own:
    """A user's arrays, checked and named, in memory until `keep` puts them where decoded data sets
    are.

    Other test images beside the same training images are another data set, with runs of its own.
    Raises DataError for arrays that are no images to learn from.

    >>> import numpy as np
    >>> Own((np.zeros((8, 4, 4, 1), np.uint8), np.arange(8) % 2)).name
    'own-1x4x4-2-234c81157f494b0d'
    """

    def __init__(self, data: Handed, test: Handed | None = None) -> None:
        self._parts = {"train": own_arrays(data)}
        if test is not None:
            self._parts["test"] = own_test_arrays(test, self._parts["train"])
        self.name = own_name(self._parts["train"], list(map(digest, self._parts.values())))

    def keep(self, root: Path | None = None) -> str:
        """Put the images beside decoded ones, unless they are there; return their name.

        Raises DataError where nothing can be written.
        """
        folder = data_root(root)
        for part, arrays in self._parts.items():
            name = f"{self.name}-{part}"
            there = (open_arrays(place / name, None) for place in places(folder))
            if any(found and found[1] == digest(arrays) for found in there):
                continue  # another process may be reading them
            if trouble := write_first(name, folder, arrays, None):
                raise DataError(f"images of your own cannot be written under {folder}: {trouble}")
        return self.name


def own_name(training: Arrays, digests: Sequence[str], classes: Sequence[str] = ()) -> str:
    """Name a user's images by their shape, number of classes, and a digest of all parts and of the
    names of classes.
    """
    told = [*digests, *([json.dumps(list(classes))] if classes else [])]
    whole = told[0] if len(told) == 1 else hashlib.sha256(" ".join(told).encode()).hexdigest()
    _, height, width, channels = training.images.shape
    count = len(classes) or int(training.labels.max()) + 1
    return f"own-{channels}x{height}x{width}-{count}-{whole[:16]}"


def read_source(
    source: ImageSource,
    test: ImageSource | None,
    config: DataConfig,
    root: Path | None,
    progress: Progress = lambda _: None,
) -> str:
    """Put a user's images, and test images of another source, where workers find them; return
    their name. What was read before, and has not changed since, is there already.

    Raises DataError for what cannot be read or learned from, ConfigError where images are not of
    one shape.
    """
    folder = data_root(root)
    sources = [source] if test is None else [source, test]
    stamps = [each.stamp for each in sources]
    known = None if None in stamps else _known_name([each or "" for each in stamps], config, folder)
    if known is not None and known.name is not None:
        return known.name
    fit = Fit(config)
    try:
        name = _read(sources, fit, folder, progress)
    except _ColourError:  # the first were grey
        fit = Fit(config, channels=3)
        name = _read(sources, fit, folder, progress)
    if known is not None:
        known.remember(name)
    return name


@dataclass(frozen=True)
class _KnownName:
    """What a source became when it was read last: a file that says so, and the name if it holds."""

    file: Path
    name: str | None

    def remember(self, name: str) -> None:
        """Say what the source became. Where that cannot be written, it is read again next time."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.file, json.dumps({"name": name}).encode())
        except OSError:
            return


def _known_name(stamps: Sequence[str], config: DataConfig, root: Path) -> _KnownName:
    """Look up what unchanged pictures became under the same configuration."""
    told = [*stamps, config.size, config.grey, config.group_by, config.skip_damaged]
    key = hashlib.sha256(repr(told).encode()).hexdigest()[:32]
    files = [place / "sources" / f"{key}.json" for place in places(root)]
    for file in files:
        try:
            check_regular(file)
            name = json.loads(file.read_text())["name"]
            if noted(name, "train", root):
                return _KnownName(file, str(name))
        except (OSError, ValueError, LookupError, TypeError, ConfigError):
            continue
    return _KnownName(files[0], None)


class _ColourError(Exception):
    """A coloured picture came after grey ones."""


@dataclass
class Fit:
    """Brings each image to one shape; which one the first decides, unless the user did."""

    config: DataConfig
    channels: int | None = None
    stretched: bool = field(default=False, init=False)
    scaled: bool = field(default=False, init=False)

    def __call__(self, pixels: Pixels) -> Pixels:
        """Return an image of the asked-for size. Raises ConfigError for one that is too large."""
        (height, width, channels), size = pixels.shape, self.config.size
        if size is None and not SIDES[0] <= min(height, width) <= max(height, width) <= SIDES[1]:
            raise ConfigError(
                f"images must be {SIDES[0]} to {SIDES[1]} pixels a side, but one is "
                f"{height}×{width}: resize brings all to one size, such as 64x64"
            )
        if self.config.grey and channels not in (1, 3):
            raise ConfigError(f"grey is for images of 3 channels, but one has {channels}")
        if size is not None and size != (height, width):
            self.scaled = True
            self.stretched |= height * size[1] != width * size[0]
        return fitted(pixels, size, 1 if self.config.grey else self.channels)

    @property
    def told(self) -> str:
        """Say what was done to pictures, to follow what they are."""
        done = []
        if self.scaled:
            how = "stretched" if self.stretched else "scaled"
            done.append(f"{how} to {times(self.config.size or ())}")
        return "".join(f", {each}" for each in [*done, *(["grey"] if self.config.grey else [])])


@dataclass
class _Store:
    """Images of one store as they come in, the validation images of training with them."""

    writer: Writer
    labels: list[str | int] = field(default_factory=list)
    groups: list[Any] = field(default_factory=list)
    held: list[bool] = field(default_factory=list)

    def add(self, sample: Sample[Pixels], first: "_Store") -> None:
        """Write an image. Raises ConfigError for another shape than the first has."""
        assert sample.made is not None
        pixels, wanted = sample.made, first.writer.shape
        if wanted is not None and (*wanted[:2], 3) == pixels.shape and wanted[2] == 1:
            raise _ColourError
        pixels = fitted(pixels, None, 3) if wanted is not None and wanted[2] == 3 else pixels
        if wanted not in (None, pixels.shape):
            raise ConfigError(
                f"images must be of one shape, but are {times(wanted)}, and {sample.name} is "
                f"{times(pixels.shape)}: resize and grey bring them to one"
            )
        self.writer.add(pixels)
        self.labels.append(sample.label)
        self.groups.append(sample.group)
        self.held.append(sample.part is Purpose.VALIDATION)


def _read(sources: Sequence[ImageSource], fit: Fit, root: Path, progress: Progress) -> str:
    try:
        with _stores(root) as (place, train, test):
            damaged = _fill(sources, fit, train, test, progress)
            parts, classes = _arrays(sources, train, test)
            about = About(classes=classes, origin=_told(sources[0], parts, fit, len(damaged)))
            digests = [digest(arrays) for arrays in parts.values()]
            name = own_name(parts["train"], digests, classes)
            for (part, arrays), whole in zip(parts.items(), digests, strict=True):
                folder = place / f"{name}-{part}"
                if (there := noted(name, part, root)) and there.digest == whole:
                    describe_anew(folder, about)  # other processes may be reading it
                else:
                    known = Description.of(arrays, whole, about)
                    (train if part == "train" else test).writer.publish(folder.name, arrays, known)
            return name
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"images of your own cannot be written under {root}: {reason}") from error


@contextmanager
def _stores(root: Path) -> Iterator[tuple[Path, _Store, _Store]]:
    """Give a store for training and one for test images, in the first place that can be written."""
    trouble: OSError | None = None
    for place in places(root):
        with ExitStack() as stack:
            try:
                stores = [_Store(stack.enter_context(closing(Writer(place)))) for _ in range(2)]
            except OSError as error:
                trouble = trouble or error
                continue
            yield place, stores[0], stores[1]
            return
    assert trouble is not None
    raise trouble


def _fill(
    sources: Sequence[ImageSource], fit: Fit, train: _Store, test: _Store, progress: Progress
) -> list[Sample[Pixels]]:
    """Write all images into their stores; return those that cannot be read."""
    damaged, total = [], sum(source.count or 0 for source in sources)
    done = 0
    for given_as, source in enumerate(sources):
        for sample in source.samples(fit):
            done += 1
            progress(done / max(done, total))
            if sample.made is None:
                damaged.append(sample)
                continue
            if given_as == 0 and sample.part is Purpose.TEST and len(sources) == 2:
                raise ConfigError(f"{source.what} has test images, and others were handed over")
            store = test if given_as == 1 or sample.part is Purpose.TEST else train
            store.add(sample, train if train.labels else test)
    if damaged and not fit.config.skip_damaged:
        shown = ", ".join("/".join(Path(each.name).parts[-2:]) for each in damaged[:SHOWN])
        more = f" and {len(damaged) - SHOWN} more" if len(damaged) > SHOWN else ""
        raise DataError(
            f"{sources[0].what}: {len(damaged):,} of {done:,} images cannot be read: "
            f"{shown}{more}; "
            f"the first: {damaged[0].damage}"
        )
    if not train.labels:
        raise DataError(f"{sources[0].what}: there is no image to learn from")
    return damaged


def _arrays(
    sources: Sequence[ImageSource], train: _Store, test: _Store
) -> tuple[dict[str, Arrays], tuple[str, ...]]:
    """Return the images of each part with labels and groups as numbers, and the classes' names."""
    what = sources[0].what
    labels, classes = _numbers(train.labels, sources[0])
    groups = _groups([*train.groups, *test.groups], what)
    held = np.array(train.held, bool)
    count = len(labels)
    own = None if groups is None else groups[:count]
    found = Arrays(train.writer.images(), labels, own, held if held.any() else None)
    check_classes(found, what, classes)
    parts = {"train": found}
    if test.labels:
        numbers = _test_numbers(test.labels, sources[-1].what, classes, int(labels.max()) + 1)
        rest = None if groups is None else groups[count:]
        if own is not None and rest is not None and np.intersect1d(own, rest).size:
            raise DataError(f"{what}: a group must be for training or test, but one is for both")
        parts["test"] = Arrays(test.writer.images(), numbers, rest)
    return parts, classes


def _numbers(
    labels: Sequence[str | int], source: ImageSource
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    words = {each for each in labels if isinstance(each, str)}
    if not words:
        names = source.classes or ()
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


def _told(source: ImageSource, parts: dict[str, Arrays], fit: Fit, damaged: int) -> str:
    """Say in a phrase what the images are."""
    count = sum(len(arrays.labels) for arrays in parts.values())
    groups = parts["train"].groups
    told = f"{count:,} images of {source.title}{fit.told}"
    if groups is not None:
        told += f", training images in {len(np.unique(groups)):,} groups"
    return told + (f", {damaged:,} damaged ones left out" if damaged else "")
