"""Images of one's own: what is handed over comes back, under a name that says what it is; what is
no image is refused.
"""

import re

import numpy as np
import pytest

from blocksearch.arch.layers import Shape
from blocksearch.data import get, keep, load, own_split
from blocksearch.data.splits import Split, prepare
from blocksearch.errors import ConfigError, DataError

IMAGES = np.arange(12 * 5 * 4 * 2, dtype=np.uint8).reshape(12, 5, 4, 2)
LABELS = np.array([0, 1, 2] * 4)


def test_what_is_handed_over_comes_back(tmp_path):
    name = keep(own_split(IMAGES, LABELS, np.arange(12) // 6 * 3 + LABELS), None, tmp_path)
    assert re.fullmatch(r"own-2x5x4-3-[0-9a-f]{16}", name)
    back = load(name, "train", tmp_path)
    assert (back.images == IMAGES).all()
    assert (back.labels == LABELS).all()
    files = {path: path.stat().st_ino for path in tmp_path.rglob("*.npy")}
    assert keep(own_split(IMAGES, LABELS, back.groups), None, tmp_path) == name
    assert {
        path: path.stat().st_ino for path in tmp_path.rglob("*.npy")
    } == files  # who reads them is not disturbed
    assert (get(name).task.input, get(name).task.classes) == (Shape(2, 5, 4), 3)
    assert (
        len(prepare(Split(name), tmp_path).training.labels) == 6
    )  # one of each class's two groups is held out


def test_other_images_have_another_name(tmp_path):
    changed = IMAGES.copy()
    changed[3, 2, 1, 0] ^= 1
    assert keep(own_split(IMAGES, LABELS), None, tmp_path) != keep(
        own_split(changed, LABELS), None, tmp_path
    )
    tests = [own_split(IMAGES, LABELS), own_split(changed, LABELS), None]
    assert len({keep(own_split(IMAGES, LABELS), test, tmp_path) for test in tests}) == 3


def test_images_that_are_not_here_are_asked_for_again(tmp_path):
    name = keep(own_split(IMAGES, LABELS), None, tmp_path / "one")
    with pytest.raises(
        DataError, match=r"the train images of own-2x5x4-3-.* hand their arrays to `Study` again"
    ):
        load(name, "train", tmp_path / "other")
    with pytest.raises(DataError, match="the test images"):
        prepare(Split(name, test=True), tmp_path / "one")
    with pytest.raises(ConfigError, match="unknown data set 'own-2x5x4'"):
        get("own-2x5x4")


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (IMAGES.astype(float), LABELS, "uint8"),
        (IMAGES[0], LABELS, "N×H×W×C"),
        (IMAGES, LABELS[:5], "12 whole numbers, one an image, but got int64 of shape"),
        (IMAGES, LABELS + 0.5, "12 whole numbers"),
        (IMAGES, LABELS - 1, "labels must be 0, 1"),
        (IMAGES, LABELS * 0, "at least two classes"),
        (IMAGES, LABELS * 10**15, "labels must be 0, 1"),
        (IMAGES, np.where(LABELS == 2, 3, LABELS), "two images of each"),
    ],
)
def test_what_is_no_data_set_is_refused_in_one_line(images, labels, says):
    with pytest.raises(DataError, match=says) as caught:
        own_split(images, labels)
    assert "\n" not in str(caught.value)
