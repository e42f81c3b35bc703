"""Decode one split of a published layout into arrays, and refuse what is not what it says. The door to pillow and scipy.io."""

import csv
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blocksearch.errors import DataError

CIFAR_RECORD = 1 + 3 * 32 * 32  # bytes: a label, then the red, green and blue planes
CIFAR_RECORDS = 10_000
GTSRB_CLASSES = 43
MOST_PIXELS = 2_000_000  # of one image file; published ones have at most some 60,000


@dataclass(frozen=True)
class Split:
    """Images N×32×32×3 uint8, labels N int64, and groups N int32 (GTSRB training: the physical sign) or None."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    groups: NDArray[np.int32] | None = None


def sources(name: str, split: str, root: Path) -> list[Path]:
    """List the files that a split is decoded from, for GTSRB those that list the others. Raises DataError if one is missing."""
    match name:
        case "cifar10":
            batches = [f"data_batch_{k}.bin" for k in range(1, 6)] if split == "train" else ["test_batch.bin"]
            return [_wanted(root / "cifar-10-batches-bin" / batch, name, root) for batch in batches]
        case "svhn":
            file = f"{split}_32x32.mat"
            inner = root / "svhn" / file
            return [inner if inner.is_file() else _wanted(root / file, name, root)]
        case "gtsrb" if split == "train":
            folders = [root / "gtsrb" / "GTSRB" / "Training" / f"{c:05d}" for c in range(GTSRB_CLASSES)]
            return [_wanted(folder / f"GT-{folder.name}.csv", name, root) for folder in folders]
        case "gtsrb":
            return [_wanted(root / "gtsrb" / "GT-final_test.csv", name, root)]
        case _:
            raise DataError(f"{name} has no published files")


def read(name: str, split: str, root: Path) -> Split:
    """Decode a split from the files under `root`. Raises DataError that names the rule, the value and the file."""
    files = sources(name, split, root)
    readers: dict[str, Callable[[list[Path]], Split]] = {"cifar10": _cifar10, "svhn": _svhn, "gtsrb": _gtsrb}
    return readers[name](files)


def _wanted(path: Path, name: str, root: Path) -> Path:
    if not path.is_file():
        raise DataError(
            f"{path.relative_to(root)} is not under {root}; `blocksearch data fetch {name}` downloads it, "
            "and --data-root or BLOCKSEARCH_DATA names another folder"
        )
    return path


def _cifar10(files: list[Path]) -> Split:
    batches = np.concatenate([_cifar_batch(path) for path in files])
    labels = batches[:, 0].astype(np.int64)
    images = np.ascontiguousarray(batches[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return Split(images, labels)


def _cifar_batch(path: Path) -> NDArray[np.uint8]:
    size, expected = path.stat().st_size, CIFAR_RECORDS * CIFAR_RECORD
    if size != expected:
        raise DataError(f"{path} must have {expected:,} bytes ({CIFAR_RECORDS:,} records of {CIFAR_RECORD:,}), but has {size:,}")
    records = np.fromfile(path, np.uint8).reshape(-1, CIFAR_RECORD)
    _check_labels(records[:, 0].astype(np.int64), 10, path)
    return records


def _check_labels(labels: NDArray[np.int64], classes: int, path: Path) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        raise DataError(f"{path}: labels must be 0 to {classes - 1}, but record {wrong[0]} has {labels[wrong[0]]}")


def _svhn(files: list[Path]) -> Split:
    import scipy.io

    (path,) = files
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scipy warns of odd files that are refused below
            content = scipy.io.loadmat(path, variable_names=["X", "y"])
    except Exception as error:  # scipy raises many kinds for a file that is not MATLAB's
        raise DataError(f"{path} is not a MATLAB file that can be read: {type(error).__name__}: {error}") from error
    if missing := [key for key in ("X", "y") if key not in content]:
        raise DataError(f"{path} must hold the variables X and y, but lacks {' and '.join(missing)}")
    pixels, labels = np.asarray(content["X"]), np.asarray(content["y"]).reshape(-1)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[:3] != (32, 32, 3):
        raise DataError(f"{path}: X must be 32×32×3×N uint8, but is {'×'.join(map(str, pixels.shape))} {pixels.dtype}")
    if len(labels) != pixels.shape[3] or labels.dtype.kind not in "iuf" or not len(labels):
        raise DataError(
            f"{path}: y must hold one label for each of {pixels.shape[3]} images, but has {len(labels)} {labels.dtype}"
        )
    wrong = np.flatnonzero(~np.isin(labels, range(1, 11)))
    if wrong.size:
        raise DataError(f"{path}: labels must be 1 to 10 (10 is the digit 0), but image {wrong[0]} has {labels[wrong[0]]}")
    return Split(np.ascontiguousarray(pixels.transpose(3, 0, 1, 2)), labels.astype(np.int64) % 10)


def _gtsrb(files: list[Path]) -> Split:
    training = len(files) > 1
    images, labels, groups = [], [], []
    signs: dict[tuple[int, str], int] = {}
    for listing in files:
        folder = listing.parent if training else listing.parent / "GTSRB" / "Final_Test" / "Images"
        for file_name, label in _gtsrb_rows(listing):
            if training and label != int(folder.name):
                raise DataError(f"{listing}: images of class {folder.name} must say so, but {file_name} says {label}")
            images.append(_image(folder / file_name, listing))
            labels.append(label)
            groups.append(signs.setdefault((label, file_name.partition("_")[0]), len(signs)))
    stacked = np.stack(images)
    return Split(stacked, np.array(labels, np.int64), np.array(groups, np.int32) if training else None)


def _gtsrb_rows(listing: Path) -> Iterator[tuple[str, int]]:
    """Read file names and classes from a semicolon-separated listing; the published folders are flat."""
    with listing.open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.DictReader(file, delimiter=";")
        if not {"Filename", "ClassId"} <= set(reader.fieldnames or ()):
            raise DataError(f"{listing} must be a semicolon-separated table with Filename and ClassId")
        rows = list(reader)
    if not rows:
        raise DataError(f"{listing} lists no images")
    for row in rows:
        name, label = row["Filename"] or "", row["ClassId"] or ""
        if Path(name).name != name or not name:
            raise DataError(f"{listing}: a file name must lie in its folder, but one is {name!r}")
        if not label.isascii() or not label.isdigit() or int(label) >= GTSRB_CLASSES:
            raise DataError(f"{listing}: classes must be 0 to {GTSRB_CLASSES - 1}, but {name} has {label!r}")
        yield name, int(label)


def _image(path: Path, listing: Path) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        raise DataError(f"{listing} lists {path.name}, but {path} is not there")
    try:
        with Image.open(io.BytesIO(path.read_bytes()), formats=["PPM", "PNG"]) as image:
            if image.width * image.height > MOST_PIXELS:
                raise DataError(f"{path}: an image has at most {MOST_PIXELS:,} pixels, but this has {image.width}×{image.height}")
            colours = image.convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path} is not a PPM image that can be read: {error}") from error
    return np.asarray(colours if colours.size == (32, 32) else colours.resize((32, 32), Image.Resampling.BILINEAR))
