"""The decoded cache: one folder per data set and split, written whole or not at all, verified
whenever it is opened.
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

from blocksearch.data.datasets import get
from blocksearch.data.own import own_name, own_task
from blocksearch.data.readers import Arrays, check_split, folders, read, sources
from blocksearch.errors import ConfigError, DataError

FORMAT = 1
SMALL = "labels and groups"  # key of their digest in meta.json; caches of earlier versions lack it
LEFT_SECONDS = 3600
_ARRAYS = ("images", "labels", "groups")


class Description(NamedTuple):
    """What is known of a split without its pixels: its digest, labels and groups."""

    digest: str
    labels: NDArray[np.int64]
    groups: NDArray[np.int32] | None


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


def load(name: str, split: str, root: Path | None = None) -> Arrays:
    """Return a split as read-only arrays backed by the cache, decoding it first where needed.

    The cache is decoded again where it is damaged or the source files changed; where the sources
    are gone it serves alone.
    Raises DataError where there is neither cache nor readable source.
    """
    get(name)
    check_split(split)
    folder = data_root(root)
    stamp, problem = _stamp(name, split, folder)
    for place in _places(folder):
        cached = _open(place / f"{name}-{split}", stamp)
        if cached is not None:
            return cached
    if problem:
        raise problem
    decoded = _sealed(_decode(name, split, folder))
    _write_first(name, split, folder, decoded, stamp)
    return decoded


def describe(name: str, split: str, root: Path | None = None) -> Description:
    """Return digest, labels and groups of a split without its pixels, which are decoded only where
    they never were.

    The digest is the one stored when they were decoded; `load` holds the pixels against it.
    Raises DataError as `load` does.
    """
    get(name)
    check_split(split)
    folder = data_root(root)
    stamp, _ = _stamp(name, split, folder)
    for place in _places(folder):
        if found := _described(place / f"{name}-{split}", stamp):
            return found
    loaded = load(name, split, root)
    return Description(digest(loaded), loaded.labels, loaded.groups)


def _places(folder: Path) -> list[Path]:
    """List where decoded images may lie: beside the data, or else in the user's cache."""
    own = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return [folder / ".blocksearch", _user_cache() / "decoded" / own]


def _write_first(
    name: str, split: str, folder: Path, decoded: Arrays, stamp: list[Any] | None
) -> None:
    for place in _places(folder):
        with contextlib.suppress(
            OSError
        ):  # not writable: the next place serves, and at worst the split is decoded each time
            _write(place / f"{name}-{split}", decoded, stamp)
            return


def keep(split: Arrays, test: Arrays | None = None, root: Path | None = None) -> str:
    """Keep a user's own images where decoded data sets are, and return the name by which they are
    known from then on.

    Other test images beside the same training images are another data set, with runs of its own.
    """
    own = (
        digest(split)
        if test is None
        else hashlib.sha256(f"{digest(split)} {digest(test)}".encode()).hexdigest()
    )
    name = own_name(split, own)
    for kind, images in (("train", split), ("test", test)):
        if images is not None and not _kept(f"{name}-{kind}", data_root(root), images):
            _write_first(name, kind, data_root(root), images, None)
    return name


def _kept(folder: str, root: Path, images: Arrays) -> bool:
    """Whether these images are there already: another process may be reading them."""
    there = (_open(place / folder, None) for place in _places(root))
    return any(found is not None and digest(found) == digest(images) for found in there)


def digest(split: Arrays) -> str:
    """Digest a split's images, labels and groups: the identity of the data in every run."""
    whole = hashlib.sha256()
    for name, array in _arrays(split).items():
        whole.update(f"{name}:{array.dtype.str}:{array.shape}:".encode())
        whole.update(np.ascontiguousarray(array).data)
    return whole.hexdigest()


def _decode(name: str, split: str, root: Path) -> Arrays:
    if name == "digits":
        from blocksearch.data.digits import generate

        return Arrays(*generate(split))
    return read(name, split, root)


def _sealed(split: Arrays) -> Arrays:
    """Make arrays read-only, as those from the cache are."""
    for array in _arrays(split).values():
        array.flags.writeable = False
    return split


def _user_cache() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("blocksearch", appauthor=False)


def _stamp(name: str, split: str, root: Path) -> tuple[list[Any] | None, DataError | None]:
    """Name, size and time of each source file, with a digest of them for a folder of images; or
    what is missing.
    """
    if own_task(name):
        return None, DataError(
            f"the {split} images of {name} are not under {root}: hand their arrays to `Study` again, test images as `test=`"
        )
    if name == "digits":
        from blocksearch.data.digits import DIGESTS

        return [DIGESTS[split]], None
    try:
        files = sources(name, split, root)
        stats = [(path.relative_to(root).as_posix(), path.stat()) for path in files]
        listed = [_folder_digest(folder) for folder in folders(name, files)]
    except DataError as error:
        return None, error
    except OSError as error:
        return None, DataError(
            f"{error.filename or root} cannot be read: {error.strerror or error}"
        )
    return [[path, stat.st_size, stat.st_mtime_ns] for path, stat in stats] + listed, None


def _folder_digest(folder: Path) -> str:
    """Digest names, sizes and times of a folder's files: a third of a second for GTSRB's 39,252,
    which decode in many.
    """
    with os.scandir(folder) as entries:
        found = sorted(
            (entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in entries
        )
    return hashlib.sha256(repr(found).encode()).hexdigest()


def _arrays(split: Arrays) -> dict[str, NDArray[Any]]:
    found = {name: getattr(split, name) for name in _ARRAYS}
    return {name: array for name, array in found.items() if array is not None}


def _open(folder: Path, stamp: list[Any] | None) -> Arrays | None:
    """Return the cached split if it is whole and belongs to these sources (or to sources that are
    gone), else None.
    """
    meta, arrays = _read(folder, stamp, _ARRAYS)
    split = Arrays(**arrays) if meta else None
    if split is None or digest(split) != meta["digest"]:
        return None
    if SMALL not in meta:
        with contextlib.suppress(OSError):  # not writable: asked again next time
            _save_meta(folder, meta | {SMALL: _small(split.labels, split.groups)})
    return split


def _described(folder: Path, stamp: list[Any] | None) -> Description | None:
    """Return what a cache says of its split, if it belongs to these sources and its labels are
    whole.
    """
    meta, arrays = _read(folder, stamp, _ARRAYS[1:])
    if "labels" not in arrays:
        return None
    found = Description(meta["digest"], arrays["labels"], arrays.get("groups"))
    return found if meta.get(SMALL) == _small(found.labels, found.groups) else None


def _read(
    folder: Path, stamp: list[Any] | None, wanted: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Map some arrays of a cached split; nothing where it is damaged or of other sources."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        if meta["format"] != FORMAT or (stamp is not None and meta["stamp"] != stamp):
            return {}, {}
        names = [name for name in meta["arrays"] if name in wanted]
        files = {name: folder / f"{name}.npy" for name in names}
        return meta, {
            name: np.load(file, mmap_mode="r", allow_pickle=False) for name, file in files.items()
        }
    except Exception:  # a damaged header makes numpy and json raise whatever their parsers do
        return {}, {}


def _small(labels: NDArray[np.int64], groups: NDArray[np.int32] | None) -> str:
    found = hashlib.sha256(labels.tobytes())
    found.update(b"" if groups is None else groups.tobytes())
    return found.hexdigest()


def _save_meta(folder: Path, meta: dict[str, Any]) -> None:
    """Put meta.json in place in one step."""
    with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".json", delete=False) as file:
        json.dump(meta, file)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(folder / "meta.json")


def _write(folder: Path, split: Arrays, stamp: list[Any] | None) -> None:
    """Write into a temporary folder, then move it into place: a reader sees the whole or nothing."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    with tempfile.TemporaryDirectory(
        prefix=f"{folder.name}-", dir=folder.parent, ignore_cleanup_errors=True
    ) as temporary:
        fresh = Path(temporary) / "fresh"
        fresh.mkdir()
        arrays = _arrays(split)
        for name, array in arrays.items():
            _save(fresh / f"{name}.npy", array)
        meta = {"format": FORMAT, "stamp": stamp, "arrays": list(arrays), "digest": digest(split)}
        _save_meta(fresh, meta | {SMALL: _small(split.labels, split.groups)})
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
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
