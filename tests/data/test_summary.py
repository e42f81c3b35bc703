"""What a split is, told without its pixels: the same as from its pixels, and never assumed."""

import json
from dataclasses import replace

import numpy as np
import pytest

from blocksearch.data import Own, get, load, summary
from blocksearch.data import cache_files as files
from blocksearch.data.splits import Split, prepare
from blocksearch.errors import DataError
from tests.data.test_data import (
    small_and_alone,  # noqa: F401 (a fixture for every test here)
    write_cifar10,
    write_gtsrb,
)

SPLITS = [Split("gtsrb"), Split("gtsrb", number=1, images=50), Split("gtsrb", test=True)]


@pytest.mark.parametrize("split", SPLITS, ids=lambda split: split.id)
def test_a_summary_is_what_the_images_say(tmp_path, split):
    write_gtsrb(tmp_path)
    found, whole = summary(split, tmp_path), prepare(split, tmp_path)
    assert found.digest == whole.digest
    assert found.training == len(whole.training.labels)
    assert found.available == len(prepare(replace(split, images=None), tmp_path).training.labels)
    assert found.evaluation == len(whole.evaluation.labels)
    assert np.array_equal(found.labels, whole.evaluation.labels)
    assert (found.groups is None) == (whole.evaluation.groups is None) == split.test
    assert split.test or np.array_equal(found.groups, whole.evaluation.groups)


def test_a_summary_opens_no_pixels_once_they_are_decoded(tmp_path):
    write_gtsrb(tmp_path)
    before = summary(SPLITS[0], tmp_path)
    folder = tmp_path / ".blocksearch" / "gtsrb-train"
    (folder / "images.npy").unlink()
    assert summary(SPLITS[0], tmp_path).digest == before.digest
    load("gtsrb", "train", tmp_path)  # whoever trains notices, and decodes them again
    assert (folder / "images.npy").exists()


@pytest.mark.parametrize("name", ["labels.npy", "groups.npy"])
def test_a_damaged_label_or_group_is_in_no_summary(tmp_path, name):
    write_gtsrb(tmp_path)
    before = summary(SPLITS[0], tmp_path)
    path = tmp_path / ".blocksearch" / "gtsrb-train" / name
    content = bytearray(path.read_bytes())
    content[-4] ^= 1
    path.write_bytes(content)
    after = summary(SPLITS[0], tmp_path)
    assert np.array_equal(after.labels, before.labels)
    assert np.array_equal(after.groups, before.groups)


def test_changed_files_are_another_summary(tmp_path):
    write_cifar10(tmp_path)
    before = summary(Split("cifar10"), tmp_path).digest
    (tmp_path / "cifar-10-batches-bin" / "data_batch_1.bin").unlink()
    assert summary(Split("cifar10"), tmp_path).digest == before  # the cache serves alone
    write_cifar10(tmp_path, seed=1)
    with pytest.warns(UserWarning, match="differ from those decoded before"):
        assert summary(Split("cifar10"), tmp_path).digest != before


def test_a_cache_of_an_earlier_version_is_brought_up_to_date(tmp_path):
    write_cifar10(tmp_path)
    before = summary(Split("cifar10"), tmp_path)
    meta = tmp_path / ".blocksearch" / "cifar10-train" / "meta.json"
    content = json.loads(meta.read_text())
    del content[files.SMALL]
    meta.write_text(json.dumps(content))
    assert summary(Split("cifar10"), tmp_path).digest == before.digest
    assert files.SMALL in json.loads(meta.read_text())
    assert not list(meta.parent.glob("*-*"))  # nothing half-written is left


def test_the_cache_may_be_read_by_whoever_may_read_the_images(tmp_path):
    write_cifar10(tmp_path)
    load("cifar10", "train", tmp_path)
    files = list((tmp_path / ".blocksearch" / "cifar10-train").iterdir())
    allowed = (tmp_path / "cifar-10-batches-bin" / "test_batch.bin").stat().st_mode
    assert {file.stat().st_mode for file in files} == {allowed}
    assert {file.name for file in files} == {"images.npy", "labels.npy", "prints.npy", "meta.json"}


def test_the_origin_is_found_out_from_the_digest(tmp_path, monkeypatch):
    write_gtsrb(tmp_path)
    known, test = summary(Split("gtsrb"), tmp_path), summary(Split("gtsrb", test=True), tmp_path)
    assert known.origin == "172 training images where 39,209 are published"
    assert test.origin == "3 test images where 12,630 are published"
    monkeypatch.setitem(get("gtsrb").origins, known.digest, "whole frames")
    assert summary(SPLITS[1], tmp_path).origin == "whole frames"
    assert get("gtsrb").origin("another digest", 39_209, "train") == ""


def test_images_of_ones_own_say_so(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1), np.uint8)
    labels = np.arange(8) % 2
    name = Own((images, labels)).keep(tmp_path)
    assert summary(Split(name), tmp_path).origin == "images of your own"


def test_images_on_both_sides_of_a_split_are_counted(tmp_path):
    starts = 16 * np.arange(40)[:, None]  # so that the last 24 are copies
    images = (starts + np.arange(64)).reshape(40, 8, 8, 1).astype(np.uint8)
    labels = np.arange(40) % 2
    name = Own((images, labels), (images[:6], labels[:6])).keep(tmp_path)
    for split, sides in ((Split(name), (32, 8)), (Split(name, test=True), (40, 6))):
        whole, found = prepare(split, tmp_path), summary(split, tmp_path)
        learned = {
            whole.training.pixels[k].tobytes() for k in whole.training.located(np.arange(sides[0]))
        }
        judged = [
            whole.evaluation.pixels[k].tobytes()
            for k in whole.evaluation.located(np.arange(sides[1]))
        ]
        copies = sum(image in learned for image in judged)
        assert copies > 0
        assert f"{copies} of {sides[1]} evaluated images equal a training image" in found.origin


def test_a_summary_of_nothing_says_what_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"data_batch_1.bin is not under"):
        summary(Split("cifar10"), tmp_path)
