"""Widths rescaled to a budget: it is met, and the next width up does not meet it."""

from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from itertools import islice

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from blocksearch import TASKS, cost, named_network, rescaled
from blocksearch.arch.scale import next_scale, widths_at
from blocksearch.errors import BlocksearchError, SpecError
from tests.strategies import networks, tries

LARGE = {
    "cifar10": (79_118_336, 80_347_136),
    "svhn": (3_333_120, 3_563_520),
    "gtsrb": (1_666_048, 2_326_528),
}


def widths_upward(widths):
    """Walk all widths of the same proportions, from the thinnest."""
    scale = Fraction(0)
    while True:
        yield widths_at(widths, scale)
        scale = next_scale(widths, scale)


def spent(network, quantity):
    return getattr(network.cost, quantity)


def placed(network, widths):
    return replace(network, widths=widths)


def buildable(network):
    """Networks of the same proportions, from the thinnest that can be built."""
    for widths in widths_upward(network.task.widths):
        with suppress(SpecError):
            yield placed(network, widths)


@tries(60)
@given(
    networks(),
    st.sampled_from(["flops", "params", "activations", "peak_activations"]),
    st.integers(1, 40),
    st.integers(1, 10),
)
def test_the_budget_is_met_and_the_next_width_breaks_it(network, quantity, times, part):
    bound = spent(network, quantity) * times // part
    try:
        found = rescaled(network, f"{quantity} <= {bound}")
    except SpecError:
        found = None
    if found is None:
        assert spent(next(buildable(network)), quantity) > bound
        return
    assert spent(found, quantity) <= bound
    assume(max(found.task.widths) < 2000)
    upward = widths_upward(network.task.widths)
    following = next(widths for widths in upward if widths == found.task.widths) and next(upward)
    assert sum(following) > sum(found.task.widths)
    assert spent(placed(network, following), quantity) > bound


def test_widths_go_up_one_step_at_a_time():
    assert list(islice(widths_upward((1, 2)), 7)) == [
        (1, 1),
        (1, 2),
        (1, 3),
        (2, 3),
        (2, 4),
        (2, 5),
        (3, 5),
    ]


@pytest.mark.parametrize(
    ("dataset", "which"), [(dataset, which) for dataset in LARGE for which in (0, 1)]
)
def test_effnet_large_fills_the_baseline(dataset, which):
    name = ("effnet_large", "effnet_large_published")[which]
    flops = cost(named_network(name, TASKS[dataset], dataset=dataset).layers).flops
    assert 0.98 * LARGE[dataset][which] < flops <= LARGE[dataset][which]


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        ("flops >= 5", "rescaled to an upper bound such as flops <= 12e6, but got flops >= 5"),
        ("flops <= 5", "no width meets flops <= 5: the thinnest network has"),
        ("flops <= 0.5", "a cost is a whole number, but the budget is 'flops <= 0.5'"),
    ],
)
def test_impossible_budgets_are_named(budget, says):
    with pytest.raises(BlocksearchError, match=says):
        rescaled(named_network("effnet", TASKS["gtsrb"]), budget)
