"""Which step comes next: a new network, a longer training, or another seed. It follows from what
the search was told.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from blocksearch.search.definition import Wishes
from blocksearch.search.evolution import Evolution
from blocksearch.search.objectives import Floats, front
from blocksearch.search.outlook import Result
from blocksearch.search.race import promoted
from blocksearch.space.candidates import Candidates

# once there are `AGAIN_AFTER` trials, one step in so many repeats a network of the front with
# another seed
AGAIN_EVERY = 8
AGAIN_AFTER = 16


@dataclass(frozen=True)
class Step:
    """A training to be done: a row of the pool with a seed, until so many epochs.

    `memory` is what a sampler must be given back after a restart.
    """

    number: int
    trial: int
    kind: str
    origin: str
    row: int
    seed: int
    epochs: int
    memory: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Told:
    """A finished step, and the accuracies (percent) at each rung up to its epochs; none where the
    run diverged or failed.
    """

    step: Step
    accuracies: tuple[float, ...]

    @property
    def accuracy(self) -> float | None:
        """Percent after the step's last epoch."""
        return self.accuracies[-1] if self.accuracies else None


class Sampler(Protocol):
    """Proposes networks."""

    def propose(
        self,
        told: Sequence[Told],
        pending: Sequence[Step],
        taken: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> tuple[int | None, str, dict[str, Any]]:
        """Return the row to train next (None where no member is left), who proposed it, and what to
        remember.
        """
        ...


class ByEvolution:
    """Our sampler, told of steps."""

    def __init__(self, evolution: Evolution, rungs: Sequence[int]) -> None:
        self._evolution, self._results = evolution, Results(rungs)

    def propose(
        self,
        told: Sequence[Told],
        pending: Sequence[Step],
        taken: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> tuple[int | None, str, dict[str, Any]]:
        """See `Sampler`."""
        rows = list(dict.fromkeys(step.row for step in pending if step.kind == "new"))
        return self._evolution.propose(self._results.of(told), rows, taken, rng), "evolution", {}


class ByChance:
    """Each member that is left is equally likely."""

    def __init__(self, pool: Candidates) -> None:
        self._pool = pool

    def propose(
        self,
        told: Sequence[Told],
        pending: Sequence[Step],
        taken: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> tuple[int | None, str, dict[str, Any]]:
        """See `Sampler`."""
        return self._pool.draw(rng, taken), "random", {}


class Results:
    """Reads accuracies from steps, in their order, those at earlier rungs of a run first; what was
    read before is kept.
    """

    def __init__(self, rungs: Sequence[int]) -> None:
        self._rungs = tuple(rungs)
        self._read: list[Told] = []
        self._found: dict[tuple[int, int, int], Result] = {}

    def of(self, told: Sequence[Told]) -> list[Result]:
        """Return the results of some steps."""
        if len(told) < len(self._read) or (
            self._read and told[len(self._read) - 1] is not self._read[-1]
        ):
            self._read, self._found = [], {}
        for each in told[len(self._read) :]:
            row, seed = each.step.row, each.step.seed
            for rung, accuracy in zip(self._rungs, each.accuracies, strict=False):
                epochs = None if rung == self._rungs[-1] else rung
                self._found.setdefault((row, seed, rung), Result(row, accuracy, seed, epochs))
            self._read.append(each)
        return list(self._found.values())


class Policy:
    """Decides steps. `opening` are the rows, with their names, that every study begins with; they
    run to the horizon.

    `rungs` are the epochs after which a network must have earned to be trained further; the last is
    the horizon.
    """

    def __init__(
        self,
        pool: Candidates,
        sampler: Sampler,
        judge: Evolution,
        opening: Sequence[tuple[str, int]],
        wishes: Wishes,
        rungs: Sequence[int],
    ) -> None:
        self.pool, self.wishes, self.rungs = pool, wishes, tuple(rungs)
        self._sampler, self._judge, self._opening = sampler, judge, tuple(opening)
        self._results = Results(rungs)

    def decide(self, told: Sequence[Told], pending: Sequence[Step], trials: int) -> Step | None:
        """Return the step after those told and pending, or None where there is none as far as is
        known; `trials` is a total.
        """
        number = len(told) + len(pending)
        steps = [each.step for each in told] + list(pending)
        new = sum(step.kind == "new" for step in steps)
        if new < min(trials, len(self._opening)):
            name, row = self._opening[new]
            return Step(number, new, "new", name, row, 0, self.rungs[-1])
        if new >= AGAIN_AFTER and number % AGAIN_EVERY == AGAIN_EVERY - 1:
            again = self._again(number, self._front(told, self._judge.settled), steps)
            if again:
                return again
        if longer := self._longer(number, told, steps):
            return longer
        if new < trials and (found := self._new(number, new, told, pending, steps)):
            return found
        return self._again(number, self.front(told), steps)

    def _new(
        self,
        number: int,
        trial: int,
        told: Sequence[Told],
        pending: Sequence[Step],
        steps: Sequence[Step],
    ) -> Step | None:
        taken = np.zeros(len(self.pool), bool)
        taken[[step.row for step in steps]] = True
        taken |= ~self.pool.members
        rng = np.random.default_rng([self.wishes.seed, trial])
        row, origin, memory = self._sampler.propose(told, pending, taken, rng)
        if row is None:
            return None
        return Step(number, trial, "new", origin, row, 0, self.rungs[0], memory)

    def _longer(self, number: int, told: Sequence[Told], steps: Sequence[Step]) -> Step | None:
        """Take a network further that has earned it, one of the highest rung first."""
        if len(self.rungs) == 1 or not any(each.accuracies for each in told):
            return None
        reached = {
            step.row: step.epochs for step in steps if step.seed == 0
        }  # the last step of a run goes farthest
        rows, means = self._judge.settled(self._results.of(told))
        expected = dict(zip(rows, map(float, means), strict=True))
        for place in reversed(range(len(self.rungs) - 1)):
            there = {t.step.row for t in told if t.step.seed == 0 and len(t.accuracies) > place}
            raced = {row: mean for row, mean in expected.items() if row in there}
            row = promoted(
                raced, reached, self.rungs[place], self.pool.costs(self.wishes.costs)[list(raced)]
            )
            if row is not None:
                return self._step_of(number, row, "longer", 0, self.rungs[place + 1], steps)
        return None

    def _again(self, number: int, rows: Sequence[int], steps: Sequence[Step]) -> Step | None:
        """Repeat the network of the front that has the fewest seeds, where one has fewer than are
        wanted.
        """
        seeds: dict[int, int] = {}
        for step in steps:
            seeds[step.row] = max(seeds.get(step.row, 0), step.seed + 1)
        short = [row for row in rows if seeds[row] < self.wishes.seeds]
        if not short:
            return None
        row = min(short, key=lambda row: seeds[row])
        return self._step_of(number, row, "seed", seeds[row], self.rungs[-1], steps)

    @staticmethod
    def _step_of(
        number: int, row: int, kind: str, seed: int, epochs: int, steps: Sequence[Step]
    ) -> Step:
        first = next(step for step in steps if step.row == row)
        return Step(number, first.trial, kind, first.origin, row, seed, epochs)

    def front(self, told: Sequence[Told]) -> list[int]:
        """Return the rows of the front by the means of a model of everything told, cheapest first.

        Networks that did not come to the horizon are no members.
        """
        return self._front(told, self._judge.whole)

    def _front(
        self,
        told: Sequence[Told],
        settled: Callable[[Sequence[Result]], tuple[Sequence[int], Floats]],
    ) -> list[int]:
        whole = {
            each.step.row for each in told if each.accuracies and each.step.epochs == self.rungs[-1]
        }
        if not whole:
            return []
        rows, means = settled(self._results.of(told))
        places = [place for place, row in enumerate(rows) if row in whole]
        points = np.column_stack([means, self.pool.costs(self.wishes.costs)[list(rows)]])[places]
        return [rows[places[place]] for place in front(points)]
