"""A study that Optuna made elsewhere, read as it stands: its own numbers, no model and no
intervals. A door to optuna.
"""

import logging
import warnings
from collections import Counter
from collections.abc import Sequence
from math import isfinite

import numpy as np
import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from blocksearch.errors import ConfigError, StoreError
from blocksearch.runs.peek import reading, reading_url
from blocksearch.search.objectives import Floats, front, hypervolume
from blocksearch.search.results import RESERVED, Axis, Entry, Summary, plain, walk

optuna.logging.set_verbosity(logging.WARNING)


def summarise_foreign(location: str, name: str, others: Sequence[str]) -> Summary:
    """Read a study from Optuna's tables, which must have it. Raises ConfigError where it has one
    objective.
    """
    directions, metrics, trials = _read(location, name)
    if len(directions) < 2:
        raise ConfigError(
            f"study {plain(name)} of {location} has one objective: a front needs two or more"
        )
    axes = tuple(
        Axis(own, maximise=direction == StudyDirection.MAXIMIZE)
        for own, direction in zip(_unique(metrics), directions, strict=True)
    )
    known = [
        trial
        for trial in trials
        if trial.state == TrialState.COMPLETE and all(map(isfinite, trial.values))
    ]
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
        _notes(trials, known),
    )


def _read(location: str, name: str) -> tuple[list[StudyDirection], list[str], list[FrozenTrial]]:
    """Return directions, the names of the objectives, and all trials; nothing is written."""
    with reading(location), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an old file's advice to upgrade it is Optuna's, not ours
        try:
            storage = RDBStorage(reading_url(location), skip_table_creation=True)
        except RuntimeError as error:
            raise StoreError(
                f"{location} was written by another version of Optuna: {' '.join(str(error).split())}"
            ) from error
        try:
            number = storage.get_study_id_from_name(name)
            trials = storage.get_all_trials(number, deepcopy=False)
            metrics = storage.get_study_system_attrs(number).get("study:metric_names")
            directions = storage.get_study_directions(number)
        except StorageInternalError as error:
            raise error.__cause__ or error from error
        storage.remove_session()
        storage.engine.dispose()
    return (
        list(directions),
        metrics or [f"objective {place}" for place in range(len(directions))],
        trials,
    )


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
    return f"axes: {'; '.join(spans)}: the range of this study's own trials, so that it cannot be compared with another's"


def _notes(trials: Sequence[FrozenTrial], known: Sequence[FrozenTrial]) -> tuple[str, ...]:
    states = Counter(trial.state.name for trial in trials)
    found = [f"{count} {state}" for state, count in sorted(states.items()) if state != "COMPLETE"]
    infinite = states["COMPLETE"] - len(known)
    found += [f"{infinite} with values that are not finite"] if infinite else []
    intervals = "values are what the study stores: one a trial, without intervals"
    return (intervals, *([f"trials that are not shown: {', '.join(found)}"] if found else []))
