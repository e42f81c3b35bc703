"""What a study has found, read from its file alone: neither the space's file nor its images are needed, and nothing is run."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from blocksearch.errors import UsageError, unknown
from blocksearch.experiments.search.front import Frame, dominated, front
from blocksearch.experiments.search.surrogate import Features, Model, Seen, choose_scales, seed_variance
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.studies import StepRow, Studies

Z = 1.959964


@dataclass(frozen=True)
class Entry:
    """A network of a study. `accuracies` are percent, one a seed; `mean` and `interval` (95 %) are the model's."""

    trial: int
    origin: str
    text: str
    costs: Mapping[str, int]
    accuracies: tuple[float, ...]
    failures: int
    mean: float | None
    interval: tuple[float, float] | None
    on_front: bool
    factor: float


@dataclass(frozen=True)
class Summary:
    """A study: every network in the order of trials, the front (cheapest first), its hypervolume, and the walk of that."""

    name: str
    title: str
    others: tuple[str, ...]
    objectives: tuple[str, ...]
    budgets: tuple[str, ...]
    entries: tuple[Entry, ...]
    front: tuple[Entry, ...]
    volume: float
    walk: tuple[float, ...]


def summarise(location: str, name: str | None = None) -> Summary:
    """Read a study. Raises LedgerError or UsageError where there is none."""
    with closing(Ledger(location, create=False, made_by=f"search section3 --study {location}")) as ledger:
        studies = Studies(ledger)
        names = studies.names()
        if not names:
            raise UsageError(f"{location} holds no study; `blocksearch search section3 --study {location}` would begin one")
        if name is not None and name not in names:
            raise unknown("study", name, names)
        chosen = name or names[-1]
        definition = studies.definition(chosen)
        assert definition is not None
        return _summary(chosen, tuple(each for each in names if each != chosen), definition, studies.steps(chosen))


def _summary(name: str, others: tuple[str, ...], definition: dict[str, Any], steps: Sequence[StepRow]) -> Summary:
    costs = tuple(definition["wishes"]["objectives"][1:])
    frame = Frame(definition["frame"]["chance"], tuple(definition["frame"]["least"]), tuple(definition["frame"]["largest"]))
    by_trial: dict[int, list[StepRow]] = {}
    for step in steps:
        by_trial.setdefault(step.trial, []).append(step)
    results = {trial: [s.accuracy for s in own if s.accuracy is not None] for trial, own in by_trial.items()}
    seen = [trial for trial, own in results.items() if own]
    means, deviations = _settled(definition, by_trial, results, seen)
    points = np.column_stack([means, *([[float(by_trial[t][0].costs[c]) for t in seen] for c in costs])])
    chosen = [seen[place] for place in front(points)] if seen else []
    place_of = {trial: place for place, trial in enumerate(seen)}
    entries = []
    for trial, own in sorted(by_trial.items()):
        first, place = own[0], place_of.get(trial)
        mean = None if place is None else float(means[place])
        half = 0.0 if place is None else Z * float(deviations[place])
        entries.append(
            Entry(
                trial,
                first.origin,
                first.text,
                first.costs,
                tuple(results[trial]),
                sum(step.accuracy is None for step in own),
                mean,
                None if mean is None else (mean - half, min(100.0, mean + half)),
                trial in chosen,
                first.costs["flops"] / definition["baseline"],
            )
        )
    by_number = {entry.trial: entry for entry in entries}
    return Summary(
        name,
        definition["title"],
        others,
        ("accuracy", *costs),
        tuple(definition["budgets"]),
        tuple(entries),
        tuple(by_number[trial] for trial in chosen),
        frame.volume(points),
        _walk(frame, points),
    )


def _settled(
    definition: dict[str, Any],
    by_trial: Mapping[int, Sequence[StepRow]],
    results: Mapping[int, Sequence[float]],
    seen: Sequence[int],
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]:
    """Fit the search's model to everything; return its means and deviations."""
    if not seen:
        return np.zeros(0), np.zeros(0)
    sizes = [len(values) for values in definition["choices"].values()]
    codes = np.array([by_trial[trial][0].memory["code"] for trial in seen], np.int16).reshape(len(seen), len(sizes))
    costs = np.array([[by_trial[trial][0].costs[name] for name in ("flops", "params", "peak")] for trial in seen], float)
    features = Features(sizes, costs)
    own = [results[trial] for trial in seen]
    told = Seen(features.rows(codes, costs), np.array([sum(o) / len(o) for o in own]), np.array([len(o) for o in own]))
    return Model(features, choose_scales(features, told, seed_variance(own)), told).settled(told)


def _walk(frame: Frame, points: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, ...]:
    """Return the hypervolume after each network, by what is known of all of them in the end."""
    found: list[float] = []
    best = points[:0]
    for point in points:
        grown = np.vstack([best, point])
        beaten = dominated(grown)
        if not beaten[-1]:
            best = grown[~beaten]
            found.append(frame.volume(best))
        else:
            found.append(found[-1])
    return tuple(found)


def as_data(summary: Summary) -> dict[str, Any]:
    """Return a study as plain words and numbers."""
    return {
        "study": summary.name,
        "title": summary.title,
        "objectives": list(summary.objectives),
        "hypervolume": summary.volume,
        "networks": as_rows(summary.entries),
    }


def as_rows(entries: Sequence[Entry]) -> list[dict[str, object]]:
    """Return networks as rows of plain words and numbers."""
    return [
        {
            "trial": entry.trial,
            "front": entry.on_front,
            "origin": entry.origin,
            "accuracy": entry.mean,
            "low": entry.interval and entry.interval[0],
            "high": entry.interval and entry.interval[1],
            "seeds": len(entry.accuracies),
            "failures": entry.failures,
            **entry.costs,
            "factor": entry.factor,
            "network": entry.text,
        }
        for entry in entries
    ]
