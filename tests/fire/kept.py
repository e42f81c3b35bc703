"""What a command has kept, read by SQLite and JSON alone: the code under test has no part in it.

`read` takes what a database holds at a moment; `lost` compares two moments of one file, and
`different` the ends of two that must be equal in every figure but those of a clock.
"""

import hashlib
import json
import re
import shutil
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

BESIDE = ("", "-wal", "-journal")
GROWING = (
    *("ledger_runs", "ledger_predictions", "ledger_divergences", "ledger_reports"),
    *("ledger_questions", "ledger_images", "ledger_classes", "ledger_networks"),
    *("ledger_recipes", "search_steps"),
)  # tables whose rows are written once
BESIDE_RUNS = ("ledger_predictions", "ledger_divergences")
KEY = ("network", "dataset", "data", "protocol", "recipe", "seed")
CLOCK = ("id", "seconds", "created", "checksum")  # what differs from one time to the next
CLOCKED = ("date", "resumed", "not kept")  # so of a run's provenance
TIMES = re.compile(rb'\d{4}-\d\d-\d\d(T[\d:+]*)?|"seconds": [\d.]+')
OPTUNAS = """SELECT s.study_name, t.number, t.state, v.objective, v.value FROM trials t
             JOIN studies s USING (study_id) LEFT JOIN trial_values v USING (trial_id)"""
PARAMETERS = """SELECT s.study_name, t.number, p.param_name, p.param_value FROM trial_params p
                JOIN trials t USING (trial_id) JOIN studies s USING (study_id)"""

Rows = dict[str, list[dict[str, Any]]]


def _rows(connection: sqlite3.Connection, query: str) -> list[dict[str, Any]]:
    cursor = connection.execute(query)
    names = [each[0] for each in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _tables(connection: sqlite3.Connection) -> Rows:
    names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    found = {
        name: _rows(connection, f"SELECT rowid AS _row, * FROM {name}")
        for name in GROWING
        if name in names
    }
    if "trial_values" in names:
        found["optuna"] = _rows(connection, OPTUNAS)
        found["optuna parameters"] = _rows(connection, PARAMETERS)
    return found


def read_live(file: Path) -> Rows:
    """Read what others have committed, beside them; nothing where nothing can be read yet."""
    with (
        suppress(sqlite3.OperationalError),
        closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=0)) as connection,
    ):
        connection.execute("BEGIN")
        return _tables(connection)
    return {}


def read_dead(file: Path, scratch: Path) -> tuple[Rows, str]:
    """Read a copy of what a killed process left, as the next command would find it; return it, and
    what SQLite says of its integrity."""
    if not file.exists():
        return {}, "ok"
    for ending in BESIDE:
        copy = scratch / f"copy.db{ending}"
        copy.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            shutil.copyfile(f"{file}{ending}", copy)
    with closing(sqlite3.connect(scratch / "copy.db")) as connection:
        try:
            said = connection.execute("PRAGMA integrity_check").fetchone()[0]
            return _tables(connection), said
        except sqlite3.DatabaseError as error:
            return {}, str(error)


def lost(before: Rows, now: Rows) -> list[str]:
    """Say which rows that were committed before are gone or changed now."""
    found = []
    for table, rows in before.items():
        if table in GROWING:
            there = {row["_row"]: row for row in now.get(table, [])}
            found += [
                f"{table} {row['_row']} is {'changed' if row['_row'] in there else 'gone'}"
                for row in rows
                if there.get(row["_row"]) != row
            ]
    return found


def wrong(rows: Rows) -> list[str]:
    """Say what no moment may show: a training or a trial that is there twice."""
    runs = Counter(
        tuple(run[name] for name in (*KEY, "epoch_to"))
        for run in rows.get("ledger_runs", [])
        if run["state"] != "failed"
    )
    steps = Counter((step["study"], step["number"]) for step in rows.get("search_steps", []))
    trials = Counter((t["study_name"], t["number"], t["objective"]) for t in rows.get("optuna", []))
    return [
        f"{kind} {own} is there {count} times"
        for kind, counted in (("run", runs), ("trial", steps), ("trial of Optuna", trials))
        for own, count in counted.items()
        if count > 1
    ]


def unfinished(rows: Rows) -> list[str]:
    """Say which trials are left running at the end, and which results only one side has."""
    states = {(row["study_name"], row["number"], row["state"]) for row in rows.get("optuna", [])}
    found = [
        f"trial {number} of Optuna's is {state}"
        for _, number, state in sorted(states)
        if state in ("RUNNING", "WAITING")
    ]
    runs = {(run["network"], run["seed"]) for run in rows.get("ledger_runs", [])}
    found += [
        f"trial {step['number']} has no run"
        for step in rows.get("search_steps", [])
        if (step["network"], step["seed"]) not in runs
    ]
    return found


def figures(rows: Rows) -> dict[str, Counter[str]]:
    """Return every figure that no clock measured, by table; failed runs are the machine's."""
    runs = {run["checksum"]: run for run in rows.get("ledger_runs", [])}
    found: dict[str, Counter[str]] = {}
    for table, own in rows.items():
        for row in own:
            plain = {name: value for name, value in row.items() if name not in ("_row", *CLOCK)}
            if table == "ledger_runs":
                if row["state"] == "failed":
                    continue
                provenance = json.loads(row["provenance"])
                plain["provenance"] = {k: v for k, v in provenance.items() if k not in CLOCKED}
            if table in BESIDE_RUNS:  # of a run, which it names by a checksum
                run = runs.get(row["run"], {"network": "none"})
                plain["run"] = [run.get(name) for name in (*KEY, "epoch_to")]
            if table == "search_steps" and isinstance(named := json.loads(row["accuracies"]), str):
                run = runs[named]
                plain["accuracies"] = json.loads(run["accuracies"])[: row["epochs"]]
                plain["run"] = [run[name] for name in KEY]
            found.setdefault(table, Counter())[repr(sorted(plain.items()))] += 1
    return found


def different(one: Rows, other: Rows) -> list[str]:
    """Say in which figures two databases differ."""
    ours, theirs = figures(one), figures(other)
    found = []
    for table in sorted({*ours, *theirs}):
        here, there = ours.get(table, Counter()), theirs.get(table, Counter())
        if here != there:
            example = next(iter((here - there) or (there - here)))
            found.append(
                f"{table}: {(here - there).total()} rows here alone, "
                f"{(there - here).total()} there alone, such as {example[:300]}"
            )
    return found


def timeless(said: bytes) -> bytes:
    """Return what was said without dates and measured times."""
    return TIMES.sub(b"", said)


def files(folder: Path) -> dict[str, str]:
    """Return the files of a folder with digests of what they say, but for dates; of databases
    and checkpoints the name alone."""
    found = {}
    for path in sorted(folder.rglob("*")):
        # a log stays where the last one to look was a reader, such as this checker
        if path.is_file() and not path.name.endswith(("-wal", "-shm")):
            name = str(path.relative_to(folder))
            content = b"" if ".db" in name else timeless(path.read_bytes())
            found[name] = hashlib.sha256(content).hexdigest()
    return found
