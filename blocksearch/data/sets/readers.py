"""Decodes the published data sets, part by part, and refuses files that are not as published. The
door to scipy.io.
"""

import csv
import math
import os
import re
import warnings
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blocksearch.arch.zoo import TASKS
from blocksearch.data.datasets import (
    MIRRORED,
    Archive,
    Arrays,
    Dataset,
    is_file,
    one_line,
    register,
    times,
)
from blocksearch.data.pictures import fitted, picture, quietly
from blocksearch.errors import DataError
from blocksearch.files import check_regular

CIFAR_RECORD = 1 + 3 * 32 * 32  # bytes: a label, then the red, green and blue planes
CIFAR_RECORDS = 10_000
GTSRB_CLASSES = 43
GTSRB_TRAINING = re.compile(r"\d+_\d+\.(ppm|png)", re.ASCII)  # TRACK_FRAME: the track is the sign
NO_IMAGES = (".csv", ".txt", ".db", ".ini")  # files that may lie beside images, unlisted
MOST_PIXELS = 2_000_000  # of one image file; published ones have at most some 60,000
MOST_BYTES = 2**24  # of one image file
MOST_LISTING = 2**28
MOST_IMAGES = 1_000_000  # of one MATLAB file; the largest published one has 531,131

# Numbers of epochs are chosen once, on validation curves of effnet and baseline: the smallest of
# 10, 20 and 30 whose last fifth gains less than 0.3 points. On GTSRB (recipe `fast`) none does:
# effnet gains 1.0 points at 10 epochs, 0.6 at 20 and 0.3 at 30, baseline 0.4 (five seeds), so it is
# 30. On SVHN (`studies/svhn.db`) baseline gains 0.60 at 10 epochs and 0.28 at 20, effnet 0.48 and
# −0.05, so it is 20. CIFAR-10's is not chosen yet: 10 is a start.


@dataclass(frozen=True, kw_only=True)
class Cifar10(Dataset):
    """CIFAR-10 in its binary version: records of a label and three planes."""

    def sources(self, part: str, root: Path) -> list[Path]:
        names = [f"data_batch_{k}" for k in range(1, 6)] if part == "train" else ["test_batch"]
        return [self.wanted(root / "cifar-10-batches-bin" / f"{n}.bin", root) for n in names]

    def read(self, part: str, root: Path) -> Arrays:
        return _cifar10(self.sources(part, root))


@dataclass(frozen=True, kw_only=True)
class Svhn(Dataset):
    """Street View House Numbers, cropped: a MATLAB file a part, in the root or in `svhn/`."""

    def sources(self, part: str, root: Path) -> list[Path]:
        file = f"{part}_32x32.mat"
        inner = root / "svhn" / file
        return [inner if is_file(inner) else self.wanted(root / file, root)]

    def read(self, part: str, root: Path) -> Arrays:
        return _svhn(*self.sources(part, root))


@dataclass(frozen=True, kw_only=True)
class Gtsrb(Dataset):
    """German Traffic Sign Recognition Benchmark: folders of images, with listings."""

    def sources(self, part: str, root: Path) -> list[Path]:
        if part == "train":
            place = root / "gtsrb" / "GTSRB" / "Training"
            names = [f"{label:05d}" for label in range(GTSRB_CLASSES)]
            return [self.wanted(place / name / f"GT-{name}.csv", root) for name in names]
        listing = self.wanted(root / "gtsrb" / "GT-final_test.csv", root)
        folder = _image_folder(listing)
        return [listing] if folder.is_dir() else [self.wanted(folder, root)]

    def stamp(self, part: str, root: Path) -> list[Any]:
        """Return the stamp of the listings, and a digest of each folder's files."""
        listed = [_image_folder(listing) for listing in self.sources(part, root)]
        return [*super().stamp(part, root), *map(_folder_digest, listed)]

    def read(self, part: str, root: Path) -> Arrays:
        return _gtsrb(self.sources(part, root), training=part == "train")


_ERDA = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370"
_STANFORD = "http://ufldl.stanford.edu/housenumbers"
_JPEG = "pixels passed through JPEG, quality 75"
_FRAMES = "whole frames at 32×32"

# fmt: off
register(Cifar10(
    name="cifar10", description="CIFAR-10, binary version: images of objects",
    task=TASKS["cifar10"], counts=(50_000, 10_000),
    archives=(Archive(url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                      md5="c32a1d4ab5d03f1284b67883e8d87530"),),
    origins={
        "f44511e110ba485d34bbe3ebbbca1646a01195192dce2930052c87d18780fdd8": _JPEG,
        "e42e10c0563fab2068fd101067c0d273efdfc51f2b1849b773aacadcfe72f45b": _JPEG,
    },
))
register(Svhn(
    name="svhn", description="Street View House Numbers, cropped digits",
    task=TASKS["svhn"], epochs=20, counts=(73_257, 26_032), unsuited={"flip": MIRRORED},
    archives=(Archive(url=f"{_STANFORD}/train_32x32.mat", md5="e26dedcc434d2e4c54c9b2d4a06d8373"),
              Archive(url=f"{_STANFORD}/test_32x32.mat", md5="eb5a983be6a315427106f1b164d9cef3")),
    origins={
        "79b4f4f8199ca500798b001f21e7453e1b0d554dd3401bbf2c581694b7449331":
            "20,244 training crops, of which 15,810 are from the published test set; "
            "not the published split",
        "3a9ed62b7e1c1cc4c9addba65af6f8770f98dfd3ee2c3dfeacb6380270637e26":
            "the first 10,000 crops of the published test set; not the published split",
    },
))
register(Gtsrb(
    name="gtsrb", description="German Traffic Sign Recognition Benchmark: images in 43 classes",
    task=TASKS["gtsrb"], epochs=30, counts=(39_209, 12_630), unsuited={"flip": MIRRORED},
    test_groups="tracks whose numbers are not published",
    archives=tuple(Archive(url=f"{_ERDA}/{file}", md5=md5, folder="gtsrb") for file, md5 in (
        ("GTSRB-Training_fixed.zip", "513f3c79a4c5141765e10e952eaa2478"),
        ("GTSRB_Final_Test_Images.zip", "c7e4e6327067d32654124b0fe9e82185"),
        ("GTSRB_Final_Test_GT.zip", "fe31e9c9270bbcd7b84b7f21a9d9d9e5"))),
    origins={
        "d0458512276e0a292a3516cead1d45254857db32d4e934b73dde108c2ff5ec12": _FRAMES,
        "bbd84c8bf2032278e9ac456297fb6ac9c40feff03522260c2264bff0a1fe0533": _FRAMES,
    },
))
# fmt: on


def _folder_digest(folder: Path) -> str:
    """Digest names, sizes and times of a folder's files: a third of a second for GTSRB's 39,252,
    which decode in many.
    """
    with os.scandir(folder) as entries:
        found = sorted(
            (entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in entries
        )
    return sha256(repr(found).encode()).hexdigest()


def _cifar10(files: list[Path]) -> Arrays:
    batches = np.concatenate([_cifar_batch(path) for path in files])
    labels = batches[:, 0].astype(np.int64)
    images = np.ascontiguousarray(batches[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return Arrays(images, labels)


def _cifar_batch(path: Path) -> NDArray[np.uint8]:
    size, expected = path.stat().st_size, CIFAR_RECORDS * CIFAR_RECORD
    if size != expected:
        raise DataError(
            f"{path} must have {expected:,} bytes ({CIFAR_RECORDS:,} records of {CIFAR_RECORD:,}), "
            f"but has {size:,}"
        )
    records = np.fromfile(path, np.uint8).reshape(-1, CIFAR_RECORD)
    labels = records[:, 0]
    if labels.max() > 9:
        raise DataError(
            f"{path}: labels must be 0 to 9, but record {(labels > 9).argmax()} has "
            f"{labels[labels > 9][0]}"
        )
    return records


def _svhn(path: Path) -> Arrays:
    import scipy.io

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scipy warns of odd files that are refused below
            # whosmat reads headers alone: a bomb is refused before it unfolds
            for key, shape, _ in scipy.io.whosmat(path):
                if key in ("X", "y") and math.prod(shape) > MOST_IMAGES * 32 * 32 * 3:
                    raise DataError(
                        f"{path}: {key} has at most {MOST_IMAGES:,} images, but is {times(shape)}"
                    )
            content = scipy.io.loadmat(path, variable_names=["X", "y"])
    except DataError:
        raise
    except Exception as error:  # scipy raises many kinds for a file that is not MATLAB's
        raise DataError(
            f"{path} is not a MATLAB file that can be read: {type(error).__name__}: "
            f"{one_line(error)}"
        ) from error
    if missing := [key for key in ("X", "y") if key not in content]:
        raise DataError(
            f"{path} must hold the variables X and y, but lacks {' and '.join(missing)}"
        )
    pixels, labels = np.asarray(content["X"]), np.asarray(content["y"]).reshape(-1)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[:3] != (32, 32, 3):
        raise DataError(
            f"{path}: X must be 32×32×3×N uint8, but is {times(pixels.shape)} {pixels.dtype}"
        )
    if len(labels) != pixels.shape[3] or labels.dtype.kind not in "iuf" or not len(labels):
        raise DataError(
            f"{path}: y must hold one label for each of {pixels.shape[3]} images, but has "
            f"{len(labels)} {labels.dtype}"
        )
    wrong = np.flatnonzero(~np.isin(labels, range(1, 11)))
    if wrong.size:
        raise DataError(
            f"{path}: labels must be 1 to 10 (10 is the digit 0), but image {wrong[0]} has "
            f"{labels[wrong[0]]}"
        )
    return Arrays(np.ascontiguousarray(pixels.transpose(3, 0, 1, 2)), labels.astype(np.int64) % 10)


def _gtsrb(files: list[Path], *, training: bool) -> Arrays:
    images, labels, groups = [], [], []
    signs: dict[tuple[int, str], int] = {}
    for listing in files:
        folder = _image_folder(listing)
        rows = _gtsrb_rows(listing)
        _check_rows(rows, listing, training=training)
        for file_name, label in rows:
            with quietly():
                images.append(_image(folder / file_name, listing))
            labels.append(label)
            groups.append(signs.setdefault((label, file_name.partition("_")[0]), len(signs)))
    stacked = np.stack(images)
    tracks = np.array(groups, np.int32) if training else None
    return Arrays(stacked, np.array(labels, np.int64), groups=tracks)


def _image_folder(listing: Path) -> Path:
    final = listing.name == "GT-final_test.csv"
    return listing.parent / "GTSRB" / "Final_Test" / "Images" if final else listing.parent


def _gtsrb_rows(listing: Path) -> list[tuple[str, int]]:
    """Read file names and classes from a semicolon-separated listing, a spreadsheet's too."""
    try:
        check_regular(listing)
        if listing.stat().st_size > MOST_LISTING:
            raise DataError(f"{listing}: a listing has at most {MOST_LISTING:,} bytes")
        with listing.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            rows = list(csv.reader(file, delimiter=";", skipinitialspace=True))
    except csv.Error as error:
        raise DataError(f"{listing} is not a table that can be read: {one_line(error)}") from error
    head = rows[0] if rows else []
    names = [name.strip() for name in head]
    if not {"Filename", "ClassId"} <= set(names):
        raise DataError(
            f"{listing} must be a semicolon-separated table with Filename and ClassId, but begins "
            f"with {';'.join(head)[:100]!r}"
        )
    table = [dict(zip(names, row, strict=False)) for row in rows[1:] if row]
    if not table:
        raise DataError(f"{listing} lists no images")
    return [(_file_name(row.get("Filename", ""), listing), _class(row, listing)) for row in table]


def _file_name(name: str, listing: Path) -> str:
    if Path(name).name != name or not name.isprintable() or not 0 < len(name) <= 100:
        raise DataError(f"{listing}: a file name must lie in its folder, but one is {name[:100]!r}")
    return name


def _class(row: dict[str, str], listing: Path) -> int:
    label = row.get("ClassId", "").strip()
    if not re.fullmatch("[0-9]{1,5}", label) or int(label) >= GTSRB_CLASSES:
        raise DataError(
            f"{listing}: classes must be 0 to {GTSRB_CLASSES - 1}, but {row['Filename']} has "
            f"{label[:20]!r}"
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
    if unlisted := sorted(_images_in(folder) - names):
        raise DataError(
            f"{listing} must list all images, but {len(unlisted):,} are not in it, such as "
            f"{unlisted[0]!r}"
        )


def _images_in(folder: Path) -> set[str]:
    """Name all files but hidden ones, listings and notes: a stray image of any format is one."""
    with os.scandir(folder) as entries:
        files = {entry.name for entry in entries if entry.is_file()}
    return {name for name in files if not name.lower().endswith(NO_IMAGES) and name[0] != "."}


def _image(path: Path, listing: Path) -> NDArray[np.uint8]:
    if not path.is_file():
        raise DataError(f"{listing} lists {path.name}, but {path} is not there")
    found = picture(path, formats=["PPM", "PNG"], most_bytes=MOST_BYTES, most_pixels=MOST_PIXELS)
    return fitted(found, (32, 32), 3)
