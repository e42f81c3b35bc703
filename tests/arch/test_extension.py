"""What is added in one place works everywhere; what is left out anywhere is refused loudly."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import nn

from blocksearch import METRICS, TASKS, Block, Cost, Network, cost, op, parse
from blocksearch.arch.cost import LAYERS, Layer, added, flat
from blocksearch.arch.expansion import STEPS, Around
from blocksearch.arch.factors import FACTORS
from blocksearch.arch.layers import ActivationKind, Pool, PoolKind, Shape, decode, encode
from blocksearch.arch.summary import layer_rows
from blocksearch.arch.tree import Join, JoinKind, UserModel, fingerprint
from blocksearch.errors import SpecError
from blocksearch.training import build
from tests.arch.test_cost import check_against_torch
from tests.strategies import OPTIONS

PACKAGE = Path(__file__).parent.parent.parent / "blocksearch"
FACTOR_FILE, VALUE_FILE = "arch/factors.py", "arch/values.py"
STEP_FILE = "arch/expansion.py"
STEP_CLASSES = ("FirstPointwise", "Spatial", "LastPointwise", "Around")

# A factor is added by changing the text of the modules: if their lines change, change these, too.
BLEND_ROW = (
    '    _choice("pool_kind",',
    '    _choice("blend", "batch", ["batch", "none"], "normalisation of each convolution"),\n'
    '    _choice("pool_kind",',
)
BLEND_READ = [
    (
        'activation: Op | str) -> Layers:\n    """Follow',
        'activation: Op | str, blend: str) -> Layers:\n    """Follow',
    ),
    (
        "(conv, Norm(conv.output))\n",
        '(conv, Norm(conv.output)) if blend == "batch" else (conv,)\n',
    ),
    (
        "_conv_unit(conv, self.first_activation)",
        "_conv_unit(conv, self.first_activation, self.blend)",
    ),
    ("else self.spatial_activation)", "else self.spatial_activation, self.blend)"),
    ("_conv_unit(conv, self.activation)", "_conv_unit(conv, self.activation, self.blend)"),
    ("_joined(self.residual, entry, body)", "_joined(self.residual, entry, body, self.blend)"),
    (
        "entry: Shape, body: Shape\n) -> tuple",
        "entry: Shape, body: Shape, blend: str\n) -> tuple",
    ),
    ('_conv_unit(projection, "linear")', '_conv_unit(projection, "linear", blend)'),
]
ASKED = """
from blocksearch import Grammar, TASKS, cost
space = Grammar(TASKS["gtsrb"], bottleneck=["reduce(2)", "reduce(4)"],
                residual=["none", "project"], blend=["batch", "none"])
assert space.size == 8, space.size
assert space.where("blend=batch or residual=none").size == 6
for network in space:
    for value in ("batch", "none"):
        other = network.with_factor("blend", value)
        place = space.index(other)
        assert space[place].digest == other.digest
        assert space.costs([place]).params[0] == other.cost.params
"""


def run_edited(folder: Path, edits: dict[str, list[tuple[str, str]]], code: str):
    """Run code with a copy of the package in which texts are replaced; each must be there."""
    shutil.copytree(PACKAGE, folder / "blocksearch", ignore=shutil.ignore_patterns("__pycache__"))
    for name, pairs in edits.items():
        file = folder / "blocksearch" / name
        text = file.read_text()
        for old, new in pairs:
            assert old in text, old
            text = text.replace(old, new)
        file.write_text(text)
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def field_of(step: str) -> tuple[str, str]:
    """An edit that lets a step read the factor blend."""
    text = (PACKAGE / STEP_FILE).read_text()
    head = text[text.index(f"class {step}(NamedTuple)") :]
    first = next(
        line
        for line in head.splitlines()
        if line.startswith("    ") and ": " in line and '"""' not in line
    )
    start = head[: head.index(first)]
    return start, f"{start}    blend: str\n"


def test_a_new_factor_is_a_row_and_a_field_of_the_steps_that_read_it(tmp_path):
    steps = [*map(field_of, STEP_CLASSES), *BLEND_READ]
    done = run_edited(tmp_path, {FACTOR_FILE: [BLEND_ROW], STEP_FILE: steps}, ASKED)
    assert done.returncode == 0, done.stderr


def test_a_factor_that_no_step_reads_is_refused(tmp_path):
    done = run_edited(tmp_path, {FACTOR_FILE: [BLEND_ROW]}, "from blocksearch import Grammar")
    assert done.returncode != 0
    assert "factor blend is no field of a step that reads it, in arch/expansion.py" in done.stderr


@pytest.mark.parametrize("left_out", STEP_CLASSES)
def test_a_step_that_reads_a_factor_must_declare_it(tmp_path, left_out):
    steps = [*(field_of(step) for step in STEP_CLASSES if step != left_out), *BLEND_READ]
    done = run_edited(tmp_path, {FACTOR_FILE: [BLEND_ROW], STEP_FILE: steps}, ASKED)
    assert done.returncode != 0
    assert f"'{left_out}' object has no attribute 'blend'" in done.stderr


def test_every_factor_is_read_and_drawn():
    assert {name for step in (Around, *STEPS) for name in step._fields} == set(FACTORS)
    assert list(OPTIONS) == list(FACTORS)
    assert list(Block().values()) == list(FACTORS)


def test_a_new_value_is_one_line_with_what_it_does(tmp_path):
    edits = [
        (
            '    "linear": lambda',
            '    "silu": lambda shape: (Activation(shape, "silu"),),\n    "linear": lambda',
        ),
        ('    "none": Pooling(', '    "late": Pooling(behind=BOTH),\n    "none": Pooling('),
    ]
    code = """
from blocksearch import Block, Grammar, TASKS, parse
from blocksearch.errors import SpecError
space = Grammar(TASKS["gtsrb"], activation=["relu", "silu", "linear"], pooling=["last", "late"])
assert space.size == 6
assert len({network.digest for network in space}) == 6
assert all(space.costs([i]).flops[0] == network.cost.flops for i, network in enumerate(space))
assert parse(str(space[5])) == space[5]
try:
    Block(spatial="dense", last="none", pooling="late")
except SpecError:
    print("refused")
"""
    done = run_edited(tmp_path, {VALUE_FILE: edits}, code)
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr


LEFT_OUT = {
    "spatial": ("shift", VALUE_FILE, 'Literal["depthwise", "dense"'),
    "residual": ("gate", VALUE_FILE, 'Literal["none", "add", "project", "concatenate"'),
    "last": ("twice", VALUE_FILE, 'Literal["pointwise", "none"'),
    "pool_kind": ("lp", "arch/pools.py", 'Literal["max", "average"'),
}


def test_a_value_without_behaviour_is_no_other_value(tmp_path):
    edits: dict[str, list[tuple[str, str]]] = {}
    for value, file, old in LEFT_OUT.values():
        edits.setdefault(file, []).append((old, f'{old}, "{value}"'))
    code = f"""
from blocksearch import Block, Network, TASKS
for factor, value in {[(name, row[0]) for name, row in LEFT_OUT.items()]}:
    try:
        block = Block(**{{"spatial": "dense", factor: value}})
        Network(task=TASKS["gtsrb"], blocks=[block]).module()
    except AssertionError as error:
        print(factor)
"""
    done = run_edited(tmp_path, edits, code)
    assert done.stdout.split() == list(LEFT_OUT), done.stderr


@pytest.fixture
def scale():
    """A layer that users add: one class, and one builder."""

    @dataclass(frozen=True)
    class Scale(Layer):
        input: Shape
        offset: int = added(0)

        @property
        def cost(self) -> Cost:
            return Cost(params=self.input.channels, peak_activations=self.input.elements)

    class Scaled(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1, channels, 1, 1))

        def forward(self, x):
            return x * self.weight

    build.BUILDERS[Scale] = lambda maker, layer: Scaled(maker.copies * layer.input.channels)
    yield Scale
    del build.BUILDERS[Scale], LAYERS["Scale"]


def test_a_new_layer_is_its_class_and_a_builder(scale):
    @op("attention")
    def scaling(entry):
        return (scale(entry),)

    block = Block(attention=scaling, residual="add")
    network = Network(task=TASKS["gtsrb"], blocks=[block])
    assert cost(network.layers).params == cost(parse("residual=add", TASKS["gtsrb"])).params + sum(
        layer.input.channels for layer in walk(network.layers) if isinstance(layer, scale)
    )
    check_against_torch(network)
    assert network.module()(torch.randn(2, 3, 32, 32)).isfinite().all()
    assert decode(encode(network.layers)) == network.layers
    assert any("+ scale" in row.label for row in layer_rows(network))
    assert sum(row.params for row in layer_rows(network)) == network.cost.params


def test_a_field_that_a_layer_gets_later_changes_no_stored_network(scale):
    shape = Shape(3, 4, 4)
    before = f'[{{"":"Scale","input":{encode((scale(shape),))[21:-2]}}}]'
    assert encode((scale(shape),)) == encode((scale(shape, offset=0),)) == before
    assert "offset" not in before
    changed = (scale(shape, offset=2),)
    assert fingerprint(changed) != fingerprint((scale(shape),))
    assert decode(encode(changed)) == changed
    assert decode(before) == (scale(shape),)


def walk(layers):
    for layer in flat(layers):
        yield layer
        if isinstance(layer, Join):
            for branch in layer.branches:
                yield from walk(branch)


def test_a_layer_without_a_cost_cannot_be_defined():
    with pytest.raises(TypeError, match="layer Free must define its cost"):

        class Free(Layer):
            pass

    assert "Free" not in LAYERS


def test_what_is_no_layer_costs_an_error_and_not_nothing():
    @dataclass(frozen=True)
    class Lookalike:
        input: Shape
        output: Shape

    with pytest.raises(SpecError, match="Lookalike is no layer, so its cost is not known"):
        cost([Lookalike(Shape(8, 16, 16), Shape(8, 16, 16))])


def test_a_layer_without_a_builder_is_named(scale):
    builder = build.BUILDERS.pop(scale)
    with pytest.raises(SpecError, match="Scale has no builder"):
        build.build((scale(Shape(8, 4, 4)),))
    build.BUILDERS[scale] = builder


def test_every_kind_of_layer_is_stored_by_its_name_and_built():
    assert set(LAYERS.values()) - {UserModel} == set(build.BUILDERS)  # which its function builds
    assert sorted(LAYERS) == [
        "Activation", "Conv", "Custom", "Dropout", "GlobalPool", "Join", "Linear", "MatchChannels",
        "Model", "Norm", "Pool", "Shuffle",
    ]  # fmt: skip


def test_every_member_of_an_enumeration_is_priced_named_and_built():
    shape, x = Shape(4, 6, 6), torch.randn(2, 4, 6, 6)
    layers = [LAYERS["Activation"](shape, kind) for kind in get_args(ActivationKind)]
    layers += [Pool(shape, kind, (2, 2), (2, 2)) for kind in get_args(PoolKind)]
    layers += [Join(shape, kind, ((), ())) for kind in get_args(JoinKind)]
    for layer in layers:
        assert cost((layer,)).peak_activations > 0
        assert layer.label in layer.suffix
        made = build.build((layer,))(x)
        assert tuple(made.shape[1:]) == (layer.output.channels, *layer.output.map)
    assert len({str(build.build((layer,))) for layer in layers}) >= len(layers) - 2  # joins alike


@pytest.mark.parametrize(("kind", "layer"), [("swish", "Activation"), ("lp", "Pool")])
def test_an_unknown_kind_is_refused(kind, layer):
    sizes = ((2, 2), (2, 2)) if layer == "Pool" else ()
    with pytest.raises(SpecError, match=f"but got '{kind}'"):
        LAYERS[layer](Shape(4, 6, 6), kind, *sizes)


COST_FILE, LAST_COST = "arch/quantities.py", ")\nQUANTITIES = {"
NEW_COSTS = (
    LAST_COST,
    """    Quantity(
        name="depth",
        label="depth",
        unit="convolutions",
        meaning="convolutions, those of shortcuts too",
        counted=lambda layer: int(layer.stored_as == "Conv"),
    ),
    Quantity(
        name="weight_bytes",
        label="bytes of weights",
        unit="bytes",
        meaning="of parameters in single precision",
        multiple=(4, "params"),
    ),
"""
    + LAST_COST,
)
NEW_COSTS_ASKED = """
import blocksearch as bs
from blocksearch.arch.tree import Join
from blocksearch.arch.layers import Conv

def convolutions(layers):
    return sum(
        sum(map(convolutions, layer.branches)) if isinstance(layer, Join)
        else isinstance(layer, Conv) for layer in layers
    )

names = ("depth", "weight_bytes")
options = {"residual": ["none", "add", "project"], "bottleneck": ["reduce(2)", "none"]}
for each in ({"per_stage": True}, {}):
    space = bs.Grammar(bs.TASKS["gtsrb"], **options, **each)
    networks, costs = list(space), space.costs()
    depths = [convolutions(network.layers) for network in networks]
    assert len(set(depths)) > 2
    assert [n.cost.depth for n in networks] == costs.depth.tolist() == depths
    assert costs.weight_bytes.tolist() == [4 * n.cost.params for n in networks]
    bound = sorted(depths)[len(depths) // 2]
    assert [bs.cost(n).depth for n in space.where(f"depth <= {bound}")] == [
        depth for depth in depths if depth <= bound]
    assert space.where("weight_bytes <= 95k").size == (costs.params <= 23_750).sum() > 0
    assert min(n.cost.depth for n in space.frontier(*names)) == min(depths)
    assert {c.depth.item() for c in space.enumeration.extremes()} == {min(depths), max(depths)}

price = bs.price("effnet residual=project")
assert "convolutions, those of shortcuts too" in price.table()
price.save("price.json")
assert "weight_bytes" in bs.survey(space).table()
study = bs.Study(space, "s.db", objective=lambda network, seed: float(network.cost.depth),
                 objectives=("accuracy", *names), budgets=["depth <= 14"], seeds=1,
                 sampler="random", references="none")
study.search(trials=3)
assert "depth" in study.table() and all(e.costs["depth"] <= 14 for e in study.front)
assert all(set(e.accuracies) == {e.costs["depth"]} for e in study.front)
study.save("front.json")

from torch import nn
def model(block):
    return nn.Sequential(block.module((3, 32, 32), 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(8, 43))
own = space.inside(model)
assert list(own.costs([0]).named()) == [*bs.METRICS[:5], "weight_bytes"]
try:
    own.where("depth <= 3").size
except bs.BlocksearchError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_new_cost_is_a_row(tmp_path):
    done = run_edited(tmp_path, {COST_FILE: [NEW_COSTS]}, NEW_COSTS_ASKED)
    assert done.returncode == 0, done.stderr
    assert "depth is counted of each layer, and a model of your own has none" in done.stdout
    price = json.loads((tmp_path / "price.json").read_text())
    assert price["weight_bytes"] == 4 * price["params"]
    assert price["units"]["depth"] == "convolutions"
    front = json.loads((tmp_path / "front.json").read_text())
    assert front["objectives"] == ["accuracy", "depth", "weight_bytes"]


NEW_SAMPLER = [
    (
        'OPTUNA = ("nsga2"',
        """class Least:
    name = "least"

    def propose(self, trials, pending, candidates, rng):
        rows = sorted(candidates.free, key=lambda row: candidates.costs(["flops"])[row, 0])
        return Proposal(rows[0]) if rows else None


OPTUNA = ("nsga2\"""",
    ),
    (
        "    RandomSampler.name: RandomSampler,",
        "    **{each.name: each for each in (RandomSampler, Least)},",
    ),
]
NEW_SAMPLER_ASKED = """
import blocksearch as bs
space = bs.Grammar(bs.TASKS["gtsrb"], bottleneck=["reduce(2)", "none"], residual=["none", "add"])
study = bs.Study(space, "s.db", objective=lambda network, seed: 50.0, sampler="least", seeds=1,
                 references="none")
study.search(trials=3)
new = [trial for trial in study.trainings if trial.kind == "new"]
assert {trial.origin for trial in new} == {"least"}
assert [trial.costs["flops"] for trial in new] == sorted(space.costs().flops.tolist())[:3]
"""


def test_a_new_sampler_is_a_class_in_a_table(tmp_path):
    done = run_edited(tmp_path, {"search/samplers.py": NEW_SAMPLER}, NEW_SAMPLER_ASKED)
    assert done.returncode == 0, done.stderr


DATA_SET_ASKED = """
from pathlib import Path
Path("blocksearch/data/sets/stripes.py").write_text('''
from dataclasses import dataclass
import numpy as np
from blocksearch.arch.network import Task
from blocksearch.arch.shape import Shape
from blocksearch.data.datasets import Arrays, Dataset, register

@dataclass(frozen=True, kw_only=True)
class Stripes(Dataset):
    def stamp(self, part, root):
        return [1]

    def read(self, part, root):
        labels = np.arange(100) % 2
        images = np.zeros((100, 8, 8, 1), np.uint8)
        images[labels == 1, ::2] = 255
        return Arrays(images, labels)

register(Stripes(name="stripes", description="rows",
                 task=Task(input=Shape(1, 8, 8), classes=2, widths=(4, 4)), counts=(100, 100)))
''')
import blocksearch as bs
assert "stripes" in [row["name"] for row in bs.datasets().found]
assert bs.price("baseline", "stripes").found.flops > 0
assert bs.Grammar("stripes", residual=["none", "add"])[0].task.classes == 2
answer = bs.train("baseline", dataset="stripes", epochs=1, batch=20, device="cpu",
                  executor="serial", data_root="images")
assert answer.records()[0]["state"] == "complete"
"""


@pytest.mark.slow
def test_a_new_data_set_is_a_module_beside_the_others(tmp_path):
    done = run_edited(tmp_path, {}, DATA_SET_ASKED)
    assert done.returncode == 0, done.stderr


def test_a_cost_that_nothing_counts_is_refused(tmp_path):
    row = NEW_COSTS[1].replace('multiple=(4, "params"),', "")
    done = run_edited(tmp_path, {COST_FILE: [(LAST_COST, row)]}, "from blocksearch import Cost")
    assert "cost weight_bytes must be counted of a layer, or be a multiple" in done.stderr


def test_each_metric_is_a_number_of_a_network_and_of_a_space():
    from blocksearch import Grammar

    space = Grammar(TASKS["gtsrb"], residual=["none", "add"])
    for metric in METRICS:
        assert getattr(space[1].cost, metric) == getattr(space.costs(), metric)[1] > 0
