"""Stores the ledger, an append-only record of trainings in a database.

A row is written once, in one transaction, with a checksum that is verified whenever it is read. A
key that is complete or diverged has one such row and is not trained again; a failed one (a dead
worker, say) may be tried again and then has another, and a partial one, stopped short of its
horizon, may go on and then has a longer one.
"""

from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from blocksearch.arch.layers import Layers, encode
from blocksearch.data.splits import SplitSummary
from blocksearch.errors import StoreError
from blocksearch.runs.described import (
    insert_missing,
    layers_of,
    network_row,
    recipe_of,
    recipe_row,
    report_rows,
    seal,
    stored,
)
from blocksearch.runs.engine import RowIsThereError, open_engine, put_away, storing, to_write
from blocksearch.runs.fields import damaged
from blocksearch.runs.location import Location
from blocksearch.runs.records import FINAL, Job, Run, RunKey, RunState
from blocksearch.runs.rows import (
    CLASSES,
    DIVERGENCES,
    FINAL_STATES,
    IMAGES,
    KEY,
    META,
    METADATA,
    NETWORKS,
    PREDICTIONS,
    RECIPES,
    REPORTS,
    RUNS,
    checksum,
    image_rows,
    images_of,
    joined_with,
    rows_beside,
    run_of,
    run_row,
    taken_apart,
)
from blocksearch.runs.schema import check_schema, register
from blocksearch.training.recipe import Recipe

SCHEMA = "1"
register(METADATA)

_Beside = list[tuple[sa.Table, dict[str, Any]]]  # in tables beside that of runs
_Row = tuple[dict[str, str], dict[str, str], dict[str, Any], _Beside]


class Ledger:
    """Trainings remembered in a file, or at any SQLAlchemy URL.

    `create=False` opens only what is there, and `read_only=True` does so too and writes nothing; a
    database without runs is then as one that has none. Raises StoreError if the file is missing,
    damaged, foreign or newer.
    """

    def __init__(
        self, location: str | Path, *, create: bool = True, read_only: bool = False
    ) -> None:
        self.location = Location(location)
        own = {"create": create and not read_only, "read_only": read_only}
        self.engine = open_engine(self.location, **own)
        self._written = False
        try:
            with self.guard():
                if not self._open(read_only=read_only):
                    self.engine.dispose()
                    self.engine = open_engine(Location("sqlite://"))
                    self._open(read_only=False)
        except BaseException:  # what is refused is not left open
            self.engine.dispose()
            raise

    def close(self) -> None:
        """Close the file, which then has all that was written, unless others have it open."""
        put_away(self.engine) if self._written else self.engine.dispose()

    def find(self, keys: Iterable[RunKey]) -> dict[RunKey, Run]:
        """Return the final runs (complete or diverged) among `keys`. Raises StoreError if a row
        is damaged.
        """
        wanted = set(keys)
        seeds, networks = {key.seed for key in wanted}, {key.network for key in wanted}
        query = sa.select(RUNS).where(
            RUNS.c.state.in_(FINAL_STATES), RUNS.c.seed.in_(seeds), RUNS.c.network.in_(networks)
        )
        return {run.key: run for run in self._read(query) if run.key in wanted}

    def reached(self, key: RunKey, epoch: int) -> Run | None:
        """Return a run that came to an epoch, or diverged before it; None if none did."""
        going = (RunState.COMPLETE.value, RunState.PARTIAL.value)
        far = sa.and_(RUNS.c.state.in_(going), RUNS.c.epoch_to >= epoch)
        enough = sa.or_(RUNS.c.state == RunState.DIVERGED.value, far)
        same = (RUNS.c[name] == getattr(key, name) for name in KEY)
        query = sa.select(RUNS).where(*same, enough).order_by(RUNS.c.epoch_to).limit(1)
        return next(self._read(query), None)

    def runs(self) -> list[Run]:
        """Return every row, partial and failed ones too, in the order they were written."""
        return list(self._read(sa.select(RUNS).order_by(RUNS.c.id)))

    def of_rows(self, checksums: Set[str], *, predictions: bool) -> Iterator[Run]:
        """Yield the runs whose rows have these checksums, with what they predicted if wanted."""
        yield from self._read(sa.select(RUNS), checksums, predictions=predictions)

    def add_images(self, images: SplitSummary) -> None:
        """Store what images are, and the names of their classes, unless that is stored already."""
        if rows := image_rows(images, self.all_images()):
            with suppress(RowIsThereError), self.writing() as connection:
                for table, row in rows:
                    table.create(connection, checkfirst=True)
                    stored(connection, table.insert().values(**row))

    def images(self, data: str, split: str) -> SplitSummary | None:
        """Return what the images of a data digest and split are; None if that is not stored."""
        return {(each.digest, each.split): each for each in self.all_images()}.get((data, split))

    def all_images(self) -> list[SplitSummary]:
        """Return what is stored of the images that judged runs here."""
        return images_of(self._rows(IMAGES), self._rows(CLASSES))

    def _rows(self, table: sa.Table) -> list[tuple[dict[str, Any], str]]:
        if not self._has(table):
            return []
        with self.guard(), self.engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(sa.select(table)).mappings()]
        where = f"{self.location}: table {table.name}, row"
        return [(row, f"{where} {row['dataset']} {row.get('split', '')}") for row in rows]

    def _has(self, table: sa.Table) -> bool:
        with self.guard():
            return sa.inspect(self.engine).has_table(table.name)

    @property
    def checkpoints(self) -> Path | None:
        """The folder for trainings in progress, beside the ledger's file; None if the ledger is
        no file.
        """
        file = self.location.file
        return None if file is None else file.with_name(f"{file.name}-checkpoints")

    def add_all(self, pairs: Iterable[tuple[Job, Run]]) -> int:
        """Append the runs of a group, all of them or none, but for keys that are already final;
        return how many were new. Nothing is overwritten.
        """
        rows = [
            (
                {"fingerprint": run.key.network, "text": job.text, "layers": encode(job.layers)},
                {"digest": run.key.recipe, "text": job.recipe.text},
                *_stored_as(run),
            )
            for job, run in pairs
        ]
        return self._append_all(rows)

    def _append_all(self, rows: Sequence[_Row]) -> int:
        try:
            return self._try_to_append(rows)
        except RowIsThereError:  # another command added one of them meanwhile: now it is seen
            return self._try_to_append(rows)

    def _try_to_append(self, rows: Sequence[_Row]) -> int:
        added = 0
        with self.writing() as connection:
            for network, recipe, row, beside in rows:
                insert_missing(connection, NETWORKS, "fingerprint", network)
                insert_missing(connection, RECIPES, "digest", recipe)
                if row["state"] not in FINAL or not _has_final(connection, row):
                    stored(connection, RUNS.insert().values(**row))
                    for table, own in beside:
                        table.create(connection, checkfirst=True)
                        stored(connection, table.insert().values(**own))
                    added += 1
        return added

    def layers(self, fingerprint: str) -> Layers | None:
        """Return the layers of a network that was trained, or None for another. The file of its ops
        is not needed.
        """
        with self.guard(), self.engine.connect() as connection:
            row = network_row(connection, fingerprint, self.location)
        return None if row is None else layers_of(row, self.location)

    def recipe(self, digest: str) -> Recipe | None:
        """Return a recipe by which something was trained, or None for another. Raises StoreError
        if it is damaged, or a user's piece of it changed.
        """
        with self.guard(), self.engine.connect() as connection:
            row = recipe_row(connection, digest, self.location)
        return None if row is None else recipe_of(row, self.location)

    def add_report(self, kind: str, title: str, content: str) -> None:
        """Save what a command concluded, as JSON, beside the runs it read; the same conclusion is
        saved once.
        """
        own = {"kind": kind, "title": title, "content": content}
        if any(own.items() <= report.items() for report in self.reports()):
            return
        own["created"] = datetime.now(UTC).isoformat(timespec="seconds")
        with self.writing() as connection:
            made = connection.execute(REPORTS.insert().values(**own)).inserted_primary_key
            assert made is not None
            seal(connection, REPORTS, made[0], {"id": made[0], **own})

    def reports(self) -> list[dict[str, Any]]:
        """Return the saved conclusions, oldest first. Raises StoreError if one is damaged."""
        with self.guard(), self.engine.connect() as connection:
            return report_rows(connection, self.location)

    def merge(self, other: "Ledger") -> tuple[int, list[RunKey]]:
        """Copy what `other` has and this has not; return how many runs were copied, and the keys on
        which they disagree.
        """
        mine = {(run.key, run.epoch_from): run for run in self.runs() if run.state in FINAL}
        failed = {run_row(run)["checksum"] for run in self.runs() if run.state not in FINAL}
        rows: list[_Row] = []
        conflicts = []
        for images in other.all_images():
            self.add_images(images)
        for run in other.runs():
            present = mine.get((run.key, run.epoch_from))
            if present and run.state in FINAL:
                if (present.state, present.accuracies) != (run.state, run.accuracies):
                    conflicts.append(run.key)
            elif run_row(run)["checksum"] not in failed:
                network, recipe = other.described(run.key)
                rows.append((network, recipe, *_stored_as(run)))
        return self._append_all(rows) if rows else 0, conflicts

    def described(self, key: RunKey) -> tuple[dict[str, str], dict[str, str]]:
        """Return the rows of a run's network and recipe. Raises StoreError if one is damaged."""
        with self.guard(), self.engine.connect() as connection:
            network = network_row(connection, key.network, self.location)
            recipe = recipe_row(connection, key.recipe, self.location)
        if network is None or recipe is None:
            lacking, of = (NETWORKS, key.network) if network is None else (RECIPES, key.recipe)
            raise damaged(
                f"{self.location}: table {lacking.name} has no row {of[:12]}, of which a run is"
            )
        return network, recipe

    def _read(
        self,
        query: "sa.Select[Any]",
        only: Set[str] | None = None,
        *,
        predictions: bool = True,
    ) -> Iterator[Run]:
        for table in (PREDICTIONS, DIVERGENCES) if predictions else (DIVERGENCES,):
            if self._has(table):
                query = joined_with(query, table)
                self._check_runs_of(table)
        with self.guard(), self.engine.connect() as connection:
            for row in connection.execute(query).mappings():
                if only is None or row[RUNS.c.checksum] in only:
                    yield self._run(dict(row))

    def _check_runs_of(self, table: sa.Table) -> None:
        """Raise StoreError if a row beside is of no run: then a run has lost its own."""
        lost = sa.select(table.c.run).where(table.c.run.not_in(sa.select(RUNS.c.checksum)))
        with self.guard(), self.engine.connect() as connection:
            if (run := connection.execute(lost.limit(1)).scalar()) is not None:
                where = f"{self.location}: table {table.name}, row {run[:12]}"
                raise damaged(f"{where} is of no run")

    def _run(self, row: dict[str, Any]) -> Run:
        where = f"{self.location}: table {RUNS.name}, row {row.pop('id')}"
        beside = [taken_apart(row, table, where) for table in (PREDICTIONS, DIVERGENCES)]
        if (stored_as := row.pop("checksum")) != checksum(row):
            raise damaged(f"{where}: it does not match its checksum")
        return replace(run_of(row | beside[0] | beside[1], where), row=stored_as)

    def _open(self, *, read_only: bool) -> bool:
        """Make what is missing; say whether there is a ledger, which a reader does not make."""
        tables = check_schema(self.engine, self.location)
        optunas = any(name.startswith("studies") for name in tables)
        if tables and META.name not in tables and not optunas:
            raise StoreError(
                f"{self.location} is a database, but not one of runs: it has no table {META.name}"
            )
        schema = self._schema() if META.name in tables else None
        if schema is None and read_only:
            return False
        if schema is None:  # not there, or left half made by an earlier version
            with self.writing() as connection:
                METADATA.create_all(connection)
                insert_missing(connection, META, "key", {"key": "schema", "value": SCHEMA})
            schema = self._schema()
        if schema != SCHEMA:
            raise StoreError(
                f"{self.location} is a database of schema {schema}, but this version reads {SCHEMA}"
            )
        return True

    def _schema(self) -> str | None:
        with self.engine.connect() as connection:
            return connection.execute(
                sa.select(META.c.value).where(META.c.key == "schema")
            ).scalar()

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Write in one transaction, tables and rows; other commands wait. A file that is only read
        stays as it is.
        """
        with self.guard(), to_write(self.engine, self.location) as connection, connection.begin():
            self._written = True
            yield connection

    def guard(self) -> AbstractContextManager[None]:
        """Turn what a database raises into a StoreError that names the file."""
        return storing(self.location)


def _stored_as(run: Run) -> tuple[dict[str, Any], _Beside]:
    row = run_row(run)
    return row, rows_beside(run, row["checksum"])


def _has_final(connection: sa.Connection, row: dict[str, Any]) -> bool:
    same = (RUNS.c[name] == row[name] for name in (*KEY, "epoch_from"))
    final = sa.select(RUNS.c.id).where(RUNS.c.state.in_(FINAL_STATES), *same)
    return connection.execute(final).first() is not None
