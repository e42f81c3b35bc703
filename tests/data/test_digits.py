"""The embedded data set: the same bytes everywhere, balanced, learnable but not easy."""

import numpy as np
import pytest

from blocksearch.data.sets import digits
from blocksearch.errors import DataError


@pytest.fixture(scope="module")
def test_split():
    return digits.generate("test")


def test_the_pinned_bytes_are_drawn(test_split):
    images, labels = test_split
    assert (images.shape, images.dtype) == ((5000, 32, 32, 3), np.uint8)
    assert (labels.shape, labels.dtype) == ((5000,), np.int64)
    assert digits.digest_of(images, labels) == digits.DIGESTS["test"]
    assert np.bincount(labels).tolist() == [500] * 10
    assert (np.diff(labels[:50]) != 0).any()  # shuffled, not sorted
    assert (labels[:50] != np.arange(50) % 10).any()  # nor in turn


def test_other_bytes_are_refused(monkeypatch):
    monkeypatch.setitem(digits.DIGESTS, "test", "0" * 64)
    monkeypatch.setitem(digits.COUNTS, "test", 100)
    with pytest.raises(DataError, match="digits/test must have digest 000000000000") as caught:
        digits.generate("test")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_the_training_split_is_pinned_and_shares_no_image_with_the_test_split(test_split):
    images, labels = digits.generate("train")
    assert np.bincount(labels).tolist() == [2000] * 10
    seen = {image.tobytes() for image in images}
    assert len(seen) == 20_000
    assert not any(image.tobytes() in seen for image in test_split[0])


def test_the_same_seed_draws_the_same_bytes_and_another_seed_others():
    assert digits.digest_of(*digits.draw(150, 5)) == digits.digest_of(*digits.draw(150, 5))
    assert digits.digest_of(*digits.draw(150, 5)) != digits.digest_of(*digits.draw(150, 6))


def test_a_chunk_depends_on_its_labels_and_its_own_stream_alone():
    images, labels = digits.draw(250, 5)  # the last chunk is short
    for start in (200, 0, 100):
        part = slice(start, start + digits.CHUNK)
        alone = digits._draw_chunk(labels[part], np.random.RandomState([5, start]))
        assert np.array_equal(alone, images[part])


def test_an_image_does_not_depend_on_the_others_of_its_chunk():
    labels = np.arange(100) % 10
    images = digits._draw_chunk(labels, np.random.RandomState(5))
    others = np.where(np.arange(100) == 37, labels, (labels + 1) % 10)
    changed = (digits._draw_chunk(others, np.random.RandomState(5)) != images).any(axis=(1, 2, 3))
    assert not changed[37]
    assert changed.sum() == 99


def test_class_means_tell_digits_apart_but_not_well(test_split):
    """Distance from the image's own mean grey: raw pixels teach next to nothing, since ink is dark
    or light by chance.
    """
    images, labels = test_split
    grey = images.mean(3).reshape(len(images), -1)
    x = np.abs(grey - grey.mean(1, keepdims=True)) / (grey.std(1, keepdims=True) + 1)
    train, test = slice(0, 4000), slice(4000, None)
    means = np.stack([x[train][labels[train] == digit].mean(0) for digit in range(10)])
    distance = np.stack([((x[test] - mean) ** 2).sum(1) for mean in means], 1)
    assert 0.25 < (distance.argmin(1) == labels[test]).mean() < 0.6
