"""What is stored of trainings: the tables, each row's checksum, and rows as records and back."""

import hashlib
import json
import math
import zlib
from dataclasses import asdict
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from blocksearch.errors import StoreError
from blocksearch.runs.records import FINAL, EvaluatedImages, Run, RunKey, RunState

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
REPORTS = sa.Table(
    "ledger_reports",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("created", sa.String(32), nullable=False),
    sa.Column("content", sa.Text, nullable=False),
)


def run_row(run: Run) -> dict[str, Any]:
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


def packed_classes(run: Run) -> bytes | None:
    return None if run.predictions is None or not len(run.predictions) else packed(run.predictions)


def image_row(images: EvaluatedImages) -> dict[str, Any]:
    groups = None if images.groups is None else packed(images.groups.astype(np.int32))
    row = {**vars(images), "labels": packed(images.labels.astype(np.uint16)), "groups": groups}
    return row | {"checksum": checksum(row)}


def packed(values: NDArray[np.integer[Any]]) -> bytes:
    return zlib.compress(values.astype(values.dtype.newbyteorder("<")).tobytes(), 9)


def unpacked(stored: bytes, kind: type[np.integer[Any]]) -> NDArray[Any]:
    return np.frombuffer(zlib.decompress(stored), np.dtype(kind).newbyteorder("<")).astype(kind)


def run_of(row: dict[str, Any], classes: bytes | None) -> Run:
    """Read a run from its row, and its predicted classes where they are stored."""
    key = RunKey(**{name: row[name] for name in KEY})
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
        predictions=None if classes is None else unpacked(classes, np.uint16),
        seconds=row["seconds"],
        provenance=json.loads(row["provenance"]),
    )
