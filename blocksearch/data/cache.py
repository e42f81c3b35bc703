"""Caches decoded data sets, and decides when a part is decoded again. Pixels are verified whenever
they are opened.
"""

import hashlib
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from blocksearch.data.cache_files import (
    Description,
    discard,
    open_arrays,
    open_description,
    write_arrays,
)
from blocksearch.data.datasets import (
    About,
    Arrays,
    Dataset,
    check_part,
    digest,
    get,
    is_name,
    is_own,
    named,
    one_line,
    times,
)
from blocksearch.errors import BlocksearchError, ConfigError, DataError, check_type
from blocksearch.files import check_is_path


def data_root(explicit: Path | None = None) -> Path:
    """Return the folder of the data: the explicit one, else BLOCKSEARCH_DATA, else a folder in the
    user's cache.
    """
    check_type("data_root", explicit, str | Path | None)
    chosen = explicit or os.environ.get("BLOCKSEARCH_DATA")
    if not chosen:
        return _user_cache()
    try:
        return check_is_path(Path(chosen).expanduser())
    except RuntimeError as error:
        raise ConfigError(
            f"the data root {str(chosen)!r} names a home folder that is not known"
        ) from error
    except OSError as error:
        raise ConfigError(f"the data root cannot be used: {error.strerror}") from error


def load(name: str, part: str, root: Path | None = None) -> Arrays:
    """Return a part, "train" or "test", as read-only arrays backed by the cache, decoding it first
    where needed.

    The cache is decoded again where it is damaged or the source files changed; where the sources
    are gone it serves alone. Raises DataError if there is neither cache nor readable source.

    >>> load("digits", "test").images.shape
    (5000, 32, 32, 3)
    """
    return verified(name, part, root)[0]


def verified(name: str, part: str, root: Path | None = None) -> tuple[Arrays, str]:
    """Return what `load` does, with its digest, which was computed on the way."""
    folder = data_root(root)
    stamp, problem = _stamp(name, part, folder)
    for place in places(folder):
        if cached := open_arrays(place / f"{name}-{part}", stamp):
            return cached
        if problem and is_own(name):  # damaged: handed over, they are written again
            discard(place / f"{name}-{part}")
    if problem:
        raise problem
    decoded, before = decode(get(name), part, folder), earlier(name, part, folder)
    if before and before.digest != digest(decoded):
        warnings.warn(
            f"{name}: {part} images or labels differ from those decoded before, because their "
            "files changed; runs on those are not runs on these",
            stacklevel=2,
        )
    for array in named(decoded).values():
        array.flags.writeable = False  # as those from the cache are
    write_first(f"{name}-{part}", folder, decoded, stamp, get(name).about(part, folder))
    return decoded, digest(decoded)


def describe(name: str, part: str, root: Path | None = None) -> Description:
    """Return what is known of a part without its pixels, which are decoded only where they never
    were.

    The digest is the one stored when they were decoded; `load` holds the pixels against it.
    Raises DataError as `load` does.
    """
    if found := noted(name, part, root):
        return found
    arrays, whole = verified(name, part, root)
    return noted(name, part, root) or Description.of(arrays, whole)


def noted(name: str, part: str, root: Path | None = None) -> Description | None:
    """Return what the cache says of a part, None if it was never decoded or files changed."""
    folder = data_root(root)
    stamp, _ = _stamp(name, part, folder)
    found = (open_description(place / f"{name}-{part}", stamp) for place in places(folder))
    return next(filter(None, found), None)


def unread(name: str, part: str, root: Path | None = None) -> bool:
    """Return whether a part is there, and takes its time because it must be decoded first."""
    return _stamp(name, part, data_root(root))[1] is None and noted(name, part, root) is None


def earlier(name: str, part: str, root: Path) -> Description | None:
    """Return what was decoded last, from whatever files; None if nothing was."""
    found = (open_description(place / f"{name}-{part}", None) for place in places(root))
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


def places(folder: Path) -> list[Path]:
    """List where decoded images may lie: beside the data, or else in the user's cache."""
    own = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    return [folder / ".blocksearch", _user_cache() / "decoded" / own]


def write_first(
    name: str, root: Path, decoded: Arrays, stamp: list[Any] | None, about: About | None = None
) -> str:
    """Write into the first place that can be written; say why there was none, or nothing."""
    trouble = ""
    for place in places(root):
        try:
            write_arrays(place / name, decoded, stamp, about)
            return ""
        except OSError as error:
            trouble = trouble or error.strerror or str(error)
    return trouble


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
