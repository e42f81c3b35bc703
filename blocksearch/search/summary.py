"""Summarises what a study has found, read from its file alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from blocksearch.search.further import Expected
from blocksearch.search.measured import ACCURACY, Measure, shown
from blocksearch.search.objectives import Frame, front
from blocksearch.search.results import (
    Axis,
    Entry,
    Measurement,
    Summary,
    Z,
    plain,
    simultaneous_z,
    walk,
)
from blocksearch.search.stored_study import (
    StoredStudy,
    expected_further,
    fitted,
    objective_costs,
    open_study,
)
from blocksearch.search.trials import Trial


def summarise(location: str, name: str | None = None) -> Summary:
    """Read a study, ours or one that Optuna made. Raises StoreError or ConfigError if there is
    none of that name.
    """
    found = open_study(location, name)
    if isinstance(found, StoredStudy):
        return _summary(found)
    from blocksearch.search.optuna_import import summarise_foreign

    return summarise_foreign(location, *found)


_Expected = Mapping[str, tuple[float, float]]  # means and deviations of what is measured, by name


def _summary(study: StoredStudy) -> Summary:
    definition, frame = study.definition, Frame.read(study.definition["frame"])
    whole = {t.number for t in study.trials if t.accuracy is not None and _is_whole(study, t)}
    expected: dict[int, _Expected] = {}
    trials, noise = list[int](), None
    points, keeps = np.zeros((0, 1 + len(frame.least))), np.zeros(0, bool)
    if any(each.accuracy is not None for each in study.trials):
        fit = fitted(study)
        means, deviations = fit.averaged()
        further, beside = expected_further(study, fit.rows)
        every = Expected(
            np.column_stack([means, beside.means]),
            np.column_stack([deviations, beside.deviations]),
        )
        noise, expected = fit.noise, _by_trial(fit.rows, study.measures, every)
        # one that a race left behind is no member of the front
        rows = [row for row, trial in enumerate(fit.rows) if trial in whole]
        trials = [fit.rows[row] for row in rows]
        losses = objective_costs(study, fit.rows), further.losses(beside)
        points = np.column_stack([means, *losses])[rows]
        keeps = further.feasible(means, beside)[rows]
    kept = [trial for trial, own in zip(trials, keeps, strict=True) if own]
    chosen = [kept[place] for place in front(points[keeps])]
    entries = _entries(study, expected, chosen)
    by_number = {entry.trial: entry for entry in entries}
    walked = frame.scaled(points)
    walked[~keeps, 0] = 0  # beyond a limit nothing is gained
    return Summary(
        name=plain(study.name),
        title=plain(definition["title"]),
        others=tuple(map(plain, study.others)),
        axes=tuple(_axes(study)),
        budgets=tuple(map(plain, definition["budgets"])),
        entries=entries,
        front=tuple(by_number[trial] for trial in chosen),
        volume=frame.volume(points[keeps]),
        walk=walk(walked),
        frame=_framed(frame, study, [axis.name for axis in _axes(study)][1:]),
        notes=_notes(entries),
        noise=noise,
    )


def _is_whole(study: StoredStudy, trial: Trial) -> bool:
    return trial.epochs >= study.horizon


def _axes(study: StoredStudy) -> Iterator[Axis]:
    yield Axis(name=plain(study.metric.title), unit=" %", maximise=True)
    for name in study.costs:
        yield Axis(name=plain(name), maximise=name in study.maximised)
    for each in study.measures:
        yield Axis(name=plain(each.name), maximise=each.maximise, measured=True)


def _by_trial(
    trials: Sequence[int], measures: Sequence[Measure], found: Expected
) -> dict[int, _Expected]:
    """Return what is expected of each network with a result, by the name of what is measured."""
    names = ["accuracy", *(each.name for each in measures)]
    both = zip(trials, found.means.tolist(), found.deviations.tolist(), strict=True)
    return {trial: dict(zip(names, zip(*own, strict=True), strict=True)) for trial, *own in both}


def _entries(
    study: StoredStudy, expected: Mapping[int, _Expected], chosen: Sequence[int]
) -> tuple[Entry, ...]:
    """Bring together what is known of each network, those of the front being `chosen`."""
    by_trial: dict[int, list[Trial]] = {}
    for each in study.trials:
        by_trial.setdefault(each.number, []).append(each)
    wide, limits, on_front = simultaneous_z(len(chosen)), study.limits, frozenset(chosen)
    measures = {each.name: each for each in study.measures}
    found = []
    for trial, own in sorted(by_trial.items()):
        known = expected.get(trial, {})
        around = {
            name: _around(mean, Z * deviation, measures.get(name, ACCURACY))
            for name, (mean, deviation) in known.items()
        }
        entry = _entry(study, own, known, around)
        if trial in on_front:
            mean, deviation = known["accuracy"]
            wider = _around(mean, wide * deviation, ACCURACY)
            entry = replace(entry, on_front=True, simultaneous=wider)
        found.append(replace(entry, limits=shown(limits, around) if limits and known else None))
    return tuple(found)


def _entry(
    study: StoredStudy,
    trials: Sequence[Trial],
    known: _Expected,
    around: Mapping[str, tuple[float, float]],
) -> Entry:
    """Bring together what is known of a network: `around` what is expected are intervals."""
    first, baseline = trials[0], study.definition["baseline"]
    last = {trial.seed: trial for trial in trials}  # a run that was taken further counts once
    whole = [t for t in last.values() if t.accuracy is not None and _is_whole(study, t)]
    failures = sum(trial.accuracy is None for trial in last.values())
    names = [name for name in known if name != "accuracy"]
    costs = dict(first.costs) | {name: known[name][0] for name in names}
    further = {
        plain(name): Measurement(tuple(each.measured[name] for each in whole), around[name])
        for name in names
    }
    return Entry(
        trial=first.number,
        origin=plain(first.origin),
        text=plain(first.text),
        costs={plain(name): value for name, value in costs.items()},
        mean=known["accuracy"][0] if known else None,
        on_front=False,
        named=first.origin != study.sampler,
        accuracies=tuple(each.accuracy for each in whole if each.accuracy is not None),
        early=len(last) - len(whole) - failures,
        failures=failures,
        interval=around.get("accuracy"),
        factor=first.costs["flops"] / baseline if baseline else None,
        further=further,
    )


def _around(mean: float, half: float, measure: Measure) -> tuple[float, float]:
    """Return an interval, within the bounds of what is measured."""
    return max(measure.low, mean - half), min(measure.high, mean + half)


def _framed(frame: Frame, study: StoredStudy, costs: Sequence[str]) -> str:
    """Describe the bounds of a hypervolume."""
    spans = (
        f"log10 {name} from {largest:,.0f}, the space's largest, to {least:,.0f}, its least"
        if not linear
        else f"{name} from {abs(largest):g} to {abs(least):g}"
        for name, least, largest, linear in zip(
            costs, frame.least, frame.largest, frame.linear or [False] * len(costs), strict=True
        )
    )
    accuracy = f"{plain(study.metric.title)} from {frame.chance:.4g} %, chance, to 100 %"
    return f"axes: {accuracy}; {'; '.join(map(plain, spans))}"


def _notes(entries: Sequence[Entry]) -> tuple[str, ...]:
    counts = {
        "trainings diverged or failed": sum(entry.failures for entry in entries),
        "networks have no result and are not drawn": sum(entry.mean is None for entry in entries),
        "trainings were stopped early: the model reads what they say of the last epoch": sum(
            entry.early for entry in entries
        ),
    }
    return tuple(f"{count} {said}" for said, count in counts.items() if count)
