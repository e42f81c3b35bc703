"""Downloads published archives, checks them before they are opened, and extracts them safely. The
one door to pooch.
"""

import hashlib
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from blocksearch.data.cache import data_root, decode, earlier, load, noted
from blocksearch.data.datasets import (
    DATASETS,
    PARTS,
    Archive,
    Arrays,
    Dataset,
    digest,
    get,
    one_line,
    prints,
)
from blocksearch.errors import BlocksearchError, DataError

MOST_BYTES = 2 * 2**30
MOST_MEMBERS = 200_000
_PLAIN = (0, stat.S_IFREG, stat.S_IFDIR)  # types of a zip's members; 0: a system without any


def fetch(name: str, root: Path | None = None, *, progress: bool = False) -> str:
    """Download and extract what a data set lacks; return one line that says what was done. Raises
    DataError.

    >>> fetch("digits")
    'digits: nothing to download'
    """
    data, folder = get(name), data_root(root)
    if not missing_files(name, folder):
        here = f" is already under {folder}" if data.archives else ": nothing to download"
        return name + here
    if not data.archives:
        raise DataError(f"{name} has no published files to download")
    for archive in data.archives:
        install(archive, folder, progress=progress)
    if missing := missing_files(name, folder):
        raise DataError(f"{name}: the archives were extracted under {folder}, but {missing[0]}")
    return f"{name} is now under {folder}"


def install(archive: Archive, root: Path, *, progress: bool = False) -> None:
    """Download one archive into `root`, and where it is a tar or zip extract it there; nothing is
    left half-done.
    """
    target = root / archive.folder
    try:
        target.mkdir(parents=True, exist_ok=True)
        file = _download(archive, target, progress=progress)
        if file.suffix == ".mat":
            return
        with tempfile.TemporaryDirectory(dir=target) as temporary:
            extract(file, Path(temporary))
            _move_into(Path(temporary), target)
        file.unlink()
    except OSError as error:
        raise DataError(
            f"{archive.file_name} cannot be put into {target}: {error.strerror or error}"
        ) from error


def _download(archive: Archive, folder: Path, *, progress: bool) -> Path:
    import pooch

    place = folder / archive.file_name
    pooch.get_logger().setLevel("WARNING")  # it announces each download on the error stream
    try:
        return Path(
            pooch.retrieve(
                archive.url,
                f"md5:{archive.md5}",
                fname=place.name,
                path=folder,
                progressbar=progress,
            )
        )
    except Exception as error:  # requests, urllib3 and pooch each have kinds of their own
        if (response := getattr(error, "response", None)) is not None:
            # pooch leaves the connection open where the server answers with an error
            response.close()
        there = f" (the file there has {_md5(place)})" if place.is_file() else ""
        wrong = re.search(r"hash .* but got (\w+)", str(error))  # pooch's words repeat the path
        reason = f"its MD5 hash is {wrong[1]}" if wrong else one_line(error)
        raise DataError(
            f"{archive.url} could not be fetched ({type(error).__name__}: {reason}); "
            f"it may be put by hand at {place}, MD5 {archive.md5}{there}"
        ) from error


def _md5(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def extract(file: Path, target: Path) -> None:
    """Extract a tar or zip whose members all are plain files or folders inside `target`. Raises
    DataError otherwise.
    """
    try:
        if tarfile.is_tarfile(file):
            with tarfile.open(file) as tar:
                # Checked one by one: the first that breaks a rule ends it, before what follows is
                # decompressed.
                _check(file, ((m.name, m.size, m.isfile() or m.isdir()) for m in tar))
                tar.extractall(target, filter="data")
        elif zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
                _check(
                    file,
                    (
                        (e.filename, e.file_size, stat.S_IFMT(e.external_attr >> 16) in _PLAIN)
                        for e in entries
                    ),
                )
                # members were checked above; tar has its filter
                archive.extractall(target)  # noqa: S202
        else:
            raise DataError(f"{file} is neither a tar nor a zip archive")
    except DataError:
        raise
    except Exception as error:  # each codec raises kinds of its own for a damaged stream
        raise DataError(
            f"{file} cannot be extracted: {type(error).__name__}: {one_line(error)}"
        ) from error


def _check(file: Path, members: Iterable[tuple[str, int, bool]]) -> None:
    total = 0
    for count, (name, size, plain) in enumerate(members, 1):
        path = PurePosixPath(name.replace("\\", "/"))
        # a colon names another drive, or a stream
        if path.is_absolute() or ".." in path.parts or ":" in name:
            raise DataError(
                f"{file}: members must stay inside the archive's folder, but one is {name!r}"
            )
        if not plain:
            raise DataError(
                f"{file}: members must be plain files or folders, but {name!r} is a link or a "
                "device"
            )
        total += size
        if total > MOST_BYTES or count > MOST_MEMBERS:
            raise DataError(
                f"{file}: an archive has at most {MOST_BYTES:,} bytes in {MOST_MEMBERS:,} members, "
                "but this has more"
            )


def _move_into(source: Path, target: Path) -> None:
    """Move each folder that is new in one step: interrupted, the data set lacks it rather than a
    part of it.
    """
    for path in source.iterdir():
        place = target / path.name
        if path.is_dir() and place.is_dir():
            _move_into(path, place)
        else:
            shutil.move(path, place)


def missing_files(name: str, root: Path) -> list[str]:
    """Say what is missing of a data set's files; empty where all are there."""
    found = []
    for part in PARTS:
        try:
            get(name).sources(part, root)
        except DataError as error:
            found.append(str(error))
    return found


def listing(root: Path | None = None) -> list[dict[str, object]]:
    """Return a row for each known data set: what it is, how many images are published, whether its
    files are here, and once they are decoded, how they differ from the published ones.

    >>> "digits" in [row["name"] for row in listing() if row["here"]]
    True
    """
    folder = data_root(root)
    return [
        {
            "name": data.name,
            "description": data.description,
            "classes": data.task.classes,
            "published_training": data.counts[0],
            "published_test": data.counts[1],
            "here": not missing_files(data.name, folder),
            "origin": _known_origin(data, folder),
        }
        for data in DATASETS.values()
    ]


def _known_origin(data: Dataset, root: Path) -> str:
    found = noted(data.name, "train", root)
    return found.origin(data, "train") if found else ""


def check(name: str, root: Path | None = None) -> list[dict[str, object]]:
    """Read both parts of a data set whole, from its files rather than the cache; return a row for
    each, with its origin or any problem.

    `copies` counts images that equal an earlier one of the part; of test images, those that equal a
    training image.
    """
    data, seen, rows = get(name), np.zeros(0, np.uint64), []
    for part in PARTS:
        row: dict[str, object] = {"name": name, "split": part, **dict.fromkeys(_CHECKED)}
        try:
            found = _from_files(name, part, data_root(root))
        except BlocksearchError as error:
            rows.append(row | {"problem": str(error)})
            continue
        known = prints(found.images)
        again = (
            len(known) - len(np.unique(known)) if part == "train" else np.isin(known, seen).sum()
        )
        rows.append(row | _counted(data, part, found, data_root(root)) | {"copies": int(again)})
        seen = known
    return rows


_CHECKED = (
    "images", "classes", "least", "most", "groups", "copies", "digest", "origin",
    "problem",
)  # fmt: skip


def _counted(data: Dataset, part: str, found: Arrays, root: Path) -> dict[str, object]:
    counts = np.bincount(found.labels, minlength=data.task.classes)
    whole, published = digest(found), data.counts[PARTS.index(part)]
    before, problems = earlier(data.name, part, root), []
    if before and before.digest != whole:
        problems.append(f"{part} images or labels differ from those decoded before")
    if whole not in data.origins and len(found.images) != published and published:
        problems.append(f"{len(found.images):,} of {published:,} {part} images are here")
    if lacking := ", ".join(map(str, np.flatnonzero(counts == 0))):
        problems.append(f"no {part} image of class {lacking}")
    return {
        "images": len(found.images),
        "classes": int((counts > 0).sum()),
        "least": int(counts.min()),
        "most": int(counts.max()),
        "groups": None if found.groups is None else len(np.unique(found.groups)),
        "digest": whole[:16],
        "origin": data.origins.get(whole, ""),
        "problem": "; ".join(problems) and f"{data.name}: {'; '.join(problems)}",
    }


def _from_files(name: str, part: str, root: Path) -> Arrays:
    try:
        get(name).sources(part, root)
    except DataError:  # no files: the cache, or the reason why there is neither
        return load(name, part, root)
    return decode(get(name), part, root)
