"""A command that is killed, stopped or interrupted goes on to the same rows, files and answer;
`python -m tests.fire.kills` does it hundreds of times.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.fire import history, kept, kills

STUDY = Path(__file__).parents[2] / "studies" / "gtsrb-search.db"


@pytest.fixture
def file(tmp_path):
    return shutil.copyfile(STUDY, tmp_path / "a.db")


def changed(file, *statements):
    with closing(sqlite3.connect(file)) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount != 0
        connection.commit()
    return kept.read_dead(file, file.parent)[0]


@pytest.mark.parametrize("table", ["ledger_runs", "search_steps", "ledger_networks"])
def test_the_checker_sees_a_row_that_is_gone_or_changed(file, table):
    before = kept.read_live(file)
    assert len(before[table]) > 5
    assert kept.lost(before, kept.read_dead(file, file.parent)[0]) == []
    last = f"rowid = (SELECT max(rowid) FROM {table})"
    column = {"ledger_runs": "losses", "search_steps": "memory", "ledger_networks": "text"}[table]
    now = changed(file, f"UPDATE {table} SET {column} = {column} || ' ' WHERE {last}")
    assert [each.split()[-1] for each in kept.lost(before, now)] == ["changed"]
    now = changed(file, f"DELETE FROM {table} WHERE {last}")
    assert [each.split()[-1] for each in kept.lost(before, now)] == ["gone"]
    assert any(each.startswith(table) for each in kept.different(before, now))


def test_the_checker_sees_what_is_there_twice(file):
    assert kept.wrong(kept.read_live(file)) == []
    names = ",".join(row for row in kept.read_live(file)["ledger_runs"][0] if row != "_row")
    others = names.replace("id,", "", 1)
    now = changed(
        file,
        "DROP INDEX ledger_runs_once",
        f"INSERT INTO ledger_runs ({others}) SELECT {others} FROM ledger_runs LIMIT 1",
    )
    assert [each.split()[0] for each in kept.wrong(now)] == ["run"]


@pytest.mark.parametrize(
    ("edit", "of"),
    [
        ("UPDATE ledger_runs SET accuracies = '[7.5]' WHERE id = 3", "ledger_runs"),
        ("UPDATE search_steps SET origin = 'luck' WHERE number = 3", "search_steps"),
        ("UPDATE trial_values SET value = value + 1e-9 WHERE trial_id = 3", "optuna"),
    ],
)
def test_the_checker_sees_another_figure(file, edit, of):
    before = kept.read_live(file)
    assert [each.partition(":")[0] for each in kept.different(before, changed(file, edit))] == [of]


@pytest.mark.parametrize("study", ["gtsrb-search.db", "recipes.db"])
def test_a_clock_is_no_figure(file, study):
    shutil.copyfile(STUDY.with_name(study), file)
    before = kept.read_live(file)
    clock = ["UPDATE ledger_runs SET seconds = seconds + 1, checksum = 'x' || checksum"]
    if "ledger_predictions" in before:
        clock.append("UPDATE ledger_predictions SET run = 'x' || run")
    assert kept.different(before, changed(file, *clock)) == []


def test_the_checker_sees_a_trial_that_is_left_running(file):
    assert kept.unfinished(kept.read_live(file)) == []
    now = changed(file, "UPDATE trials SET state = 'RUNNING' WHERE number = 2")
    assert kept.unfinished(now) == ["trial 2 of Optuna's is RUNNING"]
    now = changed(file, "UPDATE search_steps SET seed = 77 WHERE number = 4")
    assert "trial 4 has no run" in kept.unfinished(now)


def test_the_checker_sees_a_damaged_file(file):
    assert kept.read_dead(file, file.parent)[1] == "ok"
    with file.open("r+b") as opened:
        opened.seek(3 * 4096)
        opened.write(b"\xff" * 4096)
    assert kept.read_dead(file, file.parent)[1] != "ok"


@pytest.fixture
def story(tmp_path):
    (tmp_path / "own").mkdir()
    found = history.History(tmp_path / "own", ["train"], tmp_path)
    found.fire.mkdir()
    return found


def test_an_orphan_is_seen_and_ended(story, monkeypatch):
    monkeypatch.setattr(history, "SOON", 0.2)
    assert story._left(time.monotonic()) == []
    environment = os.environ | {"BLOCKSEARCH_FIRE": str(story.fire), "PYTHONPATH": ""}
    with subprocess.Popen([sys.executable, "-c", "input()"], env=environment, stdin=-1) as orphan:
        assert story._left(time.monotonic()) == [f"process {orphan.pid}"]
    assert not psutil.pid_exists(orphan.pid)


@pytest.mark.parametrize(
    ("code", "said", "how", "ok"),
    [
        (0, "", [], True),
        (-9, "", ["kill"], True),
        (-9, "", [], False),  # by the kernel, for want of memory, say
        (130, "", ["term"], True),
        (130, "", [], False),
        (130, "Traceback (most recent call last):", ["term"], False),
        (-15, "", ["term"], True),  # before it had begun
        (-15, "3 runs to train", ["term"], False),
        (1, "seed 0 failed: its worker process died 2 times", ["kill"], True),
        (2, "blocksearch: a.db: disk I/O error", ["kill"], False),
    ],
)
def test_an_end_must_be_explained_by_what_was_struck(story, code, said, how, ok):
    for place, each in enumerate(how):
        strike = json.dumps({"how": each, "who": "driver"})
        (story.fire / f"struck-{place}").write_text(strike)
    story.said = said
    story._judge(code, "term" in how)
    assert (story.wrong == []) == ok


PROGRAM = """
import json, os, signal, sqlite3, subprocess, sys

how = sys.argv[1]
asked = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT]

def end(*_):
    os._exit(130)  # at once: an exception could be raised where Python ignores it

for each in asked:
    signal.signal(each, end)
file = sqlite3.connect("a.db", isolation_level=None)
file.execute("PRAGMA journal_mode=WAL")
names = "network, dataset, data, protocol, recipe, seed, epoch_to, state, provenance, checksum"
file.execute(f"CREATE TABLE IF NOT EXISTS ledger_runs (id INTEGER PRIMARY KEY, {names})")
count = lambda: file.execute("SELECT count(*) FROM ledger_runs").fetchone()[0]
begun = count()
if how == "forgets" and 0 < begun < 20:
    file.execute("DELETE FROM ledger_runs WHERE id = (SELECT max(id) FROM ledger_runs)")
if how == "leaves a file" and begun:
    open("left", "w").close()
for seed in range(begun, 20):
    if how == "tells first":
        print(f"[{seed}/20] is stored", file=sys.stderr)
    file.execute("BEGIN IMMEDIATE")
    figure = "0.5" if how == "computes otherwise" and begun else "0.25"
    own = ("n", "d", figure, "p", "r", seed, 1, "complete", "{}", str(seed))
    file.execute(f"INSERT INTO ledger_runs ({names}) VALUES (?,?,?,?,?,?,?,?,?,?)", own)
    if how == "doubles" and seed == begun > 0:
        file.execute(f"INSERT INTO ledger_runs ({names}) VALUES (?,?,?,?,?,?,?,?,?,?)", own)
    file.execute("COMMIT")
    if how != "tells first":
        print(f"[{seed}/20] is stored", file=sys.stderr)
if how == "leaves a process":
    subprocess.Popen(["sleep", "60"], stdout=-3, stderr=-3)
if how == "fails" and begun:
    sys.exit(2)
print(json.dumps({"answer": begun if how == "answers otherwise" and begun < 20 else 20}))
"""
SEEN = {
    "does it right": "",
    "forgets": "ledger_runs ",  # the next one takes the place of the row that is gone
    "doubles": "is there 2 times",
    "tells first": "results were told, and fewer are kept",
    "computes otherwise": "ledger_runs: ",
    "answers otherwise": "the answer is another",
    "leaves a file": "files: ",
    "leaves a process": "is still there",
    "fails": "code 2",
}


@pytest.mark.slow
@pytest.mark.parametrize("how", SEEN)
def test_a_program_that_does_wrong_is_seen(tmp_path, monkeypatch, how):
    """It takes the place of the package, in the folder in which it runs."""
    monkeypatch.setattr(history, "SOON", 0.5 if how == "leaves a process" else 5)
    monkeypatch.setitem(kills.COMMANDS, "fake", [how])
    monkeypatch.setattr(kills, "ANEW", 1)
    program = tmp_path / "fake-prepared" / "blocksearch" / "__main__.py"
    program.parent.mkdir(parents=True)
    program.with_name("__init__.py").touch()
    program.write_text(PROGRAM)
    folder = shutil.copytree(tmp_path / "fake-prepared", tmp_path / "whole")
    whole = history.History(folder, ["does it right"], tmp_path)
    assert (whole.attempt([]), whole.attempt([])) == (0, 0)
    reference = kills.Reference(whole.answer, whole.answer, whole.known, kept.files(folder))
    wrong, struck = [], 0
    for number in range(40):
        story = kills.tell("fake", number, 0, tmp_path, reference, 5)
        wrong += story.wrong
        struck += story.struck["kill"]
        if wrong:
            break
    assert any(SEEN[how] in each for each in wrong) if SEEN[how] else wrong == [], wrong
    assert struck > 10 or wrong


def test_histories_replay():
    schedule = [kills.drawn(0, "search", number, 0) for number in range(200)]
    assert schedule == [kills.drawn(0, "search", number, 0) for number in range(200)]
    assert schedule != [kills.drawn(1, "search", number, 0) for number in range(200)]
    strikes = [strike for each in schedule for strike in each]
    assert {each["how"] for each in strikes} >= {"kill", "kill group", "stop", *history.ANSWERED}
    assert {each["at"] for each in strikes} == {*kills.DRIVERS, *kills.WORKERS}


@pytest.mark.slow
def test_killed_commands_are_uninterrupted_ones():
    assert kills.run(["--kills", "12", "--only", "search", "--seed", "3", "--first", "1"]) == 0


@pytest.mark.fire
def test_so_they_are_in_the_whole_campaign():
    assert kills.run(["--kills", "300"]) == 0
