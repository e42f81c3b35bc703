"""Defines the errors that a user can mend, each one line with rule, value and where it came from.

All are siblings below `BlocksearchError`, so that catching one kind never hides another.
"""

import difflib
import re
import types
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from functools import cache, wraps
from inspect import Parameter, signature
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

P = ParamSpec("P")
T = TypeVar("T")
LONGEST = 300  # characters of an error
# of a URL, of which a path has lost a slash; parts are bounded, so that a long text is read soon
_SCHEME = r"[A-Za-z][\w+.-]{0,40}:/{1,2}"
_USER = re.compile(rf"({_SCHEME})[^\s@:]{{0,200}}:")
# without slashes: scheme:user:password@host
_BARE = re.compile(r"(\b[A-Za-z][\w+.-]{1,40}:)[^\s@:/'\"]{1,200}:[^\s@/]{1,200}@")
_SECRETS = (  # without a host, and in a query
    (re.compile(rf"({_SCHEME}[^\s/@:]{{0,200}}:)(?!\d{{1,5}}\b)[^\s/@]+"), r"\1***"),
    (
        re.compile(r"(?i)(\b\w{0,40}(?:pass|pwd|secret|token|key)\w{0,40}=)[^\s&;'\"]+"),
        r"\1***",
    ),
)
# percent-encoded, maybe twice, in whatever text
_ENCODED = re.compile(r"(?i)((?:pass|pwd|secret|token|key)\w{0,40}%(?:25)?3D)[^\s&;'\"]+")
_TAKEN: dict[Any, Any] = {int: Integral, float: Real, Path: str | PathLike}  # numpy's numbers too
_NOUNS: dict[Any, str] = {
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    Any: "value",
    Callable: "function",
    Mapping: "mapping",
}
_SEVERAL = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
WHOLE = 80  # characters of a given word, such as a path, that is never shortened
ECHOES = (WHOLE, 60, 40, 30)  # of what a longer one keeps: as many as there is room for


def clean(text: str) -> str:
    """Replace what a terminal would obey and XML forbids; the ends of lines stay.

    >>> clean("a\\x1b[2J")
    'a�[2J'
    """
    if text.isprintable():
        return text
    return "".join(each if _is_harmless(each) else "\ufffd" for each in text)


def _is_harmless(character: str) -> bool:
    kept = character.isprintable() or character == "\n"
    return kept or unicodedata.category(character) == "Zs"


def without_secrets(line: str) -> str:
    """Hide passwords of URLs, wherever one was given in the place of something else.

    >>> without_secrets("--save ftp://me:secret@host/a.html: no such file")
    '--save ftp://***@host/a.html: no such file'
    """
    line = _ENCODED.sub(r"\1***", _BARE.sub(r"\1***@", line))
    if not re.search(_SCHEME, line):
        return line
    for found in _USER.finditer(line):
        end = line.rfind("@", found.end())
        if end >= 0:
            line = f"{line[: found.end(1)]}***{line[end:]}"
            break
    for pattern, hidden in _SECRETS:
        line = pattern.sub(hidden, line)
    return line


def one_line(text: object) -> str:
    """Bring a message to one clean line of at most 300 characters; what is too long loses its
    middle, long words first.

    >>> one_line("refused:\\n  no such host"), len(one_line("x" * 5000))
    ('refused: no such host', 80)
    """
    line = clean(" ".join(filter(None, map(str.strip, str(text).splitlines()))))
    line = without_secrets(line)
    words = line.split(" ")
    for most in ECHOES:
        if len(line) > LONGEST:
            line = " ".join(_echo(word, most) for word in words)
    return line if len(line) <= LONGEST else f"{line[:199]}…{line[-100:]}"


def _echo(word: str, most: int) -> str:
    whole = len(word) <= (most if "…" in word else WHOLE)  # what lost its middle may lose more
    return word if whole else f"{word[: most // 2]}…{word[1 - most // 2 :]}"


class BlocksearchError(Exception):
    """The one family that the command line turns into a single line and exit code 2.

    >>> print(BlocksearchError("refused:\\n  no such host"))
    refused: no such host
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(message))


class SpecError(BlocksearchError):
    """A block, network or space that breaks a rule: a search leaves it out and goes on."""


class PluginError(BlocksearchError):
    """A user's function that fails: a mistake in its file, never a network to leave out."""


class ParseError(BlocksearchError):
    """Text that does not parse, with the text and the column."""


class DataError(BlocksearchError):
    """A data file that is missing, truncated, mislabelled or foreign."""


class StoreError(BlocksearchError):
    """A database that is not ours, is damaged, or contradicts another."""


class MissingError(StoreError):
    """A database or a study that is not there."""


class RunError(BlocksearchError):
    """Trainings that this machine could not carry out: no fact about a network."""


class ConfigError(BlocksearchError):
    """An argument outside its range, or a question that cannot be asked."""


def unknown(kind: str, name: object, known: Iterable[str], advice: str = "") -> ConfigError:
    """Make the error for an unknown name, with the nearest known one and all of them, as far
    as a line has room.

    >>> print(unknown("factor", "residul", ["kernel", "residual"]))
    unknown factor 'residul' (did you mean 'residual'?); known: kernel, residual
    """
    names = list(known)
    hint, listed = near(str(name), names), f"; known: {', '.join(names)}"
    said = f"unknown {kind} {name!r:.80}{hint}"
    room = LONGEST - len(said) - len(advice)
    if len(str(name)) <= WHOLE and len(listed) > room:  # a longer name is shortened, not this
        listed = "" if hint else f"{listed[: max(0, room - 3)].rpartition(', ')[0]}, …"
    return ConfigError(f"{said}{listed}{advice}")


def near(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean …?)` with the nearest known name, or nothing."""
    if len(name) > LONGEST:  # comparing takes the product of both lengths
        return ""
    found = difflib.get_close_matches(name, list(known), 1)
    return f" (did you mean {found[0]!r}?)" if found else ""


def check_fields(given: Any) -> None:
    """Hold the fields of a dataclass against their annotations; a number of another library, such
    as numpy's, becomes Python's. Raises ConfigError.
    """
    for name, kind in _kinds(given.__class__).items():
        value = getattr(given, name)
        check_type(name, value, kind)
        if (own := as_python(value)) is not value:
            object.__setattr__(given, name, own)


def as_python(value: Any) -> Any:
    """Return a number of another library, or those in a list, as Python's own, and anything else as
    it is.
    """
    if type(value) in (tuple, list):
        return type(value)(map(as_python, value)) if _has_foreign(value) else value
    if isinstance(value, int) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def _has_foreign(values: Iterable[Any]) -> bool:
    return any(as_python(each) is not each for each in values)


@cache
def _kinds(of: type) -> dict[str, Any]:
    hints = get_type_hints(of)
    return {each.name: hints[each.name] for each in fields(of)}


def check_type(name: str, value: object, kind: Any) -> None:
    """Raise ConfigError if a value is not of the kind that an annotation says.

    >>> check_type("seeds", {1}, int | Sequence[int])
    >>> check_type("epochs", "two", int | None)
    Traceback (most recent call last):
    blocksearch.errors.ConfigError: epochs must be a whole number, but got 'two'
    """
    if not _is_of(value, kind):
        raise ConfigError(f"{name} must be {_called(kind)}, but got {value!r:.80}")


def typed(call: Callable[P, T]) -> Callable[P, T]:
    """Hold the arguments of a call against its annotations before it runs; a number of another
    library becomes Python's. The call then raises ConfigError.

    >>> typed(one_line).__name__
    'one_line'
    """
    known = signature(call)
    held = [name for name, each in known.parameters.items() if each.kind not in _SEVERAL]

    @wraps(call)
    def checked(*args: P.args, **named: P.kwargs) -> T:
        try:
            given = known.bind(*args, **named)
        except TypeError:
            return call(*args, **named)  # Python says what is too much, or lacks
        for name in given.arguments.keys() & held:
            check_type(name, given.arguments[name], _hints(call).get(name, Any))
            given.arguments[name] = as_python(given.arguments[name])
        return call(*given.args, **given.kwargs)

    return checked


@cache
def _hints(call: Callable[..., object]) -> dict[str, Any]:
    return get_type_hints(call)


def _is_of(value: Any, kind: Any) -> bool:
    origin, of = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return any(_is_of(value, each) for each in of)
    if origin is Literal:
        return value in of
    if origin is tuple and ... not in of:
        pair = isinstance(value, tuple | list) and len(value) == len(of)
        return pair and all(map(_is_of, value, of))
    if origin in (tuple, Sequence):
        several = isinstance(value, Collection) and not isinstance(value, str | bytes | Mapping)
        several = several and getattr(value, "ndim", 1) > 0  # an array of no dimension is no list
        return several and all(_is_of(each, of[0]) for each in value)
    if isinstance(value, bool) and kind in (int, float):
        return False
    return kind is Any or isinstance(value, _TAKEN.get(kind, origin or kind))


def _called(kind: Any, *, several: bool = False) -> str:
    origin, of = get_origin(kind), [each for each in get_args(kind) if each is not types.NoneType]
    if origin in (Union, types.UnionType):
        return " or ".join(_called(each, several=several) for each in of)
    if origin is Literal:
        return " or ".join(of)
    if origin is tuple and ... not in of:
        return f"a pair ({', '.join(map(_called, of))})"
    if origin in (tuple, Sequence):
        return f"a list of {_called(of[0], several=True)}"
    if kind is bool:
        return "True or False"
    noun = _NOUNS.get(origin or kind, getattr(kind, "__name__", "value"))
    article = "an" if noun[0] in "AEIOU" else "a"
    return f"{noun}s" if several else f"{article} {noun}"
