"""A data set at another input: the same images in the same order, brought to it as `resize` and
`grey` bring them, in a data set, a search, its test, and an ablation.
"""

from contextlib import closing, nullcontext

import numpy as np
import pytest

import blocksearch as bs
from blocksearch import Grammar, Shape, Task
from blocksearch.ablation.config import AblationConfig
from blocksearch.ablation.design import ask
from blocksearch.data import DATASETS, DataConfig, Split, load, open_dataset, prepare, summary
from blocksearch.data.resized import at_input, base_of
from blocksearch.errors import BlocksearchError
from blocksearch.runs.ledger import Ledger

COUNT = 60


def drawn(channels, *, seed=0, count=COUNT, size=(20, 16)):
    """Images whose brightness grows with their class, three images of each a group."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = random.integers(0, 90, (count, *size, channels)) + 120 * labels[:, None, None, None]
    return images.astype(np.uint8), labels, np.arange(count) // 6 * 2 + labels


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("BLOCKSEARCH_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("channels", "input", "asked"),
    [
        (3, Shape(1, 12, 9), {"resize": "12x9", "grey": True}),
        (3, Shape(3, 40, 24), {"resize": "40x24"}),
        (3, Shape(1, 20, 16), {"grey": True}),
        (1, Shape(1, 8, 8), {"resize": "8x8"}),
    ],
)
def test_images_are_those_that_resize_and_grey_make(root, channels, input, asked):
    handed = drawn(channels)
    name = open_dataset(handed, DataConfig())
    derived = at_input(name, input)
    assert (base_of(derived), at_input(derived, Shape(channels, 20, 16))) == (name, name)
    found, own = load(derived, "train"), load(name, "train")
    asked_for = load(open_dataset(handed, DataConfig(**asked)), "train")
    assert found.images.tolist() == asked_for.images.tolist()
    assert found.images.shape == (COUNT, *input.map, input.channels)
    for array in ("labels", "groups"):
        assert getattr(found, array).tolist() == getattr(own, array).tolist()


def test_grey_images_become_ones_of_three_equal_channels(root):
    name = open_dataset(drawn(1), DataConfig())
    images = load(at_input(name, Shape(3, 20, 16)), "train").images
    assert (images == load(name, "train").images).all()


def test_a_split_has_the_same_images_at_each_input_and_another_digest(root):
    name = open_dataset(drawn(3), DataConfig())
    base, other = (Split(each, images=30) for each in (name, at_input(name, Shape(1, 8, 8))))
    one, two = prepare(base), prepare(other)
    for side in ("training", "evaluation"):
        own, same = getattr(one, side), getattr(two, side)
        assert own.places.tolist() == same.places.tolist()
        assert own.labels.tolist() == same.labels.tolist()
    assert one.digest != two.digest
    assert two.digest == summary(other).digest


def test_the_name_tells_the_origin_and_keeps_what_is_known_of_classes(root, tmp_path):
    np.savez(tmp_path / "mine.npz", images=drawn(3)[0], labels=drawn(3)[1])
    plain = open_dataset(tmp_path / "mine.npz", DataConfig())
    assert summary(Split(at_input(plain, Shape(1, 8, 9)))).origin == (
        "images of your own, brought to 8×9, grey"
    )
    gtsrb = bs.data.get("gtsrb-at-3x24x24")
    assert (gtsrb.class_names, gtsrb.unsuited) == (
        bs.data.get("gtsrb").class_names,
        bs.data.get("gtsrb").unsuited,
    )


def test_images_that_change_are_brought_to_the_input_again(root, monkeypatch):
    class Dots(bs.data.Dataset):
        def read(self, part, root):
            return bs.data.Arrays(*drawn(1, seed=int((root / "seed").read_text()))[:2])

        def stamp(self, part, root):
            return [(root / "seed").read_text()]

    task = Task(input=Shape(1, 20, 16), classes=2, widths=(4, 8))
    for known in (DATASETS, bs.TASKS):
        monkeypatch.setitem(known, "changing", None)  # taken away again after the test
        del known["changing"]
    bs.data.register(Dots(name="changing", task=task))
    found = []
    for seed in ("0", "1", "0"):
        (root / "seed").write_text(seed)
        with pytest.warns(UserWarning, match="differ") if found else nullcontext():
            found.append(summary(Split("changing-at-1x8x8")).digest)
    assert found[0] == found[2] != found[1]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("digits-at-3x4x4", "images are brought to 8 to 224 pixels a side, but got 4×4"),
        ("digits-at-2x32x32", "digits has images of 3 channels, which cannot be brought to 2"),
        ("digit-at-1x32x32", "unknown data set 'digit' (did you mean 'digits'?)"),
        ("digits-at-1x32", "unknown data set 'digits-at-1x32'"),
    ],
)
def test_an_input_that_images_cannot_be_brought_to_is_refused(name, says):
    with pytest.raises(BlocksearchError) as caught:
        bs.data.get(name)
    assert says in str(caught.value)


@pytest.mark.slow
def test_a_search_trains_each_network_on_images_of_its_own_input_and_so_does_its_test(root):
    space = Grammar(
        Task(input=Shape(3, 20, 16), classes=2),
        widths=[(4, 4)],
        stem=["block", "conv(stride=2,width=4)"],
        resolution=["20x16", 12],
        channels=[1, 3],
    )
    images, labels, groups = drawn(3)
    test = drawn(3, seed=1, count=20)[:2]
    asked = {"epochs": 1, "seeds": 2, "references": "none", "device": "cpu", "workers": 1}
    study = bs.Study(
        space, root / "a.db", dataset=(images, labels, groups), test=test, **asked, batch=16
    )
    found = study.search(trials=8).found
    assert len(found.entries) == len(space) == 8
    assert "also brought to 1x20x16, 3x12x12, 1x12x12: " in found.title.replace(
        "1x12x12, 3x12x12", "3x12x12, 1x12x12"
    )
    with closing(Ledger(root / "a.db", read_only=True)) as ledger:
        keys = [run.key for run in ledger.runs()]
        for key in keys:
            shape = ledger.layers(key.network)[0].input
            assert key.dataset == at_input(base_of(key.dataset), shape)
            assert key.data == summary(Split(key.dataset)).digest
        assert len({key.dataset for key in keys}) == 4
    tested = bs.test(root / "a.db", "study", device="cpu", workers=1)
    again = bs.test(root / "a.db", "study")
    assert [each.accuracies for each in tested.found.rows] == [
        each.accuracies for each in again.found.rows
    ]
    assert again.found.again


@pytest.mark.slow
def test_an_ablation_pairs_seeds_over_inputs(root):
    images, labels, _ = drawn(3)
    net = bs.network(
        "effnet head=global_pool", task=Task(input=(3, 20, 16), classes=2, widths=(4, 4))
    )
    asked = {"dataset": (images, labels), "epochs": 1, "seeds": 2, "db": root / "b.db"}
    asked |= {"device": "cpu", "workers": 1, "batch": 16}
    found = bs.ablate(net, factor="resolution", values=["12", "16x16"], **asked)
    assert [row["value"] for row in found.records()] == ["20x16", "12x12", "16x16"]
    channels = ask(net, AblationConfig(factors="channels"))
    assert [(each.value, each.compared) for each in channels] == [("3", False), ("1", True)]
    with pytest.raises(BlocksearchError, match="resolution has no usual values: name some"):
        bs.ablate(net, factor="resolution", **asked)
