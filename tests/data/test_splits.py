"""The validation split on sizes like the real ones: shares, whole signs, prefixes, and its name."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocksearch.data import split_id, validation_split
from blocksearch.errors import DataError
from tests.strategies import tries


def signs(seed):
    """Labels and groups like GTSRB's: 43 classes of 7 to 75 signs with some 30 frames each."""
    random = np.random.RandomState(seed)
    counts = random.randint(7, 76, 43)
    labels_of_signs = np.repeat(np.arange(43), counts)
    frames = random.randint(28, 31, counts.sum())
    return np.repeat(labels_of_signs, frames), np.repeat(
        np.arange(counts.sum(), dtype=np.int32), frames
    )


def test_a_fifth_of_each_class_is_held_out():
    labels = np.repeat(np.arange(10), 500)
    learn, judge = validation_split(labels)
    assert np.bincount(labels[judge]).tolist() == [100] * 10
    assert (learn.dtype, judge.dtype) == (np.int64, np.int64)


@tries(10)
@given(st.integers(0, 1000), st.integers(0, 2))
def test_no_sign_is_on_both_sides_and_a_fifth_of_the_frames_is_held_out(seed, number):
    labels, groups = signs(seed)
    learn, judge = validation_split(labels, groups, number)
    assert not set(groups[learn]) & set(groups[judge])
    assert set(labels[learn]) == set(labels[judge]) == set(range(43))
    assert abs(len(judge) / len(labels) - 0.2) < 0.01


@tries(20)
@given(st.integers(0, 1000), st.floats(0.01, 1), st.booleans())
def test_a_prefix_of_either_side_has_the_shares_of_its_classes(seed, share, judged):
    labels, groups = signs(seed)
    side = labels[validation_split(labels, groups)[judged]]
    length = int(share * len(side))
    wanted = np.bincount(side, minlength=43) * length / len(side)
    assert np.abs(np.bincount(side[:length], minlength=43) - wanted).max() <= 2


def test_a_sign_alone_in_its_class_is_validated_on():
    labels, groups = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 1, 2, 2], np.int32)
    learn, judge = validation_split(labels, groups)
    assert set(labels[judge]) == {0, 1}
    assert set(labels[learn]) == {0}


def test_other_numbers_are_other_splits_of_the_same_size():
    labels, groups = signs(5)
    first, second = (validation_split(labels, groups, number)[1] for number in (0, 1))
    shared = len(set(first) & set(second)) / len(first)
    assert 0.1 < shared < 0.35  # a fifth by chance


def test_the_split_without_groups_is_pinned():
    """A run's identity holds the split's version: its rule must not drift."""
    both = np.concatenate(validation_split(np.arange(1000) * 7 % 10))
    assert hashlib.sha256(both.astype("<i8").tobytes()).hexdigest()[:16] == "7167a7d27bc878a8"


@pytest.mark.parametrize(
    ("number", "images", "name"),
    [(0, None, "val20-v1.0"), (1, None, "val20-v1.1"), (0, 8000, "val20-v1.0-n8000")],
)
def test_a_split_has_a_name(number, images, name):
    assert split_id(number, images) == name


def test_a_group_of_two_classes_is_refused():
    with pytest.raises(DataError, match="must belong to one class"):
        validation_split(np.array([0, 1, 1]), np.array([5, 5, 6], np.int32))
