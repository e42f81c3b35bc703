"""Stores checkpoints of a running training, written whole or not at all, read without unpickling,
and removed when the run is kept.
"""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from blocksearch.errors import DataError
from blocksearch.files import NEW, check_regular, replace_file

if TYPE_CHECKING:
    from blocksearch.training.trainer import Training  # not loaded by those who only read files

SECONDS = 30.0  # of training that a cut-off may cost
_NAMES = "names of all arrays"  # a directory that lost entries must not pass for a whole one


class Keeper:
    """Keeps the training that `make` gives in a file now and then, and takes up what an earlier one
    kept there.

    `digest` says what is trained, and on what; a file of another training, or a damaged one, is not
    taken up. Without a file it does nothing. `trouble` is why the last file could not be written,
    "" where it was.
    """

    def __init__(self, make: Callable[[], "Training"], file: Path | None, digest: str) -> None:
        self.file, self.digest = file, digest
        self.trouble = ""
        self._kept = time.monotonic()
        self.training = make()
        self.resumed = False
        arrays = load(file) if file is not None else None
        if arrays is not None and str(arrays.get("digest")) == digest:
            try:
                self.training.load(arrays)
                self.resumed = True
            except Exception:  # of another version, or a stranger's: it may be half taken up
                self.training = make()

    def keep_now_and_then(self) -> None:
        """Write the file where the last one is old enough; a training goes on where it cannot be
        written (a full disk, say).
        """
        if time.monotonic() - self._kept >= SECONDS:
            self.keep_if_possible()

    def keep_if_possible(self) -> None:
        """Write the file; where that fails, note why in `trouble`.

        What was trained so far counts all the same. Only going on is dearer, since it starts again.
        """
        try:
            self.keep()
            self.trouble = ""
        except OSError as error:
            self.trouble = error.strerror or str(error)
            self._kept = time.monotonic()

    def keep(self) -> None:
        """Write the file. Raises OSError if it cannot be written."""
        if self.file is not None:
            save(self.file, self.training.state() | {"digest": np.array(self.digest)})
            self._kept = time.monotonic()


def save_weights(file: Path, weights: dict[str, NDArray[Any]], description: dict[str, str]) -> None:
    """Write trained weights as safetensors, whole or not at all; the same ones to the same bytes.

    Raises OSError if it cannot.
    """
    saved = packed(weights, description)
    _replaced(file, lambda opened: opened.write(saved))


def packed(weights: Mapping[str, NDArray[Any]], description: Mapping[str, str]) -> bytes:
    """Return weights and what they are of as the content of a file of safetensors."""
    from safetensors.numpy import save

    return _in_order(save(dict(weights), metadata=dict(description)))


def read_weights(file: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Read a file of safetensors: torch's tensors by name, and what it says that they are of.

    Raises DataError for another file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        check_regular(file)
        with safe_open(file, "pt") as opened:
            names = opened.keys()  # it is no mapping
            return {name: opened.get_tensor(name) for name in names}, opened.metadata() or {}
    except OSError as error:
        raise DataError(f"weights {file} cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise DataError(f"{file} is no whole file of weights (safetensors): {error}") from error


def _in_order(saved: bytes) -> bytes:
    """Sort the description in a file's head, which safetensors writes in an order of chance."""
    end = 8 + int.from_bytes(saved[:8], "little")
    head = json.loads(saved[8:end])
    head["__metadata__"] = dict(sorted(head["__metadata__"].items()))
    plain = json.dumps(head, separators=(",", ":")).encode()
    plain += b" " * (-len(plain) % 8)
    return len(plain).to_bytes(8, "little") + plain + saved[end:]


def save(file: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write arrays, whole or not at all. Raises OSError if it cannot."""
    names = {_NAMES: np.array(list(arrays), dtype=str)}
    _replaced(file, lambda opened: np.savez(opened, **arrays, **names))  # type: ignore[arg-type]


def _replaced(file: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Replace a file in a folder that is made for it, and that another process may remove as soon
    as it is empty.
    """
    for _ in range(2):
        file.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            return replace_file(file, write)
    return replace_file(file, write)


def forget(file: Path) -> None:
    """Remove what was kept in a file, parts that a killed process left too, and its folder where it
    is empty then. What cannot be removed stays: it is of no use to a run that is kept.
    """
    for each in (file, *file.parent.glob(f"{file.name}.*{NEW}")):
        with suppress(OSError):
            each.unlink(missing_ok=True)
    with suppress(OSError):  # others are kept there, or it is gone
        file.parent.rmdir()


def load(file: Path) -> dict[str, NDArray[Any]] | None:
    """Read what `save` wrote; None if there is no file, or none that can be read whole."""
    try:
        check_regular(file)
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            return {str(name): arrays[str(name)] for name in arrays[_NAMES]}
    except Exception:  # a damaged archive makes zipfile and numpy raise whatever their parsers do
        return None
