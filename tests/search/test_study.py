"""A search from a user's own program: images handed over as arrays, an objective of their own, a
script without a guard.
"""

import linecache
import os
import subprocess
import sys
from contextlib import closing
from functools import partial

import numpy as np
import optuna
import pytest

from blocksearch import Grammar, Shape, Study, Task, cost
from blocksearch.errors import ConfigError, DataError
from blocksearch.runs.ledger import Ledger
from blocksearch.search.definition import Judged
from blocksearch.search.objectives import front
from blocksearch.search.trials import Studies

GRAMMAR = Grammar(
    Task(input=Shape(1, 16, 16), widths=(4, 8), classes=4),
    bottleneck=["reduce(1)", "reduce(2)", "reduce(4)"],
    kernel=["3x3", "1x3+3x1"],
    residual=["none", "add"],
)

SCRIPT = """
import numpy as np
from blocksearch import Grammar, Task, Shape, Study

labels = np.arange(400) % 4
images = np.random.default_rng(0).integers(0, 60, (400, 16, 16, 1)) + 40 * labels[:, None, None, None]
grammar = Grammar(Task(input=Shape(1, 16, 16), widths=(4, 8), classes=4), bottleneck=["reduce(1)", "reduce(2)"])
study = Study(grammar, "mine.db", dataset=(images.astype(np.uint8), labels), epochs=2, seeds=2, budgets=["flops <= 1M"])
for entry in study.search(trials=1).front:
    print(f"{entry.mean:.2f}", entry.costs["flops"], entry.text)
"""


def accuracy(network, seed):
    return 40 + 8 * np.log10(cost(network.layers).flops) + seed / 10


@pytest.mark.slow
def test_ten_lines_search_a_users_own_images(tmp_path):
    (tmp_path / "mine.py").write_text(SCRIPT)
    environment = os.environ | {"BLOCKSEARCH_DATA": str(tmp_path / "data")}
    command = [sys.executable, "-W", "error", "mine.py"]
    first = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""
    lines = [line.split() for line in first.stdout.splitlines()]
    assert lines
    assert all(float(mean) > 30 for mean, *_ in lines)
    assert [int(flops) for _, flops, *_ in lines] == sorted(int(flops) for _, flops, *_ in lines)
    again = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert again.stdout == first.stdout


def test_an_objective_of_ones_own_is_called_once_for_each_network_and_seed(tmp_path):
    called = []

    def objective(network, seed):
        called.append((network.digest, seed))
        return accuracy(network, seed)

    study = Study(GRAMMAR, tmp_path / "a.db", objective=objective, seeds=2)
    found = study.search(trials=8)
    assert len(found.entries) == 14
    assert len(called) == len(set(called))
    points = np.array([[entry.mean, entry.costs["flops"]] for entry in found.entries])
    assert [found.entries[row] for row in front(points)] == list(found.front)
    assert all(len(entry.accuracies) == 2 for entry in found.front)
    before = len(called)
    assert Study(GRAMMAR, tmp_path / "a.db", objective=objective, seeds=2).search(trials=8) == found
    assert len(called) == before


def test_what_an_objective_raises_reaches_its_user_and_nothing_is_lost(tmp_path):
    def objective(network, seed):
        if len(seen) == 9:
            raise RuntimeError("the board is not plugged in")
        seen.append(network)
        return accuracy(network, seed)

    seen = []
    with pytest.raises(RuntimeError, match="the board is not plugged in") as raised:
        Study(GRAMMAR, tmp_path / "a.db", objective=objective).search(trials=6)
    assert len(Study(GRAMMAR, tmp_path / "a.db", objective=objective).summary().entries) == 9
    assert "raised by the objective in trial 9, seed 0" in raised.value.__notes__[0]
    seen.clear()
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        nine = Studies(ledger).trials("study")
    seen.append(None)
    Study(GRAMMAR, tmp_path / "a.db", objective=accuracy, name="whole").search(trials=6)
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        assert Studies(ledger).trials("whole")[:9] == nine


@pytest.mark.parametrize(
    ("value", "says"), [(101.0, "101.0"), (float("nan"), "nan"), (-1, "-1"), ("half", "'half'")]
)
def test_a_result_that_is_no_percentage_is_refused(tmp_path, value, says):
    with pytest.raises(
        ConfigError, match=f"must return percent between 0 and 100, or None, but got {says}"
    ):
        Study(GRAMMAR, tmp_path / "a.db", objective=lambda network, seed: value).search(trials=3)


def test_an_objective_that_was_changed_is_another_question(tmp_path):
    one, other = (lambda network, seed: 20.0, lambda network, seed: 80.0 - seed)
    Study(GRAMMAR, tmp_path / "a.db", objective=one).search(trials=2)
    Study(GRAMMAR, tmp_path / "a.db", objective=one).search(trials=3)
    source = "def score(network, seed):\n    return 20.0\n"
    found = []
    for text in (source, source.replace("20", "30")):
        (tmp_path / "mine.py").write_text(text)
        linecache.clearcache()
        names = {"__name__": "mine"}
        exec(compile(text, str(tmp_path / "mine.py"), "exec"), names)
        found.append(Judged.by_function(names["score"]))
    assert found[0].dataset == found[1].dataset == "mine.score"
    assert found[0].data != found[1].data
    typed = [
        eval(f"lambda network, seed: max(network.{name}, {value})")
        for name, value in (("a", 1), ("b", 1), ("a", 2))
    ]
    levels = [partial(one, level) for level in (1, 2)] + [partial(other, 1)]
    for different in (typed, levels):
        assert len({Judged.by_function(each).data for each in different}) == 3
    with pytest.raises(
        ConfigError, match=r"was begun otherwise \(dataset was .*<lambda>, now .*\.accuracy"
    ):
        Study(GRAMMAR, tmp_path / "a.db", objective=accuracy).search(trials=3)
    assert other


def test_a_first_attempt_that_came_to_nothing_does_not_keep_the_name(tmp_path):
    def broken(network, seed):
        raise NameError("nothing of that name")

    with pytest.raises(NameError):
        Study(
            GRAMMAR, tmp_path / "a.db", objective=broken, objectives=("accuracy", "params")
        ).search(trials=2)
    assert len(Study(GRAMMAR, tmp_path / "a.db", objective=accuracy).search(trials=3).entries) == 9
    study = optuna.load_study(study_name="study", storage=f"sqlite:///{tmp_path / 'a.db'}")
    assert (len(study.trials), study.metric_names) == (9, ["accuracy", "flops"])


def test_images_that_a_grammar_is_not_of_are_refused(tmp_path):
    labels = np.arange(40) % 4
    for shape, says in (
        (
            (40, 16, 16, 3),
            r"the grammar is of images 1x16x16 in 4 classes, but those handed over are 3x16x16 in 4",
        ),
        ((40, 3, 16, 16), r"looks like N×C×H×W: images.transpose\(0, 2, 3, 1\)"),
    ):
        with pytest.raises((ConfigError, DataError), match=says):
            Study(
                GRAMMAR,
                tmp_path / "a.db",
                dataset=(np.zeros(shape, np.uint8), labels),
                root=tmp_path,
            )
    with pytest.raises(
        DataError, match=r"dataset: must be arrays \(images, labels\) or .*, but got ndarray"
    ):
        Study(GRAMMAR, tmp_path / "a.db", dataset=labels, root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_came_to_nothing_is_a_row(tmp_path):
    study = Study(
        GRAMMAR,
        tmp_path / "a.db",
        objective=lambda n, s: None if s == 0 and n.first_layer == "vanilla" else 50.0,
    )
    found = study.search(trials=4)
    lost = [entry for entry in found.entries if entry.failures]
    assert lost
    assert all(entry.mean is None for entry in lost)
    trials = optuna.load_study(study_name="study", storage=f"sqlite:///{tmp_path / 'a.db'}").trials
    assert sum(trial.state.name == "FAIL" for trial in trials) == len(lost)


def test_data_or_an_objective(tmp_path):
    for both in ({}, {"dataset": "digits", "objective": accuracy}):
        with pytest.raises(
            ConfigError, match="a data set to train on, or an objective to call, and not both"
        ):
            Study(GRAMMAR, tmp_path / "a.db", **both)
