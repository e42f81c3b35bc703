"""How much private memory a training takes on many images of 224×224×3, which do not fit into it.

    python -m tests.benchmarks.memory 5000 20000
    python -m tests.benchmarks.memory --stride 2 --batch 64 5000

Draws so many images into a file (and removes it), trains a network with a stem of its own on them
for an epoch, and prints the most anonymous memory that the command and its worker had. Mapped
pictures are in the kernel's page cache, which all workers share, and are none of it.
"""

import argparse
import contextlib
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import blocksearch as bs

SIDE, KINDS, CLASSES = 224, 97, 5
NETWORK = "effnet stem=conv(kernel=7,stride={},width=16) head=global_pool widths=24,48,96"
MEBIBYTE = 2**20


class Peak:
    """Watches the anonymous memory of this process and all that it starts."""

    def __init__(self) -> None:
        self.most: dict[int, int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def command(self) -> int:
        return self.most[os.getpid()]

    @property
    def worker(self) -> int:
        return max(size for pid, size in self.most.items() if pid != os.getpid())

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            for pid, size in _anonymous().items():
                self.most[pid] = max(size, self.most.get(pid, 0))


def _anonymous() -> dict[int, int]:
    """Return the anonymous bytes of this process and those that it started, by process."""
    parents, sizes = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            lines = (folder / "status").read_text().splitlines()
            told = dict(line.split(":", 1) for line in lines)
            parents[int(folder.name)] = int(told["PPid"])
            sizes[int(folder.name)] = 1024 * int(told["RssAnon"].split()[0])
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid: sizes[pid] for pid in found if pid in sizes}


def draw(folder: Path, count: int) -> str:
    """Write images and labels into files; return how they are given as a data set."""
    random = np.random.default_rng(0)
    kinds = random.integers(0, 256, (KINDS, SIDE, SIDE, 3), np.uint8)
    shape = (count, SIDE, SIDE, 3)
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, shape)
    for start in range(0, count, KINDS):
        images[start : start + KINDS] = kinds[: count - start]
    images.flush()
    np.save(folder / "labels.npy", np.arange(count) % CLASSES)
    return f"{folder / 'images.npy'},{folder / 'labels.npy'}"


def measured(count: int, stride: int = 4, batch: int = 128) -> Peak:
    """Train on so many images, and return what was watched."""
    with tempfile.TemporaryDirectory(prefix="memory-") as place, Peak() as peak:
        folder = Path(place)
        given = draw(folder, count)
        asked = {"epochs": 1, "batch": batch, "workers": 1, "device": "cpu", "seeds": 1}
        files = {"data_root": folder / "data", "db": folder / "runs.db"}
        answer = bs.train(NETWORK.format(stride), dataset=given, **asked, **files)
        assert [row["state"] for row in answer.records()] == ["complete"]
    return peak


def main() -> None:
    """Print what each number of images takes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("counts", type=int, nargs="+", help="images")
    parser.add_argument("--stride", type=int, default=4, help="of the stem")
    parser.add_argument("--batch", type=int, default=128)
    asked = parser.parse_args()
    for images in asked.counts:
        start = time.monotonic()
        found = measured(images, asked.stride, asked.batch)
        print(
            f"{images:,} images of {SIDE}×{SIDE}×3 ({images * SIDE * SIDE * 3 / 1e9:.2f} GB): the "
            f"worker had at most {found.worker / MEBIBYTE:,.0f} MiB, the command "
            f"{found.command / MEBIBYTE:,.0f} MiB; {time.monotonic() - start:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
