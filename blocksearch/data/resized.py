"""Resizes a data set to another size and number of channels, by `resize` and `grey`, under a name
that says so.

`gtsrb-at-1x24x24` has the images of GTSRB in their order, with their labels, groups and splits, in
grey and of 24×24. It is decoded, kept, checked and digested like any other data set.
"""

import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blocksearch.arch.layers import Shape
from blocksearch.data import cache
from blocksearch.data.config import SIDES, suits
from blocksearch.data.datasets import DERIVED, About, Arrays, Dataset, get, times
from blocksearch.data.pictures import fitted
from blocksearch.errors import ConfigError

AT_ONCE = 256  # images that are made before the next ones are looked at
_NAME = re.compile(r"(?P<base>.+)-at-(?P<input>[0-9]{1,2}x[0-9]{1,3}x[0-9]{1,3})", re.ASCII)


def at_input(name: str, input: Shape) -> str:
    """Return the name of a data set at an input; its own where the images are such.

    >>> at_input("gtsrb", Shape(1, 24, 24)), at_input("gtsrb", Shape(3, 32, 32))
    ('gtsrb-at-1x24x24', 'gtsrb')

    Raises ConfigError for an input that its images cannot be brought to.
    """
    base = base_of(name)
    if get(base).task.input == input:
        return base
    found = f"{base}-at-{input}"
    get(found)
    return found


def base_of(name: str) -> str:
    """Return the data set that a name is made from, by default itself."""
    match = _NAME.fullmatch(name)
    return match["base"] if match else name


@dataclass(frozen=True, kw_only=True)
class AtInput(Dataset):
    """The images of the data set `base`, brought to the task's input."""

    base: str

    def read(self, part: str, root: Path) -> Arrays:
        own, input = cache.load(self.base, part, root), self.task.input
        size, made = input.map, _room(root, (len(own.labels), *input.map, input.channels))

        def make(place: int) -> None:
            made[place] = fitted(own.images[place], size, input.channels)

        with ThreadPoolExecutor() as pool:
            for start in range(0, len(made), AT_ONCE):
                list(pool.map(make, range(start, min(start + AT_ONCE, len(made)))))
        return replace(own, images=made)

    def stamp(self, part: str, root: Path) -> list[Any]:
        return [cache.describe(self.base, part, root).digest]

    def about(self, part: str, root: Path) -> About:
        known, base, input = cache.describe(self.base, part, root), get(self.base), self.task.input
        told = known.origin(base, part)
        done = [f"brought to {times(input.map)}"] if input.map != base.task.input.map else []
        if input.channels != base.task.input.channels:
            done.append("grey" if input.channels == 1 else "of three channels")
        origin = ", ".join([*([told] if told else []), *done])
        return About(classes=known.about.classes, origin=origin)


def made_from(name: str) -> AtInput | None:
    """Return the data set that a name at an input means, None for another name.

    Raises ConfigError for an unknown base, and for an input that cannot be.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    base, own = get(match["base"]), get(match["base"]).task.input
    channels, *size = map(int, match["input"].split("x"))
    if not suits(size):
        raise ConfigError(
            f"images are brought to {SIDES[0]} to {SIDES[1]} pixels a side, but got {times(size)}"
        )
    if channels != own.channels and {channels, own.channels} != {1, 3}:
        raise ConfigError(
            f"{base.name} has images of {own.channels} channels, which cannot be brought to "
            f"{channels}: only 3 to 1, grey, and 1 to 3"
        )
    task = replace(base.task, input=Shape(channels, *size))
    same = ("description", "epochs", "counts", "class_names", "unsuited", "test_groups")
    return AtInput(
        name=name, task=task, base=base.name, **{each: getattr(base, each) for each in same}
    )


DERIVED.append(made_from)


def _room(root: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return an array in a file without a name where decoded images lie, so that large ones take no
    memory; in memory where none can be written.
    """
    for place in cache.places(root):
        with suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=place) as file:
                return np.memmap(file, np.uint8, "w+", shape=shape)
    return np.empty(shape, np.uint8)
