"""What a user can mend: each error is one line that names the rule, the value and where it came
from.
"""

import difflib
from collections.abc import Iterable


class BlocksearchError(Exception):
    """The one family the command line turns into a single line and exit code 2."""


class SpecError(BlocksearchError):
    """A block, network or grammar that breaks a rule of the space."""


class PluginError(SpecError):
    """A user's option that does not expand: a mistake in its file, not a network to leave out."""


class ParseError(SpecError):
    """Text that does not parse; the message shows the text and a caret."""


class DataError(BlocksearchError):
    """A data file that is missing, truncated, mislabelled or foreign."""


class StoreError(BlocksearchError):
    """A ledger file that is not one, is damaged, or contradicts another."""


class RunError(BlocksearchError):
    """Trainings that this machine could not carry out: no fact about a network."""


def unknown(kind: str, name: str, known: Iterable[str], advice: str = "") -> "ConfigError":
    """Say that a name is not known, with the nearest that is and all that are."""
    names = list(known)
    near = difflib.get_close_matches(name, names, 1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return ConfigError(f"unknown {kind} {name!r}{hint}; known: {', '.join(names)}{advice}")


class ConfigError(BlocksearchError):
    """An argument outside its range, or a question that cannot be asked."""
