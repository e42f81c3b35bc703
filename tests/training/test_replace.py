"""Blocks in the place of a model's convolutions: shapes, counts and weights hold, by torch's own
counter, on models of others.
"""

from copy import deepcopy

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

import blocksearch as bs
from blocksearch.arch.layers import Activation
from blocksearch.arch.skeleton import Skeleton
from blocksearch.errors import ConfigError, PluginError, SpecError
from tests.strategies import blocks, tries


def counted(model, example):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(example)
    return counter.get_total_flops()


def outputs(given):
    return given if isinstance(given, tuple) else (given,)


def vgg(*widths):
    layers, before = [], 3
    for width in widths:
        layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU(inplace=True)]
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.MaxPool2d(2)]
        before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10))


def resnet():
    return pytest.importorskip("monai.networks.nets").resnet18(
        spatial_dims=2, n_input_channels=3, num_classes=10
    )


def unet():
    return pytest.importorskip("monai.networks.nets").UNet(
        spatial_dims=2, in_channels=3, out_channels=2, channels=(8, 16, 32), strides=(2, 2)
    )


def basic_unet():
    return pytest.importorskip("monai.networks.nets").BasicUNet(spatial_dims=2, in_channels=3)


class Mixed(nn.Module):
    """Convolutions of every kind, in every surrounding; named after what is special about them."""

    def __init__(self):
        super().__init__()
        self.first, self.bare = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.dilated = nn.Conv2d(8, 8, 3, padding=2, dilation=2)
        self.shared = nn.Conv2d(8, 8, 3, padding=1)
        self.tied, self.other = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.other.weight = self.tied.weight
        self.before, self.preactivated = nn.GroupNorm(2, 8), nn.Conv2d(8, 8, 3, padding=1)
        self.twice_named = nn.Conv2d(8, 16, 3, padding=1)
        self.group_norm = nn.GroupNorm(4, 16)
        self.body = nn.Sequential(self.twice_named, self.group_norm, nn.PReLU(), nn.MaxPool2d(2))
        self.again = self.body  # and called by this name
        self.spectral = nn.utils.parametrizations.spectral_norm(nn.Conv2d(16, 16, 3, padding=1))
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.lines, self.depth = nn.Conv1d(8, 8, 3, padding=1), nn.Conv3d(1, 2, 3, padding=1)
        self.never = nn.Conv2d(8, 8, 3)
        self.own, self.scale = nn.Parameter(torch.randn(8, 16, 1, 1)), nn.Parameter(torch.ones(1))
        self.gate, self.norm = nn.Conv2d(8, 8, 7, padding=3), nn.LayerNorm(8)
        self.head, self.last = nn.Linear(8, 10), nn.Conv2d(8, 1, 3, padding=1)

    def forward(self, x):
        x = functional.leaky_relu(self.bare(functional.relu(self.first(x))))
        x = functional.relu(self.dilated(functional.relu(self.grouped(x))))
        x = self.shared(functional.relu(self.shared(x)))
        x = functional.relu(self.other(functional.relu(self.tied(x))))
        y = self.preactivated(functional.relu(self.before(x)))
        y += self.scale * x
        y = functional.relu(self.spectral(self.again(y)))
        y = functional.relu(
            functional.conv2d(torch.cat([self.up(y), y.repeat(1, 1, 2, 2)[:, :8]], 1), self.own)
        )
        y = self.lines(y.flatten(2)).view(y.shape)
        y = self.depth(y[:, None]).mean(1) * torch.sigmoid(self.gate(y))
        return self.head(self.norm(y.mean((2, 3)))), self.last(y).tanh()


def from_torchvision():
    return pytest.importorskip("torchvision.models").vgg11_bn()


OTHERS = [pytest.param(make, marks=pytest.mark.slow) for make in (resnet, unet, basic_unet)]
MODELS = [lambda: vgg(16, 32, 64), Mixed, *OTHERS]


@pytest.mark.parametrize("make", [*MODELS, from_torchvision])
@pytest.mark.parametrize("block", ["effnet", "mobilenet", "residual=add kernel=5x5"])
def test_a_model_keeps_its_shapes_and_every_figure_is_torchs(make, block):
    torch.manual_seed(0)
    model, example = make(), torch.randn(1, 3, 32, 32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    training = [part.training for part in model.modules()]
    new, answer = bs.replace(model, block, example)
    rows, facts = answer.records(), answer.data()
    for word, own in (("", model), ("new_", new)):
        assert facts[f"{word}flops"] == counted(own, example)
        assert facts[f"{word}params"] == sum(each.numel() for each in own.parameters())
        for what in ("flops", "params"):
            assert sum(row[word + what] for row in rows) == facts[word + what]
    with torch.no_grad():
        shapes = [[each.shape for each in outputs(own.eval()(example))] for own in (model, new)]
        assert shapes[0] == shapes[1]
    replaced = [row["name"] for row in rows if not row["reason"]]
    assert replaced
    assert all(row["block"] == "" for row in rows if row["reason"])
    # The model that was handed over is as it was, and other weights are the same in the new one.
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    taken = [*replaced, *(name for row in rows for name in row["absorbed"])]
    parts = [model.get_submodule(name) for name in taken]
    names = model.named_modules(remove_duplicate=False)
    gone = [name for name, part in names if any(part is each for each in parts)]
    kept = {
        name: value
        for name, value in before.items()
        if not any(name.startswith(f"{each}.") for each in gone)
    }
    own = new.state_dict()
    assert all(torch.equal(own[name], value) for name, value in kept.items())
    assert [part.training for part in make().modules()] == training


def test_each_row_counts_its_own_layers_by_hand():
    """Shared weights once, shared FLOPs as often as they are called; norms where they are."""
    new, answer = bs.replace(Mixed(), "mobilenet", (3, 32, 32))
    rows = {row["name"]: row for row in answer.records()}
    replaced = {name for name, row in rows.items() if not row["reason"]}
    assert replaced == {"bare", "preactivated", "twice_named", "spectral", "gate"}
    assert rows["the model"]["reason"] == "what it computes itself, outside of layers"
    macs = 8 * 8 * 9 * 1024
    assert rows["shared"]["flops"] == 2 * 2 * macs
    assert (rows["tied"]["params"], rows["other"]["params"]) == (8 * 72 + 8, 8)
    assert (rows["tied"]["reason"], rows["other"]["reason"]) == (rows["shared"]["reason"],) * 2
    assert rows["twice_named"]["absorbed"] == ("group_norm", "body.2", "body.3")
    assert rows["twice_named"]["params"] == 16 * 72 + 16 + 32 + 1
    assert rows["never"]["reason"] == "the model does not call it"
    assert rows["last"]["reason"].endswith("its outputs are values")
    assert rows["the model"]["params"] == 8 * 16 + 1
    assert rows["the model"]["flops"] == 2 * 8 * 16 * 1024
    assert new.again is new.body
    assert new.twice_named is new.body[0]
    for name in replaced:
        activated = name in ("bare", "twice_named", "spectral")
        assert ("activation=linear" in rows[name]["block"]) == (not activated), name


@pytest.mark.parametrize("make", [MODELS[0], MODELS[2]])
def test_a_new_model_learns_and_exports(make):
    new, _ = bs.replace(make().train(), "effnet", (3, 32, 32))
    loss = functional.cross_entropy(new(torch.randn(4, 3, 32, 32)), torch.arange(4))
    loss.backward()
    assert all(each.grad is not None for each in new.parameters())
    example = torch.randn(2, 3, 32, 32)
    exported = torch.export.export(new.eval(), (example,)).module()
    torch.testing.assert_close(exported(example), new(example))


class Attending(nn.Module):
    """Convolutions, then an encoder over their 64 pixels."""

    def __init__(self, block=None):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.conv = block.module((16, 8, 8), 16) if block else nn.Conv2d(16, 16, 3, padding=1)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = functional.relu(self.conv(functional.relu(self.stem(x))))
        return self.head(self.encoder(x.flatten(2).transpose(1, 2)).mean(1))


def test_attention_counts_by_hand_though_fused_kernels_hide_it_from_torchs_counter():
    n, e, hidden = 64, 16, 32
    layer = 2 * n * (4 * e * e + 2 * e * hidden) + 2 * 2 * n * n * e
    around = 2 * (27 * e * n + e * 10) + 2 * layer
    model = Attending()
    assert counted(model, torch.zeros(1, 3, 16, 16)) < 2 * layer
    _, answer = bs.replace(model, "effnet", (3, 16, 16))
    assert answer.data()["flops"] == around + 2 * 9 * e * e * n
    (row,) = (row for row in answer.records() if not row["reason"])
    assert answer.data()["new_flops"] == around + row["new_flops"]
    dense = bs.Block(pooling="none", spatial="dense", last="none")
    cost = Skeleton(Attending).cost(dense, bs.Shape(3, 16, 16), 10)
    assert cost.flops == answer.data()["flops"]
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_new_model_is_copied_reloaded_compiled_and_replaced_again():
    block = "spatial=dense last=none pooling=none"
    new, _ = bs.replace(vgg(8), block, (3, 16, 16))
    x = torch.randn(2, 3, 16, 16)
    copy, learned = deepcopy(new), deepcopy(new)
    fresh, _ = bs.replace(vgg(8), block, (3, 16, 16))
    fresh.load_state_dict(new.state_dict())
    compiled = torch.compile(learned, backend="eager", fullgraph=True)
    for training in (True, False):
        own, other = new.train(training)(x), (learned.train(training), compiled(x))[1]
        torch.testing.assert_close(other, own)  # in evaluation, by the statistics of training
        (gradient,) = torch.autograd.grad(other.sum(), learned[0].weight)
        torch.testing.assert_close(gradient, torch.autograd.grad(own.sum(), new[0].weight)[0])
    torch.testing.assert_close(new(x.contiguous(memory_format=torch.channels_last)), own)
    copy.load_state_dict(new.state_dict())
    assert torch.equal(
        fresh.eval()(x), bs.replace(fresh, "effnet", x, where=lambda *_: False)[0](x)
    )
    assert torch.equal(copy.eval()(x), new(x))
    rows = bs.replace(new, "mobilenet pooling=none", x)[1].records()
    (row,) = (row for row in rows if not row["reason"])
    assert row["name"].startswith("2.")  # the convolution in the first block
    assert "activation=linear" not in row["block"]


def test_the_table_says_that_blocks_are_untrained_where_there_are_any():
    model = vgg(8)
    assert "blocks are untrained" in bs.replace(model, "effnet", (3, 16, 16))[1].table()
    none = bs.replace(model, "effnet", (3, 16, 16), where=lambda *_: False)[1]
    assert "untrained" not in none.table()


def test_what_follows_goes_along_and_what_others_read_stays():
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.act = (
                nn.Conv2d(8, 8, 3, padding=1),
                nn.BatchNorm2d(8),
                nn.ReLU(),
            )
            self.pool, self.up = nn.MaxPool2d(2), nn.Upsample(scale_factor=2)

        def forward(self, x):
            high = self.act(self.norm(self.conv(x)))
            return torch.cat([high, self.up(self.pool(high))], 1)

    new, answer = bs.replace(Skip(), "effnet", (8, 16, 16), where="conv")
    (row,) = answer.records()
    assert row["absorbed"] == ("norm", "act")  # pooling would have halved the skip
    assert isinstance(new.pool, nn.MaxPool2d)
    assert new(torch.zeros(1, 8, 16, 16)).shape == (1, 16, 16, 16)

    model = nn.Sequential(
        nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)
    )
    (row,) = bs.replace(model, "effnet", (8, 16, 16), where="0")[1].records()
    assert row["absorbed"] == ("1", "2", "3")
    assert row["output"] == "16x8x8"


def test_a_block_that_keeps_the_map_replaces_what_keeps_it():
    """A pooling behind a convolution stays; a stride is the convolution's own."""
    conv = nn.Conv2d(8, 8, 3, padding=1)
    model = nn.Sequential(conv, nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
    rows = bs.replace(model, "pooling=none", (8, 16, 16), where="*")[1].records()
    assert [(row["absorbed"], row["reason"]) for row in rows[:2]] == [
        (("1",), ""),
        ((), "it halves the map, and the block does not"),
    ]


POOLINGS = {
    "of an even map": (nn.MaxPool2d(2), 16, True),
    "that rounds down": (nn.MaxPool2d(2), 15, False),
    "that rounds up": (nn.MaxPool2d(2, ceil_mode=True), 15, True),
    "of 3x3 pixels": (nn.MaxPool2d(3, 2), 16, False),
    "that overlaps": (nn.AvgPool2d(3, 2, 1), 16, True),
    "that quarters": (nn.MaxPool2d(4), 16, False),
}


@pytest.mark.parametrize("name", POOLINGS)
def test_a_pooling_goes_along_where_a_block_halves_alike_and_else_stays(name):
    pool, side, goes = POOLINGS[name]
    model = nn.Sequential(nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), pool)
    new, answer = bs.replace(model, "effnet", (8, side, side), where="0")
    (row,) = answer.records()
    assert row["absorbed"] == (("1", "2") if goes else ("1",))
    assert new(torch.zeros(1, 8, side, side)).shape == model(torch.zeros(1, 8, side, side)).shape


def test_a_branch_that_is_added_ends_linear():
    """As a ResNet's second convolution: normalised, then added, then activated."""

    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)

        def forward(self, x):
            return functional.relu(x + self.norm(self.conv(x)))

    (row,) = bs.replace(Branch(), "mobilenet", (8, 16, 16), where="*")[1].records()
    assert "activation=linear" in row["block"]
    assert "pooling=none" in row["block"]


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        return functional.relu(self.conv(functional.relu(self.conv(x))))


LEFT = {
    "groups already": nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU()),
    "looks at one pixel": nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU()),
    "2 pixels apart": nn.Sequential(nn.Conv2d(8, 8, 3, padding=2, dilation=2), nn.ReLU()),
    "stride is 3x3": nn.Sequential(nn.Conv2d(8, 8, 3, stride=3), nn.ReLU()),
    "stride is 2x1": nn.Sequential(nn.Conv2d(8, 8, 3, stride=(2, 1)), nn.ReLU()),
    "follows it, and no layer": nn.Sequential(nn.Conv2d(8, 8, 3, padding=1)),
    "the block gives 8x16x16 where the layer gives 8x15x15": nn.Sequential(
        nn.Conv2d(8, 8, 2), nn.ReLU()
    ),
    "the block gives 8x16x16 where the layer gives 8x14x14": nn.Sequential(
        nn.Conv2d(8, 8, 3), nn.ReLU()
    ),
    "serve several places": Twice(),
    "it is the whole model": nn.Conv2d(8, 8, 3, padding=1),
    "its outputs are values": nn.Sequential(nn.Conv2d(8, 1, 3, padding=1), nn.Sigmoid()),
    "is no convolution of a map": nn.Sequential(nn.ConvTranspose2d(8, 8, 2, stride=2), nn.ReLU()),
}


@pytest.mark.parametrize("reason", LEFT)
def test_what_is_left_alone_says_why(reason):
    new, answer = bs.replace(LEFT[reason], "effnet", (8, 16, 16), where="*")
    (row,) = answer.records()
    assert reason in row["reason"]
    assert [type(part) for part in new.modules()] == [type(part) for part in LEFT[reason].modules()]


@pytest.mark.parametrize("where", ["zz*", ["0", "zz*"]])
def test_a_name_that_no_convolution_has_is_refused(where):
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
    with pytest.raises(ConfigError, match=r"no convolution is named 'zz\*'; they are 0, 2"):
        bs.replace(model, "effnet", (3, 16, 16), where=where)


def test_where_chooses_and_the_first_is_left_unless_named():
    names = lambda answer: [row["name"] for row in answer.records() if not row["reason"]]  # noqa: E731
    model = vgg(8, 16)
    assert names(bs.replace(model, "effnet", (3, 32, 32))[1]) == ["2", "6", "8"]
    assert names(bs.replace(model, "effnet", (3, 32, 32), where=["0", "6*"])[1]) == ["0", "6"]
    wide = lambda name, conv: conv.in_channels > 8  # noqa: E731
    assert names(bs.replace(model, "effnet", (3, 32, 32), where=wide)[1]) == ["8"]


def test_mistakes_are_one_line():
    with pytest.raises(PluginError, match=r"^the model does not run on an input of 1x4x32x32: Run"):
        bs.replace(vgg(8), "effnet", (4, 32, 32))
    with pytest.raises(ConfigError, match="example_input must be a tensor"):
        bs.replace(vgg(8), "effnet", "3x32x32")
    with pytest.raises(ConfigError, match="has several blocks"):
        bs.replace(
            vgg(8),
            "input=3x32x32 widths=8,16 classes=9 stem=block [] [pooling=stride]",
            (3, 32, 32),
        )


def test_a_block_is_a_module():
    block = bs.Block(bottleneck="reduce(2)", residual="concatenate")
    module = block.module((16, 32, 32), width=24)
    out = module(torch.randn(2, 16, 32, 32))
    assert out.shape == (2, 40, 16, 16)
    again = block.module((16, 32, 32), width=24, seed=0)
    again.load_state_dict(module.state_dict())
    exported = torch.export.export(module.eval(), (torch.randn(2, 16, 32, 32),))
    assert exported.module()(torch.zeros(2, 16, 32, 32)).shape == out.shape
    with pytest.raises(SpecError, match="input must be a Shape or"):
        block.module("16x32x32", width=24)


@tries(60)
@given(
    blocks(),
    st.sampled_from([torch.float32, torch.float64]),
    st.booleans(),
    st.booleans(),
    st.data(),
)
def test_what_a_block_gives_may_be_changed_in_place(block, dtype, training, last, data):
    """In double precision a block runs by torch's operators, as it does on a GPU."""
    shape = (4, *data.draw(st.tuples(st.integers(1, 5), st.integers(2, 9), st.integers(2, 9))))
    try:
        module = block.module(shape[1:], width=data.draw(st.integers(1, 6)), seed=0).to(dtype)
    except SpecError:
        assume(False)
    layout = torch.channels_last if last else torch.contiguous_format
    module.train(training)
    x = torch.randn(shape, dtype=dtype).contiguous(memory_format=layout)
    grads = []
    for in_place in (False, True):
        own = x.clone().requires_grad_()
        out = deepcopy(module)(own)
        factor = torch.linspace(1, 2, out.numel(), dtype=dtype).view_as(out)
        if in_place:
            out += factor
            out.mul_(factor)
        else:
            out = (out + factor) * factor
        out.sum().backward()
        assert torch.equal(own, x)
        grads.append(own.grad)
    assert torch.equal(*grads)


def test_an_activation_of_ones_own_at_the_end_may_be_changed_in_place():
    @bs.op("activation")
    def squashed(entry):
        return (Activation(entry, "tanh"),)

    module = (
        bs.Block(residual="add", join_activation=squashed()).module((4, 8, 8), width=4).double()
    )
    out = module(torch.randn(2, 4, 8, 8).double())
    out += 1
    out.sum().backward()
    assert all(each.grad is not None for each in module.parameters())
