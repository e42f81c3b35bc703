"""Laws of the export: Optuna's own reader finds each finished network once, as we have it."""

import warnings
from contextlib import closing, contextmanager
from dataclasses import replace

import numpy as np
import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from blocksearch.runs.ledger import Ledger
from blocksearch.search.config import StudyConfig
from blocksearch.search.objectives import Prices, front
from blocksearch.search.optuna_io import Export
from blocksearch.search.trials import TrialKind
from blocksearch.search.trials import TrialState as Ours
from blocksearch.space.candidates import Candidates
from tests.benchmarks.queues import Space, take
from tests.made import optuna_file
from tests.search.spaces import SPELLED

SPACE = Space(SPELLED)
POOL = Candidates(SPELLED)


@contextmanager
def export(file, name="made", pool=POOL, **fields):
    config = StudyConfig(name=name, **fields)
    definition = SPACE.definition(Prices(pool, config.costs), config)
    with closing(Ledger(file)), closing(Export(str(file), definition, pool)) as made:
        yield made


def steps(trials=30, seed=0):
    """Steps of a search whose every seventh network failed."""
    queue = SPACE.queue(StudyConfig(seed=seed, seeds=2), trials - 6)
    pool, rows = queue.policy.pool, []
    for trial in take(queue):
        network, lost = pool.network(trial.row), trial.number % 7 == 6
        rows.append(
            replace(
                trial,
                state=Ours.DIVERGED if lost else Ours.COMPLETE,
                accuracies=() if lost else trial.accuracies,
                network=network.digest,
                text=str(network),
                costs=pool.cost(trial.row),
                memory={"code": pool.codes[trial.row].tolist()},
            )
        )
    return rows


def read(file, name="made"):
    return optuna.load_study(study_name=name, storage=optuna_file(file))


@pytest.fixture(scope="module")
def rows():
    return steps()


@pytest.fixture(scope="module")
def study(tmp_path_factory, rows):
    file = tmp_path_factory.mktemp("export") / "study.db"
    with export(file) as made:
        made.add(rows)
    return read(file)


def test_each_network_is_there_once_and_finished(study, rows):
    first = {row.number: row for row in rows if row.kind == TrialKind.NEW}
    assert [trial.user_attrs["trial"] for trial in study.trials] == list(first)
    assert [trial.number for trial in study.trials] == list(range(len(first)))
    for trial in study.trials:
        row = first[trial.user_attrs["trial"]]
        assert trial.state == (TrialState.COMPLETE if row.accuracies else TrialState.FAIL)
        assert trial.values == ([row.accuracy, row.costs["flops"]] if row.accuracies else None)
        assert (trial.user_attrs["fingerprint"], trial.user_attrs["origin"]) == (
            row.network,
            row.origin,
        )
        assert trial.user_attrs["network"] == row.text
        assert {name: trial.user_attrs[name] for name in row.costs} == row.costs
        assert trial.datetime_complete is not None


def test_params_say_what_a_member_is_made_of_and_nothing_of_a_stranger(study, rows):
    strangers = 0
    for trial in study.trials:
        code = [
            trial.distributions[name].to_internal_repr(value)
            for name, value in trial.params.items()
        ]
        row = POOL.decode(code) if trial.params else None
        if row is None:
            strangers += 1
            assert trial.user_attrs["origin"] != "evolution"
        else:
            assert POOL.network(row).digest == trial.user_attrs["fingerprint"]
            assert tuple(trial.params) == POOL.encoding.names
    assert 0 < strangers <= 6


def test_optuna_draws_the_front_of_our_first_seeds(study, rows):
    done = [row for row in rows if row.kind == TrialKind.NEW and row.accuracies]
    points = np.array([[row.accuracy, row.costs["flops"]] for row in done])
    assert {tuple(trial.values) for trial in study.best_trials} == {
        tuple(points[place]) for place in front(points)
    }
    assert study.metric_names == ["accuracy", "flops"]
    assert study.user_attrs["title"].endswith("made up")


def test_a_step_that_was_stored_but_not_copied_is_added_once(tmp_path, rows):
    file = tmp_path / "study.db"
    with export(file) as made:
        made.add(rows[:11])
    for _ in range(2):
        with export(file) as made:
            made.add(rows)
            made.add(rows)
    found = [trial.user_attrs["trial"] for trial in read(file).trials]
    assert found == [row.number for row in rows if row.kind == TrialKind.NEW]
    assert [trial.number for trial in read(file).trials] == list(range(len(found)))


def test_what_a_race_left_behind_is_not_there_until_it_comes_to_the_horizon(tmp_path, rows):
    file, first = tmp_path / "study.db", rows[0]
    with export(file) as made:
        made.add([replace(first, state=Ours.PARTIAL)])
        made.flush()
        assert not read(file).trials
        made.add([replace(first, kind=TrialKind.PROMOTION)])
        made.add([replace(first, kind=TrialKind.SEED, seed=1, accuracies=(1.0,))])
    (trial,) = read(file).trials
    assert trial.values == [first.accuracy, first.costs["flops"]]


def test_two_studies_in_a_file_do_not_disturb_each_other(tmp_path, rows):
    file, others = tmp_path / "study.db", steps(12, seed=1)
    with (
        export(file) as one,
        export(file, "other", objectives=("accuracy", "params")) as other,
    ):
        for place, row in enumerate(others):
            other.add([row])
            if place < 5:
                one.add(rows[place : place + 1])
    with export(file) as one:
        one.add(rows)
    assert len(read(file).trials) == len({row.number for row in rows})
    assert [t.user_attrs["fingerprint"] for t in read(file, "other").trials] == [
        r.network for r in others if r.kind == TrialKind.NEW
    ]
    assert [t.number for t in read(file, "other").trials] == list(range(12))
    assert read(file, "other").metric_names == ["accuracy", "params"]


@pytest.mark.parametrize("written", ["study.db", "~/study.db", "sqlite:///study.db"])
def test_the_export_is_in_the_file_of_the_ledger_however_that_is_written(
    tmp_path, monkeypatch, rows, written
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # none reaches a user's screen
        with export(written) as made:
            made.add(rows[:1])
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".db"] == ["study.db"]
    tables = sa.inspect(sa.create_engine(f"sqlite:///{tmp_path / 'study.db'}")).get_table_names()
    assert {"ledger_runs", "trials"} <= set(tables)
    assert len(read(tmp_path / "study.db").trials) == 1
