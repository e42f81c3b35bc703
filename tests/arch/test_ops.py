"""Options from a user's own file: costed, built, printed, parsed, sampled and ablated like built-in
ones.
"""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from blocksearch import (
    TASKS,
    Block,
    Grammar,
    Network,
    Shape,
    cost,
    named_network,
    op,
    parse,
)
from blocksearch.ablation.config import AblationConfig, read_values
from blocksearch.ablation.design import ask
from blocksearch.arch.layers import (
    Activation,
    Conv,
    CustomOp,
    Dropout,
    Join,
    Pool,
    Shuffle,
    decode,
    encode,
)
from blocksearch.arch.ops import Op
from blocksearch.arch.summary import layer_rows
from blocksearch.errors import BlocksearchError, ConfigError, ParseError, PluginError, SpecError
from blocksearch.runs.plan import loaded
from blocksearch.space.load import read_space
from blocksearch.training.build import build
from tests.arch.test_cost import (
    check_against_torch,
    test_peak_activation_is_the_largest_sum_of_live_tensors,
)
from tests.commands import command
from tests.strategies import tries

SPACES = Path(__file__).parent.parent.parent / "search_spaces"
SHIPPED = {name: read_space(SPACES / f"{name}.py") for name in ("squeeze", "gates")}
OPTIONS = {name: family for space in SHIPPED.values() for name, family in space.options.items()}
MEMBERS = [network for space in SHIPPED.values() for network in space.grammar]
check_peak = test_peak_activation_is_the_largest_sum_of_live_tensors.hypothesis.inner_test


@pytest.mark.parametrize("network", MEMBERS, ids=lambda network: str(network.blocks[0]))
def test_members_with_options_cost_what_torch_counts_and_run(network):
    check_against_torch(network)
    check_peak(network)
    assert build(network.layers, 0)(torch.randn(2, 3, 32, 32)).isfinite().all()
    assert parse(str(network), ops=OPTIONS) == network
    assert decode(encode(network.layers)) == network.layers
    assert sum(row.macs for row in layer_rows(network)) == cost(network.layers).macs
    assert sum(row.params for row in layer_rows(network)) == cost(network.layers).params


@tries(20)
@given(st.integers(5, 20), st.integers(5, 20), st.integers(1, 9))
def test_options_hold_on_odd_maps_and_widths(height, width, channels):
    option_values = {
        "attention": OPTIONS["squeeze.se"](ratio=3),
        "residual": OPTIONS["gates.strongest"](),
    }
    task = type(TASKS["gtsrb"])(
        input=Shape(3, height, width), widths=(channels, 2 * channels), classes=3
    )
    check_against_torch(
        Network(task=task, blocks=(Block(**option_values, activation=OPTIONS["gates.swish"]()),))
    )


def test_squeeze_and_excitation_multiplies_channels():
    layers = OPTIONS["squeeze.se"](ratio=1).expand(Shape(4, 5, 5))
    module, x = build(layers, 0), torch.randn(2, 4, 5, 5)
    gate = module[0][0].branches[1](x)
    assert gate.shape == (2, 4, 1, 1)
    assert torch.allclose(module(x), x * gate)


def test_a_branch_never_writes_into_the_input_of_another():
    layers = (Join(Shape(2, 3, 3), "add", ((Activation(Shape(2, 3, 3), "relu"),), ())),)
    x = -torch.ones(1, 2, 3, 3)
    assert (build(layers)(x) == -1).all()
    assert (x == -1).all()


def test_a_changed_definition_is_another_network(tmp_path):
    def fingerprint(slope):
        code = (SPACES / "gates.py").read_text().replace('"hardsigmoid"', f'"{slope}"')
        (tmp_path / "gates.py").write_text(code)
        options = read_space(tmp_path / "gates.py").options
        return parse("effnet activation=gates.swish()", TASKS["gtsrb"], options).digest

    assert fingerprint("hardsigmoid") == fingerprint("hardsigmoid") != fingerprint("sigmoid")


def test_the_source_and_the_name_are_part_of_the_identity():
    layer = CustomOp(Shape(2, 3, 3), "a.b()", "0", (Conv(Shape(2, 3, 3), 2, (1, 1)),))
    prints = {
        encode((layer,)),
        encode((CustomOp(layer.input, "a.c()", "0", layer.body),)),
        encode((layer.body[0],)),
    }
    assert len(prints | {encode((CustomOp(layer.input, "a.b()", "1", layer.body),))}) == 4


def test_options_are_varied_like_built_in_values():
    space = loaded([SPACES / "squeeze.py"])
    reference = named_network("effnet", TASKS["gtsrb"])
    asked = AblationConfig(factors=["attention"])
    values = read_values("squeeze.se(ratio=2),squeeze.se(ratio=4)")
    from_grammar = ask(reference, asked, space)
    from_text = ask(reference, replace(asked, values=values), space)
    assert (
        [v.value for v in from_grammar]
        == [v.value for v in from_text]
        == ["none", "squeeze.se(ratio=2)", "squeeze.se(ratio=4)"]
    )
    assert len({v.network.digest for v in from_text}) == 3


@op("attention")
def mixed(entry, norm: bool = False, mode: str = "a", factor: float = 1.0, other: object = None):
    return (
        Activation(entry, "relu" if norm and mode == "a" else "elu"),
        *(() if other is None else (Activation(entry, "relu"),)),
    )


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("mode", ["a", "b"])
@pytest.mark.parametrize("factor", [1.0, np.float64(0.3), 2])
@pytest.mark.parametrize("other", [None, np.int64(3)])
def test_a_parameter_is_read_back_as_it_was_written(norm, mode, factor, other):
    value = mixed(norm=norm, mode=mode, factor=factor, other=other)
    network = named_network("effnet", TASKS["gtsrb"]).with_factor("attention", value)
    again = parse(str(network), ops={mixed.name: mixed})
    assert again == network
    assert again.digest == network.digest
    assert again.blocks[0].attention.arguments == value.arguments


@pytest.mark.parametrize(
    "value", ["4", "True", "1e3", "a,b", "a b", "a]b", "(a", "x|y", (3, 3), float("nan"), [1]]
)
def test_a_parameter_that_would_not_be_read_back_is_refused(value):
    with pytest.raises(
        ConfigError, match=r"op test_ops.mixed cannot have other=.*: a parameter is a number"
    ):
        mixed(other=value)


def test_an_option_fits_in_fifteen_lines():
    for name, family in OPTIONS.items():
        source = (SPACES / f"{name.split('.')[0]}.py").read_text()
        body = source[source.index(f"def {family.function.__name__}") :].split("\n\n\n")[0]
        assert len(body.splitlines()) + 1 <= 15


@op("attention")
def broken(entry, kind="raises"):
    if kind == "raises":
        raise ValueError("no")
    return (Conv(Shape(9, 9, 9), 9, (1, 1)),)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: Block(attention=OPTIONS["gates.swish"]()),
            "attention cannot be gates.swish(): that is an op for activation",
        ),
        (lambda: Block(kernel=OPTIONS["gates.swish"]()), "kernel cannot be gates.swish()"),
        (
            lambda: OPTIONS["squeeze.se"](ration=2),
            "op squeeze.se has no parameter 'ration'; known: ratio",
        ),
        (
            lambda: op("kernel"),
            "an op is for activation or attention or residual, but got 'kernel'",
        ),
        (
            lambda: broken().expand(Shape(2, 3, 3)),
            "op test_ops.broken(kind=raises) does not expand on 2x3x3: ValueError: no",
        ),
        (lambda: broken(kind="shape").expand(Shape(2, 3, 3)), "Conv reads 9x9x9 but follows 2x3x3"),
        (
            lambda: Join(Shape(2, 3, 3), "multiply", ((), (Conv(Shape(2, 3, 3), 3, (1, 1)),))),
            "branches to multiply must match",
        ),
    ],
)
def test_impossible_options_are_named(make, says):
    with pytest.raises(BlocksearchError) as caught:
        make()
    assert says in str(caught.value)


@pytest.mark.parametrize("factor", ["attention", "residual", "activation"])
def test_a_text_of_an_op_that_is_not_called_is_told_so(factor):
    with pytest.raises(ParseError, match=r"but got 'op2\.gate'; call it: op2\.gate\(\)"):
        parse(f"effnet {factor}=op2.gate", TASKS["gtsrb"])
    with pytest.raises(ParseError) as other:
        parse("effnet kernel=op2.gate", TASKS["gtsrb"])
    assert "call it" not in str(other.value)


@pytest.mark.parametrize("text", ["se()", "squeeze.sse(ratio=2)", "sse"])
def test_a_misspelt_op_is_answered_by_those_that_are_loaded(text):
    with pytest.raises(ParseError, match=r"; loaded ops: squeeze\.se\(\), at column"):
        parse(f"effnet attention={text}", TASKS["gtsrb"], ops=OPTIONS)
    for factor, ops in (("kernel", OPTIONS), ("attention", {})):  # none for it, none at all
        with pytest.raises(ParseError) as caught:
            parse(f"effnet {factor}={text}", TASKS["gtsrb"], ops=ops)
        assert "loaded ops" not in str(caught.value)


def test_a_file_that_is_not_loaded_is_named():
    with pytest.raises(
        ParseError,
        match=r"attention=squeeze.se\(ratio=2\) is defined in squeeze.py, which is not loaded",
    ):
        parse("effnet attention=squeeze.se(ratio=2)", TASKS["gtsrb"])


GRAMMAR = "from blocksearch import Grammar, TASKS\n"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("x = 1\n", "x.py defines neither a grammar nor an option"),
        ("def f(:\n", "x.py:1: not Python: "),
        ("\nimport nothing_of_that_name\n", "x.py:2: ModuleNotFoundError: "),
        ("class Odd(BaseException): pass\nraise Odd(3)\n", "x.py:2: Odd: 3"),
        ("import sys\nsys.exit(3)\n", "x.py:2: SystemExit: 3"),
        (
            GRAMMAR + "a = Grammar(TASKS['digits'])\nb = Grammar(TASKS['digits'])\n",
            "x.py defines 2 grammars; a space file has one",
        ),
        (
            GRAMMAR + "a = Grammar(TASKS['digits'], residul=['add'])\n",
            "x.py:2: ConfigError: unknown factor 'residul'",
        ),
    ],
)
def test_files_that_are_no_space_are_named_with_the_line(tmp_path, code, says):
    (tmp_path / "x.py").write_text(code)
    with pytest.raises(SpecError) as caught:
        read_space(tmp_path / "x.py")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_line_takes_a_space(tmp_path):
    command = [
        sys.executable,
        "-m",
        "blocksearch",
        "cost",
        "effnet attention=squeeze.se(ratio=4)",
        "--dataset",
        "gtsrb",
        "--json",
    ]
    price = json.loads(
        subprocess.run(
            [*command, "--plugin", SPACES / "squeeze.py"], capture_output=True, check=True
        ).stdout
    )
    assert (
        price["macs"]
        == cost(parse("effnet attention=squeeze.se(ratio=4)", TASKS["gtsrb"], OPTIONS).layers).macs
    )
    without = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (without.returncode, "squeeze.py, which is not loaded" in without.stderr) == (2, True)


def test_a_shipped_space_is_a_grammar_of_distinct_members():
    for space in SHIPPED.values():
        assert isinstance(space.grammar, Grammar)
        assert space.grammar.size == len({network.digest for network in space.grammar})


def run_cli(folder, *arguments):
    return command(*arguments, cwd=folder, code=None)


def test_an_op_that_crashes_ends_an_ablation_and_is_no_row_of_it(tmp_path):
    code = "from blocksearch import op\n\n\n@op('attention')\ndef boom(entry):\n    entry.nothing\n"
    (tmp_path / "bad.py").write_text(code)
    asked = ["ablate", "--factor", "attention", "--factor", "residual", "--dataset", "digits"]
    done = run_cli(tmp_path, *asked, "--plugin", "bad.py", "--dry-run", "--db", "x.db")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "op bad.boom() does not expand on" in line
    assert line.endswith("(bad.py:6)")


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="this Python keeps the source of `-c`")
def test_an_op_typed_into_a_console_is_refused_in_one_line():
    code = "import blocksearch\n@blocksearch.op('attention')\ndef f(entry):\n    return ()\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert "ConfigError: the source of op 'f' cannot be read" in last


WRONG_LAYERS = {
    "a pool of (2, 2) with stride (1, 1) makes (15, 15)": lambda e: Pool(e, "max", (2, 2), (1, 1)),
    "a pool's kernel is two whole": lambda e: Pool(e, "max", (0, 1), (1, 1)),
    "a dropout's rate is at least 0 and below 1, but got -1": lambda e: Dropout(e, -1),
    "but got nan": lambda e: Dropout(e, float("nan")),
    "a shuffle has 1 to 8 groups here": lambda e: Shuffle(e, 0),
    "kernel must be a pair": lambda e: Conv(e, 8, (3.0, 3)),
    "but got 'divide' of 1": lambda e: Join(e, "divide", ((),)),
    "but got 'add' of 0": lambda e: Join(e, "add", ()),
    "str is no layer": lambda e: "relu",
    "stride must be a pair": lambda e: Join(e, "add", ((), (Conv(e, 8, (1, 1), (True, 1)),))),
}


@pytest.mark.parametrize("says", WRONG_LAYERS)
def test_a_layer_that_cannot_be_built_is_refused_where_its_op_expands(says):
    def wrong(entry):
        return (WRONG_LAYERS[says](entry),)

    made = Op(kind="attention", name="a.wrong", source="0", function=wrong)
    with pytest.raises(PluginError, match=re.escape(says)):
        made().expand(Shape(8, 16, 16))


def test_numbers_of_numpys_in_a_layer_are_pythons():
    def own(number):
        def conv(entry):
            return (Conv(entry, number(8), (number(3), number(3))),)

        return Op(kind="attention", name="a.conv", source="0", function=conv)

    entry = Shape(np.int64(8), 4, 4)
    assert encode(own(np.int64)().expand(entry)) == encode(own(int)().expand(Shape(8, 4, 4)))
    tasks = [replace(TASKS["digits"], dropout=of(0.25)) for of in (float, np.float32)]
    assert len({str(named_network("effnet", task)) for task in tasks}) == 1


def test_an_op_is_a_value_as_it_is_if_it_needs_no_parameter():
    bare = Block(attention=OPTIONS["squeeze.se"])
    assert bare == Block(attention=OPTIONS["squeeze.se"](ratio=4))
