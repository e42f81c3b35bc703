"""Samplers of a user's own: an object, or what a name in a file is or makes; and what is said where
one fails.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from blocksearch.errors import BlocksearchError, ConfigError, PluginError
from blocksearch.search.identity import is_optuna, sampler_text
from blocksearch.search.samplers import Proposal, Sampler, Untrained
from blocksearch.space.load import made_in

if TYPE_CHECKING:  # a configuration is read without the database
    from blocksearch.search.trials import Trial


def is_sampler(made: object) -> bool:
    """Say whether an object proposes networks: one of Optuna's samplers, or of our protocol.

    >>> is_sampler("random"), is_sampler(object())
    (False, False)
    """
    return is_optuna(made) or (isinstance(made, Sampler) and not isinstance(made, type))


def sampler_from(place: str) -> Any:
    """Run a user's file and return the sampler that a name in it is or makes: `mine.py:Cheapest`.

    Raises SpecError, ConfigError or PluginError in one line.
    """
    made = made_in(place, "sampler", is_sampler)
    if not is_sampler(made):
        raise ConfigError(
            f"{place} must be or make a sampler, an instance of one of Optuna's or an object with "
            f"a name and propose(), but is {_shown(made)}"
        )
    _know(made, Path(place.rpartition(":")[0]).expanduser())
    return made


def _know(sampler: Any, file: Path) -> None:
    """Read what a sampler of a file is, by which a study knows it: `inspect` finds the source of a
    class through its module, and a file that was run is none.
    """
    name = type(sampler).__module__
    before = sys.modules.get(name)
    if name == file.stem:
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__file__ = str(file)
    try:
        sampler_text(sampler)
    finally:
        if before is not None:
            sys.modules[name] = before
        elif name == file.stem:
            del sys.modules[name]


class Guarded:
    """Asks a user's sampler. Raises PluginError where it fails, or proposes what cannot be trained:
    a mistake in its code, and never the end of a space.
    """

    def __init__(self, sampler: Sampler) -> None:
        self.sampler, self.name = sampler, str(sampler.name)

    def propose(
        self,
        trials: "Sequence[Trial]",
        pending: "Sequence[Trial]",
        candidates: Untrained,
        rng: np.random.Generator,
    ) -> Proposal | None:
        """See `Sampler`."""
        try:
            found: Any = self.sampler.propose(trials, pending, candidates, rng)
        except BlocksearchError:
            raise
        except Exception as error:  # a user's code may raise anything: say where
            from blocksearch.training.users import failure

            raise failure(f"sampler {self.name} fails", error) from error
        if found is None:
            return None
        if why := _why_not(found, candidates):
            raise PluginError(f"sampler {self.name} must {why}")
        proposal: Proposal = found
        return proposal


def _why_not(found: object, candidates: Untrained) -> str | None:
    """Say why what a sampler returned cannot be trained next, if so."""
    if not isinstance(found, Proposal):
        return f"return a Proposal or None, but gave {_shown(found)}"
    row: object = found.row
    if isinstance(row, bool) or not isinstance(row, int | np.integer):
        return f"propose a row's number, but gave {_shown(row)}"
    if not 0 <= row < len(candidates.pool):
        return f"propose one of rows 0 to {len(candidates.pool) - 1:,}, but gave {row:,}"
    if not candidates.is_free(int(row)):
        return f"propose a row that is free (candidates.is_free), but gave {row:,}"
    try:
        json.dumps(dict(found.memory), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        return f"have memory that is JSON, but gave {_shown(found.memory)} ({error})"
    return None


def _shown(value: object) -> str:
    try:
        return f"{value!r:.80}"
    except Exception:  # a user's own text of itself
        return f"an object of {type(value).__name__}"
