"""A look into a database that writes nothing: opening a study made elsewhere as a ledger would add
the ledger's tables to it.
"""

from dataclasses import dataclass

import sqlalchemy as sa

from blocksearch.runs.engine import open_engine, storing
from blocksearch.runs.location import Location
from blocksearch.runs.schema import check_schema


@dataclass(frozen=True)
class Contents:
    """Which tables a database has, and the names of the studies in Optuna's, oldest first."""

    tables: frozenset[str]
    optuna: tuple[str, ...]


def contents(location: str) -> Contents:
    """Look at what a database has.

    Raises StoreError where it is no database, MissingError where it is not there.
    """
    found = Location(location)
    engine = open_engine(found, read_only=True)
    try:
        with storing(found):
            tables = check_schema(engine, found)
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
