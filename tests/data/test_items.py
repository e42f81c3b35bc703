"""A Dataset of PyTorch's and iterables of (image, label): the same images as their arrays, or one
line that names the item.
"""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from blocksearch.data import DataConfig, Own, load, open_dataset, summary
from blocksearch.data.splits import Split
from blocksearch.errors import ConfigError, DataError

RANDOM = np.random.default_rng(5)
IMAGES = RANDOM.integers(0, 256, (24, 9, 12, 3), np.uint8)
LABELS = np.arange(24) % 3


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("BLOCKSEARCH_DATA", str(tmp_path / "data"))


class Mapped(Dataset):
    """A Dataset as people write it."""

    def __init__(self, make, classes=None, broken=None):
        self.make, self.broken = make, broken
        if classes:
            self.classes = classes

    def __len__(self):
        return len(LABELS)

    def __getitem__(self, k):
        if k == self.broken:
            raise RuntimeError("the disk\nis gone")
        return self.make(IMAGES[k]), int(LABELS[k])


class Streamed(IterableDataset):
    def __iter__(self):
        return zip(map(torch.from_numpy, IMAGES.transpose(0, 3, 1, 2)), LABELS, strict=True)


def as_float_tensor(pixels):
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float() / 255


SAME = {
    "arrays": lambda: Mapped(lambda x: x),
    "pillow": lambda: Mapped(Image.fromarray),
    "float tensors": lambda: Mapped(as_float_tensor),
    "list": lambda: list(zip(IMAGES, LABELS, strict=True)),
    "generator": lambda: ((x, y) for x, y in zip(IMAGES, LABELS, strict=True)),
    "iterable dataset": Streamed,
    "tensors": lambda: TensorDataset(
        torch.from_numpy(IMAGES.transpose(0, 3, 1, 2)), torch.from_numpy(LABELS)
    ),
}


@pytest.mark.parametrize("case", SAME)
def test_items_are_the_images_that_arrays_are(case):
    assert open_dataset(SAME[case](), DataConfig()) == Own((IMAGES, LABELS)).name


def test_names_of_classes_come_along():
    name = open_dataset(Mapped(lambda x: x, ["ant", "bee", "cat"]), DataConfig())
    assert summary(Split(name)).classes == ("ant", "bee", "cat")
    words = [(x, "zyx"[y]) for x, y in zip(IMAGES, LABELS, strict=True)]
    name = open_dataset(words, DataConfig())
    assert summary(Split(name)).classes == ("x", "y", "z")
    assert load(name, "train").labels.tolist() == (2 - LABELS).tolist()


def test_a_third_thing_is_the_group():
    items = [
        (x, y, f"patient {k % 6}") for k, (x, y) in enumerate(zip(IMAGES, LABELS, strict=True))
    ]
    groups = load(open_dataset(items, DataConfig()), "train").groups
    assert groups.tolist() == (np.arange(24) % 6).tolist()
    with pytest.raises(DataError, match="each image must have a group, but image 3 has none"):
        open_dataset(items[:3] + [(x, y) for x, y, _ in items[3:]], DataConfig())


def with_item(item):
    return [*zip(IMAGES, LABELS, strict=True), item]


WRONG = {
    "raises": (lambda: Mapped(lambda x: x, broken=7), "item 7 .*RuntimeError: the disk is gone"),
    "no label": (lambda: with_item(IMAGES[0]), "item 24 must be .image, label. or"),
    "batches": (lambda: DataLoader(SAME["tensors"](), 8), "item 0: a label must be a whole number"),
    "float label": (lambda: with_item((IMAGES[0], 0.5)), "item 24: a label must be .* got '0.5'"),
    "negative": (lambda: with_item((IMAGES[0], -1)), "item 24: a label must not be negative"),
    "gap": (lambda: with_item((IMAGES[0], 4)), "without gaps, but no image has 3"),
    "huge": (
        lambda: with_item((IMAGES[0], 10**15)),
        "without gaps, but one of 25 is 1000000000000000",
    ),
    "both": (lambda: with_item((IMAGES[0], "cat")), "numbers or names, but are both"),
    "normalised": (
        lambda: with_item((IMAGES[0] / 100.0, 0)),
        "item 24: floats must be 0 to 1, before any normalisation",
    ),
    "NaN": (lambda: with_item((IMAGES[0] * np.nan, 0)), "item 24: floats must be 0 to 1"),
    "whole numbers": (
        lambda: with_item((IMAGES[0].astype(int), 0)),
        "item 24: pixels must be uint8",
    ),
    "channels first": (
        lambda: with_item((IMAGES[0].transpose(2, 0, 1), 0)),
        "dataset: item 24: images must be 8 to 224 pixels a side, but one is 3×9",
    ),
    "no pixels": (
        lambda: with_item((np.zeros((0, 9, 3)), 0)),
        "item 24: .*, but is of shape .0, 9",
    ),
    "no channels": (lambda: with_item((IMAGES[0][..., :0], 0)), "but is of shape .9, 12, 0"),
    "empty": (lambda: iter(()), "there is no image to learn from"),
    "a class without images": (
        lambda: Mapped(lambda x: x, ["a", "b", "c", "d"]),
        "each class has images, but no image has 'd'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_item_is_one_line(case):
    make, says = WRONG[case]
    with pytest.raises((DataError, ConfigError), match=says) as caught:
        open_dataset(make(), DataConfig())
    assert "\n" not in str(caught.value)


def test_items_that_cannot_be_read_are_left_out_where_that_is_asked_for():
    name = open_dataset(Mapped(lambda x: x, broken=7), DataConfig(skip_damaged=True))
    assert len(load(name, "train").labels) == 23


def test_a_test_dataset_stands_beside(tmp_path):
    name = open_dataset(Mapped(as_float_tensor), DataConfig(), test=(IMAGES[:5], LABELS[:5]))
    assert name == Own((IMAGES, LABELS), (IMAGES[:5], LABELS[:5])).name
    assert ", 5 of 5 evaluated images equal" in summary(Split(name, test=True)).origin
