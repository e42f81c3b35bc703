"""Intervals of an accuracy over images, groups and seeds, against oracles from outside."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from blocksearch.errors import ConfigError
from blocksearch.runs.metrics import accuracy_interval, mean_interval
from tests.strategies import tries


@given(st.lists(st.floats(0, 100), min_size=2, max_size=12))
def test_an_interval_of_a_mean_is_students(values):
    assume(np.ptp(values) > 1e-6)
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    wanted = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=error)
    assert mean_interval(values) == pytest.approx(np.clip(wanted, 0, 100), abs=1e-6)


@pytest.mark.parametrize("values", [[], [4.0], [80.1, 80.1], [0.0] * 5])
def test_accuracies_without_spread_have_no_interval(values):
    assert mean_interval(values) is None


@tries(60)
@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_accuracy_interval_of_images_is_wilsons(bits):
    oracle = stats.binomtest(sum(bits), len(bits)).proportion_ci(0.95, method="wilson")
    assert accuracy_interval(np.array(bits)) == pytest.approx(
        (100 * oracle.low, 100 * oracle.high), abs=1e-9
    )


def test_ten_thousand_images_at_eighty_percent_have_a_standard_error_of_0_4():
    low, high = accuracy_interval(np.arange(10_000) % 5 > 0)
    assert (high - low) / (2 * 1.96) == pytest.approx(0.4, abs=0.002)


def tracks(count=120):
    """Tracks of 5 to 30 frames, each mostly right or mostly wrong, long ones more often right."""
    random = np.random.default_rng(2)
    sizes = random.integers(5, 31, count)
    share = random.beta(sizes / 10, 0.5)
    groups = np.repeat(np.arange(count), sizes)
    return random.random(groups.size) < share[groups], groups


def test_accuracy_interval_of_tracks_has_the_ratio_estimators_width():
    bits, groups = tracks()
    low, high = accuracy_interval(bits, groups)
    sizes, right, share = np.bincount(groups), np.bincount(groups, weights=bits), bits.mean()
    error = 100 * math.sqrt(np.sum((right - share * sizes) ** 2)) / bits.size
    assert (low + high) / 2 == pytest.approx(100 * share, abs=error / 2)
    assert (high - low) / (2 * 1.96) == pytest.approx(error, rel=0.1)
    assert high - low > 1.5 * np.diff(accuracy_interval(bits))[0]


def test_copies_of_frames_add_nothing_within_tracks():
    bits, groups = tracks()
    assert accuracy_interval(np.tile(bits, 3), np.tile(groups, 3)) == pytest.approx(
        accuracy_interval(bits, groups)
    )
    assert np.diff(accuracy_interval(np.tile(bits, 3)))[0] < np.diff(accuracy_interval(bits))[0]


def test_tracks_without_spread_fall_back_to_wilson():
    bits, groups = np.ones(40, bool), np.arange(40) // 10
    assert accuracy_interval(bits, groups) == accuracy_interval(np.ones(4, bool))
    assert accuracy_interval(~bits, groups) == accuracy_interval(np.zeros(4, bool))


def test_accuracy_interval_refuses_what_it_cannot_answer():
    with pytest.raises(ConfigError, match="at least one evaluated image"):
        accuracy_interval(np.array([], bool))
    with pytest.raises(ConfigError, match="3 images and 2 groups"):
        accuracy_interval(np.ones(3, bool), np.arange(2))
