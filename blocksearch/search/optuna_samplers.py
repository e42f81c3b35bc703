"""Wraps Optuna's samplers, which propose on a study in memory that is rebuilt from the trials.

If a proposal is not in the space, over budget or known, it is drawn again a few times. Then one of
the members left that differ from it in the fewest choices is drawn uniformly.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from math import prod
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, GPSampler, GridSampler, NSGAIISampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from blocksearch.arch.cost import Budget
from blocksearch.search.measured import Measure
from blocksearch.search.objectives import Prices
from blocksearch.search.optuna_io import broken, distributions, quiet
from blocksearch.search.samplers import Proposal, Untrained
from blocksearch.search.trials import Trial, TrialKind

REDRAWS = {"nsga2": 10, "tpe": 1, "gp": 1}
OTHER_REDRAWS = 3  # of a sampler that a user made
POPULATION = 24
GENERATION = "NSGAIISampler:generation"  # without it, NSGA-II never makes a finished trial a parent
# the parents of a generation, chosen with its first child and stored in that child's trial
PARENTS = "NSGAIISampler:parent:"
Choices = dict[str, str]


class OptunaSampler:
    """NSGA-II, TPE or GP of Optuna by name, or any sampler of Optuna's as a user made it.

    By name it is made anew for each proposal, with the study's seed and the number of the network,
    and a killed search goes on to the same steps. One that a user made keeps what it remembers: it
    is told of all trials after a restart, but need not go on to the same steps.

    If a reference network is not in the space, NSGA-II inherits its choices that the space has, and
    the first option for others. Other samplers are not told of it, because they would take it for
    another network's result.
    """

    def __init__(
        self,
        chosen: str | BaseSampler,
        prices: Prices,
        measures: Sequence[Measure] = (),
        limits: Sequence[Budget] = (),
    ) -> None:
        self._made = chosen if isinstance(chosen, BaseSampler) else None
        self.name = chosen if isinstance(chosen, str) else type(chosen).__name__
        self._evolves = chosen == "nsga2" or isinstance(chosen, NSGAIISampler)
        self._pool, self._prices = prices.pool, prices
        self._measures, self._limits = measures, limits
        down = [StudyDirection.MINIMIZE] * (len(prices.costs) + len(self._measures))
        self._directions = [StudyDirection.MAXIMIZE, *down]
        self._space = distributions(prices.pool.encoding.levels)
        self._study = self._new_study()
        self._held: list[int] = []  # the row of each trial in memory

    def propose(
        self,
        trials: Sequence[Trial],
        pending: Sequence[Trial],
        candidates: Untrained,
        rng: np.random.Generator,
    ) -> Proposal | None:
        """See `Sampler`."""
        spare = candidates.draw(rng)
        if spare is None:
            return None
        self._bring_up_to_date(trials, pending)
        if self._study.stopped or self._has_whole_grid():
            return None
        before = self._parents()
        base = self._made or _sampler(self.name, int(rng.integers(2**31)))
        self._study.sampler = asked = _Filter(
            base,
            self._space,
            lambda draw: self._chosen(draw, spare, candidates, rng),
            self._storage.get_trial,
            keeps=self._made is not None,
        )
        trial = self._study.ask(fixed_distributions=dict(self._space))
        row = self._pool.decode(self._code(trial.params))
        assert row is not None
        self._held.append(row)
        noted = {"noted": asked.noted} if asked.noted else {}
        return Proposal(row, self._memory(trial.number, before) | noted)

    def _chosen(
        self,
        draw: Callable[[], Choices],
        spare: int,
        candidates: Untrained,
        rng: np.random.Generator,
    ) -> Choices:
        """Draw until a free member comes, a few times; then take the nearest of the listed ones, or
        the spare one.
        """
        for _ in range(1 + REDRAWS.get(self.name, OTHER_REDRAWS)):
            code = self._code(draw())
            row = self._pool.decode(code)
            if row is not None and candidates.is_free(row):
                return self._choices(row)  # as it will be spelled when it is told again
        left = candidates.free
        if not len(left):
            return self._choices(spare)
        apart = (self._pool.codes[left] != code).sum(1)
        return self._choices(int(rng.choice(left[apart == apart.min()])))

    def _memory(self, number: int, before: Mapping[str, Any]) -> dict[str, Any]:
        """Return what NSGA-II noted with a proposal: its generation, and that generation's parents
        where they are new.
        """
        if not self._evolves:
            return {}
        # a space without a choice is not evolved
        generation = self._storage.get_trial(number).system_attrs.get(GENERATION, 0)
        parents = {k: v for k, v in self._parents().items() if k not in before}
        return {"generation": generation, "parents": parents}

    def _has_whole_grid(self) -> bool:
        """Say whether each point of a grid sampler was proposed; it says so itself once all have
        results, and until then proposes some again.
        """
        if not isinstance(self._made, GridSampler):
            return False
        trials = self._storage.get_all_trials(self._study_id, deepcopy=False)
        told = [each.system_attrs for each in trials if "grid_id" in each.system_attrs]
        sizes = map(len, told[0]["search_space"].values()) if told else ()
        return bool(told) and len({each["grid_id"] for each in told}) == prod(sizes)

    def _parents(self) -> dict[str, Any]:
        attributes = self._storage.get_study_system_attrs(self._study_id)
        return {key: value for key, value in attributes.items() if key.startswith(PARENTS)}

    def _bring_up_to_date(self, told: Sequence[Trial], pending: Sequence[Trial]) -> None:
        """Tell Optuna new results, and every mean that a later seed changed."""
        new = [
            each
            for each in (*told, *pending)
            if each.kind == TrialKind.NEW and self._is_said(each.row)
        ]
        if self._held != [each.row for each in new[: len(self._held)]]:  # one was taken back
            self._study, self._held = self._new_study(), []
        values = self._values(told)
        if self._limits and self._held:  # what breaks a limit cannot be changed of a trial
            self._study, self._held = self._new_study(), []
        for number, each in enumerate(new):
            result = values.get(each.row)
            if number == len(self._held):
                self._add(each, result)
                continue
            # the numbers of a storage's only study are its keys
            trial = self._storage.get_trial(number)
            if trial.state == TrialState.RUNNING and result is not None:
                self._study.tell(number, result)
            elif trial.values != result:
                trial.values = result

    def _add(self, proposed: Trial, result: list[float] | None) -> None:
        """Add a trial as it was when it was proposed here, or of the first generation where it was
        not.
        """
        trial = create_trial(
            state=TrialState.RUNNING if result is None else TrialState.COMPLETE,
            values=result,
            params=self._choices(proposed.row),
            distributions=dict(self._space),
            system_attrs={
                GENERATION: proposed.memory.get("generation", 0),
                **proposed.memory.get("noted", {}),
            },
            constraints=self._violations(result) if result else None,
        )
        self._study.add_trial(trial)
        self._held.append(proposed.row)
        for key, value in proposed.memory.get("parents", {}).items():
            self._storage.set_study_system_attr(self._study_id, key, value)

    def _values(self, told: Sequence[Trial]) -> dict[int, list[float]]:
        """Return each network's objectives, what is measured being the mean over its seeds so far;
        a failure is the worst.
        """
        found: dict[int, list[Trial]] = {}
        for each in told:
            found.setdefault(each.row, [])
            if each.accuracy is not None:
                found[each.row].append(each)
        costs = self._prices.all()[list(found)].tolist()
        return {
            row: [
                sum(each.accuracy or 0.0 for each in own) / max(1, len(own)),
                *costs[place],
                *(self._loss(measure, own) for measure in self._measures),
            ]
            for place, (row, own) in enumerate(found.items())
        }

    @staticmethod
    def _loss(measure: Measure, trials: Sequence[Trial]) -> float:
        values = [each.measured[measure.name] for each in trials]
        return measure.sign * sum(values) / len(values) if values else measure.losses[1]

    def _violations(self, values: Sequence[float]) -> dict[str, float]:
        """Return by how much the values of a network are beyond each limit."""
        later = values[len(values) - len(self._measures) :]
        known = {each.name: each.sign * v for each, v in zip(self._measures, later, strict=True)}
        known["accuracy"] = values[0]
        return broken(self._limits, known)

    def _is_said(self, row: int) -> bool:
        return self._evolves or bool(self._pool.members[row])

    def _choices(self, row: int) -> Choices:
        # a choice for which a member has no room may be any
        levels = np.maximum(self._pool.codes[row], 0)
        return {
            name: self._space[name].choices[level]
            for name, level in zip(self._space, levels, strict=True)
        }

    def _code(self, choices: Mapping[str, Any]) -> list[int]:
        return [
            distribution.choices.index(choices[name]) for name, distribution in self._space.items()
        ]

    def _new_study(self) -> "_Memory":
        self._storage = InMemoryStorage()
        with quiet():
            self._study_id = self._storage.create_new_study(self._directions)
        name = self._storage.get_study_name_from_id(self._study_id)
        return _Memory(name, self._storage, self._made or _sampler(self.name, 0))


class _Memory(optuna.Study):
    """A study that remembers that its sampler has no more to propose, which Optuna's own does only
    in Optuna's loop.
    """

    stopped = False

    def stop(self) -> None:
        self.stopped = True


class _Filter(BaseSampler):
    """Gives every choice of a trial at once, as `chosen` takes it from the draws of a sampler.

    A sampler that is kept may note something with a trial before it draws: `read` gives the trial
    with it, and `noted` is what it was.
    """

    def __init__(
        self,
        base: BaseSampler,
        space: Mapping[str, CategoricalDistribution],
        chosen: Callable[[Callable[[], Choices]], Choices],
        read: Callable[[int], FrozenTrial],
        *,
        keeps: bool,
    ) -> None:
        self._base, self._space, self._chosen_by, self._keeps = base, space, chosen, keeps
        self._read = read
        self.noted: dict[str, Any] = {}

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        if self._keeps:
            self._base.before_trial(study, trial)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        if self._keeps:
            self._base.after_trial(study, trial, state, values)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return dict(self._space)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        # the numbers of a storage's only study are its keys
        trial = copy(self._read(trial.number))
        self.noted = dict(trial.system_attrs)
        together = search_space
        if self._keeps:
            together = self._base.infer_relative_search_space(study, trial)

        def draw() -> Choices:
            found = self._base.sample_relative(study, trial, together)
            for name, distribution in search_space.items():
                if name in found:
                    continue
                # before Optuna knows enough, where NSGA-II mutates, and where one choice comes
                # after another
                if self._keeps:
                    trial.params, trial.distributions = dict(found), dict(search_space)
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
    match kind:
        case "nsga2":
            return NSGAIISampler(population_size=POPULATION, seed=seed)
        case "tpe":
            return TPESampler(multivariate=True, constant_liar=True, seed=seed)
        case "gp":
            return GPSampler(seed=seed)
    raise AssertionError(f"sampler {kind!r} of Optuna has a name and is made nowhere")
