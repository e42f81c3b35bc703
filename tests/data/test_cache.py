"""The cache under crashes, changes and company: what is trusted is whole and of these sources."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from blocksearch.data import Arrays, data_root, digest, get, load
from blocksearch.data import cache_files as files
from blocksearch.data import download as fetch
from blocksearch.data.cache import decode
from blocksearch.errors import ConfigError, DataError
from tests.data.test_data import (
    RECORDS,
    cache,
    small_and_alone,  # noqa: F401 (a fixture for every test here)
    write_cifar10,
    write_gtsrb,
)


def test_a_changed_image_behind_the_same_table_is_decoded_again(tmp_path):
    write_gtsrb(tmp_path)
    training = tmp_path / "gtsrb" / "GTSRB" / "Training"
    before = load("gtsrb", "train", tmp_path)
    (training / "00007" / "00001_00000.ppm").write_bytes(
        (training / "00008" / "00001_00000.ppm").read_bytes()
    )
    with pytest.warns(UserWarning, match="gtsrb: train images or labels differ from those decoded"):
        after = load("gtsrb", "train", tmp_path)
    changed = (np.asarray(before.images) != after.images).any(axis=(1, 2, 3))
    assert changed.sum() == 1
    assert after.labels[changed].tolist() == [7]


def test_the_cache_serves_where_only_the_tables_are_left(tmp_path):
    write_gtsrb(tmp_path)
    before = digest(load("gtsrb", "test", tmp_path))
    shutil.rmtree(tmp_path / "gtsrb" / "GTSRB" / "Final_Test")
    assert digest(load("gtsrb", "test", tmp_path)) == before


def test_arrays_are_read_only_whether_decoded_or_cached(tmp_path):
    write_cifar10(tmp_path)
    for _ in range(2):
        split = load("cifar10", "train", tmp_path)
        with pytest.raises(ValueError, match="read-only"):
            split.images[0, 0, 0, 0] = 1


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "groups.npy"])
def test_another_pixel_label_or_sign_in_the_cache_is_not_trusted(tmp_path, name):
    write_gtsrb(tmp_path)
    expected = digest(load("gtsrb", "train", tmp_path))
    path = tmp_path / ".blocksearch" / "gtsrb-train" / name
    content, random = bytearray(path.read_bytes()), np.random.default_rng(8)
    for place in random.integers(
        128, len(content), 5
    ):  # behind numpy's header: only a digest can tell
        changed = content.copy()
        changed[place] ^= 1
        path.write_bytes(changed)
        assert files.open_arrays(path.parent, None) is None
        assert digest(load("gtsrb", "train", tmp_path)) == expected


def test_a_cut_cache_is_decoded_again_wherever_it_was_cut(tmp_path):
    write_cifar10(tmp_path)
    expected = digest(load("cifar10", "train", tmp_path))
    for name in ("images.npy", "labels.npy", "meta.json"):
        path = cache(tmp_path) / name
        for size in {0, 1, 127, 128, 512, path.stat().st_size - 1}:
            os.truncate(path, min(size, path.stat().st_size - 1))
            assert digest(load("cifar10", "train", tmp_path)) == expected
            assert files.open_arrays(cache(tmp_path), None) is not None


def killed_at(step, write):
    """Write in a process of its own that dies before its nth change of a file; say how it ended."""
    child = os.fork()
    if child == 0:
        seen = iter(range(1, step))

        def die(event, arguments):
            if event in CHANGES and ".blocksearch" in str(arguments) and next(seen, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(die)
        try:
            write()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


CHANGES = ("open", "os.mkdir", "os.rename", "os.rmdir", "os.remove", "shutil.rmtree")


@pytest.mark.parametrize("old", [False, True], ids=["first", "over an old one"])
def test_a_writer_killed_before_each_of_its_steps_leaves_the_whole_or_nothing(tmp_path, old):
    write_cifar10(tmp_path)
    decoded = decode(get("cifar10"), "train", tmp_path)
    stamp, expected, outcomes = get("cifar10").stamp("train", tmp_path), digest(decoded), []
    for step in range(1, 40):
        shutil.rmtree(tmp_path / ".blocksearch", ignore_errors=True)
        if old:
            load("cifar10", "train", tmp_path)
        ended = killed_at(step, lambda: files.write_arrays(cache(tmp_path), decoded, stamp))
        if cache(tmp_path).exists():
            assert digest(files.open_arrays(cache(tmp_path), None)[0]) == expected
        outcomes.append(cache(tmp_path).exists())
        assert digest(load("cifar10", "train", tmp_path)) == expected
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
    assert ended == 0
    assert step > 8  # it did die at many steps
    assert outcomes[-1]
    assert not all(outcomes)


def test_what_killed_writers_left_is_swept_and_what_a_live_one_writes_is_not(tmp_path):
    write_cifar10(tmp_path)
    dead, live, foreign = (
        tmp_path / ".blocksearch" / name
        for name in ("cifar10-train-a", "cifar10-train-b", "cifar10-test-c")
    )
    for folder in (dead, live, foreign):
        folder.mkdir(parents=True)
    for folder in (dead, foreign):
        os.utime(folder, (time.time() - 2 * files.LEFT_SECONDS,) * 2)
    load("cifar10", "train", tmp_path)
    assert sorted(path.name for path in (tmp_path / ".blocksearch").iterdir()) == [
        "cifar10-test-c",
        "cifar10-train",
        "cifar10-train-b",
    ]


WRITER = """
from pathlib import Path
from blocksearch.data import cache as store
from blocksearch.data import cache_files as files
from blocksearch.data.sets import readers
readers.CIFAR_RECORDS, root = {records}, Path({root!r})
split = store.decode(store.get("cifar10"), "train", root)
stamp = store._stamp("cifar10", "train", root)[0]
for _ in range(40):
    files.write_arrays(root / ".blocksearch" / "cifar10-train", split, stamp)
"""


def test_two_writers_at_once_both_succeed_and_readers_always_see_the_whole(tmp_path):
    write_cifar10(tmp_path)
    expected = digest(load("cifar10", "train", tmp_path))
    script = WRITER.format(records=RECORDS, root=str(tmp_path))
    writers = [
        subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    while any(writer.poll() is None for writer in writers):
        assert digest(load("cifar10", "train", tmp_path)) == expected
    assert [writer.communicate()[1] for writer in writers] == ["", ""]
    assert [path.name for path in (tmp_path / ".blocksearch").iterdir()] == ["cifar10-train"]


def test_check_reads_the_files_and_not_the_cache(tmp_path):
    write_cifar10(tmp_path)
    load("cifar10", "test", tmp_path)
    path = tmp_path / "cifar-10-batches-bin" / "test_batch.bin"
    times, content = path.stat(), bytearray(path.read_bytes())
    content[0] = 10
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a failing disk would have it
    train, test = fetch.check("cifar10", tmp_path)
    assert "labels must be 0 to 9, but record 0 has 10" in test["problem"]
    assert (train["images"], train["problem"]) == (5 * RECORDS, "")


def test_a_check_says_that_pixels_are_others_than_were_decoded(tmp_path):
    """CIFAR-10's files hold no checksum, but what was decoded from them has a digest."""
    write_cifar10(tmp_path)
    load("cifar10", "test", tmp_path)
    assert [each["problem"] for each in fetch.check("cifar10", tmp_path)] == ["", ""]
    path = tmp_path / "cifar-10-batches-bin" / "test_batch.bin"
    times, content = path.stat(), bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    said = [each["problem"] for each in fetch.check("cifar10", tmp_path)]
    assert said == ["", "cifar10: test images or labels differ from those decoded before"]


def test_an_unknown_home_is_a_usage_error(monkeypatch):
    monkeypatch.setenv("BLOCKSEARCH_DATA", "~no-such-user-here/data")
    with pytest.raises(
        ConfigError,
        match="the data root '~no-such-user-here/data' names a home folder that is not known",
    ):
        data_root()


def test_neither_files_nor_cache_says_what_is_missing_and_how_to_get_it(tmp_path):
    with pytest.raises(DataError) as caught:
        load("svhn", "test", tmp_path)
    assert str(caught.value) == (
        f"test_32x32.mat is not under {tmp_path}; `blocksearch data fetch svhn` downloads it, "
        "and BLOCKSEARCH_DATA names another folder"
    )


def test_a_digest_tells_shapes_and_groups_apart():
    images, labels = np.zeros((4, 32, 32, 3), np.uint8), np.zeros(4, np.int64)
    plain = Arrays(images, labels)
    grouped = Arrays(images, labels, groups=np.zeros(4, np.int32))
    reshaped = Arrays(images.reshape(4, 64, 16, 3), labels)
    assert len({digest(plain), digest(grouped), digest(reshaped)}) == 3
    assert digest(plain) == digest(Arrays(images.copy(order="F"), labels))
