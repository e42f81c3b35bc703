"""Opens a name, a path, arrays, a Dataset or an iterable as a data set. Each becomes the name by
which workers find the images.
"""

import os
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from blocksearch.data.arrays import Handed, checked
from blocksearch.data.cache import unread
from blocksearch.data.config import DataConfig
from blocksearch.data.datasets import DATASETS, Arrays, get, is_own
from blocksearch.data.listings import listing
from blocksearch.data.own import Own, ProgressFunction, read_source, two_tests
from blocksearch.data.sources import ArraySource, ImageSource, ItemSource, PictureSource, is_items
from blocksearch.errors import ConfigError, DataError
from blocksearch.files import check_regular

# A name, a path, (images, labels) or (images, labels, groups), a Dataset, or (image, label)s.
DatasetLike: TypeAlias = Any
LISTINGS, ARRAY_FILES = (".csv", ".tsv"), (".npz", ".npy")
KEYS = {  # what arrays of a file may be called
    "train": (("images", "labels", "groups"), ("train_images", "train_labels", "train_groups"),
              ("x_train", "y_train", "groups_train")),
    "val": (("val_images", "val_labels", "val_groups"), ("x_val", "y_val", "groups_val")),
    "test": (("test_images", "test_labels", "test_groups"), ("x_test", "y_test", "groups_test")),
}  # fmt: skip


def open_dataset(
    dataset: DatasetLike,
    config: DataConfig,
    *,
    test: DatasetLike = None,
    root: Path | None = None,
    keep: bool = True,
    progress: ProgressFunction = lambda _: None,
) -> str:
    """Return the name of a data set; images of one's own are put where workers find them, unless
    `keep` is false. `test` are test images beside them, in any of the same forms. `progress` hears
    the share that is read, and 0 where a data set by its name is about to be read the first time.

    Raises DataError or ConfigError in one line for what is no data set.

    >>> open_dataset("digits", DataConfig())
    'digits'
    """
    if is_named(dataset, config, test=test):
        if keep and unread(str(dataset), "train", root):
            progress(0.0)
        return str(dataset)
    if (plain := plain_arrays(dataset, config, test=test)) is not None:
        own = Own(*plain, called=_called(dataset, test))
        return own.keep(root) if keep else own.name
    source, *rest = sources_of(dataset, config, test=test)
    return read_source(source, rest[0] if rest else None, config, root, progress, keep=keep)


def foreseen_name(
    dataset: DatasetLike, config: DataConfig, *, test: DatasetLike = None
) -> str | None:
    """Return the name of a data set before anything is written; None for pictures and items, which
    have one once they are read. Raises as `open_dataset` does, but for what is in pictures.

    >>> foreseen_name("digits", DataConfig())
    'digits'
    """
    if is_named(dataset, config, test=test):
        return str(dataset)
    if (plain := plain_arrays(dataset, config, test=test)) is not None:
        return Own(*plain, called=_called(dataset, test)).name
    sources_of(dataset, config, test=test)
    return None


def is_named(dataset: DatasetLike, config: DataConfig, *, test: DatasetLike = None) -> bool:
    """Return whether something is the name of a data set. Raises ConfigError for an unknown name,
    and for what is said beside a name and only suits images of one's own.
    """
    if isinstance(dataset, str) and not dataset:
        raise ConfigError("a data set is a name or a path, but got ''")
    if not isinstance(dataset, str) or is_path(dataset):
        return False
    get(dataset)
    if config.changes:
        raise ConfigError(
            f"{config.changes[0]} is for images of your own, but {dataset} is used as it is"
        )
    if test is not None:
        raise ConfigError(f"{dataset} has test images of its own")
    return True


def plain_arrays(
    dataset: DatasetLike, config: DataConfig, *, test: DatasetLike = None
) -> tuple[Handed, Handed | None] | None:
    """Return training and test arrays that are taken as they are, None for any other images."""
    handed, tested = _arrays(dataset, "dataset"), _arrays(test, "test")
    if handed is None or (test is not None and tested is None) or config.changes:
        return None
    if "val" in {*handed, *(tested or ())}:
        return None
    return handed["train"], _test_of(handed, tested)


def sources_of(
    dataset: DatasetLike, config: DataConfig, *, test: DatasetLike = None
) -> list[ImageSource]:
    """Return the images of one's own that something stands for, and beside them test images that
    are handed over apart. Raises DataError or ConfigError.
    """
    called, called_test = _called(dataset, test)
    handed, tested = _with_one_numbering(_arrays(dataset, called), _arrays(test, called_test))
    found = [_source(dataset, handed, config, called)]
    if test is not None:
        found.append(_source(test, tested, config, called_test))
    elif handed is not None and "test" in handed:
        found.append(ArraySource(checked(handed["test"], called_test), called_test))
    return found


def _called(dataset: DatasetLike, test: DatasetLike) -> tuple[str, str]:
    """Return what errors call training and test images: their file, else the argument."""
    train = str(dataset) if isinstance(dataset, str | PathLike) else "dataset"
    if isinstance(test, str | PathLike):
        return train, str(test)
    return train, "test" if test is not None or train == "dataset" else f"{train}, test"


def _with_one_numbering(*sides: dict[str, Handed] | None) -> list[dict[str, Handed] | None]:
    """Number groups that are words alike in all parts, so that a group of two is known by it."""
    whole = [each for side in sides for each in (side or {}).values()]
    groups = [np.asarray(each[2]) for each in whole if isinstance(each, tuple) and len(each) == 3]
    words = [each for each in groups if each.dtype.kind in "US" and each.ndim == 1]
    if len(groups) < 2 or len(words) < len(groups):
        return list(sides)
    known = np.unique(np.concatenate(words))

    def numbered(handed: Handed) -> Handed:
        if not isinstance(handed, tuple) or len(handed) < 3:
            return handed
        return (*handed[:2], np.searchsorted(known, np.asarray(handed[2])))

    return [side and {part: numbered(own) for part, own in side.items()} for side in sides]


def _test_of(handed: Mapping[str, Handed], tested: Mapping[str, Handed] | None) -> Handed | None:
    if tested is None:
        return handed.get("test")
    if "test" in handed:
        raise two_tests("the data set")
    return tested["train"]


def label_of(dataset: DatasetLike) -> str:
    """Return a short name for files and studies: the data set's, or that of its folder or file."""
    if not isinstance(dataset, str | Path):
        return "own"
    if isinstance(dataset, str) and not is_path(dataset):
        return dataset
    path = Path(str(dataset).split(",")[0])
    stem = path.stem if path.suffix in (*LISTINGS, *ARRAY_FILES) else path.resolve().name
    plain = "".join(each if each.isascii() and each.isalnum() else "-" for each in stem)
    return plain.strip("-")[:40] or "own"


def is_path(text: str) -> bool:
    """Return whether a text names files, because it exists or looks like a path."""
    if text in DATASETS or is_own(text):
        return False
    suffixes = (*LISTINGS, *ARRAY_FILES)
    if "/" in text or text.lower().endswith(suffixes) or text in (".", ".."):
        return True
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long, or with a NUL
        return False


def _source(
    dataset: DatasetLike, handed: Mapping[str, Handed] | None, config: DataConfig, what: str
) -> ImageSource:
    if handed is not None:
        if config.group_by is not None:
            raise ConfigError(
                "group_by is for pictures by their path: arrays have their own groups"
            )
        return ArraySource(_with_validation(handed, what), what)
    if is_items(dataset):
        if config.group_by is not None:
            raise ConfigError("group_by is for pictures by their path: items have their own groups")
        return ItemSource(dataset, what)
    if not isinstance(dataset, str | PathLike):
        raise DataError(
            f"{what}: must be a name, a path, arrays (images, labels), a Dataset of PyTorch or an "
            f"iterable of (image, label), but got {type(dataset).__name__}"
        )
    return PictureSource(listing(_there(Path(dataset)), config))


def _there(path: Path) -> Path:
    try:
        there = path.exists()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{str(path)!r} cannot be read: {reason}") from error
    if not there:
        raise DataError(f"{path} is not there")
    if not path.is_dir() and path.suffix.lower() not in LISTINGS:
        raise DataError(
            f"{path} must be a folder of pictures, a .csv listing, an .npz file or .npy files"
        )
    return path


def _with_validation(handed: Mapping[str, Handed], what: str) -> Arrays:
    """Join training and validation images into one store."""
    train = checked(handed["train"], what)
    if "val" not in handed:
        return train
    val = checked(handed["val"], what)
    held = np.repeat([False, True], [len(train.labels), len(val.labels)])
    if (train.groups is None) != (val.groups is None):
        raise DataError(f"{what}: training and validation images must both have groups, or neither")
    groups = None if train.groups is None else np.concatenate([train.groups, val.groups])
    if train.images.shape[1:] != val.images.shape[1:]:
        raise DataError(f"{what}: training and validation images must be of one shape")
    images = np.concatenate([train.images, val.images])
    return Arrays(images, np.concatenate([train.labels, val.labels]), groups=groups, held=held)


def _arrays(dataset: DatasetLike, what: str) -> dict[str, Handed] | None:
    """Return the arrays of each part, where a data set is arrays or files of them."""
    if isinstance(dataset, Arrays | tuple) or (
        isinstance(dataset, list | np.ndarray) and not is_items(dataset)
    ):
        return {"train": dataset}  # type: ignore[dict-item]
    if not isinstance(dataset, str | Path):
        return None
    text = str(dataset)
    if text.lower().endswith(".npy"):
        return {"train": _pair(text, what)}
    return _archive(Path(text), what) if text.lower().endswith(".npz") else None


def _archive(path: Path, what: str) -> dict[str, Handed]:
    """Read images, labels and, if they are there, groups of each part from an .npz file."""
    try:
        check_regular(path)
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            _check_size(file)
            found: dict[str, Handed] = {}
            there = list(file)
            for part, choices in KEYS.items():
                for names in choices:
                    if set(names[:2]) <= set(there):
                        found[part] = tuple(file[name] for name in names if name in there)
                        break
    except DataError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    except Exception as error:  # a damaged archive makes zipfile and numpy raise whatever they do
        reason = getattr(error, "strerror", None) or "it is no .npz file of arrays"
        raise DataError(f"{path} cannot be read: {reason}") from error
    if "train" not in found:
        raise DataError(f"{path} must hold the arrays images and labels, but has {there}"[:300])
    return found


def _check_size(archive: Any) -> None:
    """Refuse a small file that would unfold into more than there is memory. Raises DataError."""
    unfolded = sum(each.file_size for each in archive.zip.infolist())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if unfolded > memory:
        raise DataError(f"it unfolds into {unfolded:,} bytes, and there are {memory:,} of memory")


def _pair(text: str, what: str) -> Handed:
    """Map `images.npy,labels.npy` and maybe groups; of one file with images in its name, the
    labels are beside it.
    """
    files = [Path(each.strip()) for each in text.split(",")]
    if len(files) == 1:
        if "images" not in files[0].name:
            raise DataError(
                f"{what}: .npy files are given as images.npy,labels.npy, but got {text!r} alone"
            )
        beside = [
            files[0].with_name(files[0].name.replace("images", n)) for n in ("labels", "groups")
        ]
        files += [each for each in beside if each.name == beside[0].name or each.exists()]
    found = []
    for file in files:
        try:
            check_regular(file)
            found.append(np.load(file, mmap_mode="r", allow_pickle=False))
        except Exception as error:  # a damaged head makes numpy raise whatever its parsers do
            reason = getattr(error, "strerror", None) or "it is no .npy file of an array"
            raise DataError(f"{file} cannot be read: {reason}") from error
    return tuple(found)
