"""Download published archives, check them before they are opened, extract them safely. The one door
to pooch.
"""

import hashlib
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from blocksearch.data.cache import data_root, digest, load
from blocksearch.data.datasets import DATA_SETS, Archive, get
from blocksearch.data.readers import SPLITS, Arrays, read, sources
from blocksearch.errors import BlocksearchError, DataError

MOST_BYTES = 2 * 2**30
MOST_MEMBERS = 200_000
_PLAIN = (
    0,
    stat.S_IFREG,
    stat.S_IFDIR,
)  # file types of a zip's members; 0 is that of systems without any


def fetch(name: str, root: Path | None = None, *, progress: bool = False) -> str:
    """Download and extract what a data set lacks; return one line that says what was done. Raises
    DataError.
    """
    data, folder = get(name), data_root(root)
    if not data.archives:
        return f"{name} is drawn from a seed: nothing to download"
    if not missing_files(name, folder):
        return f"{name} is already under {folder}"
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
        reason = " ".join(str(error).split())
        there = f" (the file there has {_md5(place)})" if place.is_file() else ""
        raise DataError(
            f"{archive.url} could not be fetched ({type(error).__name__}: {reason[:300]}); "
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
                archive.extractall(target)  # noqa: S202 (members were checked above; tar has its filter)
        else:
            raise DataError(f"{file} is neither a tar nor a zip archive")
    except DataError:
        raise
    except Exception as error:  # each codec raises kinds of its own for a damaged stream
        raise DataError(
            f"{file} cannot be extracted: {type(error).__name__}: {' '.join(str(error).split())}"
        ) from error


def _check(file: Path, members: Iterable[tuple[str, int, bool]]) -> None:
    total = 0
    for count, (name, size, plain) in enumerate(members, 1):
        path = PurePosixPath(name.replace("\\", "/"))
        if (
            path.is_absolute() or ".." in path.parts or ":" in name
        ):  # a colon: another drive, or a stream
            raise DataError(
                f"{file}: members must stay inside the archive's folder, but one is {name!r}"
            )
        if not plain:
            raise DataError(
                f"{file}: members must be plain files or folders, but {name!r} is a link or a device"
            )
        total += size
        if total > MOST_BYTES or count > MOST_MEMBERS:
            raise DataError(
                f"{file}: an archive has at most {MOST_BYTES:,} bytes in {MOST_MEMBERS:,} members, but this has more"
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
    for split in SPLITS:
        try:
            sources(name, split, root)
        except DataError as error:
            found.append(str(error))
    return found


def listing(root: Path | None = None) -> list[dict[str, object]]:
    """One row per known data set: what it is, and what is missing of it."""
    folder = data_root(root)
    return [
        {
            "name": data.name,
            "description": data.description,
            "classes": data.task.classes,
            "missing": next(iter(missing_files(data.name, folder)), "") if data.archives else "",
        }
        for data in DATA_SETS.values()
    ]


def check(name: str, root: Path | None = None) -> list[dict[str, object]]:
    """Read both splits of a data set whole, from its files rather than the cache; one row each,
    with any problem.
    """
    get(name)
    return [_checked(name, split, root) for split in SPLITS]


def _from_files(name: str, split: str, root: Path | None) -> Arrays:
    try:
        sources(name, split, data_root(root))
    except DataError:
        return load(
            name, split, root
        )  # no files: the cache, the generator, or the reason why there is neither
    return read(name, split, data_root(root))


def _checked(name: str, split: str, root: Path | None) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(
        ("images", "classes", "least", "most", "groups", "digest", "problem")
    )
    try:
        data = _from_files(name, split, root)
    except BlocksearchError as error:
        return {"name": name, "split": split} | row | {"problem": str(error)}
    counts = np.bincount(data.labels)
    return (
        {"name": name, "split": split}
        | row
        | {
            "images": len(data.images),
            "classes": int((counts > 0).sum()),
            "least": int(counts.min()),
            "most": int(counts.max()),
            "groups": None if data.groups is None else len(np.unique(data.groups)),
            "digest": digest(data)[:16],
            "problem": "",
        }
    )
