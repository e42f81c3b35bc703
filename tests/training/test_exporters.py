"""Files of trained networks: other programs read them and compute what the network does; weights of
another network, and places and formats that are none, are refused in one line.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_model
from torch import nn

import blocksearch as bs
from blocksearch.training.exporters import EXPORTERS, export, register_exporter
from tests.commands import command

ROOT = Path(__file__).parents[2]
SMALL = {"task": "digits", "widths": (4, 8, 8)}


def around(block):
    body = block.module((3, 32, 32), width=4)
    return nn.Sequential(body, nn.Dropout(0.5), nn.Flatten(), nn.Linear(body.output.elements, 10))


NETWORKS = {
    "effnet": lambda: bs.network("effnet residual=concatenate", **SMALL),
    "shuffled": lambda: bs.network("shufflenet", task="digits", widths=(8, 16, 16)),
    "stem": lambda: bs.network("stem=conv(kernel=3,stride=2,width=5) kernel=5x5", **SMALL),
    "averaged": lambda: bs.network("mob_imp head=global_pool", task="cifar10:3x17x20/3"),
    "around": lambda: bs.network("effnet", task="digits", skeleton=around),
}


def trained(net: bs.Network) -> nn.Module:
    """Return a module whose weights and running statistics no seed draws."""
    module, stream = net.module(seed=1), torch.Generator().manual_seed(7)
    for value in (*module.parameters(), *module.buffers()):
        if value.is_floating_point():
            drawn = torch.rand(value.shape, generator=stream)
            value.data.mul_(drawn + 0.5).add_(drawn / 10)
    return module.eval()


def images(net: bs.Network, count: int) -> torch.Tensor:
    shape = net.task.input
    stream = torch.Generator().manual_seed(count)
    return torch.randn(count, shape.channels, *shape.map, generator=stream)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Write every network in both formats, with images and what its module makes of them."""
    folder = tmp_path_factory.mktemp("exported")
    for name, make in NETWORKS.items():
        net = make()
        module = trained(net)
        for suffix in (".pt2", ".safetensors"):
            bs.export(net, folder / f"{name}{suffix}", weights=module.state_dict())
        given = [images(net, count) for count in (1, 5)]
        with torch.no_grad():
            torch.save([(x, module(x)) for x in given], folder / f"{name}.pairs")
    return folder


READ = """
import sys
from pathlib import Path

sys.modules["blocksearch"] = None  # whoever imports it fails
import torch

for file in sorted(Path().glob("*.pt2")):
    module = torch.export.load(file).module()
    for x, y in torch.load(file.with_suffix(".pairs")):
        torch.testing.assert_close(module(x), y, rtol=1e-4, atol=1e-5)
    print(file.stem)
"""


@pytest.mark.slow
def test_a_process_without_blocksearch_reads_a_pt2_file_for_any_number_of_images(exported):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READ],
        check=False,
        cwd=exported,
        capture_output=True,
        text=True,
    )
    assert (done.stdout.split(), done.stderr) == (sorted(NETWORKS), "")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_of_weights_loads_into_the_networks_module(exported, name):
    net = NETWORKS[name]()
    module, known = net.module(seed=5), trained(net).state_dict()
    load_model(module, exported / f"{name}.safetensors")
    assert all(torch.equal(own, known[key]) for key, own in module.state_dict().items())
    for x, y in torch.load(exported / f"{name}.pairs"):
        with torch.no_grad():
            torch.testing.assert_close(module.eval()(x), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_pt2_file_names_no_place_of_this_machine(exported, name):
    content = (exported / f"{name}.pt2").read_bytes()
    assert str(ROOT).encode() not in content
    assert str(Path(torch.__file__).parent).encode() not in content


def test_kept_weights_are_exported_to_the_same_bytes(tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    net = NETWORKS["effnet"]()
    small = {"max_images": 60, "batch": 30, "device": "cpu", "executor": "serial", "epochs": 1}
    runs = bs.train(net, dataset="digits", data_root=root, keep_weights="weights", **small)
    kept = runs.records()[0]["weights"]
    answer = bs.export(net, "a.safetensors", weights=kept)
    assert Path("a.safetensors").read_bytes() == Path(kept).read_bytes()
    assert answer.found == Path("a.safetensors")
    assert answer.records()[0]["bytes"] == Path(kept).stat().st_size
    other = bs.network("effnet", **SMALL)
    with pytest.raises(bs.BlocksearchError, match=f"{kept} is of another network, input=3x32x32"):
        bs.export(other, "b.safetensors", weights=kept)
    assert not Path("b.safetensors").exists()


def test_what_is_exported_says_what_it_is_of(exported):
    with safe_open(exported / "effnet.safetensors", "pt") as opened:
        said = opened.metadata()
    net = NETWORKS["effnet"]()
    assert said == {"text": str(net), "network": net.digest}
    assert bs.parse(said["text"]).digest == net.digest


WEIGHTS = {
    "another's": (lambda net: NETWORKS["stem"]().module().state_dict(), "does not fit this net"),
    "wider": (
        lambda net: (
            bs.network("effnet residual=concatenate", task="digits", widths=(4, 8, 16))
            .module()
            .state_dict()
        ),
        "does not fit this network: size mismatch for head",
    ),
    "none": (lambda net: {}, "does not fit this network: Missing key"),
    "one more": (lambda net: net.module().state_dict() | {"a": torch.ones(1)}, 'key.*"a"'),
    "texts": (lambda net: dict.fromkeys(net.module().state_dict(), "x"), "does not fit"),
    "numbers for names": (lambda net: {1: torch.ones(1)}, "tensors by name as model.state_dict"),
    "a module": (lambda net: net.module(), "weights are a file of safetensors, or tensors"),
    "nothing": (lambda net: None, "but got None"),
    "no file": (lambda net: "no.safetensors", "no.safetensors cannot be read: No such file"),
    "a folder": (lambda net: Path(), "cannot be read: it is a folder"),
    "a text": (lambda net: __file__, "is no whole file of weights"),
}


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt2"])
def test_weights_of_another_network_are_refused_in_one_line(tmp_path, name, suffix):
    make, says = WEIGHTS[name]
    net, file = NETWORKS["effnet"](), tmp_path / f"a{suffix}"
    file.write_bytes(b"before")
    with pytest.raises(bs.BlocksearchError, match=says):
        bs.export(net, file, weights=make(net))
    assert file.read_bytes() == b"before"


@pytest.mark.parametrize("size", [0, 7, 500, -1])
def test_a_file_of_weights_that_is_cut_short_is_refused(exported, tmp_path, size):
    whole = (exported / "effnet.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:size])
    with pytest.raises(bs.BlocksearchError, match=r"cut.safetensors is no whole file of"):
        bs.export(NETWORKS["effnet"](), tmp_path / "a.pt2", weights=tmp_path / "cut.safetensors")


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (
            "a.pt",
            r"unknown model format '.pt' \(did you mean '.pt2'\?\); known: .safetensors, .pt2",
        ),
        ("a", "unknown model format ''; known: .* the file is a"),
        ("nowhere/a.pt2", "a model is saved in a folder that exists, but got nowhere/a.pt2"),
        ("b.pt2", "b.pt2 cannot be written: it is a folder"),
    ],
)
def test_a_place_that_is_none_is_refused_before_anything_is_read(tmp_path, monkeypatch, file, says):
    monkeypatch.chdir(tmp_path)
    Path("b.pt2").mkdir()
    with pytest.raises(bs.BlocksearchError, match=says):
        bs.export("effnet", file, weights="never-read.safetensors")


@pytest.fixture
def _own_formats():
    before = dict(EXPORTERS)
    yield
    EXPORTERS.clear()
    EXPORTERS.update(before)


@pytest.mark.usefixtures("_own_formats")
def test_a_format_of_ones_own_is_registered_in_one_place(tmp_path):
    def names(given):
        assert not given.module.training
        assert given.module(given.images).shape == (2, 10)
        return "\n".join(given.weights).encode()

    register_exporter(".names", names)
    net = NETWORKS["effnet"]()
    bs.export(net, tmp_path / "a.NAMES", weights=net.module().state_dict())
    assert (tmp_path / "a.NAMES").read_text().startswith("0.branches.0.0.weight\n")
    register_exporter(".none", lambda given: None)
    register_exporter(".broken", lambda given: given.nothing)
    for suffix, says in ((".none", "must return bytes, but returned"), (".broken", "'nothing'")):
        with pytest.raises(bs.BlocksearchError, match=says) as caught:
            bs.export(net, tmp_path / f"a{suffix}", weights=net.module().state_dict())
        assert "\n" not in str(caught.value)
    assert "test_exporters.py:" in str(caught.value)
    with pytest.raises(bs.BlocksearchError, match="a suffix is one dot, then lower case letters"):
        register_exporter("names", names)


class OfTwo(nn.Linear):
    def forward(self, x):
        return super().forward(x.view(2, -1))


def test_a_model_that_takes_one_number_of_images_is_refused(tmp_path):
    net = bs.network("effnet", task="digits", skeleton=lambda block: OfTwo(3 * 32 * 32, 10))
    weights = OfTwo(3 * 32 * 32, 10).state_dict()
    with pytest.raises(bs.BlocksearchError) as caught:
        export(net, weights, tmp_path / "a.pt2")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


MINE = """
from blocksearch.training.exporters import register_exporter

register_exporter(".names", lambda trained: "\\n".join(trained.weights).encode())
"""


def test_the_command_writes_any_format(exported, tmp_path, root):
    (tmp_path / "mine.py").write_text(MINE)
    net = ["effnet residual=concatenate", "--dataset", "digits", "--widths", "4,8,8"]
    weights = ["--weights", str(exported / "effnet.safetensors")]

    def run(file, *more, code=0):
        words = ["export", net[0], file, *net[1:], *more, *weights]
        return command(*words, cwd=tmp_path, code=code, BLOCKSEARCH_DATA=str(root))

    said = json.loads(run("a.safetensors", "--json").stdout)
    assert (tmp_path / "a.safetensors").stat().st_size == said["bytes"]
    assert (tmp_path / "a.safetensors").read_bytes() == (
        exported / "effnet.safetensors"
    ).read_bytes()
    run("a.names", "--plugin", "mine.py")
    assert (tmp_path / "a.names").read_text().startswith("0.branches")
    assert run("b.names", code=2).stderr.startswith("blocksearch: unknown model format '.names'")
    says = "is read by this command: it is not replaced"
    assert says in run(weights[1], code=2).stderr
    assert says in run("mine.py", "--plugin", "mine.py", code=2).stderr
