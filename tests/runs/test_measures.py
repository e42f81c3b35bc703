"""What is measured of stored predictions: scikit-learn's numbers, on any labels, and of old runs
what bits and labels give.
"""

import warnings
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score

import blocksearch as bs
from blocksearch.data import DataConfig, open_dataset
from blocksearch.errors import BlocksearchError, ConfigError
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.measures import TrueClasses, read_metric
from blocksearch.runs.records import Run, RunKey, RunState
from tests.data.test_folders import alone, save  # noqa: F401 (a fixture for every test here)


def run_of(labels, predictions, *, old=False):
    right = labels == predictions
    return Run(
        key=RunKey("n" * 64, "own", "d" * 64, "val20-v1.0", "r" * 64, 0),
        epoch_to=3,
        state=RunState.COMPLETE,
        accuracies=(10.0, 20.0, 100 * float(right.mean())),
        losses=(1.0, 1.0, 1.0),
        right=right,
        predictions=None if old else predictions.astype(np.uint16),
        seconds=1.0,
        provenance={},
    )


@given(st.integers(0, 10**6), st.integers(2, 7), st.integers(1, 80))
def test_metrics_are_scikit_learns(seed, classes, count):
    random = np.random.default_rng(seed)
    labels = random.choice(classes, count, p=random.dirichlet(np.ones(classes)))
    wrong = random.integers(0, classes, count)
    predictions = np.where(random.random(count) < 0.6, labels, wrong)
    run, judged = run_of(labels, predictions), TrueClasses(labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that are only predicted
        expected = {
            "balanced-accuracy": balanced_accuracy_score(labels, predictions),
            "macro-f1": f1_score(labels, predictions, average="macro"),
            f"recall:{labels[0]}": recall_score(
                labels, predictions, labels=[labels[0]], average="macro"
            ),
            "accuracy": (labels == predictions).mean(),
        }
    for name, value in expected.items():
        assert judged.measure(read_metric(name), run) == pytest.approx(100 * value, abs=1e-9), name
        if name != "macro-f1":  # bits and labels are enough
            old = run_of(labels, predictions, old=True)
            assert judged.measure(read_metric(name), old) == pytest.approx(100 * value, abs=1e-9)


def test_what_a_run_has_not_stored_is_one_line():
    labels = np.arange(12) % 3
    judged = TrueClasses(labels, ("ant", "bee", "cat"))
    old = run_of(labels, labels, old=True)
    with pytest.raises(ConfigError, match="macro-f1 needs the predicted class of each image, and"):
        judged.measure(read_metric("macro-f1"), old)
    with pytest.raises(ConfigError, match=r"unknown class 'bees' .did you mean 'bee'"):
        judged.measure(read_metric("recall:bees"), old)
    with pytest.raises(ConfigError, match="no evaluated image is of this class"):
        TrueClasses(labels % 2, ("ant", "bee", "cat")).measure(
            read_metric("recall:cat"), run_of(labels % 2, labels)
        )
    assert judged.measure(read_metric("recall:bee"), old) == 100
    failed = replace(old, state=RunState.FAILED)
    assert judged.measure(read_metric("balanced-accuracy"), failed) is None
    for wrong in ("auc", "recall", "accuracy:cat", "", "recall:"):
        with pytest.raises(ConfigError, match="a metric is accuracy, balanced-accuracy"):
            read_metric(wrong)


def test_an_interval_holds_the_value_and_groups_widen_it():
    random = np.random.default_rng(4)
    groups = np.repeat(np.arange(40, dtype=np.int32), 10)
    labels = np.repeat(random.integers(0, 3, 40), 10)
    predictions = np.where(np.repeat(random.random(40) < 0.7, 10), labels, (labels + 1) % 3)
    run = run_of(labels, predictions)
    for name in ("balanced-accuracy", "macro-f1", "recall:1"):
        metric = read_metric(name)
        value = TrueClasses(labels).measure(metric, run)
        low, high = TrueClasses(labels).interval(metric, run)
        wide_low, wide_high = TrueClasses(labels, (), groups).interval(metric, run)
        assert wide_low < low <= value <= high < wide_high


@pytest.mark.slow
def test_a_metric_is_asked_of_runs_that_exist(tmp_path):
    """Pictures in a folder, imbalanced and grouped: trained once, each metric is asked for."""
    for k in range(120):
        name = "ant" if k % 6 else "bee"
        save(tmp_path / "photos" / name / f"site{k // 6}_{k}.png", k, (16, 16))
    fields = {
        "dataset": tmp_path / "photos", "group_by": "site[0-9]+", "epochs": 2,
        "db": tmp_path / "a.db", "workers": 1,
    }  # fmt: skip
    plain = bs.train("effnet", seeds=2, **fields)
    assert [row["name"] for row in plain.report.tables[1].records()] == ["ant", "bee"]
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        runs, (images,) = ledger.runs(), ledger.all_images()
    assert images.classes == ("ant", "bee")
    for name, ours in (
        ("balanced-accuracy", balanced_accuracy_score),
        ("macro-f1", lambda y, p: f1_score(y, p, average="macro")),
        ("recall:bee", recall_score),
    ):
        answer = bs.train("effnet", seeds=2, metric=name, **fields)
        expected = [100 * ours(images.labels, run.predictions) for run in runs]
        assert [row["accuracy"] for row in answer.records()] == pytest.approx(expected)
        assert answer.data()["metric"] == name
    fields |= {"seeds": 2, "metric": "macro-f1"}
    pairs = bs.ablate("effnet", factor="pooling", values="last", **fields)
    assert "by macro-F1" in pairs.report.title
    assert pairs.records()[0]["accuracies"] == pytest.approx(
        [row["accuracy"] for row in bs.train("effnet", **fields).records()]
    )
    with pytest.raises(BlocksearchError, match="unknown class 'wasp'"):
        bs.train("effnet", **fields | {"metric": "recall:wasp"})
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        assert len(ledger.runs()) == 4
    assert open_dataset(tmp_path / "photos", DataConfig()) is not None
