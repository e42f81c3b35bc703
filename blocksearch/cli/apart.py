"""Refuses outputs of a command that would replace its database, one of its inputs, or each other,
by whatever name, before anything is done.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from blocksearch.errors import ConfigError

WRITTEN = ("save", "sheet", "table", "file", "keep_weights")  # parameters that name what is written
DATABASES = ("db", "into", "other")
IMAGES = ("dataset", "test")
NO_FILES = ("name",)  # texts that are never read as a file's name


def check_apart(given: Mapping[str, Any]) -> None:
    """Raise ConfigError for an output that a command also reads or writes otherwise.

    `given` are the parameters of a command, by name.
    """
    outputs = [path for name in WRITTEN for path in _texts(given.get(name))]
    for place, output in enumerate(outputs):
        if any(_same(output, each) for each in outputs[:place]):
            raise ConfigError(f"each output has a file of its own, but {output} is given twice")
        for name in DATABASES:
            if any(_same(output, each) for each in _database(given.get(name))):
                raise ConfigError(f"{output} is the database of this command: it is not replaced")
        for name, value in given.items():
            if name not in (*WRITTEN, *NO_FILES) and any(
                _reads(text, output) or (name in IMAGES and _holds(text, output))
                for text in _texts(value)
            ):
                raise ConfigError(f"{output} is read by this command: it is not replaced")


def _texts(value: Any) -> list[str]:
    several = value if isinstance(value, list | tuple) else [value]
    return [os.fspath(each) for each in several if isinstance(each, str | Path)]


def _database(value: Any) -> Iterator[str]:
    """Yield a database's file, and those that SQLite keeps beside it."""
    from blocksearch.runs.location import BESIDE, Location

    for text in _texts(value):
        if (file := Location(text).file) is not None:
            yield from (f"{file}{ending}" for ending in ("", *BESIDE))


def _same(one: str, other: str) -> bool:
    try:
        if Path(one).exists() and Path(other).exists():
            return Path(one).samefile(other)
        return os.path.realpath(one) == os.path.realpath(other)
    except (OSError, ValueError):
        return False


def _reads(text: str, output: str) -> bool:
    """Whether a text names the file of an output, alone, as FILE:NAME or before changes of it."""
    if not _is_there(output):
        return False
    names = {text, text.partition(" ")[0], text.rpartition(":")[0]}
    return any(name and _same(output, name) for name in names)


def _holds(folder: str, output: str) -> bool:
    """Whether an output is a picture of a folder that is there already."""
    from blocksearch.data.listings import is_picture

    if not _is_there(output) or not is_picture(Path(output).name):
        return False
    return Path(os.path.realpath(folder)) in Path(os.path.realpath(output)).parents


def _is_there(output: str) -> bool:
    try:
        return Path(output).is_file()
    except (OSError, ValueError):
        return False
