"""A divergence is a record from the training to the report: epoch, step and loss, as data."""

import json
import math
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

import blocksearch as bs
from blocksearch.errors import StoreError
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.records import RunState
from blocksearch.training.outcome import Divergence
from tests.runs.test_ledger import make_job, make_run

SHIPPED = Path(__file__).parents[2] / "studies" / "first-answer.db"
LOSSES = [math.nan, math.inf, -math.inf]


def diverged(job, loss=math.nan):
    own = Divergence(2, 7, loss)
    run = make_run(job, state=RunState.DIVERGED, reason=str(own))
    return replace(run, epoch_to=1, losses=(1.5,), divergence=own, predictions=None)


def parts(run):
    return run.divergence.epoch, run.divergence.step, repr(run.divergence.value)


def edited(file, *statements):
    with closing(sqlite3.connect(file)) as connection, connection:
        for each in statements:
            connection.execute(each)
    return file


@pytest.mark.parametrize("loss", LOSSES)
def test_a_divergence_is_read_as_it_was_written_and_merged(tmp_path, loss):
    job = make_job()
    with closing(Ledger(tmp_path / "a.db")) as one, closing(Ledger(tmp_path / "b.db")) as other:
        assert one.add_all([(job, diverged(job, loss))])
        assert other.merge(one) == (1, [])
        assert other.merge(one) == (0, [])
        for ledger in (one, other):
            (stored,) = ledger.runs()
            found = [stored, ledger.reached(job.key, 5), *ledger.find([job.key]).values()]
            found += ledger.of_rows({stored.row}, predictions=False)
            assert [parts(run) for run in found] == 4 * [(2, 7, repr(loss))]


def test_a_run_is_known_by_the_checksum_that_it_had_before(tmp_path):
    job, run = make_job(), diverged(make_job())
    rows = set()
    for name, own in (("a.db", run), ("b.db", replace(run, divergence=None))):
        with closing(Ledger(tmp_path / name)) as ledger:
            ledger.add_all([(job, own)])
            rows.add(ledger.runs()[0].row)
    assert len(rows) == 1


@pytest.mark.parametrize("read_only", [True, False])
def test_a_database_of_before_says_it_in_words_alone_and_gets_records(tmp_path, read_only):
    job, run = make_job(), diverged(make_job())
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        ledger.add_all([(job, run)])
    file = edited(tmp_path / "a.db", "DROP TABLE ledger_divergences")
    before = file.read_bytes()
    with closing(Ledger(file, create=False, read_only=read_only)) as ledger:
        (found,) = ledger.runs()
        assert (found.divergence, found.reason) == (None, run.reason)
        assert found.ending["diverged_epoch"] is None
        assert file.read_bytes() == before
        if not read_only:
            assert ledger.add_all([(make_job(1), diverged(make_job(1)))])
            assert [each.divergence is None for each in ledger.runs()] == [True, False]


def test_a_shipped_database_has_no_table_for_it_and_none_is_made_by_reading(tmp_path):
    file = Path(shutil.copy(SHIPPED, tmp_path))
    with closing(Ledger(file, create=False)) as ledger:
        assert all(run.divergence is None for run in ledger.runs())
    assert file.read_bytes() == SHIPPED.read_bytes()


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ("UPDATE ledger_divergences SET epoch = 3", "ledger_runs, row 1: .*ledger_divergences"),
        ("UPDATE ledger_divergences SET loss = '-inf'", "does not match its checksum"),
        ("UPDATE ledger_divergences SET run = 'another'", "row another is of no run"),
        ("DELETE FROM ledger_runs", "is of no run"),
    ],
)
def test_an_edited_divergence_is_noticed(tmp_path, edit, says):
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        ledger.add_all([(make_job(), diverged(make_job()))])
    with (
        closing(Ledger(edited(tmp_path / "a.db", edit))) as ledger,
        pytest.raises(StoreError, match=says),
    ):
        ledger.runs()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"divergence": Divergence(3, 7, math.nan)}, "epoch must be 2, .* but is 3"),
        ({"divergence": Divergence(2, 0, math.nan)}, "step must be a whole number"),
        ({"divergence": Divergence(2, 7, 1.0)}, "loss must be one of .* but is '1.0'"),
        ({"state": RunState.PARTIAL}, "state must be diverged, .* but is 'partial'"),
    ],
)
def test_a_divergence_that_cannot_be_of_its_run_is_refused(tmp_path, changes, says):
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        ledger.add_all([(make_job(), replace(diverged(make_job()), **changes))])
        with pytest.raises(StoreError, match=says):
            ledger.runs()


@pytest.mark.slow
def test_a_training_that_diverges_says_where_in_fields(root, tmp_path):
    own = {"epochs": 1, "max_images": 60, "batch": 30, "executor": "serial", "device": "cpu"}
    own |= {"db": tmp_path / "a.db", "data_root": root, "recipe": "fast learning_rate=1e30"}
    trained = bs.train("mobilenet", dataset="digits", **own)
    (row,) = trained.records()
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        (run,) = ledger.runs()
    assert row["state"] == "diverged"
    assert row["reason"] == str(run.divergence)
    assert (row["diverged_epoch"], row["diverged_step"], row["diverged_loss"]) == (
        run.divergence.epoch,
        run.divergence.step,
        str(run.divergence.value),
    )
    ablated = bs.ablate("mobilenet", factor="residual", values="add", seeds=1, **own)
    for answer in (trained, ablated):
        assert json.loads(json.dumps(answer.data(), allow_nan=False)) == answer.data()
    failures = [each for record in ablated.records() for each in record["failures"]]
    assert {each["diverged_epoch"] for each in failures} == {1}
