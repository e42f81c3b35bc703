"""What is said of images before anything is trained, held against a count by hand."""

import json

import numpy as np
import pytest
from PIL import Image

import blocksearch as bs
from blocksearch.api.catalog import check_dataset
from blocksearch.data import DataConfig, load, open_dataset
from blocksearch.data.overview import overview
from blocksearch.data.splits import Split, prepare, summary
from blocksearch.errors import ConfigError, DataError
from tests.commands import command
from tests.data.test_folders import folder, save

pytestmark = pytest.mark.usefixtures("own_folders")


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
    copies, said = found["training_and_validation"], summary(Split(name)).origin
    assert (f", {copies} of" in said) if copies else ("equal" not in said)


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


@pytest.mark.parametrize("form", ["arrays", "items", pytest.param("name", marks=pytest.mark.slow)])
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
    assert any(
        "sheet.png: a row of pictures for each class" in each for each in answer.report.notes
    )
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
    said = command("data", "describe", source, "--json", cwd=tmp_path)
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


def listed(root, head, *rows):
    """Write pictures and a listing of them: a row for each, after the path."""
    for k in range(len(rows)):
        save(root / f"{k}.png", k)
    text = [head, *(f"{k}.png,{row}" for k, row in enumerate(rows))]
    (root / "x.csv").write_text("\n".join(text) + "\n")
    return root / "x.csv"


def rows(count, group, part):
    """Make rows of a listing: a class, a group and a split."""
    return [f"{'ab'[k % 2]},{group(k)},{part(k)}" for k in range(count)]


def words(k):
    return f"p{k // 4}"


def sided(root, *, test=False):
    """Write arrays whose groups are words; one of them is on both sides."""
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (24, 9, 9), np.uint8), np.arange(24) % 2
    groups, part = np.array([words(k) for k in range(24)]), "test" if test else "val"
    names = dict(zip(("images", "labels", "groups"), (images, labels, groups), strict=True))
    own = {name: array[:18] for name, array in names.items()}
    own |= {f"{part}_{name}": array[17:] for name, array in names.items()}
    np.savez(root / "a.npz", **own)
    return root / "a.npz"


def coloured(root, shape):
    source = folder(root / "photos")
    save(source / "bee" / "other.png", 1, shape)
    return source


def damaged(root, **_):
    source = folder(root / "photos")
    (source / "bee" / "0.png").write_bytes(b"no picture")
    return source


def divided_folder(root, *names):
    folder(root / "photos" / "train", names=("ant", "bee"))
    folder(root / "photos" / "test", names=names)
    return root / "photos"


HEAD = "path,label,group,split"
TESTED, SOME = (["Train"] * 10 + ["test"] * 4, [""] * 10 + ["test"] * 4)
JUDGED = ["val", "train", "train"] * 4
SETS = {  # images, how they are read, and what is said of them: None where all is well
    "group in train and val": (
        lambda r: listed(r, HEAD, *rows(12, lambda k: k // 6, lambda k: JUDGED[k])),
        {},
        "must be on one side, but 2 of 2 are divided; the first: '0' is in val and in train",
    ),
    "groups in train or test": (
        lambda r: listed(r, HEAD, *rows(14, lambda k: k // 5, lambda k: TESTED[k])),
        {},
        None,
    ),
    "some without a split": (
        lambda r: listed(
            r, "path,label,site,split", *rows(14, lambda k: k % 3, lambda k: SOME[k])
        ),
        {"group_by": "site"},
        "split must be train, val or test as in other rows, but is empty",
    ),
    "all in train and test": (
        lambda r: listed(r, HEAD, *rows(14, lambda k: k % 3, lambda k: TESTED[k])),
        {},
        "but 3 of 3 are divided; the first: '1' is in train and in test",
    ),
    "words on two sides": (sided, {}, "but 1 of 6 are divided; the first"),
    "words in test": (lambda r: sided(r, test=True), {}, "a group must be on one side, but 1 are"),
    "one class": (lambda r: listed(r, "path,label", *["a"] * 5), {}, "at least two classes"),
    "one class, arrays": (
        lambda _: (np.zeros((9, 9, 9), np.uint8), np.zeros(9, int)),
        {},
        "at least two classes, but all labels are 0",
    ),
    "a class of one image": (lambda r: listed(r, "path,label", *"aaab"), {}, "class 'b' has 1"),
    "a class to validate on": (
        lambda r: listed(r, "path,label,split", "a,train", "b,train", "a,val", "c,val"),
        {},
        "class 'c' has validation images, but none to learn",
    ),
    "a class to test": (lambda r: divided_folder(r, "ant", "cat"), {}, "but one is of 'cat'"),
    "fewer to test": (lambda r: divided_folder(r, "bee"), {}, None),
    "labels with a gap": (
        lambda _: [(np.full((9, 9), k, np.uint8), k % 2 * 2) for k in range(9)],
        {},
        "without gaps, but no image has 1",
    ),
    "labels without end": (
        lambda _: [(np.full((9, 9), k, np.uint8), k % 2 * 10**20) for k in range(9)],
        {},
        "without gaps, but one of 9 is 1",
    ),
    "labels of two kinds": (
        lambda _: [(np.full((9, 9), k, np.uint8), ("a", 1)[k % 2]) for k in range(9)],
        {},
        "numbers or names, but are both",
    ),
    "damaged": (damaged, {}, "1 of 15 images cannot be read: bee/0.png; .*; skip_damaged leaves"),
    "damaged, left out": (damaged, {"skip_damaged": True}, None),
    "two sizes": (lambda r: coloured(r, (20, 12)), {}, "of one shape, but are 10×12×1, and"),
    "two sizes, resized": (lambda r: coloured(r, (20, 12)), {"resize": "8x8"}, None),
    "colour beside grey": (lambda r: coloured(r, (10, 12, 3)), {}, None),
    "all grey": (lambda r: coloured(r, (10, 12, 3)), {"grey": True}, None),
    "too large": (lambda r: coloured(r, (10, 300)), {}, "8 to 224 pixels a side, but one is"),
    "grey of two": (lambda _: arrays(2), {"grey": True}, "for images of 3 channels, but one has 2"),
    "a name with an option": (lambda _: "digits", {"resize": "8x8"}, "but digits is used as it is"),
    "no column": (
        lambda r: listed(r, "path,label", *"aabb"),
        {"group_by": "nocol"},
        "columns are path, label",
    ),
}  # fmt: skip


def arrays(channels):
    random = np.random.default_rng(0)
    return random.integers(0, 256, (30, 9, 9, channels), np.uint8), np.arange(30) % 3


@pytest.mark.parametrize("case", SETS)
def test_what_training_refuses_is_said_in_its_words(tmp_path, case):
    make, fields, says = SETS[case]
    source, config = make(tmp_path), DataConfig(**fields)
    told = ""
    try:
        answer = bs.describe(source, **fields)
        assert answer.data()["refused"] == list(answer.found.refused)
        told = "\n".join(answer.found.refused)
        assert all(
            any(each in note for note in answer.report.notes) for each in answer.found.refused
        )
    except (DataError, ConfigError) as error:
        told = str(error)
    if says is None:
        assert told == ""
        assert len(load(open_dataset(source, config), "train").labels)
        return
    with pytest.raises((DataError, ConfigError), match=says) as caught:
        open_dataset(source, config)
    assert str(caught.value) in told


def test_copies_are_those_of_the_images_that_are_trained_on(tmp_path):
    """Brought to one size or to grey, other pictures may be the same image."""
    source = tmp_path / "photos"
    for k in range(40):
        flat = np.full((16, 16 + 8 * (k % 2), 3), 100 + k // 4, np.uint8)
        (source / "ab"[k // 2 % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(flat).save(source / "ab"[k // 2 % 2] / f"{k}.png")
    fields = {"resize": "8x8", "grey": True}
    answer = bs.describe(source, **fields)
    known = load(open_dataset(source, DataConfig(**fields)), "train")
    assert answer.found.copies["within_a_class"] == 20
    assert len(np.unique(known.images, axis=0)) == 10
    assert "before training, images are stretched to 8×8, grey" in answer.report.notes
    assert dict(answer.found.sizes) == {"16×16×3": 20, "16×24×3": 20}


def test_classes_that_nothing_judges_are_named(tmp_path):
    notes = bs.describe(divided_folder(tmp_path, "bee")).report.notes
    assert "no test image is of class ant" in notes
    assert "all classes have the same number of images" not in notes


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ((5, 5), "all classes have the same number"),
        ((201, 200), "has about as many images as"),
        ((10, 5), "has 2 times as many"),
        ((6, 5), "has 1.2 times as many"),
        ((5, 0, 5), "all of the 2 classes that have images have the same number"),
        ((6, 0, 3), "has 2 times as many images as the smallest of those that have any"),
    ],
)
def test_a_factor_near_one_is_said_in_words(counts, says):
    labels = np.repeat(np.arange(len(counts)), counts)
    notes = bs.describe((np.zeros((len(labels), 8, 8), np.uint8), labels)).report.notes
    assert sum(says in note for note in notes) == 1
    assert not any("1 times" in note for note in notes)


def test_the_command_reads_pictures_as_training_does(tmp_path):
    source = damaged(tmp_path)
    save(source / "ant" / "other.png", 1, (20, 12, 3))
    options = ["--resize", "9x9", "--grey", "--skip-damaged", "--group-by", "([0-9a-z]+).png"]
    plain, read = (
        command("data", "describe", source, *more, cwd=tmp_path) for more in ([], options)
    )
    assert "skip_damaged leaves out" in plain.stdout.replace("\n", " ")
    assert "cannot be trained on" not in read.stdout.replace("\n", " ")


def test_a_set_of_little_is_described_in_whole_words(tmp_path):
    """What cannot be read, or is not there, is counted nowhere."""
    one = bs.describe((np.zeros((9, 8, 8), np.uint8), np.zeros(9, int)))
    assert one.report.title.endswith("9 images in 1 class")
    assert not any("as many" in note or "same number" in note for note in one.report.notes)
    gap = bs.describe((np.zeros((9, 8, 8), np.uint8), np.arange(9) // 6 * 2))
    assert gap.found.imbalance == 2
    assert gap.found.sheet.shape[0] == 4 + 3 * 52  # a row for the class without images, too
    source = listed(tmp_path, "path,label", "a", "b")
    (tmp_path / "0.png").unlink()
    lost = bs.describe(source)
    assert "there are no validation images" in lost.report.notes
    assert not any("labels must be" in each for each in lost.found.refused)
    assert any("no image has 'a'" in each for each in lost.found.refused)


def test_what_other_systems_leave_behind_is_no_class(tmp_path):
    source = folder(tmp_path / "photos")
    (source / "__MACOSX" / "ant").mkdir(parents=True)
    (source / "__MACOSX" / "ant" / "._0.png").write_bytes(b"x")
    assert bs.describe(source).found.refused == ()
    assert [each.name for each in bs.describe(source).found.classes] == ["ant", "bee", "cat"]


def test_a_check_of_images_of_ones_own_is_sent_to_describe(tmp_path):
    with pytest.raises(ConfigError, match=r"photos is of your own: it is described"):
        check_dataset([str(folder(tmp_path / "photos"))])
