"""The noise between seeds: networks that are repeated to know it, what is said of it, and whether
the front's intervals hold.
"""

import json
from collections import Counter
from contextlib import closing
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from blocksearch import Grammar, Shape, Study, Task, cost
from blocksearch.report.front import front_report
from blocksearch.runs.ledger import Ledger
from blocksearch.search.averaging import WEIGHTS, likely_variances
from blocksearch.search.definition import REPEATED
from blocksearch.search.results import Z, simultaneous_z
from blocksearch.search.summary import summarise
from blocksearch.search.surrogate import SEED_DEVIATION, SeedNoise
from blocksearch.search.trials import Studies, TrialKind
from tests.benchmarks.fronts import (
    AVERAGED,
    GUESSED,
    KNOWN,
    LOUD,
    QUIET,
    TABLE,
    front_of,
    row_of,
    searched,
)
from tests.benchmarks.replay import World
from tests.search.made import definition, row, write
from tests.search.test_schedule import finished

GRAMMAR = Grammar(
    Task(input=Shape(1, 16, 16), widths=(4, 8), classes=4),
    bottleneck=["reduce(1)", "reduce(2)", "reduce(4)"],
    kernel=["3x3", "1x3+3x1"],
    residual=["none", "add"],
)
CHOICES = [["kernel", ["3x3", "1x3+3x1"]]]


def accuracy(network, seed):
    noise = int(network.digest[:8], 16) * (seed + 3) % 997 / 250
    return 30 + 8 * np.log10(cost(network.layers).flops) + noise


@pytest.mark.parametrize("references", ["all", "none", "effnet,mobilenet"])
@pytest.mark.parametrize("rungs", [(), (1,)])
def test_six_networks_are_trained_twice_to_the_end_before_the_others_are_sampled(references, rungs):
    queue = finished(20, seeds=1, references=references, rungs=rungs)
    last = queue.policy.rungs[-1]
    first = [t for t in queue.told if t.number < REPEATED and t.epochs == last]
    seeds = Counter(trial.row for trial in first)
    assert list(seeds.values()) == [2] * REPEATED
    twice = [t.step for t in first if t.seed == 1]
    assert max(twice) < min(t.step for t in queue.told if t.number >= REPEATED)
    later = {t.row: 1 for t in queue.told if t.number >= REPEATED}
    assert all(trial.seed == 0 for trial in queue.told if trial.row in later)


def test_a_study_of_fewer_networks_repeats_them_all(tmp_path):
    study = Study(GRAMMAR, tmp_path / "a.db", objective=accuracy, references="none", seeds=1)
    found = study.search(trials=2).found
    assert [len(entry.accuracies) for entry in found.entries] == [2, 2]
    assert study.search(trials=8).found.noise.freedom == 6


def test_a_study_that_was_begun_without_repeats_goes_on_without(tmp_path):
    """As it was stored before there were any: the definition does not speak of them."""

    def study():
        return Study(GRAMMAR, tmp_path / "a.db", objective=accuracy, seeds=1)

    study().search(trials=1)
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        studies = Studies(ledger)
        defined, trials = studies.definition("study"), studies.trials("study")
    assert defined.pop("repeated") == REPEATED
    news = [trial for trial in trials if trial.kind == TrialKind.NEW]
    old = [replace(trial, step=step) for step, trial in enumerate(news)]
    (tmp_path / "a.db").unlink()
    write(tmp_path / "a.db", "study", defined, old)
    found = study().search(trials=4).found
    assert [len(entry.accuracies) for entry in found.entries] == [1] * len(found.entries)
    assert found.noise == SeedNoise(SEED_DEVIATION**2, 0)


def noisy(file, freedom):
    """Write a study of eight networks, so many of which have a second seed."""
    rows = [row(n, n, 50.0 + 5 * n, {"flops": 20_000 * (n + 1)}, [n % 2]) for n in range(8)]
    rows += [
        row(8 + n, n, 51.0 + 5 * n, {"flops": 20_000 * (n + 1)}, [n % 2], 1, kind=TrialKind.SEED)
        for n in range(freedom)
    ]
    return write(file, "a", definition(CHOICES), rows)


@pytest.mark.parametrize(
    ("freedom", "says", "guess"),
    [
        (0, "the noise between seeds is a guess (2.00 points): no network has two seeds", True),
        (1, "is mostly a guess (1.68 points): it has only 1 degree of freedom", True),
        (3, "is mostly a guess (1.38 points): it has only 3 degrees of freedom", True),
        (4, "noise between seeds: 1.29 points, by 4 degrees of freedom", False),
    ],
)
def test_the_front_says_how_the_noise_is_known(tmp_path, freedom, says, guess):
    report = front_report(summarise(noisy(tmp_path / "a.db", freedom)))
    assert any(says in note for note in report.notes), report.notes
    data = json.loads(json.dumps(report.data()))
    assert data["noise_is_a_guess"] is guess
    assert data["noise_degrees_of_freedom"] == freedom
    assert data["noise_between_seeds"] == pytest.approx(
        np.sqrt((2 * SEED_DEVIATION**2 + freedom * 0.5) / (2 + freedom))
    )


def test_intervals_that_hold_together_are_wider_by_bonferroni(tmp_path):
    found = summarise(noisy(tmp_path / "a.db", 4))
    count = len(found.front)
    assert count == 8
    wide = NormalDist().inv_cdf(1 - 0.025 / count)
    for entry in found.front:
        (low, high), (lowest, highest) = entry.interval, entry.simultaneous
        assert (highest - lowest) / (high - low) == pytest.approx(wide / Z)
    report = front_report(found)
    data = report.data()
    assert (data["intervals"], data["simultaneous_z"]) == ("pointwise", wide)
    assert data["networks"][0]["simultaneous_low"] == found.front[0].simultaneous[0]
    said = (
        f"at {wide / Z:.2f} times the width those of all 8 of the front cover together with 95 %, "
        "if the model is right"
    )
    assert any(said in note for note in report.notes)


def test_normal_intervals_of_a_front_hold_together_as_often_as_they_say():
    rng = np.random.default_rng(0)
    for count in (1, 5, 30):
        drawn = np.abs(rng.normal(size=(20_000, count)))
        assert 0.945 < (drawn <= simultaneous_z(count)).all(1).mean() < 0.957


def test_noise_is_pooled_and_no_more_is_claimed_than_there_is():
    rng = np.random.default_rng(1)
    runs = [list(rng.normal(60, 3, 3)) for _ in range(400)]
    found = SeedNoise.of([*runs, [50.0]])
    assert found.freedom == 800
    assert found.deviation == pytest.approx(3, rel=0.08)
    assert SeedNoise.of([[50.0]] * 9) == SeedNoise(SEED_DEVIATION**2, 0)


def test_the_noise_that_is_reported_by_is_its_posterior():
    """By runs whose deviation is drawn from the prior: its rank in the posterior is uniform."""
    rng = np.random.default_rng(2)
    below = []
    for deviation in np.abs(SEED_DEVIATION * rng.standard_cauchy(1000)):
        runs = [list(rng.normal(60, deviation, 2)) for _ in range(6)]
        below.append(float(WEIGHTS[likely_variances(SeedNoise.of(runs)) < deviation**2].sum()))
    assert abs(np.mean(below) - 0.5) < 0.03
    assert np.std(below) == pytest.approx(np.sqrt(1 / 12), abs=0.02)  # of a uniform number


def test_many_repeats_leave_nothing_to_average():
    """The posterior of the noise narrows with repeated runs, about √(2/f) for its variance."""
    for freedom in (20, 200, 5000):
        likely = likely_variances(SeedNoise(9.0, freedom))
        assert likely[5] == pytest.approx(9.0, rel=2 / freedom + 0.003)
        spread = np.sqrt(WEIGHTS @ (likely - WEIGHTS @ likely) ** 2)
        assert spread / 9 == pytest.approx(np.sqrt(2 / freedom), rel=0.5)
    assert (
        likely_variances(SeedNoise.of([[50.0, 50.0]] * 6)).min() > 0
    )  # ties: no result is believed blindly


def rows_for(noise, rules, searches, repeated=REPEATED):
    world = World.read(TABLE)
    studies = [searched(world, n, noise, repeated=repeated) for n in range(searches)]
    return [row_of([front_of(world, study, rule) for study in studies]) for rule in rules]


@pytest.mark.slow
def test_a_search_with_one_seed_knows_how_far_to_believe_it():
    """Table *searches* of `benchmarks/evidence.py` is the whole of it. The control fails."""
    (guessed,) = rows_for(LOUD, [GUESSED], 6, repeated=0)
    assert guessed["front_too_high"] > 2
    assert guessed["one_covers_%"] < 70
    found, known = rows_for(LOUD, [AVERAGED, KNOWN], 12)
    assert found["front_too_high"] < min(1, known["front_too_high"])
    assert found["one_covers_%"] > max(85, known["one_covers_%"])
    (quiet,) = rows_for(QUIET, [AVERAGED], 6)
    assert quiet["one_covers_%"] >= 95
