"""A data set of somebody's own: one class, one call of `register`, and everything knows it."""

import ast
import importlib
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from blocksearch.arch.layers import Shape
from blocksearch.arch.network import Task
from blocksearch.arch.zoo import TASKS, named_network
from blocksearch.data import DATASETS, Arrays, Dataset, Split, get, load, register, summary
from blocksearch.data.download import check, fetch, listing
from blocksearch.errors import ConfigError, DataError
from tests.data.test_data import small_and_alone  # noqa: F401 (a fixture for every test here)


@dataclass(frozen=True, kw_only=True)
class Raw(Dataset):
    """Twelve bytes an image, the first its label."""

    def sources(self, part, root):
        return [self.wanted(root / f"{part}.raw", root)]

    def read(self, part, root):
        rows = np.fromfile(*self.sources(part, root), np.uint8).reshape(-1, 13)
        return Arrays(rows[:, 1:].reshape(-1, 2, 2, 3), rows[:, 0].astype(np.int64))


RAW = Raw(name="raw", task=Task(input=Shape(3, 2, 2), classes=3, widths=(4,)), counts=(30, 9))


@pytest.fixture
def raw(tmp_path, monkeypatch):
    for known in (DATASETS, TASKS):
        monkeypatch.setitem(known, "raw", None)  # taken away again after the test
        del known["raw"]
    register(RAW)
    random = np.random.default_rng(3)
    for part, count in (("train", 30), ("test", 9)):
        rows = random.integers(0, 256, (count, 13), np.uint8)
        rows[:, 0] = np.arange(count) % 3
        (tmp_path / f"{part}.raw").write_bytes(rows.tobytes())
    return tmp_path


def test_one_place_makes_a_data_set_known_everywhere(raw):
    assert load("raw", "train", raw).images.shape == (30, 2, 2, 3)
    assert (raw / ".blocksearch" / "raw-train" / "meta.json").exists()
    found = summary(Split("raw"), raw)
    assert (found.training, found.evaluation, found.origin) == (24, 6, "")
    assert named_network("baseline", TASKS["raw"]).task.classes == 3
    assert [row["here"] for row in listing(raw) if row["name"] == "raw"] == [True]
    assert [(row["images"], row["problem"]) for row in check("raw", raw)] == [(30, ""), (9, "")]
    with pytest.raises(ConfigError, match=r"unknown data set 'row' .did you mean 'raw'"):
        get("row")


def test_what_nobody_publishes_is_not_offered_for_download(raw):
    (raw / "test.raw").unlink()
    with pytest.raises(DataError, match="raw has no published files to download"):
        fetch("raw", raw)
    with pytest.raises(
        DataError, match=r"test.raw is not under .*; BLOCKSEARCH_DATA names another"
    ):
        load("raw", "test", raw)


def test_a_changed_file_is_decoded_again(raw):
    before = summary(Split("raw"), raw).digest
    (raw / "train.raw").write_bytes(bytes(13) * 10)
    with pytest.warns(UserWarning, match="differ from those decoded before"):
        assert summary(Split("raw"), raw).digest != before


def test_a_process_that_does_not_know_it_finds_the_decoded_images(raw):
    load("raw", "train", raw)
    code = "import sys; from pathlib import Path; from blocksearch.data import load\n"
    code += "print(load('raw', 'train', Path(sys.argv[1])).images.shape)"
    told = subprocess.run(
        [sys.executable, "-c", code, raw], capture_output=True, text=True, check=True
    )
    assert told.stdout == "(30, 2, 2, 3)\n"


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        (
            ValueError("two\nlines"),
            "raw: its train images could not be read: ValueError: two lines",
        ),
        (OSError(5, "Input/output error", "x.raw"), "x.raw cannot be read: Input/output error"),
        (
            Arrays(np.zeros((4, 2, 2, 3)), np.arange(4) % 3),
            "images must be uint8, N×2×2×3, but are",
        ),
        (Arrays(np.zeros((4, 2, 2, 1), np.uint8), np.arange(4) % 3), "of shape .4, 2, 2, 1."),
        (Arrays(np.zeros((4, 2, 2, 3), np.uint8), np.arange(3)), "one for each of 4 images"),
        (
            Arrays(np.zeros((4, 2, 2, 3), np.uint8), np.arange(4)),
            "labels must be 0 to 2, but are 0 to 3",
        ),
    ],
    ids=str,
)
def test_what_its_reader_does_wrong_is_one_line(raw, monkeypatch, raised, says):
    def read(self, part, root):
        if isinstance(raised, Exception):
            raise raised
        return raised

    monkeypatch.setattr(Raw, "read", read)
    with pytest.raises(DataError, match=says) as caught:
        load("raw", "train", raw)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a/b", "..", "x" * 65, "own-3x32x32-10-0123456789abcdef"])
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(ConfigError, match="a data set's name must be 1 to 64 letters"):
        register(replace(RAW, name=name))


class Drawn(Dataset):
    """Images of no file."""

    def read(self, part, root):
        return Arrays(np.zeros((4, 2, 2, 3), np.uint8), np.arange(4) % 3)


def test_drawn_images_say_when_they_change():
    """Else the images that were drawn first would be kept for good."""
    with pytest.raises(ConfigError, match="'drawn' is read from no `sources`, so it needs"):
        register(Drawn(name="drawn", task=RAW.task))


def test_a_name_is_taken_once(raw):
    assert register(RAW) is RAW
    with pytest.raises(ConfigError, match="another data set has the name 'raw' already"):
        register(replace(RAW, epochs=3))


def test_no_engine_names_a_data_set():
    """Tasks, the paper's tables and defaults of commands do; no code that trains or searches."""
    house = Path(importlib.import_module("blocksearch").__file__).parent
    naming = {
        path.relative_to(house).parts[0]
        for path in house.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in [*DATASETS]
    }
    assert "data" in naming
    assert not naming & {"training", "runs", "ablation", "report"}
