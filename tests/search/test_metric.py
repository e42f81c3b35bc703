"""A search by balanced accuracy, macro-F1 or the recall of a class, from stored predictions."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score

import blocksearch as bs
from blocksearch import Grammar, Task
from blocksearch.data import Split, prepare
from blocksearch.errors import BlocksearchError
from blocksearch.runs.ledger import Ledger
from blocksearch.search.config import StudyConfig

SPACE = Grammar(
    Task(input=(1, 8, 8), classes=3),
    widths=[(4, 4)],
    residual=["none", "add"],
    kernel=["3x3", "1x3+3x1"],
)
ASKED = {"epochs": 2, "seeds": 2, "references": "none", "device": "cpu", "workers": 1, "batch": 16}


def data():
    """Images whose brightness grows with their class; most are of the first."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [140, 40, 20])
    images = random.integers(0, 120, (200, 8, 8, 1)) + 50 * labels[:, None, None, None]
    return images.astype(np.uint8), labels


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("BLOCKSEARCH_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.slow
def test_trials_have_what_scikit_learn_measures_of_the_stored_predictions(root):
    file = root / "a.db"
    plain = bs.Study(SPACE, file, dataset=data(), name="plain", **ASKED)
    plain.search(trials=4)
    with closing(Ledger(file, read_only=True)) as ledger:
        stored = ledger.runs()
    runs = {(run.key.network, run.key.seed): run for run in stored}
    (name,) = {run.key.dataset for run in stored}
    labels = prepare(Split(name)).evaluation.labels
    oracles = {
        "balanced-accuracy": lambda own: balanced_accuracy_score(labels, own),
        "macro-f1": lambda own: f1_score(labels, own, average="macro", zero_division=0),
        "recall:1": lambda own: recall_score(labels, own, labels=[1], average=None)[0],
    }
    titles = {"balanced-accuracy": "balanced accuracy", "macro-f1": "macro-F1"}
    for metric, oracle in oracles.items():
        title = titles.get(metric, "recall of 1")
        study = bs.Study(SPACE, file, dataset=data(), name=metric[:3], metric=metric, **ASKED)
        found = study.search(trials=4).found
        for trial in study.trainings:
            own = runs.get((trial.network, trial.seed))
            if own is not None:  # trained for the study by accuracy
                assert trial.accuracy == pytest.approx(100 * oracle(own.predictions))
        assert len({trial.network for trial in study.trainings} & {net for net, _ in runs}) == 4
        assert found.axes[0].name == title
        assert found.title.endswith(f"by {title}")
        assert f"{title} measured, %" in [c.head for c in study.answer().report.tables[0].columns]
        assert bs.importance(file, metric[:3]).report.tables[0].columns[7].head.startswith(title)
        with pytest.raises(BlocksearchError, match=f"metric was {metric}, now accuracy"):
            bs.Study(SPACE, file, dataset=data(), name=metric[:3], **ASKED).search(trials=4)
    assert "metric" not in plain._stored().definition["wishes"]
    assert plain.answer().found.axes[0].name == "accuracy"


@pytest.mark.parametrize(
    ("metric", "budget", "kept"),
    [
        ("macro_f1", "macro_f1 >= 80", "macro-f1 >= 80"),
        ("macro-f1", "macro-F1 > 30.5", "macro-f1 > 30.5"),
        ("balanced-accuracy", "balanced_accuracy >= 50", "balanced-accuracy >= 50"),
        ("recall:1", "recall(1) >= 7", "recall:1 >= 7"),
        ("accuracy", "accuracy >= 90", "accuracy >= 90"),
    ],
)
def test_a_budget_may_be_on_what_the_study_measures(metric, budget, kept):
    for objectives in ("accuracy,flops", f"{metric},flops"):
        config = StudyConfig(metric=metric, budgets=[budget, "flops <= 1M"], objectives=objectives)
        assert config.budgets == tuple(sorted(["flops <= 1000000", kept]))
        assert [each.quantity for each in config.limits] == ["accuracy"]
        assert replace(config, seed=3).budgets == config.budgets
        assert config.objective_names == ("accuracy", "flops")


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        ("accuracy >= 90", "on accuracy, but the study measures macro-f1$"),
        ("recall(0) >= 90", "on recall:0, which the study does not measure"),
        ("balanced-accuracy >= 90", "on balanced-accuracy, which the study does not measure"),
        ("speed >= 90", "unknown cost or measured objective 'speed'.*macro-f1"),
    ],
)
def test_a_budget_on_what_the_study_does_not_measure_is_refused(budget, reason):
    with pytest.raises(BlocksearchError, match=reason):
        StudyConfig(metric="macro-f1", budgets=[budget])


@pytest.mark.slow
def test_a_budget_on_the_metric_is_kept_by_the_front(root):
    asked = {"dataset": data(), "metric": "macro-f1", "name": "a", **ASKED}
    study = bs.Study(SPACE, root / "a.db", budgets=["macro_f1 >= 20"], **asked)
    found = study.search(trials=2).found
    assert "within macro-f1 >= 20" in found.title
    assert found.budgets == ("macro-f1 >= 20",)
    assert {entry.limits for entry in found.entries} - {None}
    for trial in study.to_optuna().trials:
        ((name, over),) = trial.constraints.items()
        assert (name, over <= 0) == ("macro-f1 >= 20", trial.values[0] >= 20)
    with pytest.raises(BlocksearchError, match="budgets was macro-f1 >= 20, now macro-f1 >= 30"):
        bs.Study(SPACE, root / "a.db", budgets=["macro-f1 >= 30"], **asked).search(trials=2)


def test_what_cannot_be_asked_is_refused_before_anything_is_trained(root):
    with pytest.raises(BlocksearchError, match="a metric is accuracy, balanced-accuracy, macro-f1"):
        StudyConfig(metric="f1")
    with pytest.raises(BlocksearchError, match=r"rungs go by accuracy, .* the metric is macro"):
        StudyConfig(metric="macro-f1", rungs="1,2")
    own = bs.Study(SPACE, root / "b.db", objective=lambda net, seed: 50.0, metric="macro-f1")
    with pytest.raises(BlocksearchError, match="metric is of trainings, but got macro-f1"):
        own.search(trials=1)
    asked = {"dataset": data(), "metric": "recall:stop", **ASKED}
    with pytest.raises(BlocksearchError, match="unknown class 'stop'"):
        bs.Study(SPACE, root / "b.db", **asked).search(trials=1)
    assert not (root / "b.db").exists()
