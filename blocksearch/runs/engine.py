"""Opens a database with transactions that cover changes of tables, too, and with SQLite's
write-ahead log, so that others can read meanwhile. Each failure is one typed line.
"""

import sqlite3
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    IntegrityError,
    OperationalError,
    SQLAlchemyError,
)

from blocksearch.errors import ConfigError, MissingError, StoreError
from blocksearch.files import check_folder
from blocksearch.runs.location import BESIDE, PATIENCE, Location, check_file, check_one_name
from blocksearch.runs.shipped import meant

_PAUSE = 0.02  # seconds between two tries of what does not wait by itself
_BEGIN = "begins_with"
_OPENED = "opened_file"  # option of an engine: the path and the identity of the file it is at


class RowIsThereError(StoreError):
    """A row whose key another command stored meanwhile."""


@contextmanager
def storing(location: Location) -> Iterator[None]:
    """Turn what a database, its driver or its file system raises into a StoreError of one line that
    names it.
    """
    try:
        yield
    except IntegrityError as error:
        raise RowIsThereError(f"{location}: {location.scrubbed(error.orig)}") from error
    except (ArgumentError, ImportError) as error:
        raise StoreError(
            f"{location} is not a database URL that can be used here: {location.scrubbed(error)}"
        ) from error
    except (SQLAlchemyError, sqlite3.Error) as error:
        said = location.scrubbed(getattr(error, "orig", None) or error)
        raise StoreError(f"{location}: {said}") from error
    except UnicodeDecodeError as error:  # of what SQLite says, where it names what is damaged
        raise StoreError(f"{location} is damaged: it names a table in no UTF-8") from error
    except OSError as error:
        raise StoreError(f"{error.filename or location}: {error.strerror or error}") from error


def open_engine(location: Location, *, create: bool = False, read_only: bool = False) -> sa.Engine:
    """Open a database; nothing is written. Raises StoreError if there is, or can be, none, and
    MissingError if it may only be read and is not there.
    """
    if location.file is not None:
        if create and not location.file.exists():
            try:
                check_folder(location.file, "a database")
                location.file.parent.mkdir(exist_ok=True)
            except ConfigError as error:
                raise StoreError(error) from error
            except OSError as error:
                raise StoreError(
                    f"{location.file.parent} cannot be made: {error.strerror}"
                ) from error
        elif not location.file.exists() and not location.file.is_symlink():
            raise MissingError(f"{location} is not there{meant(location.file)}")
        check_file(location.file)
        if not create and not read_only and _is_empty(location.file):
            raise StoreError(f"{location} is empty")
        if create:
            check_one_name(location.file)
            if _is_empty(location.file):
                warnings.warn(f"{location} is empty: it is taken for a new database", stacklevel=3)
    with storing(location):
        engine = sa.create_engine(
            location.secret_url or "sqlite://", **options(location, read_only=read_only)
        )
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _configure)
        sa.event.listen(engine, "begin", _begin)
        if location.file is not None:
            sa.event.listen(engine, "connect", partial(_remember, engine, location.file.absolute()))
    return engine


def _is_empty(file: Path) -> bool:
    """Whether a file is there and has nothing in it, and no other command is just making it."""
    for _ in range(10):
        beside = (file.with_name(file.name + ending) for ending in BESIDE)
        if not file.exists() or file.stat().st_size or any(each.exists() for each in beside):
            return False
        time.sleep(_PAUSE)
    return True


def options(location: Location, *, read_only: bool = False) -> dict[str, Any]:
    """Return how SQLAlchemy opens a database that is no server's, whoever calls it."""
    if location.is_server:
        return {}
    pool = sa.pool.StaticPool if location.file is None else sa.pool.QueuePool
    return {"creator": lambda: location.connect(read_only=read_only), "poolclass": pool}


def to_write(engine: sa.Engine, location: Location) -> sa.Connection:
    """Connect for a transaction that no other one interrupts; a file gets its write-ahead log only
    now.
    """
    if _is_lost(engine):
        raise StoreError(
            f"{location} was removed or replaced while it was written: what was trained since is "
            "not kept"
        )
    if location.file is not None:
        check_one_name(location.file)
    if engine.dialect.name == "sqlite":
        _journal(engine, "WAL", PATIENCE)
    return engine.connect().execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})


def put_away(engine: sa.Engine) -> None:
    """Close, and move SQLite's log into the one file, so that it can be read in a folder that is
    not writable.

    Where others use it they will do so.
    """
    engine.dispose()
    if engine.dialect.name == "sqlite" and not _is_lost(engine):
        with suppress(DatabaseError):
            _journal(engine, "DELETE", 0)
        engine.dispose()


def _remember(engine: sa.Engine, file: Path, *_: Any) -> None:
    """Keep which file the first connection of an engine has opened."""
    if _OPENED not in engine.get_execution_options():
        engine.update_execution_options(**{_OPENED: (file, _identity(file))})


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_lost(engine: sa.Engine) -> bool:
    """Whether another file, or none, is now where an engine opened one: what is written into that
    is seen by nobody.
    """
    file, opened = engine.get_execution_options().get(_OPENED, (None, None))
    return file is not None and _identity(file) != opened


def _configure(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # see _begin
    # FULL, with the write-ahead log that lets readers work beside the one writer, makes an
    # acknowledged run survive a power cut
    try:
        for pragma in ("synchronous=FULL", "trusted_schema=OFF"):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:  # SQLAlchemy does not close what it could not hand out
        connection.close()
        raise


def _begin(connection: sa.Connection) -> None:
    # by itself the driver begins a transaction only before it changes rows, so changes of tables
    # and earlier reads would be no part of it
    begin = connection.get_execution_options().get(_BEGIN, "BEGIN")
    if begin:
        connection.exec_driver_sql(begin)


def _journal(engine: sa.Engine, mode: str, patience: int) -> None:
    """Change the journal mode of a file, outside of transactions; wait `patience` seconds."""
    deadline = time.monotonic() + patience
    with engine.connect().execution_options(**{_BEGIN: None}) as connection:
        connection.exec_driver_sql(f"PRAGMA busy_timeout={1000 * patience}")
        while True:
            try:
                connection.exec_driver_sql(f"PRAGMA journal_mode={mode}")
                break
            except OperationalError as error:
                # if two ask at once, SQLite makes one wait and refuses the other at once
                if not _is_locked(error) or time.monotonic() >= deadline:
                    raise
                time.sleep(_PAUSE)
        connection.exec_driver_sql(f"PRAGMA busy_timeout={1000 * PATIENCE}")


def _is_locked(error: OperationalError) -> bool:
    """Whether another connection is at a file or a table of it, by SQLite's own code."""
    code = getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
