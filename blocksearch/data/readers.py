"""Decode one split of a published layout into arrays, and refuse what is not what it says. The door
to pillow and scipy.io.
"""

import csv
import io
import math
import re
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blocksearch.errors import ConfigError, DataError

SPLITS = ("train", "test")
CIFAR_RECORD = 1 + 3 * 32 * 32  # bytes: a label, then the red, green and blue planes
CIFAR_RECORDS = 10_000
GTSRB_CLASSES = 43
GTSRB_TRAINING = re.compile(
    r"\d+_\d+\.(ppm|png)", re.ASCII
)  # TRACK_FRAME: the track is the physical sign
MOST_PIXELS = 2_000_000  # of one image file; published ones have at most some 60,000
MOST_BYTES = 2**24  # of one image file
MOST_IMAGES = 1_000_000  # of one MATLAB file; the largest published one has 531,131


@dataclass(frozen=True)
class Arrays:
    """Images N×32×32×3 uint8, labels N int64, and groups N int32 (GTSRB training: the physical
    sign) or None.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    groups: NDArray[np.int32] | None = None


def sources(name: str, split: str, root: Path) -> list[Path]:
    """List the files that a split is decoded from, for GTSRB those that list the others.

    Raises DataError if one is missing, and ConfigError for a split that is neither train nor test.
    """
    check_split(split)
    match name:
        case "cifar10":
            batches = (
                [f"data_batch_{k}.bin" for k in range(1, 6)]
                if split == "train"
                else ["test_batch.bin"]
            )
            return [_wanted(root / "cifar-10-batches-bin" / batch, name, root) for batch in batches]
        case "svhn":
            file = f"{split}_32x32.mat"
            inner = root / "svhn" / file
            return [inner if _is_file(inner) else _wanted(root / file, name, root)]
        case "gtsrb" if split == "train":
            folders = [
                root / "gtsrb" / "GTSRB" / "Training" / f"{c:05d}" for c in range(GTSRB_CLASSES)
            ]
            return [_wanted(folder / f"GT-{folder.name}.csv", name, root) for folder in folders]
        case "gtsrb":
            listing = _wanted(root / "gtsrb" / "GT-final_test.csv", name, root)
            return (
                [listing]
                if _image_folder(listing).is_dir()
                else [_wanted(_image_folder(listing), name, root)]
            )
        case _:
            raise DataError(f"{name} has no published files")


def read(name: str, split: str, root: Path) -> Arrays:
    """Decode a split from the files under `root`. Raises DataError that names the rule, the value
    and the file.
    """
    files = sources(name, split, root)
    readers: dict[str, Callable[[list[Path]], Arrays]] = {
        "cifar10": _cifar10,
        "svhn": _svhn,
        "gtsrb": _gtsrb,
    }
    try:
        return readers[name](files)
    except OSError as error:
        raise DataError(
            f"{error.filename or root} cannot be read: {error.strerror or error}"
        ) from error


def folders(name: str, files: list[Path]) -> list[Path]:
    """List the folders whose images the files of `sources` list: those of GTSRB, else none."""
    return [_image_folder(listing) for listing in files] if name == "gtsrb" else []


def check_split(split: str) -> None:
    """Raise ConfigError unless a split is one of the two published ones: no other name may open the
    test images.
    """
    if split not in SPLITS:
        raise ConfigError(f"a split must be {' or '.join(SPLITS)}, but got {split!r}")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _wanted(path: Path, name: str, root: Path) -> Path:
    if not _is_file(path):
        raise DataError(
            f"{path.relative_to(root)} is not under {root}; `blocksearch data fetch {name}` downloads it, "
            "and --data-root or BLOCKSEARCH_DATA names another folder"
        )
    return path


def _cifar10(files: list[Path]) -> Arrays:
    batches = np.concatenate([_cifar_batch(path) for path in files])
    labels = batches[:, 0].astype(np.int64)
    images = np.ascontiguousarray(batches[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return Arrays(images, labels)


def _cifar_batch(path: Path) -> NDArray[np.uint8]:
    size, expected = path.stat().st_size, CIFAR_RECORDS * CIFAR_RECORD
    if size != expected:
        raise DataError(
            f"{path} must have {expected:,} bytes ({CIFAR_RECORDS:,} records of {CIFAR_RECORD:,}), but has {size:,}"
        )
    records = np.fromfile(path, np.uint8).reshape(-1, CIFAR_RECORD)
    _check_labels(records[:, 0].astype(np.int64), 10, path)
    return records


def _check_labels(labels: NDArray[np.int64], classes: int, path: Path) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        raise DataError(
            f"{path}: labels must be 0 to {classes - 1}, but record {wrong[0]} has {labels[wrong[0]]}"
        )


def _svhn(files: list[Path]) -> Arrays:
    import scipy.io

    (path,) = files
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scipy warns of odd files that are refused below
            for key, shape, _ in scipy.io.whosmat(
                path
            ):  # reads headers alone: a bomb is refused before it unfolds
                if key in ("X", "y") and math.prod(shape) > MOST_IMAGES * 32 * 32 * 3:
                    raise DataError(
                        f"{path}: {key} has at most {MOST_IMAGES:,} images, but is {'×'.join(map(str, shape))}"
                    )
            content = scipy.io.loadmat(path, variable_names=["X", "y"])
    except DataError:
        raise
    except Exception as error:  # scipy raises many kinds for a file that is not MATLAB's
        raise DataError(
            f"{path} is not a MATLAB file that can be read: {type(error).__name__}: {_line(error)}"
        ) from error
    if missing := [key for key in ("X", "y") if key not in content]:
        raise DataError(
            f"{path} must hold the variables X and y, but lacks {' and '.join(missing)}"
        )
    pixels, labels = np.asarray(content["X"]), np.asarray(content["y"]).reshape(-1)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[:3] != (32, 32, 3):
        raise DataError(
            f"{path}: X must be 32×32×3×N uint8, but is {'×'.join(map(str, pixels.shape))} {pixels.dtype}"
        )
    if len(labels) != pixels.shape[3] or labels.dtype.kind not in "iuf" or not len(labels):
        raise DataError(
            f"{path}: y must hold one label for each of {pixels.shape[3]} images, but has {len(labels)} {labels.dtype}"
        )
    wrong = np.flatnonzero(~np.isin(labels, range(1, 11)))
    if wrong.size:
        raise DataError(
            f"{path}: labels must be 1 to 10 (10 is the digit 0), but image {wrong[0]} has {labels[wrong[0]]}"
        )
    return Arrays(np.ascontiguousarray(pixels.transpose(3, 0, 1, 2)), labels.astype(np.int64) % 10)


def _gtsrb(files: list[Path]) -> Arrays:
    training = len(files) > 1
    images, labels, groups = [], [], []
    signs: dict[tuple[int, str], int] = {}
    for listing in files:
        folder = _image_folder(listing)
        rows = _gtsrb_rows(listing)
        _check_rows(rows, listing, training=training)
        for file_name, label in rows:
            images.append(_image(folder / file_name, listing))
            labels.append(label)
            groups.append(signs.setdefault((label, file_name.partition("_")[0]), len(signs)))
    stacked = np.stack(images)
    return Arrays(
        stacked, np.array(labels, np.int64), np.array(groups, np.int32) if training else None
    )


def _image_folder(listing: Path) -> Path:
    final = listing.name == "GT-final_test.csv"
    return listing.parent / "GTSRB" / "Final_Test" / "Images" if final else listing.parent


def _gtsrb_rows(listing: Path) -> list[tuple[str, int]]:
    """Read file names and classes from a semicolon-separated listing; the published folders are
    flat.
    """
    try:
        with listing.open(newline="", encoding="utf-8", errors="replace") as file:
            reader = csv.DictReader(file, delimiter=";")
            table = reader.fieldnames or (), list(reader)
    except csv.Error as error:
        raise DataError(f"{listing} is not a table that can be read: {_line(error)}") from error
    if not {"Filename", "ClassId"} <= set(table[0]):
        raise DataError(f"{listing} must be a semicolon-separated table with Filename and ClassId")
    if not table[1]:
        raise DataError(f"{listing} lists no images")
    return [(_file_name(row["Filename"] or "", listing), _class(row, listing)) for row in table[1]]


def _file_name(name: str, listing: Path) -> str:
    if Path(name).name != name or not name.isprintable() or not 0 < len(name) <= 100:
        raise DataError(f"{listing}: a file name must lie in its folder, but one is {name[:100]!r}")
    return name


def _class(row: dict[str, str], listing: Path) -> int:
    label = row["ClassId"] or ""
    if not re.fullmatch("[0-9]{1,5}", label) or int(label) >= GTSRB_CLASSES:
        raise DataError(
            f"{listing}: classes must be 0 to {GTSRB_CLASSES - 1}, but {row['Filename']} has {label[:20]!r}"
        )
    return int(label)


def _check_rows(rows: list[tuple[str, int]], listing: Path, *, training: bool) -> None:
    """Raise DataError unless the rows and the images in the folder are the same, and training rows
    name class and track.
    """
    folder, names = _image_folder(listing), {name for name, _ in rows}
    for name, label in rows:
        if training and label != int(folder.name):
            raise DataError(
                f"{listing}: images of class {folder.name} must say so, but {name} says {label}"
            )
        if training and not GTSRB_TRAINING.fullmatch(name):
            raise DataError(
                f"{listing}: training images must be named TRACK_FRAME.ppm, but one is {name!r}"
            )
    if len(names) < len(rows):
        twice = next(name for name, count in Counter(name for name, _ in rows).items() if count > 1)
        raise DataError(f"{listing} must list each image once, but has {twice} again")
    if unlisted := sorted({path.name for path in folder.glob("*.ppm")} - names):
        raise DataError(
            f"{listing} must list all images, but {len(unlisted):,} are not in it, such as {unlisted[0]!r}"
        )


def _image(path: Path, listing: Path) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        raise DataError(f"{listing} lists {path.name}, but {path} is not there")
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise DataError(
            f"{path}: an image file has at most {MOST_BYTES:,} bytes, but this has {path.stat().st_size:,}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", Image.DecompressionBombWarning
            )  # our own limit is far below pillow's
            image = Image.open(io.BytesIO(content), formats=["PPM", "PNG"])
        with image:
            _check_pixels(image.width, image.height, path)
            colours = image.convert("RGB")
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path} is not a PPM image that can be read: it begins with {content[:8]!r}"
        ) from error
    except (Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path} is not a PPM image that can be read: {_line(error)}") from error
    return np.asarray(
        colours if colours.size == (32, 32) else colours.resize((32, 32), Image.Resampling.BILINEAR)
    )


def _check_pixels(width: int, height: int, path: Path) -> None:
    if width * height > MOST_PIXELS:
        raise DataError(
            f"{path}: an image has at most {MOST_PIXELS:,} pixels, but this has {width}×{height}"
        )


def _line(error: Exception) -> str:
    """Bring an error's text to one short line."""
    return " ".join(str(error).split())[:200]
