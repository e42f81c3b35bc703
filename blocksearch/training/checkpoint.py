"""A training kept in a file while it runs: written whole or not at all, read without unpickling, gone when the run is kept."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blocksearch.training.train import Training

SECONDS = 30.0  # of training that a cut-off may cost
_NAMES = "names of all arrays"  # a directory that lost entries must not pass for a whole one


class Keeper:
    """Keeps a training in a file now and then, and takes up what an earlier one kept there.

    `digest` says what is trained; a file of another training, or a damaged one, is not taken up. Without a file it does nothing.
    """

    def __init__(self, training: Training, file: Path | None, digest: str, every: float = SECONDS) -> None:
        self.training, self.file, self.digest, self.every = training, file, digest, every
        self._kept = time.monotonic()
        self.resumed = self._take_up()

    def keep_now_and_then(self) -> None:
        """Write the file where the last one is old enough."""
        if time.monotonic() - self._kept >= self.every:
            self.keep()

    def keep(self) -> None:
        """Write the file."""
        if self.file is not None:
            save(self.file, self.training.state() | {"digest": np.array(self.digest)})
            self._kept = time.monotonic()

    def _take_up(self) -> bool:
        arrays = load(self.file) if self.file is not None else None
        if arrays is None or str(arrays.get("digest")) != self.digest:
            return False
        self.training.load(arrays)
        return True


def save(file: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write arrays to a file of which a reader sees the old or the new, never a part."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.{os.getpid()}.new")
    with new.open("wb") as opened:
        np.savez(opened, **arrays, **{_NAMES: np.array(list(arrays), dtype=str)})  # type: ignore[arg-type]
        opened.flush()
        os.fsync(opened.fileno())
    new.replace(file)


def load(file: Path) -> dict[str, NDArray[Any]] | None:
    """Read what `save` wrote; None where there is no file, or none that can be read whole."""
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            return {str(name): arrays[str(name)] for name in arrays[_NAMES]}
    except Exception:  # a damaged archive makes zipfile and numpy raise whatever their parsers do
        return None
