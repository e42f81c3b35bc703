"""The decoded cache: a folder for each part of a data set, written whole or not at all, and
verified whenever its pixels are opened.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from blocksearch.data.datasets import (
    ARRAYS,
    Arrays,
    Dataset,
    Handed,
    check_part,
    digest,
    get,
    is_name,
    named,
    one_line,
    own_arrays,
    own_name,
    own_test_arrays,
    prints,
    times,
)
from blocksearch.errors import BlocksearchError, ConfigError, DataError
from blocksearch.files import check_regular, replace_file

FORMAT = 1
SMALL = "small"  # in meta.json: digest of all but the pixels; caches of earlier versions lack it
LEFT_SECONDS = 3600


class Description(NamedTuple):
    """What is known of a part without its pixels; `prints` are equal for equal images."""

    digest: str
    labels: NDArray[np.int64]
    groups: NDArray[np.int32] | None
    prints: NDArray[np.uint64]


def data_root(explicit: Path | None = None) -> Path:
    """Return the folder of the data: the explicit one, else BLOCKSEARCH_DATA, else a folder in the
    user's cache.
    """
    chosen = explicit or os.environ.get("BLOCKSEARCH_DATA")
    if not chosen:
        return _user_cache()
    try:
        return Path(chosen).expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"the data root {str(chosen)!r} names a home folder that is not known"
        ) from error


def load(name: str, part: str, root: Path | None = None) -> Arrays:
    """Return a part, "train" or "test", as read-only arrays backed by the cache, decoding it first
    where needed.

    The cache is decoded again where it is damaged or the source files changed; where the sources
    are gone it serves alone. Raises DataError where there is neither cache nor readable source.

    >>> load("digits", "test").images.shape
    (5000, 32, 32, 3)
    """
    folder = data_root(root)
    stamp, problem = _stamp(name, part, folder)
    for place in _places(folder):
        if cached := _open(place / f"{name}-{part}", stamp):
            return cached
    if problem:
        raise problem
    decoded = decode(get(name), part, folder)
    for array in named(decoded).values():
        array.flags.writeable = False  # as those from the cache are
    _write_first(f"{name}-{part}", folder, decoded, stamp)
    return decoded


def describe(name: str, part: str, root: Path | None = None) -> Description:
    """Return what is known of a part without its pixels, which are decoded only where they never
    were.

    The digest is the one stored when they were decoded; `load` holds the pixels against it.
    Raises DataError as `load` does.
    """
    if found := noted(name, part, root):
        return found
    loaded = load(name, part, root)
    return Description(digest(loaded), loaded.labels, loaded.groups, prints(loaded.images))


def noted(name: str, part: str, root: Path | None = None) -> Description | None:
    """Return what the cache says of a part, None where it was never decoded or files changed."""
    folder = data_root(root)
    stamp, _ = _stamp(name, part, folder)
    found = (_described(place / f"{name}-{part}", stamp) for place in _places(folder))
    return next(filter(None, found), None)


def decode(data: Dataset, part: str, root: Path) -> Arrays:
    """Read a part from its files. Raises DataError for whatever is wrong with them."""
    check_part(part)
    try:
        found = data.read(part, root)
        _check_task(found, data)
    except DataError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{error.filename or root} cannot be read: {reason}") from error
    except Exception as error:  # a reader of somebody's own may raise anything
        raise DataError(
            f"{data.name}: its {part} images could not be read: {type(error).__name__}: "
            f"{one_line(error)}"
        ) from error
    return found


def _check_task(found: Arrays, data: Dataset) -> None:
    (count, *shape), labels, classes = found.images.shape, found.labels, data.task.classes
    wanted = [data.task.input.height, data.task.input.width, data.task.input.channels]
    if shape != wanted or found.images.dtype != np.uint8:
        raise DataError(
            f"{data.name}: images must be uint8, N×{times(wanted)}, but are "
            f"{found.images.dtype} of shape {found.images.shape}"
        )
    if labels.shape != (count,) or labels.dtype != np.int64:
        raise DataError(
            f"{data.name}: labels must be int64, one for each of {count:,} images, but are "
            f"{labels.dtype} of shape {labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"{data.name}: labels must be 0 to {classes - 1}, but are {labels.min()} to "
            f"{labels.max()}"
        )


def _places(folder: Path) -> list[Path]:
    """List where decoded images may lie: beside the data, or else in the user's cache."""
    own = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return [folder / ".blocksearch", _user_cache() / "decoded" / own]


def _write_first(name: str, root: Path, decoded: Arrays, stamp: list[Any] | None) -> bool:
    """Write into the first place that can be written; say whether there was one."""
    for place in _places(root):
        with contextlib.suppress(OSError):
            _write(place / name, decoded, stamp)
            return True
    return False


class Own:
    """A user's images, checked and named, in memory until `keep` puts them where decoded data sets
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
        digests = [digest(arrays) for arrays in self._parts.values()]
        both = hashlib.sha256(" ".join(digests).encode()).hexdigest()
        self.name = own_name(self._parts["train"], digests[0] if test is None else both)
        self.task = get(self.name).task

    def keep(self, root: Path | None = None) -> str:
        """Put the images beside decoded ones, unless they are there; return their name.

        Raises DataError where nothing can be written.
        """
        folder = data_root(root)
        for part, arrays in self._parts.items():
            name = f"{self.name}-{part}"
            there = (_open(place / name, None) for place in _places(folder))
            if any(found and digest(found) == digest(arrays) for found in there):
                continue  # another process may be reading them
            if not _write_first(name, folder, arrays, None):
                raise DataError(f"images of your own cannot be written under {folder}")
        return self.name


def _user_cache() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("blocksearch", appauthor=False)


def _stamp(name: str, part: str, root: Path) -> tuple[list[Any] | None, BlocksearchError | None]:
    """Return the stamp of a part's sources, or what is missing of them.

    A worker may not know a user's data set by its name, but finds its decoded images.
    """
    check_part(part)
    try:
        return get(name).stamp(part, root), None
    except DataError as error:
        return None, error
    except ConfigError as error:
        if not is_name(name):
            raise
        return None, error
    except OSError as error:
        reason = error.strerror or error
        return None, DataError(f"{error.filename or root} cannot be read: {reason}")


def _open(folder: Path, stamp: list[Any] | None) -> Arrays | None:
    """Return the cached arrays if they are whole and belong to these sources (or to sources that
    are gone), else None.
    """
    meta, found = _read(folder, stamp, ARRAYS)
    arrays = Arrays(**found) if {"images", "labels"} <= set(found) else None
    if arrays is None or digest(arrays) != meta["digest"]:
        return None
    if SMALL not in meta:  # of an earlier version
        with contextlib.suppress(OSError):  # not writable: asked again next time
            _save_prints(folder, meta, arrays)
    return arrays


def _described(folder: Path, stamp: list[Any] | None) -> Description | None:
    """Return what a cache says of its part, if it belongs to these sources and its small arrays
    are whole.
    """
    meta, found = _read(folder, stamp, (*ARRAYS[1:], "prints"))
    if not {"labels", "prints"} <= set(found):
        return None
    known = Description(meta["digest"], found["labels"], found.get("groups"), found["prints"])
    return known if meta.get(SMALL) == _small(known) else None


def _read(
    folder: Path, stamp: list[Any] | None, wanted: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Map some arrays of a cached part; nothing where it is damaged or of other sources."""
    try:
        check_regular(folder / "meta.json")
        meta = json.loads((folder / "meta.json").read_text())
        if meta["format"] != FORMAT or not isinstance(meta["digest"], str):
            return {}, {}
        if stamp is not None and meta["stamp"] != stamp:
            return {}, {}
        names = [name for name in (*meta["arrays"], "prints") if name in wanted]
        files = {name: folder / f"{name}.npy" for name in names}
        for file in files.values():
            check_regular(file)
        return meta, {
            name: np.load(file, mmap_mode="r", allow_pickle=False) for name, file in files.items()
        }
    except Exception:  # a damaged header makes numpy and json raise whatever their parsers do
        return {}, {}


def _small(known: Description) -> str:
    groups = b"" if known.groups is None else known.groups.tobytes()
    whole = (known.digest.encode(), known.labels.tobytes(), groups, known.prints.tobytes())
    return hashlib.sha256(b"".join(whole)).hexdigest()


def _save_prints(folder: Path, meta: dict[str, Any], arrays: Arrays) -> None:
    known = Description(meta["digest"], arrays.labels, arrays.groups, prints(arrays.images))
    _save(folder / "prints.npy", known.prints)
    replace_file(folder / "meta.json", json.dumps(meta | {SMALL: _small(known)}).encode())


def _write(folder: Path, split: Arrays, stamp: list[Any] | None) -> None:
    """Write into a temporary folder, then move it into place: readers see all or nothing."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    with tempfile.TemporaryDirectory(
        prefix=f"{folder.name}-", dir=folder.parent, ignore_cleanup_errors=True
    ) as temporary:
        fresh = Path(temporary) / "fresh"
        fresh.mkdir()
        arrays = named(split)
        for name, array in arrays.items():
            _save(fresh / f"{name}.npy", array)
        meta = {"format": FORMAT, "stamp": stamp, "arrays": list(arrays), "digest": digest(split)}
        _save_prints(fresh, meta, split)
        _publish(fresh, folder)


def _publish(fresh: Path, folder: Path) -> None:
    """Move `fresh` into place and whatever is there out of it, while another process may do the
    same.
    """
    for attempt in range(10):
        try:
            fresh.rename(folder)
        except OSError:  # an older copy is in the way
            with contextlib.suppress(FileNotFoundError):  # or was, until another process moved it
                folder.rename(fresh.with_name(f"stale-{attempt}"))
        else:
            return
    fresh.rename(folder)


def _sweep(folder: Path) -> None:
    """Remove what writers that were killed have left; a live one takes seconds."""
    for left in folder.parent.glob(f"{folder.name}-*"):
        with contextlib.suppress(OSError):  # another process may sweep, too
            if time.time() - left.stat().st_mtime > LEFT_SECONDS:
                shutil.rmtree(left)


def _save(path: Path, array: NDArray[Any]) -> None:
    # in one step: a reader may have mapped the file that was there
    replace_file(path, lambda file: np.save(file, array, allow_pickle=False))
