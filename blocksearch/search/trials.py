"""Stores trials, from proposal to result, and lists the studies of a database.

The trainings of a study are its steps, from 0 without a gap. Rows are written once, with a
checksum. The runs themselves are the ledger's.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from blocksearch.errors import StoreError
from blocksearch.runs.described import checksums, seal_last, stored
from blocksearch.runs.engine import RowIsThereError
from blocksearch.runs.fields import Fields
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.location import Location
from blocksearch.runs.peek import Contents
from blocksearch.runs.rows import METADATA, checksum
from blocksearch.runs.schema import register
from blocksearch.search.reading import Reader, definition_of, trial_of

_metadata = sa.MetaData()
_studies = sa.Table(
    "search_studies",
    _metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("definition", sa.Text, nullable=False),
    sa.Column("created", sa.String(32), nullable=False),
    sa.Column("checksum", sa.String(64), nullable=False),
)
_steps = sa.Table(
    "search_steps",
    _metadata,
    sa.Column("study", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("trial", sa.Integer, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("network", sa.String(64), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("costs", sa.Text, nullable=False),
    sa.Column("seed", sa.Integer, nullable=False),
    sa.Column("epochs", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("accuracies", sa.Text, nullable=False),
    sa.Column("memory", sa.Text, nullable=False),
    sa.Column("checksum", sa.String(64), nullable=False),
)
register(
    _metadata,
    {
        "origin TEXT": "origin VARCHAR(64)",
        "checksum VARCHAR(64) NOT NULL": "checksum VARCHAR(64) NOT NULL DEFAULT ''",
    },
)
TABLES = frozenset(_metadata.tables)
_AT_A_TIME = 1_000  # rows read
_PLAIN = ("origin", "network", "text", "seed", "epochs")
_JSON = ("costs", "accuracies", "memory")


class TrialKind(StrEnum):
    """What a training is for, by the words under which it is stored."""

    NEW = "new"  # a network's first
    PROMOTION = "longer"  # the same run, taken further
    SEED = "seed"  # another run of a network


class TrialState(StrEnum):
    """What became of a trial, by the words under which it is stored."""

    PROPOSED = "proposed"  # not in any file
    COMPLETE = "complete"
    PARTIAL = "partial"  # stopped before the last epoch; it may be taken further
    DIVERGED = "diverged"
    FAILED = "failed"  # a user's function raised what the user lets pass


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A training of a trial in a search, from its proposal to its place in the file.

    `number` is the trial's, as answers print it: each network of a study has one. `step` counts all
    trainings, of which a trial may have several. `origin` is the sampler that proposed the network,
    or the name under which it was asked for. `row` is the network's in the pool of a search; as
    read from a file, where no pool is, its `number`. `epochs` is where the
    training stops. `memory` is what must be given back to the sampler after a restart.

    A trial that counts has a `state`, the `network`'s digest and `text`, its `costs` by name, and
    `accuracies`: percent, at each epoch at which the search looks, up to `epochs`; none where the
    run diverged or failed. They are stored with its `run` alone, which is named by the checksum of
    its row; a function has none, and neither have trainings of earlier versions. One that came to
    the last epoch has what else is `measured`, by name.
    """

    step: int
    number: int
    kind: TrialKind
    origin: str
    row: int
    seed: int
    epochs: int
    memory: Mapping[str, Any] = field(default_factory=dict)
    state: TrialState = TrialState.PROPOSED
    network: str = ""
    text: str = ""
    costs: Mapping[str, float] = field(default_factory=dict)
    accuracies: tuple[float, ...] = ()
    run: str = field(default="", compare=False)

    @property
    def accuracy(self) -> float | None:
        """Percent after the last epoch, None if the run diverged or failed."""
        return self.accuracies[-1] if self.accuracies else None

    @property
    def measured(self) -> Mapping[str, float]:
        """What is measured beside accuracy, by name."""
        found: Mapping[str, float] = self.memory.get("measured", {})
        return found

    def with_measured(self, values: Mapping[str, float]) -> "Trial":
        """Return the trial with what was measured of it beside accuracy."""
        known = {"measured": dict(values)} if values else {}
        return replace(self, memory={**self.memory, **known})

    @property
    def code(self) -> list[int]:
        """What the network is made of, by the study's choices; -1 is none of them."""
        found: list[int] = self.memory["code"]
        return found


def foreign(there: Contents, location: str, ours: Iterable[str]) -> list[str]:
    """Return the names of the studies that Optuna alone made. Raises StoreError if one is a copy
    of a study of ours that this database should have and has not.
    """
    found = [name for name in there.optuna if name not in set(ours)]
    lost = [name for name in found if name in there.copies]
    if lost and there.tables & {*METADATA.tables, *TABLES}:
        raise StoreError(
            f"{Location(location)}: table {_studies.name} has no row {lost[0]}, of which Optuna's "
            "tables have a copy; the file was damaged or edited"
        )
    return found


class Studies:
    """The searches in a ledger's database."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def names(self) -> list[str]:
        """Return the names of the searches, oldest first. Raises StoreError if a row is damaged
        or a step is of no search.
        """
        return [row["name"] for row in self._rows()]

    def newest(self) -> str | None:
        """Return the name of the newest search that has trials, or of the newest one."""
        names = self.names()
        with self._ledger.guard(), self._ledger.engine.connect() as connection:
            known = names and sa.inspect(connection).has_table(_steps.name)
            query = sa.select(_steps.c.study).distinct()
            begun = set(connection.execute(query).scalars()) if known else set[str]()
        return next(
            (each for each in reversed(names) if each in begun), names[-1] if names else None
        )

    def definition(self, name: str) -> dict[str, Any] | None:
        """Return what defines a search, or None if there is none of that name. Raises StoreError
        if it was damaged.
        """
        row = next((row for row in self._rows() if row["name"] == name), None)
        return None if row is None else definition_of(row, self._where(_studies, name))

    def _rows(self) -> list[dict[str, Any]]:
        query = sa.select(_studies).order_by(_studies.c.created, _studies.c.name)
        with self._ledger.guard(), self._ledger.engine.connect() as connection:
            there = sa.inspect(connection).has_table
            known = there(_studies.name)
            rows = [dict(row) for row in connection.execute(query).mappings()] if known else []
            lost = self._of_no_study(connection, known) if there(_steps.name) else None
        found = [_checked(row, self._where(_studies, row["name"])) for row in rows]
        if lost is not None:
            where = self._where(_steps, lost)
            raise StoreError(f"{where} is of no study; the file was damaged or edited")
        for row in found:
            fields = Fields(row, self._where(_studies, row["name"]))
            _ = fields.text("name"), fields.text("created")
        return found

    def _of_no_study(self, connection: sa.Connection, known: bool) -> str | None:
        """Return which step, or the last step of which study, is of no study; None for neither."""
        query = sa.select(_steps.c.study, _steps.c.number).limit(1)
        query = query.where(_steps.c.study.not_in(sa.select(_studies.c.name))) if known else query
        if (row := connection.execute(query).first()) is not None:
            return f"{row.study} {row.number}"
        names = set(connection.execute(sa.select(_studies.c.name)).scalars()) if known else set()
        return min(set(checksums(connection, _steps)) - names, default=None)

    def add(self, name: str, definition: dict[str, Any]) -> None:
        """Store what defines a search, before its first step; it is the newest, whatever the clock
        says. Raises StoreError for what could not be read again.
        """
        row = {"name": name, "definition": json.dumps(definition), "created": self._now()}
        definition_of(row, self._where(_studies, name))
        with self._ledger.writing() as connection:
            _metadata.create_all(connection)
            connection.execute(_studies.insert().values(**row, checksum=checksum(row)))

    def _now(self) -> str:
        """Return the time, later than that of any search here, because clocks may be set back."""
        latest = max((row["created"] for row in self._rows()), default="")
        now = datetime.now(UTC)
        with suppress(ValueError, TypeError, OverflowError):  # a stranger's
            now = max(now, datetime.fromisoformat(latest) + timedelta(microseconds=1))
        return now.isoformat()

    def forget(self, name: str) -> None:
        """Delete what defines a search that has no step."""
        with self._ledger.writing() as connection:
            connection.execute(
                _studies.delete().where(
                    _studies.c.name == name, ~sa.exists().where(_steps.c.study == name)
                )
            )

    def trials(self, name: str) -> list[Trial]:
        """Return the trials of a study in order, none where there is no such study.

        Raises StoreError if one is missing or was damaged.
        """
        if name not in self.names():
            return []
        # all are read, so that one whose study's name was changed is noticed
        query = sa.select(_steps).order_by(_steps.c.number)
        found = list[Trial]()
        with self._ledger.guard(), self._ledger.engine.connect() as connection:
            # first, because a search may append in between; rows of before have none
            last = checksums(connection, _steps, name).get(name)
            streaming = connection.execution_options(yield_per=_AT_A_TIME)
            with streaming.execute(query) as rows:  # closed on an error, too: else it keeps a lock
                for row in map(dict, rows.mappings()):
                    where = self._where(_steps, f"{row['study']} {row['number']}")
                    last = None if row["checksum"] == last else last
                    checked = _checked(row, where)
                    if row["study"] == name:
                        found.append(_trial(checked, where))
        gap = (place for place, trial in enumerate(found) if trial.step != place)
        lost = next(gap, None if last is None else len(found))
        if lost is not None:
            where = self._where(_steps, f"{name} {lost}")
            raise StoreError(f"{where} is missing; the file was edited")
        return self._with_accuracies(name, found)

    def _with_accuracies(self, name: str, trials: list[Trial]) -> list[Trial]:
        """Return trials with what their runs say. Raises StoreError if a run is missing."""
        of = defaultdict[str, list[int]](list)
        for trial in trials:
            if trial.run:
                of[trial.run].append(trial.step)
        if not of:
            return trials
        definition = self.definition(name)
        assert definition is not None
        read = Reader.of(definition, self._ledger)
        for run in self._ledger.of_rows(set(of), predictions=read.wants_predictions):
            for step in of.pop(run.row, ()):
                found = read.accuracies(run, trials[step].epochs)
                trials[step] = replace(trials[step], accuracies=found)
        if of:
            where = self._where(_steps, f"{name} {min(of.values())[0]}")
            raise StoreError(f"{where}: its run is missing; the file was damaged or edited")
        return trials

    def append(self, name: str, trials: Iterable[Trial]) -> None:
        """Store trials that count, all in one transaction. Raises StoreError for what could not be
        read again.
        """
        rows = [_as_row(name, trial) for trial in trials]
        for row in rows:
            _trial(row, self._where(_steps, f"{name} {row['number']}"))
        if rows:
            try:
                with self._ledger.writing() as connection:
                    for row in rows:
                        stored(connection, _steps.insert().values(**row))
                    seal_last(connection, _steps, name, rows[-1])
            except RowIsThereError as error:
                first = rows[0]["number"]
                raise StoreError(
                    f"{self._ledger.location}: another search wrote step {first} of study {name}"
                ) from error

    def _where(self, table: sa.Table, row: str) -> str:
        return f"{self._ledger.location}: table {table.name}, row {row}"


def _checked(row: dict[str, Any], where: str) -> dict[str, Any]:
    if row.pop("checksum") != checksum(row):
        raise StoreError(f"{where} does not match its checksum; the file was damaged or edited")
    return row


def _as_row(study: str, trial: Trial) -> dict[str, Any]:
    row = {name: getattr(trial, name) for name in _PLAIN}
    row |= {"study": study, "number": trial.step, "trial": trial.number}  # names of before
    row |= {"kind": trial.kind.value, "state": trial.state.value}
    row |= {name: json.dumps(getattr(trial, name)) for name in _JSON}
    row |= {"accuracies": json.dumps(trial.run)} if trial.run else {}
    return row | {"checksum": checksum(row)}


def _trial(row: Mapping[str, Any], where: str) -> Trial:
    fields = Fields(row, where)
    kind, state = fields.choice("kind", TrialKind), fields.choice("state", TrialState)
    return Trial(**trial_of(row, where), kind=kind, state=state)
