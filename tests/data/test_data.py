"""Readers, cache, split and download on real files in the published formats, and on files that only
pretend.
"""

import hashlib
import http.server
import io
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from blocksearch.data import cache_files as files
from blocksearch.data import data_root, digest, get, load, validation_split
from blocksearch.data import datasets as catalog
from blocksearch.data import download as fetch
from blocksearch.data.datasets import Archive
from blocksearch.data.sets import readers
from blocksearch.errors import ConfigError, DataError
from tests.strategies import tries

RECORDS = 20


@pytest.fixture(autouse=True)
def small_and_alone(monkeypatch, tmp_path):
    """CIFAR files of twenty records, and a user cache of this test's own."""
    monkeypatch.setattr(readers, "CIFAR_RECORDS", RECORDS)
    small = replace(get("cifar10"), counts=(5 * RECORDS, RECORDS))
    monkeypatch.setitem(catalog.DATASETS, "cifar10", small)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BLOCKSEARCH_DATA", raising=False)


def write_cifar10(root: Path, seed=0):
    folder, random = root / "cifar-10-batches-bin", np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    records = random.integers(0, 256, (6, RECORDS, readers.CIFAR_RECORD), np.uint8)
    records[:, :, 0] %= 10
    for k, name in enumerate([*(f"data_batch_{b}" for b in range(1, 6)), "test_batch"]):
        (folder / f"{name}.bin").write_bytes(records[k].tobytes())
    return records


def write_svhn(root: Path, count=12, **changes):
    random = np.random.default_rng(1)
    content = {
        "X": random.integers(0, 256, (32, 32, 3, count), np.uint8),
        "y": np.arange(count)[:, None] % 10 + 1,
    } | changes
    root.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(
        root / "train_32x32.mat",
        {key: value for key, value in content.items() if value is not None},
    )
    return content


def write_gtsrb(root: Path):
    random = np.random.default_rng(2)
    for label in range(43):
        folder = root / "gtsrb" / "GTSRB" / "Training" / f"{label:05d}"
        folder.mkdir(parents=True)
        names = [f"{track:05d}_{frame:05d}.ppm" for track in range(2) for frame in range(2)]
        for name in names:
            size = (40, 25, 3) if label == 7 else (32, 32, 3)
            Image.fromarray(random.integers(0, 256, size, np.uint8)).save(folder / name)
        lines = [
            "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId",
            *(f"{n};32;32;0;0;31;31;{label}" for n in names),
        ]
        (folder / f"GT-{label:05d}.csv").write_text("\n".join(lines) + "\n")
    folder = root / "gtsrb" / "GTSRB" / "Final_Test" / "Images"
    folder.mkdir(parents=True)
    for k in range(3):
        Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)).save(
            folder / f"{k:05d}.ppm"
        )
    (root / "gtsrb" / "GT-final_test.csv").write_text(
        "Filename;ClassId\n00000.ppm;3\n00001.ppm;0\n00002.ppm;42\n"
    )


def test_cifar10_planes_become_pixels(tmp_path):
    records = write_cifar10(tmp_path)
    train, test = load("cifar10", "train", tmp_path), load("cifar10", "test", tmp_path)
    assert train.images.shape == (5 * RECORDS, 32, 32, 3)
    assert train.labels.tolist() == records[:5, :, 0].reshape(-1).tolist()
    image = records[5, 3, 1:].reshape(3, 32, 32)
    assert (test.images[3, :, :, 1] == image[1]).all()


def test_svhn_calls_the_digit_zero_ten(tmp_path):
    content = write_svhn(tmp_path)
    split = load("svhn", "train", tmp_path)
    assert (split.images[4] == content["X"][..., 4]).all()
    assert split.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2]


def test_gtsrb_groups_are_signs_and_sizes_are_brought_to_32(tmp_path):
    write_gtsrb(tmp_path)
    train, test = load("gtsrb", "train", tmp_path), load("gtsrb", "test", tmp_path)
    assert train.images.shape == (43 * 4, 32, 32, 3)
    assert np.unique(train.groups).size == 43 * 2
    assert all(
        len(np.unique(train.labels[train.groups == g])) == 1 for g in np.unique(train.groups)
    )
    assert test.labels.tolist() == [3, 0, 42]
    assert test.groups is None


def cifar(root):
    write_cifar10(root)
    return root / "cifar-10-batches-bin" / "data_batch_2.bin"


def gtsrb_csv(root):
    write_gtsrb(root)
    return root / "gtsrb" / "GTSRB" / "Training" / "00007" / "GT-00007.csv"


def gtsrb_image(root):
    return gtsrb_csv(root).parent / "00001_00000.ppm"


def svhn(root):
    write_svhn(root)
    return root / "train_32x32.mat"


def mislabelled(root):
    path = cifar(root)
    content = bytearray(path.read_bytes())
    content[2 * readers.CIFAR_RECORD] = 11
    path.write_bytes(content)


def huge_image(root):
    Image.new("RGB", (3000, 1000)).save(gtsrb_image(root))


class Gadget:
    """A pickle that would leave a file behind if anyone loaded it."""

    def __reduce__(self):
        return (os.mkdir, ("loaded-a-pickle",))


BAD = {
    "missing": ("cifar10", lambda root: cifar(root).unlink(), "data_batch_2.bin is not under"),
    "missing says how to get it": (
        "gtsrb",
        lambda root: None,
        "`blocksearch data fetch gtsrb` downloads it",
    ),
    "truncated": (
        "cifar10",
        lambda root: os.truncate(cifar(root), 5000),
        "must have 61,460 bytes (20 records of 3,073), but has 5,000",
    ),
    "html": ("cifar10", lambda root: cifar(root).write_text("<html>404</html>"), "but has 16"),
    "pickle": (
        "cifar10",
        lambda root: cifar(root).write_bytes(pickle.dumps(Gadget())),
        "must have 61,460 bytes",
    ),
    "mislabelled": ("cifar10", mislabelled, "labels must be 0 to 9, but record 2 has 11"),
    "svhn html": (
        "svhn",
        lambda root: svhn(root).write_text("<html>404</html>"),
        "is not a MATLAB file that can be read",
    ),
    "svhn truncated": (
        "svhn",
        lambda root: os.truncate(svhn(root), 9000),
        "is not a MATLAB file that can be read",
    ),
    "svhn variables": (
        "svhn",
        lambda root: write_svhn(root, y=None),
        "must hold the variables X and y, but lacks y",
    ),
    "svhn shape": (
        "svhn",
        lambda root: write_svhn(root, X=np.zeros((3, 32, 32, 5), np.uint8)),
        "X must be 32×32×3×N uint8, but is 3×32×32×5",
    ),
    "svhn type": (
        "svhn",
        lambda root: write_svhn(root, X=np.zeros((32, 32, 3, 12))),
        "X must be 32×32×3×N uint8",
    ),
    "svhn count": (
        "svhn",
        lambda root: write_svhn(root, y=np.ones((3, 1))),
        "one label for each of 12 images, but has 3",
    ),
    "svhn label": (
        "svhn",
        lambda root: write_svhn(root, y=np.arange(12)[:, None]),
        "labels must be 1 to 10 (10 is the digit 0), but image 0 has 0",
    ),
    "gtsrb lists nothing": (
        "gtsrb",
        lambda root: gtsrb_csv(root).write_text("Filename;ClassId\n"),
        "lists no images",
    ),
    "gtsrb columns": (
        "gtsrb",
        lambda root: gtsrb_csv(root).write_text("a,b\n1,2\n"),
        "semicolon-separated table with Filename and ClassId",
    ),
    "gtsrb class": (
        "gtsrb",
        lambda root: gtsrb_csv(root).write_text("Filename;ClassId\n00000_00000.ppm;43\n"),
        "classes must be 0 to 42",
    ),
    "gtsrb folder": (
        "gtsrb",
        lambda root: gtsrb_csv(root).write_text("Filename;ClassId\n00000_00000.ppm;8\n"),
        "images of class 00007 must say so",
    ),
    "gtsrb path": (
        "gtsrb",
        lambda root: gtsrb_csv(root).write_text("Filename;ClassId\n../x.ppm;7\n"),
        "a file name must lie in its folder",
    ),
    "gtsrb no image": (
        "gtsrb",
        lambda root: gtsrb_image(root).unlink(),
        "lists 00001_00000.ppm, but",
    ),
    "gtsrb not an image": (
        "gtsrb",
        lambda root: gtsrb_image(root).write_text("hello"),
        "is not an image that can be read",
    ),
    "gtsrb cut image": (
        "gtsrb",
        lambda root: os.truncate(gtsrb_image(root), 200),
        "is not an image that can be read",
    ),
    "gtsrb bomb": ("gtsrb", huge_image, "at most 2,000,000 pixels, but this has 3000×1000"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_in_one_line_and_leave_no_cache(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    name, make, says = BAD[case]
    make(tmp_path)
    with pytest.raises(DataError) as caught:
        load(name, "train", tmp_path)
    assert says in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / ".blocksearch").exists()
    assert not (tmp_path / "loaded-a-pickle").exists()


def cache(root: Path) -> Path:
    return root / ".blocksearch" / "cifar10-train"


@tries(25)
@given(
    place=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
    file=st.sampled_from(["images.npy", "labels.npy", "meta.json"]),
)
def test_a_flipped_bit_in_the_cache_never_reaches_a_run(tmp_path_factory, place, bit, file):
    root = tmp_path_factory.mktemp("bits")
    write_cifar10(root)
    expected = digest(load("cifar10", "train", root))
    path = cache(root) / file
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    assert digest(load("cifar10", "train", root)) == expected


def test_changed_sources_are_decoded_again(tmp_path):
    write_cifar10(tmp_path / "a")
    before = digest(load("cifar10", "train", tmp_path / "a"))
    path = tmp_path / "a" / "cifar-10-batches-bin" / "data_batch_1.bin"
    path.write_bytes(bytes([3]) + path.read_bytes()[1:])
    os.utime(path, ns=(1, 1))
    with pytest.warns(UserWarning, match="train images or labels differ from those decoded before"):
        assert digest(load("cifar10", "train", tmp_path / "a")) != before


def test_the_cache_serves_where_the_sources_are_gone(tmp_path):
    write_cifar10(tmp_path)
    before = digest(load("cifar10", "train", tmp_path))
    for path in (tmp_path / "cifar-10-batches-bin").iterdir():
        path.unlink()
    assert digest(load("cifar10", "train", tmp_path)) == before


def test_a_cache_that_unpickles_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_cifar10(tmp_path)
    load("cifar10", "train", tmp_path)
    np.save(cache(tmp_path) / "labels.npy", np.array([Gadget()], object), allow_pickle=True)
    load("cifar10", "train", tmp_path)
    assert not (tmp_path / "loaded-a-pickle").exists()


def test_a_writer_killed_at_any_moment_leaves_nothing_that_is_trusted(tmp_path):
    write_cifar10(tmp_path)
    expected = digest(load("cifar10", "train", tmp_path))
    script = (
        "from pathlib import Path; from blocksearch.data import cache as store, cache_files as "
        "files, readers\n"
        f"readers.CIFAR_RECORDS = {RECORDS}; root = Path({str(tmp_path)!r})\n"
        "split = store.decode(store.get('cifar10'), 'train', root)\n"
        "stamp = store._stamp('cifar10', 'train', root)[0]\n"
        "print('ready', flush=True)\n"
        "while True: files.write_arrays(root / '.blocksearch' / 'cifar10-train', split, stamp)\n"
    )
    for delay in (0.003, 0.011, 0.023, 0.05):
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as writer:
            writer.stdout.readline()
            time.sleep(delay)  # the moment of death is what varies
            writer.send_signal(signal.SIGKILL)
        assert digest(load("cifar10", "train", tmp_path)) == expected


def test_the_root_is_the_argument_then_the_environment_then_the_users_cache(tmp_path, monkeypatch):
    assert data_root() == tmp_path / "cache" / "blocksearch"
    monkeypatch.setenv("BLOCKSEARCH_DATA", "~/somewhere")
    assert data_root() == Path.home() / "somewhere"
    assert data_root(tmp_path) == tmp_path


def test_an_unknown_data_set_is_named_with_the_known_ones():
    with pytest.raises(
        ConfigError,
        match=r"unknown data set 'cifar' \(did you mean 'cifar10'\?\); known: .*cifar10, svhn",
    ):
        get("cifar")


@st.composite
def labelled(draw):
    classes = draw(st.integers(1, 5))
    counts = draw(st.lists(st.integers(2, 30), min_size=classes, max_size=classes))
    labels = np.repeat(np.arange(classes), counts)
    if not draw(st.booleans()):
        return labels, None
    frames = draw(st.integers(1, 4))
    groups = np.concatenate(
        [np.arange(count) // frames + 100 * label for label, count in enumerate(counts)]
    )
    return labels, groups.astype(np.int32)


@settings(deadline=None)
@given(labelled(), st.integers(0, 3))
def test_the_split_is_a_stratified_partition_by_groups(data, number):
    labels, groups = data
    train, validation = validation_split(labels, groups, number)
    assert sorted([*train, *validation]) == list(range(len(labels)))
    again = validation_split(labels, groups, number)
    assert [a.tolist() for a in again] == [train.tolist(), validation.tolist()]
    assert set(labels[validation]) == set(labels)
    if groups is not None:
        assert not set(groups[train]) & set(groups[validation])
    several = [
        c for c in np.unique(labels) if groups is None or len(np.unique(groups[labels == c])) > 1
    ]
    assert set(several) <= set(labels[train])


@settings(deadline=None)
@given(st.integers(1, 400))
def test_every_prefix_has_the_shares_of_the_classes(length):
    labels = np.repeat([0, 1, 2], [100, 200, 300])
    train, _ = validation_split(labels)
    prefix = np.bincount(labels[train[:length]], minlength=3)
    assert np.abs(prefix - length * np.array([1, 2, 3]) / 6).max() <= 2


def test_the_split_is_pinned():
    """A run's identity holds the split's version: its rule must not drift."""
    labels = np.arange(1000) % 7
    groups = (labels * 100 + np.arange(1000) // 35).astype(np.int32)
    both = np.concatenate(validation_split(labels, groups))
    assert hashlib.sha256(both.astype("<i8").tobytes()).hexdigest()[:16] == "49f912162a18af3f"
    other = np.concatenate(validation_split(labels, groups, 1))
    assert (both != other).any()


def tar_with(member: tarfile.TarInfo, content=b"x"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member.size = len(content) if member.isfile() else 0
        tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def tar_member(name, kind=tarfile.REGTYPE, link=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def zip_with(name, link=False):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = (0o120777 if link else 0o100644) << 16
        archive.writestr(entry, "/etc/passwd")
    return buffer.getvalue()


ATTACKS = {
    "parent": tar_with(tar_member("../evil")),
    "absolute": tar_with(tar_member("/tmp/evil")),
    "symlink": tar_with(tar_member("a", tarfile.SYMTYPE, "/etc/passwd")),
    "hardlink": tar_with(tar_member("a", tarfile.LNKTYPE, "/etc/passwd")),
    "device": tar_with(tar_member("a", tarfile.CHRTYPE)),
    "zip parent": zip_with("../evil"),
    "zip backslash": zip_with("..\\evil"),
    "zip symlink": zip_with("a", link=True),
    "neither": b"<html>not found</html>",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_archives_that_reach_outside_are_refused(tmp_path, attack):
    (tmp_path / "archive").write_bytes(ATTACKS[attack])
    target = tmp_path / "inner" / "target"
    target.mkdir(parents=True)
    with pytest.raises(
        DataError, match=r"must stay inside|plain files or folders|neither a tar nor a zip"
    ):
        fetch.extract(tmp_path / "archive", target)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["archive"]


def test_archives_that_grow_too_large_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "MOST_BYTES", 1000)
    (tmp_path / "archive").write_bytes(tar_with(tar_member("bomb"), bytes(5000)))
    with pytest.raises(DataError, match="at most 1,000 bytes"):
        fetch.extract(tmp_path / "archive", tmp_path)


@pytest.fixture
def served(tmp_path):
    """A folder served on this machine's loopback address."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def publish(folder: Path, url: str, monkeypatch, spoil=False):
    """Serve CIFAR-10 in its published layout and point the catalogue at it."""
    write_cifar10(folder)
    with tarfile.open(folder / "cifar.tar.gz", "w:gz") as tar:
        tar.add(folder / "cifar-10-batches-bin", "cifar-10-batches-bin")
    content = (folder / "cifar.tar.gz").read_bytes()
    archive = Archive(url=f"{url}/cifar.tar.gz", md5=hashlib.md5(content).hexdigest())
    if spoil:
        (folder / "cifar.tar.gz").write_bytes(content[:-7])
    data = catalog.DATASETS["cifar10"]
    monkeypatch.setitem(catalog.DATASETS, "cifar10", replace(data, archives=(archive,)))


def here(root):
    return [row["name"] for row in fetch.listing(root) if row["here"]]


def test_a_fetched_data_set_can_be_read(tmp_path, served, monkeypatch):
    publish(*served, monkeypatch)
    root = tmp_path / "data"
    assert "cifar10" not in here(root)
    assert fetch.fetch("cifar10", root) == f"cifar10 is now under {root}"
    assert load("cifar10", "test", root).images.shape == (RECORDS, 32, 32, 3)
    assert not list(root.glob("*.gz"))
    assert fetch.fetch("cifar10", root) == f"cifar10 is already under {root}"
    assert [row["problem"] for row in fetch.check("cifar10", root)] == ["", ""]
    assert "cifar10" in here(root)


def test_a_wrong_checksum_is_refused_before_anything_is_extracted(tmp_path, served, monkeypatch):
    publish(*served, monkeypatch, spoil=True)
    with pytest.raises(DataError) as caught:
        fetch.fetch("cifar10", tmp_path / "data")
    assert "could not be fetched" in str(caught.value)
    assert "hash" in str(caught.value)
    assert "may be put by hand at" in str(caught.value)
    assert not (tmp_path / "data" / "cifar-10-batches-bin").exists()


def test_no_network_is_one_line(tmp_path, monkeypatch):
    archive = Archive(url="http://127.0.0.1:9/x.tar.gz", md5="0" * 32)
    with pytest.raises(DataError, match="could not be fetched") as caught:
        fetch.install(archive, tmp_path)
    assert "\n" not in str(caught.value)


def test_digits_needs_no_download(tmp_path):
    assert fetch.fetch("digits", tmp_path) == "digits: nothing to download"


def test_a_root_that_cannot_be_written_is_served_from_the_users_cache(tmp_path, monkeypatch):
    write_cifar10(tmp_path / "root")
    (tmp_path / "root" / ".blocksearch").write_text("a file where the folder would be")
    first = load("cifar10", "train", tmp_path / "root")
    assert list((tmp_path / "cache" / "blocksearch" / "decoded").glob("*/cifar10-train/meta.json"))
    assert digest(load("cifar10", "train", tmp_path / "root")) == digest(first)
    assert files.FORMAT == 1
