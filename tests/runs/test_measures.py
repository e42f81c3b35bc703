"""What is measured of stored predictions: scikit-learn's numbers, on any labels, and of old runs
what bits and labels give.
"""

import re
import warnings
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score

import blocksearch as bs
from blocksearch.data import DataConfig, open_dataset
from blocksearch.errors import BlocksearchError, ConfigError
from blocksearch.report.progress import trainings
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.measures import TrueClasses, read_metric
from blocksearch.runs.records import Run, RunKey, RunState
from tests.data.test_folders import save

pytestmark = pytest.mark.usefixtures("own_folders")

TIMES = 300  # images are drawn again


def run_of(labels, predictions, *, old=False):
    right = labels == predictions
    return Run(
        key=RunKey(
            network="n" * 64,
            dataset="own",
            data="d" * 64,
            protocol="val20-v1.0",
            recipe="r" * 64,
            seed=0,
        ),
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
    run, judged = run_of(labels, predictions), TrueClasses(labels=labels)
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
    judged = TrueClasses(labels=labels, classes=("ant", "bee", "cat"))
    old = run_of(labels, labels, old=True)
    with pytest.raises(ConfigError, match="macro-f1 needs the predicted class of each image, and"):
        judged.measure(read_metric("macro-f1"), old)
    with pytest.raises(ConfigError, match=r"unknown class 'bees' .did you mean 'bee'"):
        judged.measure(read_metric("recall:bees"), old)
    with pytest.raises(ConfigError, match="no evaluated image is of this class"):
        TrueClasses(labels=labels % 2, classes=("ant", "bee", "cat")).measure(
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
        value = TrueClasses(labels=labels).measure(metric, run)
        low, high = TrueClasses(labels=labels).interval(metric, run)
        wide_low, wide_high = TrueClasses(labels=labels, classes=(), groups=groups).interval(
            metric, run
        )
        assert wide_low < low <= value <= high < wide_high


METRICS = ("accuracy", "balanced-accuracy", "macro-f1", "recall:0")


@pytest.mark.parametrize("right", [0, 1, 19, 20])
def test_the_recall_of_a_class_has_wilsons_interval(right):
    """Whatever the others are: 0 and 20 of 20 have one, too."""
    labels = np.repeat(np.arange(3), (20, 7, 50))
    predictions = np.where(np.arange(77) < right, labels, (labels + 1) % 3)
    wanted = binomtest(right, 20).proportion_ci(method="wilson")
    found = TrueClasses(labels=labels).interval(
        read_metric("recall:0"), run_of(labels, predictions)
    )
    assert found == pytest.approx([100 * end for end in wanted])


def test_a_class_that_is_wholly_right_is_less_sure_the_fewer_images_it_has():
    widths = []
    for size in (3, 30, 3000):
        labels = np.repeat([0, 1], [40, size])
        predictions = np.where(np.arange(40 + size) < 20, 1, labels)  # half of the first are wrong
        run = run_of(labels, predictions)
        assert TrueClasses(labels=labels).measure(read_metric("balanced-accuracy"), run) == 75
        low, high = TrueClasses(labels=labels).interval(read_metric("balanced-accuracy"), run)
        widths.append(high - low)
    assert widths[0] > 1.2 * widths[1] > 1.2 * widths[2]


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("counts", [(20,) * 5, (100, 10, 1), (1, 1), (30, 0, 30)])
def test_no_interval_is_a_point(counts, right, grouped):
    """Where all is right or all is wrong, and as wide as that of accuracy where classes are."""
    labels = np.repeat(np.arange(len(counts)), counts)
    there = np.unique(labels)
    following = there[(np.searchsorted(there, labels) + 1) % len(there)]
    run = run_of(labels, labels if right else following)
    groups = (np.arange(len(labels)) // 2).astype(np.int32) if grouped else None
    judged = TrueClasses(labels=labels, classes=(), groups=groups)
    found = {name: judged.interval(read_metric(name), run) for name in METRICS}
    for name, (low, high) in found.items():
        assert 1 < high - low < 99, name
        assert (high if right else low) == pytest.approx(100 if right else 0, abs=1e-9)
    if len(set(counts) - {0}) == 1:
        for name in ("balanced-accuracy", "macro-f1"):
            assert found[name] == pytest.approx(found["accuracy"], abs=1e-6)


@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(2, 60), st.booleans())
@example(seed=261, classes=3, count=2, grouped=True)  # all images are one group
def test_an_interval_holds_its_value_whatever_the_classes(seed, classes, count, grouped):
    random = np.random.default_rng(seed)
    labels = random.choice(classes, count, p=random.dirichlet(np.full(classes, 0.5)))
    predictions = np.where(random.random(count) < random.random(), labels, labels[::-1])
    groups = random.integers(0, count, count).astype(np.int32) if grouped else None
    run, judged = run_of(labels, predictions), TrueClasses(labels=labels, classes=(), groups=groups)
    for name in (*METRICS[:3], f"recall:{labels[0]}"):
        low, high = judged.interval(read_metric(name), run)
        value = judged.measure(read_metric(name), run)
        assert 0 <= low <= value + 1e-9
        assert value - 1e-9 <= high <= 100
        assert high - low > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("counts", "recalls", "size"),
    [
        ((20,) * 5, 0.97, 1),
        ((5,) * 43, 0.98, 1),
        ((100, 10, 3), (0.95, 0.7, 0.4), 1),
        ((120, 60, 40), (0.9, 0.7, 0.8), 5),
    ],
)
def test_intervals_hold_the_truth_as_often_as_they_say(counts, recalls, size):
    """Of other images of the same classes; wrong ones go anywhere. Of a group all are alike."""
    classes, random = len(counts), np.random.default_rng(7)
    labels, share = np.repeat(np.arange(classes), counts), np.broadcast_to(recalls, classes)
    wrong = (1 - share) / (classes - 1)  # of a class, in each other one
    lost = np.array(counts) * (1 - share)
    put = wrong * counts
    here = share * counts
    truth = {
        "balanced-accuracy": share.mean(),
        "macro-f1": np.mean(here / (here + (lost + put.sum() - put) / 2)),
    }
    groups = (np.arange(len(labels)) // size).astype(np.int32) if size > 1 else None
    judged, held = TrueClasses(labels=labels, classes=(), groups=groups), dict.fromkeys(truth, 0)
    for _ in range(TIMES):
        drawn = np.repeat(random.random(len(labels) // size), size)
        shift = np.repeat(random.integers(1, classes, len(labels) // size), size)
        predictions = np.where(drawn < share[labels], labels, (labels + shift) % classes)
        for name, value in truth.items():
            low, high = judged.interval(read_metric(name), run_of(labels, predictions))
            held[name] += low <= 100 * value <= high
    for name, count in held.items():
        assert count / TIMES >= 0.9, (name, count)


@pytest.mark.slow
def test_a_metric_is_asked_of_runs_that_exist(tmp_path, capsys):
    """Pictures in a folder, imbalanced and grouped: trained once, each metric is asked for."""
    for k in range(120):
        name = "ant" if k % 6 else "bee"
        save(tmp_path / "photos" / name / f"site{k // 6}_{k}.png", k, (16, 16))
    fields = {
        "dataset": tmp_path / "photos", "group_by": "site[0-9]+", "epochs": 2,
        "db": tmp_path / "a.db", "workers": 1,
    }  # fmt: skip
    plan = bs.train("effnet", seeds=2, dry_run=True, **fields)
    assert len(plan.found.missing) == plan.data()["missing"] == 2
    with pytest.raises(BlocksearchError, match=r"unknown class 'cat'"):
        bs.train("effnet", metric="recall:cat", seeds=2, **fields)
    assert not (tmp_path / "a.db").exists()
    with trainings(quiet=False) as heard:
        plain = bs.train("effnet", seeds=2, metric="macro-f1", callbacks=[heard], **fields)
    said = capsys.readouterr().err
    assert len(re.findall(r"^\[./2\] seed .* accuracy [0-9.]+ % in ", said, re.MULTILINE)) == 2
    again = bs.train("effnet", seeds=3, dry_run=True, **fields)
    assert (len(again.found.missing), again.found.known) == (1, 2)
    assert again.report.title == plain.report.title.removesuffix(" by macro-F1")
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
