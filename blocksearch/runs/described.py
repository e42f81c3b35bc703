"""Stores the networks and recipes of runs, and the answers computed from them, as rows that are
verified when they are read.

Layers and recipes have their own digest for a key. Answers and the texts of networks have a
checksum in a table beside; rows of before have none, and of those a network's text must give its
layers.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from blocksearch.arch.layers import Layers, decode
from blocksearch.arch.notation import parse
from blocksearch.errors import BlocksearchError, StoreError
from blocksearch.runs.fields import Fields, damaged
from blocksearch.runs.rows import CHECKSUMS, NETWORKS, RECIPES, REPORTS, checksum
from blocksearch.training.recipe import Recipe


def network_row(
    connection: sa.Connection, fingerprint: str, location: str
) -> dict[str, str] | None:
    """Return a network's row, None if there is none. Raises StoreError if it is damaged."""
    row = _row(connection, NETWORKS, NETWORKS.c.fingerprint, fingerprint)
    if row is None:
        return None
    where = _place(location, NETWORKS, fingerprint)
    if _digest(row["layers"]) != fingerprint:
        raise damaged(f"{where}: the layers do not match their fingerprint")
    known = checksums(connection, NETWORKS, fingerprint).get(fingerprint)
    if known is None and not _is_text_of(row):
        raise damaged(f"{where}: the text is not that of its layers")
    if known is not None and known != checksum(row):
        raise damaged(f"{where}: it does not match its checksum")
    return row


def recipe_row(connection: sa.Connection, digest: str, location: str) -> dict[str, str] | None:
    """Return a recipe's row, None if there is none. Raises StoreError if it is damaged."""
    row = _row(connection, RECIPES, RECIPES.c.digest, digest)
    if row is not None and _digest(row["text"]) != digest:
        where = _place(location, RECIPES, digest)
        raise damaged(f"{where}: the recipe does not match its digest")
    return row


def report_rows(connection: sa.Connection, location: str) -> list[dict[str, Any]]:
    """Return the saved answers, oldest first. Raises StoreError if one is damaged."""
    rows = connection.execute(sa.select(REPORTS).order_by(REPORTS.c.id)).mappings()
    found, known = [dict(row) for row in rows], checksums(connection, REPORTS)
    for row in found:
        where = _place(location, REPORTS, row["id"])
        for name in ("kind", "title", "created", "content"):
            Fields(row, where).text(name)
        if known.get(str(row["id"]), checksum(row)) != checksum(row):
            raise damaged(f"{where}: it does not match its checksum")
    lost = set(known) - {str(row["id"]) for row in found}
    if lost:
        raise damaged(f"{_place(location, REPORTS, min(lost))} is missing")
    return found


def layers_of(row: Mapping[str, str], location: str) -> Layers:
    """Read the layers of a network's row. Raises StoreError if another version wrote others."""
    try:
        return decode(row["layers"])
    except Exception as error:  # a stranger's layers make their classes raise whatever they may
        where = _place(location, NETWORKS, row["fingerprint"])
        raise StoreError(f"{where}: the layers cannot be read: {error}") from error


def recipe_of(row: Mapping[str, str], location: str) -> Recipe:
    """Read the recipe of a row. Raises StoreError if it is none, or a user's piece of it is not
    known or not what it was.
    """
    try:
        return Recipe.from_text(row["text"])
    except Exception as error:  # a stranger's values make the class raise whatever they may
        where = _place(location, RECIPES, row["digest"])
        raise StoreError(f"{where}: the recipe cannot be read: {error}") from error


def insert_missing(
    connection: sa.Connection, table: sa.Table, key: str, row: Mapping[str, Any]
) -> None:
    """Store a row unless its key is there."""
    if _row(connection, table, table.c[key], row[key]) is None:
        stored(connection, table.insert().values(**row))
        if table is NETWORKS:
            seal(connection, table, row[key], row)


def seal_last(connection: sa.Connection, table: sa.Table, key: str, row: Mapping[str, Any]) -> None:
    """Store which row of a table is the last one of a key, so that its loss is noticed.

    `row` has a checksum of its own.
    """
    CHECKSUMS.create(connection, checkfirst=True)
    same = CHECKSUMS.c.of == table.name, CHECKSUMS.c.key == key
    connection.execute(CHECKSUMS.delete().where(*same))
    own = {"of": table.name, "key": key, "checksum": row["checksum"]}
    stored(connection, CHECKSUMS.insert().values(**own))


def seal(connection: sa.Connection, table: sa.Table, key: object, row: Mapping[str, Any]) -> None:
    """Store the checksum of a row whose own table has none."""
    CHECKSUMS.create(connection, checkfirst=True)
    own = {"of": table.name, "key": str(key), "checksum": checksum(row)}
    stored(connection, CHECKSUMS.insert().values(**own))


def stored(connection: sa.Connection, statement: sa.Insert) -> None:
    """Insert a row. Raises StoreError if the database reports success and the row is missing."""
    if connection.execute(statement).rowcount == 0:
        raise StoreError(f"a row of table {statement.table.name} was not stored")


def checksums(connection: sa.Connection, table: sa.Table, key: str | None = None) -> dict[str, str]:
    """Return the checksums of a table's rows, or of one, by their keys, as far as they have any."""
    if not sa.inspect(connection).has_table(CHECKSUMS.name):
        return {}
    own = sa.select(CHECKSUMS.c.key, CHECKSUMS.c.checksum).where(CHECKSUMS.c.of == table.name)
    if key is not None:
        own = own.where(CHECKSUMS.c.key == key)
    return {each.key: each.checksum for each in connection.execute(own)}


def _row(
    connection: sa.Connection, table: sa.Table, key: "sa.Column[Any]", value: str
) -> dict[str, Any] | None:
    rows: Sequence[Any] = connection.execute(sa.select(table).where(key == value)).mappings().all()
    return dict(rows[0]) if rows else None


def _place(location: str, table: sa.Table, key: object) -> str:
    return f"{location}: table {table.name}, row {str(key)[:12]}"


def _digest(text: object) -> str:
    return hashlib.sha256(text.encode()).hexdigest() if isinstance(text, str) else ""


def _is_text_of(row: Mapping[str, str]) -> bool:
    """Whether a text gives the layers beside it; one with a user's ops cannot be read here."""
    try:
        return parse(row["text"]).digest == row["fingerprint"]
    except BlocksearchError:
        return '"":"Custom"' in row["layers"]
