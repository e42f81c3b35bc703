"""Images for a loop of one's own: the split, the order of classes and the numbers that a network of
ours is trained on.
"""

import numpy as np
import pytest
import torch

import blocksearch as bs
from blocksearch.data import DataConfig, Split, open_dataset, prepare
from blocksearch.errors import BlocksearchError, ConfigError
from blocksearch.training.batches import gather
from tests.data.test_folders import NAMES, folder, save

pytestmark = pytest.mark.usefixtures("own_folders")


@pytest.mark.parametrize("shape", [(10, 12), (12, 10, 3)])
@pytest.mark.parametrize("fields", [{}, {"resize": "8x9", "grey": True}, {"max_images": 6}])
def test_a_loop_of_ones_own_sees_what_ours_sees(tmp_path, shape, fields):
    source = folder(tmp_path / "photos", count=10, shape=shape)
    split = {"val_split": 2, **fields}
    photos = bs.load_dataset(source, **split)
    cap = split.pop("max_images", None)
    name = open_dataset(source, DataConfig(**{k: fields[k] for k in fields if k != "max_images"}))
    ours = prepare(Split(name, number=2, images=cap))
    assert (photos.name, photos.classes) == (name, NAMES)
    for part, images in ((photos.train, ours.training), (photos.val, ours.evaluation)):
        x, y = gather(images, ours, torch.device("cpu"))(torch.arange(len(part))[:, None])
        loader = torch.utils.data.DataLoader(part, batch_size=len(images.labels))
        ((seen, labels),) = loader
        assert seen.dtype == torch.float32
        torch.testing.assert_close(seen, x, rtol=0, atol=1e-6)
        assert labels.tolist() == y.flatten().tolist() == part.labels.tolist()
        assert np.array_equal(part.arrays()[0], seen.numpy())
        assert np.array_equal(photos.labels[part.indices], part.labels)
    if cap is None:
        assert sorted([*photos.train.indices, *photos.val.indices]) == list(range(30))


def test_the_normalisation_is_by_mean_and_deviation(tmp_path):
    photos = bs.load_dataset(folder(tmp_path / "photos", shape=(10, 12, 3)))
    learned = photos.images[photos.train.indices].astype(float)
    assert photos.normalise.mean == pytest.approx(learned.mean((0, 1, 2)), rel=1e-5)
    assert photos.normalise.std == pytest.approx(learned.std((0, 1, 2)), rel=1e-5)
    one = photos.images[0]
    wanted = (one - photos.normalise.mean) / photos.normalise.std
    assert photos.normalise(one) == pytest.approx(wanted.transpose(2, 0, 1), abs=1e-5)
    assert np.array_equal(photos.normalise(photos.images[:2])[0], photos.normalise(one))


def test_groups_are_those_of_the_images(tmp_path):
    source = tmp_path / "photos"
    for k in range(30):
        save(source / NAMES[k % 3] / f"site{k // 3}_{k}.png", k)
    photos = bs.load_dataset(source, group_by="site[0-9]+")
    sides = [set(photos.groups[part.indices]) for part in (photos.train, photos.val)]
    assert not sides[0] & sides[1]
    assert photos.images.flags.writeable is False
    for wrong in ({"sise": "8x8"}, {"val_split": -1}, {"resize": "8"}):
        with pytest.raises(BlocksearchError):
            bs.load_dataset(source, **wrong)


@pytest.mark.parametrize("handed", [None, 5, object(), np.zeros(3), {"images": 1}])
def test_what_is_no_data_set_is_refused_in_one_line(handed):
    with pytest.raises(BlocksearchError, match="dataset") as raised:
        bs.load_dataset(handed)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("resize", [(64, 64), 64, "64", ["64x64"]])
def test_a_size_is_a_text(resize):
    with pytest.raises(ConfigError, match="such as 64x64"):
        bs.load_dataset("digits", resize=resize)


def test_classes_without_names_have_numbers(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (60, 9, 9, 1), np.uint8)
    found = bs.load_dataset((images, np.arange(60) % 3), data_root=tmp_path)
    assert found.classes == ("0", "1", "2")
