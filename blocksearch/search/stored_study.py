"""Reads a study of ours from its file, and fits models to all of its trials. It needs neither the
space's file nor its images, and runs nothing.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from blocksearch.arch.cost import Budget
from blocksearch.errors import ConfigError, MissingError, StoreError, unknown
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.location import Location
from blocksearch.runs.measures import ACCURACY, Metric, read_metric
from blocksearch.runs.metrics import Floats
from blocksearch.runs.peek import contents
from blocksearch.runs.shipped import WITH_STUDIES
from blocksearch.search.further import Expected, Further
from blocksearch.search.measured import Measure, read_limit
from blocksearch.search.observations import Fitted, Observations
from blocksearch.search.results import plain
from blocksearch.search.surrogate import MODELLED, Codes
from blocksearch.search.trials import TABLES, Studies, Trial, foreign


@dataclass(frozen=True, kw_only=True)
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
        names = [each.name for each in self.measures]
        return tuple(n for n in self.definition["wishes"]["objectives"][1:] if n not in names)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The objectives beside accuracy that are measured."""
        own = self.definition["wishes"].get("measured", {})
        return tuple(Measure.read(name, each) for name, each in own.items())

    @property
    def limits(self) -> tuple[Budget, ...]:
        """The budgets on what is measured."""
        names = [each.name for each in self.measures]
        metric = str(self.metric)
        read = [read_limit(text, names, metric) for text in self.definition["budgets"]]
        return tuple(each for each in read if each.quantity in ("accuracy", *names))

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
    def horizon(self) -> int:
        """The last epoch of a whole training."""
        return int(self.definition["rungs"][-1])

    @property
    def choices(self) -> dict[str, list[str]]:
        """What codes of networks mean: each factor's levels, factors in the order of a code."""
        return dict(self.definition["choices"])

    @property
    def sizes(self) -> list[int]:
        """How many levels each factor has."""
        return [len(levels) for levels in self.choices.values()]

    @cached_property
    def first(self) -> Mapping[int, Trial]:
        """The first training of each trial, by its number."""
        return {trial.number: trial for trial in reversed(self.trials)}


def open_study(
    location: str, name: str | None = None
) -> "StoredStudy | tuple[str, tuple[str, ...]]":
    """Return a study of ours, or the name of one that Optuna made and those of the file's others;
    nothing is written.

    Where no name is given, the newest of ours that has trials. Raises StoreError or ConfigError if
    there is none of that name.
    """
    there = contents(location)
    if there.tables & TABLES:
        with closing(Ledger(location, read_only=True)) as ledger:
            studies = Studies(ledger)
            ours = studies.names()
            found = studies.newest() if name is None else name
            chosen, others = _choose(location, ours, foreign(there, location, ours), found)
            definition = _with_origin(studies.definition(chosen), ledger)
            if definition is None:
                return chosen, others
            trials = tuple(studies.trials(chosen))
        return _sound(
            location, StoredStudy(name=chosen, others=others, definition=definition, trials=trials)
        )
    if there.tables and not there.optuna and "ledger_meta" not in there.tables:
        raise ConfigError(
            f"{Location(location)} is a database of something else: it holds no study"
        )
    return _choose(location, [], foreign(there, location, ()), name)


def _with_origin(definition: dict[str, Any] | None, ledger: Ledger) -> dict[str, Any] | None:
    """Add the origin of the images to a title that an earlier version wrote without it."""
    if definition is None or "protocol" not in definition:
        return definition
    images = ledger.images(definition["data"], definition["protocol"])
    told = images.origin if images else ""
    return {**definition, "title": with_origin(definition["title"], definition["dataset"], told)}


def with_origin(title: str, dataset: str, origin: str) -> str:
    """Say behind the name of a data set where its images are from, unless a title says it.

    >>> with_origin("tiny; gtsrb: 10 images", "gtsrb", "whole frames")
    'tiny; gtsrb (whole frames): 10 images'
    """
    unsaid = re.compile(rf"[;,] {re.escape(dataset)}(?=[:,])")
    return unsaid.sub(lambda own: f"{own[0]} ({origin})", title, count=1) if origin else title


def _sound(location: str, study: StoredStudy) -> StoredStudy:
    """Return a study whose trials fit its definition. Raises StoreError for another."""
    sizes, rungs = study.sizes, study.definition["rungs"]
    costs, measured = {*study.costs, *MODELLED}, {each.name for each in study.measures}
    for each in study.trials:
        whole = each.accuracies and each.epochs >= rungs[-1]
        holds = {
            "measured values": not whole or measured <= {*each.measured},
            "levels": len(each.code) == len(sizes) and all(map(int.__lt__, each.code, sizes)),
            "accuracies": len(each.accuracies) <= sum(rung <= each.epochs for rung in rungs),
            "costs": costs <= {*each.costs},
        }
        if not all(holds.values()):
            wrong = next(name for name, own in holds.items() if not own)
            raise StoreError(
                f"{Location(location)}: table search_steps, row {plain(study.name)} "
                f"{each.step}: its {wrong} are not those of its study; the file was edited"
            )
    return study


def weights_of(location: str, trials: Iterable[Trial], folder: Path) -> dict[int, tuple[str, ...]]:
    """Return the files of weights that a folder has, of the networks of a study: by trial."""
    of = {trial.run: trial for trial in trials if trial.run}
    found = defaultdict[int, dict[int, str]](dict)
    with closing(Ledger(location, read_only=True)) as ledger:
        for run in ledger.of_rows(set(of), predictions=False):
            if (file := folder / run.key.file_name).is_file():
                found[of[run.row].number][run.key.seed] = str(file)
    return {number: tuple(own[seed] for seed in sorted(own)) for number, own in found.items()}


def _choose(
    location: str, ours: Sequence[str], foreign: Sequence[str], name: str | None
) -> tuple[str, tuple[str, ...]]:
    names, shown = [*ours, *foreign], Location(location)
    if not names:
        raise MissingError(
            f"{shown} holds no study: a search makes one, and {WITH_STUDIES} have one"
        )
    if name is not None and name not in names:
        raise MissingError(str(unknown("study", plain(name), map(plain, names))))
    chosen = (ours or foreign)[-1] if name is None else name
    return chosen, tuple(each for each in names if each != chosen)


def fitted(study: StoredStudy) -> Fitted:
    """Fit the search's model to everything that a study knows; its rows are the networks."""
    observed = Observations(study.definition["rungs"]).of(study.trials)
    if not observed:
        raise ConfigError(f"study {plain(study.name)} has no result yet")
    return Fitted.of(observed, study.sizes, partial(made_of, study))


def made_of(study: StoredStudy, networks: list[int]) -> tuple[Codes, Floats]:
    """Return the codes of networks, and the costs that the model sees."""
    first = [study.first[each] for each in networks]
    codes = np.array([trial.code for trial in first], np.int16)
    costs = [[trial.costs[name] for name in MODELLED] for trial in first]
    return codes.reshape(len(networks), len(study.choices)), np.array(costs, float)


def expected_further(study: StoredStudy, networks: Sequence[int]) -> tuple[Further, Expected]:
    """Return what is expected of what networks are measured by beside accuracy."""
    limits, made = study.limits, partial(made_of, study)
    further = Further(study.measures, limits, study.horizon, study.sizes, made, averaged=True)
    return further, further.expected(study.trials, networks)


def objective_costs(study: StoredStudy, networks: Sequence[int]) -> Floats:
    """Return the costs that are objectives, networks × costs; what is to be maximised is
    negated.
    """
    signs = [-1 if name in study.maximised else 1 for name in study.costs]
    values = [[study.first[each].costs[name] for name in study.costs] for each in networks]
    found: Floats = np.array(values, float).reshape(len(networks), len(signs)) * signs
    return found
