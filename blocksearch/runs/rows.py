"""Defines the tables of trainings and each row's checksum, and turns rows into records and back."""

import hashlib
import json
import math
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, TypeAlias

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from blocksearch.data.splits import SplitSummary
from blocksearch.errors import StoreError
from blocksearch.runs.fields import SEED, Fields, damaged
from blocksearch.runs.records import FINAL, Run, RunKey, RunState
from blocksearch.training.outcome import Divergence

METADATA = sa.MetaData()
META = sa.Table(
    "ledger_meta",
    METADATA,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("value", sa.String(64)),
)
NETWORKS = sa.Table(
    "ledger_networks",
    METADATA,
    sa.Column("fingerprint", sa.String(64), primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("layers", sa.Text, nullable=False),
)
RECIPES = sa.Table(
    "ledger_recipes",
    METADATA,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
)
FINAL_STATES = tuple(state.value for state in FINAL)
RUNS = sa.Table(
    "ledger_runs",
    METADATA,
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
KEY = ("network", "dataset", "data", "protocol", "recipe", "seed")
sa.Index(
    "ledger_runs_once",
    *(RUNS.c[name] for name in (*KEY, "epoch_from")),
    unique=True,
    sqlite_where=RUNS.c.state.in_(FINAL_STATES),
    postgresql_where=RUNS.c.state.in_(FINAL_STATES),
)
PREDICTIONS = sa.Table(
    "ledger_predictions",
    METADATA,
    sa.Column("run", sa.String(64), primary_key=True),  # the checksum of the run's row
    sa.Column("classes", sa.LargeBinary, nullable=False),
    sa.Column("checksum", sa.String(64), nullable=False),
)
DIVERGENCES = sa.Table(  # apart, because databases of before have runs without it
    "ledger_divergences",
    METADATA,
    sa.Column("run", sa.String(64), primary_key=True),  # the checksum of the run's row
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("loss", sa.String(8), nullable=False),  # no database has a number for it
    sa.Column("checksum", sa.String(64), nullable=False),
)
IMAGES = sa.Table(
    "ledger_images",
    METADATA,
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
CLASSES = sa.Table(  # apart, because databases of before have images without it
    "ledger_classes",
    METADATA,
    sa.Column("data", sa.String(64), primary_key=True),
    sa.Column("dataset", sa.String(64), primary_key=True),
    sa.Column("names", sa.Text, nullable=False),
    sa.Column("checksum", sa.String(64), nullable=False),
)
REPORTS = sa.Table(
    "ledger_reports",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("created", sa.String(32), nullable=False),
    sa.Column("content", sa.Text, nullable=False),
)
# of rows whose table has none; rows of before are without
CHECKSUMS = sa.Table(
    "ledger_checksums",
    METADATA,
    sa.Column("of", sa.String(64), primary_key=True),  # the table
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("checksum", sa.String(64), nullable=False),
)
_NO_NUMBERS = tuple(map(str, (math.nan, math.inf, -math.inf)))  # what a loss may become
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")  # of a seed
MOST_IMAGES = 10**8  # of one evaluation: more would be no data set that a row is of


def run_row(run: Run) -> dict[str, Any]:
    if not all(map(math.isfinite, (*run.accuracies, *run.losses, run.seconds))):
        raise StoreError(
            f"a run's numbers must be finite, but seed {run.key.seed} has {run.accuracies} and "
            f"{run.losses}"
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


def checksum(row: Mapping[str, Any]) -> str:
    """Digest a row as it is stored."""
    plain = {key: value.hex() if isinstance(value, bytes) else value for key, value in row.items()}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def rows_beside(run: Run, row: str) -> list[tuple[sa.Table, dict[str, Any]]]:
    """Return what is stored of a run in tables beside, where its own row has the checksum `row`."""
    found: list[tuple[sa.Table, dict[str, Any]]] = []
    if run.predictions is not None and len(run.predictions):
        found.append((PREDICTIONS, {"run": row, "classes": packed(run.predictions)}))
    if (own := run.divergence) is not None:
        where = {"epoch": own.epoch, "step": own.step, "loss": str(own.value)}
        found.append((DIVERGENCES, {"run": row} | where))
    return [(table, own | {"checksum": checksum(own)}) for table, own in found]


def joined_with(query: "sa.Select[Any]", table: sa.Table) -> "sa.Select[Any]":
    """Join a query of runs with what a table beside has of them."""
    own = [column.label(f"{table.name} {column.name}") for column in table.c]
    return query.add_columns(*own).outerjoin(table, table.c.run == RUNS.c.checksum)


def taken_apart(row: dict[str, Any], table: sa.Table, where: str) -> dict[str, Any]:
    """Take out of a run's row what a table beside has of it; nothing if it has none."""
    own = {column.name: row.pop(f"{table.name} {column.name}", None) for column in table.c}
    if own["run"] is None:
        return {}
    if own.pop("checksum") != checksum(own):
        raise damaged(f"{where}: its row in {table.name} does not match its checksum")
    return own


def image_rows(
    images: SplitSummary, known: Iterable[SplitSummary] = ()
) -> list[tuple[sa.Table, dict[str, Any]]]:
    """Return the rows of evaluated images, and of the names of their classes if they have any, but
    for what is known.
    """
    of_data = [own for own in known if own.digest == images.digest]
    there = any(own.split == images.split for own in of_data)
    named = any(own.dataset == images.dataset and own.classes for own in of_data)
    groups = None if images.groups is None else packed(images.groups.astype(np.int32))
    plain = ("dataset", "split", "origin", "training", "available")
    row = {name: getattr(images, name) for name in plain}
    row |= {"data": images.digest, "labels": packed(images.labels.astype(np.uint16))}
    found = [] if there else [(IMAGES, row | {"groups": groups})]
    if images.classes and not named:
        names = json.dumps(images.classes)
        found.append((CLASSES, {"data": images.digest, "dataset": images.dataset, "names": names}))
    return [(table, own | {"checksum": checksum(own)}) for table, own in found]


def packed(values: NDArray[np.integer[Any]]) -> bytes:
    return zlib.compress(values.astype(values.dtype.newbyteorder("<")).tobytes(), 9)


Rows: TypeAlias = list[tuple[dict[str, Any], str]]  # each with what errors call it


def images_of(rows: Rows, classes: Rows) -> list[SplitSummary]:
    """Read what images are from their rows and those of classes. Raises StoreError for a row that
    is damaged or of another shape.
    """
    names = {}
    for row, where in classes:
        _verify(row, where, "names of classes")
        fields = Fields(row, where).json("names")
        names[fields.text("data"), fields.text("dataset")] = tuple(fields.texts("names"))
    return [_images_of(row, where, names) for row, where in rows]


def _images_of(
    row: dict[str, Any], where: str, names: Mapping[tuple[str, str], tuple[str, ...]]
) -> SplitSummary:
    _verify(row, where, "labels")
    fields = Fields(row, where)
    labels = fields.packed("labels", np.uint16, MOST_IMAGES)
    groups = fields.packed("groups", np.int32, len(labels)) if fields.has("groups") else None
    if groups is not None and len(groups) != len(labels):
        raise fields.error("groups", f"one for each of {len(labels)} images")
    data, dataset = fields.text("data"), fields.text("dataset")
    return SplitSummary(
        dataset=dataset,
        digest=data,
        split=fields.text("split"),
        origin=fields.text("origin"),
        training=fields.whole("training"),
        available=fields.whole("available"),
        labels=labels.astype(np.int64),
        groups=groups,
        classes=names.get((data, dataset), ()),
    )


def _verify(row: dict[str, Any], where: str, what: str) -> None:
    if row.pop("checksum") != checksum(row):
        raise damaged(f"{where}: the {what} do not match their checksum")


def run_of(row: Mapping[str, Any], where: str) -> Run:
    """Read a run from its row, in which its predicted `classes` and what is known of where it
    diverged are, too. Raises StoreError for a row of another shape.
    """
    fields = Fields(row, where).json("accuracies", "losses", "provenance")
    texts = {name: fields.text(name) for name in KEY if name != "seed"}
    images, right, state = (
        fields.whole("images", high=MOST_IMAGES),
        fields.blob("right"),
        fields.choice("state", RunState),
    )
    first = fields.whole("epoch_from")
    last = fields.whole("epoch_to", low=first)
    accuracies, losses = fields.numbers("accuracies", 0, 100), fields.numbers("losses")
    if max(len(accuracies), len(losses)) > last - first:
        raise fields.error("accuracies", f"at most one for each of {last - first} epochs")
    if state is RunState.COMPLETE and not accuracies:
        raise fields.error("accuracies", "one or more, because the run is complete")
    if len(right) != (images + 7) // 8:
        raise fields.error("right", f"one bit for each of {images} images")
    predictions = fields.packed("classes", np.uint16, images) if fields.has("classes") else None
    if predictions is not None and len(predictions) != images:
        raise fields.error("classes", f"one for each of {images} images")
    return Run(
        key=RunKey(**texts, seed=fields.whole("seed", high=SEED)),
        epoch_from=first,
        epoch_to=last,
        state=state,
        reason=fields.text("reason"),
        divergence=_divergence(fields, state, last),
        accuracies=accuracies,
        losses=losses,
        right=np.unpackbits(np.frombuffer(right, np.uint8), count=images).astype(bool),
        predictions=predictions,
        seconds=fields.number("seconds", 0),
        provenance=_provenance(fields),
    )


def _divergence(fields: Fields, state: RunState, epochs: int) -> Divergence | None:
    """Read where a run diverged, in the epoch after the last one that it kept; runs of before have
    a sentence alone.
    """
    if not fields.has("loss"):
        return None
    if state is not RunState.DIVERGED:
        raise fields.error("state", f"{RunState.DIVERGED}, because a loss became no number")
    if (loss := fields.text("loss")) not in _NO_NUMBERS:
        raise fields.error("loss", f"one of {_NO_NUMBERS}")
    if (epoch := fields.whole("epoch")) != epochs + 1:
        raise fields.error("epoch", f"{epochs + 1}, the one after the last that counts")
    return Divergence(epoch, fields.whole("step", 1), float(loss))


def _provenance(fields: Fields) -> dict[str, str]:
    """Read how a run was made, and check it against the seeds that shared its module."""
    found = fields.named_texts("provenance")
    seeds, mode = found.get("seeds"), found.get("mode", "serial")
    if seeds is not None:
        listed = seeds.split(",")
        own = str(fields.row["seed"]) in listed and len(set(listed)) == len(listed)
        if not own or not all(map(_NUMBER.fullmatch, listed)):
            raise fields.error("provenance", "with the run's own seed among its seeds, each once")
    elif not re.fullmatch(r"serial|[0-9]{1,9} seeds fused", mode):
        raise fields.error("provenance", "with a mode such as serial or 3 seeds fused")
    return found
