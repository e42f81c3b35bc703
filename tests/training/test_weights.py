"""Kept trainings: written whole, read without unpickling, and never taken up by another
training.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from torch import nn

from blocksearch.arch.zoo import TASKS, named_network
from blocksearch.data.splits import Split, prepare
from blocksearch.training.build import build
from blocksearch.training.recipe import Recipe
from blocksearch.training.trainer import Training
from blocksearch.training.weights import Keeper, forget, load, save, save_weights
from tests.strategies import networks, tries


@pytest.fixture(scope="module")
def make(root):
    data = prepare(Split("digits", images=64), root)
    network = named_network("effnet", TASKS["digits"])
    return lambda: Training(network.layers, data, Recipe(epochs=2, batch=32), (0,))


@pytest.mark.parametrize("lost", ["divergences", "order/0", "predictions"])
def test_a_training_that_lacks_something_is_not_taken_up_in_part(tmp_path, make, lost):
    file, began = tmp_path / "kept.npz", make()
    began.step()
    state = began.state() | {"digest": np.array("d")}
    save(file, state)
    assert Keeper(make, file, "d").resumed
    assert not Keeper(make, file, "another's").resumed
    save(file, {name: array for name, array in state.items() if name != lost})
    keeper = Keeper(make, file, "d")
    assert not keeper.resumed
    assert steps_alike(keeper.training, make())


def steps_alike(one, other):
    """Take a step of each, and say whether they are the same training."""
    for training in (one, other):
        training.step()
    pairs = zip(one.module.parameters(), other.module.parameters(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("made", [str, "datetime64[s]", complex, bool, "V3", "f2"])
@pytest.mark.parametrize(
    "name", ["at", "divergences", "order/0", "losses", "module/0.weight", "seconds"]
)
def test_a_training_of_other_kinds_of_numbers_is_taken_up_or_not(tmp_path, make, name, made):
    began = make()
    began.step()
    state = began.state() | {"digest": np.array("d")}
    name = name if name in state else next(each for each in state if each.startswith("module/"))
    own = state[name]
    odd = np.zeros(own.shape, made) if made == "V3" else (own != 0).astype(made)
    save(tmp_path / "kept.npz", state | {name: odd})
    keeper = Keeper(make, tmp_path / "kept.npz", "d")
    if keeper.resumed:
        keeper.training.step()
    else:  # nothing of it was taken
        assert steps_alike(keeper.training, make())


def test_weights_are_the_same_bytes_whenever_they_are_written(tmp_path):
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=(3, 5)).astype(np.float32) for name in "abc"}
    description = {name: f'"{name}" é \n' for name in ("text", "seed", "data", "recipe", "network")}
    written = set()
    for number in range(8):
        file = tmp_path / f"{number}.safetensors"
        save_weights(file, weights, description)
        written.add(file.read_bytes())
    assert len(written) == 1
    with safe_open(file, "np") as opened:
        assert opened.metadata() == description
        assert all(np.array_equal(opened.get_tensor(name), weights[name]) for name in weights)


def test_a_training_goes_on_where_it_cannot_be_kept(tmp_path, make, monkeypatch):
    monkeypatch.setattr("blocksearch.training.weights.SECONDS", 0.0)
    (tmp_path / "folder").write_text("milk")
    keeper = Keeper(make, tmp_path / "folder" / "kept.npz", "d")
    keeper.keep_now_and_then()
    assert keeper.trouble in ("Not a directory", "File exists")
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        keeper.keep()
    keeper.file = tmp_path / "kept.npz"
    keeper.keep_now_and_then()
    assert (keeper.trouble, keeper.file.exists()) == ("", True)


def test_what_was_kept_is_forgotten_with_what_a_killed_process_left(tmp_path):
    folder = tmp_path / "kept"
    for name in ("a.npz", "b.npz"):
        save(folder / name, {"a": np.arange(3)})
    (folder / "a.npz.4711.new").write_bytes(b"half")
    forget(folder / "a.npz")
    assert [path.name for path in folder.iterdir()] == ["b.npz"]
    forget(folder / "b.npz")
    forget(folder / "b.npz")
    assert not folder.exists()


def test_arrays_come_back(tmp_path):
    arrays = {
        "a/b": np.arange(6.0).reshape(2, 3),
        "text": np.array(["x", ""]),
        "flag": np.array(True),
    }
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
            assert found is None or all(
                np.array_equal(found[name], arrays[name]) for name in arrays
            ), (place, bit)


def test_pickled_objects_are_not_read(tmp_path):
    np.savez(tmp_path / "kept.npz", a=np.array([{"harm": 1}], dtype=object))
    assert load(tmp_path / "kept.npz") is None


@tries(25)
@given(networks(), st.integers(0, 99), st.booleans())
def test_a_module_has_stages_by_name_and_takes_what_a_training_keeps(network, seed, around):
    flat, staged = build(network.layers, seed), network.module(seed=seed)
    names = [name for name, _ in staged.named_children()]
    stages = [f"stage{number + 1}" for number in range(len(network.widths))]
    assert names == ["stem"] * (" stem=conv(" in str(network)) + [*stages, "head"]
    x = torch.randn(2, *(network.task.input.channels, *network.task.input.map))
    assert torch.equal(staged.eval()(x), flat.eval()(x))
    other = network.module(seed=seed + 1).eval()
    for weights in (flat.state_dict(), staged.state_dict()):
        whole = nn.ModuleDict({"net": other}) if around else other
        prefix = "net." if around else ""
        whole.load_state_dict({prefix + name: value for name, value in weights.items()})
        assert torch.equal(other(x), flat(x))
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict({})
    with pytest.raises(RuntimeError, match="Unexpected key"):
        other.load_state_dict(flat.state_dict() | {"999.weight": x})


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
@pytest.mark.parametrize(("own", "recipes"), [(0.0, 0.5), (0.5, 0.0), (0.2, 0.5), (0.5, None)])
def test_a_recipes_dropout_changes_no_name(root, own, recipes, seeds):
    task = replace(TASKS["digits"], dropout=own)
    network = named_network("effnet", task)
    recipe = Recipe(epochs=1, batch=32, dropout=recipes)
    training = Training(network.layers, prepare(Split("digits", images=64), root), recipe, seeds)
    for place, seed in enumerate(seeds):
        kept = {n: torch.from_numpy(each) for n, each in training.weights(place).items()}
        module = network.module(seed=seed + 2)
        module.load_state_dict(kept)
        pairs = zip(module.parameters(), network.module(seed=seed).parameters(), strict=True)
        assert all(torch.equal(*pair) for pair in pairs)
