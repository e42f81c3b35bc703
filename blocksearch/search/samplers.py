"""Defines samplers, which propose networks. A sampler is a pure function of the trials, so that a
killed search goes on to the same trials.

A user's own sampler is an object with a `name` and `propose`, given as it is or by its place in a
file. What it proposes is checked, and a failure names it:

>>> class Cheapest:
...     name = "cheapest"
...     def propose(self, trials, pending, candidates, rng):
...         rows = candidates.free
...         cheapest = candidates.costs(["flops"])[rows, 0].argsort()
...         return Proposal(rows[cheapest[0]]) if len(rows) else None
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from blocksearch.arch.network import Network
from blocksearch.errors import BlocksearchError, ConfigError, PluginError
from blocksearch.runs.metrics import Floats
from blocksearch.search.identity import is_optuna, sampler_text
from blocksearch.search.surrogate import Codes
from blocksearch.space.candidates import Candidates
from blocksearch.space.load import made_in

if TYPE_CHECKING:  # a configuration is read without the database
    from blocksearch.search.trials import Trial


@dataclass(frozen=True)
class Untrained:
    """The networks that may be proposed: rows of a pool, less those that are `taken`."""

    pool: Candidates
    taken: NDArray[np.bool_]

    @property
    def free(self) -> NDArray[np.int64]:
        """Rows that may be proposed: all of a small space, a sample of a large one."""
        return self.pool.left(self.taken)

    @property
    def codes(self) -> Codes:
        """What each row is made of, rows × choices, by `names`; -1 is none of the options."""
        return self.pool.codes

    @property
    def names(self) -> tuple[str, ...]:
        """The choices of the space."""
        return self.pool.encoding.names

    def costs(self, names: Sequence[str]) -> Floats:
        """Return exact costs of all rows, rows × names."""
        return self.pool.costs(names)

    def network(self, row: int) -> Network:
        """Return the network of a row."""
        return self.pool.network(row)

    def draw(self, rng: np.random.Generator) -> int | None:
        """Draw a free network, each equally likely, listed or not; None if none is left."""
        return self.pool.draw(rng, self.taken)

    def is_free(self, row: int) -> bool:
        """Say whether a row may be proposed."""
        return row >= len(self.taken) or not self.taken[row]


@dataclass(frozen=True)
class Proposal:
    """A row to train next, and what the sampler wants back with its trial, as JSON.

    Raises ConfigError if that has a `code`, under which a trial says what it is made of.

    >>> Proposal(3).row
    3
    """

    row: int
    memory: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if "code" in self.memory:
            raise ConfigError("a proposal's memory must not have a 'code': a trial's own is there")


@runtime_checkable
class Sampler(Protocol):
    """Proposes networks; `name` stands in the trials. One of your own has these two members.

    >>> class Newest:
    ...     name = "newest"
    ...     def propose(self, trials, pending, candidates, rng):
    ...         return Proposal(candidates.free[-1]) if len(candidates.free) else None
    >>> isinstance(Newest(), Sampler)
    True
    """

    @property
    def name(self) -> str:
        """Return the name under which its proposals are stored."""

    def propose(
        self,
        trials: "Sequence[Trial]",
        pending: "Sequence[Trial]",
        candidates: Untrained,
        rng: np.random.Generator,
    ) -> Proposal | None:
        """Return the row to train next; None if no network is left.

        `trials` have counted, in order; `pending` are proposed or in training. What a trial is made
        of is `candidates.codes[trial.row]`. `rng` depends on the study's seed and the number of the
        network alone.
        """


class RandomSampler:
    """Each network that is left is equally likely."""

    name = "random"

    def propose(
        self,
        trials: "Sequence[Trial]",
        pending: "Sequence[Trial]",
        candidates: Untrained,
        rng: np.random.Generator,
    ) -> Proposal | None:
        """See `Sampler`."""
        row = candidates.draw(rng)
        return None if row is None else Proposal(row)


OPTUNA = ("nsga2", "tpe", "gp")
# the class of each; None where one is made with what its study knows, in `schedule`
SAMPLERS: dict[str, "type[Sampler] | None"] = {
    "evolution": None,
    RandomSampler.name: RandomSampler,
    **dict.fromkeys(OPTUNA),
}


def is_sampler(made: object) -> bool:
    """Say whether an object proposes networks: one of Optuna's samplers, or of our protocol.

    >>> is_sampler("random"), is_sampler(object())
    (False, False)
    """
    try:
        if is_optuna(made) or isinstance(made, type):
            return not isinstance(made, type)
        return isinstance(made, Sampler) and bool(str(made.name))
    except Exception as error:  # what a name is asked for may be a user's code
        raise PluginError(f"{type(made).__name__} has no name: {error!r}") from error


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
    """Store the text by which a study knows a sampler from a file, because `inspect` finds sources
    through modules, and a file that was run is none.
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
    """Calls a user's sampler. Raises PluginError if it fails, or proposes what cannot be trained,
    because that is a mistake in its code and not the end of a space.
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
