"""Downloads that go wrong and archives that attack, on a server of this machine's loopback address
alone.
"""

import gc
import hashlib
import io
import lzma
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from blocksearch.data import digest, load
from blocksearch.data import download as fetch
from blocksearch.data.datasets import DATASETS, Archive
from blocksearch.errors import DataError
from tests.data.test_data import (
    RECORDS,
    publish,
    served,  # noqa: F401 (a fixture)
    small_and_alone,  # noqa: F401 (a fixture for every test here)
    tar_member,
    tar_with,
    write_cifar10,
    write_gtsrb,
    zip_with,
)


def flipped(content, *places):
    content = bytearray(content)
    for place in places:
        content[place] ^= 0xFF
    return bytes(content)


def xz_tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as tar:
        member = tarfile.TarInfo("a")
        member.size = 300_000
        tar.addfile(member, io.BytesIO(np.random.default_rng(3).bytes(member.size)))
    return buffer.getvalue()


def zip_marked(local, central, value):
    """A zip whose headers hold `value` at these places."""
    content = bytearray(zip_with("a"))
    content[local] = content[content.find(b"PK\x01\x02") + central] = value
    return bytes(content)


def zip_of(name, mode):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        archive.writestr(entry, "x")
    return buffer.getvalue()


BAD = {
    "zip device": (
        zip_of("dev", 0o020666),
        "members must be plain files or folders, but 'dev' is a link or a device",
    ),
    "zip fifo": (
        zip_of("pipe", 0o010666),
        "members must be plain files or folders, but 'pipe' is a link or a device",
    ),
    "zip drive": (
        zip_of("C:/evil", 0o100644),
        "members must stay inside the archive's folder, but one is 'C:/evil'",
    ),
    "zip absolute": (
        zip_of("/evil", 0o100644),
        "members must stay inside the archive's folder, but one is '/evil'",
    ),
    "tar fifo": (tar_with(tar_member("pipe", tarfile.FIFOTYPE)), "'pipe' is a link or a device"),
    "tar parent inside": (
        tar_with(tar_member("a/../../evil")),
        "members must stay inside the archive's folder",
    ),
    "zip locked": (zip_marked(6, 8, 1), "cannot be extracted: RuntimeError"),
    "zip method": (zip_marked(8, 10, 99), "cannot be extracted: NotImplementedError"),
    "zip damaged": (flipped(zip_with("a"), 33), "cannot be extracted: BadZipFile"),
    "tar cut": (
        tar_with(tar_member("a"), np.random.default_rng(3).bytes(200_000))[:-1000],
        "cannot be extracted: EOFError",
    ),
    "xz damaged": (flipped(xz_tar(), 150_000), f"cannot be extracted: {lzma.LZMAError.__name__}"),
}


@pytest.mark.parametrize("case", BAD)
def test_archives_that_attack_or_are_damaged_are_refused_in_one_line(tmp_path, case):
    content, says = BAD[case]
    (tmp_path / "archive").write_bytes(content)
    target = tmp_path / "inner" / "target"
    target.mkdir(parents=True)
    with pytest.raises(DataError) as caught:
        fetch.extract(tmp_path / "archive", target)
    assert says in str(caught.value)
    assert str(tmp_path / "archive") in str(caught.value)
    assert str(caught.value).isprintable()
    assert not [path for path in tmp_path.rglob("*") if path.name in ("evil", "dev", "pipe")]


def test_a_bomb_is_refused_at_its_first_header_and_not_unfolded(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "MOST_BYTES", 1000)
    content = tar_with(tar_member("bomb"), bytes(20_000_000))
    (tmp_path / "archive").write_bytes(content[:2000])  # what follows the header is not even there
    with pytest.raises(
        DataError, match="at most 1,000 bytes in 200,000 members, but this has more"
    ):
        fetch.extract(tmp_path / "archive", tmp_path)


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_too_many_members_are_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(fetch, "MOST_MEMBERS", 5)
    with (tmp_path / "archive").open("wb") as file:
        if kind == "tar":
            with tarfile.open(fileobj=file, mode="w:gz") as tar:
                for k in range(6):
                    tar.addfile(tar_member(f"{k}"))
        else:
            with zipfile.ZipFile(file, "w") as archive:
                for k in range(6):
                    archive.writestr(f"{k}", "")
    with pytest.raises(DataError, match="in 5 members, but this has more"):
        fetch.extract(tmp_path / "archive", tmp_path)


def test_a_wrong_checksum_names_both_and_leaves_nothing(tmp_path, served, monkeypatch):  # noqa: F811
    folder, url = served
    publish(folder, url, monkeypatch)
    expected = DATASETS["cifar10"].archives[0].md5
    with (folder / "cifar.tar.gz").open("ab") as file:
        file.write(b"more")
    actual = hashlib.md5((folder / "cifar.tar.gz").read_bytes()).hexdigest()
    with pytest.raises(DataError) as caught:
        fetch.fetch("cifar10", tmp_path / "data")
    for part in (
        f"{url}/cifar.tar.gz",
        expected,
        actual,
        f"may be put by hand at {tmp_path / 'data' / 'cifar.tar.gz'}",
    ):
        assert part in str(caught.value)
    assert str(caught.value).isprintable()
    assert list((tmp_path / "data").iterdir()) == []


def test_a_file_put_by_hand_serves_without_network_and_a_wrong_one_is_named(
    tmp_path,
    served,  # noqa: F811
    monkeypatch,
):
    folder, url = served
    publish(folder, url, monkeypatch)
    content = (folder / "cifar.tar.gz").read_bytes()
    (folder / "cifar.tar.gz").unlink()  # the server has it no more
    root = tmp_path / "data"
    root.mkdir()
    (root / "cifar.tar.gz").write_bytes(content[:-1])
    with pytest.raises(DataError) as caught:
        fetch.fetch("cifar10", root)
    assert f"(the file there has {hashlib.md5(content[:-1]).hexdigest()})" in str(caught.value)
    (root / "cifar.tar.gz").write_bytes(content)
    assert fetch.fetch("cifar10", root) == f"cifar10 is now under {root}"
    assert len(load("cifar10", "train", root).images) == 5 * RECORDS


def test_a_server_that_answers_with_an_error_leaves_no_connection_open(tmp_path, served):  # noqa: F811
    _, url = served
    with pytest.raises(DataError, match="404"):
        fetch.install(Archive(url=f"{url}/nothing.zip", md5="0" * 32), tmp_path)
    gc.collect()  # a connection left open would warn here, and warnings are errors


def zipped(folder, names, to):
    with zipfile.ZipFile(to, "w") as archive:
        for name in names:
            for path in (
                sorted((folder / name).rglob("*")) if (folder / name).is_dir() else [folder / name]
            ):
                archive.write(path, path.relative_to(folder))


def test_gtsrb_comes_in_three_zips_that_meet_in_one_folder(tmp_path, served, monkeypatch):  # noqa: F811
    folder, url = served
    write_gtsrb(folder)
    archives = []
    for name, parts in {
        "a.zip": ["GTSRB/Training"],
        "b.zip": ["GTSRB/Final_Test"],
        "c.zip": ["GT-final_test.csv"],
    }.items():
        zipped(folder / "gtsrb", parts, folder / name)
        archives.append(
            Archive(
                url=f"{url}/{name}",
                md5=hashlib.md5((folder / name).read_bytes()).hexdigest(),
                folder="gtsrb",
            )
        )
    data = DATASETS["gtsrb"]
    monkeypatch.setitem(
        DATASETS,
        "gtsrb",
        replace(data, archives=tuple(archives)),
    )
    root = tmp_path / "data"
    assert fetch.fetch("gtsrb", root) == f"gtsrb is now under {root}"
    assert sorted(path.name for path in (root / "gtsrb").iterdir()) == [
        "GT-final_test.csv",
        "GTSRB",
    ]
    for split in ("train", "test"):
        assert digest(load("gtsrb", split, root)) == digest(load("gtsrb", split, folder))


def test_a_new_folder_is_moved_into_place_in_one_step(tmp_path):
    """Interrupted between two steps, a data set lacks a folder but never a part of one."""
    source, target = tmp_path / "source", tmp_path / "target"
    for k in range(30):
        path = source / "GTSRB" / "Training" / f"{k}.ppm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(k))
    (target / "GTSRB" / "Final_Test").mkdir(parents=True)
    inode = (source / "GTSRB" / "Training").stat().st_ino
    fetch._move_into(source, target)
    assert (target / "GTSRB" / "Training").stat().st_ino == inode
    assert len(list((target / "GTSRB" / "Training").iterdir())) == 30
    assert (target / "GTSRB" / "Final_Test").is_dir()


INSTALL = """
import sys
from pathlib import Path
from blocksearch.data.datasets import Archive
from blocksearch.data.download import install
install(Archive(url={url!r}, md5={md5!r}), Path({root!r}), progress=sys.argv[1] == "progress")
"""


def test_progress_is_shown_only_when_asked(tmp_path, served):  # noqa: F811
    folder, url = served
    (folder / "a.mat").write_bytes(bytes(1500))
    md5 = hashlib.md5(bytes(1500)).hexdigest()
    errors = {}
    for mode in ("progress", "quiet"):
        script = INSTALL.format(url=f"{url}/a.mat", md5=md5, root=str(tmp_path / mode))
        done = subprocess.run(
            [sys.executable, "-c", script, mode], capture_output=True, text=True, check=True
        )
        assert done.stdout == ""
        errors[mode] = done.stderr
    assert "100%" in errors["progress"]
    assert errors["quiet"] == ""


def test_a_root_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=r"x\.zip cannot be put into .*file/gtsrb: Not a directory"):
        fetch.install(
            Archive(url="http://127.0.0.1:9/x.zip", md5="0" * 32, folder="gtsrb"), tmp_path / "file"
        )


def test_a_listing_says_what_is_here_and_how_many_images_are_published(tmp_path):
    write_cifar10(tmp_path)
    rows = {row["name"]: row for row in fetch.listing(tmp_path)}
    # Fashion-MNIST may lie where Debian's package puts it
    assert rows["cifar10"]["here"]
    assert rows["digits"]["here"]
    assert not rows["svhn"]["here"]
    assert not rows["gtsrb"]["here"]
    counts = rows["svhn"]["published_training"], rows["svhn"]["published_test"]
    assert counts == (73_257, 26_032)
    assert not any(character.isdigit() for character in rows["svhn"]["description"])
    write_gtsrb(tmp_path)
    load("gtsrb", "train", tmp_path)
    (row,) = (row for row in fetch.listing(tmp_path) if row["name"] == "gtsrb")
    assert row["origin"] == "172 training images where 39,209 are published"


def test_a_check_counts_images_classes_and_signs(tmp_path):
    write_gtsrb(tmp_path)
    train, test = fetch.check("gtsrb", tmp_path)
    wanted = {"images": 172, "classes": 43, "least": 4, "most": 4, "groups": 86, "copies": 0}
    assert {key: train[key] for key in wanted} == wanted
    assert (test["images"], test["classes"], test["least"], test["groups"]) == (3, 3, 0, None)
    assert not (tmp_path / ".blocksearch").exists()
    assert "is not under" in fetch.check("svhn", tmp_path)[0]["problem"]


def test_a_check_says_how_much_of_a_data_set_is_not_here(tmp_path, monkeypatch):
    write_gtsrb(tmp_path)
    train, test = fetch.check("gtsrb", tmp_path)
    assert train["problem"] == "gtsrb: 172 of 39,209 train images are here"
    assert test["problem"].startswith(
        "gtsrb: 3 of 12,630 test images are here; no test image of class 1, 2, 4, 5"
    )
    known = digest(load("gtsrb", "train", tmp_path))  # another file, of which more is known
    monkeypatch.setitem(DATASETS["gtsrb"].origins, known, "a small part")
    train, _ = fetch.check("gtsrb", tmp_path)
    assert (train["problem"], train["origin"]) == ("", "a small part")


def test_a_check_counts_copies(tmp_path):
    records = write_cifar10(tmp_path)
    records[1, 5] = records[0, 3]
    records[5, 2:4] = records[0, 3]
    for k, name in ((1, "data_batch_2"), (5, "test_batch")):
        path = tmp_path / "cifar-10-batches-bin" / f"{name}.bin"
        path.write_bytes(records[k].tobytes())
    assert [row["copies"] for row in fetch.check("cifar10", tmp_path)] == [1, 2]
