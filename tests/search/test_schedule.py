"""Successive halving over several objectives: who is taken further, what early results are taken to
say, no epoch twice.
"""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocksearch import TASKS, Grammar, cost
from blocksearch.search.config import StudyConfig
from blocksearch.search.definition import Evaluation, define
from blocksearch.search.objectives import Prices, ranks
from blocksearch.search.observations import Observation, Reading
from blocksearch.search.schedule import SHARE, TrialQueue, best_first, policy_of, promoted
from blocksearch.space.candidates import Candidates
from tests.benchmarks.queues import done

GRAMMAR = Grammar(
    TASKS["digits"],
    widths=[(4, 8, 16)],
    bottleneck=["reduce(1)", "reduce(2)", "reduce(4)"],
    kernel=["3x3", "1x3+3x1"],
    pooling=["stride", "last"],
    residual=["none", "add"],
    groups=["none", "both(4)"],
)
POINTS = st.lists(st.tuples(st.floats(0, 100), st.integers(1, 50)), min_size=1, max_size=30)


@given(POINTS)
def test_the_order_follows_pareto_rank(points):
    accuracies, costs = np.array([a for a, _ in points]), np.array([[float(c)] for _, c in points])
    order = best_first(accuracies, costs)
    assert sorted(order) == list(range(len(points)))
    found = ranks(np.column_stack([accuracies, costs]))[list(order)]
    assert (np.diff(found) >= 0).all()


@given(POINTS)
def test_no_more_than_a_share_is_ever_taken_further(points):
    rung = dict(enumerate(a for a, _ in points))
    costs = np.array([[float(c)] for _, c in points])
    reached = dict.fromkeys(rung, 2)
    while (row := promoted(rung, reached, 2, costs)) is not None:
        assert reached[row] == 2
        reached[row] = 5
    assert sum(epochs == 5 for epochs in reached.values()) == len(points) // SHARE
    kept = [row for row, epochs in reached.items() if epochs == 5]
    found = ranks(np.column_stack([list(rung.values()), costs]))
    assert all(found[row] <= found[other] for row in kept for other in rung if other not in kept)


@given(st.floats(0.2, 1.2), st.floats(-10, 40), st.floats(0.1, 3), st.integers(0, 1000))
def test_early_results_are_read_by_the_line_that_finished_runs_show(slope, rise, noise, seed):
    rng = np.random.default_rng(seed)
    early = rng.uniform(10, 60, 80)
    drawn = rng.normal(0, noise, 80)
    finals = rise + slope * early + drawn
    results = [
        Observation(row=row, accuracy=a, seed=0, epochs=3) for row, a in enumerate(early)
    ] + [Observation(row=row, accuracy=a) for row, a in enumerate(finals)]
    expected, added = Reading(results).final(Observation(row=99, accuracy=35.0, seed=0, epochs=3))
    assert expected == pytest.approx(rise + slope * 35.0, abs=1 + noise)
    assert added == pytest.approx(
        drawn.var(ddof=1), rel=0.15, abs=0.6
    )  # of these numbers, not of all that might be drawn


def test_a_finished_run_is_itself_and_an_early_one_of_which_nothing_is_known_is_doubted():
    assert Reading([]).final(Observation(row=0, accuracy=71.0)) == (71.0, 0.0)
    _, added = Reading([Observation(row=0, accuracy=30.0, seed=0, epochs=2)]).final(
        Observation(row=0, accuracy=30.0, seed=0, epochs=2)
    )
    assert added > 25


def accuracy(pool, row, seed, epoch, horizon):
    flops = np.log10(cost(pool.network(row).layers).flops)
    final = 60 + 10 * (flops - 5) + 3 * ((row * 7919) % 11) / 11 + ((row * 31 + seed * 17) % 7) / 7
    return float(final * (1 - np.exp(-epoch)) / (1 - np.exp(-horizon)))


def finished(trials, horizon=10, **fields):
    """Go through a whole search of made-up accuracies."""
    config = StudyConfig(**fields)
    prices = Prices(Candidates(GRAMMAR), config.costs)
    judged = Evaluation(
        dataset="made", data="", protocol="", recipe="", epochs=horizon, title="made up"
    )
    queue = TrialQueue(policy_of(prices, define("made", GRAMMAR, prices, judged, config)), trials)
    while (trial := queue.next()) is not None:
        rungs = [rung for rung in queue.policy.rungs if rung <= trial.epochs]
        found = (accuracy(prices.pool, trial.row, trial.seed, rung, horizon) for rung in rungs)
        queue.finish(done(trial, *found))
    return queue


@pytest.mark.parametrize("sampler", ["evolution", "random"])
def test_a_race_trains_no_epoch_twice_and_brings_its_front_to_the_end(sampler):
    queue = finished(34, sampler=sampler, seeds=3, rungs=(2, 5))
    assert (queue.sampled, queue.networks) == (34, 40)
    reached, spent = {}, Counter()
    for each in queue.told:
        key = (each.row, each.seed)
        assert each.epochs > reached.get(key, 0)
        spent[key] += each.epochs - reached.get(key, 0)
        reached[key] = each.epochs
    assert spent == reached
    front = queue.policy.front(queue.told)
    assert all(reached[row, seed] == 10 for row in front for seed in range(3))


@pytest.mark.parametrize("sampler", ["evolution", "random"])
def test_a_race_costs_less_than_training_every_network_to_the_end(sampler):
    queue = finished(42, sampler=sampler, seeds=1, rungs=(2, 5))
    reached = {}
    for each in queue.told:
        reached[each.row] = each.epochs
    assert sum(reached.values()) < 0.9 * 10 * len(reached)


def test_without_rungs_every_training_goes_to_the_end():
    assert {each.epochs for each in finished(14, seeds=2).told} == {10}
