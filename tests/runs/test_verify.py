"""Stored runs trained again come out equal to the bit, seeds that shared a module together."""

import hashlib
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import stdev

import pytest

from blocksearch.arch.zoo import TASKS, named_network
from blocksearch.errors import ConfigError, DataError, StoreError
from blocksearch.runs.callback import Callback
from blocksearch.runs.config import RunConfig
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.plan import experiment
from blocksearch.runs.records import RunKey, RunState
from blocksearch.runs.scheduler import ensure
from blocksearch.runs.verify import Likeness, _seeds_with, verify
from tests.ablation.test_study import made_run

SHIPPED = Path(__file__).parents[2] / "studies" / "first-answer.db"
NETWORK = named_network("mobilenet", replace(TASKS["digits"], widths=(4, 6, 8)))


@pytest.fixture(scope="module")
def stored(tmp_path_factory, root):
    folder = tmp_path_factory.mktemp("stored")
    settings = RunConfig(
        dataset="digits", max_images=64, batch=16, epochs=2, data_root=root, workers=2,
        db=str(folder / "runs.db"),
    ).settings()  # fmt: skip
    jobs = experiment(settings, NETWORK).jobs([NETWORK], range(5))
    ensure(jobs, settings, Callback())
    return settings


def copied(stored, tmp_path) -> Path:
    file = tmp_path / "copy.db"
    file.write_bytes(Path(stored.ledger).read_bytes())
    return file


@pytest.mark.slow
def test_runs_come_out_equal_to_the_bit_and_the_file_is_only_read(stored):
    before = hashlib.sha256(Path(stored.ledger).read_bytes()).hexdigest()
    found = verify(stored.ledger, 2, stored.root, 2)
    assert sorted(each.together for each in found) == [(0, 1, 2)] * 3 + [(3, 4)] * 2
    assert {each.likeness for each in found} == {Likeness.EQUAL}
    assert all(each.alike and not each.wrong and each.record()["difference"] == 0 for each in found)
    assert hashlib.sha256(Path(stored.ledger).read_bytes()).hexdigest() == before


@pytest.mark.slow
def test_another_result_on_the_same_machine_is_wrong_and_elsewhere_is_measured(stored, tmp_path):
    """Runs with other figures than the training gives, one of this machine and three of others.

    Chosen first is what must be equal here, then what does not say by which instructions it was.
    """
    file = tmp_path / "other.db"
    with closing(Ledger(stored.ledger)) as old, closing(Ledger(file)) as new:
        job = experiment(stored, NETWORK).jobs([NETWORK], [0])[0]
        (known,) = old.find([job.key]).values()
        elsewhere = [{}, {"processor": "another"}, {"instructions": "AVX2, another"}]
        for seed, other in enumerate([*elsewhere, {"instructions": None}], 7):
            own = replace(job, key=replace(job.key, seed=seed))
            made = made_run(own.key, RunState.COMPLETE, (1.5, 2.5 + seed))
            where = known.provenance | other | {"seeds": str(seed)}
            where = {name: value for name, value in where.items() if value is not None}
            new.add_all([(own, replace(made, losses=(1.0, 1.0), epoch_to=2, provenance=where))])
    assert [each.stored.key.seed for each in verify(str(file), 2, stored.root, 1)] == [7, 10]
    found = {each.stored.key.seed: each for each in verify(str(file), 4, stored.root, 1)}
    assert {each.likeness for each in found.values()} == {Likeness.DIFFERENT}
    assert (found[7].alike, found[7].wrong) == (True, True)
    assert (found[8].alike, found[8].wrong) == (False, False)
    assert (found[9].alike, found[9].wrong) == (False, False)
    assert (found[10].alike, found[10].wrong) == (None, False)  # as runs of before
    record = found[8].record()
    assert record["difference"] == pytest.approx(record["again"] - 10.5)
    assert record["spreads"] == pytest.approx(record["difference"] / stdev((9.5, 10.5, 11.5, 12.5)))


@pytest.mark.parametrize(
    ("mode", "seed", "seeds"),
    [("serial", 4, (4,)), ("3 seeds fused", 6, (5, 6, 7)), ("2 seeds fused", 3, (3, 4))],
)
def test_runs_of_before_are_divided_by_the_rule(mode, seed, seeds):
    key = RunKey(network="n", dataset="digits", data="d", protocol="test", recipe="r", seed=seed)
    run = replace(made_run(key, RunState.COMPLETE, (5.0,)), provenance={"mode": mode})
    assert _seeds_with(run) == seeds


@pytest.mark.slow
def test_what_cannot_be_made_again_is_said(stored, tmp_path):
    with pytest.raises(ConfigError, match="at least 1, but got 0"):
        verify(stored.ledger, 0, stored.root)
    file = copied(stored, tmp_path)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("delete from ledger_predictions")
        connection.execute("delete from ledger_runs")
    with pytest.raises(StoreError, match="has no complete run"):
        verify(str(file), 1, stored.root)


def test_runs_whose_modules_are_not_whole_are_said(tmp_path):
    file = shutil.copy(SHIPPED, tmp_path / "a.db")
    with closing(sqlite3.connect(file)) as connection, connection:
        lost = "select checksum from ledger_runs where seed in (1, 3)"
        connection.execute(f"delete from ledger_predictions where run in ({lost})")
        connection.execute("delete from ledger_runs where seed in (1, 3)")
    with pytest.raises(StoreError, match="of each, one that shared its module is not stored"):
        verify(str(file), 1, None)


@pytest.mark.slow
def test_other_images_are_refused(stored, tmp_path):
    file = tmp_path / "others.db"
    with closing(Ledger(file)) as ledger:
        job = experiment(stored, NETWORK).jobs([NETWORK], [0])[0]
        own = replace(job, key=replace(job.key, data="e" * 64))
        ledger.add_all([(own, made_run(own.key, RunState.COMPLETE, (5.0,)))])
    with pytest.raises(
        DataError, match=r"images of digits here .* are not those of the stored runs"
    ):
        verify(str(file), 1, stored.root)
