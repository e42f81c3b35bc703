"""The validation split on sizes like the real ones: shares, whole signs, prefixes, and its name."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocksearch.data import Arrays, split_id, validation_split
from blocksearch.data.splits import divided
from blocksearch.errors import ConfigError
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


@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(8, 60))
def test_groups_of_several_classes_stay_whole_and_each_class_is_on_both_sides(seed, classes, count):
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 12, count)
    groups = np.repeat(np.arange(count, dtype=np.int32), sizes)
    labels = random.choice(classes, len(groups), p=random.dirichlet(np.full(classes, 3.0)))
    labels[: 2 * classes] = np.tile(np.arange(classes), 2)  # each class in two groups, mostly
    learn, judge = validation_split(labels, groups, seed % 3)
    assert sorted([*learn, *judge]) == list(range(len(labels)))
    assert not set(groups[learn]) & set(groups[judge])
    for label in np.unique(labels):
        assert (labels[learn] == label).any()
        own = np.unique(groups[labels == label])
        assert (labels[judge] == label).any() or len(own) < 3
    again = validation_split(labels, groups, seed % 3)
    assert all(np.array_equal(one, two) for one, two in zip((learn, judge), again, strict=True))


def test_groups_of_several_classes_are_divided_by_the_share():
    random = np.random.default_rng(3)
    groups = np.repeat(np.arange(100, dtype=np.int32), 7)
    labels = random.choice(3, 700, p=[0.6, 0.3, 0.1])
    splits = [validation_split(labels, groups, number)[1] for number in range(3)]
    for judge in splits:
        shares = np.bincount(labels[judge]) / np.bincount(labels)
        assert abs(shares - 0.2).max() < 0.03
    assert len({judge.tobytes() for judge in splits}) == 3


def test_a_split_that_the_user_chose_is_the_only_one():
    labels, held = np.arange(30) % 3, np.arange(30) >= 21
    arrays = Arrays(np.zeros((30, 1, 1, 1), np.uint8), labels, held=held)
    learn, judge = divided(arrays, 0)
    assert set(judge) == set(range(21, 30))
    assert set(labels[judge[:3]]) == {0, 1, 2}  # prefixes are stratified
    assert len(learn) == 21
    with pytest.raises(ConfigError, match="a validation split of their own, number 0, but got 1"):
        divided(arrays, 1)


@given(st.integers(0, 10**6))
def test_groups_of_all_sizes_are_drawn_anew_for_every_number(seed):
    """The largest are not always held out, nor is more than about a fifth."""
    random = np.random.default_rng(seed)
    sizes = np.round(8 * np.exp(random.normal(1, 0.8, 40))).astype(int)
    groups = np.repeat(np.arange(40, dtype=np.int32), sizes)
    labels = np.concatenate([random.choice(4, n, p=random.dirichlet(np.ones(4))) for n in sizes])
    judges = [validation_split(labels, groups, number)[1] for number in range(5)]
    assert len({frozenset(groups[judge]) for judge in judges}) >= 4
    for judge in judges:
        shares = np.bincount(labels[judge], minlength=4) / np.bincount(labels)
        assert abs(len(judge) / len(labels) - 0.2) < 0.08
        assert abs(shares - 0.2).max() < 0.2


@given(st.integers(0, 10**6))
def test_few_groups_are_not_searched_for_the_one_best_split(seed):
    """Which would be the same for every number."""
    random = np.random.default_rng(seed)
    groups, labels = np.repeat(np.arange(8, dtype=np.int32), 20), random.choice(3, 160)
    judges = [validation_split(labels, groups, number)[1] for number in range(8)]
    assert len({frozenset(groups[judge]) for judge in judges}) >= 4
