"""A stranger's schema: what would run when a table is read or written is refused before that."""

import sqlite3
from contextlib import closing

import pytest
import sqlalchemy as sa

from blocksearch.errors import StoreError
from blocksearch.runs import location
from blocksearch.runs.engine import open_engine, storing
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.location import Location
from blocksearch.runs.merge import merge_ledgers
from blocksearch.runs.questions import questions_in
from blocksearch.runs.recall import recall
from blocksearch.search.summary import summarise
from tests.fire.test_names import whole as whole
from tests.runs.test_ledger import make_job

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
    "DROP INDEX ledger_runs_once; ALTER TABLE ledger_runs RENAME TO zz; "
    "ALTER TABLE zz RENAME TO LEDGER_RUNS",
    "ALTER TABLE search_steps RENAME TO zz; ALTER TABLE zz RENAME TO Search_Steps; "
    "ALTER TABLE Search_Steps ADD COLUMN extra TEXT",
    "DROP TABLE ledger_meta; CREATE TABLE Ledger_Meta (key TEXT, value TEXT)",
    "DROP TABLE search_studies; CREATE VIRTUAL TABLE search_studies USING fts5(name)",
]


def edited(file, whole, statements):
    """Write a whole file, and run statements in it."""
    file.write_bytes(whole)
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(statements)
    return file


def test_an_index_over_other_values_is_refused(tmp_path):
    file = tmp_path / "x.db"
    Ledger(file).close()
    with closing(sqlite3.connect(file)) as connection:
        asked = "SELECT sql FROM sqlite_master WHERE name = 'ledger_runs_once'"
        (made,) = connection.execute(asked).fetchone()
        connection.execute("DROP INDEX ledger_runs_once")
        connection.execute(made.replace("'complete'", "'COMPLETE'"))
        connection.commit()
    with pytest.raises(StoreError, match="is not as this program makes it"):
        Ledger(file)


@pytest.mark.parametrize("statements", SCHEMAS)
def test_another_schema_is_refused_in_one_line(whole, tmp_path, statements):
    file = edited(tmp_path / "x.db", whole, statements)
    Ledger(tmp_path / "a.db").close()
    before = file.read_bytes()
    for act in (summarise, Ledger, lambda file: merge_ledgers(str(tmp_path / "a.db"), file)):
        with pytest.raises(StoreError) as caught:
            act(str(file))
        assert str(file) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert "interrupted" not in str(caught.value)  # nothing endless was begun
    assert file.read_bytes() == before


def test_plain_tables_of_others_stay(whole, tmp_path):
    file = edited(
        tmp_path / "x.db", whole, "CREATE TABLE notes (text TEXT); CREATE INDEX n ON notes (text)"
    )
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


@pytest.mark.parametrize(
    "statements",
    [
        "DELETE FROM ledger_meta",
        "DROP TABLE ledger_meta",
        "UPDATE ledger_meta SET value = NULL",
        "UPDATE ledger_meta SET key = 'Schema'",
        "DELETE FROM ledger_meta; DELETE FROM ledger_runs; DELETE FROM search_studies",
    ],
)
def test_a_database_of_no_known_schema_is_not_taken_for_an_empty_one(whole, tmp_path, statements):
    file = edited(tmp_path / "x.db", whole, statements)
    Ledger(tmp_path / "a.db").close()
    before, into = file.read_bytes(), str(tmp_path / "a.db")
    for act in (
        summarise,
        Ledger,
        lambda file: Ledger(file, read_only=True),
        lambda file: merge_ledgers(into, file),
        lambda file: merge_ledgers(file, into),
        lambda file: recall([make_job()], file),
        questions_in,
    ):
        with pytest.raises(StoreError, match="ledger_meta") as caught:
            act(str(file))
        assert str(file) in str(caught.value)
    assert file.read_bytes() == before


def test_a_ledger_that_is_empty_or_half_made_is_made_whole(tmp_path):
    for statements in ("", "DELETE FROM ledger_meta"):
        file = tmp_path / "x.db"
        Ledger(file).close()
        with closing(sqlite3.connect(file)) as connection:
            connection.executescript(statements)
        assert recall([make_job()], str(file)) == {}
        with closing(Ledger(file)) as ledger:
            assert ledger.runs() == []
