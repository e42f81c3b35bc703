"""Studies out to Optuna and in from it, by its public API.

What we search is copied into Optuna's tables of the same file, so that optuna-dashboard opens it. A
network is there once, when its first training to the last epoch has counted, or failed: one that a
race left behind is in our tables only, and so is what later seeds do to a mean. Copies are made in
batches after our own tables are written, and what a killed search did not come to is added by the
next one; nothing that we answer is read from them.

A study that Optuna made elsewhere is read as it stands: its own numbers, no model and no intervals.
"""

import logging
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from math import isfinite
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from blocksearch.errors import ConfigError, StoreError
from blocksearch.runs.location import url_of, without_password
from blocksearch.runs.peek import reading, reading_url
from blocksearch.search import trials as ours
from blocksearch.search.definition import Definition
from blocksearch.search.objectives import Floats, Objective, front, hypervolume
from blocksearch.search.results import RESERVED, Axis, Entry, Summary, plain, walk
from blocksearch.search.summary import StoredStudy
from blocksearch.search.trials import Trial
from blocksearch.space.candidates import Candidates
from blocksearch.space.encoding import Encoding

BATCH = 16  # trials that are copied at once


@contextmanager
def _storing(location: str) -> Iterator[None]:
    """Keep Optuna quiet, and turn what its storage raises into a StoreError of one line."""
    with reading(location), quiet():
        try:
            yield
        except StorageInternalError as error:
            said = str(getattr(error.__cause__, "orig", None) or error.__cause__ or error)
            raise StoreError(
                f"{without_password(location)}: Optuna's tables cannot be written: "
                f"{said.splitlines()[0]}"
            ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna from saying what nobody asked for, and leave its settings as they were."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(before, logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def distributions(encoding: Encoding) -> dict[str, CategoricalDistribution]:
    """Return each choice of a grammar as Optuna knows it: a category of texts."""
    return _distributions(
        {name: [str(value) for value in values] for name, values in encoding.levels.items()}
    )


def _distributions(choices: Mapping[str, Sequence[str]]) -> dict[str, CategoricalDistribution]:
    return {name: CategoricalDistribution(list(values)) for name, values in choices.items()}


def forget(location: str, name: str) -> None:
    """Delete a study, where there is one."""
    with _storing(location), suppress(KeyError):
        optuna.delete_study(study_name=name, storage=_storage(location))


class Export:
    """Copies trials for Optuna to read."""

    def __init__(self, location: str, definition: Definition, pool: Candidates) -> None:
        self._location, self._pool = location, pool
        self._costs = definition.config.cost_names
        with _storing(location):
            self._storage = _storage(location)
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=definition.config.name,
                directions=_directions(definition.config.costs),
                sampler=optuna.samplers.RandomSampler(0),
                load_if_exists=True,
            )
            if not self._study.user_attrs.get("title"):
                _name_axes(self._study, definition.config.objective_names)
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
        with _storing(self._location):
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


def _storage(location: str) -> RDBStorage:
    url = url_of(location)
    return RDBStorage(url, engine_kwargs=_SQLITE if url.startswith("sqlite") else None)


def _configure_sqlite(connection: Any, _: Any) -> None:
    # the ledger's own connection makes trials survive a power cut; what this one loses then is
    # added again
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "trusted_schema=OFF"):
        connection.execute(f"PRAGMA {pragma}")


_SQLITE = {"connect_args": {"timeout": 60}, "pool_events": [(_configure_sqlite, "connect")]}


def summarise_foreign(location: str, name: str, others: Sequence[str]) -> Summary:
    """Read a study from Optuna's tables, which must have it. Raises ConfigError where it has one
    objective.
    """
    directions, metrics, trials = _read(location, name)
    if len(directions) < 2:
        raise ConfigError(
            f"study {plain(name)} of {without_password(location)} has one objective: a front needs "
            "two or more"
        )
    axes = tuple(
        Axis(own, maximise=direction == StudyDirection.MAXIMIZE)
        for own, direction in zip(_unique(metrics), directions, strict=True)
    )
    left_out = [_left_out(trial, len(axes)) for trial in trials]
    known = [trial for trial, why in zip(trials, left_out, strict=True) if not why]
    values = np.array([trial.values for trial in known], float).reshape(len(known), len(axes))
    scaled = _scaled(values, axes)
    chosen = front(scaled)
    entries = tuple(_entry(trial, axes, place in chosen) for place, trial in enumerate(known))
    ordered = sorted(chosen, key=lambda place: entries[place].costs[axes[1].name])
    return Summary(
        plain(name),
        "a study made with Optuna, as it stored it",
        tuple(map(plain, others)),
        axes,
        (),
        entries,
        tuple(entries[place] for place in ordered),
        hypervolume(scaled) if len(scaled) else 0.0,
        walk(scaled),
        _framed(values, axes),
        _notes(left_out),
    )


def _read(location: str, name: str) -> tuple[list[StudyDirection], list[str], list[FrozenTrial]]:
    """Return directions, the names of the objectives, and all trials; nothing is written."""
    with reading(location), warnings.catch_warnings(action="ignore"):  # advice to upgrade a file
        try:
            storage = RDBStorage(reading_url(location), skip_table_creation=True)
        except RuntimeError as error:
            raise StoreError(
                f"{without_password(location)} was written by another version of Optuna: {error}"
            ) from error
        try:
            number = storage.get_study_id_from_name(name)
            trials = storage.get_all_trials(number, deepcopy=False)
            metrics = storage.get_study_system_attrs(number).get("study:metric_names")
            directions = list(storage.get_study_directions(number))
            metrics = metrics or [f"objective {place}" for place, _ in enumerate(directions)]
            names = [name + "" for name, _ in zip(metrics, directions, strict=True)]  # texts
            _ = [float.is_integer(value) for trial in trials for value in trial.values or ()]
        except StorageInternalError as error:
            raise error.__cause__ or error from error
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            said = f"study {plain(name)} is not as Optuna writes it: {error}"
            raise StoreError(f"{without_password(location)}: {said}") from error
        finally:
            storage.remove_session()
            storage.engine.dispose()
    return directions, names, trials


def _unique(names: Sequence[str]) -> list[str]:
    """Return names that can stand beside each other and beside our columns."""
    found: list[str] = []
    for name in map(plain, names):
        taken = sum(other.rstrip("'") == name for other in (*RESERVED, *found))
        found.append(name + "'" * taken)
    return found


def _scaled(values: Floats, axes: Sequence[Axis]) -> Floats:
    """Scale each objective to the range of these trials: of the first, 1 is best; of the others, 0
    is.
    """
    if not len(values):
        return values
    low, high = values.min(0), values.max(0)
    gains = (values - low) / np.where(high > low, high - low, 1.0)
    upward = np.array([axis.maximise for axis in axes])
    found: Floats = np.where(upward == (np.arange(len(axes)) == 0), gains, 1 - gains)
    return found


def _entry(trial: FrozenTrial, axes: Sequence[Axis], on_front: bool) -> Entry:
    text = " ".join(f"{plain(name)}={plain(value)}" for name, value in trial.params.items())
    costs = {axis.name: value for axis, value in zip(axes[1:], trial.values[1:], strict=True)}
    return Entry(trial.number, "", text or "(no parameters)", costs, trial.values[0], on_front)


def _framed(values: Floats, axes: Sequence[Axis]) -> str:
    if not len(values):
        return "no trial has values"
    spans = []
    for axis, column in zip(axes, values.T, strict=True):
        worst, best = sorted((float(column.min()), float(column.max())), reverse=not axis.maximise)
        spans.append(f"{axis.name} from {worst:.6g} to {best:.6g}")
    return (
        f"axes: {'; '.join(spans)}: the range of this study's own trials, so that it cannot be "
        "compared with another's"
    )


def _left_out(trial: FrozenTrial, objectives: int) -> str:
    """Say why a trial is not shown; nothing where it is."""
    if trial.state != TrialState.COMPLETE:
        return trial.state.name
    if len(trial.values or ()) != objectives:
        return "without a value for each objective"
    if not all(map(isfinite, trial.values)):
        return "with values that are not finite"
    infeasible = any(violated > 0 for violated in trial.constraints.values())
    return "infeasible by the study's own constraints" if infeasible else ""


def _notes(left_out: Sequence[str]) -> tuple[str, ...]:
    found = [f"{count} {why}" for why, count in sorted(Counter(left_out).items()) if why]
    intervals = "values are what the study stores: one a trial, without intervals"
    return (intervals, *([f"trials that are not shown: {', '.join(found)}"] if found else []))
