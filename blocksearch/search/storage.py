"""Searches remembered beside the ledger: what defines each, and its steps in order. Rows are
written once, with a checksum.

The steps of a search are numbered from 0 without a gap; each says which network was trained with
which seed, and what the search was told of it. The runs themselves are the ledger's.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from blocksearch.errors import StoreError
from blocksearch.runs.ledger import Ledger, checksum

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
    sa.Column("origin", sa.String(64), nullable=False),
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
_JSON = ("costs", "accuracies", "memory")


@dataclass(frozen=True)
class StepRow:
    """A finished step: a network trained with one seed for so many epochs.

    `kind` is new (the first of a trial), longer (the same run, taken further) or seed (another run
    of a trial); `origin` says who proposed the trial. `costs` are flops, params, floats and peak.
    `accuracies` are percent, at each epoch at which the search looks, up to `epochs`; there are
    none where the run diverged or failed.
    """

    number: int
    trial: int
    kind: str
    origin: str
    network: str
    text: str
    costs: dict[str, int]
    seed: int
    epochs: int
    state: str
    accuracies: tuple[float, ...]
    memory: dict[str, Any] = field(default_factory=dict)

    @property
    def accuracy(self) -> float | None:
        """Percent after the step's last epoch, None where the run diverged or failed."""
        return self.accuracies[-1] if self.accuracies else None


class Studies:
    """The searches in a ledger's database."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def names(self) -> list[str]:
        """Return the names of the searches, oldest first."""
        with self._ledger.guard():
            if not sa.inspect(self._ledger.engine).has_table(_studies.name):
                return []
        with self._ledger.guard(), self._ledger.engine.connect() as connection:
            return list(
                connection.execute(
                    sa.select(_studies.c.name).order_by(_studies.c.created, _studies.c.name)
                ).scalars()
            )

    def definition(self, name: str) -> dict[str, Any] | None:
        """Return what defines a search, or None where there is none of that name. Raises StoreError
        where it was damaged.
        """
        if name not in self.names():
            return None
        with self._ledger.guard(), self._ledger.engine.connect() as connection:
            row = (
                connection.execute(sa.select(_studies).where(_studies.c.name == name))
                .mappings()
                .one()
            )
        found: dict[str, Any] = json.loads(
            self._checked(dict(row), f"the definition of study {name}")["definition"]
        )
        return found

    def add(self, name: str, definition: dict[str, Any]) -> None:
        """Store what defines a search, before its first step."""
        row = {
            "name": name,
            "definition": json.dumps(definition),
            "created": datetime.now(UTC).isoformat(),
        }
        with self._ledger.writing() as connection:
            _metadata.create_all(connection)
            connection.execute(_studies.insert().values(**row, checksum=checksum(row)))

    def forget(self, name: str) -> None:
        """Delete what defines a search that has no step."""
        with self._ledger.writing() as connection:
            connection.execute(
                _studies.delete().where(
                    _studies.c.name == name, ~sa.exists().where(_steps.c.study == name)
                )
            )

    def steps(self, name: str) -> list[StepRow]:
        """Return the finished steps of a search in order, none where there is no such search.

        Raises StoreError where one is missing or was damaged.
        """
        if name not in self.names():
            return []
        query = sa.select(_steps).where(_steps.c.study == name).order_by(_steps.c.number)
        with self._ledger.guard(), self._ledger.engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        found = [_step(self._checked(row, f"step {row['number']} of study {name}")) for row in rows]
        for place, step in enumerate(found):
            if step.number != place:
                raise StoreError(
                    f"{self._ledger.location}: step {place} of study {name} is missing; the file was edited"
                )
        return found

    def append(self, name: str, steps: Iterable[StepRow]) -> None:
        """Store finished steps, all in one transaction."""
        rows = [
            asdict(step) | {"study": name} | {own: json.dumps(getattr(step, own)) for own in _JSON}
            for step in steps
        ]
        rows = [row | {"checksum": checksum(row)} for row in rows]
        if rows:
            try:
                with self._ledger.writing() as connection:
                    connection.execute(_steps.insert(), rows)
            except sa.exc.IntegrityError as error:
                first = rows[0]["number"]
                raise StoreError(
                    f"{self._ledger.location}: another search wrote step {first} of study {name}"
                ) from error

    def _checked(self, row: dict[str, Any], what: str) -> dict[str, Any]:
        if row.pop("checksum") != checksum(row):
            raise StoreError(
                f"{self._ledger.location}: {what} does not match its checksum; the file was damaged or edited"
            )
        return row


def _step(row: dict[str, Any]) -> StepRow:
    plain = {name: value for name, value in row.items() if name != "study"} | {
        name: json.loads(row[name]) for name in _JSON
    }
    return StepRow(**plain | {"accuracies": tuple(plain["accuracies"])})
