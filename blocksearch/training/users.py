"""Guards a user's model while it is trained, by keeping its random numbers (of dropout, for
example) and the line in which it fails.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

import blocksearch
from blocksearch.errors import BlocksearchError, PluginError

_APART = 1 << 32  # from the stream that draws the weights of the same seed
_LIBRARIES = tuple(str(Path(str(each.__file__)).parent) for each in (torch, blocksearch))


def failure(what: str, error: Exception) -> PluginError:
    """Say what failed, why, and in which line of a user's file."""
    frames = [
        each
        for each in traceback.extract_tb(error.__traceback__)
        if not each.filename.startswith((*_LIBRARIES, "<frozen"))
    ]
    why = str(error) if isinstance(error, BlocksearchError) else f"{type(error).__name__}: {error}"
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return PluginError(f"{what}{where}: {why}")


def out_of_memory(error: Exception) -> bool:
    """Return whether a device, or torch's allocator on the processor, found no memory; the latter
    says so in words only.
    """
    kinds = torch.OutOfMemoryError | MemoryError
    return isinstance(error, kinds) or "can't allocate memory" in str(error)


class Draws:
    """Lends torch's generators to one training of a user's model at a time, in a stream that is
    stored and taken up again. Without a `name` the network is ours, whose layers have generators of
    their own.
    """

    def __init__(self, name: str, seed: int, device: torch.device) -> None:
        self._name = name
        self._devices = [device] if device.type == "cuda" else []
        self._states: list[torch.Tensor] = []
        if name:
            with torch.random.fork_rng(self._devices):
                torch.manual_seed(seed + _APART)
                self._states = self._read()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Continue random draws inside from where the training's last draw ended.

        Raises PluginError if the user's model fails, unless memory is short.
        """
        if not self._name:
            yield
            return
        with torch.random.fork_rng(self._devices):
            torch.set_rng_state(self._states[0])
            for device, state in zip(self._devices, self._states[1:], strict=True):
                torch.cuda.set_rng_state(state, device)
            try:
                yield
            except Exception as error:
                if out_of_memory(error):
                    raise
                raise failure(f"{self._name} fails while it is trained", error) from error
            self._states = self._read()

    def _read(self) -> list[torch.Tensor]:
        return [torch.get_rng_state(), *(torch.cuda.get_rng_state(own) for own in self._devices)]

    def stored(self) -> dict[str, NDArray[Any]]:
        """Return the streams as arrays by name."""
        return {f"draws/{place}": own.numpy().copy() for place, own in enumerate(self._states)}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take up what `stored` returned. Raises KeyError if it is another training's."""
        self._states = [
            torch.from_numpy(arrays[f"draws/{place}"]) for place in range(len(self._states))
        ]
