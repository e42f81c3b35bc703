"""The study as Optuna's tables hold it, beside the ledger's, so that optuna-dashboard opens the
same file.

A trial is written once, in one transaction, when its first training to the horizon has counted, or
failed: a network that a race left behind is in our tables only, and so is what later seeds do to a
mean.
"""

import contextlib
import json
import logging
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, distribution_to_json
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.trial import TrialState

from blocksearch.search.definition import Definition, Wishes
from blocksearch.search.storage import StepRow
from blocksearch.space.candidates import Candidates
from blocksearch.space.encoding import Encoding

optuna.logging.set_verbosity(logging.WARNING)

# `Study.add_trial` asks the database some thirty times for a trial, more than half of what a driver
# may spend on one.
_TRIALS: Any = models.TrialModel.__table__
_PARAMS: Any = models.TrialParamModel.__table__
_VALUES: Any = models.TrialValueModel.__table__
_ATTRIBUTES: Any = models.TrialUserAttributeModel.__table__
_FINITE = models.TrialValueModel.TrialValueType.FINITE


def distributions(encoding: Encoding) -> dict[str, CategoricalDistribution]:
    """Return each choice of a grammar as Optuna knows it: a category of texts."""
    return {
        name: CategoricalDistribution([str(value) for value in values])
        for name, values in encoding.levels.items()
    }


def directions(wishes: Wishes) -> list[StudyDirection]:
    """Return which way each objective is better: accuracy upwards, costs downwards."""
    return [StudyDirection.MAXIMIZE, *([StudyDirection.MINIMIZE] * len(wishes.costs))]


def forget(url: str, name: str) -> None:
    """Delete a study, where there is one."""
    with contextlib.suppress(KeyError):
        optuna.delete_study(
            study_name=name,
            storage=RDBStorage(url, engine_kwargs=_SQLITE if url.startswith("sqlite") else None),
        )


class Mirror:
    """Writes trials for Optuna to read."""

    def __init__(self, url: str, name: str, definition: Definition, pool: Candidates) -> None:
        self._storage = RDBStorage(url, engine_kwargs=_SQLITE if url.startswith("sqlite") else None)
        self._pool, self._costs = pool, definition.wishes.costs
        study = optuna.create_study(
            storage=self._storage,
            study_name=name,
            directions=directions(definition.wishes),
            sampler=optuna.samplers.RandomSampler(0),
            load_if_exists=True,
        )
        if not study.user_attrs.get("title"):
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", ExperimentalWarning
                )  # names of axes: the worst they can do is vanish
                study.set_metric_names(list(definition.wishes.objectives))
            study.set_user_attr("title", definition.title)
        self._study = self._storage.get_study_id_from_name(name)
        self._distributions = {
            own: distribution_to_json(each) for own, each in distributions(pool.encoding).items()
        }
        self._there = self._mirrored()

    def close(self) -> None:
        """Let go of the file."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def catch_up(self, rows: Sequence[StepRow]) -> None:
        """Add the trials that a killed driver stored but did not come to mirror."""
        for row in rows:
            self.add(row)

    def add(self, row: StepRow) -> None:
        """Add the trial of a step, where it is the one that brings the first seed to its end and is
        not there yet.
        """
        if row.kind == "seed" or row.state == "partial" or row.trial in self._there:
            return
        now = datetime.now(UTC).replace(tzinfo=None)  # as Optuna stores it
        trial = {
            "number": len(self._there),
            "study_id": self._study,
            "state": TrialState.FAIL if row.accuracy is None else TrialState.COMPLETE,
            "datetime_start": now,
            "datetime_complete": now,
        }
        with self._storage.engine.begin() as connection:
            made = connection.execute(_TRIALS.insert().values(**trial)).inserted_primary_key
            assert made is not None
            for table, own in (
                (_PARAMS, self._params(row)),
                (_VALUES, self._values(row)),
                (_ATTRIBUTES, _attributes(row)),
            ):
                if own:
                    connection.execute(
                        table.insert(), [{"trial_id": made[0]} | each for each in own]
                    )
        self._there.add(row.trial)

    def _mirrored(self) -> set[int]:
        """Return which of our trials Optuna's tables have."""
        query = _ATTRIBUTES.select().join(_TRIALS, _TRIALS.c.trial_id == _ATTRIBUTES.c.trial_id)
        query = query.where(_TRIALS.c.study_id == self._study, _ATTRIBUTES.c.key == "trial")
        with self._storage.engine.connect() as connection:
            return {json.loads(found.value_json) for found in connection.execute(query)}

    def _params(self, row: StepRow) -> list[dict[str, Any]]:
        """Return the choices that make a member; of a named point that is none, nothing."""
        code = row.memory["code"]
        member = self._pool.decode(code)
        if member is None or self._pool.network(member).digest != row.network:
            return []
        levels = zip(self._distributions.items(), code, strict=True)
        return [
            {"param_name": name, "param_value": float(level), "distribution_json": distribution}
            for (name, distribution), level in levels
            if level >= 0
        ]

    def _values(self, row: StepRow) -> list[dict[str, Any]]:
        if row.accuracy is None:
            return []
        values = [row.accuracy, *(float(row.costs[name]) for name in self._costs)]
        return [
            {"objective": place, "value": value, "value_type": _FINITE}
            for place, value in enumerate(values)
        ]


def _attributes(row: StepRow) -> list[dict[str, Any]]:
    found = {
        "trial": row.trial,
        "network": row.text,
        "fingerprint": row.network,
        "origin": row.origin,
        "state": row.state,
    }
    return [
        {"key": key, "value_json": json.dumps(value)} for key, value in (found | row.costs).items()
    ]


def _configure_sqlite(connection: Any, _: Any) -> None:
    # the ledger's own connection makes steps survive a power cut; what this one loses then is added
    # again
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "trusted_schema=OFF"):
        connection.execute(f"PRAGMA {pragma}")


_SQLITE = {"connect_args": {"timeout": 60}, "pool_events": [(_configure_sqlite, "connect")]}
