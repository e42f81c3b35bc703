"""How Optuna's tables of a database are opened, written and read; what goes wrong is one line."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage

from blocksearch.errors import StoreError
from blocksearch.runs import engine
from blocksearch.runs.location import Location


@contextmanager
def storing(location: str) -> Iterator[None]:
    """Keep Optuna quiet, and turn what its storage raises into a StoreError of one line."""
    where = Location(location)
    with engine.storing(where), quiet():
        try:
            yield
        except StorageInternalError as error:
            if error.__cause__ is None:
                raise StoreError(f"{where}: {where.scrubbed(error)}") from error
            raise error.__cause__ from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna from saying what nobody asked for, and leave its settings as they were."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(before, logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def open_storage(location: str, *, read_only: bool = False) -> RDBStorage:
    """Open Optuna's tables: a file by its name and by no URL."""
    where = Location(location)
    if where.secret_url is not None:
        url = where.secret_url.render_as_string(hide_password=False)
        return RDBStorage(url.replace("{", "{{").replace("}", "}}"), skip_table_creation=read_only)
    events = [] if read_only else [(_configure_sqlite, "connect")]
    own = {**engine.options(where, read_only=read_only), "pool_events": events}
    return RDBStorage("sqlite://", engine_kwargs=own, skip_table_creation=read_only)


def _configure_sqlite(connection: Any, _: Any) -> None:
    # the ledger's own connection makes trials survive a power cut; what this one loses then is
    # added again
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "trusted_schema=OFF"):
        connection.execute(f"PRAGMA {pragma}")
