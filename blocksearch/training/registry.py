"""Registers named pieces of a recipe (optimisers, schedules, transforms), and reads texts that
choose one, such as `sgd(momentum=0.8)`. No torch here.
"""

import ast
import importlib.util
import inspect
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Generic, TypeVar, get_type_hints

from blocksearch.errors import ConfigError, unknown

P = TypeVar("P")
_TEXT = re.compile(r"\s*([A-Za-z_]\w*)\s*(?:\((.*)\)\s*)?", re.ASCII | re.DOTALL)
_TRUTH = {"true": True, "false": False, "True": True, "False": False}
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}


_REGISTERED: list[str] = []  # names in the order in which they were registered, again too


def note_registration(name: str) -> None:
    """Note that a piece was registered, whatever it is of."""
    _REGISTERED.append(name)


def registrations() -> int:
    """Count how often a piece was registered, so that a file that registers one is known by it."""
    return len(_REGISTERED)


@dataclass(frozen=True)
class Source:
    """Where a user's piece is written: part of what a run is, and what a worker loads it from."""

    file: str
    digest: str


class Registry(dict[str, Any], Generic[P]):
    """Pieces of one kind by name: callables, or dataclasses of callables whose fields are options.

    >>> from blocksearch.training.schedules import SCHEDULES
    >>> SCHEDULES.made("linear(warmup=0.2)")
    LinearRate(warmup=0.2)
    """

    def __init__(self, kind: str, pieces: Mapping[str, Any]) -> None:
        super().__init__(pieces)
        self.kind = kind
        self.sources: dict[str, Source] = {}

    def register(self, name: str, piece: Any) -> None:
        """Make a piece of a user's own known. Its source is part of a recipe's digest.

        Worker processes execute its file, so that is not the script that trains. Raises ConfigError
        for a name that is none or is taken, and if no file holds the source.
        """
        if not _TEXT.fullmatch(name) or "(" in name:
            raise ConfigError(f"a {self.kind}'s name must be one word, but got {name!r}")
        if name in self and name not in self.sources:
            raise ConfigError(f"another {self.kind} has the name {name!r} already")
        self.sources[name] = _source(f"{self.kind} {name!r}", piece)
        self[name] = piece
        note_registration(name)

    def made(self, text: str) -> P:
        """Make the piece that a text chooses. Raises ConfigError for what it cannot be."""
        name, written, piece = self._found(text)
        if not _has_options(piece):
            return piece  # type: ignore[no-any-return]
        made: P = piece(**self._options(name, piece, written))
        return made

    def canonical(self, text: str) -> str:
        """Return the one text of a piece: options by name, in order, without those at defaults.

        >>> from blocksearch.training.schedules import SCHEDULES
        >>> SCHEDULES.canonical("step( 0.5,warmup=0 )")
        'step(every=0.5)'
        """
        name, _, piece = self._found(text)
        if not _has_options(piece):
            return name
        made = self.made(text)
        told = [
            f"{each.name}={_written(getattr(made, each.name))}"
            for each in fields(piece)
            if getattr(made, each.name) != each.default
        ]
        return f"{name}({','.join(told)})" if told else name

    def name_of(self, text: str) -> str:
        """Return the name in a text."""
        return self._found(text)[0]

    def _found(self, text: str) -> tuple[str, str, Any]:
        read = _TEXT.fullmatch(text)
        if read is None:
            article = "an" if self.kind[0] in "aeiou" else "a"
            raise ConfigError(
                f"{article} {self.kind} is a name such as {next(iter(self))}, or a name with "
                f"options in brackets, but got {text!r}"
            )
        if read[1] not in self:
            raise unknown(self.kind, read[1], self)
        name, options, piece = read[1], (read[2] or "").strip(), self[read[1]]
        if options and not _has_options(piece):
            raise ConfigError(f"{self.kind} {name} has no options, but got {text!r}")
        return name, options, piece

    def _options(self, name: str, piece: Any, text: str) -> dict[str, Any]:
        kinds, known = get_type_hints(piece), [each.name for each in fields(piece)]
        found: dict[str, Any] = {}
        for place, part in enumerate(filter(None, map(str.strip, text.split(",")))):
            key, equals, value = (each.strip() for each in part.partition("="))
            if not equals:
                key, value = known[place] if place < len(known) else "", key
            if key not in known:
                raise unknown(f"option of {self.kind} {name}", key or value, known)
            if key in found:
                raise ConfigError(f"{self.kind} {name} has {key} twice in {text!r}")
            found[key] = read_value(f"{name}: {key}", value, kinds[key])
        return found


def read_value(what: str, text: str, kind: Any) -> Any:
    """Read a number, a truth value or a word. Raises ConfigError that begins with `what`.

    >>> read_value("momentum", "0.9", float)
    0.9
    """
    try:
        value = _TRUTH[text] if kind is bool else kind(text)
    except (KeyError, ValueError) as error:
        raise ConfigError(f"{what} must be {_WORDS[kind]}, but got {text!r}") from error
    if kind is float and not math.isfinite(value):
        raise ConfigError(f"{what} must be a finite number, but got {text!r}")
    return value


def within(name: str, value: float, low: float, high: float = math.inf) -> None:
    """Raise ConfigError unless a value is at least `low` and below `high`."""
    if not low <= value < high:
        bound = "" if high == math.inf else f" and below {high:g}"
        raise ConfigError(f"{name} must be at least {low:g}{bound}, but got {value}")


def load_source(registry: Registry[Any], name: str, source: Source) -> None:
    """Execute the file that registers a user's piece, in a process that does not know it.

    Raises ConfigError if the file does not register it, or another one by its name.
    """
    if registry.sources.get(name) == source:
        return
    from blocksearch.space.load import import_beside

    where = f"{registry.kind} {name!r}"
    import_beside(Path(source.file))
    found = importlib.util.spec_from_file_location(Path(source.file).stem, source.file)
    if found is None or found.loader is None:
        raise ConfigError(f"{where} must be in a file of Python, but is in {source.file}")
    try:
        found.loader.exec_module(importlib.util.module_from_spec(found))
    except Exception as error:  # a user's file may raise anything
        raise ConfigError(
            f"{source.file}, which registers {where}, fails: {type(error).__name__}: {error}"
        ) from error
    if registry.sources.get(name) != source:
        raise ConfigError(f"{source.file} does not register {where} as it was planned")


def _source(what: str, piece: Any) -> Source:
    """Find where a function or a class is written."""
    own = [piece] if inspect.isfunction(piece) else list(getattr(piece, "__dict__", {}).values())
    files = [each.__code__.co_filename for each in own if inspect.isfunction(each)]
    file = next((name for name in files if Path(name).is_file()), None)
    if file is None or piece.__module__ == "__main__":
        raise ConfigError(
            f"{what} must be written in a file of its own, which is named as a plugin or imported: "
            "worker processes load it from there"
        )
    text = Path(file).read_text()
    parts = [
        ast.get_source_segment(text, node)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == piece.__name__
    ]
    return Source(str(Path(file).resolve()), sha256(repr(parts or text).encode()).hexdigest())


def _has_options(piece: Any) -> bool:
    return isinstance(piece, type) and is_dataclass(piece)


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
