"""Images of one's own: what is handed over comes back, under a name that says what it is; what is
no image is refused, by the argument, the rule and the value.
"""

import re
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocksearch.arch.layers import Shape
from blocksearch.data import Own, get, load
from blocksearch.data.datasets import is_own, name_of
from blocksearch.data.splits import Split, prepare
from blocksearch.errors import ConfigError, DataError

IMAGES = np.arange(12 * 9 * 8 * 2).astype(np.uint8).reshape(12, 9, 8, 2)
LABELS = np.array([0, 1, 2] * 4)
GROUPS = np.arange(12) // 6 * 3 + LABELS


def test_what_is_handed_over_comes_back(tmp_path):
    name = Own((IMAGES, LABELS, GROUPS)).keep(tmp_path)
    assert name == Own((IMAGES, LABELS, GROUPS)).name
    assert re.fullmatch(r"own-2x9x8-3-[0-9a-f]{16}", name)
    back = load(name, "train", tmp_path)
    assert (back.images == IMAGES).all()
    assert (back.labels == LABELS).all()
    files = {path: path.stat().st_ino for path in tmp_path.rglob("*.npy")}
    assert Own(back).keep(tmp_path) == name
    assert {
        path: path.stat().st_ino for path in tmp_path.rglob("*.npy")
    } == files  # who reads them is not disturbed
    assert (get(name).task.input, get(name).task.classes) == (Shape(2, 9, 8), 3)
    assert (
        len(prepare(Split(name), tmp_path).training.labels) == 6
    )  # one of each class's two groups is held out


def test_nothing_is_written_before_it_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("BLOCKSEARCH_DATA", str(tmp_path))
    Own((IMAGES, LABELS), (IMAGES[:3], LABELS[:3]))
    assert not list(tmp_path.iterdir())


def test_images_that_can_be_kept_nowhere_are_one_line(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    with pytest.raises(DataError, match="images of your own cannot be written under"):
        Own((IMAGES, LABELS)).keep(file)


def test_other_images_have_another_name():
    changed = IMAGES.copy()
    changed[3, 2, 1, 0] ^= 1
    assert Own((IMAGES, LABELS)).name != Own((changed, LABELS)).name
    tests = [(IMAGES, LABELS), (changed, LABELS), None]
    assert len({Own((IMAGES, LABELS), test).name for test in tests}) == 3


def test_names_are_those_of_earlier_versions():
    assert Own((IMAGES, LABELS)).name == "own-2x9x8-3-7a6f9550643943ae"
    assert Own((IMAGES, LABELS), (IMAGES, LABELS)).name == "own-2x9x8-3-c81924ce2b14062d"


def test_images_that_are_not_here_are_asked_for_again(tmp_path):
    name = Own((IMAGES, LABELS)).keep(tmp_path / "one")
    with pytest.raises(DataError, match=r"the train images of own-2x9x8-3-.* give them again"):
        load(name, "train", tmp_path / "other")
    with pytest.raises(DataError, match="the test images"):
        prepare(Split(name, test=True), tmp_path / "one")
    with pytest.raises(
        ConfigError, match=r"unknown data set 'own-2x9x8'.* images of your own are a folder"
    ):
        get("own-2x9x8")


@pytest.mark.parametrize("test", [False, True])
def test_labels_that_are_only_to_be_read_do_not_warn(tmp_path, test):
    import torch

    name = Own((IMAGES, LABELS), (IMAGES, LABELS)).keep(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for images in (
            (found := prepare(Split(name, test=test), tmp_path)).training,
            found.evaluation,
        ):
            torch.from_numpy(images.labels)


@pytest.mark.parametrize(
    "labels", [np.array([0, 0, 0, 0, 2, 2, 2, 2]), np.array([0, 1, 2, 0, 1, 2, 0, 1])[:3]]
)
def test_test_images_may_lack_a_class_and_have_one_image_of_another(tmp_path, labels):
    name = Own((IMAGES, LABELS), (IMAGES[: len(labels)], labels)).keep(tmp_path)
    assert load(name, "test", tmp_path).labels.tolist() == labels.tolist()


REFUSED = [
    (IMAGES, "must be arrays (images, labels) or (images, labels, groups), but got ndarray"),
    ((IMAGES,), "must be arrays (images, labels) or"),
    ((IMAGES.astype(float), LABELS), "(uint8), but got float64 of shape (12, 9, 8, 2)"),
    ((IMAGES[0, 0], LABELS), "N×H×W×C"),
    ((IMAGES[:0], LABELS[:0]), "but got uint8 of shape (0, 9, 8, 2)"),
    ((IMAGES, LABELS[:5]), "12 whole numbers, one an image, but got int64 of shape (5,)"),
    ((IMAGES, LABELS + 0.5), "12 whole numbers"),
    ((IMAGES, LABELS, LABELS[:3]), "groups must be 12 whole numbers"),
    ((IMAGES, LABELS - 1), "labels must be 0, 1, … without gaps, but image 0 has -1"),
]
NOT_TO_LEARN_FROM = [
    ((IMAGES, LABELS + 1), "labels must be 0, 1, … without gaps, but no image has 0"),
    ((IMAGES, LABELS * 0), "at least two classes, but all labels are 0"),
    ((IMAGES, LABELS * 10**15), "without gaps, but one of 12 is 2000000000000000"),
    (
        (IMAGES, LABELS.astype(np.uint64) + 2**63),
        "without gaps, but one of 12 is 9223372036854775810",
    ),
    ((IMAGES, np.where(LABELS == 2, 3, LABELS)), "without gaps, but no image has 2"),
    ((IMAGES, np.array([2] + [0, 1] * 5 + [0])), "must have two images, one to learn from and"),
    ((IMAGES, LABELS, LABELS), "must have two groups, one to learn from and"),
    ((IMAGES, LABELS, GROUPS * 0 + 7), "must have two groups, one to learn from and"),
]
NOT_BESIDE = [
    ((IMAGES, np.where(LABELS == 2, 3, LABELS)), "labels must be 0 to 2 as those of the training "),
    ((IMAGES[:, :4], LABELS), "images must be 9×8×2 as the training images are, but are 4×8×2"),
]


@pytest.mark.parametrize(("handed", "says"), REFUSED)
@pytest.mark.parametrize("argument", ["dataset", "test"])
def test_what_is_no_data_set_is_refused_in_one_line(handed, says, argument):
    with pytest.raises(DataError, match=re.escape(says)) as caught:
        Own(handed) if argument == "dataset" else Own((IMAGES, LABELS), handed)
    assert str(caught.value).startswith(f"{argument}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("handed", "says"), NOT_TO_LEARN_FROM)
def test_what_cannot_be_learned_from_is_refused_in_one_line(handed, says):
    with pytest.raises(DataError, match="dataset: .*" + re.escape(says)):
        Own(handed)


@pytest.mark.parametrize(("handed", "says"), NOT_BESIDE)
def test_what_is_no_test_of_these_images_is_refused_in_one_line(handed, says):
    with pytest.raises(DataError, match="test: .*" + re.escape(says)):
        Own((IMAGES, LABELS), handed)


def test_channels_first_is_recognised():
    images = np.zeros((12, 3, 16, 16), np.uint8)
    with pytest.raises(DataError, match=re.escape("images.transpose(0, 2, 3, 1)")):
        Own((images, LABELS))


def test_groups_may_have_any_numbers(tmp_path):
    large = load(Own((IMAGES, LABELS, GROUPS * 10**12)).keep(tmp_path), "train", tmp_path).groups
    assert (large[:, None] == large).tolist() == (GROUPS[:, None] == GROUPS).tolist()


@given(st.integers(1, 99), st.integers(8, 512), st.integers(8, 512), st.integers(2, 999))
def test_a_name_says_what_it_was_made_of(channels, height, width, classes):
    shape = Shape(channels, height, width)
    name = name_of(shape, classes, 64 * "a1")
    assert is_own(name)
    assert (get(name).task.input, get(name).task.classes) == (shape, classes)
