"""Reads a user's own images from any source, checks and names them, and puts them where workers
find them. Images that were read once are not read again.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from blocksearch.arch.layers import Shape
from blocksearch.data.arrays import Handed, check_groups, check_sides, own_arrays, own_test_arrays
from blocksearch.data.cache import data_root, noted, places, write_first
from blocksearch.data.cache_files import (
    Description,
    Writer,
    describe_anew,
    open_arrays,
    open_description,
)
from blocksearch.data.config import DataConfig
from blocksearch.data.datasets import About, Arrays, digest, get, is_own, name_of, times
from blocksearch.data.labelled import Given, numbered_parts
from blocksearch.data.listings import Purpose
from blocksearch.data.pictures import Pixels, fitted
from blocksearch.data.sources import ImageSource, Sample
from blocksearch.errors import ConfigError, DataError
from blocksearch.files import check_regular, replace_file

_READ: dict[str, str] = {}  # what pictures are called that were read and not kept
SHOWN = 3  # damaged pictures that a message names
ProgressFunction = Callable[[float], None]


class Own:
    """A user's arrays, checked and named, in memory until `keep` puts them where decoded data sets
    are.

    Other test images beside the same training images are another data set, with runs of its own.
    Raises DataError or ConfigError, by what training and test images are `called`, for arrays that
    are no images to learn from.

    >>> import numpy as np
    >>> Own((np.zeros((8, 9, 8, 1), np.uint8), np.arange(8) % 2)).name
    'own-1x9x8-2-f342e7f5aaa3dbe1'
    """

    def __init__(
        self,
        data: Handed,
        test: Handed | None = None,
        called: tuple[str, str] = ("dataset", "test"),
    ) -> None:
        self._parts = {"train": own_arrays(data, called[0])}
        if test is not None:
            self._parts["test"] = own_test_arrays(test, self._parts["train"], called[1])
            check_groups(data, test)
        self.name = own_name(self._parts["train"], list(map(digest, self._parts.values())))

    def keep(self, root: Path | None = None) -> str:
        """Put the images beside decoded ones, unless they are there; return their name.

        Raises DataError if nothing can be written.
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
    return name_of(Shape(channels, height, width), count, whole)


def read_source(
    source: ImageSource,
    test: ImageSource | None,
    config: DataConfig,
    root: Path | None,
    progress: ProgressFunction = lambda _: None,
    *,
    keep: bool = True,
) -> str:
    """Put a user's images, and test images of another source, where workers find them; return
    their name. What was read before, and has not changed since, is there already. Without `keep`
    they are read for their name alone, which is remembered as long as the process goes on.

    Raises DataError for what cannot be read or learned from, ConfigError if images are not of
    one shape.
    """
    folder = data_root(root)
    sources = [source] if test is None else [source, test]
    notes = _notes(sources, config, folder)
    if known := _known_name(notes, folder):
        return known
    if not keep:
        if (known := _READ.get(str(notes))) is None:
            with TemporaryDirectory() as elsewhere:
                known = read_source(source, test, config, Path(elsewhere), progress)
            _READ.update({str(notes): known} if notes else {})
        return known
    fit = Fit(config=config)
    try:
        name = _read(sources, fit, folder, progress)
    except _ColourError:  # the first were grey
        fit = Fit(config=config, channels=3)
        name = _read(sources, fit, folder, progress)
    if notes:
        with suppress(OSError):  # where it cannot be noted, it is read again next time
            notes[0].parent.mkdir(parents=True, exist_ok=True)
            replace_file(notes[0], json.dumps({"name": name}).encode())
    return name


def _notes(sources: Sequence[ImageSource], config: DataConfig, root: Path) -> list[Path]:
    """List the files that may say what these pictures became under this configuration; none where
    nothing says whether they changed.
    """
    stamps = [each.stamp for each in sources]
    if None in stamps:
        return []
    told = [*stamps, config.size, config.grey, config.group_by, config.skip_damaged]
    key = hashlib.sha256(repr(told).encode()).hexdigest()[:32]
    return [place / "sources" / f"{key}.json" for place in places(root)]


def _known_name(notes: Sequence[Path], root: Path) -> str | None:
    """Return what unchanged pictures became when they were read last, if it is there."""
    for file in notes:
        try:
            check_regular(file)
            name = json.loads(file.read_text())["name"]
            if noted(name, "train", root):
                return str(name)
        except (OSError, ValueError, LookupError, TypeError, ConfigError):
            continue
    return None


def kept(root: Path | None = None) -> list[dict[str, Any]]:
    """List a user's own images that are where workers find them: a row for each, with the number of
    training images, their shape and classes, what they are, and the folder in which they lie.

    >>> kept(Path("no such folder"))
    []
    """
    found: dict[str, dict[str, Any]] = {}
    for place in places(data_root(root)):
        for folder in sorted(place.glob("own-*-train")):
            name = folder.name.removesuffix("-train")
            if is_own(name) and (known := open_description(folder, None)):
                task = get(name).task
                row = {"name": name, "images": len(known.labels), "input": str(task.input)}
                row |= {"classes": task.classes, "origin": known.about.origin or "arrays"}
                found.setdefault(name, row | {"folder": str(place)})
    return list(found.values())


def other_shape(wanted: Sequence[int], shape: Sequence[int], name: str) -> ConfigError:
    """Say that an image has another shape than the first."""
    return ConfigError(
        f"images must be of one shape, but are {times(wanted)}, and {name} is {times(shape)}: "
        "resize and grey bring them to one"
    )


def unreadable(what: str, damaged: Sequence[Sample[Any]], count: int) -> DataError:
    """Say how many of `count` images are damaged, and what can be done."""
    shown = ", ".join("/".join(Path(each.name).parts[-2:]) for each in damaged[:SHOWN])
    more = f" and {len(damaged) - SHOWN} more" if len(damaged) > SHOWN else ""
    return DataError(
        f"{what}: {len(damaged):,} of {count:,} images cannot be read: {shown}{more}; "
        f"the first: {damaged[0].damage}; skip_damaged leaves out what cannot be read"
    )


def two_tests(what: str) -> ConfigError:
    """Say that test images were handed over beside those of a source."""
    return ConfigError(f"{what} has test images, and others were handed over")


class _ColourError(Exception):
    """A coloured picture came after grey ones."""


@dataclass(kw_only=True)
class Fit:
    """Brings each image to one shape; which one the first decides, unless the user did."""

    config: DataConfig
    channels: int | None = None
    stretched: bool = field(default=False, init=False)
    scaled: bool = field(default=False, init=False)

    def __call__(self, pixels: Pixels, where: str) -> Pixels:
        """Return an image of the asked-for size. Raises ConfigError for one of no size that
        networks here are for.
        """
        (height, width, channels), size = pixels.shape, self.config.size
        if size is None:
            check_sides((height, width), where)
        if self.config.grey and channels not in (1, 3):
            raise ConfigError(f"{where}: grey is for images of 3 channels, but one has {channels}")
        if size is not None and size != (height, width):
            self.scaled = True
            self.stretched |= height * size[1] != width * size[0]
        return fitted(pixels, size, 1 if self.config.grey else self.channels)

    @property
    def told(self) -> str:
        """Say what was done to pictures, to follow what they are."""
        how = "stretched" if self.stretched else "scaled"
        brought = f", {how} to {times(self.config.size or ())}" if self.scaled else ""
        return brought + (", grey" if self.config.grey else "")


@dataclass
class _Store:
    """Images of one store as they come in, the validation images of training with them."""

    writer: Writer
    given: Given = field(default_factory=Given)

    def add(self, sample: Sample[Pixels], first: "_Store") -> None:
        """Write an image. Raises ConfigError for another shape than the first has."""
        assert sample.made is not None
        pixels, wanted = sample.made, first.writer.shape
        if wanted is not None and (*wanted[:2], 3) == pixels.shape and wanted[2] == 1:
            raise _ColourError
        pixels = fitted(pixels, None, 3) if wanted is not None and wanted[2] == 3 else pixels
        if wanted not in (None, pixels.shape):
            raise other_shape(wanted, pixels.shape, sample.name)
        self.writer.add(pixels)
        self.given.add(sample.label, sample.group, sample.part)


def _read(sources: Sequence[ImageSource], fit: Fit, root: Path, progress: ProgressFunction) -> str:
    try:
        with _stores(root) as (place, train, test):
            damaged = _fill(sources, fit, train, test, progress)
            found, classes = numbered_parts(sources, train.given, test.given)
            pixels = {"train": train, "test": test}
            parts = {n: replace(own, images=pixels[n].writer.images()) for n, own in found.items()}
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
    sources: Sequence[ImageSource],
    fit: Fit,
    train: _Store,
    test: _Store,
    progress: ProgressFunction,
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
                raise two_tests(source.what)
            store = test if given_as == 1 or sample.part is Purpose.TEST else train
            store.add(sample, train if train.given.labels else test)
    if damaged and not fit.config.skip_damaged:
        raise unreadable(sources[0].what, damaged, done)
    if not train.given.labels:
        raise DataError(f"{sources[0].what}: there is no image to learn from")
    return damaged


def _told(source: ImageSource, parts: dict[str, Arrays], fit: Fit, damaged: int) -> str:
    """Say in a phrase what the images are."""
    count = sum(len(arrays.labels) for arrays in parts.values())
    groups = parts["train"].groups
    told = f"{count:,} images of {source.title}{fit.told}"
    if groups is not None:
        told += f", training images in {len(np.unique(groups)):,} groups"
    return told + (f", {damaged:,} damaged ones left out" if damaged else "")
