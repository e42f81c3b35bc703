"""A stem of its own, stages with their own stride and depth, and several inputs: as choices of a
network, of an ablation, and of a space.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

import blocksearch as bs
from blocksearch import Grammar, Shape, Task
from blocksearch.ablation.config import AblationConfig
from blocksearch.ablation.design import ask
from blocksearch.arch.layers import Conv
from blocksearch.arch.network import Network, read_resolution
from blocksearch.arch.stem import STRIDES, ConvStem, read_stem
from blocksearch.errors import SpecError
from tests.strategies import networks, own_stems, tries

EFFNET = "effnet stem={} head=global_pool"
TODAY = Grammar(
    Task(input=Shape(3, 48, 48), classes=5),
    stem=["conv(kernel=3,stride=2,width=6)", "conv(kernel=5,stride=4,width=8)"],
    head=["global_pool"],
    stages=[
        {"width": [8, 12], "depth": [1, 2], "stride": 1},
        {"width": 16, "depth": [1, 3], "stride": [1, 2]},
    ],
    resolution=["32x24", 48],
    channels=[1, 3],
    bottleneck=["none", "expand(2)"],
    residual=["none", "add"],
    pooling=["stride"],
)


@tries(50)
@given(networks())
def test_a_network_reads_back_with_its_stem(network):
    assert bs.parse(str(network)) == network
    assert network.with_factor("stem", str(network.stem)) == network


@tries(50)
@given(networks(), own_stems)
def test_a_stem_of_its_own_is_a_convolution_before_everything_else(network, text):
    stem, blocks = read_stem(text), network.stage_blocks
    try:
        made = Network(task=network.task, blocks=blocks, stem=stem, head=network.head)
    except SpecError:  # its maps become too small
        return
    conv, *_ = made.layers
    assert isinstance(conv, Conv)
    own = network.task.input
    assert (conv.input, conv.kernel, conv.out_channels) == (own, (stem.kernel,) * 2, stem.width)
    assert conv.output.map == tuple(-(-side // stem.stride) for side in own.map)
    rest = Network(
        task=Task(input=conv.output, classes=own.elements + 2, widths=network.widths),
        blocks=blocks,
    )
    assert [*made.stages[1:-1]] == [*rest.stages[:-1]]
    ours = sum(layer.cost.macs for layer in made.stages[0])
    outputs = conv.output.height * conv.output.width
    assert ours == outputs * stem.width * own.channels * stem.kernel**2


def test_equal_layers_are_one_network_however_the_stem_is_written():
    task = Task(input=Shape(3, 32, 32), classes=4)
    first = bs.Block(spatial="dense", last="none", pooling="stride")
    rest = bs.Block(residual="add")
    as_stem = Network(task=task, widths=(8, 16), blocks=[rest], stem=ConvStem(width=4))
    as_block = Network(task=task, widths=(4, 8, 16), blocks=[first, rest, rest])
    assert as_stem.digest == as_block.digest
    both = Grammar(task, widths=[(8, 16)], stem=[ConvStem(width=4)], residual=["add"]) | Grammar(
        task,
        widths=[(4, 8, 16)],
        per_stage=[
            {"spatial": ["dense"], "last": ["none"], "pooling": ["stride"]},
            {"residual": ["add"]},
            {"residual": ["add"]},
        ],
    )
    assert len(both) == 1
    assert as_stem in both
    assert as_block in both


@pytest.mark.parametrize("stride", STRIDES)
def test_costs_with_a_stem_are_those_that_torch_counts(stride):
    net = bs.network(EFFNET.format(f"conv(kernel=5,stride={stride},width=7)"), task="gtsrb")
    module = net.module().eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.zeros(1, 3, 32, 32))
    assert counter.get_total_flops() == net.cost.flops
    assert sum(each.numel() for each in module.parameters()) == net.cost.params
    stages = [row["stage"] for row in bs.layers(net).records()]
    assert (stages[0], stages[-1]) == (0, 4)


def test_an_ablation_varies_the_stem_over_values_that_are_named():
    net = bs.network("effnet", task="gtsrb")
    values = ("conv", "conv(stride=2,width=8)", "conv(stride=1,width=8)")
    found = ask(net, AblationConfig(factors="stem", values=values))
    texts = ["block", "conv", *(f"conv(kernel=3,stride={each},width=8)" for each in (2, 1))]
    assert [each.value for each in found] == texts
    assert all(each.compared for each in found[1:])
    assert [v.value for v in ask(net, AblationConfig(factors="stem"))] == texts[:2]


def test_a_space_of_today_s_sizes_is_counted_priced_and_read_back():
    # 2 stems · 4 inputs · (2 widths · 2 depths) · (2 depths · 2 strides) · 4 blocks
    assert len(TODAY) == 2 * 4 * 4 * 4 * 4
    assert {n.task.input for n in TODAY} == {
        Shape(c, *s) for c in (1, 3) for s in ((32, 24), (48, 48))
    }
    again = eval(repr(TODAY), vars(bs) | {"Task": Task, "Shape": Shape})
    assert (again, again.digest) == (TODAY, TODAY.digest)
    names = {"stem", "resolution", "channels", "stage1_width", "stage1_depth", "stage2_stride"}
    assert names <= set(TODAY.encoding.levels)
    assert TODAY.encoding.levels["resolution"] == ["32x24", "48x48"]
    moved = TODAY.on(bs.TASKS["gtsrb"])
    assert {n.task.input for n in moved} == {n.task.input for n in TODAY}
    assert {n.task.classes for n in moved} == {43}


@given(st.integers(0, len(TODAY) - 1))
def test_a_neighbour_differs_in_one_choice_of_stem_stage_or_input(index):
    own = TODAY[index]
    code = TODAY.encoding.encode(TODAY.enumeration.genotype_of(own))
    seen = set()
    for near in TODAY.neighbours(own):
        other = TODAY.encoding.encode(TODAY.enumeration.genotype_of(near))
        (place,) = [k for k, pair in enumerate(zip(code, other, strict=True)) if len({*pair}) > 1]
        seen.add(TODAY.encoding.names[place])
    assert seen == set(TODAY.encoding.names)


def test_a_stage_that_does_not_halve_keeps_its_map():
    for net in TODAY.fix(stage2_depth=3, stage2_stride=1, stage1_depth=1, resolution=48):
        maps = [stage[-1].output.map for stage in net.stages[:-1]]
        assert len(maps) == 1 + 1 + 3
        assert set(maps) == {maps[0]}
    for net in TODAY.restrict(stage2_stride=[2], stage1_depth=[2], resolution=[(48, 48)]):
        first, *maps = [stage[-1].output.map for stage in net.stages[:-1]]
        assert maps[:2] == [first, first]
        assert set(maps[2:]) == {tuple(side // 2 for side in first)}


def test_sizes_are_read_in_any_form_and_others_are_refused_by_name():
    assert [read_resolution(each) for each in (96, "96", "96x64", (96, 64))] == [
        (96, 96),
        (96, 96),
        (96, 64),
        (96, 64),
    ]
    net = bs.network("effnet", task="gtsrb")
    assert net.with_factor("resolution", "64x48").task.input == Shape(3, 64, 48)
    assert net.with_factor("channels", "1").task.input == Shape(1, 32, 32)
    for wrong in ("96x", "0", -1, (1, 2, 3), None, 9.5):
        with pytest.raises(SpecError, match="a resolution is"):
            read_resolution(wrong)
    with pytest.raises(SpecError, match="channels must be a whole number from 1, but got 'x'"):
        net.with_factor("channels", "x")


def test_stages_of_many_choices_are_counted_without_listing_their_networks():
    """Three depths and three kernels in each of five stages that do not see each other."""
    space = Grammar(
        Task(input=Shape(3, 224, 224), classes=10),
        stem=["conv(stride=4,width=16)"],
        head=["global_pool"],
        stages=[{"width": 8 * k, "depth": [1, 2, 3]} for k in (2, 3, 4, 5, 6)],
        per_stage=True,
        kernel=["3x3", "1x3+3x1", "5x5"],
    )
    assert len(space) == 9**5
    some = space.sample(20, seed=1)
    assert [space[space.index(net)] for net in some] == some
    priced = space.costs([space.index(net) for net in some])
    assert priced.flops.tolist() == [net.cost.flops for net in some]
