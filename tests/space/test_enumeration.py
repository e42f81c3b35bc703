"""Laws of the members of any grammar, against a walk over every combination."""

import tracemalloc
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from blocksearch import TASKS, Block, Grammar, Network, Shape, Task, cost, parse
from blocksearch.arch.cost import read_budget
from blocksearch.arch.layers import encode
from blocksearch.errors import SpecError
from blocksearch.space import automaton
from blocksearch.training.build import build
from tests.space import brute
from tests.strategies import declarations

MOST = 400  # combinations that the slow way is asked to walk
CALM = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.filter_too_much, HealthCheck.too_slow],
}
TRIES = [12, pytest.param(60, marks=pytest.mark.slow)]


def law(*drawn):
    """Try a law on a few drawn examples, and on many if slow tests run, too."""

    def decorate(check):
        @pytest.mark.parametrize("tries", TRIES)
        def test(tries):
            settings(max_examples=tries, **CALM)(given(*drawn)(check))()

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        return test

    return decorate


def grammar_of(declared: dict) -> Grammar:
    return Grammar(**declared)


def small(declared: dict) -> dict:
    assume(brute.combinations(declared) <= MOST)
    return declared


def both(declared: dict) -> tuple[Grammar, list[Network]]:
    """A grammar and its members found the slow way; neither has any, or both have."""
    expected = brute.members(small(declared))
    grammar = grammar_of(declared)
    if not expected:
        with pytest.raises(SpecError, match="the space is empty"):
            _ = grammar.size
        assume(False)
    return grammar, expected


def prints(networks) -> list[str]:
    return [network.digest for network in networks]


@law(declarations())
def test_members_are_the_distinct_networks_of_all_combinations(declared):
    grammar, expected = both(declared)
    found = prints(grammar)
    assert len(found) == len(set(found)) == grammar.size
    assert set(found) == set(prints(expected))


@law(declarations())
def test_numbers_and_members_are_one_to_one(declared):
    grammar, expected = both(declared)
    for index, network in enumerate(grammar):
        assert grammar[index] == network
        assert grammar.index(network) == index
    for network in expected:  # however it is spelled
        assert network in grammar
        assert grammar[grammar.index(network)].digest == network.digest


@law(declarations())
def test_arrays_hold_what_each_network_costs(declared):
    grammar, _ = both(declared)
    costs = grammar.costs()
    some = np.arange(grammar.size)[::3]
    for name in ("macs", "flops", "params", "activations", "peak_activations"):
        key = "peak_activations" if name == "peak_activations" else name
        one_by_one = [getattr(cost(network.layers), key) for network in grammar]
        assert costs.of(name).tolist() == one_by_one
        assert grammar.costs(some).of(name).tolist() == one_by_one[::3]


@law(declarations(), declarations())
def test_a_union_counts_what_both_hold_once(one, other):
    task = one["task"]
    other["task"] = Task(input=task.input, widths=other["task"].widths, classes=task.classes)
    (a, members_a), (b, members_b) = both(one), both(other)
    assert set(prints(a | b)) == {*prints(members_a), *prints(members_b)}
    assert (a | b).size == len({*prints(members_a), *prints(members_b)})


RULES = {
    "residual=none or pooling!=stride": lambda v: (
        v["residual"] == "none" or v["pooling"] != "stride"
    ),
    "bottleneck!=none|reduce(1)": lambda v: v["bottleneck"] not in ("none", "reduce(1)"),
    "groups=none or last=none or kernel=3x3": lambda v: (
        v["groups"] == "none" or v["last"] == "none" or v["kernel"] == "3x3"
    ),
}


@law(declarations(), st.sampled_from(sorted(RULES)))
def test_a_rule_keeps_what_has_a_spelling_that_meets_it(declared, rule):
    grammar, _ = both(declared)
    expected = set(prints(brute.members(declared, RULES[rule])))
    if expected:
        assert set(prints(grammar.where(rule))) == expected
    else:
        with pytest.raises(SpecError, match="no network of the space meets"):
            _ = grammar.where(rule).size


@law(declarations(), st.integers(0, 10**6))
def test_budgets_and_functions_keep_what_meets_them(declared, seed):
    grammar, expected = both(declared)
    bound = cost(expected[seed % len(expected)].layers).flops
    kept = set(prints(n for n in expected if cost(n.layers).flops <= bound))
    budgeted = grammar.where(f"flops <= {bound}")
    assert set(prints(budgeted)) == kept
    assert budgeted.size == len(kept)
    assert [budgeted.index(network) for network in budgeted] == list(range(len(kept)))
    assert set(prints(grammar.where(lambda network: cost(network.layers).flops <= bound))) == kept
    either = budgeted | grammar.where(f"flops > {bound}") if len(kept) < len(expected) else budgeted
    assert set(prints(either)) == set(prints(expected))


@law(declarations())
def test_stages_in_lockstep_and_layer_by_layer_tell_the_same_networks_apart(declared):
    declared = small(declared | {"per_stage": False})
    grammar, expected = both(declared)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(automaton, "_FLAT", -1)
        beside = grammar_of(declared)
        assume(beside.enumeration.exact and beside.enumeration.lockstep)
        assert set(prints(beside)) == set(prints(expected))
        assert [beside.index(network) for network in beside] == list(range(grammar.size))
        assert sorted(beside.costs().peak_activations) == sorted(grammar.costs().peak_activations)
        assert sorted(beside.costs().activations) == sorted(grammar.costs().activations)


@law(declarations(), st.integers(0, 10**6))
def test_every_member_is_built_and_runs(declared, index):
    grammar, _ = both(declared)
    network = grammar[index % grammar.size]
    image = network.task.input
    answer = build(network.layers, 0).eval()(torch.randn(2, image.channels, *image.map))
    assert answer.shape == (2, network.task.classes)
    assert answer.isfinite().all()


@law(declarations(), st.integers(0, 10**6))
def test_mutation_and_crossover_stay_inside(declared, seed):
    grammar, _ = both(declared)
    one, other = grammar[seed % grammar.size], grammar[(seed // 7) % grammar.size]
    near = grammar.neighbours(one)
    assert all(network in grammar and network.digest != one.digest for network in near)
    assert len(set(prints(near))) == len(near)
    assert grammar.mutate(one, seed).digest in set(prints(near)) | (
        {one.digest} if not near else set()
    )
    assert grammar.crossover(one, other, seed) in grammar


@law(declarations())
def test_the_frontier_is_what_no_other_undercuts(declared):
    grammar, _ = both(declared)
    costs = grammar.costs()
    points = np.stack([costs.flops, costs.params, costs.peak_activations], axis=1)
    found = {
        (c.flops, c.params, c.peak_activations)
        for c in (cost(n.layers) for n in grammar.frontier("flops", "params", "peak_activations"))
    }
    undercut = [(((points <= p).all(axis=1)) & ((points < p).any(axis=1))).any() for p in points]
    assert found == {
        tuple(map(int, p)) for p, beaten in zip(points, undercut, strict=True) if not beaten
    }


@law(declarations(), st.integers(0, 10**6))
def test_nearest_is_nearest(declared, wanted):
    grammar, _ = both(declared)
    count = min(3, grammar.size)
    away = [
        abs(cost(network.layers).flops - wanted) for network in grammar.nearest(count, flops=wanted)
    ]
    assert away == sorted(abs(int(flops) - wanted) for flops in grammar.costs().flops)[:count]


@law(declarations(), st.integers(0, 100))
def test_samples_are_distinct_members(declared, seed):
    grammar, _ = both(declared)
    count = 1 + seed % grammar.size
    sample = grammar.sample(count, seed)
    assert len(set(prints(sample))) == count
    assert all(network in grammar for network in sample)
    assert sample == grammar.sample(count, seed)


@law(declarations())
def test_what_is_no_member_has_a_reason(declared):
    grammar, expected = both(declared)
    inside = set(prints(expected))
    for stranger in (
        Network(
            task=declared["task"],
            blocks=(Block(bottleneck="reduce(1)", minimum=77, pooling="none"),),
        ),
        Network(task=Task(input=Shape(3, 40, 40), widths=(5,), classes=2), blocks=(Block(),)),
    ):
        assert (
            (stranger in grammar)
            == (stranger.digest in inside)
            == (grammar.why_not(stranger) is None)
        )


@pytest.mark.slow
def test_samples_are_uniform():
    """Chi-square over 48 members, 4,800 draws: below the 99.99 % point (95) for a fixed seed."""
    grammar = Grammar(
        TASKS["digits"],
        bottleneck=["reduce(2)", "reduce(4)", "reduce(8)"],
        kernel=["3x3", "1x3+3x1"],
        pooling=["stride", "last"],
        residual=["none", "add"],
        groups=["none", "both(4)"],
    )
    assert grammar.size == 48
    drawn = np.bincount(
        [grammar.index(grammar.sample(1, seed)[0]) for seed in range(4800)], minlength=48
    )
    assert ((drawn - 100) ** 2 / 100).sum() < 95


BILLIONS = Grammar(
    TASKS["gtsrb"],
    per_stage=True,
    widths=[(8, 16, 32), (12, 24, 48)],
    bottleneck=["reduce(1)", "reduce(2)", "reduce(4)", "reduce(8)"],
    depth_multiplier=[1, 2],
    kernel=["3x3", "1x3+3x1"],
    pooling=["stride", "last", "first", "separable", "separable_end", "separable_conv"],
    residual=["none", "add", "project", "concatenate"],
    groups=["none", "last(4)", "both(4)"],
)


@pytest.mark.slow
def test_billions_are_numbered_and_walked_in_constant_memory():
    size = BILLIONS.size
    assert size > 10**9
    tracemalloc.start()
    for index in range(0, size, size // 200):
        assert BILLIONS.index(BILLIONS[index]) == index
    walked = prints(islice(BILLIONS, 300))
    assert len(set(walked)) == 300
    assert walked == [BILLIONS[index].digest for index in range(300)]
    chunk = next(BILLIONS.chunks())
    assert chunk.flops[:5].tolist() == [cost(BILLIONS[index].layers).flops for index in range(5)]
    assert tracemalloc.get_traced_memory()[1] < 200 * 2**20
    tracemalloc.stop()


def test_what_does_not_fit_in_memory_is_refused():
    with pytest.raises(SpecError, match=r"too many to hold at once; stream chunks\(\)"):
        BILLIONS.costs()
    with pytest.raises(SpecError, match="out of reach: only up to 10,000,000 are looked at"):
        BILLIONS.nearest(flops=1)


@pytest.mark.slow
def test_an_estimate_says_so_and_holds_the_truth():
    """The share of members within a budget is known from a walk over a space that is just small
    enough to be walked.
    """
    grammar = BILLIONS.restrict(widths=[(8, 16, 32)], depth_multiplier=["1"])
    bounded = grammar.where("flops <= 500k")
    truth = sum(int((costs.flops <= 500_000).sum()) for costs in grammar.chunks())
    estimate = bounded.count()
    assert not estimate.exact
    assert "estimate" in str(estimate)
    assert estimate.interval[0] <= truth <= estimate.interval[1]
    assert all(cost(network.layers).flops <= 500_000 for network in bounded.sample(5, seed=0))
    with pytest.raises(SpecError, match="exact size is out of reach"):
        _ = bounded.size


def test_spaces_beyond_sixty_four_bits():
    grammar = Grammar(
        TASKS["digits"],
        per_stage=True,
        widths=[(8,) * 12],
        pooling=["none"],
        bottleneck=["reduce(2)", "reduce(4)"],
        kernel=["3x3", "1x3+3x1"],
        residual=["none", "add", "project", "concatenate"],
        groups=["none", "both(4)"],
    )
    assert grammar.size > 2**50
    grammar = grammar.extend(activation=["leaky", "linear"])
    assert grammar.size > 2**64
    last = grammar[-1]
    assert grammar.index(last) == grammar.size - 1
    sample = grammar.sample(3, seed=1)
    assert all(network in grammar for network in sample)
    prices = grammar.costs([grammar.index(network) for network in sample])
    assert prices.flops.tolist() == [cost(network.layers).flops for network in sample]


def test_text_of_members_reads_back():
    for network in BILLIONS.sample(50, seed=3):
        assert parse(str(network)) == network
        assert encode(parse(str(network)).layers) == encode(network.layers)


def test_a_frontier_under_a_lower_bound_is_of_those_above_it():
    grammar = Grammar(
        TASKS["digits"],
        bottleneck=["reduce(1)", "reduce(2)", "reduce(4)"],
        residual=["none", "add"],
    )
    flops = sorted({cost(network.layers).flops for network in grammar})
    middle = flops[len(flops) // 2]
    assert {
        cost(network.layers).flops
        for network in grammar.where(f"flops >= {middle}").frontier("flops")
    } == {middle}


@pytest.mark.parametrize(
    ("relation", "holds"), [("<", "ynn"), ("<=", "yyn"), (">", "nny"), (">=", "nyy")]
)
def test_a_budget_holds_on_its_side_of_the_bound(relation, holds):
    budget = read_budget(f"flops {relation} 5")
    assert "".join("ny"[bool(budget.holds(value))] for value in (4, 5, 6)) == holds
