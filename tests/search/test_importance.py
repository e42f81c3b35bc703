"""What puts a network on the front, where it is known because it was planted."""

import csv
import json

import numpy as np
import pytest

from blocksearch import TASKS, Block, Grammar, Network
from blocksearch.arch.notation import parse
from blocksearch.errors import ConfigError
from blocksearch.report.study import importance_report
from blocksearch.search.exchange import Exchange, exchanged_costs
from blocksearch.search.importance import Level, drawn_fronts, importance, study_effects
from blocksearch.search.objectives import dominated
from blocksearch.space.encoding import Choice
from tests.benchmarks.effects import coverage
from tests.benchmarks.fronts import TABLE
from tests.benchmarks.replay import World
from tests.commands import command
from tests.search.made import definition, grammar, row, write

# what activations and pooling do costs nothing, so that each effect is planted alone
CHOICES = [
    ["activation", ["relu", "leaky", "linear"]],
    ["pool_kind", ["max", "average"]],
    ["spatial_activation", ["relu", "leaky"]],
    ["widths", ["(4, 8, 16)", "(8, 16, 32)", "(16, 32, 64)"]],
]
WIDTHS = [(4, 8, 16), (8, 16, 32), (16, 32, 64)]
WORST, GOOD, BAD = (
    ("activation", "linear"),
    ("spatial_activation", "leaky"),
    ("spatial_activation", "relu"),
)


def network(code):
    """Return the network that a row of choices makes."""
    named = {name: values[level] for (name, values), level in zip(CHOICES[:3], code, strict=False)}
    return Network(task=TASKS["digits"], widths=WIDTHS[code[3]], blocks=[Block(**named)])


def planted(file, sign=1, trials=160, seed=0):
    """Write a study in which one level costs 15 points, another gains 10, and width pays for what
    it costs.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for trial in range(trials):
        code = [int(rng.integers(len(levels))) for _, levels in CHOICES]
        effect = -15 * (code[0] == 2) + 10 * code[2] + 6 * code[3]
        accuracy = 50 + sign * effect + rng.normal(0, 1)
        made = network(code)
        price = {name: getattr(made.cost, name) for name in ("flops", "params", "peak_activations")}
        price["flops"] += int(rng.integers(100))
        rows.append(row(trial, trial, float(accuracy), price, code, text=str(made)))
    return write(file, "planted", definition(CHOICES), rows)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return study_effects(planted(tmp_path_factory.mktemp("planted") / "a.db"))


def factor(effects, name):
    return next(each for each in effects.factors if each.name == name)


def level(effects, name, value):
    return next(each for each in factor(effects, name).levels if each.name == value)


def test_what_decides_the_front_comes_first_and_what_does_nothing_is_at_zero(found):
    assert found.factors[0].name == "spatial_activation"
    assert factor(found, "spatial_activation").importance.interval[0] > 0
    low, high = factor(found, "pool_kind").importance.interval
    assert low <= 0 <= high
    assert abs(factor(found, "pool_kind").importance.mean) < 0.2


def test_a_level_that_only_harms_is_kept_off_the_front(found):
    """Optuna's plot, which reads a maximised accuracy as one to be small, calls such a factor the
    most important of all.
    """
    worst = level(found, *WORST)
    assert worst.lift.interval[1] < 0.5
    assert worst.accuracy.interval[1] < -8
    assert level(found, *GOOD).lift.interval[0] > 1.3
    assert level(found, *BAD).lift.interval[1] < 0.7


def test_turning_accuracy_over_turns_the_answer_over(tmp_path, found):
    turned = study_effects(planted(tmp_path / "a.db", sign=-1))
    for name, value in (WORST, GOOD):
        own, other = level(found, name, value), level(turned, name, value)
        assert own.accuracy.mean * other.accuracy.mean < 0
        assert (own.lift.mean - 1) * (other.lift.mean - 1) < 0
    assert level(turned, *WORST).lift.mean > 1
    assert level(turned, *BAD).lift.mean > 1


def test_effects_on_accuracy_are_the_planted_ones_within_their_intervals(found):
    planted_effects = {
        WORST: -10,
        ("activation", "relu"): 5,
        GOOD: 5,
        ("pool_kind", "max"): 0,
        ("widths", "(16, 32, 64)"): 6,
    }
    for (name, value), effect in planted_effects.items():
        estimate = level(found, name, value).accuracy
        assert estimate.interval[0] - 0.3 < effect < estimate.interval[1] + 0.3
        assert estimate.interval[1] - estimate.interval[0] < 1.5


def test_effects_on_flops_are_the_costs_own(found):
    flops = np.array([network([0, 0, 0, size]).cost.flops for size in range(3)])
    ratios = flops / flops.prod() ** (1 / 3)
    counted = [10**each.flops for each in factor(found, "widths").levels]
    assert counted == pytest.approx(ratios, rel=1e-9)
    assert [each.flops for each in factor(found, "pool_kind").levels] == pytest.approx(
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
        row(n, n, 50.0 + n, {"flops": 20_000 + n}, [n % 2 if n else -1, n % 2], text="[mine=1]")
        for n in range(12)
    ]
    found = study_effects(write(tmp_path / "a.db", "a", definition(choices), rows))
    assert level(found, "kernel", "7x7") == Level(
        name="7x7", networks=0, share=0.0, on_front=None, lift=None, accuracy=None, flops=None
    )
    kernel = level(found, "kernel", "5x5")  # none of these texts is a network's: nothing is counted
    assert (kernel.accuracy, kernel.flops, factor(found, "kernel").exchanged) == (None, None, 0)
    assert kernel.on_front is not None
    assert "no effect on accuracy and FLOPs of" in importance_report(found).notes[-1]
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
    printed = command("importance", file, cwd=tmp_path).stdout
    assert printed.index("spatial_activation") < printed.index("pool_kind")
    data = json.loads(command("importance", file, "--json", "--save", "a.csv", cwd=tmp_path).stdout)
    named = dict.fromkeys(own["factor"] for own in data["levels"])
    assert list(named) == [own.name for own in found.factors]
    assert data["levels"][0]["bits"] == found.factors[0].importance.mean
    with (tmp_path / "a.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [own["level"] for own in rows] == [own["level"] for own in data["levels"]]


PER_STAGE = Grammar(
    TASKS["gtsrb"],
    per_stage=True,
    widths=[(8, 16, 32), (4, 8, 16)],
    stem=["conv", "block"],
    bottleneck=["reduce(1)", "reduce(4)"],
    pooling=["stride", "last"],
    residual=["none", "add"],
)


AROUND = Grammar(
    TASKS["digits"],
    widths=[(8, 16), (4, 8)],
    stem=["block", "conv(stride=2,width=6)", "conv(kernel=5,stride=2,width=4)"],
    head=["flatten", "global_pool"],
    resolution=[24, "32x40"],
    channels=[1, 3],
    residual=["none", "add"],
)


@pytest.mark.parametrize(
    "space",
    [grammar(), PER_STAGE, AROUND],
    ids=["one block", "a block for each stage", "what is around the blocks"],
)
def test_costs_of_exchanged_networks_are_those_of_the_space(space):
    """The space makes them from their codes, and they are made here from their texts."""
    encoding, enumeration = space.encoding, space.enumeration
    texts = [str(network) for network in space.sample(12, 0)]
    codes = [encoding.encode_network(parse(text)) for text in texts]
    exchange = Exchange(texts, map(Choice.read, encoding.names), ["flops", "peak_activations"])
    compared = 0
    for place, code in enumerate(codes):
        for at, (name, values) in enumerate(encoding.levels.items()):
            for level, value in enumerate(values):
                if code[at] < 0:  # the layout has no room for it
                    continue
                genotype = encoding.decode((*code[:at], level, *code[at + 1 :]))
                costs = exchange.costs(place, Choice.read(name), str(value))
                if costs is None:
                    assert name == "stem"
                    continue
                price = enumeration.network(genotype).cost
                assert costs == (price.flops, price.peak_activations)
                compared += 1
    assert compared > 100


def test_a_network_that_cannot_be_exchanged_is_left_out_of_all_levels():
    texts = ["input=3x32x32 widths=8,16 classes=10 [residual=none]", "made of an op that is away"]
    residual = Choice(factor="residual")
    exchange = Exchange(texts, [residual], ["flops"])
    kept, costs = exchanged_costs(exchange, [0, 1], residual, ["none", "concatenate"])
    assert kept == [0]
    assert costs.shape == (2, 1, 1)
    assert exchanged_costs(exchange, [0], residual, ["none", "banana"])[0] == []
    for name in ("depth", "residual@x", "residual@0", "@2"):
        assert exchanged_costs(exchange, [0], Choice.read(name), ["none", "add"])[0] == []


def test_a_search_says_that_it_tries_what_it_believes_in(tmp_path, found):
    assert any("a search tries what it believes in" in n for n in importance_report(found).notes)
    defined = definition(CHOICES)
    defined["wishes"]["sampler"] = "random"
    rows = [row(n, n, 50.0 + n, {"flops": 20_000 + n}, [n % 3, 0, 0, n % 3]) for n in range(9)]
    drawn = study_effects(write(tmp_path / "a.db", "a", defined, rows))
    assert not any("believes in" in note for note in importance_report(drawn).notes)


@pytest.mark.slow
def test_effects_cover_what_they_say():
    """`python -m tests.benchmarks.effects` is the whole of it."""
    world = World.read(TABLE)
    drawn, without = coverage(world, range(10), 2.0, sampler="random", repeated=0)
    assert drawn >= 91
    assert without < drawn
    searched, _ = coverage(world, range(5), 2.0, seeds=3)
    assert searched >= 82
