"""Optuna's samplers behind our filter: they propose on a study in memory, rebuilt from what the search was told.

A proposal that is no member, over budget or known is drawn again a few times; then one of the members that are left and differ
from it in the fewest choices is taken, each of those equally likely.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from blocksearch.experiments.search.mirror import distributions
from blocksearch.experiments.search.policy import Step, Told, results_of
from blocksearch.experiments.search.pool import Pool
from blocksearch.experiments.search.study import Wishes

REDRAWS = {"nsga2": 10, "tpe": 1, "gp": 1}
POPULATION = 24
GENERATION = "NSGAIISampler:generation"  # without it, NSGA-II never makes a finished trial a parent


class ByOptuna:
    """NSGA-II, TPE or GP of Optuna. Networks that are no members cannot be said in the space's choices, and are not told."""

    def __init__(self, kind: str, pool: Pool, wishes: Wishes) -> None:
        self._kind, self._pool, self._wishes = kind, pool, wishes
        self._space = distributions(pool.encoding)
        self._study: optuna.Study | None = None
        self._held: list[tuple[int, tuple[float, ...] | None]] = []  # row and values of each trial in memory

    def propose(
        self, told: Sequence[Told], pending: Sequence[Step], taken: NDArray[np.bool_], rng: np.random.Generator
    ) -> tuple[int | None, str, dict[str, Any]]:
        """See `Sampler`."""
        study = self._brought_up_to_date(told, pending)
        storage, study_id = study._storage, study._study_id
        before = dict(storage.get_study_system_attrs(study_id))
        number = storage.create_new_trial(study_id)
        row = self._drawn(study, number, taken, rng)
        if row is None:
            self._study = None
            return None, self._kind, {}
        self._held.append((row, None))
        for name, level in self._choices(row).items():
            distribution = self._space[name]
            storage.set_trial_param(number, name, distribution.to_internal_repr(distribution.choices[level]), distribution)
        attributes = storage.get_trial(number).system_attrs
        after = storage.get_study_system_attrs(study_id)
        return row, self._kind, {"trial": attributes, "study": {k: v for k, v in after.items() if before.get(k) != v}}

    def _drawn(self, study: optuna.Study, number: int, taken: NDArray[np.bool_], rng: np.random.Generator) -> int | None:
        if not (self._pool.members & ~np.pad(taken, (0, len(self._pool) - len(taken)))).any():
            return self._pool.draw(rng, taken)
        trial = study._storage.get_trial(number)
        sampler = self._sampler(int(rng.integers(2**31)))
        sampler.before_trial(study, trial)
        code: NDArray[np.int16] | None = None
        for _ in range(1 + REDRAWS[self._kind]):
            code = self._sampled(sampler, study, trial)
            row = self._pool.decode([int(level) for level in code])
            if row is not None and (row >= len(taken) or not taken[row]):
                return row
        assert code is not None
        left = np.flatnonzero(self._pool.members[: len(taken)] & ~taken)
        if not len(left):
            return self._pool.draw(rng, taken)
        apart = (self._pool.codes[left] != code).sum(1)
        return int(rng.choice(left[apart == apart.min()]))

    def _sampled(self, sampler: BaseSampler, study: optuna.Study, trial: FrozenTrial) -> NDArray[np.int16]:
        found = sampler.sample_relative(study, trial, dict(self._space))
        chosen = {
            name: found[name] if name in found else sampler.sample_independent(study, trial, name, distribution)
            for name, distribution in self._space.items()
        }
        return np.array([self._space[name].choices.index(value) for name, value in chosen.items()], np.int16)

    def _sampler(self, seed: int) -> BaseSampler:
        if self._kind == "nsga2":
            return NSGAIISampler(population_size=POPULATION, seed=seed)
        if self._kind == "tpe":
            return TPESampler(multivariate=True, constant_liar=True, seed=seed)
        return GPSampler(seed=seed)

    def _brought_up_to_date(self, told: Sequence[Told], pending: Sequence[Step]) -> optuna.Study:
        """Tell Optuna what has come, or everything again where a later seed moved a mean."""
        order = [each.step for each in told if each.step.kind == "new"] + [step for step in pending if step.kind == "new"]
        values = self._values(told)
        wanted = [(step.row, values.get(step.row)) for step in order if self._expressible(step.row)]
        held = self._held
        grown = self._study is not None and len(held) <= len(wanted)
        grown = grown and all(a[0] == b[0] and a[1] in (None, b[1]) for a, b in zip(held, wanted, strict=False))
        if not grown:
            self._study, self._held = self._new_study(), []
        study = self._study
        assert study is not None
        memories = {step.row: step.memory for step in order}
        for place, (row, result) in enumerate(wanted):
            if place >= len(self._held):
                self._add(study, row, result, memories[row])
                self._held.append((row, result))
            elif self._held[place][1] is None and result is not None:
                study._storage.set_trial_state_values(place, TrialState.COMPLETE, result)
                self._held[place] = (row, result)
        return study

    def _add(self, study: optuna.Study, row: int, result: tuple[float, ...] | None, memory: dict[str, Any]) -> None:
        level = self._choices(row)
        trial = create_trial(
            state=TrialState.RUNNING if result is None else TrialState.COMPLETE,
            values=result,
            params={name: self._space[name].choices[level[name]] for name in self._space},
            distributions=dict(self._space),
            system_attrs=memory.get("trial") or {GENERATION: 0},
        )
        study.add_trial(trial)
        for key, value in memory.get("study", {}).items():
            study._storage.set_study_system_attr(study._study_id, key, value)

    def _values(self, told: Sequence[Told]) -> dict[int, tuple[float, ...]]:
        """Return each network's objectives, its accuracy being the mean over its seeds so far; a failure is the worst."""
        found: dict[int, list[float]] = {}
        for each in results_of(told):
            found.setdefault(each.row, []).append(each.accuracy)
        costs = self._pool.costs(self._wishes.costs)
        lost = {each.step.row: [0.0] for each in told if each.step.row not in found}
        return {row: (float(np.mean(each)), *map(float, costs[row])) for row, each in (found | lost).items()}

    def _expressible(self, row: int) -> bool:
        return bool(self._pool.members[row]) and int(self._pool.codes[row].min(initial=0)) >= 0

    def _choices(self, row: int) -> dict[str, int]:
        return {name: max(0, int(level)) for name, level in zip(self._space, self._pool.codes[row], strict=True)}

    def _new_study(self) -> optuna.Study:
        directions = [StudyDirection.MAXIMIZE, *([StudyDirection.MINIMIZE] * len(self._wishes.costs))]
        return optuna.create_study(storage=InMemoryStorage(), directions=directions, sampler=self._sampler(0))
