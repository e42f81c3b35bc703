"""Several measured objectives, and limits on what is measured; Optuna is the oracle of fronts."""

from contextlib import closing

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

import blocksearch as bs
from blocksearch.arch.cost import Budget, Relation
from blocksearch.data.splits import Split, summary
from blocksearch.errors import BlocksearchError, ConfigError
from blocksearch.runs.ledger import Ledger
from blocksearch.search.config import StudyConfig
from blocksearch.search.further import Expected, Further
from blocksearch.search.measured import Measure, Shown, read_limit, shown, violation
from blocksearch.search.objectives import Objective
from tests.made import optuna_file
from tests.search.test_study import GRAMMAR

LATENCY = Objective(name="latency", measured=True, bounds=(0, 50))
AXES = ["accuracy", LATENCY, "flops", "recall(0)"]
NAMES = ("accuracy", "flops", "latency", "recall:0")
LIMITS = ("accuracy >= 43.5", "recall:0 > 70")


def measure(network, seed):
    """Give an accuracy that rises with FLOPs, a recall that falls, and a latency beside them."""
    size = np.log10(bs.cost(network).flops)
    merit = len(str(network)) % 5
    recall = float(np.clip(300 - 52 * size - merit + seed / 3, 0, 100))
    accuracy = float(10 * size + merit / 2 + seed / 4)
    return {"accuracy": accuracy, "latency": network.cost.params / 200 + merit, "recall:0": recall}


def study(file, **fields):
    asked = {"objective": measure, "objectives": AXES, "budgets": LIMITS, "seeds": 2}
    return bs.Study(GRAMMAR, file, **(asked | {"references": "none"} | fields))


def values(entry):
    return [entry.mean, *(entry.costs[name] for name in NAMES[1:])]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    made = study(tmp_path_factory.mktemp("measured") / "a.db")
    made.search(trials=10)
    return made


def kept_front(rows):
    """Return which rows no other kept row beats, by the definition."""
    signs = np.array([-1, 1, 1, -1])
    losses = [np.array(row) * signs for row in rows]
    keeps = [row[0] >= 43.5 and row[3] > 70 for row in rows]

    def beaten(one):
        return any(
            k and (other <= one).all() and (other < one).any()
            for other, k in zip(losses, keeps, strict=True)
        )

    return [at for at, own in enumerate(losses) if keeps[at] and not beaten(own)]


def test_the_front_is_that_of_the_definition_and_of_optuna(found):
    entries = found.answer().found.entries
    best = {entries[at].trial for at in kept_front([values(each) for each in entries])}
    assert 0 < len(best) < len(entries)
    assert {entry.trial for entry in found.front} == best
    theirs = found.to_optuna()
    assert {trial.user_attrs["trial"] for trial in theirs.best_trials} == best
    assert theirs.metric_names == list(NAMES)
    for trial, entry in zip(theirs.trials, entries, strict=True):
        assert trial.values == values(entry)
        assert set(trial.constraints) == {"accuracy >= 43.5", "recall:0 > 70"}
    assert [axis.maximise for axis in found.answer().found.axes] == [True, False, False, True]


def test_optunas_tables_have_all_values_and_what_breaks_a_limit(found):
    stored = optuna.load_study(study_name="study", storage=optuna_file(found.file))
    first = {trial.number: trial for trial in reversed(found.trainings)}
    rows = []
    for trial in stored.trials:
        own = first[trial.user_attrs["trial"]]
        costs = {**own.costs, **own.measured}
        assert trial.values == [own.accuracy, *(costs[name] for name in NAMES[1:])]
        rows.append(trial.values)
    kept = {stored.trials[at].number for at in kept_front(rows)}
    assert {trial.number for trial in stored.best_trials} == kept


def test_a_limit_is_shown_not_shown_or_undecided(found):
    entries = found.answer().found.entries
    for entry in entries:
        ends = (entry.interval, entry.further["recall:0"].interval)
        holds = [(low >= 43.5, high >= 43.5) for low, high in ends[:1]]
        holds += [(low > 70, high > 70) for low, high in ends[1:]]
        if all(all(each) for each in holds):
            assert entry.limits is Shown.SHOWN
        elif not all(any(each) for each in holds):
            assert entry.limits is Shown.NOT_SHOWN
        else:
            assert entry.limits is Shown.UNDECIDED
    assert {entry.limits for entry in entries} >= {Shown.NOT_SHOWN, Shown.UNDECIDED}
    (row,) = [each for each in found.records() if each["trial"] == found.front[0].trial]
    assert row["limits"] in ("shown", "undecided")
    assert row["latency_low"] <= row["latency"] <= row["latency_high"]
    assert "limits" in found.table()
    found.save(found.file.file.with_suffix(".html"))


def test_networks_that_break_a_limit_are_on_no_drawn_front(found, tmp_path):
    none = study(tmp_path / "none.db", budgets=["accuracy >= 99.5"])
    none.search(trials=6)
    assert none.front == ()
    assert none.to_optuna().best_trials == []
    assert none.importance().found.front.mean == 0
    assert found.importance().found.front.mean > 0


@pytest.mark.parametrize(
    "sampler", ["evolution", "nsga2", pytest.param("tpe", marks=pytest.mark.slow)]
)
def test_a_search_that_was_cut_takes_the_same_steps(tmp_path, sampler):
    whole, cut = (study(tmp_path / name, sampler=sampler, seeds=1) for name in "ab")
    whole.search(trials=9)
    for trials in (4, 7, 9):
        cut.search(trials=trials)
    steps = [
        [(t.network, t.seed, t.accuracies, dict(t.measured)) for t in each.trainings]
        for each in (whole, cut)
    ]
    assert steps[0] == steps[1]
    assert len({network for network, *_ in steps[0]}) == 9


def test_best_reads_what_is_to_be_maximised_as_a_least(found):
    least = min(entry.costs["recall:0"] for entry in found.front)
    assert found.best(**{"recall:0": least}) in found.front
    with pytest.raises(ConfigError, match=r"has recall:0 >= 99.9"):
        found.best(**{"recall:0": 99.9})


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0, 100), st.sampled_from(Relation))
def test_what_is_shown_of_a_limit_agrees_with_every_value_within(one, other, bound, relation):
    low, high = sorted((one, other))
    limit = Budget(name="", quantity="accuracy", relation=relation, bound=bound)
    inside = {limit.holds(value) for value in (low, (low + high) / 2, high)}
    verdict = shown([limit], {"accuracy": (low, high)})
    if verdict is Shown.SHOWN:
        assert inside == {True}
    if verdict is Shown.NOT_SHOWN:
        assert inside == {False}
    for value in (low, high):
        assert (violation(limit, value) <= 0) == limit.holds(value)


@given(st.floats(-50, 50), st.floats(0.1, 100), st.booleans(), st.floats(0, 100))
def test_points_of_a_measure_are_percent_of_its_bounds(low, span, maximise, points):
    own = Measure(name="own", maximise=maximise, low=low, high=low + span)
    value = float(own.values(np.array(points)))
    assert own.points(value) == pytest.approx(points, abs=1e-6)
    assert own.losses[0] - 1e-6 <= own.sign * value <= own.losses[1] + 1e-6
    better = min(100.0, points + 1)
    assert own.sign * float(own.values(np.array(better))) <= own.sign * value


def further(count, limits=()):
    measures = [Measure(name=f"m{at}", maximise=at % 2 == 0) for at in range(count)]
    return Further(measures, limits, 1, (), lambda rows: (np.zeros((len(rows), 0)), None))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_outcomes_that_a_gain_is_a_mean_of_have_mean_and_deviation(count):
    outcomes = further(count).outcomes()
    np.testing.assert_allclose(outcomes.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(np.cov(outcomes.T, bias=True), np.eye(count), atol=1e-12)


def test_how_likely_limits_are_kept_is_what_simulation_says():
    limits = [read_limit("accuracy >= 90"), read_limit("m0 >= 40", ["m0"])]
    own, rng = further(1, limits), np.random.default_rng(0)
    known = Expected(np.array([[42.0], [35.0]]), np.array([[5.0], [3.0]]))
    means, deviations = np.array([91.0, 95.0]), np.array([2.0, 1.0])
    likely = own.likely(means, deviations, known)
    drawn = [
        own.feasible(means + deviations * rng.standard_normal(2), own.drawn(known, rng))
        for _ in range(4000)
    ]
    np.testing.assert_allclose(np.mean(drawn, 0), likely, atol=0.03)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"objectives": ["accuracy", "recall"]}, "a metric is accuracy"),
        ({"budgets": ["recall:1 >= 90"]}, "recall:1, which the study does not measure"),
        ({"budgets": ["acuracy >= 90"]}, "did you mean 'accuracy'"),
        ({"budgets": ["accuracy = 90"]}, "a budget is written like"),
        ({"budgets": ["flops <= -5"]}, "a cost is a whole number"),
        ({"objectives": ["accuracy", Objective(name="limits", measured=True)]}, "cannot be named"),
    ],
)
def test_what_cannot_be_limited_or_measured_is_one_line(fields, says):
    with pytest.raises(ConfigError, match=says) as caught:
        StudyConfig(**({"objectives": ["accuracy", "flops", "recall:0"]} | fields))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (50.0, "must return accuracy and latency and recall:0 by name"),
        ({"accuracy": 50.0, "latency": 1.0}, "must return accuracy and latency"),
        ({"accuracy": 50.0, "latency": 90.0, "recall:0": 1.0}, "between its bounds, 0 and 50"),
        ({"accuracy": 50.0, "latency": None, "recall:0": 1.0}, "must be a finite number"),
    ],
)
def test_a_result_that_is_none_ends_the_search(tmp_path, result, says):
    with pytest.raises(BlocksearchError, match=says):
        study(tmp_path / "a.db", objective=lambda network, seed: result).search(trials=1)


def test_a_search_without_accuracy_is_refused_and_goes_by_a_constant_instead(tmp_path):
    for names in ([LATENCY, "flops"], ["flops", LATENCY]):
        with pytest.raises(ConfigError, match=r"return the same accuracy.*, but got .*latency"):
            StudyConfig(objectives=names)
    fields = {"objectives": ["accuracy", LATENCY, "flops"], "budgets": ()}

    def without(network, seed):
        return {"accuracy": 50, "latency": measure(network, seed)["latency"]}

    own = study(tmp_path / "a.db", objective=without, **fields)
    own.search(trials=30)
    seen = [(trial.costs["flops"], trial.network) for trial in own.trainings]
    assert min(seen)[1] in {entry.network.digest for entry in own.front}
    assert all(entry.mean == pytest.approx(50) for entry in own.front)


def kappa(run):
    """Cohen's kappa in percent, at least 0."""
    count = len(run.labels)
    table = np.zeros((3, 3))
    np.add.at(table, (run.labels.astype(int), run.predictions.astype(int)), 1 / count)
    chance = float(table.sum(0) @ table.sum(1))
    return 100 * max(0.0, (float(np.trace(table)) - chance) / (1 - chance))


def images(count=60):
    labels = np.arange(count) % 3
    noise = np.random.default_rng(0).integers(0, 60, (count, 12, 12, 3))
    return (noise + 60 * labels[:, None, None, None]).astype(np.uint8), labels


@pytest.mark.slow
def test_trainings_are_measured_by_what_they_predicted_and_a_race_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("BLOCKSEARCH_DATA", str(tmp_path / "data"))
    own = Objective(name="kappa", function=kappa, maximise=True, measured=True)
    small = {"epochs": 2, "batch": 12, "workers": 1, "device": "cpu", "seeds": 1, "rungs": [1]}
    made = bs.Study(
        GRAMMAR.on(bs.Task(input=(3, 12, 12), classes=3)),
        tmp_path / "a.db",
        dataset=images(),
        objectives=["accuracy", "flops", "recall:2", own],
        budgets=["kappa >= 1"],
        references=["effnet"],
        **small,
    )
    made.search(trials=8)
    with closing(Ledger(tmp_path / "a.db", read_only=True)) as ledger:
        runs = {(run.key.network, run.key.seed): run for run in ledger.runs()}
        run = next(iter(runs.values()))
    labels = summary(Split(run.key.dataset)).labels
    whole = [trial for trial in made.trainings if trial.epochs == 2]
    assert len(whole) < len(made.trainings)
    assert not any(trial.measured for trial in made.trainings if trial.epochs == 1)
    for trial in whole:
        predicted = runs[trial.network, trial.seed].predictions
        assert trial.measured["recall:2"] == pytest.approx(
            100 * (predicted[labels == 2] == 2).mean()
        )
        assert 0 <= trial.measured["kappa"] <= 100
    assert {trial.user_attrs["trial"] for trial in made.to_optuna().best_trials} == {
        entry.trial for entry in made.front
    }
    with pytest.raises(BlocksearchError, match="unknown class '7'"):
        bs.Study(
            GRAMMAR.on(bs.Task(input=(3, 12, 12), classes=3)),
            tmp_path / "b.db",
            dataset=images(),
            objectives=["accuracy", "recall:7"],
            **small,
        ).search(trials=1)
    assert not (tmp_path / "b.db").exists()
