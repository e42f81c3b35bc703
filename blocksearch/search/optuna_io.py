"""Exports studies to Optuna by its public API, and opens its tables of a database.

What we search is copied into Optuna's tables of the same file, so that optuna-dashboard opens it. A
network is there once, as soon as its first training to the last epoch has counted or failed.
Networks that were stopped early are in our tables only, and so are later seeds. Copies are made in
batches after our own tables are written. The next search adds what a killed one missed. We never
read them back.
"""

import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from blocksearch.arch.cost import Budget
from blocksearch.errors import StoreError
from blocksearch.runs import engine
from blocksearch.runs.location import Location
from blocksearch.search import trials as ours
from blocksearch.search.definition import StudyDefinition
from blocksearch.search.measured import violation
from blocksearch.search.objectives import Objective
from blocksearch.search.results import Summary
from blocksearch.search.stored_study import StoredStudy
from blocksearch.search.trials import Trial
from blocksearch.space.candidates import Candidates

BATCH = 16  # trials that are copied at once


def distributions(choices: Mapping[str, Sequence[Any]]) -> dict[str, CategoricalDistribution]:
    """Return each choice of a grammar as Optuna knows it: a category of texts."""
    return {
        name: CategoricalDistribution([str(value) for value in values])
        for name, values in choices.items()
    }


def forget(location: str, name: str) -> None:
    """Delete a study, where there is one."""
    with storing(location), suppress(KeyError):
        storage = open_storage(location)
        try:
            optuna.delete_study(study_name=name, storage=storage)
        finally:
            storage.engine.dispose()


class Export:
    """Copies trials for Optuna to read."""

    def __init__(self, location: str, definition: StudyDefinition, pool: Candidates) -> None:
        self._location, self._pool = location, pool
        config = definition.config
        self._objectives, self._limits = config.objective_names, config.limits
        with storing(location):
            self._storage = open_storage(location)
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=config.name,
                directions=_directions(config.objectives),
                sampler=optuna.samplers.RandomSampler(0),
                load_if_exists=True,
            )
            if not self._study.user_attrs.get("title"):
                _name_axes(self._study, config.axis_names)
                self._study.set_user_attr("title", definition.title)
            known = self._study.get_trials(deepcopy=False)
        self._there = {trial.user_attrs.get("trial") for trial in known}
        self._distributions = distributions(definition.choices)
        self._waiting: list[FrozenTrial] = []

    def add(self, trials: Iterable[Trial]) -> None:
        """Take trials that count; those that bring a network's first seed to its end are copied."""
        for trial in trials:
            if is_copied(trial) and trial.number not in self._there:
                self._there.add(trial.number)
                self._waiting.append(self._frozen(trial))
        if len(self._waiting) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Copy what waits."""
        with storing(self._location):
            self._study.add_trials(self._waiting)
        self._waiting = []

    def leave(self) -> None:
        """Leave what waits to the next search."""
        self._waiting = []

    def close(self) -> None:
        """Copy what waits, and close the file."""
        try:
            self.flush()
        finally:
            self._storage.remove_session()
            self._storage.engine.dispose()

    def _frozen(self, trial: Trial) -> FrozenTrial:
        params = self._params(trial)
        if trial.accuracy is None:
            return frozen(trial, params, TrialState.FAIL)
        known = {"accuracy": trial.accuracy, **trial.costs, **trial.measured}
        values = [known[name] for name in self._objectives]
        return frozen(trial, params, TrialState.COMPLETE, values, broken(self._limits, known))

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
    choices = distributions(study.choices)
    for entry in found.entries:
        trial = study.first[entry.trial]
        params = {} if entry.named else choices
        if entry.mean is None or not entry.accuracies:
            state = TrialState.FAIL if entry.mean is None else TrialState.PRUNED
            made.add_trial(frozen(trial, params, state))
            continue
        known = {"accuracy": entry.mean, **entry.costs}
        values = [entry.mean, *(known[axis.name] for axis in found.axes[1:])]
        limits = broken(study.limits, known)
        made.add_trial(frozen(trial, params, TrialState.COMPLETE, values, limits))
    return made


def broken(limits: Sequence[Budget], values: Mapping[str, float]) -> dict[str, float]:
    """Return by how much values exceed each limit, which Optuna calls constraints."""
    return {each.name: violation(each, values[each.quantity]) for each in limits}


def is_copied(trial: Trial) -> bool:
    """Say whether Optuna has a trial of its own for this one."""
    return trial.kind != ours.TrialKind.SEED and trial.state != ours.TrialState.PARTIAL


def frozen(
    trial: Trial,
    params: Mapping[str, CategoricalDistribution],
    state: TrialState,
    values: Sequence[float] | None = None,
    constraints: Mapping[str, float] | None = None,
) -> FrozenTrial:
    """Return a trial as Optuna knows it; a complete one has values."""
    levels = zip(params.items(), trial.code, strict=False)
    chosen = {name: each.choices[level] for (name, each), level in levels if level >= 0}
    attributes = {
        "trial": trial.number,
        "network": trial.text,
        "fingerprint": trial.network,
        "origin": trial.origin,
        "state": trial.state.value,
        **trial.costs,
    }
    return create_trial(
        state=state,
        values=None if values is None else list(map(float, values)),
        constraints=dict(constraints or {}),
        params=chosen,
        distributions={name: params[name] for name in chosen},
        user_attrs=attributes,
    )


def _directions(objectives: Sequence[str | Objective]) -> list[StudyDirection]:
    """Return which way each objective is better: accuracy upwards, costs mostly downwards."""
    upward = (isinstance(each, Objective) and each.maximise for each in objectives[1:])
    return [StudyDirection.MAXIMIZE if up else StudyDirection.MINIMIZE for up in (True, *upward)]


def _name_axes(study: optuna.Study, names: Sequence[str]) -> None:
    with warnings.catch_warnings():
        # an experimental function, but nothing depends on the names of axes
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(list(names))


@contextmanager
def storing(location: str) -> Iterator[None]:
    """Keep Optuna quiet, and turn what its storage raises into a StoreError of one line."""
    where = Location(location)
    with engine.storing(where), quiet():
        try:
            yield
        except StorageInternalError as error:
            if error.__cause__ is None:
                raise StoreError(f"{where}: {where.scrubbed(error)}") from error
            raise error.__cause__ from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Optuna's log below warnings, and restore its level afterwards."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(before, logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def open_storage(location: str, *, read_only: bool = False) -> RDBStorage:
    """Open Optuna's tables: a file by its name and by no URL."""
    where = Location(location)
    if where.secret_url is not None:
        url = where.secret_url.render_as_string(hide_password=False)
        return RDBStorage(url.replace("{", "{{").replace("}", "}}"), skip_table_creation=read_only)
    events = [] if read_only else [(_configure_sqlite, "connect")]
    own = {**engine.options(where, read_only=read_only), "pool_events": events}
    return RDBStorage("sqlite://", engine_kwargs=own, skip_table_creation=read_only)


def _configure_sqlite(connection: Any, _: Any) -> None:
    # the ledger's own connection makes trials survive a power cut; what this one loses then is
    # added again
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "trusted_schema=OFF"):
        connection.execute(f"PRAGMA {pragma}")
