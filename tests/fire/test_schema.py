"""A stranger's schema: what would run when a table is read or written is refused before that."""

import sqlite3
import time
from contextlib import closing

import pytest
import sqlalchemy as sa

from blocksearch.errors import StoreError
from blocksearch.runs import location
from blocksearch.runs.engine import open_engine, storing
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.location import Location
from blocksearch.runs.merge import merge_ledgers
from blocksearch.search.summary import summarise
from tests.fire.test_names import whole as whole

ENDLESS = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n FROM r"
TABLES = ("ledger_runs", "ledger_meta", "ledger_networks", "search_steps", "trials", "studies")
SCHEMAS = [
    "CREATE TRIGGER t BEFORE INSERT ON ledger_runs BEGIN SELECT RAISE(IGNORE); END",
    "CREATE TRIGGER t AFTER INSERT ON ledger_runs BEGIN DELETE FROM ledger_runs; END",
    "CREATE TRIGGER t AFTER UPDATE ON trials BEGIN DELETE FROM trials; END",
    f"CREATE TRIGGER t BEFORE INSERT ON ledger_meta BEGIN {ENDLESS}; END",
    f"CREATE VIEW looks_harmless AS {ENDLESS}",
    *(f"DROP TABLE {each}; CREATE VIEW {each} AS {ENDLESS}" for each in TABLES),
    "DROP INDEX ledger_runs_once",
    "CREATE UNIQUE INDEX other ON ledger_runs (checksum)",
    "CREATE INDEX other ON ledger_reports (abs(id))",
    "ALTER TABLE ledger_runs ADD COLUMN extra TEXT",
    "ALTER TABLE search_steps ADD COLUMN extra TEXT DEFAULT 'x'",
    "ALTER TABLE ledger_images RENAME COLUMN origin TO source",
    "DROP TABLE ledger_recipes; CREATE TABLE ledger_recipes (digest TEXT, text TEXT)",
    "DROP TABLE ledger_networks; CREATE TABLE ledger_networks (fingerprint VARCHAR(64) NOT NULL, "
    "text TEXT NOT NULL, layers TEXT NOT NULL, PRIMARY KEY (fingerprint) ON CONFLICT IGNORE)",
    "DROP TABLE search_studies; CREATE VIRTUAL TABLE search_studies USING fts5(name)",
]


@pytest.mark.parametrize("statements", SCHEMAS)
def test_another_schema_is_refused_in_one_line(whole, tmp_path, statements):
    file = tmp_path / "x.db"
    file.write_bytes(whole)
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(statements)
    Ledger(tmp_path / "a.db").close()
    before, start = file.read_bytes(), time.monotonic()
    for act in (summarise, Ledger, lambda file: merge_ledgers(str(tmp_path / "a.db"), file)):
        with pytest.raises(StoreError) as caught:
            act(str(file))
        assert str(file) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert time.monotonic() - start < 20
    assert file.read_bytes() == before


def test_plain_tables_of_others_stay(whole, tmp_path):
    file = tmp_path / "x.db"
    file.write_bytes(whole)
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript("CREATE TABLE notes (text TEXT); CREATE INDEX n ON notes (text)")
    summarise(str(file))
    Ledger(file).close()
    with closing(sqlite3.connect(file)) as connection:
        kept = connection.execute("SELECT name FROM sqlite_master WHERE name IN ('notes', 'n')")
        assert len(kept.fetchall()) == 2


def test_an_endless_statement_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(location, "_STEPS", 20)
    where = Location(tmp_path / "x.db")
    engine = open_engine(where, create=True)
    asked = sa.text(f"SELECT count(*) FROM ({ENDLESS})")
    with pytest.raises(StoreError, match="interrupted"), storing(where), engine.connect() as open_:
        open_.execute(asked)
    with engine.connect() as connection:  # and the next one has its own time
        assert connection.execute(sa.text("SELECT 1")).scalar() == 1
    engine.dispose()
