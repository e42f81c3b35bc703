"""What a study has found, read from its file alone: neither the space's file nor its images are
needed, and nothing is run.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from blocksearch.errors import ConfigError, MissingError, StoreError, unknown
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.location import Location
from blocksearch.runs.measures import ACCURACY, Metric, read_metric
from blocksearch.runs.peek import contents
from blocksearch.search.evolution import MODELLED
from blocksearch.search.objectives import Floats, Frame, front
from blocksearch.search.observations import Observations, Whole
from blocksearch.search.results import Axis, Entry, Summary, Z, plain, simultaneous_z, walk
from blocksearch.search.surrogate import Codes, Features, Model, SeedNoise
from blocksearch.search.trials import Studies, Trial


@dataclass(frozen=True)
class StoredStudy:
    """A study of ours as its file has it: its definition and trials, and the names of the file's
    other studies.
    """

    name: str
    others: tuple[str, ...]
    definition: Mapping[str, Any]
    trials: tuple[Trial, ...]

    @property
    def costs(self) -> tuple[str, ...]:
        """The objectives that are known before anything is trained."""
        return tuple(self.definition["wishes"]["objectives"][1:])

    @property
    def maximised(self) -> frozenset[str]:
        """Which of the costs are better the larger they are."""
        own = self.definition["wishes"].get("functions", {})
        return frozenset(name for name, each in own.items() if each["maximise"])

    @property
    def metric(self) -> Metric:
        """What stands for accuracy."""
        return read_metric(self.definition["wishes"].get("metric", str(ACCURACY)))

    @property
    def sampler(self) -> str:
        """The name of the sampler in the trials that it proposed."""
        found: str = self.definition.get("sampled_by", self.definition["wishes"]["sampler"])
        return found

    @property
    def choices(self) -> dict[str, list[str]]:
        """What codes of networks mean: each factor's levels, factors in the order of a code."""
        return dict(self.definition["choices"])


@dataclass(frozen=True)
class Fitted:
    """The search's model of everything a study knows: of N networks with results, codes N×F, costs
    N×3 and features.

    `means` and `deviations` are of the true accuracy, percent; `trials` say which networks these
    are.
    """

    trials: tuple[int, ...]
    codes: Codes
    costs: Floats
    features: Features
    model: Model
    noise: SeedNoise
    means: Floats
    deviations: Floats


def summarise(location: str, name: str | None = None) -> Summary:
    """Read a study, ours or one that Optuna made. Raises StoreError or ConfigError where there is
    none of that name.
    """
    found = open_study(location, name)
    if isinstance(found, StoredStudy):
        return _summary(found)
    from blocksearch.search.optuna_import import summarise_foreign

    return summarise_foreign(location, *found)


def open_study(
    location: str, name: str | None = None
) -> "StoredStudy | tuple[str, tuple[str, ...]]":
    """Return a study of ours, or the name of one that Optuna made and those of the file's others;
    nothing is written.

    Where no name is given, the newest of ours. Raises StoreError or ConfigError where there is none
    of that name.
    """
    there = contents(location)
    if "search_studies" in there.tables:
        with closing(Ledger(location, read_only=True)) as ledger:
            studies = Studies(ledger)
            ours = studies.names()
            chosen, others = _choose(
                location, ours, [each for each in there.optuna if each not in ours], name
            )
            definition = studies.definition(chosen)
            return (
                (chosen, others)
                if definition is None
                else _sound(
                    location,
                    StoredStudy(chosen, others, definition, tuple(studies.trials(chosen))),
                )
            )
    if there.tables and not there.optuna and "ledger_meta" not in there.tables:
        raise ConfigError(
            f"{Location(location)} is a database of something else: it holds no study"
        )
    return _choose(location, [], there.optuna, name)


def _sound(location: str, study: StoredStudy) -> StoredStudy:
    """Return a study whose trials fit its definition. Raises StoreError for another."""
    sizes = [len(values) for values in study.choices.values()]
    costs, rungs = {*study.costs, "flops", "params", *MODELLED}, study.definition["rungs"]
    for each in study.trials:
        levels = len(each.code) == len(sizes) and all(map(int.__lt__, each.code, sizes))
        counts = len(each.accuracies) <= sum(rung <= each.epochs for rung in rungs)
        if not (levels and counts and costs <= {*each.costs}):
            wrong = "levels" if not levels else "costs" if counts else "accuracies"
            raise StoreError(
                f"{Location(location)}: table search_steps, row {plain(study.name)} "
                f"{each.number}: its {wrong} are not those of its study; the file was edited"
            )
    return study


def _choose(
    location: str, ours: Sequence[str], foreign: Sequence[str], name: str | None
) -> tuple[str, tuple[str, ...]]:
    names, shown = [*ours, *foreign], Location(location)
    if not names:
        raise MissingError(f"{shown} holds no study", shown)
    if name is not None and name not in names:
        raise unknown("study", plain(name), map(plain, names))
    chosen = (ours or foreign)[-1] if name is None else name
    return chosen, tuple(each for each in names if each != chosen)


def fitted(study: StoredStudy) -> Fitted:
    """Fit the search's model to everything that a study knows."""
    observed = Observations(study.definition["rungs"]).of(study.trials)
    if not observed:
        raise ConfigError(f"study {plain(study.name)} has no result yet")
    first = {trial.candidate: trial for trial in reversed(study.trials)}
    sizes = [len(values) for values in study.choices.values()]

    def made_of(trials: list[int]) -> tuple[Codes, Floats]:
        codes = np.array([first[trial].code for trial in trials], np.int16).reshape(
            len(trials), len(sizes)
        )
        return codes, np.array(
            [[first[trial].costs[name] for name in MODELLED] for trial in trials], float
        )

    found = Whole.of(observed, sizes, made_of)
    return Fitted(
        found.rows,
        *made_of(list(found.rows)),
        found.features,
        found.model,
        found.noise,
        *found.model.settled(found.seen),
    )


def objective_costs(study: StoredStudy, trials: Sequence[int]) -> Floats:
    """Return the costs that are objectives, trials × costs; what is to be maximised is negated."""
    first = {trial.candidate: trial for trial in reversed(study.trials)}
    signs = [-1 if name in study.maximised else 1 for name in study.costs]
    values = [[first[trial].costs[name] for name in study.costs] for trial in trials]
    found: Floats = np.array(values, float).reshape(len(trials), len(signs)) * signs
    return found


def _horizon(study: StoredStudy) -> int:
    return int(study.definition["rungs"][-1])


def _summary(study: StoredStudy) -> Summary:
    definition = study.definition
    frame = Frame.read(definition["frame"])
    by_trial: dict[int, list[Trial]] = {}
    for each in study.trials:
        by_trial.setdefault(each.candidate, []).append(each)
    means: dict[int, float] = {}
    deviations: dict[int, float] = {}
    noise = None
    points, horizon = np.zeros((0, 1 + len(study.costs))), _horizon(study)
    whole = {t.candidate for t in study.trials if t.accuracy is not None and t.epochs >= horizon}
    if any(each.accuracy is not None for each in study.trials):
        model = fitted(study)
        noise = model.noise
        means = dict(zip(model.trials, map(float, model.means), strict=True))
        deviations = dict(zip(model.trials, map(float, model.deviations), strict=True))
        points = np.column_stack([model.means, objective_costs(study, model.trials)])
        points = points[[trial in whole for trial in model.trials]]
    trials = [
        trial for trial in means if trial in whole
    ]  # one that a race left behind is no member of the front
    chosen = [trials[place] for place in front(points)]
    on_front, wide = frozenset(chosen), simultaneous_z(len(chosen))
    entries = tuple(
        _entry(study, own, means.get(trial), deviations.get(trial, 0.0), wide * (trial in on_front))
        for trial, own in sorted(by_trial.items())
    )
    by_number = {entry.trial: entry for entry in entries}
    return Summary(
        plain(study.name),
        plain(definition["title"]),
        tuple(map(plain, study.others)),
        (
            Axis(plain(study.metric.title), " %", maximise=True),
            *(Axis(plain(name), maximise=name in study.maximised) for name in study.costs),
        ),
        tuple(map(plain, definition["budgets"])),
        entries,
        tuple(by_number[trial] for trial in chosen),
        frame.volume(points),
        walk(frame.scaled(points)),
        _framed(frame, study),
        _notes(entries),
        noise,
    )


def _entry(
    study: StoredStudy, trials: Sequence[Trial], mean: float | None, deviation: float, wide: float
) -> Entry:
    """Bring together what is known of a network; `wide` is how many deviations its simultaneous
    interval has, 0 where it is not on the front.
    """
    first, horizon, baseline = trials[0], _horizon(study), study.definition["baseline"]
    last = {trial.seed: trial for trial in trials}  # a run that was taken further counts once
    finals = tuple(
        trial.accuracy
        for trial in last.values()
        if trial.accuracy is not None and trial.epochs >= horizon
    )
    failures = sum(trial.accuracy is None for trial in last.values())
    return Entry(
        first.candidate,
        plain(first.origin),
        plain(first.text),
        {plain(name): value for name, value in first.costs.items()},
        mean,
        wide > 0,
        first.origin != study.sampler,
        finals,
        len(last) - len(finals) - failures,
        failures,
        None if mean is None else _around(mean, Z * deviation),
        None if mean is None or not wide else _around(mean, wide * deviation),
        first.costs["flops"] / baseline if baseline else None,
    )


def _around(mean: float, half: float) -> tuple[float, float]:
    return max(0.0, mean - half), min(100.0, mean + half)


def _framed(frame: Frame, study: StoredStudy) -> str:
    """Say between what a hypervolume is measured."""
    spans = (
        f"log10 {name} from {largest:,.0f}, the space's largest, to {least:,.0f}, its least"
        for name, least, largest in zip(study.costs, frame.least, frame.largest, strict=True)
    )
    accuracy = f"{plain(study.metric.title)} from {frame.chance:.4g} %, chance, to 100 %"
    return f"axes: {accuracy}; {'; '.join(map(plain, spans))}"


def _notes(entries: Sequence[Entry]) -> tuple[str, ...]:
    failures, early = (
        sum(entry.failures for entry in entries),
        sum(entry.early for entry in entries),
    )
    unknown_networks = sum(entry.mean is None for entry in entries)
    found = [f"{failures} trainings diverged or failed"] if failures else []
    found += (
        [f"{unknown_networks} networks have no result and are not drawn"]
        if unknown_networks
        else []
    )
    found += (
        [f"{early} trainings were stopped early: the model reads what they say of the last epoch"]
        if early
        else []
    )
    return tuple(found)
