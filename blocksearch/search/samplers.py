"""Optuna's samplers behind our filter: they propose on a study in memory, rebuilt from what the
search was told.

A proposal that is no member, over budget or known is drawn again a few times; then one of the
members that are left and differ from it in the fewest choices is taken, each of those equally
likely.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from blocksearch.search.definition import Wishes
from blocksearch.search.optuna_export import directions, distributions
from blocksearch.search.policy import Step, Told
from blocksearch.space.candidates import Candidates

REDRAWS = {"nsga2": 10, "tpe": 1, "gp": 1}
POPULATION = 24
GENERATION = "NSGAIISampler:generation"  # without it, NSGA-II never makes a finished trial a parent
# the parents of a generation, chosen when its first child is: kept with that child's step
PARENTS = "NSGAIISampler:parent:"
Choices = dict[str, str]


class ByOptuna:
    """NSGA-II, TPE or GP of Optuna.

    Of a named point that is no member, NSGA-II inherits what can be said in the space's choices,
    and the first option for what cannot; TPE and GP would take that for a result of another
    network, and are not told of it.
    """

    def __init__(self, kind: str, pool: Candidates, wishes: Wishes) -> None:
        self._kind, self._pool, self._wishes = kind, pool, wishes
        self._space = distributions(pool.encoding)
        self._study = self._new_study()
        self._held: list[int] = []  # the row of each trial in memory

    def propose(
        self,
        told: Sequence[Told],
        pending: Sequence[Step],
        taken: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> tuple[int | None, str, dict[str, Any]]:
        """See `Sampler`."""
        spare = self._pool.draw(rng, taken)
        if spare is None:
            return None, self._kind, {}
        self._bring_up_to_date(told, pending)
        before = self._parents()
        base = _sampler(self._kind, int(rng.integers(2**31)))
        self._study.sampler = _Filter(
            base, self._space, lambda draw: self._chosen(draw, spare, taken, rng)
        )
        trial = self._study.ask(fixed_distributions=dict(self._space))
        row = self._pool.decode(self._code(trial.params))
        assert row is not None
        self._held.append(row)
        return row, self._kind, self._memory(trial.number, before)

    def _chosen(
        self,
        draw: Callable[[], Choices],
        spare: int,
        taken: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> Choices:
        """Draw until a free member comes, a few times; then take the nearest of the listed ones, or
        the spare one.
        """
        for _ in range(1 + REDRAWS[self._kind]):
            code = self._code(draw())
            row = self._pool.decode(code)
            if row is not None and (row >= len(taken) or not taken[row]):
                return self._choices(row)  # as it will be spelled when it is told again
        left = self._pool.left(taken)
        if not len(left):
            return self._choices(spare)
        apart = (self._pool.codes[left] != code).sum(1)
        return self._choices(int(rng.choice(left[apart == apart.min()])))

    def _memory(self, number: int, before: Mapping[str, Any]) -> dict[str, Any]:
        """Return what NSGA-II noted with a proposal: its generation, and that generation's parents
        where they are new.
        """
        if self._kind != "nsga2":
            return {}
        generation = self._storage.get_trial(number).system_attrs.get(
            GENERATION, 0
        )  # a space without a choice is not evolved
        return {
            "generation": generation,
            "parents": {k: v for k, v in self._parents().items() if k not in before},
        }

    def _parents(self) -> dict[str, Any]:
        attributes = self._storage.get_study_system_attrs(self._study_id)
        return {key: value for key, value in attributes.items() if key.startswith(PARENTS)}

    def _bring_up_to_date(self, told: Sequence[Told], pending: Sequence[Step]) -> None:
        """Tell Optuna what has come, and every mean that a later seed moved."""
        steps = [
            step
            for step in (*(each.step for each in told), *pending)
            if step.kind == "new" and self._is_said(step.row)
        ]
        if self._held != [
            step.row for step in steps[: len(self._held)]
        ]:  # something was taken back: begin again
            self._study, self._held = self._new_study(), []
        values = self._values(told)
        for number, step in enumerate(steps):
            result = values.get(step.row)
            if number == len(self._held):
                self._add(step, result)
                continue
            trial = self._storage.get_trial(
                number
            )  # the numbers of a storage's only study are its keys
            if trial.state == TrialState.RUNNING and result is not None:
                self._study.tell(number, result)
            elif trial.values != result:
                trial.values = result

    def _add(self, step: Step, result: list[float] | None) -> None:
        """Add a trial as it was when it was proposed here, or of the first generation where it was
        not.
        """
        trial = create_trial(
            state=TrialState.RUNNING if result is None else TrialState.COMPLETE,
            values=result,
            params=self._choices(step.row),
            distributions=dict(self._space),
            system_attrs={GENERATION: step.memory.get("generation", 0)},
        )
        self._study.add_trial(trial)
        self._held.append(step.row)
        for key, value in step.memory.get("parents", {}).items():
            self._storage.set_study_system_attr(self._study_id, key, value)

    def _values(self, told: Sequence[Told]) -> dict[int, list[float]]:
        """Return each network's objectives, its accuracy being the mean over its seeds so far; a
        failure is the worst.
        """
        found: dict[int, list[float]] = {}
        for each in told:
            found.setdefault(each.step.row, [])
            if each.accuracy is not None:
                found[each.step.row].append(each.accuracy)
        costs = self._pool.costs(self._wishes.costs)[list(found)].tolist()
        return {
            row: [sum(own) / max(1, len(own)), *costs[place]]
            for place, (row, own) in enumerate(found.items())
        }

    def _is_said(self, row: int) -> bool:
        return self._kind == "nsga2" or bool(self._pool.members[row])

    def _choices(self, row: int) -> Choices:
        levels = np.maximum(
            self._pool.codes[row], 0
        )  # a choice for which a member has no room may be any
        return {
            name: self._space[name].choices[level]
            for name, level in zip(self._space, levels, strict=True)
        }

    def _code(self, choices: Mapping[str, Any]) -> list[int]:
        return [
            distribution.choices.index(choices[name]) for name, distribution in self._space.items()
        ]

    def _new_study(self) -> optuna.Study:
        self._storage = InMemoryStorage()
        study = optuna.create_study(
            storage=self._storage,
            directions=directions(self._wishes),
            sampler=_sampler(self._kind, 0),
        )
        self._study_id = self._storage.get_study_id_from_name(study.study_name)
        return study


class _Filter(BaseSampler):
    """Gives every choice of a trial at once, as `chosen` takes it from the draws of a sampler."""

    def __init__(
        self,
        base: BaseSampler,
        space: Mapping[str, CategoricalDistribution],
        chosen: Callable[[Callable[[], Choices]], Choices],
    ) -> None:
        self._base, self._space, self._chosen_by = base, space, chosen

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return dict(self._space)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        def draw() -> Choices:
            found = self._base.sample_relative(study, trial, search_space)
            for name, distribution in search_space.items():
                if name not in found:  # before Optuna knows enough, and where NSGA-II mutates
                    found[name] = self._base.sample_independent(study, trial, name, distribution)
            return found

        return self._chosen_by(draw)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        raise AssertionError(f"every choice is made at once, but {param_name} was asked for alone")


def _sampler(kind: str, seed: int) -> BaseSampler:
    if kind == "nsga2":
        return NSGAIISampler(population_size=POPULATION, seed=seed)
    if kind == "tpe":
        return TPESampler(multivariate=True, constant_liar=True, seed=seed)
    return GPSampler(seed=seed)
