"""The study as Optuna's tables hold it, beside the ledger's, so that optuna-dashboard opens the same file.

A trial is written once, in one transaction, when its first training has counted. Later seeds move a mean in our tables only.
"""

import logging
from collections.abc import Sequence

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from blocksearch.experiments.search.pool import Encoding
from blocksearch.experiments.search.study import Definition
from blocksearch.runs.studies import StepRow

optuna.logging.set_verbosity(logging.WARNING)


def distributions(encoding: Encoding) -> dict[str, CategoricalDistribution]:
    """Return each choice of a grammar as Optuna knows it: a category of texts."""
    return {name: CategoricalDistribution([str(value) for value in values]) for name, values in encoding.levels.items()}


class Mirror:
    """Writes trials for Optuna to read."""

    def __init__(self, location: str, name: str, definition: Definition, encoding: Encoding) -> None:
        url = location if "://" in location else f"sqlite:///{location}"
        self._storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None)
        wishes = definition.wishes
        self._objectives = wishes.objectives
        self._study = optuna.create_study(
            storage=self._storage,
            study_name=name,
            directions=[StudyDirection.MAXIMIZE, *([StudyDirection.MINIMIZE] * len(wishes.costs))],
            sampler=optuna.samplers.RandomSampler(0),
            load_if_exists=True,
        )
        if not self._study.user_attrs.get("title"):
            self._study.set_user_attr("title", definition.title)
            self._study.set_metric_names(list(wishes.objectives))
        self._distributions = distributions(encoding)

    def catch_up(self, rows: Sequence[StepRow]) -> None:
        """Add the trials that a killed driver stored but did not come to mirror."""
        new = [row for row in rows if row.kind == "new"]
        for row in new[len(self._study.get_trials(deepcopy=False)) :]:
            self.add(row)

    def add(self, row: StepRow) -> None:
        """Add the trial of a step, where it is a trial's first."""
        if row.kind != "new":
            return
        code = row.memory["code"]
        known = dict(zip(self._distributions, code, strict=True)) if min(code, default=0) >= 0 else {}
        attributes = {"network": row.text, "fingerprint": row.network, "origin": row.origin, "state": row.state} | row.costs
        if row.accuracy is None:
            trial = create_trial(state=TrialState.FAIL, user_attrs=attributes)
        else:
            trial = create_trial(
                values=[row.accuracy, *(float(row.costs[name]) for name in self._objectives[1:])],
                params={name: self._distributions[name].choices[level] for name, level in known.items()},
                distributions={name: self._distributions[name] for name in known},
                user_attrs=attributes,
            )
        self._study.add_trial(trial)
