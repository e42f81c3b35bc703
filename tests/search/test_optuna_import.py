"""Studies that Optuna made alone: shown as they are, and never written to."""

import hashlib
import math
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from blocksearch.errors import ConfigError
from blocksearch.search.importance import study_effects
from blocksearch.search.results import as_rows
from blocksearch.search.summary import summarise
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
        storage=f"sqlite:///{file}", study_name=name, directions=list(directions)
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
    url = f"sqlite:///{tmp_path / 'a.db'}"
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
            study_name="theirs", storage=f"sqlite:///{tmp_path}/a.db"
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
    for ask in (study_effects, lambda file: summarise(file, "x")):
        with pytest.raises(ConfigError):
            ask(file)
    subprocess.run(
        [sys.executable, "-m", "blocksearch", "pareto", file], capture_output=True, check=True
    )
    assert fingerprints(tmp_path) == before


def test_several_studies_and_ours_among_them(tmp_path):
    file = made_by_optuna(tmp_path / "a.db", VALUES, name="first")
    made_by_optuna(tmp_path / "a.db", VALUES[:2], name="second")
    assert (summarise(file).name, summarise(file).others) == ("second", ("first",))
    assert len(summarise(file, "first").entries) == 5
    with pytest.raises(ConfigError, match="unknown study 'frist' \\(did you mean 'first'"):
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
