"""Writes the folder of one decoded part, whole or not at all, and trusts what it reads only if its
digests hold.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blocksearch.data.datasets import ARRAYS, About, Arrays, Dataset, digest, named, prints
from blocksearch.files import check_regular, replace_file

FORMAT = 1
SMALL = "small"  # in meta.json: digest of all but the pixels; caches of earlier versions lack it
LEFT_SECONDS = 3600
HEADER = 128  # bytes before the pixels of a file of images


@dataclass(frozen=True, kw_only=True)
class Description:
    """What is known of a part without its pixels; `prints` are equal for equal images."""

    digest: str
    labels: NDArray[np.int64]
    groups: NDArray[np.int32] | None = None
    held: NDArray[np.bool_] | None = None
    prints: NDArray[np.uint64]
    about: About = field(default_factory=About)

    @classmethod
    def of(cls, arrays: Arrays, whole: str = "", about: About | None = None) -> "Description":
        """Describe arrays, whose digest may be known already."""
        return cls(
            digest=whole or digest(arrays),
            labels=arrays.labels,
            groups=arrays.groups,
            held=arrays.held,
            prints=prints(arrays.images),
            about=about or About(),
        )

    def origin(self, data: Dataset, part: str) -> str:
        """Say in a phrase what the images are; empty where they may be as published."""
        return self.about.origin or data.origin(self.digest, len(self.labels), part)

    @property
    def check(self) -> str:
        """Digest everything, so that a damaged file is no description."""
        arrays = (self.labels, self.groups, self.prints, self.held)
        parts = [b"" if array is None else array.tobytes() for array in arrays]
        told = [] if self.about == About() else [json.dumps(asdict(self.about)).encode()]
        return hashlib.sha256(b"".join([self.digest.encode(), *parts, *told])).hexdigest()


def open_arrays(folder: Path, stamp: list[Any] | None) -> tuple[Arrays, str] | None:
    """Return the cached arrays with their digest if they are whole and belong to these sources (or
    to sources that are gone), else None.
    """
    meta, found = _read(folder, stamp, ARRAYS)
    arrays = Arrays(**found) if {"images", "labels"} <= set(found) else None
    if arrays is None or digest(arrays) != meta["digest"]:
        return None
    if SMALL not in meta:  # of an earlier version
        with contextlib.suppress(OSError):  # not writable: asked again next time
            _describe(folder, meta, Description.of(arrays, meta["digest"]))
    return arrays, meta["digest"]


def open_description(folder: Path, stamp: list[Any] | None) -> Description | None:
    """Return what a cache says of its part, if it belongs to these sources and its small arrays
    are whole.
    """
    meta, found = _read(folder, stamp, (*ARRAYS[1:], "prints"))
    if not {"labels", "prints"} <= set(found):
        return None
    try:
        own = meta.get("about", {})
        about = About(classes=tuple(map(str, own.get("classes", ()))), origin=own.get("origin", ""))
        known = Description(digest=meta["digest"], about=about, **found)
        return known if meta.get(SMALL) == known.check else None
    except (AttributeError, TypeError):
        return None


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


def _describe(folder: Path, meta: dict[str, Any], known: Description) -> None:
    _save(folder / "prints.npy", known.prints)
    told = {} if known.about == About() else {"about": asdict(known.about)}
    whole = json.dumps(meta | told | {SMALL: known.check})
    replace_file(folder / "meta.json", whole.encode())


def describe_anew(folder: Path, about: About) -> None:
    """Say of a cached part what is known of it now. Raises OSError."""
    if (known := open_description(folder, None)) and known.about != about:
        meta = json.loads((folder / "meta.json").read_text())
        _describe(folder, meta, Description(**vars(known) | {"about": about}))


def write_arrays(
    folder: Path, split: Arrays, stamp: list[Any] | None, about: About | None = None
) -> None:
    """Write into a temporary folder, then move it into place: readers see all or nothing.

    Raises OSError.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    with tempfile.TemporaryDirectory(
        prefix=f"{folder.name}-", dir=folder.parent, ignore_cleanup_errors=True
    ) as temporary:
        fresh = Path(temporary) / "fresh"
        fresh.mkdir()
        _save(fresh / "images.npy", split.images)
        _finish(fresh, split, Description.of(split, about=about), stamp)
        _publish(fresh, folder)


def _finish(fresh: Path, split: Arrays, known: Description, stamp: list[Any] | None) -> None:
    """Write everything beside the images."""
    arrays = named(split)
    for name, array in arrays.items():
        if name != "images":
            _save(fresh / f"{name}.npy", array)
    meta = {"format": FORMAT, "stamp": stamp, "arrays": list(arrays), "digest": known.digest}
    _describe(fresh, meta, known)


class Writer:
    """Writes images of which nobody knows how many there will be, one after the other, into a
    temporary folder in `place`; `publish` moves it where a part is looked for.

    No more than one image is held in memory. Raises OSError.
    """

    def __init__(self, place: Path) -> None:
        place.mkdir(parents=True, exist_ok=True)
        _sweep(place / "own")
        self._temporary = tempfile.TemporaryDirectory(
            prefix="own-writing-", dir=place, ignore_cleanup_errors=True
        )
        self._fresh = Path(self._temporary.name) / "fresh"
        self._fresh.mkdir()
        self._file = (self._fresh / "images.npy").open("wb")
        self._file.write(bytes(HEADER))
        self._place, self.count = place, 0
        self.shape: tuple[int, ...] | None = None

    def add(self, pixels: NDArray[np.uint8]) -> None:
        """Write an image H×W×C of the shape of the first."""
        self.shape = self.shape or pixels.shape
        assert pixels.shape == self.shape
        assert pixels.dtype == np.uint8
        self._file.write(np.ascontiguousarray(pixels).data)
        self.count += 1

    def images(self) -> NDArray[np.uint8]:
        """Return all images, mapped from their file; none can be added any more."""
        head = io.BytesIO()
        shape = (self.count, *(self.shape or ()))
        known = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(head, known)
        assert len(head.getvalue()) == HEADER
        self._file.seek(0)
        self._file.write(head.getvalue())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        found: NDArray[np.uint8] = np.load(self._fresh / "images.npy", mmap_mode="r")
        return found

    def publish(self, name: str, split: Arrays, known: Description) -> None:
        """Move the part into place, with everything that is known of it."""
        _finish(self._fresh, split, known, None)
        _publish(self._fresh, self._place / name)

    def close(self) -> None:
        """Remove what was not published."""
        self._file.close()
        self._temporary.cleanup()


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


def discard(folder: Path) -> None:
    """Remove a part that is damaged, so that it is decoded again."""
    with contextlib.suppress(OSError):
        (folder / "meta.json").unlink()


def _sweep(folder: Path) -> None:
    """Remove what writers that were killed have left; a live one has written something lately."""
    pattern = "own-writing-*" if folder.name == "own" else f"{folder.name}-*"
    for left in folder.parent.glob(pattern):
        with contextlib.suppress(OSError):  # another process may sweep, too
            touched = [path.stat().st_mtime for path in (left, *left.rglob("*"))]
            if time.time() - max(touched) > LEFT_SECONDS:
                shutil.rmtree(left)


def _save(path: Path, array: NDArray[Any]) -> None:
    # in one step: a reader may have mapped the file that was there
    replace_file(path, lambda file: np.save(file, array, allow_pickle=False))
