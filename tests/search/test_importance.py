"""What puts a network on the front, where it is known because it was planted."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest

from blocksearch.errors import ConfigError
from blocksearch.search.importance import Level, drawn_fronts, importance, study_effects
from blocksearch.search.objectives import dominated
from tests.search.made import definition, row, write

CHOICES = [
    ["harm", ["a", "b", "worst"]],
    ["nothing", ["p", "q"]],
    ["decides", ["bad", "good"]],
    ["size", ["s", "m", "l"]],
]
FLOPS = (20_000, 60_000, 180_000)


def planted(file, sign=1, trials=160, seed=0):
    """Write a study in which `worst` costs 15 points, `good` gains 10, and `size` pays for what it
    costs.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for trial in range(trials):
        code = [int(rng.integers(len(levels))) for _, levels in CHOICES]
        effect = -15 * (code[0] == 2) + 10 * code[2] + 6 * code[3]
        accuracy = 50 + sign * effect + rng.normal(0, 1)
        flops = FLOPS[code[3]] + int(rng.integers(1000))
        rows.append(
            row(
                trial,
                trial,
                float(accuracy),
                {"flops": flops, "params": 10, "peak_activations": 10},
                code,
            )
        )
    return write(file, "planted", definition(CHOICES), rows)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return study_effects(planted(tmp_path_factory.mktemp("planted") / "a.db"))


def factor(effects, name):
    return next(each for each in effects.factors if each.name == name)


def level(effects, name, value):
    return next(each for each in factor(effects, name).levels if each.name == value)


def test_what_decides_the_front_comes_first_and_what_does_nothing_is_at_zero(found):
    assert found.factors[0].name == "decides"
    assert factor(found, "decides").importance.interval[0] > 0
    low, high = factor(found, "nothing").importance.interval
    assert low <= 0 <= high
    assert abs(factor(found, "nothing").importance.mean) < 0.2


def test_a_level_that_only_harms_is_kept_off_the_front(found):
    """Optuna's plot, which reads a maximised accuracy as one to be small, calls such a factor the
    most important of all.
    """
    worst = level(found, "harm", "worst")
    assert worst.lift.interval[1] < 0.5
    assert worst.accuracy.interval[1] < -8
    assert level(found, "decides", "good").lift.interval[0] > 1.3
    assert level(found, "decides", "bad").lift.interval[1] < 0.7


def test_turning_accuracy_over_turns_the_answer_over(tmp_path, found):
    turned = study_effects(planted(tmp_path / "a.db", sign=-1))
    for name, value in (("harm", "worst"), ("decides", "good")):
        own, other = level(found, name, value), level(turned, name, value)
        assert own.accuracy.mean * other.accuracy.mean < 0
        assert (own.lift.mean - 1) * (other.lift.mean - 1) < 0
    assert level(turned, "harm", "worst").lift.mean > 1
    assert level(turned, "decides", "bad").lift.mean > 1


def test_effects_on_accuracy_are_the_planted_ones_within_their_intervals(found):
    planted_effects = {
        ("harm", "worst"): -10,
        ("harm", "a"): 5,
        ("decides", "good"): 5,
        ("nothing", "p"): 0,
        ("size", "l"): 6,
    }
    for (name, value), effect in planted_effects.items():
        estimate = level(found, name, value).accuracy
        assert estimate.interval[0] - 0.3 < effect < estimate.interval[1] + 0.3
        assert estimate.interval[1] - estimate.interval[0] < 1.5


def test_effects_on_flops_are_the_costs_own(found):
    assert [10**each.flops for each in factor(found, "size").levels] == pytest.approx(
        [1 / 3, 1, 3], rel=0.02
    )
    assert [each.flops for each in factor(found, "nothing").levels] == pytest.approx(
        [0, 0], abs=0.01
    )


def test_shares_are_shares(found):
    for own in found.factors:
        assert sum(each.share for each in own.levels) == pytest.approx(1)
        assert sum(each.on_front.mean for each in own.levels) == pytest.approx(1)
        assert sum(each.networks for each in own.levels) == found.networks == 160


def test_an_irrelevant_factor_is_at_zero_however_often_it_is_asked():
    """Over many planted factors that do nothing, intervals that leave zero out are as rare as they
    say, and none is far off.
    """
    rng = np.random.default_rng(0)
    fronts = drawn_fronts(rng.normal(size=200), np.full(200, 0.1), rng.random((200, 1)), 200, rng)
    found = [
        importance(rng.integers(0, 3, 200).astype(np.int16), 3, fronts, rng) for _ in range(60)
    ]
    outside = sum(not each.interval[0] <= 0 <= each.interval[1] for each in found)
    assert outside <= 8
    assert abs(np.mean([each.mean for each in found])) < 0.05


def test_fronts_are_those_of_the_drawn_accuracies():
    """What is left out before, because it is beaten in every draw, changes no front."""
    rng = np.random.default_rng(1)
    means, deviations, costs = (
        rng.normal(50, 10, 100),
        rng.random(100),
        rng.integers(1, 20, (100, 2)).astype(float),
    )
    found = drawn_fronts(means, deviations, costs, 20, np.random.default_rng(2))
    accuracies = means + deviations * np.random.default_rng(2).standard_normal((20, 100))
    for fronts, own in zip(found, accuracies, strict=True):
        assert fronts.tolist() == (~dominated(np.column_stack([own, costs]))).tolist()


def test_uncertain_accuracies_make_uncertain_shares():
    rng = np.random.default_rng(3)
    means, costs = rng.normal(50, 3, 80), rng.random((80, 1))
    spreads = [drawn_fronts(means, np.full(80, own), costs, 200, rng).mean(0) for own in (0.0, 2.0)]
    assert set(spreads[0]) == {0.0, 1.0}
    assert ((spreads[1] > 0.05) & (spreads[1] < 0.95)).sum() > 5


def test_levels_that_were_never_trained_and_networks_outside_the_space(tmp_path):
    choices = [["kernel", ["3x3", "5x5", "7x7"]], ["groups", ["none", "two"]]]
    rows = [
        row(n, n, 50.0 + n, {"flops": 20_000 + n}, [n % 2 if n else -1, n % 2]) for n in range(12)
    ]
    found = study_effects(write(tmp_path / "a.db", "a", definition(choices), rows))
    assert level(found, "kernel", "7x7") == Level("7x7", 0, 0.0, None, None, None, None)
    assert sum(each.networks for each in factor(found, "kernel").levels) == 11


def test_a_study_without_results_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="has no result yet"):
        study_effects(
            write(
                tmp_path / "a.db",
                "a",
                definition(CHOICES),
                [row(0, 0, None, {"flops": 1}, [0, 0, 0, 0])],
            )
        )


def test_the_command_prints_and_writes_the_same(tmp_path, found):
    file = planted(tmp_path / "a.db")
    run = [sys.executable, "-m", "blocksearch", "importance", file]
    printed = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert printed.index("decides") < printed.index("nothing")
    data = json.loads(
        subprocess.run(
            [*run, "--json", "--save", tmp_path / "a.csv"], capture_output=True, check=True
        ).stdout
    )
    named = dict.fromkeys(own["factor"] for own in data["levels"])
    assert list(named) == [own.name for own in found.factors]
    assert data["levels"][0]["bits"] == found.factors[0].importance.mean
    with (tmp_path / "a.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [own["level"] for own in rows] == [own["level"] for own in data["levels"]]
