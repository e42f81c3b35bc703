"""The space as an object: distinct members, samples inside it."""

import pytest

from blocksearch import SETTINGS, Grammar
from blocksearch.errors import BlocksearchError


def tiny(**options):
    return Grammar(SETTINGS["digits"], **options)


def test_equal_networks_count_once():
    """Without a bottleneck the minimum is inactive: 2 + 1 networks, not 4."""
    assert tiny(bottleneck=["none", "reduce(8)"], minimum=[1, 6]).size == 3


def test_members_are_distinct_and_samples_are_members():
    grammar = tiny(first_layer=["vanilla", "block"], pooling=["stride", "last", "separable"], kernel=["3x3", "1x3+3x1"])
    members = [network.fingerprint for network in grammar]
    assert len(set(members)) == grammar.size == len(members)
    sample = grammar.sample(5, seed=0)
    assert {network.fingerprint for network in sample} <= set(members)
    assert sample == grammar.sample(5, seed=0) != grammar.sample(5, seed=1)


def test_a_grammar_without_options_is_its_base_block():
    assert tiny().size == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"residul": ["add"]}, "unknown factor 'residul' (did you mean 'residual'?)"),
        ({"residual": ["plus"]}, "residual must be none or add or project or concatenate, but got 'plus'"),
        ({"residual": []}, "residual needs at least one option"),
        ({"last": ["none"]}, "the grammar is empty: last=none needs spatial=dense"),
        ({"first_layer": ["pool"]}, "first_layer must be vanilla or block, but got 'pool'"),
    ],
)
def test_impossible_grammars_are_named(options, says):
    with pytest.raises(BlocksearchError) as caught:
        _ = tiny(**options).size
    assert says in str(caught.value)


def test_a_sample_larger_than_the_space_is_refused():
    with pytest.raises(BlocksearchError, match="1 to 2"):
        tiny(residual=["none", "add"]).sample(3, seed=0)
