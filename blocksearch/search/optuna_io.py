"""Studies out to Optuna, by its public API.

What we search is copied into Optuna's tables of the same file, so that optuna-dashboard opens it. A
network is there once, when its first training to the last epoch has counted, or failed: one that a
race left behind is in our tables only, and so is what later seeds do to a mean. Copies are made in
batches after our own tables are written, and what a killed search did not come to is added by the
next one; nothing that we answer is read from them.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from blocksearch.search import trials as ours
from blocksearch.search.definition import Definition
from blocksearch.search.objectives import Objective
from blocksearch.search.optuna_storage import open_storage, quiet, storing
from blocksearch.search.results import Summary
from blocksearch.search.summary import StoredStudy
from blocksearch.search.trials import Trial
from blocksearch.space.candidates import Candidates
from blocksearch.space.encoding import Encoding

BATCH = 16  # trials that are copied at once


def distributions(encoding: Encoding) -> dict[str, CategoricalDistribution]:
    """Return each choice of a grammar as Optuna knows it: a category of texts."""
    return _distributions(
        {name: [str(value) for value in values] for name, values in encoding.levels.items()}
    )


def _distributions(choices: Mapping[str, Sequence[str]]) -> dict[str, CategoricalDistribution]:
    return {name: CategoricalDistribution(list(values)) for name, values in choices.items()}


def forget(location: str, name: str) -> None:
    """Delete a study, where there is one."""
    with storing(location), suppress(KeyError):
        optuna.delete_study(study_name=name, storage=open_storage(location))


class Export:
    """Copies trials for Optuna to read."""

    def __init__(self, location: str, definition: Definition, pool: Candidates) -> None:
        self._location, self._pool = location, pool
        self._costs = definition.config.cost_names
        with storing(location):
            self._storage = open_storage(location)
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=definition.config.name,
                directions=_directions(definition.config.costs),
                sampler=optuna.samplers.RandomSampler(0),
                load_if_exists=True,
            )
            if not self._study.user_attrs.get("title"):
                _name_axes(self._study, definition.config.axis_names)
                self._study.set_user_attr("title", definition.title)
            known = self._study.get_trials(deepcopy=False)
        self._there = {trial.user_attrs.get("trial") for trial in known}
        self._distributions = distributions(pool.encoding)
        self._waiting: list[FrozenTrial] = []

    def add(self, trials: Iterable[Trial]) -> None:
        """Take trials that count; those that bring a network's first seed to its end are copied."""
        for trial in trials:
            if is_copied(trial) and trial.candidate not in self._there:
                self._there.add(trial.candidate)
                state = TrialState.FAIL if trial.accuracy is None else TrialState.COMPLETE
                self._waiting.append(frozen(trial, self._params(trial), self._costs, state))
        if len(self._waiting) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Copy what waits."""
        with storing(self._location):
            self._study.add_trials(self._waiting)
        self._waiting = []

    def close(self) -> None:
        """Copy what waits, and let go of the file."""
        try:
            self.flush()
        finally:
            self._storage.remove_session()
            self._storage.engine.dispose()

    def _params(self, trial: Trial) -> dict[str, CategoricalDistribution]:
        """Return the choices that make a member; of a network that is none, nothing."""
        member = self._pool.decode(trial.code)
        if member is None or self._pool.network(member).digest != trial.network:
            return {}
        return self._distributions


def to_optuna(study: StoredStudy, found: Summary) -> optuna.Study:
    """Return a study in memory. Values are what the model expects, as in the front; a network that
    was stopped early is pruned, one without a result failed.
    """
    with quiet():
        made = optuna.create_study(
            study_name=study.name,
            directions=["maximize" if axis.maximise else "minimize" for axis in found.axes],
            sampler=optuna.samplers.RandomSampler(0),
        )
        _name_axes(made, [axis.name for axis in found.axes])
        made.set_user_attr("title", study.definition["title"])
    first = {trial.candidate: trial for trial in reversed(study.trials)}
    choices = _distributions(study.choices)
    for entry in found.entries:
        trial = first[entry.trial]
        params = {} if entry.named else choices
        if entry.mean is None or not entry.accuracies:
            state = TrialState.FAIL if entry.mean is None else TrialState.PRUNED
            made.add_trial(frozen(replace(trial, accuracies=()), params, (), state))
            continue
        known = replace(trial, accuracies=(entry.mean,))
        made.add_trial(frozen(known, params, study.costs, TrialState.COMPLETE))
    return made


def is_copied(trial: Trial) -> bool:
    """Say whether Optuna has a trial of its own for this one."""
    return trial.kind != ours.TrialKind.SEED and trial.state != ours.TrialState.PARTIAL


def frozen(
    trial: Trial,
    params: Mapping[str, CategoricalDistribution],
    costs: Sequence[str],
    state: TrialState,
) -> FrozenTrial:
    """Return a trial as Optuna knows it; values are of complete ones."""
    levels = zip(params.items(), trial.code, strict=False)
    chosen = {name: each.choices[level] for (name, each), level in levels if level >= 0}
    attributes = {
        "trial": trial.candidate,
        "network": trial.text,
        "fingerprint": trial.network,
        "origin": trial.origin,
        "state": trial.state.value,
        **trial.costs,
    }
    values = None
    if state == TrialState.COMPLETE and trial.accuracy is not None:
        values = [trial.accuracy, *(float(trial.costs[name]) for name in costs)]
    return create_trial(
        state=state,
        values=values,
        params=chosen,
        distributions={name: params[name] for name in chosen},
        user_attrs=attributes,
    )


def _directions(costs: Sequence[str | Objective]) -> list[StudyDirection]:
    """Return which way each objective is better: accuracy upwards, costs mostly downwards."""
    upward = [True, *(isinstance(each, Objective) and each.maximise for each in costs)]
    return [StudyDirection.MAXIMIZE if up else StudyDirection.MINIMIZE for up in upward]


def _name_axes(study: optuna.Study, names: Sequence[str]) -> None:
    with warnings.catch_warnings():
        # names of axes: the worst they can do is vanish
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(list(names))
