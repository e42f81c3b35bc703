"""Checks that an SQLite file has our tables exactly as we make them, and plain ones of others.

Triggers and views are statements that run when tables are written or read. So a file that has one
is refused, and so is a table or an index of ours that is otherwise than we would make it.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from blocksearch.errors import StoreError
from blocksearch.runs.fields import damaged
from blocksearch.runs.location import Location
from blocksearch.runs.rows import META

_KNOWN: dict[str, set[str]] = {}  # statements by the names of tables and indexes
_INDEXES: dict[str, set[str]] = {}  # names of a table's indexes


def register(metadata: sa.MetaData, earlier: dict[str, str] | None = None) -> None:
    """Register tables as this version makes them, and as an earlier one did, given by the pieces of
    a statement that changed.
    """
    for table in metadata.tables.values():
        made = _plain(str(CreateTable(table).compile(dialect=sqlite.dialect())))
        forms = {made}
        for now, before in (earlier or {}).items():
            forms |= {form.replace(_plain(now), _plain(before)) for form in forms}
        _KNOWN.setdefault(table.name, set()).update(forms)
        for index in table.indexes:
            statement = str(CreateIndex(index).compile(dialect=sqlite.dialect()))
            _KNOWN.setdefault(str(index.name), set()).add(_plain(statement))
            _INDEXES.setdefault(table.name, set()).add(str(index.name))


def check_schema(engine: sa.Engine, location: Location) -> frozenset[str]:
    """Return the names of a database's tables. Raises StoreError for what is not trusted."""
    if engine.dialect.name != "sqlite":
        tables = frozenset(sa.inspect(engine).get_table_names())
    else:
        tables = _checked_tables(engine, location)
    _check_meta(engine, location, tables)
    return tables


def _check_meta(engine: sa.Engine, location: Location, tables: frozenset[str]) -> None:
    """Raise StoreError if rows of ours are there, and what says of which schema they are is not:
    the database would be taken for an empty one.
    """
    with engine.connect() as connection:
        if META.name in tables:
            schema = sa.select(META.c.value).where(META.c.key == "schema")
            if connection.execute(schema).scalar() is not None:
                return
        for name in sorted(tables & set(_KNOWN)):
            if connection.execute(sa.select(sa.text("1")).select_from(sa.table(name))).first():
                raise damaged(
                    f"{location}: table {name} has rows, but table {META.name} has no row schema "
                    "that says of which version they are"
                )


def _checked_tables(engine: sa.Engine, location: Location) -> frozenset[str]:
    with engine.connect() as connection:
        asked = "SELECT type, name, tbl_name, sql FROM sqlite_master"
        rows = list(map(tuple, connection.exec_driver_sql(asked)))
    rows = [(kind, _folded(name), _folded(of), statement) for kind, name, of, statement in rows]
    for kind, name, _, statement in rows:
        if kind not in ("table", "index") or _plain(statement or "").startswith("createvirtual"):
            raise StoreError(
                f"{location} has a {kind} {name!r}, which no part of this program makes"
            )
    tables = {name for kind, name, _, _ in rows if kind == "table"}
    for kind, name, table, statement in rows:
        ours = table in _KNOWN and statement is not None
        if ours and _plain(statement) not in _KNOWN.get(name, ()):
            raise StoreError(f"{location}: {kind} {name!r} is not as this program makes it")
    there = {name for kind, name, _, _ in rows if kind == "index"}
    for table in tables & set(_INDEXES):
        for missing in _INDEXES[table] - there:
            raise StoreError(f"{location}: table {table} has no index {missing}")
    return frozenset(tables)


def _folded(name: str) -> str:
    """Return a name as SQLite compares it, which takes capitals of ASCII for small letters."""
    return "".join(each.lower() if each.isascii() else each for each in name)


def _plain(statement: str) -> str:
    """Return a statement without what may be written one way or another; values in it stay."""
    parts = statement.split("'")
    parts[::2] = [_folded("".join(part.split()).replace('"', "")) for part in parts[::2]]
    return "'".join(parts)
