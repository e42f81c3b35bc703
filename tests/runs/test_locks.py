"""Two commands on one ledger: what one trains the other waits for."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from blocksearch.api.studies import front
from blocksearch.errors import BlocksearchError, StoreError
from blocksearch.files import check_output, replace_file
from blocksearch.runs.engine import _is_locked
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.locks import Holds, in_turn
from blocksearch.runs.records import Group
from blocksearch.runs.scheduler import _sweep
from tests.runs.test_ledger import make_job, make_run

ROUNDS, COMMANDS, ANSWERS = 40, 4, 5


def open_write_and_close(folder, start):
    """Save answers in new ledgers, each opened anew, at the same time as others do; exit with how
    many were refused.
    """
    refused = 0
    for number in range(ROUNDS):
        start.wait()
        for answer in range(ANSWERS):
            try:
                with closing(Ledger(folder / f"{number}.db")) as ledger:
                    ledger.add_report("ablate", f"{os.getpid()} {answer}", "[]")
            except StoreError:
                refused += 1
    sys.exit(refused)


@pytest.mark.slow
def test_commands_that_open_and_close_one_new_ledger_at_once_wait_for_each_other(tmp_path):
    """Each turns the file's log on and off again, for which SQLite does not always wait by
    itself.
    """
    context = get_context("spawn")
    arguments = (tmp_path, context.Barrier(COMMANDS))
    commands = [
        context.Process(target=open_write_and_close, args=arguments) for _ in range(COMMANDS)
    ]
    for command in commands:
        command.start()
    for command in commands:
        command.join(timeout=300)
    assert [command.exitcode for command in commands] == [0] * COMMANDS
    for number in range(ROUNDS):
        with closing(Ledger(tmp_path / f"{number}.db", create=False)) as ledger:
            assert len(ledger.reports()) == COMMANDS * ANSWERS


LOGS = ("", "-wal", "-shm")
DOORS = {  # whatever looks at a file that may be a database
    "ledger": lambda file: Ledger(file).close(),
    "ledger to read": lambda file: Ledger(file, create=False).close(),
    "study": front,
    "output": lambda file: [check_output(file.with_name(file.name + log)) for log in LOGS],
    "file": lambda file: replace_file(file, b"other"),
    **{f"ledger of{log}": lambda file, log=log: Ledger(f"{file}{log}").close() for log in LOGS[1:]},
}
TAKES_THE_LOG_AWAY = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0)
connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
connection.execute("PRAGMA journal_mode=DELETE")
"""


@pytest.mark.parametrize("door", DOORS)
def test_a_database_that_is_open_here_stays_locked_for_others_whatever_looks_at_it(tmp_path, door):
    """A process loses its locks of a file with any descriptor of it that it closes; another one
    then takes away a log that is in use, and cuts its index off (SIGBUS).
    """
    file = tmp_path / "a.db"
    with closing(Ledger(file)) as ledger, closing(sqlite3.connect(file)) as connection:
        ledger.add_report("ablate", "first", "[]")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the log is in use
        index = file.with_name("a.db-shm").stat()
        with suppress(BlocksearchError, OSError):
            DOORS[door](file)
        command = [sys.executable, "-c", TAKES_THE_LOG_AWAY, str(file)]
        other = subprocess.run(command, check=False, capture_output=True, text=True)
        assert "database is locked" in other.stderr
        assert os.path.samestat(file.with_name("a.db-shm").stat(), index)
        ledger.add_report("ablate", "second", "[]")
    with closing(Ledger(file, create=False)) as ledger:
        assert len(ledger.reports()) == 2


def test_a_group_is_held_by_one_command_at_a_time(tmp_path):
    groups = [
        Group(jobs=(make_job(seed),), checkpoint=tmp_path / "kept" / f"{seed}.npz")
        for seed in range(3)
    ]
    told = []
    with (
        closing(Ledger(tmp_path / "a.db")) as ledger,
        closing(Holds()) as mine,
        closing(Holds()) as theirs,
    ):
        assert theirs.take(groups[0])
        turns = in_turn(groups, ledger, mine, lambda group, runs: told.append((group, runs)))
        assert [next(turns), next(turns), next(turns)] == [groups[1], groups[2], None]
        job = groups[0].jobs[0]
        ledger.add_all([(job, make_run(job))])
        theirs.let_go(groups[0])
        assert list(turns) == []
        ((group, runs),) = told
        assert (group, [run.key for run in runs]) == (groups[0], [job.key])
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("stored", [range(6), range(3), (0, 2, 5)])
def test_what_a_killed_command_left_of_stored_runs_is_removed(tmp_path, stored):
    """It had divided the seeds as it liked: what is not stored whole may go on from there."""
    jobs = [make_job(seed) for seed in range(8)]
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        shares = [(0, 1, 2), (3, 4), (0, 1, 2, 3, 4), (0,), (2,), (5,), (6,), (7,)]
        groups = [
            Group(jobs=tuple(jobs[n] for n in own)).kept_in(ledger.checkpoints) for own in shares
        ]
        groups += [half for group in groups[:1] for half in group.halves()]
        ledger.checkpoints.mkdir()
        for group in groups:
            group.checkpoint.write_bytes(b"kept")
        ledger.add_all([(jobs[n], make_run(jobs[n])) for n in stored])
        _sweep(jobs[:7], ledger)
        for group in groups:
            assert group.checkpoint.exists() == (not set(group.seeds) <= {*stored}), group.seeds
        _sweep(jobs[:7], ledger)
        assert len(list(ledger.checkpoints.iterdir())) == sum(g.checkpoint.exists() for g in groups)


def test_where_there_is_no_place_for_locks_nothing_is_held(tmp_path):
    (tmp_path / "kept").write_text("milk")
    for checkpoint in (None, tmp_path / "kept" / "0.npz"):
        group = Group(jobs=(make_job(),), checkpoint=checkpoint)
        with closing(Holds()) as one, closing(Holds()) as other:
            assert one.take(group)
            assert other.take(group)


@pytest.mark.slow
def test_two_commands_at_once_train_every_run_once(tmp_path):
    script = (
        "import os, time; from pathlib import Path; from tests.runs.test_executor import *\n"
        "if __name__ == '__main__':\n"
        f"    root, folder = Path({str(tmp_path / 'data')!r}), Path({str(tmp_path)!r})\n"
        "    class Say(Callback):\n"
        "        def started(self, group):\n"
        "            print(*group.seeds, sep='\\n', flush=True)\n"
        "            (folder / f'started-{os.getpid()}').touch()\n"
        "            until = time.monotonic() + 60  # the other has a part, too\n"
        "            while len(list(folder.glob('started-*'))) < 2 and time.monotonic() < until:\n"
        "                time.sleep(0.02)\n"
        "    shared = conditions_at(root, folder, epochs=6)\n"
        "    runs = ensure(shared.jobs([NETWORK], range(8)), resources_at(folder, 1), Say())\n"
        "    assert sorted(key.seed for key in runs) == list(range(8)), runs\n"
    )
    (tmp_path / "driver.py").write_text(script)
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, tmp_path / "driver.py"]
    drivers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    said = [[int(seed) for seed in driver.communicate()[0].split()] for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0]
    assert all(said)
    assert sorted(seed for each in said for seed in each) == list(range(8))
    assert not (tmp_path / "a.db-checkpoints").exists()


def test_a_part_that_is_known_does_not_hide_the_rest(tmp_path):
    """Seeds that are trained as one are trained again where one of them is missing: their bits do
    not depend on the others.
    """
    jobs = tuple(make_job(seed) for seed in range(2))
    group = replace(Group(jobs=jobs), checkpoint=tmp_path / "kept" / "a.npz")
    with closing(Ledger(tmp_path / "a.db")) as ledger, closing(Holds()) as holds:
        ledger.add_all([(jobs[0], make_run(jobs[0]))])
        assert next(in_turn([group], ledger, holds, lambda *_: None)) == group


@pytest.mark.parametrize(
    ("asked", "is_locked"),
    [("CREATE TABLE t (n)", True), ("locked", False)],  # the second says the word, of a statement
)
def test_what_is_locked_is_told_by_sqlites_code(tmp_path, asked, is_locked):
    file = tmp_path / "a.db"
    engine = sa.create_engine(f"sqlite:///{file}", connect_args={"timeout": 0})
    with closing(sqlite3.connect(file, isolation_level=None)) as other, engine.connect() as own:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(OperationalError, match="locked") as caught:
            own.exec_driver_sql(asked)
        assert _is_locked(caught.value) == is_locked
    engine.dispose()
