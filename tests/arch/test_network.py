"""Blocks and networks as values: identity, rules, shapes, text both ways."""

import contextlib
import re
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from blocksearch.arch.block import Block
from blocksearch.arch.cost import read_budget
from blocksearch.arch.expansion import expand
from blocksearch.arch.factors import FACTORS
from blocksearch.arch.layers import (
    Conv,
    Join,
    Shape,
    Shuffle,
    decode,
    encode,
    even_parts,
    fingerprint,
    flat,
    grouped_conv,
)
from blocksearch.arch.network import Network, Task
from blocksearch.arch.notation import called, parse, parse_block
from blocksearch.arch.values import Expand, Reduce
from blocksearch.arch.zoo import NAMED, named_network
from blocksearch.errors import ParseError, SpecError
from tests.strategies import blocks, networks, tries

SETTING = Task(input=Shape(3, 32, 32), widths=(8, 16, 32), classes=10)


@tries(200)
@given(networks())
def test_text_parses_back_to_the_same_network(network):
    assert parse(str(network)) == network


@given(blocks())
def test_text_parses_back_to_the_same_block(block):
    assert parse_block(str(block)) == block


@settings(deadline=None)
@given(networks())
def test_layers_survive_being_stored(network):
    assert decode(encode(network.layers)) == network.layers


@settings(deadline=None)
@given(networks())
def test_the_channels_of_bottlenecks_are_those_of_the_layers(network):
    """A bottleneck is the only dense 1×1 convolution before the first that is not one."""
    *stages, _ = network.stages
    stages = stages[-len(network.widths) :]  # a stem of its own is none of them
    for block, channels, stage in zip(
        network.stage_blocks, network.bottlenecks, stages, strict=True
    ):
        first = next(
            layer for layer in flat(stage[0].branches[0] if isinstance(stage[0], Join) else stage)
        )
        if block.bottleneck == "none":
            assert channels is None
        else:
            assert channels == first.out_channels


@given(networks(), networks())
def test_fingerprints_are_equal_exactly_where_layers_are(one, other):
    assert (fingerprint(one.layers) == fingerprint(other.layers)) == (one.layers == other.layers)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("spatial=dense last=none", "spatial=dense last=none depth_multiplier=2"),
        ("pooling=stride", "pooling=stride pool_kind=average"),
        ("bottleneck=none minimum=6", "bottleneck=none"),
        ("pooling=separable", "pooling=last"),
        ("groups=last(1)", ""),
        ("join_activation=relu", ""),
        ("bottleneck=expand(0.5)", "bottleneck=expand(1/2)"),
        ("bottleneck=2", "bottleneck=reduce(2)"),
        ("kernel=1x1d3", "kernel=1x1"),
        ("kernel=3x3d1", "kernel=3x3"),
    ],
)
def test_inactive_factors_vanish_and_equal_spellings_merge(one, other):
    first, second = (Network(task=SETTING, blocks=(parse_block(text),)) for text in (one, other))
    assert first.digest == second.digest


def test_factors_that_act_change_the_fingerprint():
    base = named_network("effnet", SETTING)
    changes = {
        "residual": "add",
        "kernel": "3x3",
        "pooling": "stride",
        "groups": "both(4)",
        "activation": "leaky",
        "minimum": 9,
        "spatial": "dense",
    }
    changes["kernel"] = "1x3d2+3x1"
    prints = {base.with_factor(name, value).digest for name, value in changes.items()}
    assert len(prints | {base.digest}) == len(changes) + 1


@pytest.mark.parametrize("name", [name for name, each in FACTORS.items() if len(each.values) > 1])
def test_every_factor_does_something(name):
    """Some network has other layers with another of its values."""
    starts = [named_network(own, SETTING) for own in NAMED]
    starts += [start.with_factor("residual", "add") for start in starts]
    for start in starts:
        with contextlib.suppress(SpecError):
            digests = {start.with_factor(name, value).digest for value in FACTORS[name].values}
            if len(digests) > 1:
                return
    pytest.fail(f"no value of {name} changes a network")


@pytest.mark.parametrize("residual", ["add", "project", "concatenate"])
@pytest.mark.parametrize("name", NAMED)
def test_a_shortcut_applies_in_every_block(name, residual):
    network = named_network(name, SETTING).with_factor("residual", residual)
    joins = [layer for layer in network.layers if isinstance(layer, Join)]
    assert len(joins) == len(SETTING.widths) - (network.stem == "conv")


@given(st.integers(1, 40), st.integers(1, 40))
def test_groups_are_as_even_as_possible(channels, groups):
    groups = min(groups, channels)
    parts = even_parts(channels, groups)
    assert sum(parts) == channels
    assert max(parts) - min(parts) <= 1
    assert sorted(Shuffle(Shape(channels, 1, 1), groups).order) == list(range(channels))


def test_uneven_groups_of_the_paper():
    """12 → 6 channels in 4 groups: outputs 2, 2, 1, 1, which costs 18 per position (ShuffleNet on
    SVHN).
    """
    conv = grouped_conv(Shape(12, 1, 1), 6, 4, (1, 1), (1, 1))
    assert conv.parts == ((3, 2), (3, 2), (3, 1), (3, 1))
    assert conv.weights == 18


def test_the_shufflenet_unit():
    """Shuffle after the first grouped layer; the shortcut is an overlapping 3×3 average with stride
    2, concatenated.
    """
    network = named_network("shufflenet", SETTING)
    assert [layer.kind for layer in network.layers if isinstance(layer, Join)] == [
        "concatenate",
        "concatenate",
    ]
    for join in (layer for layer in network.layers if isinstance(layer, Join)):
        body, (shortcut,) = join.branches
        kinds = [type(layer).__name__ for layer in body]
        assert kinds == ["Conv", "Norm", "Activation", "Shuffle", "Conv", "Norm", "Conv", "Norm"]
        assert (shortcut.kind, shortcut.kernel, shortcut.stride) == ("average", (3, 3), (2, 2))


def test_other_shortcuts_do_not_overlap():
    first = named_network("effnet", SETTING).with_factor("residual", "project").layers[0]
    assert (first.branches[1][0].kernel, first.branches[1][0].stride) == ((2, 2), (2, 2))


def test_shuffle_takes_one_channel_of_each_group_in_turn():
    assert Shuffle(Shape(6, 1, 1), 3).order == (0, 2, 4, 1, 3, 5)


@given(
    st.integers(2, 40),
    st.integers(2, 40),
    st.sampled_from(["stride", "last", "first", "separable", "separable_end", "separable_conv"]),
)
def test_halved_maps_round_up(height, width, pooling):
    for kernel in ("3x3", "1x3+3x1"):
        layers = expand(Block(pooling=pooling, kernel=kernel), Shape(4, height, width), 8)
        assert layers[-1].output == Shape(8, -(-height // 2), -(-width // 2))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: Conv(Shape(6, 8, 8), 12, (3, 3), groups=4),
            "4 groups must divide both channel counts, but got 6 → 12",
        ),
        (
            lambda: Conv(Shape(6, 8, 8), 3, (3, 3), groups=6),
            "at most as many groups as channels, but 6 > 3",
        ),
        (lambda: Shape(0, 8, 8), "at least one channel, row and column, but got 0x8x8"),
        (lambda: Shape(3.0, 8, 8), "at least one channel, row and column, but got 3.0x8x8"),
        (lambda: Shape(True, 8, 8), "at least one channel, row and column, but got Truex8x8"),
        (lambda: Block(last="none"), "last=none needs spatial=dense"),
        (
            lambda: Block(spatial="dense", last="none", pooling="separable_conv"),
            "pools at the last pointwise layer",
        ),
        (
            lambda: Block(residual="ad"),
            "residual must be none or add or project or concatenate, but got 'ad' "
            "(did you mean 'add'?)",
        ),
        (lambda: Block(kernel="2x2"), "kernel must be one to four odd sizes"),
        (lambda: Block(kernel="3x3d0"), "kernel must be one to four odd sizes"),
        (lambda: Block(kernel="+".join(["3x3"] * 5)), "kernel must be one to four odd sizes"),
        (
            lambda: Network(task=Task(input=Shape(3, 8, 8), classes=10), blocks=(Block(),)),
            "a network needs widths",
        ),
        (
            lambda: Task(input=Shape(3, 8, 8), widths=(0,), classes=10),
            "widths must be one or more whole numbers from 1, but got 0",
        ),
        (
            lambda: Task(input=Shape(3, 8, 8), widths=(8,), classes=1),
            "at least 2 classes apart, but got classes=1",
        ),
        (
            lambda: Task(input=Shape(3, 8, 8), widths=(8,), classes=2, dropout=1.0),
            "below 1, but got 1.0",
        ),
        (
            lambda: Network(
                task=Task(input=Shape(3, 4, 4), widths=(8, 8, 8), classes=2), blocks=(Block(),)
            ),
            "a map is not pooled below 1×1, but a stride of 2×2 meets a map of 8x1x1",
        ),
        (
            lambda: Network(task=SETTING, blocks=(Block(), Block())),
            "one block or one for each of its 3 block stages, but got 2",
        ),
        (
            lambda: Network(task=SETTING, blocks=(Block(bottleneck="expand(1/9)"),)),
            "expand(1/9) of 3 input channels leaves none",
        ),
        (lambda: decode('[{"":"Conv"}]'), "stored layers do not decode"),
    ],
)
def test_impossible_values_name_the_rule_and_the_value(make, says):
    with pytest.raises(SpecError) as caught:
        make()
    assert says in str(caught.value)


@pytest.mark.parametrize("name", [*NAMED, "mobilenet_v2_6"])
@pytest.mark.parametrize("changes", ["", " residual=add", " pooling=first\tactivation=linear"])
def test_a_named_block_with_changes_is_the_block_of_that_network(name, changes):
    (block,) = set(parse(name + changes, SETTING).blocks)
    assert parse_block(name + changes) == block


@pytest.mark.parametrize(
    ("text", "rule", "at"),
    [
        ("kernel=3x3 resdual=add", "unknown name 'resdual' (did you mean 'residual'?)", "resdual"),
        ("kernel=3x3 residual=ad", "residual must be none or add", "ad"),
        ("kernel=3x3 pool", "expected factor=value, but got 'pool'", "pool"),
        ("effnet effnet", "expected factor=value, but got 'effnet'", "effnet"),
        ("efnet pooling=first", "unknown network 'efnet' (did you mean 'effnet'?)", "efnet"),
        ("effnet stem=conv", "unknown name 'stem'", "stem"),
        ("[kernel=3x3]", "expected factor=value, but got '['", "["),
        ("kernel=3x3 kernel=3x3", "kernel is given twice", "kernel=3x3"),
        ("minimum=0", "minimum must be a whole number of channels from 1, but got '0'", "0"),
        ("groups=both(0)", "groups must be none, last(g) or both(g)", "both(0)"),
    ],
)
def test_errors_in_a_block_show_the_text_and_the_column(text, rule, at):
    with pytest.raises(ParseError) as caught:
        parse_block(text)
    message = str(caught.value)
    assert message.startswith(rule)
    column = re.search(r", at column (\d+) of '(.*)'$", message)
    assert column[2] == text
    assert text[int(column[1]) - 1 :].startswith(at)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("[kernel=3x3]", "a network needs input=…"),
        ("input=3x32x32 widths=8 classes=10", "a network needs a block in brackets"),
        ("input=3x32x32 widths=8 classes=10 [kernel=3x3", "this bracket is not closed"),
        ("input=3x32x32 widths=8 classes=10 [[kernel=3x3]]", "unexpected '['"),
        (
            "input=3x32x32 widths=8 classes=10 [kernel=3x3] kernel=3x3",
            "expected a block in brackets",
        ),
        (
            "input=32x32 widths=8 classes=10 []",
            "input must be channels, height and width such as 3x32x32",
        ),
        ("input=3x0x32 widths=8 classes=10 []", "at least one channel, row and column"),
        ("input=3x32x32 widths=8,a classes=10 []", "widths must be whole numbers"),
        ("input=3x32x32 widths=8 classes=1 []", "at least 2 classes apart"),
        ("input=3x2x2 widths=8,8,8 classes=2 []", "not pooled below 1×1"),
    ],
)
def test_errors_in_a_network_show_the_text(text, rule):
    with pytest.raises(ParseError) as caught:
        parse(text)
    assert rule in str(caught.value)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lists_and_numbers_are_taken_as_their_kinds():
    task = Task(input=(3, 32, 32), classes=10, widths=[8, 16, 32])
    assert task == SETTING
    network = Network(task=task, blocks=[Block()])
    assert network == Network(task, Block()) == Network(task=SETTING, blocks=(Block(),))
    assert network.text == str(network)
    wider = Network(task=task, widths=[8, 16], blocks=[Block()])
    assert wider.widths == wider.task.widths == (8, 16)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Network(task=SETTING, blocks="residual=add"), "blocks must be Block values"),
        (lambda: Network(task=SETTING, blocks=["residual=add"]), "blocks must be Block values"),
        (lambda: Network(task="cifar10", blocks=[Block()]), "task must be a Task"),
        (lambda: Task(input=(3, 32), classes=10), "input must be a Shape or (channels, height"),
        (lambda: Task(input="3x32x32", classes=10), "input must be a Shape or (channels, height"),
        (lambda: Block(kernel=Reduce(2)), "kernel must be one to four odd sizes"),
        (lambda: Block(minimum=True), "minimum must be a whole number of channels from 1"),
        (lambda: Block(minimum=0), "minimum must be a whole number of channels from 1"),
        (lambda: Reduce(0), "reduce(k) needs a k from 1"),
        (lambda: Expand(Fraction(0)), "expand(r) needs a rate above 0"),
    ],
)
def test_values_of_another_kind_are_refused_in_one_line(make, says):
    with pytest.raises(SpecError) as caught:
        make()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@given(blocks())
def test_a_block_is_made_again_from_its_values_and_its_repr(block):
    assert Block(**block.values()) == eval(repr(block)) == block
    assert hash(Block(**block.values())) == hash(block)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("effnet\tresidual=add", "effnet residual=add"),
        ("effnet residual=add stem=conv", "effnet first_layer=vanilla residual=add"),
        ("kernel=1x3+3x1 stem=conv", "kernel=1x3+3x1 first_layer=vanilla"),
        ("  effnet  ", "effnet"),
        ("effnet widths=8,16,32", "effnet"),
    ],
)
def test_names_changes_and_stems_are_read_in_one_way(text, same):
    assert parse(text, SETTING) == parse(same, SETTING)


def test_texts_of_earlier_versions_are_read():
    text = "input=3x32x32 widths=8,16,32 classes=10 first_layer=vanilla [residual=add]"
    assert parse(text) == Network(SETTING, Block(residual="add"), stem="conv")
    assert parse(text) == parse("residual=add stem=conv", SETTING)
    assert read_budget("peak <= 5") == read_budget("peak_activations <= 5")


@given(networks())
def test_a_layer_is_shown_by_its_name_and_shapes_in_a_few_words(network):
    for layer in network.layers:
        shown = repr(layer)
        assert len(shown) < 80
        assert shown.startswith(f"<{type(layer).__name__} ")
        assert f"{layer.input} to {layer.output}" in shown


@given(networks())
@example(named_network("mobilenet", "gtsrb"))
@example(parse("effnet residual=add stem=conv", "gtsrb"))
def test_what_a_network_is_called_is_no_longer_than_its_text_and_means_it(network):
    said = called(network)
    assert len(said) < len(str(network))
    if not said.startswith("stem=") or "[" not in said:
        assert parse(said, network.task).digest == network.digest
