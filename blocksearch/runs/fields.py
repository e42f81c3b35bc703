"""Checks each field of a stored row for kind and range, because anybody may have written it.

A file says nothing about who wrote it. So each reader of a row states what it expects, and whatever
is otherwise is one typed line with the file, the table and the row.
"""

import json
import zlib
from collections.abc import Callable, Mapping
from enum import StrEnum
from math import inf, isfinite
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from blocksearch.errors import StoreError

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")
MOST = 2**31 - 1  # of what is counted: images, epochs, seeds, trials
SEED = 2**63 - 1  # the largest that a database holds
SHOWN = 40  # letters of a wrong value that a message repeats


class Fields:
    """A stored row, or an object in one, whose fields are taken by kind.

    `where` names it in errors, which are StoreErrors. JSON texts are read by `json`.

    >>> Fields({"seed": 3}, "a.db: table ledger_runs, row 1").whole("seed")
    3
    """

    def __init__(self, row: Mapping[str, Any], where: str) -> None:
        self._row, self.where = row, where

    def text(self, name: str) -> str:
        """Return a text."""
        return self._of(name, str, "a text")

    def whole(self, name: str, low: int = 0, high: int = MOST) -> int:
        """Return a whole number between two limits."""
        found: int = self._checked(
            name, lambda value: _is_whole(value, low, high), f"a whole number from {low} to {high}"
        )
        return found

    def number(self, name: str, low: float = -inf, high: float = inf) -> float:
        """Return a finite number between two limits."""
        found: float = self._checked(
            name, lambda value: _is_number(value, low, high), _range(low, high)
        )
        return found

    def numbers(self, name: str, low: float = -inf, high: float = inf) -> tuple[float, ...]:
        """Return a list of finite numbers between two limits, each as a tuple's item."""
        rule = f"a list, each item {_range(low, high)}"
        found = self._checked(name, lambda value: _each(value, _is_number, low, high), rule)
        return tuple(found)

    def wholes(self, name: str, low: int = 0, high: int = MOST) -> list[int]:
        """Return a list of whole numbers between two limits."""
        rule = f"a list of whole numbers from {low} to {high}"
        found: list[int] = self._checked(
            name, lambda value: _each(value, _is_whole, low, high), rule
        )
        return found

    def truth(self, name: str) -> bool:
        """Return yes or no."""
        return self._of(name, bool, "true or false")

    def truths(self, name: str) -> list[bool]:
        """Return a list of yes and no."""
        return self._list_of(name, bool, "a list of true and false")

    def texts(self, name: str) -> list[str]:
        """Return a list of texts."""
        return self._list_of(name, str, "a list of texts")

    def named_texts(self, name: str) -> dict[str, str]:
        """Return texts by name."""
        found: dict[str, str] = self._checked(
            name,
            lambda value: (
                isinstance(value, dict) and all(isinstance(each, str) for each in value.values())
            ),
            "texts by name",
        )
        return found

    def named_numbers(self, name: str, low: float = -inf, high: float = inf) -> dict[str, float]:
        """Return finite numbers between two limits, by name."""
        found: dict[str, float] = self._checked(
            name,
            lambda value: (
                isinstance(value, dict) and _each([*value.values()], _is_number, low, high)
            ),
            f"numbers by name, each {_range(low, high)}",
        )
        return found

    def choice(self, name: str, kind: type[E]) -> E:
        """Return one of an enum's members, by the text that is stored."""
        return kind(self._checked(name, lambda value: value in list(kind), f"one of {list(kind)}"))

    def object(self, name: str) -> "Fields":
        """Return the fields of an object within."""
        return Fields(self._of(name, dict, "an object"), f"{self.where}, {name}")

    def objects(self, name: str) -> list["Fields"]:
        """Return the fields of each object of a list."""
        found = self._list_of(name, dict, "a list of objects")
        return [Fields(each, f"{self.where}, item {place}") for place, each in enumerate(found)]

    def has(self, name: str) -> bool:
        """Say whether a field is there, and not null."""
        return self._row.get(name) is not None

    def json(self, *names: str) -> "Fields":
        """Return the same fields, of which these texts are read as JSON of finite numbers."""
        return Fields({**self._row, **{name: self._read(name) for name in names}}, self.where)

    @property
    def row(self) -> Mapping[str, Any]:
        """All of it, as it stands."""
        return self._row

    def packed(self, name: str, kind: type[np.integer[Any]], most: int) -> NDArray[Any]:
        """Return whole numbers of one kind that were packed, of which there are `most` at most."""
        stored, width = self.blob(name), np.dtype(kind).itemsize
        try:
            unpack = zlib.decompressobj()
            plain = unpack.decompress(stored, most * width + 1)
        except zlib.error as error:
            raise self.error(name, f"packed numbers ({error})") from error
        if len(plain) > most * width or len(plain) % width or not unpack.eof:
            raise self.error(name, f"packed numbers, at most {most}")
        return np.frombuffer(plain, np.dtype(kind).newbyteorder("<")).astype(kind)

    def blob(self, name: str) -> bytes:
        """Return bytes."""
        return self._of(name, bytes, "bytes")

    def error(self, name: str, rule: str) -> StoreError:
        """Make the error for a field that breaks a rule."""
        shown = repr(self._row.get(name))[: SHOWN + 1]
        shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"
        return StoreError(f"{self.where}: {name} must be {rule}, but is {shown}")

    def _read(self, name: str) -> Any:
        try:
            text = self.text(name)
            found = json.loads(text, parse_constant=_refuse)
            if "\\ud" in text.lower():  # half a character can neither be stored nor be digested
                json.dumps(found, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise self.error(name, "JSON of finite numbers and whole characters") from error
        return found

    def _of(self, name: str, kind: type[T], rule: str) -> T:
        found: T = self._checked(name, lambda value: isinstance(value, kind), rule)
        return found

    def _list_of(self, name: str, kind: type[T], rule: str) -> list[T]:
        found: list[T] = self._checked(
            name,
            lambda value: isinstance(value, list) and all(isinstance(each, kind) for each in value),
            rule,
        )
        return found

    def _checked(self, name: str, holds: Callable[[Any], bool], rule: str) -> Any:
        if name not in self._row or not holds(value := self._row[name]):
            raise self.error(name, rule)
        return value


def damaged(what: str) -> StoreError:
    """Make the error for rows that no version of this program leaves."""
    return StoreError(f"{what}; the file was damaged or edited")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_number(value: Any, low: float, high: float) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        return False
    try:
        return isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _each(value: Any, holds: Callable[[Any, Any, Any], bool], low: float, high: float) -> bool:
    return isinstance(value, list) and all(holds(each, low, high) for each in value)


def _range(low: float, high: float) -> str:
    return "a finite number" if low == -inf else f"a number from {low:g} to {high:g}"
