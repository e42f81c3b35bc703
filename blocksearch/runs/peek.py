"""A look into a database that writes nothing: opening a study made elsewhere as a ledger would add
the ledger's tables to it.
"""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from blocksearch.errors import StoreError
from blocksearch.runs.location import file_of, without_password


@dataclass(frozen=True)
class Contents:
    """Which tables a database has, and the names of the studies in Optuna's, oldest first."""

    tables: frozenset[str]
    optuna: tuple[str, ...]


def contents(location: str, made_by: str) -> Contents:
    """Look at what a database has; `made_by` is the command that would make it.

    Raises StoreError where the file is not there or is no database.
    """
    file = file_of(location)
    if file is not None and not file.exists():
        raise StoreError(
            f"{location} is not there; `blocksearch {made_by} {shlex.quote(location)}` would make "
            "it"
        )
    if file is not None and file.is_dir():
        raise StoreError(f"{location} is a folder, not a study file")
    with reading(location):
        engine = sa.create_engine(reading_url(location))
        try:
            tables = frozenset(sa.inspect(engine).get_table_names())
            if not tables >= {"studies", "study_directions"}:
                return Contents(tables, ())
            studies = sa.table("studies", sa.column("study_id"), sa.column("study_name"))
            with engine.connect() as connection:
                names = connection.execute(
                    sa.select(studies.c.study_name).order_by(studies.c.study_id)
                ).scalars()
                return Contents(tables, tuple(map(str, names)))
        finally:
            engine.dispose()


def reading_url(location: str) -> str:
    """Return the URL at which a database can only be read, where it is a file; else its own."""
    file = file_of(location)
    return (
        location
        if file is None
        else f"sqlite:///file:{quote(str(file.absolute()))}?mode=ro&uri=true"
    )


@contextmanager
def reading(location: str) -> Iterator[None]:
    """Turn what a database raises into a StoreError of one line that names it."""
    try:
        yield
    except (ArgumentError, ImportError, ValueError) as error:
        raise StoreError(
            f"{without_password(location)} is not a database URL that can be used here: {error}"
        ) from error
    except SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise StoreError(
            f"{without_password(location)} cannot be read as a database: {said}"
        ) from error
