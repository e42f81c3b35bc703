"""Reads IDX files, plain or compressed by gzip, and Fashion-MNIST, which is published in them.

Source of the form: LeCun, Cortes and Burges, "The MNIST database of handwritten digits".
"""

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blocksearch.arch.layers import Shape
from blocksearch.arch.network import Task
from blocksearch.data.datasets import Arrays, Dataset, is_file, register, times
from blocksearch.errors import DataError

SYSTEM = Path("/usr/share/datasets")  # where Debian's packages of data sets put their files
MOST_BYTES = 2**31  # of one array
KINDS = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Path) -> NDArray[Any]:
    """Read an array of any kind and shape. Raises DataError for what is no IDX file, or is cut."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            head = file.read(4)
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in KINDS or not head[3]:
                raise DataError(f"{path} is not an IDX file: it begins with {head!r}")
            sides = np.frombuffer(file.read(4 * head[3]), ">u4").tolist()
            kind = np.dtype(KINDS[head[2]])
            size = math.prod(sides) * kind.itemsize
            if size > MOST_BYTES:
                raise DataError(
                    f"{path}: an array has at most {MOST_BYTES:,} bytes, but this is {times(sides)}"
                )
            content = file.read(size + 1)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read: {reason}") from error
    if len(sides) != head[3] or len(content) != size:
        raise DataError(
            f"{path} must have {size:,} bytes of {times(sides)}, but has another number"
        )
    return np.frombuffer(content, kind).reshape(sides).astype(kind.newbyteorder("="))


@dataclass(frozen=True, kw_only=True)
class IdxDataset(Dataset):
    """Images and labels in four IDX files, in a folder of the data set's name under the root, or
    where the system's packages put them.
    """

    def sources(self, part: str, root: Path) -> list[Path]:
        prefix = "train" if part == "train" else "t10k"
        names = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
        return [self._found(name, root) for name in names]

    def _found(self, name: str, root: Path) -> Path:
        files = [
            folder / self.name / f"{name}{end}" for folder in (root, SYSTEM) for end in ("", ".gz")
        ]
        there = next(filter(is_file, files), None)
        return there or self.wanted(files[0], root)

    def stamp(self, part: str, root: Path) -> list[Any]:
        found = [(path, path.stat()) for path in self.sources(part, root)]
        return [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in found]

    def read(self, part: str, root: Path) -> Arrays:
        files = self.sources(part, root)
        images, labels = map(read_idx, files)
        if images.ndim != 3 or images.dtype != np.uint8:
            raise DataError(
                f"{files[0]}: images must be N×H×W uint8, but are {images.dtype} of shape "
                f"{images.shape}"
            )
        if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
            raise DataError(
                f"{files[1]}: there must be a label for each of {len(images):,} images, but they "
                f"are {labels.dtype} of shape {labels.shape}"
            )
        return Arrays(images[..., None], labels.astype(np.int64))


register(
    IdxDataset(
        name="fashion-mnist",
        description="Fashion-MNIST: grey images of clothes (Debian: dataset-fashion-mnist)",
        task=Task(input=Shape(1, 28, 28), classes=10, widths=(8, 16, 32)),
        counts=(60_000, 10_000),
        class_names=(
            "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker",
            "Bag", "Ankle boot",
        ),
    )
)  # fmt: skip
