"""Kept trainings: written whole, read without unpickling, and never taken up by another training."""

import numpy as np
import pytest

from blocksearch.training.checkpoint import load, save


def test_arrays_come_back(tmp_path):
    arrays = {"a/b": np.arange(6.0).reshape(2, 3), "text": np.array(["x", ""]), "flag": np.array(True)}
    save(tmp_path / "folder" / "kept.npz", arrays)
    found = load(tmp_path / "folder" / "kept.npz")
    assert found.keys() == arrays.keys()
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["kept.npz"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive"])
def test_a_file_that_is_damaged_is_none(tmp_path, content):
    (tmp_path / "kept.npz").write_bytes(content)
    assert load(tmp_path / "kept.npz") is None
    assert load(tmp_path / "missing.npz") is None


def test_a_file_cut_short_is_none(tmp_path):
    save(tmp_path / "kept.npz", {"a": np.arange(1000)})
    whole = (tmp_path / "kept.npz").read_bytes()
    for size in range(0, len(whole), 97):
        (tmp_path / "kept.npz").write_bytes(whole[:size])
        assert load(tmp_path / "kept.npz") is None


def test_a_flipped_bit_is_noticed_or_changes_nothing(tmp_path):
    arrays = {"a": np.arange(40), "b": np.array(["x"])}
    save(tmp_path / "kept.npz", arrays)
    whole = (tmp_path / "kept.npz").read_bytes()
    for place in range(len(whole)):
        for bit in (0, 3, 7):
            changed = bytearray(whole)
            changed[place] ^= 1 << bit
            (tmp_path / "kept.npz").write_bytes(changed)
            found = load(tmp_path / "kept.npz")
            assert found is None or all(np.array_equal(found[name], arrays[name]) for name in arrays), (place, bit)


def test_pickled_objects_are_not_read(tmp_path):
    np.savez(tmp_path / "kept.npz", a=np.array([{"harm": 1}], dtype=object))
    assert load(tmp_path / "kept.npz") is None
