"""What a user writes with a search space in Python, and what the mistakes of beginners say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import blocksearch
from blocksearch import TASKS, Block, Grammar, op
from blocksearch.errors import BlocksearchError, ConfigError
from blocksearch.space.load import load_space
from tests.strategies import declarations, tries

NAMES = {
    name: getattr(blocksearch, name) for name in ("TASKS", "Block", "Grammar", "Shape", "Task")
}
SPACE = Grammar(TASKS["gtsrb"], bottleneck=["reduce(2)", "reduce(4)"], residual=["none", "add"])


def test_a_space_is_a_sequence():
    everything = list(SPACE)
    assert len(SPACE) == len(everything) == 4
    assert (SPACE[3], SPACE[-1], SPACE[np.int64(0)]) == (*everything[3:] * 2, everything[0])
    assert (SPACE[:3], SPACE[::-2], SPACE[9:]) == (everything[:3], everything[::-2], [])
    assert list(reversed(SPACE)) == everything[::-1]
    assert [SPACE.index(network) for network in SPACE] == [0, 1, 2, 3]
    assert all(network in SPACE for network in SPACE)


def test_seeds_have_a_default():
    assert SPACE.sample(2) == SPACE.sample(2, seed=0)
    assert SPACE.mutate(SPACE[0]) == SPACE.mutate(SPACE[0], 0)
    assert SPACE.crossover(SPACE[0], SPACE[3]) == SPACE.crossover(SPACE[0], SPACE[3], 0)


def test_costs_are_arrays_over_the_space():
    costs = SPACE.costs()
    assert costs.flops.shape == (4,)
    assert SPACE.costs([2]).flops == costs.flops[2]


def test_neighbours_differ_in_one_choice():
    ((a, b),) = [[each.blocks[0] for each in SPACE.neighbours(SPACE[0])]]
    assert (str(a), str(b)) == ("bottleneck=reduce(4)", "bottleneck=reduce(2) residual=add")
    deep = Grammar(TASKS["digits"], depth=[1, 2], widths=[(4, 8), (4, 8, 8)], per_stage=True)
    assert {near.task.widths for near in deep.neighbours(deep[0])} >= {(4, 8, 8)}


@tries(40)
@given(declarations(), st.booleans())
def test_a_space_is_written_as_the_calls_that_make_it(declared, constrained):
    space = Grammar(**declared)
    if constrained:
        space = (space | space.extend(residual=["add"])).where(
            "flops <= 1G", thin="residual=none or pooling!=last"
        )
    assert eval(repr(space), NAMES) == space
    assert "\n" not in repr(space)


def test_the_text_of_a_shipped_space_is_its_call():
    assert repr(SPACE) == (
        'Grammar(TASKS["gtsrb"], bottleneck=["reduce(2)", "reduce(4)"], residual=["none", "add"])'
    )
    assert 'attention=["none", squeeze.se(ratio=2),' in repr(load_space("squeeze"))
    assert eval(repr(load_space("per_stage")), NAMES) == load_space("per_stage")


@op("attention")
def gate(entry):
    return ()


@op("attention")
def valve(entry, ratio):
    return ()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: Grammar(TASKS["digits"], attention=valve), "call it: valve(ratio=…)"),
        (lambda: SPACE.index("effnet"), "a space holds networks, but got 'effnet'"),
        (lambda: SPACE.mutate(Block()), "a space holds networks, but got Block("),
        (lambda: load_space("section4"), "unknown space 'section4' (did you mean 'section3'?)"),
    ],
)
def test_mistakes_name_the_call_to_make(wrong, says):
    with pytest.raises(BlocksearchError) as caught:
        wrong()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_space_is_true_and_is_not_counted_for_it():
    assert Grammar(TASKS["digits"], last=["none"])


def test_another_kind_of_index_is_refused_in_one_line():
    with pytest.raises(ConfigError, match="index of a space must be a whole number or a slice"):
        SPACE["first"]
