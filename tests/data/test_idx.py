"""IDX files, as their form says; and Fashion-MNIST from end to end, where it is installed."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import blocksearch as bs
from blocksearch.data import get, load, summary
from blocksearch.data.sets import idx
from blocksearch.data.sets.idx import read_idx
from blocksearch.data.splits import Split
from blocksearch.errors import DataError

KINDS = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}


def written(path, array, kind=8):
    head = bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    content = head + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@given(
    st.sampled_from(sorted(KINDS)),
    st.lists(st.integers(0, 5), min_size=1, max_size=4),
    st.booleans(),
)
def test_arrays_of_every_kind_and_shape_come_back(tmp_path_factory, kind, shape, packed):
    array = np.arange(np.prod(shape)).astype(kind).reshape(shape)
    path = tmp_path_factory.mktemp("idx") / ("x.gz" if packed else "x")
    found = read_idx(written(path, array, KINDS[kind]))
    assert found.dtype.isnative
    assert np.array_equal(found, array)


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_cut_anywhere_is_one_line(tmp_path, packed):
    path = written(tmp_path / ("x.gz" if packed else "x"), np.arange(20, dtype=np.uint8))
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=str(path)):
            read_idx(path)


def test_a_bomb_is_refused_before_it_unfolds(tmp_path):
    head = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**20, 2**10, 2**10)
    (tmp_path / "x").write_bytes(head)
    with pytest.raises(
        DataError, match="at most 2,147,483,648 bytes, but this is 1048576×1024×1024"
    ):
        read_idx(tmp_path / "x")


def small(root, count=200):
    folder = root / "fashion-mnist"
    folder.mkdir(parents=True)
    random = np.random.default_rng(2)
    for prefix, own in (("train", count), ("t10k", 50)):
        images = random.integers(0, 256, (own, 28, 28), np.uint8)
        written(folder / f"{prefix}-images-idx3-ubyte.gz", images)
        written(folder / f"{prefix}-labels-idx1-ubyte", (np.arange(own) % 10).astype(np.uint8))
    return images


def test_fashion_mnist_is_read_from_the_data_root(tmp_path, monkeypatch):
    monkeypatch.setattr(idx, "SYSTEM", tmp_path / "none")
    images = small(tmp_path)
    assert np.array_equal(load("fashion-mnist", "test", tmp_path).images[..., 0], images)
    assert summary(Split("fashion-mnist"), tmp_path).classes[9] == "Ankle boot"
    assert "200 training images where 60,000" in summary(Split("fashion-mnist"), tmp_path).origin
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte is not under .*none"):
        load("fashion-mnist", "train", tmp_path / "none")


INSTALLED = (idx.SYSTEM / "fashion-mnist").is_dir()


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="Debian's package dataset-fashion-mnist is not installed")
def test_fashion_mnist_from_end_to_end(tmp_path):
    found = bs.describe("fashion-mnist", data_root=tmp_path)
    assert [each["training"] + each["validation"] for each in found.records()] == [6000] * 10
    space = bs.Grammar(get("fashion-mnist").task, residual=["none", "add"], kernel=["3x3", "5x5"])
    fields = {"max_images": 500, "epochs": 1, "seeds": 1, "data_root": tmp_path}
    study = bs.Study(space, tmp_path / "a.db", dataset="fashion-mnist", references="none", **fields)
    assert 1 <= len(study.search(trials=2).found.front) <= 2
    tested = bs.test(tmp_path / "a.db", data_root=tmp_path, metric="recall:Ankle boot")
    assert "10,000 test images" in tested.report.title
    assert tested.data()["metric"] == "recall:Ankle boot"
