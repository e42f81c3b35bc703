"""Laws of the mirror: Optuna's own reader finds each finished network once, as our steps have it."""

import warnings
from contextlib import closing, contextmanager
from dataclasses import replace

import numpy as np
import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from blocksearch.arch.notation import format_network
from blocksearch.runs.ledger import Ledger
from blocksearch.search.definition import Judged, Wishes, define
from blocksearch.search.objectives import front
from blocksearch.search.optuna_export import Mirror
from blocksearch.search.storage import StepRow
from blocksearch.space.candidates import Candidates
from tests.benchmarks.courses import Space, take
from tests.search.spaces import SPELLED

SPACE = Space(SPELLED)
POOL = Candidates(SPELLED)


def definition(wishes=None):
    return define(
        "spelled",
        SPELLED,
        (),
        SPELLED,
        Judged("made", "", "", "", 1, "made up"),
        wishes or Wishes(),
    )


@contextmanager
def mirror(file, name="made", pool=POOL, wishes=None):
    with closing(Ledger(file)) as ledger:
        url = ledger.engine.url.render_as_string(hide_password=False)
        with closing(Mirror(url, name, definition(wishes), pool)) as made:
            yield made


def steps(trials=30, seed=0):
    """Steps of a search whose every seventh network failed."""
    course = SPACE.course(Wishes(seed=seed, seeds=2), trials)
    pool, rows = course.policy.pool, []
    for told in take(course):
        step, network = told.step, pool.network(told.step.row)
        failed = step.trial % 7 == 6
        state, accuracies = ("failed", ()) if failed else ("complete", told.accuracies)
        memory = {"code": pool.codes[step.row].tolist()}
        costs, text = pool.cost(step.row), format_network(network)
        rows.append(
            StepRow(
                step.number,
                step.trial,
                step.kind,
                step.origin,
                network.digest,
                text,
                costs,
                step.seed,
                1,
                state,
                accuracies,
                memory,
            )
        )
    return rows


def read(file, name="made"):
    return optuna.load_study(study_name=name, storage=f"sqlite:///{file}")


@pytest.fixture(scope="module")
def rows():
    return steps()


@pytest.fixture(scope="module")
def study(tmp_path_factory, rows):
    file = tmp_path_factory.mktemp("mirror") / "study.db"
    with mirror(file) as made:
        for row in rows:
            made.add(row)
    return read(file)


def test_each_network_is_there_once_and_finished(study, rows):
    first = {row.trial: row for row in rows if row.kind == "new"}
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
    done = [row for row in rows if row.kind == "new" and row.accuracies]
    points = np.array([[row.accuracy, row.costs["flops"]] for row in done])
    assert {tuple(trial.values) for trial in study.best_trials} == {
        tuple(points[place]) for place in front(points)
    }
    assert study.metric_names == ["accuracy", "flops"]
    assert study.user_attrs["title"].endswith("made up")


def test_a_step_that_was_stored_but_not_mirrored_is_added_once(tmp_path, rows):
    file = tmp_path / "study.db"
    with mirror(file) as made:
        for row in rows[:11]:
            made.add(row)
    for _ in range(2):
        with mirror(file) as made:
            made.catch_up(rows)
            made.catch_up(rows)
    found = [trial.user_attrs["trial"] for trial in read(file).trials]
    assert found == [row.trial for row in rows if row.kind == "new"]
    assert [trial.number for trial in read(file).trials] == list(range(len(found)))


def test_what_a_race_left_behind_is_not_there_until_it_comes_to_the_horizon(tmp_path, rows):
    file, first = tmp_path / "study.db", rows[0]
    with mirror(file) as made:
        made.add(replace(first, state="partial"))
        assert not read(file).trials
        made.add(replace(first, kind="longer"))
        made.add(replace(first, kind="seed", seed=1, accuracies=(1.0,)))
    (trial,) = read(file).trials
    assert trial.values == [first.accuracy, first.costs["flops"]]


def test_two_studies_in_a_file_do_not_disturb_each_other(tmp_path, rows):
    file, others = tmp_path / "study.db", steps(12, seed=1)
    with (
        mirror(file) as one,
        mirror(file, "other", wishes=Wishes(objectives=("accuracy", "params"))) as other,
    ):
        for place, row in enumerate(others):
            other.add(row)
            if place < 5:
                one.add(rows[place])
    with mirror(file) as one:
        one.catch_up(rows)
    assert len(read(file).trials) == len({row.trial for row in rows})
    assert [t.user_attrs["fingerprint"] for t in read(file, "other").trials] == [
        r.network for r in others if r.kind == "new"
    ]
    assert [t.number for t in read(file, "other").trials] == list(range(12))
    assert read(file, "other").metric_names == ["accuracy", "params"]


@pytest.mark.parametrize("written", ["study.db", "~/study.db", "sqlite:///study.db"])
def test_the_mirror_is_in_the_file_of_the_ledger_however_that_is_written(
    tmp_path, monkeypatch, rows, written
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # none reaches a user's screen
        with mirror(written) as made:
            made.add(rows[0])
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".db"] == ["study.db"]
    tables = sa.inspect(sa.create_engine(f"sqlite:///{tmp_path / 'study.db'}")).get_table_names()
    assert {"ledger_runs", "trials"} <= set(tables)
    assert len(read(tmp_path / "study.db").trials) == 1
