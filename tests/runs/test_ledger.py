"""The ledger on real files: once, whole, verified, merged, and refused where it is not one."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocksearch.arch.layers import decode
from blocksearch.arch.zoo import TASKS, named_network
from blocksearch.data.splits import Split, SplitSummary
from blocksearch.errors import StoreError
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.peek import contents
from blocksearch.runs.records import Job, Run, RunKey, RunState
from blocksearch.training.recipe import Recipe
from tests.strategies import tries

NETWORK = named_network("effnet", TASKS["digits"])
RECIPE = Recipe(epochs=2)


def make_job(seed=0, network=NETWORK):
    key = RunKey(
        network=network.digest,
        dataset="digits",
        data="d" * 64,
        protocol="val20-v1.0",
        recipe=RECIPE.digest,
        seed=seed,
    )
    return Job(
        key=key,
        text=str(network),
        layers=network.layers,
        protocol=Split("digits"),
        recipe=RECIPE,
        root=None,
        images=560,
    )


def make_run(job, accuracy=50.0, state="complete", reason=""):
    right = np.arange(13) % 3 == 0
    accuracies = (accuracy / 2, accuracy) if state == "complete" else ()
    return Run(
        key=job.key,
        epoch_to=2,
        state=RunState(state),
        reason=reason,
        accuracies=accuracies,
        losses=accuracies,
        right=right,
        predictions=np.where(right, 7, 300).astype(np.uint16),
        seconds=1.5,
        provenance={"torch": "2"},
    )


def test_a_run_comes_back_as_it_was_written(tmp_path):
    job = make_job()
    run = make_run(job)
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        assert ledger.add_all([(job, run)])
    with closing(Ledger(tmp_path / "a.db", create=False)) as ledger:
        found = ledger.find([job.key])[job.key]
        assert ledger.described(job.key)[0]["text"] == job.text
    without = {"right": None, "predictions": None}  # arrays are not equal or unequal
    assert replace(found, **without) == replace(run, **without)
    assert (found.right == run.right).all()
    assert found.predictions.dtype == np.uint16
    assert (found.predictions == run.predictions).all()


def test_the_stored_layers_are_the_network(tmp_path):
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        ledger.add_all([(make_job(), make_run(make_job()))])
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        (stored,) = connection.execute("select layers from ledger_networks").fetchone()
    assert decode(stored) == NETWORK.layers


@pytest.mark.parametrize("state", ["complete", "diverged"])
def test_a_final_run_is_written_once(tmp_path, state):
    job = make_job()
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        assert ledger.add_all([(job, make_run(job, state=state, reason="nan"))])
        assert not ledger.add_all([(job, make_run(job, 60.0))])
        assert [run.state for run in ledger.runs()] == [state]


def test_a_failed_run_is_kept_and_may_be_tried_again(tmp_path):
    job = make_job()
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        ledger.add_all([(job, make_run(job, state=RunState.FAILED, reason="killed"))])
        assert ledger.find([job.key]) == {}
        assert ledger.add_all([(job, make_run(job))])
        assert [run.state for run in ledger.runs()] == ["failed", "complete"]


def partial(job, epochs):
    run = make_run(job, state=RunState.PARTIAL)
    return replace(run, epoch_to=epochs, accuracies=tuple(10.0 * e for e in range(1, epochs + 1)))


def test_a_run_that_stopped_short_answers_up_to_there_and_may_go_on(tmp_path):
    job, other = make_job(), make_job(1)
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        ledger.add_all([(other, partial(other, 4))])
        assert ledger.reached(job.key, 1) is None
        ledger.add_all([(job, partial(job, 1))])
        assert ledger.reached(job.key, 1).accuracy_at(1) == 10.0
        assert ledger.reached(job.key, 2) is None
        assert ledger.find([job.key]) == {}  # nobody else takes it for finished
        ledger.add_all([(job, partial(job, 3))])
        assert [ledger.reached(job.key, epoch).epoch_to for epoch in (1, 2, 3)] == [1, 3, 3]
        ledger.add_all([(job, replace(partial(job, 4), state=RunState.COMPLETE))])
        assert [ledger.reached(job.key, epoch).epoch_to for epoch in (1, 2, 4)] == [1, 3, 4]
        assert ledger.reached(job.key, 2).accuracy_at(2) == 20.0
        assert ledger.find([job.key])[job.key].state == "complete"
        assert [run.state for run in ledger.runs()] == ["partial", "partial", "partial", "complete"]


def test_a_run_that_diverged_is_not_asked_to_go_on(tmp_path):
    job = make_job()
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        run = make_run(job, state=RunState.DIVERGED, reason="nan")
        ledger.add_all([(job, replace(run, accuracies=(30.0,), losses=(1.0,)))])
        found = ledger.reached(job.key, 2)
        assert (found.accuracy_at(1), found.accuracy_at(2)) == (30.0, None)


def test_partial_rows_merge_once(tmp_path):
    job = make_job()
    with closing(Ledger(tmp_path / "a.db")) as one, closing(Ledger(tmp_path / "b.db")) as other:
        other.add_all([(job, partial(job, 1))])
        assert one.merge(other) == (1, [])
        assert one.merge(other) == (0, [])
        assert one.reached(job.key, 1).epoch_to == 1


def test_specs_differing_in_any_field_are_different_trainings(tmp_path):
    job = make_job()
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        for field in ("network", "dataset", "data", "protocol", "recipe"):
            other = replace(job, key=replace(job.key, **{field: "other"}))
            assert ledger.add_all([(other, make_run(other))])
        assert ledger.find([job.key]) == {}
        assert len(ledger.runs()) == 5


def test_numbers_that_are_not_finite_never_enter(tmp_path):
    job = make_job()
    with (
        closing(Ledger(tmp_path / "a.db")) as ledger,
        pytest.raises(StoreError, match="must be finite"),
    ):
        ledger.add_all([(job, replace(make_run(job), losses=(float("nan"),)))])


@pytest.mark.parametrize(
    "column", ["accuracies", "seed", "right", "reason", "provenance", "network"]
)
def test_an_edited_row_is_noticed(tmp_path, column):
    job = make_job()
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        ledger.add_all([(job, make_run(job))])
    values = {"accuracies": "[1.0, 99.0]", "seed": 7, "right": b"\xff\xff", "network": "f" * 64}
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute(f'update ledger_runs set "{column}" = ?', (values.get(column, "{}"),))
        connection.commit()
    with (
        closing(Ledger(tmp_path / "a.db")) as ledger,
        pytest.raises(StoreError, match="does not match its checksum"),
    ):
        ledger.runs()


@tries(20)
@given(
    mine=st.sets(st.integers(0, 6)),
    theirs=st.sets(st.integers(0, 6)),
    changed=st.sets(st.integers(0, 6)),
)
def test_merging_is_a_union_that_reports_conflicts(tmp_path_factory, mine, theirs, changed):
    folder = tmp_path_factory.mktemp("merge")
    with closing(Ledger(folder / "a.db")) as a, closing(Ledger(folder / "b.db")) as b:
        for ledger, seeds, shift in ((a, mine, 0), (b, theirs, 1)):
            for seed in seeds:
                job = make_job(seed)
                ledger.add_all([(job, make_run(job, 50.0 + shift * (seed in changed)))])
        copied, conflicts = a.merge(b)
        assert copied == len(theirs - mine)
        assert {key.seed for key in conflicts} == mine & theirs & changed
        assert {run.key.seed for run in a.runs()} == mine | theirs
        assert a.merge(b)[0] == 0


def test_failed_rows_merge_once(tmp_path):
    job = make_job()
    with closing(Ledger(tmp_path / "a.db")) as a, closing(Ledger(tmp_path / "b.db")) as b:
        b.add_all([(job, make_run(job, state=RunState.FAILED, reason="killed"))])
        assert [a.merge(b)[0], a.merge(b)[0]] == [1, 0]


def foreign_database(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table songs (name text)")


def newer_ledger(path):
    with closing(Ledger(path)):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("update ledger_meta set value = '99'")
        connection.commit()


def truncated_ledger(path):
    with closing(Ledger(path)) as ledger:
        for seed in range(30):
            ledger.add_all([(make_job(seed), make_run(make_job(seed)))])
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda path: path.write_text("<html>not found</html>"),
            "is not a database: it does not begin as one of SQLite",
        ),
        (lambda path: path.mkdir(), "is a folder, not a database file"),
        (foreign_database, "is a database, but not one of runs"),
        (newer_ledger, "is a database of schema 99, but this version reads 1"),
        (truncated_ledger, "malformed"),
        (os.mkfifo, "is not a regular file"),
    ],
    ids=["text", "folder", "foreign", "newer", "truncated", "fifo"],
)
def test_what_is_not_a_ledger_is_refused_in_one_line(tmp_path, make, says):
    path = tmp_path / "x.db"
    make(path)
    with pytest.raises(StoreError) as caught, closing(Ledger(path)) as ledger:
        ledger.runs()
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_ledger_is_not_made_by_reading(tmp_path):
    with pytest.raises(StoreError, match="is not there"):
        Ledger(tmp_path / "x.db", create=False)
    assert not (tmp_path / "x.db").exists()


def test_an_unknown_database_is_refused(tmp_path):
    with pytest.raises(StoreError, match="is not a database URL that can be used here"):
        Ledger("nonsense://x")


@pytest.mark.parametrize("location", ["~nosuchuser/x.db", "x" * 300, "postgresql://u:p@h:port/db"])
def test_a_location_that_cannot_be_is_one_line(location):
    for act in (Ledger, contents):
        with pytest.raises(StoreError) as caught:
            act(location)
        assert "\n" not in str(caught.value)


def test_a_ledger_of_which_only_a_part_was_made_is_finished(tmp_path):
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute(
            "create table ledger_meta "
            "(key varchar(64) not null, value varchar(64), primary key (key))"
        )
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        assert ledger.add_all([(make_job(), make_run(make_job()))])


@pytest.mark.slow
def test_a_ledger_is_made_once_by_all_that_open_it(tmp_path):
    script = (
        "import sys, time; from tests.runs.test_ledger import *\n"
        "time.sleep(max(0, float(sys.argv[2]) - time.time()))\n"
        "ledger = Ledger(sys.argv[1]); seed = int(sys.argv[3])\n"
        "ledger.add_all([(make_job(seed), make_run(make_job(seed)))]); ledger.close()\n"
    )
    start = str(time.time() + 4)
    command = [sys.executable, "-c", script, str(tmp_path / "a.db"), start]
    makers = [
        subprocess.Popen([*command, str(seed)], stderr=subprocess.PIPE, text=True)
        for seed in range(4)
    ]
    assert [maker.communicate()[1] for maker in makers] == [""] * 4
    with closing(Ledger(tmp_path / "a.db", create=False)) as ledger:
        assert {run.key.seed for run in ledger.runs()} == {0, 1, 2, 3}


def test_a_closed_ledger_is_one_file_that_is_read_without_writing(tmp_path):
    """SQLite reads a file with a write-ahead log only where it may write beside it: bytes 18 and 19
    say whether it has one.
    """
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        ledger.add_all([(make_job(), make_run(make_job()))])
        with closing(
            Ledger(tmp_path / "a.db")
        ) as other:  # who closes while it is in use lets it be
            other.add_all([(make_job(1), make_run(make_job(1)))])
        assert len(ledger.runs()) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.db"]
    assert (tmp_path / "a.db").read_bytes()[18:20] == b"\1\1"


def test_a_killed_writer_loses_nothing_acknowledged(tmp_path):
    """A real process appends runs and says so; after kill -9 all that it said is there, whole."""
    script = (
        "import sys; from tests.runs.test_ledger import *\n"
        f"ledger = Ledger({str(tmp_path / 'a.db')!r})\n"
        "for seed in range(10**6):\n"
        "    ledger.add_all([(make_job(seed), make_run(make_job(seed)))])\n"
        "    print(seed, flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as writer:
        said = [int(writer.stdout.readline()) for _ in range(40)]
        os.kill(writer.pid, signal.SIGKILL)
        said += [int(line) for line in writer.stdout if line.endswith("\n")]
    with closing(Ledger(tmp_path / "a.db", create=False)) as ledger:
        stored = [run.key.seed for run in ledger.runs()]
    assert stored[: len(said)] == said
    assert len(stored) <= len(said) + 1


IMAGES = SplitSummary(
    dataset="digits",
    digest="d" * 64,
    split="val20-v1.0",
    origin="drawn",
    training=10,
    available=20,
    labels=np.arange(5),
    groups=np.array([3, 3, 2, 2, 1], np.int32),
)


def test_names_of_classes_are_added_where_only_the_images_are_stored(tmp_path):
    """As an earlier version left them; other splits of the images have the same names."""
    named = replace(IMAGES, classes=("ant", "bee", "cat", "dog", "elk"))
    other = replace(named, split="test")
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        for each in (IMAGES, named, named, other):
            ledger.add_images(each)
        assert [each.classes for each in ledger.all_images()] == [named.classes] * 2
        assert {each.split for each in ledger.all_images()} == {"val20-v1.0", "test"}


def test_images_and_the_names_of_their_classes_are_stored_at_once(tmp_path):
    named = replace(IMAGES, classes=("ant", "bee", "cat", "dog", "elk"))
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        ledger.add_all([(make_job(), make_run(make_job()))])
        with closing(sqlite3.connect(tmp_path / "a.db")) as connection, connection:
            refuse = "create trigger refuse before insert on ledger_classes begin select raise"
            connection.execute(f"{refuse}(abort, 'no space'); end")  # so the second one fails
        with suppress(StoreError):
            ledger.add_images(named)
        with closing(sqlite3.connect(tmp_path / "a.db")) as connection, connection:
            assert connection.execute("select * from ledger_images").fetchall() == []
            connection.execute("drop trigger refuse")
        ledger.add_images(named)
        assert [each.classes for each in ledger.all_images()] == [named.classes]


def test_what_the_images_are_is_stored_once_and_noticed_where_it_is_edited(tmp_path):
    images = IMAGES
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        assert ledger.images(images.digest, images.split) is None
        ledger.add_images(images)
        ledger.add_images(replace(images, origin="another"))
        (found,) = ledger.all_images()
    assert found.origin == "drawn"
    assert (found.labels == images.labels).all()
    assert (found.groups == images.groups).all()
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection, connection:
        connection.execute("update ledger_images set origin = 'published'")
    with closing(Ledger(tmp_path / "a.db")) as ledger, pytest.raises(StoreError, match="checksum"):
        ledger.all_images()


def test_a_flipped_bit_in_predictions_is_noticed(tmp_path):
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        ledger.add_all([(make_job(), make_run(make_job()))])
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection, connection:
        (classes,) = connection.execute("select classes from ledger_predictions").fetchone()
        for bit in range(8 * len(classes)):
            changed = bytearray(classes)
            changed[bit // 8] ^= 1 << bit % 8
            connection.execute("update ledger_predictions set classes = ?", (bytes(changed),))
            connection.commit()
            with closing(Ledger(tmp_path / "a.db")) as ledger, pytest.raises(StoreError):
                ledger.runs()
