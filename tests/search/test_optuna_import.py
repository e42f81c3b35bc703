"""Studies that Optuna made alone: shown as they are, and never written to."""

import csv
import hashlib
import io
import math
import sqlite3
import warnings
from contextlib import closing
from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

import blocksearch as bs
from blocksearch.errors import BlocksearchError, ConfigError, MissingError, StoreError
from blocksearch.report.front import front_report
from blocksearch.report.table import Priority
from blocksearch.report.writers import save
from blocksearch.search import optuna_import
from blocksearch.search.importance import study_effects
from blocksearch.search.results import RESERVED, as_rows, plain
from blocksearch.search.summary import summarise
from tests.commands import command
from tests.made import optuna_file
from tests.search.made import HOSTILE, searched

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
optuna.logging.set_verbosity(optuna.logging.WARNING)


def made_by_optuna(
    file, values, directions=("maximize", "minimize"), name="theirs", metrics=None, states=()
):
    """Write a study with optuna alone: a trial for each row of values, and one without values for
    each of some states.
    """
    study = optuna.create_study(
        storage=optuna_file(file), study_name=name, directions=list(directions)
    )
    if metrics:
        study.set_metric_names(list(metrics))
    for number, row in enumerate(values):
        x = {"params": {"x": float(number)}, "distributions": {"x": FloatDistribution(0, 1000)}}
        study.add_trial(create_trial(values=list(row), **x))
    for state in states:
        study.add_trial(create_trial(state=state))
    study._storage.remove_session()
    study._storage._backend.engine.dispose()
    return str(file)


VALUES = [(0.5, 10.0), (0.9, 100.0), (0.4, 20.0), (0.9, 200.0), (0.6, 10.0)]


def test_maximised_and_minimised_objectives_are_told_apart(tmp_path):
    file = made_by_optuna(tmp_path / "a.db", VALUES, metrics=("recall", "latency"))
    found = summarise(file)
    assert [entry.trial for entry in found.front] == [4, 1]
    assert [(axis.name, axis.maximise) for axis in found.axes] == [
        ("recall", True),
        ("latency", False),
    ]
    assert found.front[0].mean == 0.6
    assert found.front[0].costs == {"latency": 10.0}
    assert found.front[0].text == "x=4.0"
    assert found.front[0].interval is None


def test_trials_that_break_the_studys_constraints_are_left_out_and_counted(tmp_path):
    url = optuna_file(tmp_path / "a.db")
    study = optuna.create_study(
        storage=url, study_name="theirs", directions=["maximize", "minimize"]
    )
    for number, values in enumerate(VALUES):
        constraints = {"memory": 1.0 if number in (1, 3) else -1.0}
        study.add_trial(create_trial(values=list(values), constraints=constraints))
    found = summarise(str(tmp_path / "a.db"))
    assert {entry.trial for entry in found.front} == {t.number for t in study.best_trials} == {4}
    assert len(found.entries) == 3
    assert "2 infeasible by the study's own constraints" in " ".join(found.notes)


@pytest.mark.parametrize(
    ("directions", "front"),
    [
        (("minimize", "minimize"), {2, 0}),
        (("maximize", "maximize"), {3}),
        (("minimize", "maximize"), {2, 3}),
        (("maximize", "minimize"), {4, 1}),
    ],
)
def test_every_pair_of_directions(tmp_path, directions, front):
    found = summarise(made_by_optuna(tmp_path / "a.db", VALUES, directions))
    theirs = {
        trial.number
        for trial in optuna.load_study(
            study_name="theirs", storage=optuna_file(tmp_path / "a.db")
        ).best_trials
    }
    assert {entry.trial for entry in found.front} == theirs == front


def test_more_than_two_objectives_are_objectives_like_others(tmp_path):
    rows = [(1.0, 1.0, 3.0), (1.0, 2.0, 2.0), (1.0, 2.0, 3.0), (2.0, 9.0, 9.0)]
    found = summarise(made_by_optuna(tmp_path / "a.db", rows, ("maximize", "minimize", "minimize")))
    assert {entry.trial for entry in found.front} == {0, 1, 3}
    assert [axis.name for axis in found.axes] == ["objective 0", "objective 1", "objective 2"]


def test_the_volume_is_of_the_range_of_its_own_trials_and_says_so(tmp_path):
    found = summarise(
        made_by_optuna(tmp_path / "a.db", [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5), (0.5, 1.0)])
    )
    assert found.volume == pytest.approx(
        0.25
    )  # the square below (0.5, 0.5): the two ends are on the reference
    assert found.walk == pytest.approx([0, 0, 0.25, 0.25])
    assert (
        "objective 0 from 0 to 1; objective 1 from 1 to 0: the range of this study's own trials"
        in found.frame
    )


def test_trials_without_values_are_counted_by_their_states(tmp_path):
    states = [
        TrialState.FAIL,
        TrialState.FAIL,
        TrialState.PRUNED,
        TrialState.RUNNING,
        TrialState.WAITING,
    ]
    found = summarise(made_by_optuna(tmp_path / "a.db", [*VALUES, (math.inf, 1.0)], states=states))
    assert len(found.entries) == 5
    assert (
        found.notes[1]
        == "trials that are not shown: 2 FAIL, 1 PRUNED, 1 RUNNING, 1 WAITING, 1 with values that "
        "are not finite"
    )


def test_a_study_without_a_finished_trial_is_shown_empty(tmp_path):
    found = summarise(made_by_optuna(tmp_path / "a.db", [], states=[TrialState.FAIL]))
    assert (found.front, found.volume, found.walk) == ((), 0.0, ())


def test_one_objective_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="has one objective: a front needs two or more"):
        summarise(made_by_optuna(tmp_path / "a.db", [(1.0,)], ("maximize",)))


def test_effects_need_a_study_of_ours(tmp_path):
    with pytest.raises(ConfigError, match="made with Optuna alone"):
        study_effects(made_by_optuna(tmp_path / "a.db", VALUES))


def fingerprints(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(folder).iterdir()
    }


def test_nothing_is_written_into_the_file_or_beside_it(tmp_path):
    file = made_by_optuna(tmp_path / "a.db", VALUES)
    before = fingerprints(tmp_path)
    summarise(file)
    for ask, kind in (
        (study_effects, ConfigError),
        (lambda own: summarise(own, "x"), MissingError),
    ):
        with pytest.raises(kind):
            ask(file)
    command("pareto", file, cwd=tmp_path)
    assert fingerprints(tmp_path) == before


@pytest.mark.slow
def test_several_studies_and_ours_among_them(tmp_path):
    file = made_by_optuna(tmp_path / "a.db", VALUES, name="first")
    made_by_optuna(tmp_path / "a.db", VALUES[:2], name="second")
    assert (summarise(file).name, summarise(file).others) == ("second", ("first",))
    assert len(summarise(file, "first").entries) == 5
    with pytest.raises(StoreError, match="unknown study 'frist' \\(did you mean 'first'"):
        summarise(file, "frist")
    searched(tmp_path / "a.db", "ours", trials=10)
    assert (summarise(file).name, summarise(file).others) == ("ours", ("first", "second"))
    assert summarise(file, "second").name == "second"


def test_names_that_collide_or_are_hostile_stay_apart(tmp_path):
    found = summarise(
        made_by_optuna(tmp_path / "a.db", VALUES, metrics=("trial", "network"), name=HOSTILE[0])
    )
    assert [axis.name for axis in found.axes] == ["trial'", "network'"]
    row = as_rows(found.axes, found.entries)[1]
    assert [row[key] for key in ("trial", "trial'", "network'", "network")] == [
        1,
        0.9,
        100.0,
        "x=1.0",
    ]


FAR = (1e18, -1e20, 1.7e308, -1.7e308)  # what people return for a network that failed


def at_random(url, number):
    """Make a study of two to four objectives: ties, huge penalties, constraints on some trials,
    and trials that failed, were pruned, or wait.
    """
    rng = np.random.default_rng(number)
    axes = int(rng.integers(2, 5))
    directions = [str(rng.choice(["maximize", "minimize"])) for _ in range(axes)]
    study = optuna.create_study(storage=url, study_name=f"study{number}", directions=directions)
    constrained, near = rng.random() < 0.7, 10.0 ** rng.integers(-3, 4)
    trials = []
    for _ in range(int(rng.integers(0, 25))):
        state = rng.choice([1, 1, 1, 1, 2, 3, 4])
        values = [float(near * value) for value in rng.integers(0, 4, axes)]
        if rng.random() < 0.15:
            values[int(rng.integers(axes))] = float(rng.choice(FAR))
        limits = rng.choice([-1.0, 0.0, 1e-9, 2.0], int(rng.integers(0, 3)), p=[0.5, 0.3, 0.1, 0.1])
        trials.append(
            create_trial(
                state=TrialState(state),
                values=values if state == 1 else None,
                constraints=dict(zip("ab", map(float, limits), strict=False))
                if constrained
                else None,
            )
        )
    study.add_trials(trials)
    return study


def law(folder, numbers):
    """The front is what Optuna calls the best trials, and none of it is shown as beaten."""
    url = optuna_file(folder / "a.db")
    some = 0
    for number in numbers:
        study = at_random(url, number)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # no overflow is whispered
            warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
            found = summarise(str(folder / "a.db"), study.study_name)
            report = front_report(found)
        theirs = {trial.number for trial in study.best_trials}
        assert {entry.trial for entry in found.front} == theirs
        assert {entry.trial for entry in found.entries if entry.on_front} == theirs
        rows = report.data()["networks"]
        assert {row["trial"] for row in rows if row["front"]} == theirs
        grey = [series for figure in report.figures for series in figure.series]
        beaten = {h[0] for own in grey if own.name == "dominated" for h in own.hover}
        assert not beaten & {f"trial {trial}" for trial in theirs}
        assert 0 <= found.volume <= 1
        some += len(theirs) > 1
    assert some > len(numbers) / 3


def test_the_front_is_what_optuna_calls_the_best_trials(tmp_path):
    law(tmp_path, range(12))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 200, 40))
def test_so_it_is_in_two_hundred_studies(tmp_path, first):
    law(tmp_path, range(first, first + 40))


def test_small_differences_beside_a_penalty_are_differences(tmp_path):
    rows = [(0.1, 300.0), (0.2, 200.0), (0.3, 100.0), (0.4, 150.0), (1e18, 1e18)]
    found = summarise(made_by_optuna(tmp_path / "a.db", rows, ("minimize", "minimize")))
    assert {entry.trial for entry in found.front} == {0, 1, 2}
    far = (
        "some trials are so far from the others in objective 0 and objective 1 that it says little"
    )
    assert far in found.frame
    near = summarise(made_by_optuna(tmp_path / "b.db", rows[:-1], ("minimize", "minimize")))
    assert "says little" not in near.frame


def test_equal_points_are_all_on_the_front(tmp_path):
    rows = [(90.0, 100.0), (90.0, 100.0), (80.0, 200.0)]
    found = summarise(made_by_optuna(tmp_path / "a.db", rows))
    assert [entry.trial for entry in found.front] == [0, 1]
    for suffix in (".csv", ".html", ".svg", ".md"):
        save(front_report(found), tmp_path / f"a{suffix}")
    with (tmp_path / "a.csv").open() as lines:
        assert [row["front"] for row in csv.DictReader(lines)] == ["yes", "yes", "no"]


def test_numbers_of_a_csv_read_back_as_they_were(tmp_path):
    rng = np.random.default_rng(0)
    rows = [(91.23456789012345, 1234567890123456.0), (90.1, 1234567890123455.0), (33.3, 1e18)]
    rows += [tuple(rng.random(2) * 10.0 ** rng.integers(-9, 22, 2)) for _ in range(40)]
    found = summarise(made_by_optuna(tmp_path / "a.db", rows))
    save(front_report(found), tmp_path / "a.csv")
    text = (tmp_path / "a.csv").read_text()
    read = {int(row["trial"]): row for row in csv.DictReader(io.StringIO(text))}
    for number, (one, other) in enumerate(rows):
        assert float(read[number]["objective 0"]) == one
        assert float(read[number]["objective 1"]) == other
    assert read[0]["objective 1"] == "1234567890123456.0"
    assert read[2]["objective 1"] == "1000000000000000000"


def test_a_parameter_is_one_unit_whatever_is_in_it(tmp_path):
    study = optuna.create_study(
        storage=optuna_file(tmp_path / "a.db"),
        study_name="theirs",
        directions=["maximize", "minimize"],
    )
    for number, (first, second) in enumerate([("x=1 [y]", "p q"), ("x=1 [y]", "r")]):
        params = {"a": first, "learning rate": second}
        kinds = {
            "a": CategoricalDistribution(["x=1 [y]", "z"]),
            "learning rate": CategoricalDistribution(["p q", "r"]),
        }
        values = [float(number), float(number)]
        study.add_trial(create_trial(values=values, params=params, distributions=kinds))
    report = front_report(summarise(str(tmp_path / "a.db")))
    table = report.tables[0]
    assert table.notes == ('all: a="x=1 [y]"',)
    _, cells = table.cells(Priority.WIDE)
    assert {row[-1] for row in cells} == {'"learning rate"="p q"', '"learning rate"=r'}


def test_trials_without_parameters_say_so(tmp_path):
    study = optuna.create_study(
        storage=optuna_file(tmp_path / "a.db"), directions=["maximize", "minimize"]
    )
    study.add_trials([create_trial(values=[float(n), float(n)]) for n in range(3)])
    table = front_report(summarise(str(tmp_path / "a.db"))).tables[0]
    assert table.notes == ()
    assert {row[-1] for row in table.cells(Priority.WIDE)[1]} == {"(no parameters)"}


@given(
    st.lists(st.sampled_from(["a", "a'", "a''", "trial", "trial'", "shown", "x\x1b"]), min_size=2)
)
def test_each_objective_has_a_name_of_its_own(names):
    found = optuna_import._unique(names)
    assert len({*found, *RESERVED}) == len(found) + len(RESERVED)
    assert all(own.startswith(plain(name)) for own, name in zip(found, names, strict=True))


@pytest.mark.parametrize(
    "metrics", [("x", "a'", "a"), ("a", "a", "a'"), ("count", "shown", "trial")]
)
def test_no_value_stands_under_the_name_of_another_objective(tmp_path, metrics):
    values = [(1.0, 10.0, 200.0), (2.0, 20.0, 100.0), (0.0, 5.0, 300.0)]
    file = made_by_optuna(
        tmp_path / "a.db", values, directions=["maximize", "minimize", "minimize"], metrics=metrics
    )
    found = summarise(file)
    rows = {row["trial"]: row for row in as_rows(found.axes, found.entries)}
    for number, own in enumerate(values):
        assert tuple(rows[number][axis.name] for axis in found.axes) == own


SAYS = "INSERT INTO trial_system_attributes (trial_id, key, value_json) VALUES (1, "
NAMED = "INSERT INTO study_system_attributes (study_id, key, value_json) "
NAMED += "VALUES (1, 'study:metric_names', "
HOSTILE_EDITS = [
    "DELETE FROM trial_values WHERE trial_id = 1",
    "DELETE FROM trial_values WHERE trial_id = 1 AND objective = 1",
    "INSERT INTO trial_values VALUES (99, 1, 2, 1.0, 'FINITE')",
    "UPDATE trial_values SET objective = 7 WHERE trial_id = 1 AND objective = 1",
    "UPDATE trial_values SET value = 'text' WHERE trial_id = 1",
    "UPDATE trial_values SET value = x'00ff' WHERE trial_id = 1",
    "UPDATE trial_values SET value_type = 'HUGE' WHERE trial_id = 1",
    "UPDATE trial_values SET value = NULL WHERE trial_id = 1",
    "UPDATE trials SET state = 'ASLEEP' WHERE trial_id = 1",
    "UPDATE trials SET number = 'one' WHERE trial_id = 1",
    "UPDATE study_directions SET direction = 'SIDEWAYS'",
    "DELETE FROM study_directions WHERE objective = 1",
    "DELETE FROM study_directions",
    "UPDATE trial_params SET param_value = 99",
    "UPDATE trial_params SET distribution_json = '{'",
    "UPDATE trial_params SET distribution_json = '[]'",
    "UPDATE trial_params SET distribution_json = x'00'",
    NAMED + "'5')",
    NAMED + "'[\"a\"]')",
    NAMED + "'[1, 2]')",
    SAYS + "'constraints', '5')",
    SAYS + "'constraints', '[\"a\"]')",
    SAYS + "'x', 'no json')",
    "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (1, 'x', x'00')",
    "DELETE FROM version_info",
    "UPDATE alembic_version SET version_num = 'v99'",
    "DELETE FROM alembic_version",
    "UPDATE studies SET study_name = x'00ff'",
    "DROP TABLE trial_params",
]


@pytest.mark.parametrize("edit", HOSTILE_EDITS)
def test_what_optuna_would_not_have_written_is_one_typed_line(tmp_path, edit):
    url = optuna_file(tmp_path / "a.db")
    study = optuna.create_study(
        storage=url, study_name="theirs", directions=["maximize", "minimize"]
    )
    kinds = {"a": CategoricalDistribution(["p", "q"])}
    study.add_trials(
        [create_trial(values=[1.0, n], params={"a": "p"}, distributions=kinds) for n in (1.0, 2.0)]
    )
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute(edit)
        connection.commit()
    with pytest.raises(BlocksearchError) as raised:
        summarise(str(tmp_path / "a.db"))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize("suffix", [".svg", ".html", ".png", ".csv", ".json", ".md", ".txt"])
def test_values_as_large_as_numbers_get_are_drawn_and_written(tmp_path, suffix):
    rows = [(-1.7e308, 1.7e308), (1.7e308, -1e308), (1.0, 2.0), (0.0, 1e-300)]
    found = summarise(made_by_optuna(tmp_path / "a.db", rows))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(front_report(found), tmp_path / f"a{suffix}")
    assert (tmp_path / f"a{suffix}").stat().st_size > 100


def test_what_is_printed_of_parameters_has_four_digits_and_what_is_written_all(tmp_path):
    storage = optuna_file(tmp_path / "a.db")
    study = optuna.create_study(storage=storage, directions=["maximize", "minimize"])
    study.enqueue_trial({"lr": 0.003857105554045355, "k": 3})
    study.optimize(lambda t: (t.suggest_float("lr", 1e-5, 1), t.suggest_int("k", 1, 9)), n_trials=1)
    answer = bs.front(tmp_path / "a.db")
    assert "lr=0.003857 k=3" in answer.table()
    assert answer.records()[0]["network"] == "lr=0.003857105554045355 k=3"
    assert "set_metric_names" in answer.table()
    study.set_metric_names(["accuracy", "time"])
    assert "set_metric_names" not in bs.front(tmp_path / "a.db").table()
