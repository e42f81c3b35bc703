"""Laws of the pool: codes are another spelling of members, costs are exact, draws are even and
free.
"""

from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from blocksearch import Grammar, cost
from blocksearch.arch.quantities import COSTS
from blocksearch.errors import SpecError
from blocksearch.search.definition import opening
from blocksearch.space import candidates
from blocksearch.space.candidates import LISTED, MOST, Candidates
from blocksearch.space.load import load_space, shipped_spaces
from tests.search.spaces import SPELLED, STAGES, TWELVE
from tests.strategies import declarations

quick = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
SHIPPED = sorted(shipped_spaces())


@cache
def shipped(name: str) -> Candidates:
    return Candidates(load_space(name), seed=3)


@cache
def pool_of(grammar: Grammar) -> Candidates:
    return Candidates(grammar)


def some(pool: Candidates, count: int = 60) -> list[int]:
    return np.random.default_rng(0).permutation(pool.listed)[:count].tolist()


def none_taken(pool: Candidates) -> np.ndarray:
    return np.zeros(len(pool), bool)


@pytest.mark.parametrize("name", SHIPPED)
def test_codes_of_shipped_spaces_tell_members_apart_and_are_read_back(name):
    pool = shipped(name)
    space = pool.grammar.enumeration
    codes = pool.codes[: pool.listed]
    assert len(np.unique(codes, axis=0)) == pool.listed
    assert (codes < pool.encoding.sizes).all()
    for row in some(pool):
        code = codes[row].tolist()
        assert space.network(pool.encoding.decode(code)).digest == pool.network(row).digest
        assert pool.encoding.encode(space.unrank(pool.rank(row))) == tuple(code)
        assert pool.decode(code) == row == pool.row(pool.network(row))
        assert pool.recall(pool.network(row).digest, code, "") == row


@pytest.mark.parametrize("name", SHIPPED)
def test_named_points_have_rows_that_are_no_members_unless_the_space_has_them(name):
    pool = Candidates(load_space(name))
    for _, network in opening(pool.grammar):
        row = pool.row(network)
        assert pool.members[row] == (network in pool.grammar)
        assert pool.network(row).digest == network.digest
        assert pool.row(network) == row == pool.recall(network.digest, pool.codes[row].tolist(), "")
        assert len(pool.codes[row]) == len(pool.encoding.names)
        prices_agree(pool, row)


@pytest.mark.parametrize("name", SHIPPED)
def test_costs_are_those_of_each_network(name):
    pool = shipped(name)
    for row in some(pool, 20):
        prices_agree(pool, row)


def prices_agree(pool: Candidates, row: int) -> None:
    exact = cost(pool.network(row).layers)
    expected = {
        "flops": exact.flops,
        "params": exact.params,
        "activations": exact.activations,
        "peak_activations": exact.peak_activations,
    }
    assert pool.cost(row) == expected
    assert dict(zip(COSTS, pool.costs(COSTS)[row].tolist(), strict=True)) == expected


@quick
@given(declarations())
def test_any_small_space_is_listed_whole_and_each_of_its_codes_is_read_back(declared):
    grammar = Grammar(**declared)
    try:
        assume(grammar.size <= 500)
    except SpecError:
        assume(False)
    pool = Candidates(grammar)
    assert pool.whole
    assert {pool.network(row).digest for row in range(len(pool))} == {
        network.digest for network in grammar
    }
    assert [pool.decode(code) for code in pool.codes.tolist()] == list(range(grammar.size))
    anyhow = np.maximum(
        pool.codes, 0
    ).tolist()  # what a plan has no room for may be said in any way
    assert [pool.decode(code) for code in anyhow] == list(range(grammar.size))


@quick
@given(st.sampled_from([TWELVE, SPELLED, STAGES]), st.data())
def test_nonsense_makes_no_network_and_raises_nothing(grammar, data):
    pool = pool_of(grammar)
    code = data.draw(
        st.lists(st.integers(-3, 9), min_size=0, max_size=len(pool.encoding.names) + 1)
    )
    row = pool.decode(code)
    if len(code) != len(pool.encoding.names) or any(
        level >= size for level, size in zip(code, pool.encoding.sizes, strict=False)
    ):
        assert row is None
    else:
        assert row is None or pool.members[row]
    assert pool.decode(code) == row


@quick
@given(st.sampled_from([SPELLED, STAGES]), st.integers(0, 10**6))
def test_children_are_members_and_differ_in_what_was_changed(grammar, seed):
    pool, rng = pool_of(grammar), np.random.default_rng(seed)
    one, other = (int(row) for row in rng.integers(0, pool.listed, 2))
    changed, crossed = pool.mutate(one, rng), pool.cross(one, other, rng)
    for child in (changed, crossed):
        assert child is None or (pool.members[child] and pool.network(child) in grammar)
    assert changed is None or changed == one or (pool.codes[changed] != pool.codes[one]).any()
    mixed = pool.cross(one, one, rng)
    assert mixed == one


def test_a_mutation_takes_every_other_option_of_every_choice():
    pool, rng = Candidates(TWELVE), np.random.default_rng(0)
    near = {pool.mutate(0, rng) for _ in range(200)}
    assert near == {row for row in range(12) if (pool.codes[row] != pool.codes[0]).sum() == 1}


def test_a_space_without_a_choice_has_no_mutation():
    pool = Candidates(TWELVE.restrict(bottleneck=["reduce(1)"], kernel=["3x3"], residual=["none"]))
    assert len(pool) == 1
    assert pool.mutate(0, np.random.default_rng(0)) is None
    assert pool.decode([]) == 0


def test_draws_are_even_over_what_is_left():
    """Chi-square over nine of twelve, 1,800 draws: below the 99.99 % point of eight degrees of
    freedom (31.8), seeds fixed.
    """
    pool, rng = Candidates(TWELVE), np.random.default_rng(1)
    taken = none_taken(pool)
    taken[[0, 5, 11]] = True
    drawn = np.bincount([pool.draw(rng, taken) for _ in range(1800)], minlength=12)
    assert not drawn[taken].any()
    assert ((drawn[~taken] - 200) ** 2 / 200).sum() < 31.8


def exhausted(pool: Candidates) -> list[int]:
    rng, found = np.random.default_rng(2), []
    while True:
        taken = none_taken(pool)
        taken[found] = True
        row = pool.draw(rng, taken)
        if row is None:
            return found
        found.append(row)


def test_every_member_is_drawn_once_before_none_is_left():
    pool = Candidates(TWELVE)
    assert sorted(exhausted(pool)) == list(range(12))


@pytest.mark.parametrize("budget", [None, "flops <= 300k"])
def test_a_space_that_is_not_listed_is_drawn_to_its_end_too(monkeypatch, budget):
    monkeypatch.setattr(candidates, "MOST", 10)
    monkeypatch.setattr(candidates, "LISTED", 5)
    monkeypatch.setattr(candidates, "_BATCHES", (2, 4))
    grammar = SPELLED.where(budget) if budget else SPELLED
    pool = Candidates(grammar)
    assert (len(pool), pool.whole) == (5, False)
    assert {pool.network(row).digest for row in exhausted(pool)} == {
        network.digest for network in grammar
    }


def test_a_large_space_lists_a_part_and_draws_members_within_its_budgets_whatever_it_has_grown_by():
    grammar = STAGES.where("flops <= 300k")
    assert grammar.enumeration.diagram.size > MOST
    one, other = Candidates(grammar, seed=4), Candidates(grammar, seed=4)
    assert (one.whole, one.listed, len(set(one._ranks))) == (False, LISTED, LISTED)
    for row in range(50):
        one.mutate(row, np.random.default_rng(row))
    assert len(one) > len(other)
    assert (
        one.left(none_taken(one)).tolist()
        == other.left(none_taken(other)).tolist()
        == list(range(LISTED))
    )
    taken = [none_taken(pool) for pool in (one, other)]
    drawn = [
        [pool.draw(np.random.default_rng(seed), own) for seed in range(40)]
        for pool, own in zip((one, other), taken, strict=True)
    ]
    assert [one.rank(row) for row in drawn[0]] == [other.rank(row) for row in drawn[1]]
    assert len(set(drawn[0])) == 40
    for row in drawn[0]:
        assert one.network(row) in grammar
        assert one.cost(row)["flops"] <= 300_000
    assert (one.costs(["flops"]) <= 300_000).all()


def test_budgets_that_hardly_any_network_meets_leave_a_pool_of_those_that_were_found():
    grammar = load_space("per_stage").where("flops <= 95k")
    pool = Candidates(grammar)
    assert 0 < pool.listed < LISTED
    assert (pool.costs(["flops"]) <= 95_000).all()
    taken = np.ones(len(pool), bool)
    assert pool.draw(np.random.default_rng(0), ~taken) is not None
