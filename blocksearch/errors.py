"""What a user can mend. Each error is one line with the rule, the value and where it came from.

All are siblings below `BlocksearchError`, so that catching one kind never hides another.
"""

import difflib
from collections.abc import Iterable


class BlocksearchError(Exception):
    """The one family that the command line turns into a single line and exit code 2."""


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


class RunError(BlocksearchError):
    """Trainings that this machine could not carry out: no fact about a network."""


class ConfigError(BlocksearchError):
    """An argument outside its range, or a question that cannot be asked."""


def unknown(kind: str, name: str, known: Iterable[str], advice: str = "") -> ConfigError:
    """Make the error for an unknown name, with the nearest known one and all of them.

    >>> print(unknown("factor", "residul", ["kernel", "residual"]))
    unknown factor 'residul' (did you mean 'residual'?); known: kernel, residual
    """
    names = list(known)
    return ConfigError(
        f"unknown {kind} {name!r}{near(name, names)}; known: {', '.join(names)}{advice}"
    )


def near(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean …?)` with the nearest known name, or nothing."""
    found = difflib.get_close_matches(name, list(known), 1)
    return f" (did you mean {found[0]!r}?)" if found else ""
