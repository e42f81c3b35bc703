"""What the readers refuse beyond the plain cases: bombs, lying tables, odd names, and any third
split.
"""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from blocksearch.data import get, load
from blocksearch.data.cache import decode
from blocksearch.data.sets import readers
from blocksearch.errors import ConfigError, DataError
from tests.data.test_data import (
    gtsrb_csv,
    gtsrb_image,
    small_and_alone,  # noqa: F401 (a fixture for every test here)
    svhn,
    write_cifar10,
    write_gtsrb,
    write_svhn,
)


@pytest.mark.parametrize("name", ["cifar10", "svhn", "gtsrb", "digits"])
@pytest.mark.parametrize("split", ["validation", "Test", ""])
def test_no_name_but_test_opens_the_test_images(tmp_path, name, split):
    write_cifar10(tmp_path)
    with pytest.raises(ConfigError, match=f"a split must be train or test, but got {split!r}"):
        load(name, split, tmp_path)
    with pytest.raises(ConfigError):
        decode(get(name), split, tmp_path)


def header(root, side):
    gtsrb_image(root).write_bytes(b"P6\n%d %d\n255\n" % (side, side) + bytes(100))


def table(text):
    return lambda root: gtsrb_csv(root).write_text("Filename;ClassId\n" + text)


def heavy(root):
    with gtsrb_image(root).open("r+b") as file:
        file.truncate(readers.MOST_BYTES + 1)  # sparse: takes no room


def no_track(root):
    path = gtsrb_csv(root)
    (path.parent / "00001_00001.ppm").rename(path.parent / "stop.ppm")
    path.write_text(path.read_text().replace("00001_00001.ppm", "stop.ppm"))


def cut_table(root):
    path = gtsrb_csv(root)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))


BAD = {
    "bomb that pillow warns of": (
        lambda root: header(root, 10_000),
        "at most 2,000,000 pixels, but this has 10000×10000",
    ),
    "bomb that pillow refuses": (
        lambda root: header(root, 20_000),
        "is not an image that can be read: Image size",
    ),
    "heavy file": (heavy, "an image file has at most 16,777,216 bytes, but this has 16,777,217"),
    "foreign image": (
        lambda root: gtsrb_image(root).write_text("<html>404"),
        "it begins with b'<html>40'",
    ),
    "endless field": (
        table("a" * 200_000 + ";7\n"),
        "is not a table that can be read: field larger than field limit",
    ),
    "endless class": (
        table("00000_00000.ppm;" + "7" * 5000),
        "classes must be 0 to 42, but 00000_00000.ppm has '7777",
    ),
    "negative class": (
        table("00000_00000.ppm;-1"),
        "classes must be 0 to 42, but 00000_00000.ppm has '-1'",
    ),
    "no class": (table("00000_00000.ppm"), "classes must be 0 to 42, but 00000_00000.ppm has ''"),
    "line break in a name": (
        table('"a\nb.ppm";7'),
        r"a file name must lie in its folder, but one is 'a\nb.ppm'",
    ),
    "NUL in a name": (
        table("a\0b.ppm;7"),
        r"a file name must lie in its folder, but one is 'a\x00b.ppm'",
    ),
    "endless name": (
        table("a" * 5000 + ".ppm;7"),
        "a file name must lie in its folder, but one is 'aaa",
    ),
    "no name": (table(";7"), "a file name must lie in its folder, but one is ''"),
    "no track": (no_track, "training images must be named TRACK_FRAME.ppm, but one is 'stop.ppm'"),
    "image twice": (
        table("00000_00000.ppm;7\n" * 2),
        "must list each image once, but has 00000_00000.ppm again",
    ),
    "table cut short": (
        cut_table,
        "must list all images, but 2 are not in it, such as '00001_00000.ppm'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_gtsrb_that_is_not_what_it_says_is_refused_in_one_line(tmp_path, case):
    make, says = BAD[case]
    make(tmp_path)
    with pytest.raises(DataError) as caught:
        load("gtsrb", "train", tmp_path)
    message = str(caught.value)
    assert says in message
    assert str(tmp_path / "gtsrb" / "GTSRB" / "Training" / "00007") in message
    assert message.isprintable()
    assert len(message) < 600
    assert not (tmp_path / ".blocksearch").exists()


def test_gtsrb_test_images_that_are_missing_altogether_are_named_with_the_way_to_get_them(tmp_path):
    write_gtsrb(tmp_path)
    (tmp_path / "gtsrb" / "GTSRB" / "Final_Test" / "Images").rename(tmp_path / "elsewhere")
    with pytest.raises(
        DataError,
        match=r"gtsrb/GTSRB/Final_Test/Images is not under .*; `blocksearch data fetch gtsrb`",
    ):
        load("gtsrb", "test", tmp_path)


def test_gtsrb_frames_are_whole_and_bilinear(tmp_path):
    write_gtsrb(tmp_path)
    split = load("gtsrb", "train", tmp_path)
    where = int(np.flatnonzero(split.labels == 7)[0])
    with Image.open(
        tmp_path / "gtsrb" / "GTSRB" / "Training" / "00007" / "00000_00000.ppm"
    ) as image:
        assert image.size == (25, 40)
        whole = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR))
    assert np.array_equal(split.images[where], whole)


@pytest.mark.parametrize("name", ["00009_00000.png", "00009_00000.PPM", "00009_00000", "x.webp"])
def test_an_unlisted_image_is_noticed_whatever_its_ending(tmp_path, name):
    path = gtsrb_image(tmp_path)
    (path.parent / name).write_bytes(path.read_bytes())
    with pytest.raises(DataError, match=f"1 are not in it, such as {name!r}"):
        load("gtsrb", "train", tmp_path)


def test_what_is_no_image_may_lie_beside_them(tmp_path):
    folder = gtsrb_image(tmp_path).parent
    for name in (".DS_Store", "Thumbs.db", "Readme.txt", "GT-final_test.test.csv"):
        (folder / name).touch()
    (folder / "thumbnails").mkdir()
    assert len(load("gtsrb", "train", tmp_path).labels) == 43 * 4


@pytest.mark.parametrize(
    "head", ["\ufeffFilename;ClassId", "Filename; ClassId", "Filename ;ClassId "]
)
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_listing_that_a_spreadsheet_saved_is_read(tmp_path, head, part):
    training, final = gtsrb_csv(tmp_path), tmp_path / "gtsrb" / "GT-final_test.csv"
    before = load("gtsrb", part, tmp_path)
    for listing in (training, final):
        rows = [line.split(";") for line in listing.read_text().splitlines()[1:]]
        lines = [head, *(f"{row[0]};{row[-1]}" for row in rows)]
        listing.write_text("\n".join(lines) + "\n", encoding="utf-8")
    after = load("gtsrb", part, tmp_path)
    assert np.array_equal(after.images, before.images)
    assert np.array_equal(after.labels, before.labels)


def test_a_table_with_another_separator_is_refused_with_its_head(tmp_path):
    gtsrb_csv(tmp_path).write_text("Filename,ClassId\n00000_00000.ppm,7\n")
    with pytest.raises(
        DataError, match=r"Filename and ClassId, but begins with 'Filename,ClassId'"
    ):
        load("gtsrb", "train", tmp_path)


@pytest.mark.parametrize("level", [0, 1000, 32_768, 65_535])
@pytest.mark.parametrize("kind", ["PNG", "PPM"])
def test_grey_of_16_bits_is_scaled_to_8(tmp_path, level, kind):
    path, levels = gtsrb_image(tmp_path), np.full((32, 32), level, np.uint16)
    Image.fromarray(levels).save(path, format="PNG")
    if kind == "PPM":
        path.write_bytes(b"P5\n32 32\n65535\n" + levels.astype(">u2").tobytes())
    split = load("gtsrb", "train", tmp_path)
    where = 7 * 4 + 2  # track 1, frame 0
    assert np.unique(split.images[where]).tolist() == [round(level / 257)]


def test_pixels_that_are_floats_are_refused(tmp_path):
    gtsrb_image(tmp_path).write_bytes(b"Pf\n32 32\n-1.0\n" + bytes(4 * 32 * 32))
    with pytest.raises(DataError, match=r"pixels must be whole numbers, but are floats"):
        load("gtsrb", "train", tmp_path)


def test_gtsrb_tracks_of_two_classes_with_one_number_are_two_signs(tmp_path):
    write_gtsrb(tmp_path)
    split = load("gtsrb", "train", tmp_path)
    assert split.groups.tolist() == np.repeat(np.arange(86), 2).tolist()
    assert split.images.flags.c_contiguous


def test_svhn_is_read_from_its_own_folder_too(tmp_path):
    content = write_svhn(tmp_path / "svhn")
    split = decode(get("svhn"), "train", tmp_path)
    assert split.images.flags.c_contiguous
    assert np.array_equal(split.images[3], content["X"][..., 3])


def test_a_matlab_bomb_is_refused_before_it_unfolds(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MOST_IMAGES", 50)
    scipy.io.savemat(
        tmp_path / "train_32x32.mat",
        {"X": np.zeros((32, 32, 3, 51), np.uint8), "y": np.ones((51, 1), np.uint8)},
        do_compression=True,
    )
    with pytest.raises(
        DataError, match=r"train_32x32.mat: X has at most 50 images, but is 32×32×3×51"
    ):
        decode(get("svhn"), "train", tmp_path)


def test_flipped_bits_in_a_matlab_header_are_read_or_refused_but_never_anything_else(tmp_path):
    path, random = svhn(tmp_path), np.random.default_rng(6)
    whole, refusals = path.read_bytes(), []
    for place, bit in zip(random.integers(0, 400, 200), random.integers(0, 8, 200), strict=True):
        content = bytearray(whole)
        content[place] ^= 1 << bit
        path.write_bytes(content)
        try:
            split = decode(get("svhn"), "train", tmp_path)
        except DataError as error:
            refusals.append(str(error))
        else:
            assert split.images.shape[1:] == (32, 32, 3)
            assert set(split.labels) <= set(range(10))
    assert 0 < len(refusals) < 200
    assert all(message.isprintable() for message in refusals)


def test_a_data_root_that_cannot_be_is_one_line(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for name, says in (("loop", "Too many levels of symbolic links"), ("x" * 300, "File name too")):
        with pytest.raises(ConfigError, match=f"the data root cannot be used: {says}"):
            load("cifar10", "train", tmp_path / name)


LIGHT = {
    "blocksearch.data.datasets": "PIL scipy pooch torch",
    "blocksearch.data.download": "PIL scipy pooch torch",
}


@pytest.mark.parametrize("module", LIGHT)
def test_imports_stay_light(module):
    code = f"import sys, {module}\n"
    code += f"print(*[name for name in {LIGHT[module].split()} if name in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
        == []
    )
    # the question can be answered otherwise
    heavy = f"import {module}, PIL.Image, sys; print('PIL' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", heavy], capture_output=True, text=True, check=True
        ).stdout
        == "True\n"
    )


def test_no_reader_can_unpickle():
    """The words that would let a file run code are nowhere in the package."""
    code = {
        path.name: path.read_text(encoding="utf-8")
        for path in Path(readers.__file__).parent.glob("*.py")
    }
    assert "readers.py" in code
    for name, text in code.items():
        assert not re.search(
            r"import pickle|pickle\.load|allow_pickle=True|cloudpickle|joblib", text
        ), name
