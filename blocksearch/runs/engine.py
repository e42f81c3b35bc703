"""How a ledger's database is opened: transactions that hold tables too, and in a file a log beside
which others can read.
"""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

from blocksearch.errors import StoreError
from blocksearch.runs.location import expanded, file_url, without_password

PATIENCE = 60  # seconds to wait for another command's transaction
_PAUSE = 0.02  # seconds between two tries of what does not wait by itself
_BEGIN = "begins_with"


def open_engine(location: str | Path, create: bool, made_by: str) -> sa.Engine:
    """Open a file or URL; nothing is written. Raises StoreError where there is, or can be, no
    database.
    """
    url = str(location) if "://" in str(location) else file_url(expanded(location), create, made_by)
    waiting = {"connect_args": {"timeout": PATIENCE}} if url.startswith("sqlite") else {}
    try:
        engine = sa.create_engine(url, **waiting)
    except (ArgumentError, ImportError, ValueError) as error:
        raise StoreError(
            f"{without_password(str(location))} is not a database URL that can be used here: "
            f"{error}"
        ) from error
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _configure)
        sa.event.listen(engine, "begin", _begin)
    return engine


def to_write(engine: sa.Engine) -> sa.Connection:
    """Connect for a transaction that no other one interrupts; a file gets its write-ahead log only
    now.
    """
    if engine.dialect.name == "sqlite":
        _journal(engine, "WAL", PATIENCE)
    return engine.connect().execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})


def put_away(engine: sa.Engine) -> None:
    """Close, and bring what was written into the one file, which can then be read in a folder where
    nothing can be written.

    Where others use it they will do so.
    """
    engine.dispose()
    if engine.dialect.name == "sqlite":
        with suppress(DatabaseError):
            _journal(engine, "DELETE", 0)
        engine.dispose()


def _configure(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # see _begin
    # FULL, with the write-ahead log that lets readers work beside the one writer, makes an
    # acknowledged run survive a power cut
    for pragma in ("synchronous=FULL", "trusted_schema=OFF"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: sa.Connection) -> None:
    # the driver by itself begins before rows are changed only: tables would not be part of it, nor
    # what was looked up before
    begin = connection.get_execution_options().get(_BEGIN, "BEGIN")
    if begin:
        connection.exec_driver_sql(begin)


def _journal(engine: sa.Engine, mode: str, patience: int) -> None:
    """Change how a file is written, which can be done outside of transactions only; wait so many
    seconds for others.
    """
    deadline = time.monotonic() + patience
    with engine.connect().execution_options(**{_BEGIN: None}) as connection:
        connection.exec_driver_sql(f"PRAGMA busy_timeout={1000 * patience}")
        while True:
            try:
                connection.exec_driver_sql(f"PRAGMA journal_mode={mode}")
                break
            except (
                OperationalError
            ) as error:  # two at once: SQLite lets one of them wait, and refuses the other at once
                if "locked" not in str(error.orig) or time.monotonic() >= deadline:
                    raise
                time.sleep(_PAUSE)
        connection.exec_driver_sql(f"PRAGMA busy_timeout={1000 * PATIENCE}")
