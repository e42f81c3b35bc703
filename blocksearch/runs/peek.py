"""Looks into a database and writes nothing, because opening a study made elsewhere as a ledger
would add the ledger's tables to it.
"""

from dataclasses import dataclass

import sqlalchemy as sa

from blocksearch.runs.engine import open_engine, storing
from blocksearch.runs.location import Location
from blocksearch.runs.schema import check_schema


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Which tables a database has, and the names of the studies in Optuna's, oldest first.

    `copies` are those of them with a trial that was copied from ours, which has a fingerprint.
    """

    tables: frozenset[str]
    optuna: tuple[str, ...]
    copies: frozenset[str] = frozenset()


def contents(location: str) -> Contents:
    """Look at what a database has.

    Raises StoreError if it is no database, MissingError if it is not there.
    """
    found = Location(location)
    engine = open_engine(found, read_only=True)
    try:
        with storing(found):
            tables = check_schema(engine, found)
            if not tables >= {"studies", "study_directions"}:
                return Contents(tables=tables, optuna=())
            studies = sa.table("studies", sa.column("study_id"), sa.column("study_name"))
            trials = sa.table("trials", sa.column("study_id"), sa.column("trial_id"))
            told = sa.table("trial_user_attributes", sa.column("trial_id"), sa.column("key"))
            with engine.connect() as connection:
                rows = connection.execute(
                    sa.select(studies.c.study_id, studies.c.study_name).order_by(studies.c.study_id)
                ).all()
                copied = set[object]()
                if tables >= {trials.name, told.name}:
                    ours = sa.select(trials.c.study_id).where(told.c.key == "fingerprint")
                    ours = ours.where(trials.c.trial_id == told.c.trial_id).distinct()
                    copied = set(connection.execute(ours).scalars())
            names = tuple(str(name) for _, name in rows)
            return Contents(
                tables=tables,
                optuna=names,
                copies=frozenset(str(n) for own, n in rows if own in copied),
            )
    finally:
        engine.dispose()
