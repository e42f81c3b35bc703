"""The ledger: an append-only record of trainings in a database. The one door to SQLAlchemy.

A row is written once, in one transaction, with a checksum that is verified whenever it is read. A
key that is complete or diverged has one such row and is not trained again; a failed one (a dead
worker, say) may be tried again and then has another, and a partial one, stopped short of its
horizon, may go on and then has a longer one.
"""

import hashlib
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.exc import DatabaseError, IntegrityError

from blocksearch.arch.layers import Layers, decode, encode
from blocksearch.errors import StoreError
from blocksearch.runs.engine import open_engine, put_away, to_write
from blocksearch.runs.location import without_password
from blocksearch.runs.records import FINAL, EvaluatedImages, Job, Run, RunKey, RunState

SCHEMA = "1"

_metadata = sa.MetaData()
_meta = sa.Table(
    "ledger_meta",
    _metadata,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("value", sa.String(64)),
)
_networks = sa.Table(
    "ledger_networks",
    _metadata,
    sa.Column("fingerprint", sa.String(64), primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("layers", sa.Text, nullable=False),
)
_recipes = sa.Table(
    "ledger_recipes",
    _metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
)
_FINAL = tuple(state.value for state in FINAL)
_runs = sa.Table(
    "ledger_runs",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("network", sa.String(64), nullable=False),
    sa.Column("dataset", sa.String(64), nullable=False),
    sa.Column("data", sa.String(64), nullable=False),
    sa.Column("protocol", sa.String(64), nullable=False),
    sa.Column("recipe", sa.String(64), nullable=False),
    sa.Column("seed", sa.Integer, nullable=False),
    sa.Column("epoch_from", sa.Integer, nullable=False),
    sa.Column("epoch_to", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("accuracies", sa.Text, nullable=False),
    sa.Column("losses", sa.Text, nullable=False),
    sa.Column("images", sa.Integer, nullable=False),
    sa.Column("right", sa.LargeBinary, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("provenance", sa.Text, nullable=False),
    sa.Column("checksum", sa.String(64), nullable=False),
)
_SPEC = ("network", "dataset", "data", "protocol", "recipe", "seed")
sa.Index(
    "ledger_runs_once",
    *(_runs.c[name] for name in (*_SPEC, "epoch_from")),
    unique=True,
    sqlite_where=_runs.c.state.in_(_FINAL),
    postgresql_where=_runs.c.state.in_(_FINAL),
)
_predictions = sa.Table(
    "ledger_predictions",
    _metadata,
    sa.Column("run", sa.String(64), primary_key=True),  # the checksum of the run's row
    sa.Column("classes", sa.LargeBinary, nullable=False),
    sa.Column("checksum", sa.String(64), nullable=False),
)
_images = sa.Table(
    "ledger_images",
    _metadata,
    sa.Column("data", sa.String(64), primary_key=True),
    sa.Column("split", sa.String(64), primary_key=True),
    sa.Column("dataset", sa.String(64), nullable=False),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("training", sa.Integer, nullable=False),
    sa.Column("available", sa.Integer, nullable=False),
    sa.Column("labels", sa.LargeBinary, nullable=False),
    sa.Column("groups", sa.LargeBinary, nullable=True),
    sa.Column("checksum", sa.String(64), nullable=False),
)
_reports = sa.Table(
    "ledger_reports",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("created", sa.String(32), nullable=False),
    sa.Column("content", sa.Text, nullable=False),
)


_Row = tuple[dict[str, str], dict[str, str], dict[str, Any], bytes | None]


class Ledger:
    """Trainings remembered in a file, or at any SQLAlchemy URL.

    `create=False` opens only what is there; `made_by` is the command that an error then advises.
    Raises StoreError where the file is missing, damaged, foreign or newer.
    """

    def __init__(self, location: str | Path, *, create: bool = True, made_by: str = "") -> None:
        self.location = without_password(str(location))
        self.engine = open_engine(location, create, made_by)
        self._written = False
        with self.guard():
            self._open()

    def close(self) -> None:
        """Let go of the file; what was written lies in it alone then, unless others have it open."""
        put_away(self.engine) if self._written else self.engine.dispose()

    def find(self, keys: Iterable[RunKey]) -> dict[RunKey, Run]:
        """Return the final runs (complete or diverged) among `keys`. Raises StoreError where a row
        is damaged.
        """
        wanted = set(keys)
        seeds, networks = {key.seed for key in wanted}, {key.network for key in wanted}
        query = sa.select(_runs).where(
            _runs.c.state.in_(_FINAL), _runs.c.seed.in_(seeds), _runs.c.network.in_(networks)
        )
        return {run.key: run for run in self._read(query) if run.key in wanted}

    def reached(self, key: RunKey, epoch: int) -> Run | None:
        """Return a run that came to an epoch, or ended before it by diverging; None where none did."""
        far = sa.and_(_runs.c.state.in_(("complete", "partial")), _runs.c.epoch_to >= epoch)
        enough = sa.or_(_runs.c.state == "diverged", far)
        same = (_runs.c[name] == getattr(key, name) for name in _SPEC)
        return next(
            self._read(sa.select(_runs).where(*same, enough).order_by(_runs.c.epoch_to).limit(1)),
            None,
        )

    def runs(self) -> list[Run]:
        """Return every row, partial and failed ones too, in the order they were written."""
        return list(self._read(sa.select(_runs).order_by(_runs.c.id)))

    def add_images(self, images: EvaluatedImages) -> None:
        """Store what the images of a data digest and split are, unless that is stored already."""
        if self.images(images.data, images.split) is None:
            row = _image_row(images)
            with self.guard(), suppress(IntegrityError), self.writing() as connection:
                _images.create(connection, checkfirst=True)
                connection.execute(_images.insert().values(**row))

    def images(self, data: str, split: str) -> EvaluatedImages | None:
        """Return what the images of a data digest and split are; None where that is not stored."""
        return next(
            (each for each in self.all_images() if (each.data, each.split) == (data, split)), None
        )

    def all_images(self) -> list[EvaluatedImages]:
        """Return what is stored of the images that judged runs here."""
        if not self._has(_images):
            return []
        with self.guard(), self.engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(sa.select(_images)).mappings()]
        return [self._checked_images(row) for row in rows]

    def _checked_images(self, row: dict[str, Any]) -> EvaluatedImages:
        if row.pop("checksum") != checksum(row):
            raise StoreError(
                f"{self.location}: the labels of {row['dataset']} do not match their checksum; "
                "the file was damaged or edited"
            )
        groups = row["groups"] and _unpacked(row["groups"], np.int32)
        return EvaluatedImages(
            **row | {"labels": _unpacked(row["labels"], np.uint16), "groups": groups}
        )

    def _has(self, table: sa.Table) -> bool:
        with self.guard():
            return sa.inspect(self.engine).has_table(table.name)

    @property
    def checkpoints(self) -> Path | None:
        """The folder for trainings in progress, beside the ledger's file; None where the ledger is
        no file.
        """
        file = self.engine.url.database if self.engine.url.get_backend_name() == "sqlite" else None
        return Path(f"{file}-checkpoints") if file and file != ":memory:" else None

    def add(self, job: Job, run: Run) -> bool:
        """Append a run; return False where its key is already final. Nothing is ever overwritten."""
        return self.add_all([(job, run)]) == 1

    def add_all(self, pairs: Iterable[tuple[Job, Run]]) -> int:
        """Append the runs of a group, all of them or none, but for keys that are already final;
        return how many were new.
        """
        rows = [
            (
                {"fingerprint": run.key.network, "text": job.text, "layers": encode(job.layers)},
                {"digest": run.key.recipe, "text": job.recipe.text},
                _row(run),
                _classes(run),
            )
            for job, run in pairs
        ]
        return self._append_all(rows)

    def _append_all(self, rows: Sequence[_Row]) -> int:
        try:
            return self._try_to_append(rows)
        except IntegrityError:  # another command added one of them meanwhile: now it is seen
            return self._try_to_append(rows)

    def _try_to_append(self, rows: Sequence[_Row]) -> int:
        added = 0
        with self.writing() as connection:
            for network, recipe, row, classes in rows:
                _insert_missing(connection, _networks, "fingerprint", network)
                _insert_missing(connection, _recipes, "digest", recipe)
                if row["state"] not in FINAL or not _has_final(connection, row):
                    connection.execute(_runs.insert().values(**row))
                    if classes is not None:
                        _predictions.create(connection, checkfirst=True)
                        own = {"run": row["checksum"], "classes": classes}
                        connection.execute(
                            _predictions.insert().values(**own, checksum=checksum(own))
                        )
                    added += 1
        return added

    def network_text(self, fingerprint: str) -> str | None:
        """Return how a network was written when it was first trained."""
        with self.guard(), self.engine.connect() as connection:
            return connection.execute(
                sa.select(_networks.c.text).where(_networks.c.fingerprint == fingerprint)
            ).scalar()

    def layers(self, fingerprint: str) -> Layers | None:
        """Return the layers of a network that was trained, or None for another: its options' file
        is not needed.
        """
        with self.guard(), self.engine.connect() as connection:
            found = connection.execute(
                sa.select(_networks.c.layers).where(_networks.c.fingerprint == fingerprint)
            ).scalar()
        return None if found is None else decode(found)

    def add_report(self, kind: str, title: str, content: str) -> None:
        """Save what a command concluded, as JSON, beside the runs it read; the same conclusion is
        saved once.
        """
        if any(
            (report["kind"], report["title"], report["content"]) == (kind, title, content)
            for report in self.reports()
        ):
            return
        created = datetime.now(UTC).isoformat(timespec="seconds")
        with self.writing() as connection:
            connection.execute(
                _reports.insert().values(kind=kind, title=title, created=created, content=content)
            )

    def reports(self) -> list[dict[str, Any]]:
        """Return the saved conclusions, oldest first."""
        with self.guard(), self.engine.connect() as connection:
            return [
                dict(row)
                for row in connection.execute(
                    sa.select(_reports).order_by(_reports.c.id)
                ).mappings()
            ]

    def merge(self, other: "Ledger") -> tuple[int, list[RunKey]]:
        """Copy what `other` has and this has not; return how many runs were copied, and the keys on
        which they disagree.
        """
        mine = {(run.key, run.epoch_from): run for run in self.runs() if run.state in FINAL}
        failed = {_row(run)["checksum"] for run in self.runs() if run.state not in FINAL}
        copied, conflicts = 0, []
        for images in other.all_images():
            self.add_images(images)
        for run in other.runs():
            present = mine.get((run.key, run.epoch_from))
            if present and run.state in FINAL:
                if (present.state, present.accuracies) != (run.state, run.accuracies):
                    conflicts.append(run.key)
            elif _row(run)["checksum"] not in failed:
                network, recipe = other._described(run.key)
                copied += self._append_all([(network, recipe, _row(run), _classes(run))])
        return copied, conflicts

    def _described(self, key: RunKey) -> tuple[dict[str, str], dict[str, str]]:
        with self.guard(), self.engine.connect() as connection:
            network = (
                connection.execute(
                    sa.select(_networks).where(_networks.c.fingerprint == key.network)
                )
                .mappings()
                .one()
            )
            recipe = (
                connection.execute(sa.select(_recipes).where(_recipes.c.digest == key.recipe))
                .mappings()
                .one()
            )
            return dict(network), dict(recipe)

    def _read(self, query: "sa.Select[Any]") -> Iterator[Run]:
        if self._has(_predictions):
            own = _predictions.c.classes, _predictions.c.checksum.label("classes_checksum")
            query = query.add_columns(*own).outerjoin(
                _predictions, _predictions.c.run == _runs.c.checksum
            )
        with self.guard(), self.engine.connect() as connection:
            for row in connection.execute(query).mappings():
                yield self._run(dict(row))

    def _run(self, row: dict[str, Any]) -> Run:
        number, classes = row.pop("id"), row.pop("classes", None)
        own = {"run": row["checksum"], "classes": classes}
        if row.pop("classes_checksum", None) != (checksum(own) if classes is not None else None):
            raise self._damaged(number)
        if row.pop("checksum") != checksum(row):
            raise self._damaged(number)
        key = RunKey(**{name: row[name] for name in _SPEC})
        right = np.unpackbits(np.frombuffer(row["right"], np.uint8), count=row["images"])
        return Run(
            key=key,
            epoch_from=row["epoch_from"],
            epoch_to=row["epoch_to"],
            state=RunState(row["state"]),
            reason=row["reason"],
            accuracies=tuple(json.loads(row["accuracies"])),
            losses=tuple(json.loads(row["losses"])),
            right=right.astype(bool),
            predictions=None if classes is None else _unpacked(classes, np.uint16),
            seconds=row["seconds"],
            provenance=json.loads(row["provenance"]),
        )

    def _damaged(self, number: int) -> StoreError:
        return StoreError(
            f"{self.location}: run {number} does not match its checksum; "
            "the file was damaged or edited"
        )

    def _open(self) -> None:
        tables = set(sa.inspect(self.engine).get_table_names())
        if (
            tables
            and _meta.name not in tables
            and not any(name.startswith("studies") for name in tables)
        ):
            raise StoreError(
                f"{self.location} is a database but not a ledger: it has no table {_meta.name}"
            )
        schema = self._schema() if _meta.name in tables else None
        if (
            schema is None
        ):  # not there, or left half made by a version that did not make it in one transaction
            with self.writing() as connection:
                _metadata.create_all(connection)
                _insert_missing(connection, _meta, "key", {"key": "schema", "value": SCHEMA})
            schema = self._schema()
        if schema != SCHEMA:
            raise StoreError(
                f"{self.location} has ledger schema {schema}, but this version reads {SCHEMA}"
            )

    def _schema(self) -> str | None:
        with self.engine.connect() as connection:
            return connection.execute(
                sa.select(_meta.c.value).where(_meta.c.key == "schema")
            ).scalar()

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Write in one transaction, tables and rows; other commands wait. A file that is only read
        stays as it is.
        """
        with self.guard(), to_write(self.engine) as connection, connection.begin():
            self._written = True
            yield connection

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Turn what a database raises into a StoreError that names the file; rows that are there
        already pass through.
        """
        try:
            yield
        except IntegrityError:
            raise
        except DatabaseError as error:
            raise StoreError(f"{self.location}: {error.orig or error}") from error


def _insert_missing(
    connection: sa.Connection, table: sa.Table, key: str, row: dict[str, str]
) -> None:
    if connection.execute(sa.select(table.c[key]).where(table.c[key] == row[key])).first() is None:
        connection.execute(table.insert().values(**row))


def _has_final(connection: sa.Connection, row: dict[str, Any]) -> bool:
    same = (_runs.c[name] == row[name] for name in (*_SPEC, "epoch_from"))
    return (
        connection.execute(sa.select(_runs.c.id).where(_runs.c.state.in_(_FINAL), *same)).first()
        is not None
    )


def _row(run: Run) -> dict[str, Any]:
    if not all(map(math.isfinite, (*run.accuracies, *run.losses, run.seconds))):
        raise StoreError(
            f"a run's numbers must be finite, but seed {run.key.seed} has {run.accuracies} and {run.losses}"
        )
    row = asdict(run.key) | {
        "epoch_from": run.epoch_from,
        "epoch_to": run.epoch_to,
        "state": run.state.value,
        "reason": run.reason,
        "accuracies": json.dumps(run.accuracies),
        "losses": json.dumps(run.losses),
        "images": len(run.right),
        "right": np.packbits(run.right).tobytes(),
        "seconds": run.seconds,
        "provenance": json.dumps(run.provenance, sort_keys=True),
    }
    return row | {"checksum": checksum(row)}


def checksum(row: dict[str, Any]) -> str:
    """Digest a row as it is stored."""
    plain = {key: value.hex() if isinstance(value, bytes) else value for key, value in row.items()}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _classes(run: Run) -> bytes | None:
    return None if run.predictions is None or not len(run.predictions) else _packed(run.predictions)


def _image_row(images: EvaluatedImages) -> dict[str, Any]:
    groups = None if images.groups is None else _packed(images.groups.astype(np.int32))
    row = {**vars(images), "labels": _packed(images.labels.astype(np.uint16)), "groups": groups}
    return row | {"checksum": checksum(row)}


def _packed(values: NDArray[np.integer[Any]]) -> bytes:
    return zlib.compress(values.astype(values.dtype.newbyteorder("<")).tobytes(), 9)


def _unpacked(stored: bytes, kind: type[np.integer[Any]]) -> NDArray[Any]:
    return np.frombuffer(zlib.decompress(stored), np.dtype(kind).newbyteorder("<")).astype(kind)
