"""Which step comes next: a new network, or another seed of one that is there. It follows from what the search was told."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from blocksearch.experiments.search.evolution import Evolution, Result
from blocksearch.experiments.search.front import front
from blocksearch.experiments.search.pool import Pool
from blocksearch.experiments.search.study import Wishes

AGAIN_EVERY = 8  # once there are `AGAIN_AFTER` trials, one step in so many repeats a network of the front with another seed
AGAIN_AFTER = 16


@dataclass(frozen=True)
class Step:
    """A training to be done: a row of the pool with a seed. `memory` is what a sampler must be given back after a restart."""

    number: int
    trial: int
    kind: str
    origin: str
    row: int
    seed: int
    memory: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Told:
    """A finished step and its accuracy; None where the run diverged or failed."""

    step: Step
    accuracy: float | None


class Sampler(Protocol):
    """Proposes networks."""

    def propose(
        self, told: Sequence[Told], pending: Sequence[Step], taken: NDArray[np.bool_], rng: np.random.Generator
    ) -> tuple[int | None, str, dict[str, Any]]:
        """Return the row to train next (None where no member is left), who proposed it, and what to remember."""
        ...


class ByEvolution:
    """Our sampler, told of steps."""

    def __init__(self, evolution: Evolution) -> None:
        self._evolution = evolution

    def propose(
        self, told: Sequence[Told], pending: Sequence[Step], taken: NDArray[np.bool_], rng: np.random.Generator
    ) -> tuple[int | None, str, dict[str, Any]]:
        """See `Sampler`."""
        rows = list(dict.fromkeys(step.row for step in pending if step.kind == "new"))
        return self._evolution.propose(results_of(told), rows, taken, rng), "evolution", {}


class ByChance:
    """Each member that is left is equally likely."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def propose(
        self, told: Sequence[Told], pending: Sequence[Step], taken: NDArray[np.bool_], rng: np.random.Generator
    ) -> tuple[int | None, str, dict[str, Any]]:
        """See `Sampler`."""
        return self._pool.draw(rng, taken), "random", {}


def results_of(told: Sequence[Told]) -> list[Result]:
    """Return the accuracies, in the order of their steps."""
    return [Result(each.step.row, each.accuracy) for each in told if each.accuracy is not None]


class Policy:
    """Decides steps. `opening` are the rows, with their names, that every study begins with."""

    def __init__(
        self, pool: Pool, sampler: Sampler, judge: Evolution, opening: Sequence[tuple[str, int]], wishes: Wishes
    ) -> None:
        self.pool, self.wishes = pool, wishes
        self._sampler, self._judge, self._opening = sampler, judge, tuple(opening)
        self.exhausted = False

    def decide(self, told: Sequence[Told], pending: Sequence[Step], trials: int) -> Step | None:
        """Return the step after those told and pending, or None where there is none as far as is known; `trials` is a total."""
        number = len(told) + len(pending)
        steps = [each.step for each in told] + list(pending)
        new = sum(step.kind == "new" for step in steps)
        if new < min(trials, len(self._opening)):
            name, row = self._opening[new]
            return Step(number, new, "new", name, row, 0)
        if new >= AGAIN_AFTER and number % AGAIN_EVERY == AGAIN_EVERY - 1 and (again := self._again(number, told, steps)):
            return again
        if new < trials and (found := self._new(number, new, told, pending, steps)):
            return found
        return self._again(number, told, steps)

    def _new(self, number: int, trial: int, told: Sequence[Told], pending: Sequence[Step], steps: Sequence[Step]) -> Step | None:
        taken = np.zeros(len(self.pool), bool)
        taken[[step.row for step in steps]] = True
        taken |= ~self.pool.members
        rng = np.random.default_rng([self.wishes.seed, trial])
        row, origin, memory = self._sampler.propose(told, pending, taken, rng)
        if row is None:
            self.exhausted = True
            return None
        return Step(number, trial, "new", origin, row, 0, memory)

    def _again(self, number: int, told: Sequence[Told], steps: Sequence[Step]) -> Step | None:
        """Repeat the network of the front that has the fewest seeds, where one has fewer than are wanted."""
        seeds: dict[int, list[int]] = {}
        for step in steps:
            seeds.setdefault(step.row, []).append(step.seed)
        short = [row for row in self.front(told) if len(seeds[row]) < self.wishes.seeds]
        if not short:
            return None
        row = min(short, key=lambda row: len(seeds[row]))
        first = next(step for step in steps if step.row == row)
        return Step(number, first.trial, "seed", first.origin, row, max(seeds[row]) + 1)

    def front(self, told: Sequence[Told]) -> list[int]:
        """Return the rows of the front by the model's means, cheapest first."""
        results = results_of(told)
        if not results:
            return []
        rows, means, _ = self._judge.settled(results)
        points = np.column_stack([means, self.pool.costs(self.wishes.costs)[rows]])
        return [rows[place] for place in front(points)]
