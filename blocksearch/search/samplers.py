"""Who proposes networks. A sampler is a pure function of the trials, so that a killed search goes
on to the same steps.

A user's own is a class with a `name` and `propose`:

>>> class Cheapest:
...     name = "cheapest"
...     def propose(self, trials, pending, candidates, rng):
...         rows = candidates.free
...         cheapest = candidates.costs(["flops"])[rows, 0].argsort()
...         return Proposal(rows[cheapest[0]]) if len(rows) else None
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from blocksearch.arch.network import Network
from blocksearch.errors import ConfigError
from blocksearch.search.objectives import Floats
from blocksearch.search.surrogate import Codes
from blocksearch.space.candidates import Candidates

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
        """Draw a free network, each equally likely, listed or not; None where none is left."""
        return self.pool.draw(rng, self.taken)

    def is_free(self, row: int) -> bool:
        """Say whether a row may be proposed."""
        return row >= len(self.taken) or not self.taken[row]


@dataclass(frozen=True)
class Proposal:
    """A row to train next, and what the sampler wants back with its trial, as JSON.

    Raises ConfigError where that has a `code`, under which a trial says what it is made of.
    """

    row: int
    memory: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if "code" in self.memory:
            raise ConfigError("a proposal's memory must not have a 'code': a trial's own is there")


@runtime_checkable
class Sampler(Protocol):
    """Proposes networks; `name` stands in the trials."""

    @property
    def name(self) -> str:
        """Say who proposed."""

    def propose(
        self,
        trials: "Sequence[Trial]",
        pending: "Sequence[Trial]",
        candidates: Untrained,
        rng: np.random.Generator,
    ) -> Proposal | None:
        """Return the row to train next; None where no network is left.

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
