"""A folder of pictures, a listing, a file of arrays: what is in them is what is trained on, with
its classes, groups and parts; what is wrong with them is one line.
"""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import blocksearch as bs
from blocksearch.api.catalog import datasets
from blocksearch.arch.zoo import named_network
from blocksearch.data import DataConfig, get, load, open_dataset, summary
from blocksearch.data.cache import describe
from blocksearch.data.opening import label_of
from blocksearch.data.overview import overview
from blocksearch.data.splits import Split, prepare
from blocksearch.errors import BlocksearchError, ConfigError, DataError
from blocksearch.runs.plan import RunSettings, experiment
from blocksearch.search.definition import Evaluation
from blocksearch.training.recipe import Recipe

NAMES = ("ant", "bee", "cat")


pytestmark = pytest.mark.usefixtures("own_folders")


def save(path: Path, seed: int, shape=(10, 12)) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, format="PNG")
    return pixels


def folder(root: Path, names=NAMES, count=5, shape=(10, 12)) -> Path:
    for k, name in enumerate(names):
        for number in range(count):
            save(root / name / f"{number}.png", 100 * k + number, shape)
    return root


def opened(source, **fields) -> str:
    test = fields.pop("test", None)
    return open_dataset(source, DataConfig(**fields), test=test)


def test_a_folder_is_what_its_pictures_are(tmp_path):
    source = folder(tmp_path / "photos", shape=(10, 12, 3))
    name = opened(source)
    assert name.startswith("own-3x10x12-3-")
    found = load(name, "train")
    paths = sorted(source.rglob("*.png"))
    for path, pixels, label in zip(paths, found.images, found.labels, strict=True):
        assert NAMES[label] == path.parent.name
        assert np.array_equal(pixels, np.asarray(Image.open(path)))
    known = summary(Split(name))
    assert known.classes == NAMES
    assert known.origin == "15 images of photos/"
    assert opened(f"{source}/") == name


def test_only_what_changed_is_read_again(tmp_path, monkeypatch):
    source, calls = folder(tmp_path / "photos"), []
    name = opened(source)
    before = {path: path.stat().st_ino for path in (tmp_path / "data").rglob("*.npy")}
    monkeypatch.setattr("blocksearch.data.sources.picture", calls.append)
    assert opened(source) == name
    assert {path: path.stat().st_ino for path in (tmp_path / "data").rglob("*.npy")} == before
    monkeypatch.undo()
    monkeypatch.setenv("BLOCKSEARCH_DATA", str(tmp_path / "data"))
    assert calls == []
    save(source / "ant" / "0.png", 7777)
    assert opened(source) != name


def test_damaged_pixels_are_read_again(tmp_path):
    source = folder(tmp_path / "photos")
    name = opened(source)
    file = tmp_path / "data" / ".blocksearch" / f"{name}-train" / "images.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match="give them again"):
        load(name, "train")
    assert opened(source) == name
    assert len(load(name, "train").labels) == 15


@pytest.mark.parametrize("part", ["test", "val", "Testing"])
def test_test_pictures_beside_the_classes_are_no_class(tmp_path, part):
    source = folder(tmp_path / "photos")
    for number in range(2):
        save(source / part / "a" / f"{number}.png", number)
    classes = describe(opened(source), "train").about.classes
    assert classes == tuple(sorted((*NAMES, part)))  # one more, by all that is known
    folder(source / part, NAMES[:2])
    with pytest.raises(DataError, match=f"'ant' lies both beside {part} and in it: .* in train$"):
        opened(source)


def test_a_network_is_priced_for_pictures_of_which_some_are_left_out(tmp_path):
    source = folder(tmp_path / "photos")
    (source / "ant" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match="1 of 15 images cannot be read"):
        bs.network("effnet", source)
    found = bs.network("effnet", source, skip_damaged=True, resize="16x20")
    assert (str(found.task.input), found.task.classes) == ("1x16x20", 3)


def test_subfolders_of_any_depth_and_files_that_are_no_pictures(tmp_path):
    source = folder(tmp_path / "photos")
    save(source / "bee" / "a" / "b" / "deep", 1)  # no ending: its content says what it is
    for name in ("notes.txt", ".DS_Store", "Thumbs.db", "labels.csv"):
        (source / "bee" / name).write_text("x")
    (source / "README.md").write_text("x")
    assert np.bincount(load(opened(source), "train").labels).tolist() == [5, 6, 5]


def test_train_val_and_test_are_used_as_they_are(tmp_path):
    for part, count in (("train", 4), ("val", 2), ("test", 1)):
        folder(tmp_path / "p" / part, count=count)
        for path in (tmp_path / "p" / part).rglob("*.png"):
            pixels = np.asarray(Image.open(path)).copy()
            pixels[0, 0] = len(part)  # 5, 3 and 4
            Image.fromarray(pixels).save(path)
    shutil.rmtree(tmp_path / "p" / "test" / "ant")  # a class may be missing there
    name = opened(tmp_path / "p")
    split = prepare(Split(name))
    for images, mark, count in ((split.training, 5, 12), (split.evaluation, 3, 6)):
        assert len(images.labels) == count
        own = images.pixels[images.located(np.arange(count))]
        assert set(own[:, 0, 0, 0]) == {mark}
    tested = prepare(Split(name, test=True))
    assert len(tested.training.labels) == 18
    assert tested.evaluation.labels.tolist() == [1, 2]
    with pytest.raises(ConfigError, match="a validation split of their own, number 0"):
        prepare(Split(name, number=1))


def test_classes_that_are_called_train_are_classes(tmp_path):
    name = opened(folder(tmp_path / "p", names=("bus", "car", "train")))
    assert describe(name, "train").about.classes == ("bus", "car", "train")


def test_pictures_of_several_sizes_need_one(tmp_path):
    source = folder(tmp_path / "photos")
    save(source / "cat" / "large.png", 1, (40, 20))
    with pytest.raises(ConfigError, match=r"one shape, but are 10×12×1, and .*large.png is 40×20"):
        opened(source)
    name = opened(source, resize="16x24")
    assert name.startswith("own-1x16x24-3")
    assert "stretched to 16×24" in summary(Split(name)).origin
    assert (
        "scaled to 20×24" in summary(Split(opened(folder(tmp_path / "a"), resize="20x24"))).origin
    )


@pytest.mark.parametrize("coloured", ["ant/0.png", "bee/2.png", "cat/z.png", "all but one"])
def test_grey_and_coloured_pictures_are_coloured_together_unless_grey_is_asked_for(
    tmp_path, coloured
):
    source = folder(tmp_path / "photos", names=("ant", "bee", "cat"))
    assert opened(source).startswith("own-1x10x12-")
    chosen = sorted(source.rglob("*.png"))[1:] if " " in coloured else [source / coloured]
    wanted = [save(path, 1 + at, (10, 12, 3)) for at, path in enumerate(chosen)]
    name = opened(source)
    assert name.startswith("own-3x10x12-")
    images = load(name, "train").images
    for path, pixels in zip(sorted(source.rglob("*.png")), images, strict=True):
        assert np.array_equal(pixels, np.asarray(Image.open(path).convert("RGB")))
    assert any(np.array_equal(images[at], wanted[0]) for at in range(len(images)))
    assert opened(source, grey=True).startswith("own-1x10x12-")


@pytest.mark.parametrize("shapes", [((10, 12), (10, 12, 3)), ((10, 12, 3), (10, 12))])
def test_test_pictures_have_as_many_channels_as_the_others(tmp_path, shapes):
    learned, judged = (folder(tmp_path / f"{n}", shape=own) for n, own in enumerate(shapes))
    name = opened(learned, test=judged)
    assert name.startswith("own-3x10x12-")
    for source, part in ((learned, "train"), (judged, "test")):
        first = np.asarray(Image.open(sorted(source.rglob("*.png"))[0]).convert("RGB"))
        assert np.array_equal(load(name, part).images[0], first)


def test_damaged_pictures_are_named_or_left_out(tmp_path):
    source = folder(tmp_path / "photos")
    for name in ("0", "1", "2", "3"):
        (source / "ant" / f"{name}.png").write_bytes(b"no picture")
    with pytest.raises(
        DataError,
        match=r"photos/: 4 of 15 images cannot be read: ant/0.png, ant/1.png, ant/2.png and 1 more",
    ):
        opened(source)
    save(source / "ant" / "5.png", 5)
    name = opened(source, skip_damaged=True)
    assert len(load(name, "train").labels) == 12
    assert "4 damaged ones left out" in summary(Split(name)).origin


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file that opens, unreadable")
def test_a_picture_that_the_system_does_not_read_is_named_or_left_out(tmp_path):
    source = folder(tmp_path / "photos")
    (source / "ant" / "z.png").symlink_to("/proc/self/mem")
    with pytest.raises(DataError, match=r"ant/z.png; .*z.png cannot be read: Input/output error"):
        opened(source)
    assert len(load(opened(source, skip_damaged=True), "train").labels) == 15


@pytest.mark.parametrize("again", ["./{}", "x/../{}", ".//{}", "{folder}/{}"])
def test_a_picture_is_listed_once_however_its_path_is_written(tmp_path, again):
    save(tmp_path / "0.png", 0)
    other = again.format("0.png", folder=tmp_path)
    (tmp_path / "l.csv").write_text(f"path,label\n0.png,a\n{other},b\n")
    with pytest.raises(DataError, match="listed once"):
        opened(tmp_path / "l.csv")


@pytest.mark.parametrize("head", ["path,label,label", "path,Path,label", "path,label,x, X "])
def test_a_column_of_a_listing_is_there_once(tmp_path, head):
    (tmp_path / "l.csv").write_text(f"{head}\n{','.join('abcd'[: head.count(',') + 1])}\n")
    with pytest.raises(DataError, match="twice"):
        opened(tmp_path / "l.csv")


def test_groups_stay_together(tmp_path):
    source = tmp_path / "photos"
    for k in range(60):
        save(source / NAMES[k % 3] / f"patient{k // 4}_{k}.png", k)
    name = opened(source, group_by="(patient[0-9]+)_")
    found = load(name, "train")
    assert len(np.unique(found.groups)) == 15
    for number in range(5):
        split = prepare(Split(name, number=number))
        assert not set(split.training.groups) & set(split.evaluation.groups)
        assert set(split.evaluation.labels) == {0, 1, 2}
    assert "in 15 groups" in summary(Split(name)).origin
    assert opened(source) != name
    with pytest.raises(ConfigError, match=r"group_by must match each path, but 'x_' is not in 'a"):
        opened(source, group_by="x_")
    with pytest.raises(ConfigError, match=r"'\(' is not: missing \)"):
        opened(source, group_by="(")
    with pytest.raises(ConfigError, match=r"must give a group, but 'patient\(9\?\)' gives none of"):
        opened(source, group_by="patient(9?)")
    with pytest.raises(ConfigError, match=r"group_by must be a column or a .*, but is empty"):
        opened(source, group_by=" ")


@pytest.mark.parametrize(
    "head", ["path,label,site", "Site;file;class", "class\timage\tsite\tsplit"]
)
def test_a_group_that_is_no_column_is_answered_with_the_columns(tmp_path, head):
    separator = next(each for each in ",;\t" if each in head)
    names = [name.lower() for name in head.split(separator)]
    cell = {"path": "ant/0.png", "file": "ant/0.png", "image": "ant/0.png", "split": "train"}
    row = separator.join(cell.get(name, "x") for name in names)
    for wrong in ("nocol", "sites", "("):
        with pytest.raises(ConfigError, match=f"columns are {', '.join(names)}$"):
            opened(listing(tmp_path / "x.csv", [row], head), group_by=wrong)


@pytest.mark.parametrize("others", [("dev",), ("holdout", "extra"), ("Test", "dev")])
@pytest.mark.parametrize("known", ["train", "Validation"])
def test_parts_of_other_names_are_no_classes(tmp_path, known, others):
    source = tmp_path / "photos"
    for part in (known, *others):
        folder(source / part)
    with pytest.raises(DataError, match=rf"(into|beside) .*train.* but .*{others[-1]}"):
        opened(source)


def test_train_may_be_a_class(tmp_path):
    source = folder(tmp_path / "photos", names=("bus", "train"))
    (source / "bus").rename(source / "away")
    (source / "away").mkdir(exist_ok=True)
    assert summary(Split(opened(source))).classes == ("away", "train")


def listing(path: Path, rows, head="path,label,group,split") -> Path:
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_listing_says_class_group_and_split(tmp_path, separator, mark):
    folder(tmp_path / "photos", count=6)
    parts = ["train"] * 3 + ["val", "val", "test"]
    rows = [
        separator.join((f"photos/{name}/{k}.png", name, f"g{k}-{name}", part))
        for name in NAMES
        for k, part in enumerate(parts)
    ]
    file = listing(
        tmp_path / "all.csv", rows, mark + separator.join(("path ", " Label", "group", "split"))
    )
    name = opened(file)
    assert summary(Split(name)).classes == NAMES
    assert [len(prepare(Split(name)).training.labels), summary(Split(name)).evaluation] == [9, 6]
    assert summary(Split(name, test=True)).evaluation == 3
    assert len(np.unique(load(name, "train").groups)) == 15


def test_a_column_may_be_the_group(tmp_path):
    folder(tmp_path, count=4)
    rows = [f"{name}/{k}.png,{name},site {k % 2}" for name in NAMES for k in range(4)]
    name = opened(listing(tmp_path / "x.csv", rows, "path,label,site"), group_by="site")
    assert len(np.unique(load(name, "train").groups)) == 2
    assert load(opened(tmp_path / "x.csv"), "train").groups is None


def copy(source, old, new):
    shutil.copytree(source / old, source / new)


WRONG = {
    "nothing": (
        lambda s: shutil.rmtree(s) or s.mkdir(),
        "a folder for each class, but there is none",
    ),
    "not there": (shutil.rmtree, "is not there"),
    "one class": (
        lambda s: [shutil.rmtree(s / n) for n in NAMES[1:]],
        "at least two classes, but all labels are 'ant'",
    ),
    "one image": (
        lambda s: [(s / "cat" / f"{k}.png").unlink() for k in range(4)],
        "one to learn from and one to validate on, but class 'cat' has 1",
    ),
    "no image": (
        lambda s: [(s / "cat" / f"{k}.png").unlink() for k in range(5)],
        "each class has pictures, but 'cat' has none",
    ),
    "no class": (lambda s: save(s / "x.png", 1), "in a folder for each class, but x.png does not"),
    "two spellings": (
        lambda s: copy(s, "cat", "Cat"),
        "one spelling each, but there are 'Cat' and",
    ),
    "two accents": (
        lambda s: [copy(s, "cat", n) for n in ("caf\u00e9", "cafe\u0301")],
        "one spelling each",
    ),
    "link to nothing": (
        lambda s: (s / "ant" / "x.png").symlink_to(s / "nowhere"),
        "ant/x.png; the first: .*is not there",
    ),
    "huge": (
        lambda s: save(s / "ant" / "0.png", 1, (300, 300)),
        "photos/ant/0.png: images must be 8 to 224 pixels a side, but one is 300×300",
    ),
    "tiny": (
        lambda s: save(s / "ant" / "0.png", 1, (4, 300)),
        "photos/ant/0.png: images must be 8 to 224 pixels a side, but one is 4×300",
    ),
    "no picture is there": (
        lambda s: (s / "dog").symlink_to(s / "away"),
        r"photos/dog; the first: ",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_folder_that_is_no_data_set_is_one_line(tmp_path, case):
    source = folder(tmp_path / "photos")
    spoil, says = WRONG[case]
    spoil(source)
    with pytest.raises(BlocksearchError, match=says) as caught:
        opened(source)
    assert str(caught.value).isprintable()
    assert "photos" in str(caught.value) or "resize" in str(caught.value)
    assert not list((tmp_path / "data").rglob("own-*"))


def twins(source):
    save(source / "ant" / "deep" / "x.png", 9)
    (source / "ant" / "deep" / "y").symlink_to(source / "bee" / "deep")
    (source / "bee" / "deep").mkdir()
    (source / "bee" / "deep" / "x").symlink_to(source / "ant" / "deep")


def moved(source):
    shutil.move(source / "cat", source.parent / "elsewhere" / "animals" / "cat")
    (source / "cat").symlink_to(source.parent / "elsewhere" / "animals" / "cat")
    (source / "cat" / "up").symlink_to("..")


LOOPS = {  # what makes one, which links cannot be read, and how many pictures each class has
    "itself": (lambda s: (s / "ant" / "self").symlink_to("self"), ["ant/self"], [5, 5, 5]),
    "its folder": (lambda s: (s / "bee" / "a").symlink_to("."), ["bee/a"], [5, 5, 5]),
    "all": (lambda s: (s / "cat" / "a").symlink_to(s), ["cat/a"], [5, 5, 5]),
    "above all": (lambda s: (s / "cat" / "0").symlink_to("../.."), ["cat/0"], [5, 5, 5]),
    "the root": (lambda s: (s / "cat" / "z").symlink_to("/"), ["cat/z"], [5, 5, 5]),
    "a class": (lambda s: (s / "dog").symlink_to("."), ["photos/dog"], [5, 5, 5]),
    "no class": (lambda s: (s / "dog").symlink_to("dog"), ["photos/dog"], [5, 5, 5]),
    "each other": (twins, ["y/x", "x/y"], [6, 6, 5]),
    "its real place": (moved, ["cat/up"], [5, 5, 5]),
    "two": (
        lambda s: [(s / "ant" / n).symlink_to(o) for n, o in (("p", "q"), ("q", "p"))],
        ["ant/p", "ant/q"],
        [5, 5, 5],
    ),
}


@pytest.mark.parametrize("case", LOOPS)
def test_a_link_in_a_loop_is_a_picture_that_cannot_be_read(tmp_path, case):
    source = folder(tmp_path / "photos")
    make, named, counts = LOOPS[case]
    make(source)
    with pytest.raises(DataError, match="cannot be read: ") as caught:
        opened(source)
    assert all(each in str(caught.value) for each in named)
    found = overview(source, DataConfig(skip_damaged=True))
    assert [each in told for each, told in zip(named, found.damaged, strict=True)] == [True] * len(
        named
    )
    assert found.refused == ()
    kept = load(opened(source, skip_damaged=True), "train")
    assert np.bincount(kept.labels).tolist() == counts


def test_folders_that_all_lead_to_each_other_are_read_in_a_moment(tmp_path):
    source = folder(tmp_path / "photos")
    rooms = [tmp_path / "rooms" / f"{k}" for k in range(14)]  # 14! ways through them
    for k, room in enumerate(rooms):
        save(room / "0.png", 500 + k)
        for other in rooms:
            (room / other.name).symlink_to(other)
    (source / "ant" / "rooms").symlink_to(tmp_path / "rooms")
    kept = load(opened(source, skip_damaged=True), "train")
    assert np.bincount(kept.labels).tolist() == [5 + 14, 5, 5]


def test_a_folder_that_cannot_be_looked_into_is_named_or_left_out(tmp_path):
    source = folder(tmp_path / "photos")
    inner, fds = "x" * 250, [os.open(source / "bee", os.O_RDONLY)]
    for _ in range(20):  # until its path is longer than the system takes
        os.mkdir(inner, dir_fd=fds[-1])
        fds.append(os.open(inner, os.O_RDONLY, dir_fd=fds[-1]))
    for fd in fds:
        os.close(fd)
    with pytest.raises(DataError, match=r"1 of 16 images cannot be read: .*File name too"):
        opened(source)
    assert len(load(opened(source, skip_damaged=True), "train").labels) == 15


@pytest.mark.parametrize(
    "name", ["50% off?", "q#1 &", "фото", "写真", "Äpfel \u202etxt", "a'b\"c", "-x"]
)
def test_any_name_is_a_name(tmp_path, name):
    source = folder(tmp_path / name, names=(name, "other", "\u0645\u0631\u062d\u0628\u0627"))
    found = opened(source)
    assert name in summary(Split(found)).classes
    assert label_of(source).replace("-", "").isascii()


def test_bytes_that_are_no_text_may_be_in_a_name(tmp_path):
    source = folder(tmp_path / "photos")
    (source / "ant" / "0.png").rename(source / "ant" / os.fsdecode(b"\xff.png"))
    assert len(load(opened(source), "train").labels) == 15


def test_a_test_folder_is_judged_by_the_classes_that_are_learned(tmp_path):
    source, tests = folder(tmp_path / "a"), folder(tmp_path / "b", names=("bee", "cat"), count=1)
    name = opened(source, test=tests)
    assert load(name, "test").labels.tolist() == [1, 2]
    assert name != opened(source)
    for strange, says in (
        ("Bee", "one is of 'Bee' .did you mean 'bee'"),
        ("dog", "one is of 'dog'"),
    ):
        with pytest.raises(DataError, match=f"of classes that are learned, but {says}"):
            opened(source, test=folder(tmp_path / strange, names=(strange, "cat"), count=1))


BAD_LISTINGS = {
    "no head": (["a/0.png,a"], "x,y", "begins with the columns path and label, but with 'x,y'"),
    "no rows": ([], "path,label", "lists no pictures"),
    "twice": (["ant/0.png,a", "ant/0.png,b"], "path,label", "row 3: .*'ant/0.png' was in row 2"),
    "no label": (["ant/0.png,"], "path,label", "row 2: there must be a label"),
    "no group": (["ant/0.png,a,"], "path,label,group", "row 2: there must be a group"),
    "split": (["ant/0.png,a,later"], "path,label,split", "train, val or test, but is 'later'"),
    "some without a split": (
        ["ant/0.png,a,train", "ant/1.png,a,", "bee/0.png,b,TEST"],
        "path,label,split",
        "row 3: split must be train, val or test as in other rows, but is empty",
    ),
    "some short rows": (
        ["ant/0.png,a", "ant/1.png,a,val"],
        "path,label,split",
        "row 2: split must be train, val or test as in other rows, but is empty",
    ),
    "one strange split": (
        ["ant/0.png,a,Training", "ant/1.png,a,valid", "bee/0.png,b,dev"],
        "path,label,part",
        "row 4: split must be train, val or test, but is 'dev'",
    ),
    "spelling": (["ant/0.png,a b", "ant/1.png,A  B"], "path,label", "one spelling each"),
    "missing": (["ant/9.png,a", "bee/0.png,b"], "path,label", "ant/9.png is not there"),
}


@pytest.mark.parametrize("case", BAD_LISTINGS)
def test_a_listing_that_is_none_is_one_line(tmp_path, case):
    folder(tmp_path)
    rows, head, says = BAD_LISTINGS[case]
    with pytest.raises(DataError, match=says) as caught:
        opened(listing(tmp_path / "x.csv", rows, head))
    assert "x.csv" in str(caught.value)


def arrays(count=30, shape=(9, 8, 2), seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, *shape), np.uint8), np.arange(count) % 3


@pytest.mark.parametrize("prefix", [("", "test_"), ("train_", "test_")])
def test_a_file_of_arrays_has_training_validation_and_test_images(tmp_path, prefix):
    (images, labels), (tests, answers) = arrays(), arrays(6, seed=1)
    first, second = prefix
    own = {f"{first}images": images, f"{first}labels": labels[:, None]}
    np.savez(tmp_path / "a.npz", **own, **{f"{second}images": tests, f"{second}labels": answers})
    name = opened(str(tmp_path / "a.npz"))
    assert np.array_equal(load(name, "train").images, images)
    assert np.array_equal(load(name, "test").images, tests)
    np.savez(tmp_path / "b.npz", **own, val_images=tests, val_labels=answers)
    split = prepare(Split(opened(tmp_path / "b.npz")))
    assert (len(split.training.labels), len(split.evaluation.labels)) == (30, 6)


def test_a_small_file_that_unfolds_into_more_than_memory_is_refused(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((200, 100, 100, 3), np.uint8))
    assert (tmp_path / "a.npz").stat().st_size < 20_000
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}.get)
    with pytest.raises(DataError, match="unfolds into 6,000,128 bytes, and there are 4,096,000 of"):
        opened(str(tmp_path / "a.npz"))


def test_a_pair_of_files_is_mapped(tmp_path):
    images, labels = arrays(shape=(9, 8))
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "labels.npy", labels)
    alone = opened(str(tmp_path / "images.npy"))
    assert alone == opened(f"{tmp_path / 'images.npy'},{tmp_path / 'labels.npy'}")
    assert alone.startswith("own-1x9x8-3-")
    assert np.array_equal(load(alone, "train").images[..., 0], images)
    np.save(tmp_path / "x.npy", images)
    with pytest.raises(DataError, match=r"given as images.npy,labels.npy"):
        opened(str(tmp_path / "x.npy"))


def test_titles_of_trainings_and_of_searches_say_what_was_done_to_pictures(tmp_path):
    source = folder(tmp_path / "photos", shape=(20, 12))
    (source / "ant" / "self").symlink_to("self")
    name = opened(source, resize="16x16", skip_damaged=True)
    network = named_network("effnet", get(name).task)
    shared = experiment(
        RunSettings(protocol=Split(name), recipe=Recipe(epochs=1), root=None, ledger="", workers=1),
        network,
    )
    said = (
        f"{name} (15 images of photos/, stretched to 16×16, 1 damaged ones left out): 12 training"
    )
    assert said in shared.title("effnet", network)
    assert said in Evaluation.by(shared).title


def test_arrays_are_resized_and_made_grey_too(tmp_path):
    images, labels = arrays(shape=(20, 10, 3))
    assert opened((images, labels), resize="8x8", grey=True).startswith("own-1x8x8-3-")
    many, labels = arrays(shape=(20, 10, 7))
    assert opened((many, labels), resize="8x8").startswith("own-7x8x8-3-")
    with pytest.raises(ConfigError, match="grey is for images of 3 channels, but one has 7"):
        opened((many, labels), grey=True)


def test_what_is_for_images_of_ones_own_is_refused_for_others():
    with pytest.raises(ConfigError, match="resize is for images of your own, but digits is used"):
        opened("digits", resize="16x16")
    for wrong in ("16", "16x", "7x16", "16x225", "axb"):
        with pytest.raises(ConfigError, match="resize must be height x width of 8 to 224"):
            DataConfig(resize=wrong)


def as_folder(root, images, labels):
    for k, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        (root / "photos" / f"c{label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[..., 0]).save(root / "photos" / f"c{label}" / f"{k}.png")
    return root / "photos"


def as_listing(root, images, labels):
    photos = as_folder(root, images, labels)
    rows = [f"{path},{path.parent.name}" for path in sorted(photos.rglob("*.png"))]
    return listing(root / "all.csv", rows, "path,label")


def as_archive(root, images, labels):
    np.savez(root / "a.npz", images=images, labels=labels)
    return root / "a.npz"


def as_pair(root, images, labels):
    np.save(root / "images.npy", images)
    np.save(root / "labels.npy", labels)
    return str(root / "images.npy")


class AsDataset:
    def __init__(self, _, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, k):
        return self.images[k], int(self.labels[k])


DOORS = {
    "arrays": (lambda _, images, labels: (images, labels), "dataset: "),
    ".npz": (as_archive, "a.npz: "),
    ".npy": (as_pair, "images.npy: "),
    "Dataset": (AsDataset, "dataset: item 0: "),
    "iterable": (lambda _, images, labels: zip(images, labels, strict=True), "dataset: item 0: "),
    "folder": (as_folder, "photos/c0/0.png: "),
    ".csv": (as_listing, "photos/c0/0.png: "),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("sides", [(7, 8), (8, 7), (4, 4), (225, 224), (100, 225), (8, 8)])
def test_all_doors_ask_for_sizes_that_networks_are_for(tmp_path, door, sides):
    make, where = DOORS[door]
    images, labels = arrays(6, (*sides, 1))
    if sides == (8, 8):
        assert opened(make(tmp_path, images, labels)).startswith("own-1x8x8-3-")
        return
    says = f"{where}images must be 8 to 224 pixels a side, but one is {sides[0]}×{sides[1]}: resize"
    with pytest.raises(ConfigError, match=re.escape(says)):
        opened(make(tmp_path, images, labels))
    source = make(tmp_path / "other", images, labels) if door == "iterable" else None
    assert opened(source or make(tmp_path, images, labels), resize="8x9").startswith("own-1x8x9-")


@pytest.mark.parametrize("door", ["arrays", ".npz", ".npy", "Dataset", "iterable"])
def test_all_doors_ask_for_at_most_16_channels(tmp_path, door):
    make, where = DOORS[door]
    assert opened(make(tmp_path, *arrays(6, (9, 8, 16)))).startswith("own-16x9x8-3-")
    with pytest.raises(DataError, match=f"{where}.* 1 to 16 channels, but .*17"):
        opened(make(tmp_path, *arrays(6, (9, 8, 17))))


def test_what_a_network_on_ones_own_pictures_costs_keeps_nothing_and_a_training_does(tmp_path):
    source = folder(tmp_path / "photos", shape=(16, 16, 3))
    before = sorted(tmp_path.rglob("*"))
    network = bs.network("effnet", task=source)
    assert (str(network.task.input), network.task.classes) == ("3x16x16", 3)
    assert sorted(tmp_path.rglob("*")) == before
    assert "images of your own" not in datasets().table()
    name = opened(source)
    shutil.rmtree(source)  # what is kept stands for itself
    assert bs.network("effnet", task=name) == network
    (own,) = datasets().data()["own"]
    assert own == {
        "name": name,
        "images": 15,
        "input": "3x16x16",
        "classes": 3,
        "origin": "15 images of photos/",
        "folder": str(tmp_path / "data" / ".blocksearch"),
    }
