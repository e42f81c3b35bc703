"""A space as a value: composed, printed, compared, stored; and what it says of what cannot be."""

import itertools

import numpy as np
import pytest
from hypothesis import given

from blocksearch import (
    TASKS,
    Block,
    Grammar,
    Network,
    Shape,
    cost,
    named_network,
    op,
    parse_block,
)
from blocksearch.arch.layers import Conv, Norm
from blocksearch.errors import BlocksearchError, PluginError, SpecError
from blocksearch.space import layouts
from tests.strategies import declarations, tries

GTSRB = TASKS["gtsrb"]


def tiny(**options):
    return Grammar(TASKS["digits"], **options)


def halves():
    return tiny(bottleneck=["reduce(1)", "reduce(8)"], kernel=["3x3", "5x5"])


def prints(grammar):
    return {network.digest for network in grammar}


def test_equal_networks_count_once():
    """Without a bottleneck the minimum is inactive: 2 + 1 networks, not 4."""
    assert tiny(bottleneck=["none", "reduce(8)"], minimum=[1, 6]).size == 3


def test_collisions_depend_on_widths():
    """At 64 channels a minimum of 6 hides nothing; at 8, reductions by 4 and by 8 both leave 6."""
    options = {"bottleneck": ["reduce(2)", "reduce(4)", "reduce(8)"], "minimum": [6]}
    assert Grammar(TASKS["cifar10"], **options).size == 3
    assert Grammar(GTSRB, widths=[(8, 8, 8)], **options).size == 1


def test_a_grammar_without_options_is_its_base_block():
    grammar = tiny(base=Block(residual="add"))
    assert grammar.size == 1
    assert grammar[0] == Network(task=TASKS["digits"], blocks=(Block(residual="add"),))


def test_a_print_says_what_is_not_listed_of_the_block():
    assert str(tiny()).endswith("one block for all stages, with every factor at its default")
    printed = str(tiny(residual=["none", "add"]))
    assert "all stages, with every other factor at its default\n  residual: none|add" in printed
    assert str(tiny(base=Block(residual="add"))).endswith("one block for all stages [residual=add]")


@tries(50)
@given(declarations())
def test_equal_declarations_are_equal_grammars(declared):
    one, other = Grammar(**declared), Grammar(**declared)
    assert one == other
    assert hash(one) == hash(other)
    assert one.digest == other.digest
    assert str(one) == str(other)
    assert one | other == one
    assert one != one.where("flops <= 5")
    assert one.digest != one.where("flops <= 5").digest


@pytest.mark.parametrize(
    "make",
    [
        lambda: tiny(attention=["none"]).size,
        lambda: tiny(residual=["none", "add"]).where("attention=none or residual=none").size,
    ],
)
def test_a_factor_that_no_step_declares_is_named(monkeypatch, make):
    declared = tuple(step for step in layouts.STEPS if "attention" not in step._fields)
    monkeypatch.setattr(layouts, "STEPS", declared)
    with pytest.raises(SpecError, match="no step of a block declares that it reads the factor att"):
        make()


def test_restriction_and_fixing_keep_and_extension_adds():
    grammar = tiny(residual=["none", "add", "project"], pooling=["stride", "last"])
    assert grammar.restrict(residual=["add", "none"]) == tiny(
        residual=["none", "add"], pooling=["stride", "last"]
    )
    assert grammar.fix(residual="add", pooling="last") == tiny(residual=["add"], pooling=["last"])
    assert prints(tiny(residual=["none"]).extend(residual=["add"])) == prints(
        tiny(residual=["none", "add"])
    )
    assert prints(tiny().extend(residual=["add"])) == prints(tiny(residual=["none", "add"]))
    assert grammar.fix(stem="block", widths=(8, 16, 32), depth=1) == grammar


def test_a_union_is_restricted_part_by_part():
    union = tiny(residual=["none", "add"]) | tiny(kernel=["5x5"])
    assert union.fix(kernel="5x5").size == 1
    assert union.size == 3


def test_spaces_move_to_other_images():
    """They take input and classes, and keep their widths."""
    assert Grammar(GTSRB).on(GTSRB) == Grammar(GTSRB)
    own = Grammar(GTSRB, widths=[(4, 8)]).on(TASKS["cifar10"])
    assert own[0].task.widths == (4, 8)
    assert own[0].task.classes == 10
    chosen = Grammar(GTSRB, widths=[GTSRB.widths, (12, 24, 48)]).fix(widths=GTSRB.widths)
    for same in (chosen, Grammar(GTSRB), Grammar(GTSRB, widths=[GTSRB.widths])):
        assert same.on(TASKS["cifar10"])[0].task.widths == GTSRB.widths
        assert eval(repr(same), {"Grammar": Grammar, "TASKS": TASKS}) == same


def test_numbers_of_numpy_and_lists_are_a_setting():
    same = type(GTSRB)(
        input=GTSRB.input,
        widths=list(np.array(GTSRB.widths)),
        classes=np.int64(43),
        dropout=GTSRB.dropout,
    )
    assert (same, hash(same)) == (GTSRB, hash(GTSRB))


def test_a_block_of_a_member_is_in_the_grammar_whatever_stands_beside_it():
    grammar = tiny(
        bottleneck=["reduce(1)", "reduce(2)", "reduce(4)"], residual=["none", "add"], per_stage=True
    )
    costs = np.sort(grammar.costs().flops)
    for budget in (costs[0], costs[20], costs[len(costs) // 2]):
        small = grammar.where(f"flops <= {budget}")
        members = {block for network in small for block in network.blocks}
        everything = {block for network in grammar for block in network.blocks}
        assert {block for block in everything if block in small} == members


def test_deep_stages_are_spelled():
    deep = tiny(depth=[1, 100], residual=["none", "add"])
    assert deep.size == 4
    assert max(len(network.blocks) for network in deep) == 300


@op("residual")
def kept_map(entry, output):
    return (Norm(entry),)


def test_a_shortcut_of_another_map_than_the_body_is_no_member():
    grammar = tiny(pooling=["none", "last"], residual=["none", kept_map()])
    assert grammar.size == len(list(grammar)) == 3
    with pytest.raises(
        SpecError,
        match=r"residual=test_grammar.kept_map\(\) ends in 3x32x32, but a shortcut has the map of",
    ):
        named_network("effnet", GTSRB).with_factor("residual", kept_map())


def test_a_depth_repeats_blocks_that_keep_the_map():
    (network,) = tiny(depth=[2], kernel=["1x3+3x1"])
    assert network.task.widths == (8, 8, 16, 16, 32, 32)
    assert [block.pooling for block in network.blocks] == ["last", "none"] * 3


def test_stages_with_options_of_their_own():
    grammar = tiny(
        per_stage=[{"residual": ["none"]}, {"residual": ["add"]}, {"residual": ["add", "project"]}],
        kernel=["5x5"],
    )
    assert [[block.residual for block in network.blocks] for network in grammar] == [
        ["none", "add", "add"],
        ["none", "add", "project"],
    ]


def test_constraints_have_names():
    grammar = tiny(residual=["none", "add"], pooling=["stride", "last"]).where(
        "flops <= 10M", free="residual=none or pooling=last"
    )
    assert [constraint.name for constraint in grammar.parts[0].constraints] == [
        "flops <= 10000000",
        "free",
    ]
    assert "where free: residual=none or pooling=last" in str(grammar)
    assert grammar.why_not(parse_block("residual=add pooling=stride")) == "it does not meet free"
    assert grammar.why_not(parse_block("residual=add")) is None


def test_the_reason_is_the_rule_that_excludes():
    grammar = Grammar(GTSRB, bottleneck=["reduce(2)", "reduce(4)"], minimum=[6]).where(
        "flops <= 350k"
    )
    effnet = named_network("effnet", GTSRB)
    for stranger, reason in (
        (effnet, "kernel=1x3+3x1 is none of 3x3"),
        (
            parse_block("bottleneck=reduce(8) minimum=6"),
            "bottleneck=reduce(8) is none of reduce(2) or reduce(4)",
        ),
        (named_network("effnet", TASKS["cifar10"]), "classes is 10, not 43"),
        (parse_block("bottleneck=reduce(2) minimum=6"), "it does not meet flops <= 350000: it has"),
        (named_network("mobilenet", GTSRB), "stem=conv is none of block"),
    ):
        assert stranger not in grammar
        assert reason in grammar.why_not(stranger)
    assert parse_block("bottleneck=reduce(4) minimum=6") in grammar
    with pytest.raises(SpecError, match="not in the space: kernel=1x3"):
        grammar.index(effnet)


def test_a_hidden_factor_does_not_exclude():
    """reduce(8) of 8, 16 and 32 channels with a minimum of 6 is none of the options, but its layers
    are a member's.
    """
    grammar = Grammar(GTSRB, widths=[(8, 16, 32)], bottleneck=["reduce(4)"], minimum=[8])
    assert parse_block("bottleneck=reduce(8) minimum=8") in grammar
    stages = Grammar(GTSRB, per_stage=True, bottleneck=["none", "reduce(4)"], minimum=[8])
    assert parse_block("bottleneck=reduce(8) minimum=8") in stages
    assert parse_block("bottleneck=reduce(8) minimum=9") not in stages


@op("attention")
def broken(entry):
    raise ValueError("no")


@op("activation")
def endless(entry):
    return endless().expand(entry)


@op("attention")
def infinite(entry):
    while True:
        yield Conv(entry, entry.channels, (1, 1))


@op("attention")
def widening(entry):
    return (Conv(entry, 2 * entry.channels, (1, 1)),)


def raises(network):
    raise KeyError("oops")


def test_a_constraint_answers_as_numpy_does_or_its_mistake_is_no_networks():
    two = {"residual": ["none", "add"]}
    kept = tiny(**two).where(lambda network: np.bool_("residual=add" in str(network)))
    assert (tiny(**two).size, kept.size) == (2, 1)
    for wrong in (raises, lambda network: None):
        with pytest.raises(PluginError, match="constraint test_grammar"):
            _ = tiny(**two).where(wrong).size


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: tiny(residul=["add"]), "unknown factor 'residul' (did you mean 'residual'?)"),
        (
            lambda: tiny(residual=["plus"]),
            "residual must be none or add or project or concatenate, but got 'plus'",
        ),
        (lambda: tiny(residual=[]), "residual needs at least one option"),
        (lambda: tiny(last=["none"]).size, "the space is empty: last=none needs spatial=dense"),
        (
            lambda: tiny(stem=["pool"]),
            "stem must be conv, block, or a convolution of its own such as conv(kernel=3,stride=2,"
            "width=16), but got 'pool'",
        ),
        (
            lambda: tiny(stem=["conv(kernel=4,width=8)"]),
            "a stem's kernel is odd, 1 to 15, but got 4",
        ),
        (lambda: tiny(stem=["conv(stride=3,width=8)"]), "a stem's stride is 1, 2 or 4, but got 3"),
        (lambda: tiny(stem=["conv(stride=2)"]), "stem must be conv, block, or a convolution"),
        (lambda: tiny(stages=[8, 16]), "stages are mappings such as dict(width=[16, 24], depth"),
        (lambda: tiny(stages=[{"depth": 2}]), "but stage 1 is {'depth': 2}"),
        (
            lambda: tiny(stages=[{"width": 8, "strid": 1}]),
            "unknown choice of a stage 'strid' (did you mean 'stride'?)",
        ),
        (
            lambda: tiny(stages=[{"width": 8}, {"width": 8, "stride": 4}]),
            "stride of stage 2 must be whole numbers from 1 to 2, but got 4",
        ),
        (
            lambda: tiny(stages=[{"width": 8}], depth=[1, 2]),
            "stages have widths and depths of their own: leave out widths and depth",
        ),
        (
            lambda: tiny(stages=[{"width": 8, "depth": 2}, {"width": 8}], stem=["block", "conv"]),
            "stem=conv takes the place of the first stage, which has depth 1 and stride 2",
        ),
        (
            lambda: tiny(stages=[{"width": list(range(1, 99))} for _ in range(3)]),
            "what is around the blocks has 941,192 combinations, but may have 200,000",
        ),
        (lambda: tiny(resolution=["64x"]), "a resolution is a size such as 96 or 64x48, but got '"),
        (lambda: tiny(channels=[0]), "channels must be a whole number from 1, but got 0"),
        (
            lambda: tiny(stages=[{"width": 8}]).fix(stage2_width=8),
            "stage2_width is none of the choices of 1 stages",
        ),
        (
            lambda: tiny(stages=[{"width": 8}]).fix(depth=1),
            "depth is chosen by stage here, such as stage1_width=[16]",
        ),
        (lambda: tiny(depth=[0]), "depth must be whole numbers from 1 to 100, but got 0"),
        (lambda: tiny(widths=[(0, 1)]), "widths must be one or more whole numbers from 1"),
        (
            lambda: tiny(widths=[(4,)], stem=["conv"]),
            "stem=conv leaves no stage for a block where widths=4",
        ),
        (
            lambda: tiny(per_stage=[{}, {}]),
            "2 stages have options of their own, but widths=8,16,32 has 3",
        ),
        (lambda: tiny(per_stage=[]), "per_stage lists no stage"),
        (
            lambda: tiny(kernel=itertools.cycle(["3x3"])),
            "kernel has more than 10,000 options: does its list ever end?",
        ),
        (
            lambda: tiny(widths=[(8,) * 9]).size,
            "the space is empty: a map is not pooled below 1×1",
        ),
        (
            lambda: (
                tiny(residual=["none", "add"])
                .where(some="residual=add", none="residual=none", other="pooling=last")
                .size
            ),
            "no network of the space meets some (residual=add) and none (residual=none) together",
        ),
        (
            lambda: tiny().where("residual=add").size,
            "no network of the space meets residual=add",
        ),
        (
            lambda: tiny().where("flops <= 10").size,
            "no network of the space meets flops <= 10; its networks have",
        ),
        (
            lambda: tiny().where("flops <= 1G", "params <= 10", "macs >= 1").size,
            "no network of the space meets params <= 10; its networks have",
        ),
        (
            lambda: halves().where("flops <= 250k", "params >= 6k").size,
            "no network of the space meets flops <= 250000 and params >= 6000 together",
        ),
        (
            lambda: tiny().where(raises).size,
            "constraint test_grammar.raises raises KeyError: 'oops'",
        ),
        (
            lambda: tiny().where(lambda network: None).size,
            "must answer True or False, but got None",
        ),
        (lambda: tiny().where("flop <= 3"), "unknown cost 'flop' (did you mean 'flops'?)"),
        (
            lambda: tiny().where("flops <= many"),
            "a budget is written like 'flops <= 12e6', but got 'flops <= many'",
        ),
        (
            lambda: tiny().where("residual"),
            "a rule is conditions such as residual=none joined by 'or', but got 'residual'",
        ),
        (
            lambda: tiny().where("residual=plus"),
            "residual must be none or add or project or concatenate, but got 'plus'",
        ),
        (
            lambda: tiny().where(x="residual=none").where(x="bottleneck=reduce(2)"),
            "there is a constraint x already (residual=none): name this one otherwise",
        ),
        (
            lambda: tiny().where(lambda n: True, lambda n: False),
            "there is a constraint test_grammar.<lambda> already",
        ),
        (lambda: tiny().where(3), "a constraint is text or a function of a network, but got 3"),
        (
            lambda: tiny().fix(residual="add"),
            "the space is empty: none of its options is left by residual=add",
        ),
        (
            lambda: tiny(attention=[broken()]).size,
            "op test_grammar.broken() does not expand on 3x16x16: ValueError: no (test_grammar.py:",
        ),
        (
            lambda: tiny(activation=[endless()]).size,
            "op test_grammar.endless() does not expand on",
        ),
        (lambda: tiny(attention=[infinite()]).size, "it has more than 1000 layers"),
        (
            lambda: tiny(attention=[widening()]).size,
            "an op for attention keeps the shape, but it ends in 6x16x16",
        ),
        (
            lambda: tiny(residual=["none", "add"]).sample(3, seed=0),
            "a sample must hold 1 to 2 of the space's networks",
        ),
        (lambda: tiny().nearest(flops=3, params=3), "nearest takes one cost"),
        (lambda: tiny().frontier("speed"), "unknown cost 'speed'"),
    ],
)
def test_impossible_grammars_are_named(make, says):
    with pytest.raises(BlocksearchError) as caught:
        make()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numbers_beyond_the_last_are_refused():
    with pytest.raises(IndexError, match="a space of 2 networks has none of index 2"):
        tiny(residual=["none", "add"])[2]


def test_one_channel_dense_and_depthwise_are_one():
    """On a grey image a depthwise layer of one channel is a dense one; later stages tell the two
    apart.
    """
    task = type(GTSRB)(input=Shape(1, 8, 8), widths=(1,), classes=2)
    assert Grammar(task, spatial=["depthwise", "dense"]).size == 1
    assert Grammar(task, widths=[(1, 2, 2)], spatial=["depthwise", "dense"]).size == 2


def test_costs_need_no_torch_and_no_walk():
    grammar = Grammar(GTSRB, residual=["none", "add"], pooling=["stride", "last"])
    assert grammar.costs().flops.tolist() == [cost(network.layers).flops for network in grammar]
