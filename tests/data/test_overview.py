"""What is said of images before anything is trained, held against a count by hand."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import blocksearch as bs
from blocksearch.data import DataConfig, open_dataset
from blocksearch.data.overview import overview
from blocksearch.data.splits import Split, prepare, summary
from blocksearch.errors import ConfigError, DataError
from tests.data.test_folders import alone, folder, save  # noqa: F401 (a fixture for every test)


def test_an_overview_counts_what_training_would_use(tmp_path):
    source = folder(tmp_path / "photos", count=10)
    for k in range(15):
        save(source / "ant" / f"more{k}.png", 5000 + k)
    found = overview(source, DataConfig())
    split = prepare(Split(open_dataset(source, DataConfig())))
    for part, images in (("training", split.training), ("validation", split.evaluation)):
        counts = np.bincount(images.labels).tolist()
        assert [getattr(each, part) for each in found.classes] == counts
    judged = np.bincount(split.evaluation.labels)
    assert found.guess == 100 * judged.max() / judged.sum()
    assert found.imbalance == 2.5
    assert found.judged == judged.sum()
    assert found.sizes == (("10×12×1", 45),)
    assert [each.name for each in found.classes] == ["ant", "bee", "cat"]


def test_copies_are_counted_by_what_they_spoil(tmp_path):
    source = folder(tmp_path / "p", count=10)
    for part in ("train", "test"):
        (source / part).mkdir()
    for name in ("ant", "bee", "cat"):
        (source / name).rename(source / "train" / name)
    same = (source / "train" / "ant" / "0.png").read_bytes()
    for name in ("train/ant/copy.png", "train/bee/copy.png", "test/ant/copy.png"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(same)
    found = overview(source, DataConfig()).copies
    assert found["within_a_class"] == 2  # beside the first, in training and test
    assert found["across_classes"] == 4
    assert found["training_and_test"] == 1
    name = open_dataset(source, DataConfig())
    assert found["training_and_validation"] == summary(Split(name)).copies


def test_what_training_refuses_can_be_looked_at(tmp_path):
    source = folder(tmp_path / "photos")
    save(source / "ant" / "large.png", 1, (400, 300, 3))
    (source / "bee" / "0.png").write_bytes(b"no picture")
    found = overview(source, DataConfig())
    assert dict(found.sizes) == {"10×12×1": 14, "400×300×3": 1}
    assert len(found.damaged) == 1
    assert "bee/0.png" in found.damaged[0]
    one = folder(tmp_path / "one", names=("ant",), count=1)
    assert overview(one, DataConfig()).classes[0].name == "ant"


@pytest.mark.parametrize("form", ["arrays", "items", "name"])
def test_images_of_every_form_are_looked_at(form, root, monkeypatch):
    monkeypatch.setenv("BLOCKSEARCH_DATA", str(root))
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (30, 9, 9, 2), np.uint8), np.arange(30) % 3
    given = {"arrays": (images, labels), "items": list(zip(images, labels, strict=True))}
    found = overview(given.get(form, "digits"), DataConfig())
    assert len(found.classes) == (10 if form == "name" else 3)


def test_a_contact_sheet_has_a_row_a_class(tmp_path):
    source = folder(tmp_path / "photos", shape=(48, 48))
    answer = bs.describe(source, sheet=tmp_path / "sheet.png", seeds=3)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    first = np.asarray(Image.open(source / "bee" / "0.png"))
    assert sheet.shape[0] == 4 + 3 * 52
    assert np.array_equal(sheet[4 + 52 : 52 + 52, 4:52, 0], first)
    assert answer.records()[0]["name"] == "ant"
    facts = answer.data()
    assert facts["seeds"] == 3
    assert (
        facts["smallest_difference"] > bs.describe(source, seeds=12).data()["smallest_difference"]
    )
    for wrong in (tmp_path / "x.jpg", tmp_path / "none" / "x.png"):
        with pytest.raises(ConfigError, match=str(wrong)):
            bs.describe(source, sheet=wrong)


def test_the_command_says_the_same(tmp_path):
    source = folder(tmp_path / "50% off?")
    command = [sys.executable, "-m", "blocksearch", "data", "describe", str(source), "--json"]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(said.stdout)["images"] == 15
    assert said.stderr == ""


def test_groups_are_counted_and_kept_together(tmp_path):
    source = folder(tmp_path / "photos", count=8)
    found = overview(source, DataConfig(group_by="[0-9]+"))
    assert found.groups == 8
    assert found.judged % 3 == 0  # a group has an image of each class


def test_nothing_to_look_at_is_one_line(tmp_path):
    with pytest.raises(DataError, match="there is no image that can be read"):
        overview(iter(()), DataConfig())
