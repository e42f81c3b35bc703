"""What a stranger may write into a file: values of another shape, with checksums that are right."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from blocksearch.runs.rows import checksum

DEEP = "[" * 100_000
HUGE = 10**400
UNSUMMED = ("id", "checksum")  # of runs; their other columns are in the checksum


def edit(file: Path, table: str, column: str, value: object, where: str = "1") -> None:
    """Set a column of a row, and make its checksum anew."""
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.row_factory = sqlite3.Row
        asked = f'SELECT rowid AS place, * FROM "{table}" WHERE {where} LIMIT 1'
        found = dict(connection.execute(asked).fetchone())
        place = found.pop("place")
        found[column] = value
        connection.execute(f'UPDATE "{table}" SET "{column}" = ? WHERE rowid = ?', (value, place))
        if table == "ledger_runs":
            found.pop("id")
        if "checksum" in found:
            found.pop("checksum")
            own = (checksum(found), place)
            connection.execute(f'UPDATE "{table}" SET checksum = ? WHERE rowid = ?', own)


def redefine(file: Path, *path: Any, value: object) -> None:
    """Change a study's definition at a place within."""
    with closing(sqlite3.connect(file)) as connection:
        (text,) = connection.execute("SELECT definition FROM search_studies").fetchone()
    definition = json.loads(text)
    inner = definition
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    edit(file, "search_studies", "definition", json.dumps(definition))
