"""Imports studies that Optuna made elsewhere, as they stand, without a model or intervals.

What is no study of Optuna's is refused, because anybody may have written the file.
"""

import json
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from numbers import Real

import numpy as np
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from blocksearch.errors import ConfigError, StoreError
from blocksearch.runs.location import Location
from blocksearch.runs.metrics import Floats
from blocksearch.search.objectives import front, hypervolume
from blocksearch.search.optuna_io import open_storage, storing
from blocksearch.search.results import RESERVED, Axis, Entry, Summary, plain, walk

# what reading rows of another shape may raise, in Optuna or here
_SHAPELESS = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError),
    *(RecursionError, TypeError, ValueError),
)
_NO_PARAMETERS = "(no parameters)"
_UNNAMED = "objectives have no names here: Optuna's `study.set_metric_names([…])` gives them some"
FAR = 0.99  # a gap of this share of an axis tears its values into two groups


def summarise_foreign(location: str, name: str, others: Sequence[str]) -> Summary:
    """Read a study from Optuna's tables, which must have it. Raises ConfigError if it has one
    objective, and StoreError if it is of another shape than Optuna's.

    Dominance is decided on the stored values, with signs turned for what is to be maximised.
    """
    directions, metrics, trials = _read(location, name)
    if len(directions) < 2:
        raise ConfigError(
            f"study {plain(name)} of {Location(location)} has one objective: a front needs "
            "two or more"
        )
    axes = tuple(
        Axis(name=own, maximise=direction == StudyDirection.MAXIMIZE)
        for own, direction in zip(_unique(metrics), directions, strict=True)
    )
    left_out = [_left_out(trial) for trial in trials]
    known = [trial for trial, why in zip(trials, left_out, strict=True) if not why]
    values = np.array([trial.values for trial in known], float).reshape(len(known), len(axes))
    gains = values * [1 if axis.maximise else -1 for axis in axes]
    chosen = front(np.hstack([gains[:, :1], -gains[:, 1:]]))
    scaled = _scaled(gains)
    best = frozenset(chosen)
    entries = tuple(_entry(trial, axes, place in best) for place, trial in enumerate(known))
    ordered = sorted(chosen, key=lambda place: entries[place].costs[axes[1].name])
    return Summary(
        name=plain(name),
        title="a study made with Optuna, as it stored it",
        others=tuple(map(plain, others)),
        axes=axes,
        budgets=(),
        entries=entries,
        front=tuple(entries[place] for place in ordered),
        volume=hypervolume(scaled) if len(scaled) else 0.0,
        walk=walk(scaled),
        frame=_framed(values, axes),
        notes=(*_notes(left_out), *([_UNNAMED] if axes[0].name == "objective 0" else [])),
    )


def _read(location: str, name: str) -> tuple[list[StudyDirection], list[str], list[FrozenTrial]]:
    """Return directions, the names of the objectives, and all trials; nothing is written."""
    with storing(location), _shaped(location, name), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an old file's advice to upgrade it is Optuna's, not ours
        try:
            storage = open_storage(location, read_only=True)
        except Exception as error:
            # alembic, with which Optuna looks up its version, has errors of its own
            if isinstance(error, RuntimeError) or type(error).__module__.startswith("alembic."):
                raise StoreError(
                    f"{Location(location)} was written by another version of Optuna: {error}"
                ) from error
            raise
        try:
            number = storage.get_study_id_from_name(name)
            trials = storage.get_all_trials(number, deepcopy=False)
            metrics = storage.get_study_system_attrs(number).get("study:metric_names")
            directions = storage.get_study_directions(number)
        finally:
            storage.remove_session()
            storage.engine.dispose()
        if metrics is None:
            metrics = [f"objective {place}" for place in range(len(directions))]
        _check(isinstance(metrics, list) and len(metrics) == len(directions), "names of objectives")
        _check(all(isinstance(each, str) for each in metrics), "names of objectives")
        for trial in trials:
            _check_trial(trial, len(directions))
    return list(directions), metrics, trials


@contextmanager
def _shaped(location: str, name: str) -> Iterator[None]:
    """Turn what a study of another shape makes Optuna or us raise into a StoreError of one line."""
    try:
        yield
    except _SHAPELESS as error:
        raise StoreError(
            f"{Location(location)}: study {plain(name)} is not as Optuna writes it: "
            f"{type(error).__name__}: {error}"
        ) from error


def _check_trial(trial: FrozenTrial, objectives: int) -> None:
    """Raise ValueError for a trial that Optuna would not have stored."""
    where = f"trial {trial.number}"
    _check(isinstance(trial.number, int), "a trial's number")
    if trial.state == TrialState.COMPLETE:
        values = trial.values or []
        _check(len(values) == objectives, f"{where} has {len(values)} of {objectives} values")
        _check(all(isinstance(each, Real) for each in values), f"{where}: a value is no number")
    limits = trial.constraints.values()
    _check(all(isinstance(each, Real) for each in limits), f"{where}: a constraint is no number")


def _check(holds: bool, said: str) -> None:
    if not holds:
        raise ValueError(said)


def _unique(names: Sequence[str]) -> list[str]:
    """Return names that can stand beside each other and beside our columns."""
    found: list[str] = []
    for name in map(plain, names):
        marks = 0
        while (own := name + "'" * marks) in (*RESERVED, *found):
            marks += 1
        found.append(own)
    return found


def _scaled(gains: Floats) -> Floats:
    """Scale gains to the range of these trials: of the first objective, 1 is best; of the others, 0
    is.
    """
    if not len(gains):
        return gains
    gains = gains / 2  # so that no span is beyond the largest number
    low, high = gains.min(0), gains.max(0)
    shares = (gains - low) / np.where(high > low, high - low, 1.0)
    return np.hstack([shares[:, :1], 1 - shares[:, 1:]])


def _entry(trial: FrozenTrial, axes: Sequence[Axis], on_front: bool) -> Entry:
    words = [(_word(name), value) for name, value in trial.params.items()]
    units = tuple(f"{name}={_few_digits(value)}" for name, value in words)
    text = " ".join(f"{name}={_word(value)}" for name, value in words)
    first, *others = map(float, trial.values)
    costs = {axis.name: value for axis, value in zip(axes[1:], others, strict=True)}
    return Entry(
        trial=trial.number,
        origin="",
        text=text or _NO_PARAMETERS,
        costs=costs,
        mean=first,
        on_front=on_front,
        units=units or (_NO_PARAMETERS,),
    )


def _word(value: object) -> str:
    """Write a name or a value as one word, in quotes where it would be taken apart.

    >>> _word("add"), _word("x=1 [y]")
    ('add', '"x=1 [y]"')
    """
    text = plain(value)
    return text if re.fullmatch(r"[^\s=\[\]\"]+", text) else json.dumps(text, ensure_ascii=False)


def _few_digits(value: object) -> str:
    """Write a value to be looked at.

    >>> _few_digits(0.003857105554045355), _few_digits(1e-05), _few_digits("a b")
    ('0.003857', '1e-05', '"a b"')
    """
    return f"{value:.4g}" if isinstance(value, float) else _word(value)


def _framed(values: Floats, axes: Sequence[Axis]) -> str:
    if not len(values):
        return "no trial has values"
    spans = []
    for axis, column in zip(axes, values.T, strict=True):
        worst, best = sorted((float(column.min()), float(column.max())), reverse=not axis.maximise)
        spans.append(f"{axis.name} from {worst:.6g} to {best:.6g}")
    far = [axis.name for axis, column in zip(axes, values.T, strict=True) if _torn(column)]
    return (
        f"axes: {'; '.join(spans)}: the range of this study's own trials, so that it cannot be "
        "compared with another's"
    ) + (
        f"; some trials are so far from the others in {' and '.join(far)} that it says little"
        if far
        else ""
    )


def _torn(column: Floats) -> bool:
    """Say whether one gap between values is nearly all of their range, though there are others."""
    gaps = np.diff(np.unique(column) / 2)
    return len(gaps) > 1 and bool(gaps.max() > FAR * (column.max() / 2 - column.min() / 2))


def _left_out(trial: FrozenTrial) -> str:
    """Say why a trial is not shown; nothing where it is."""
    if trial.state != TrialState.COMPLETE:
        return trial.state.name
    if not all(map(isfinite, trial.values)):
        return "with values that are not finite"
    feasible = all(violated <= 0 for violated in trial.constraints.values())
    return "" if feasible else "infeasible by the study's own constraints"


def _notes(left_out: Sequence[str]) -> tuple[str, ...]:
    found = [f"{count} {why}" for why, count in sorted(Counter(left_out).items()) if why]
    intervals = "values are what the study stores: one a trial, without intervals"
    return (intervals, *([f"trials that are not shown: {', '.join(found)}"] if found else []))
