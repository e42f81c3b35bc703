"""What so many seeds decide, against the noncentral t and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from blocksearch.ablation.power import (
    critical,
    seeds_for,
    seeds_within,
    smallest_effect,
    spread_limits,
    two_sided,
)
from tests.strategies import tries

LEVELS = st.sampled_from([0.05, 0.025, 0.05 / 12, 0.05 / 36])


@tries(50)
@given(st.floats(-20, 20), st.floats(1, 60))
def test_p_and_limit_are_students(t, freedom):
    assert two_sided(t, freedom) == pytest.approx(2 * stats.t.sf(abs(t), freedom))
    assert two_sided(critical(freedom, 0.03), freedom) == pytest.approx(0.03)


@tries(50)
@given(st.floats(0.1, 5), st.integers(2, 30), LEVELS)
def test_the_smallest_effect_has_the_noncentral_ts_power(deviation, n, level):
    effect = smallest_effect(deviation, n, n - 1, level)
    far = effect / deviation * math.sqrt(n)
    assert stats.nct.sf(stats.t.isf(level / 2, n - 1), n - 1, far) == pytest.approx(0.8, abs=0.004)


@tries(40)
@given(st.floats(0.1, 3), LEVELS)
def test_the_seeds_for_an_effect_decide_it_and_one_fewer_would_not(effect, level):
    def power(n):
        return stats.nct.sf(stats.t.isf(level / 2, n - 1), n - 1, effect * math.sqrt(n))

    n = seeds_for(effect, 1.0, level)
    assert n is None or power(n) >= 0.797
    assert power((n or 1001) - 1) <= 0.803 or n == 2


@pytest.mark.parametrize(("margin", "level"), [(0.7, 0.05), (0.5, 0.0125)])
def test_the_seeds_for_equality_show_it_and_one_fewer_would_not(margin, level):
    def share(n):
        draws = np.random.default_rng(3).normal(0, 1, (6000, n))
        found = stats.ttest_1samp(draws, 0, axis=1).confidence_interval(1 - level)
        return np.mean((found.low > -margin) & (found.high < margin))

    n = seeds_within(margin, 1.0, level)
    assert share(n) >= 0.78
    assert share(n - 1) <= 0.82


def test_more_seeds_than_a_thousand_are_not_advised():
    assert seeds_for(0.5, 100.0, 0.05) is seeds_within(0.5, 100.0, 0.05) is None


@pytest.mark.parametrize("n", [5, 8, 12])
def test_four_in_five_true_spreads_lie_between_their_limits(n):
    drawn = np.random.default_rng(1).normal(0, 2.0, (4000, n)).std(axis=1, ddof=1)
    low, high = np.array([spread_limits(each, n - 1) for each in drawn]).T
    assert np.mean((low < 2) & (high > 2)) == pytest.approx(0.8, abs=0.02)
    assert np.mean(low > 2) == pytest.approx(0.1, abs=0.015)
