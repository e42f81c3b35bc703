"""Models of a user's around a block: what they cost, what they are, how they are made again, and
which mistakes are one line.
"""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import blocksearch as bs
from blocksearch.arch.cost import cost
from blocksearch.arch.layers import Shape, decode, encode, fingerprint
from blocksearch.arch.network import Network, Task
from blocksearch.arch.skeleton import Skeleton
from blocksearch.errors import BlocksearchError, ConfigError, PluginError
from blocksearch.training.build import build
from blocksearch.training.recipe import Recipe
from blocksearch.training.trainer import Training
from tests.training.drawn import drawn_data

IMAGE, CLASSES = Shape(3, 8, 8), 4
PLAIN, ADDED = bs.Block(), bs.Block(residual="add")


class Small(nn.Module):
    """A convolution, a block, dropout, and a classifier on a view of the whole map."""

    def __init__(self, block, width=6, rate=0.2):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.block, self.drop = block.module((4, 8, 8), width), nn.Dropout(rate)
        self.head = nn.Linear(width * 16, CLASSES)

    def forward(self, x):
        x = self.block(functional.relu(self.norm(self.stem(x))))
        return self.head(self.drop(x.view(x.shape[0], -1)))


def layer_of(make, block=PLAIN):
    return Skeleton(make).layers(block, IMAGE, CLASSES)[0]


def test_a_price_is_a_count_by_hand():
    layer = layer_of(Small)
    # stem; depthwise 3x3 of 4 channels; pointwise 4 to 6 on the pooled map; classifier
    macs = 4 * 3 * 9 * 64 + 4 * 9 * 64 + 4 * 6 * 16 + 6 * 16 * 4
    params = (4 * 27 + 4) + 8 + (36 + 8) + (24 + 12) + (6 * 16 * 4 + 4)
    assert (layer.cost.macs, layer.cost.flops, layer.cost.params) == (macs, 2 * macs, params)
    assert layer.cost.activations == 4 * 64 + 4 * 64 + 6 * 16 + 4
    assert layer.cost.peak_activations >= 2 * 4 * 64
    assert Skeleton(Small).cost(PLAIN, IMAGE, CLASSES) == layer.cost


OWN = ["kernel=5x5 residual=project", "effnet residual=concatenate", "effnet", "spatial=dense"]


@pytest.mark.parametrize("text", [*OWN, "mobilenet", "shufflenet", "baseline", "mobilenet_v2"])
def test_our_own_network_as_a_skeleton_costs_what_it_costs(text):
    task = Task(input=IMAGE, classes=CLASSES, widths=(4, 8))
    own = bs.network(text, task)

    def make(block):
        return Network(task=task, blocks=(block,), stem=own.stem).module()

    inside = own.inside(Skeleton(make)).cost
    assert (inside.flops, inside.params) == (own.cost.flops, own.cost.params)
    assert inside.peak_activations == own.cost.peak_activations


def other_words(block):
    """The same graph as `Small`, written otherwise."""
    stem, norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
    body = nn.Sequential(nn.Sequential(stem, norm, nn.ReLU()), block.module((4, 8, 8), 6))
    return Viewed(body, nn.Dropout(0.2), nn.Linear(6 * 16, CLASSES))


class Viewed(nn.Module):
    def __init__(self, body, drop, head):
        super().__init__()
        self.body, self.drop, self.head = body, drop, head

    def forward(self, x):
        x = self.body(x)
        return self.head(self.drop(x.view(x.shape[0], -1)))


@pytest.mark.slow
def test_equal_graphs_are_one_network_and_others_are_not():
    first = layer_of(Small)
    assert first.graph == layer_of(other_words).graph
    digests = {
        first.graph,
        layer_of(Small, ADDED).graph,
        layer_of(lambda block: Small(block, width=7)).graph,
        layer_of(lambda block: Small(block, rate=0.3)).graph,
        layer_of(frozen).graph,
        layer_of(lambda block: with_weights(block, 0.1)).graph,
        layer_of(lambda block: with_weights(block, 0.2)).graph,
        layer_of(lambda block: with_weights(block, None)).graph,
    }
    assert len(digests) == 8


def frozen(block):
    model = Small(block)
    model.stem.weight.requires_grad = False
    return model


def with_weights(block, value):
    """A model with weights of its own in the stem, or drawn in another way than torch's usual."""
    model = Small(block)
    if value is None:
        nn.init.normal_(model.stem.weight, std=0.01)
    else:
        nn.init.constant_(model.stem.weight, value)
    return model


DIGESTS = """
import json, sys
sys.path.insert(0, {folder!r})
from tests.training import test_skeleton as here
print(json.dumps([here.layer_of(make).graph for make in (here.Small, here.frozen)]))
"""


@pytest.mark.slow
def test_a_digest_is_the_same_in_every_process(request):
    code = DIGESTS.format(folder=str(request.config.rootpath))
    found = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", code],
                check=True,
                capture_output=True,
                env={"PYTHONHASHSEED": seed, "PATH": "", "PYTHONPATH": request.config.rootpath},
            ).stdout
        )
        for seed in ("1", "77")
    ]
    assert found == [[layer_of(Small).graph, layer_of(frozen).graph]] * 2


def test_what_is_stored_reads_back_without_a_callable():
    layers = (layer_of(Small),)
    read = decode(encode(layers))
    assert fingerprint(read) == fingerprint(layers)
    assert cost(read) == cost(layers)
    assert "Small" not in encode(layers)
    with pytest.raises(ConfigError, match="only be made with the function that makes it"):
        build(read, 0)


def test_weights_are_of_their_seed_and_what_a_callable_brings_is_kept():
    layer = layer_of(lambda block: with_weights(block, 0.1))
    one, again, other = (build((layer,), seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])
    assert (one["stem.weight"] == 0.1).all()
    blocks = [name for name in one if name.startswith("block") and one[name].dim() == 4]
    assert blocks
    assert not any(torch.equal(one[name], other[name]) for name in blocks)
    before = torch.get_rng_state()
    made = Skeleton(lambda block: with_weights(block, 0.1)).module(PLAIN, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(made.state_dict()["head.weight"], one["head.weight"])


def test_a_training_goes_on_to_the_same_bits():
    """Also where another draws between its steps: dropout has a stream of each training's own."""
    data, recipe = drawn_data(120, learnt=80), Recipe(epochs=2, batch=16)
    image = Shape(3, *data.training.pixels.shape[1:3])
    skeleton = Skeleton(lambda block: Wide(block, image))
    layers = skeleton.layers(ADDED, image, 10)
    whole, halves = (Training(layers, data, recipe, [5]) for _ in range(2))
    while not whole.finished:
        whole.step()
    for _ in range(halves.steps_per_epoch + 1):
        halves.step()
    stored = halves.state()
    torch.rand(7)
    resumed = Training(layers, data, recipe, [5])
    resumed.load(stored)
    while not resumed.finished:
        torch.rand(3)
        resumed.step()
    one, other = whole.outcomes()[0], resumed.outcomes()[0]
    assert one.losses == other.losses
    assert np.array_equal(one.predictions, other.predictions)
    weights = whole.weights(0)
    assert weights.keys() == skeleton.module(ADDED).state_dict().keys()
    assert all(np.array_equal(weights[n], own) for n, own in resumed.weights(0).items())


@pytest.mark.slow
def test_our_own_network_as_a_skeleton_learns_what_it_learns():
    """Weights and batches are the same, so losses differ by rounding alone."""
    task = Task(input=Shape(3, 32, 32), classes=10, widths=(4, 8))
    own = bs.network("residual=add", task)

    def make(block):
        return Network(task=task, blocks=(block,)).module(seed=torch.initial_seed())

    data, recipe = drawn_data(120, learnt=80), Recipe(epochs=2, batch=16)
    found = []
    for network in (own, own.inside(Skeleton(make))):
        training = Training(network.layers, data, recipe, [5])
        while not training.finished:
            training.step()
        found.append(training.outcomes()[0])
    assert np.allclose(found[0].losses, found[1].losses, rtol=1e-3)
    assert found[0].losses[1] < found[0].losses[0]


class Wide(nn.Module):
    def __init__(self, block, image):
        super().__init__()
        self.block, self.drop = block.module(image, 4), nn.Dropout(0.5)
        self.head = nn.Linear(4, 10)

    def forward(self, x):
        return self.head(self.drop(self.block(x).mean((2, 3))))


def no_classes(block):
    return nn.Sequential(block.module((3, 8, 8), 4))


def no_module(block):
    return "a model"


def crash(block):
    raise KeyError("stage")


class Fails(Small):
    def forward(self, x):
        return super().forward(x)[:, None] @ x


class FailsInTraining(Small):
    def forward(self, x):
        if self.training:
            raise ValueError("not now")
        return super().forward(x)


class Undecided(Small):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else x.flatten(1)[:, :CLASSES]


def unseeded(block):
    model = Small(block)
    model.head.bias.data += float(np.random.default_rng().normal())
    return model


MISTAKES = {
    no_classes: r"test_skeleton\.no_classes on \[\] must give 2x4 numbers for images of 2x3x8x8, "
    "but gives 2x4x4x4 of torch.float32",
    no_module: r"test_skeleton\.no_module on \[\] must return a torch.nn.Module, but returned",
    crash: r"test_skeleton\.crash on \[\] fails \(test_skeleton\.py:\d+\): KeyError: 'stage'",
    Fails: r"Fails on \[\] fails on 2x3x8x8 \(test_skeleton\.py:\d+\): RuntimeError",
    FailsInTraining: r"fails on 2x3x8x8 \(test_skeleton\.py:\d+\): ValueError: not now",
    Undecided: r"test_skeleton\.Undecided on \[\] (fails on|.*cannot follow)",
    unseeded: "other weights each time, although torch is seeded",
    (lambda: None): r"on \[\] fails.*: TypeError",
    (lambda block: nn.Sequential(nn.Flatten(), nn.Softmax(1))): "without a parameter",
}


@pytest.mark.parametrize("make", MISTAKES, ids=lambda make: make.__name__)
def test_mistakes_are_one_line_that_names_the_callable(make, capfd):
    with pytest.raises(BlocksearchError, match=MISTAKES[make]) as caught:
        layer_of(make)
    assert isinstance(caught.value, PluginError | ConfigError)
    assert capfd.readouterr().err == ""


def test_a_skeleton_is_a_callable():
    with pytest.raises(ConfigError, match="a function from a block to a model"):
        Skeleton("make")
