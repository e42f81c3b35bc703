"""Recipes: a schedule that nobody wrote is refused, one of one's own is one entry."""

import doctest

import pytest

from blocksearch.errors import ConfigError
from blocksearch.training import recipe as module
from blocksearch.training.recipe import SCHEDULES, Recipe, recipe_named


def test_an_unknown_schedule_is_refused_with_those_that_are_known():
    with pytest.raises(ConfigError, match=r"unknown schedule 'cosine'.*constant, linear"):
        Recipe(epochs=3, schedule="cosine")
    with pytest.raises(ConfigError, match="unknown schedule"):
        recipe_named("fast", 3, {"schedule": "cosine"})


def test_a_schedule_of_ones_own_is_one_entry(monkeypatch):
    monkeypatch.setitem(SCHEDULES, "halved", lambda step, steps: 0.5 ** (2 * step // steps))
    recipe = recipe_named("fast", 3, {"schedule": "halved"})
    assert [recipe.rate_at(step, 4) for step in range(4)] == [0.02, 0.02, 0.01, 0.01]
    assert "halved schedule" in recipe.title


def test_the_digests_of_recipes_are_those_of_stored_runs():
    """Read off the shipped databases: a recipe with nothing new keeps its digest."""
    assert recipe_named("fast", 10, {}).digest.startswith("389b981cbd60adc2")


def test_examples():
    assert not doctest.testmod(module).failed
