"""Ablations and searches over the blocks inside a user's model: spaces, prices, runs that are
shared, studies that go on, and answers that need no code.
"""

import os
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

import blocksearch as bs
from blocksearch.arch.layers import Activation
from blocksearch.cli import app
from blocksearch.errors import BlocksearchError, ConfigError, PluginError, SpecError
from blocksearch.runs.ledger import Ledger
from blocksearch.space.candidates import Candidates

ROOT = Path(__file__).parent.parent.parent
TASK = bs.Task(input=(1, 8, 8), classes=10, widths=(4, 8))
SPACE = bs.Grammar(TASK, residual=["none", "add"], kernel=["3x3", "5x5"])
TRAINED = {"epochs": 1, "batch": 32, "workers": 1}


def make(block):
    return nn.Sequential(block.module((1, 8, 8), 4), nn.Flatten(), nn.Linear(64, 10))


@bs.op("attention")
def gate(entry):
    return (Activation(entry, "sigmoid"),)


def digits(count=300):
    found = load_digits()
    images = (found.images[:count, :, :, None] * 15).astype(np.uint8)
    return images, found.target[:count]


def test_a_space_inside_a_model_needs_no_widths():
    task = replace(TASK, widths=())
    space = bs.Grammar(task, skeleton=make, residual=["none", "add"])
    usual = bs.Grammar(TASK, skeleton=make, residual=["none", "add"])
    assert [own.digest for own in space] == [own.digest for own in usual]
    with pytest.raises(SpecError, match="only a space with a skeleton needs none"):
        bs.Grammar(task, residual=["none", "add"])


def test_a_space_inside_a_model_has_the_blocks_of_the_grammar():
    inside = bs.Grammar(TASK, skeleton=make, residual=["none", "add"], kernel=["3x3", "5x5"])
    assert len(inside) == len(SPACE)
    assert [each.blocks for each in inside] == [each.blocks for each in SPACE]
    assert "inside test_inside.make, FLOPs counted by torch" in str(inside)
    assert "skeleton=test_inside.make" in repr(inside)
    assert all(each in inside for each in inside)
    costs = inside.costs()
    assert [(own.cost.flops, own.cost.params) for own in inside] == list(
        zip(costs.flops, costs.params, strict=True)
    )
    bound = int(np.median(costs.flops))
    within = inside.where(f"flops <= {bound}")
    assert [each.blocks for each in within] == [
        each.blocks for each in inside if each.cost.flops <= bound
    ]
    pool = Candidates(within)
    assert sorted(pool.costs(["flops"])[:, 0]) == sorted(own.cost.flops for own in within)
    assert within.sample(1, seed=3)[0] in within


def test_a_block_that_does_not_fit_is_left_out():
    def picky(block):
        if str(block.kernel) == "5x5":
            raise SpecError("too wide for this model")
        return make(block)

    pool = Candidates(SPACE.inside(picky))
    assert {str(pool.network(row).blocks[0].kernel) for row in range(len(pool))} == {"3x3"}
    with pytest.raises(SpecError, match="too wide for this model"):
        Candidates(SPACE.fix(kernel="5x5").inside(picky))


def constant(block):
    return make(bs.Block())


@pytest.mark.slow
def test_what_cannot_be_is_said(tmp_path):
    for around in (
        {"head": ["flatten", "global_pool"]},
        {"head": ["global_pool"]},
        {"stem": ["conv"]},
        {"depth": [2]},
        {"resolution": [8, 16]},
        {"channels": [1, 3]},
        {"widths": [(4, 8), (8, 8)]},
        {"stages": [{"width": 4, "depth": [1, 2]}]},
        {"per_stage": True},
    ):
        with pytest.raises(
            SpecError, match=f"takes one block.* this one has .*{next(iter(around))}"
        ):
            bs.Grammar(TASK, skeleton=make, **around)
    with pytest.raises(ConfigError, match="inside of one model, or both of none"):
        SPACE | SPACE.inside(make)
    with pytest.raises(ConfigError, match="is a model: give a function"):
        bs.ablate("effnet", factor="residual", skeleton=nn.Linear(2, 2))
    with pytest.raises(ConfigError, match="has its own widths"):
        bs.ablate("effnet", factor="residual", skeleton=make, widths="4,8")
    with pytest.raises(ConfigError, match="returns the same model whatever the value is"):
        bs.ablate(
            "kernel=3x3", factor="residual", dataset=digits(), skeleton=constant, dry_run=True
        )
    with pytest.raises(ConfigError, match="same model for different blocks"):
        bs.Study(SPACE.inside(constant), tmp_path / "c.db", dataset=digits()).search(trials=1)


MODEL = """
import torch
from torch import nn

class Small(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.body, self.head = block.module((1, 8, 8), 4), nn.Linear(64, 10)

    def forward(self, x):
        return self.head(self.body(x).flatten(1))

def make(block):
    return Small(block)

def crash(block):
    return {}["stage"]
"""
SCRIPT = """
import sys
from torch import nn
import numpy as np
import blocksearch as bs

width = 4
with np.load("digits.npz") as found:
    images = found["x_train"], found["y_train"]
answer = bs.ablate(
    "kernel=3x3", factor="residual", values=["none", "add"], dataset="digits.npz", seeds=2,
    epochs=1, batch=32, workers=1, db="runs.db",
    skeleton=lambda block: nn.Sequential(
        block.module((1, 8, 8), width), nn.Flatten(1), nn.Linear(16 * width, 10)
    ),
)
print(answer.table())
"""


def run(folder, *words):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    return subprocess.run(
        [sys.executable, *words],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_a_script_with_a_closure_and_a_file_of_the_same_graph_share_runs(tmp_path):
    images, labels = digits()
    np.savez(tmp_path / "digits.npz", x_train=images, y_train=labels)
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "my_model.py").write_text(MODEL)
    first = run(tmp_path, "script.py")  # has no `if __name__ == "__main__"`
    assert first.returncode == 0, first.stderr
    assert "inside script.lambda, FLOPs counted by torch" in " ".join(first.stdout.split())
    words = "-m blocksearch ablate --block kernel=3x3 --factor residual --values none,add"
    words += " --dataset digits.npz --seeds 2 --epochs 1 --batch 32 --workers 1 --db runs.db"
    again = run(tmp_path, *words.split(), "--model", "my_model.py:make")
    assert again.returncode == 0, again.stderr
    assert "nothing to train: all 4 runs" in again.stderr
    numbers = [line for line in first.stdout.splitlines() if line.startswith("residual")]
    assert numbers
    assert all(line in again.stdout for line in numbers)
    crashed = run(tmp_path, *words.split(), "--model", "my_model.py:crash")
    assert crashed.returncode == 2
    assert "my_model.crash on [" in crashed.stderr
    assert "] fails (my_model.py:17): KeyError: 'stage'" in crashed.stderr
    assert "Traceback" not in crashed.stderr


class Interrupt:
    """Ends a search after its first trial, as Ctrl-C does."""

    def trial_finished(self, trial, total, reused):
        raise KeyboardInterrupt


def likes(network, seed):
    return 90.0 if "gate" in str(network) else 30.0


@pytest.mark.parametrize("inside", [None, make])
@pytest.mark.slow
def test_a_search_begins_with_a_network_that_has_an_op_and_gives_it_again(tmp_path, inside):
    own = {"references": "none", "seeds": 1, "skeleton": inside}
    asked = {"objective": likes, "enqueue": f"attention={gate()}", **own}
    with pytest.raises(BlocksearchError, match=r"test_inside\.py, which is not loaded"):
        bs.Study(SPACE, tmp_path / "a.db", **asked).search(2)
    study = bs.Study(SPACE, tmp_path / "a.db", plugins=[gate], **asked)
    found = study.search(2).found.front[-1]
    assert found.network.blocks[0].attention == gate()
    assert (found.network.skeleton is None) == (inside is None)
    assert found.network.digest == study.trainings[0].network


@pytest.mark.slow
def test_a_search_goes_on_and_its_answers_need_no_code(tmp_path):
    """Steps are those of an uninterrupted search; the front trains on in a loop of one's own."""
    own = {**TRAINED, "references": "none", "seeds": 2, "budgets": ["flops <= 60k"]}

    def study(name):
        ways = {"residual": ["none", "add"], "kernel": ["3x3", "5x5"]}
        space = bs.Grammar(TASK, attention=[gate()], skeleton=make, **ways)
        return bs.Study(space, tmp_path / name, dataset=digits(), test=digits(100), **own)

    whole = study("whole.db")
    whole.search(trials=2)
    with pytest.raises(KeyboardInterrupt):
        study("parts.db").search(trials=2, callbacks=[Interrupt()])
    parts = study("parts.db")
    assert len(parts.trainings) == 1
    parts.search(trials=2)
    assert [(t.network, t.seed, t.accuracies) for t in whole.trainings] == [
        (t.network, t.seed, t.accuracies) for t in parts.trainings
    ]
    assert all(trial.costs["flops"] <= 60_000 for trial in whole.trainings)
    best = whole.front[-1]
    assert best.costs["flops"] == best.network.cost.flops
    model = best.network.module(seed=0)
    images, labels = digits()
    x = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        losses.append(functional.cross_entropy(model(x), torch.from_numpy(labels)))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    shown = CliRunner().invoke(app, ["pareto", str(tmp_path / "whole.db")])
    assert shown.exit_code == 0
    assert "inside test_inside.make, FLOPs counted by torch" in " ".join(shown.output.split())
    other = {"skeleton": lambda block: make(block).append(nn.Tanh()), "plugins": [gate]}
    for reason, given in (
        ("give the function that makes it", {}),
        (r"attention=test_inside.gate\(\) is defined in test_inside.py", {"skeleton": make}),
        ("does not make the model that was searched", other),
    ):
        with pytest.raises(BlocksearchError, match=reason):
            bs.test(tmp_path / "whole.db", **given)
        with closing(Ledger(tmp_path / "whole.db", read_only=True)) as ledger:
            assert not ledger.reports()  # the front of today is not what will be tested
    tested = bs.test(tmp_path / "whole.db", skeleton=make, plugins=[gate], workers=1)
    assert [len(row["accuracies"]) for row in tested.records()] == [5] * len(whole.front)


def residual_net(block):
    nets = pytest.importorskip("monai.networks.nets")
    kinds = {"spatial_dims": 2, "n_input_channels": 1, "num_classes": 10}
    model = nets.ResNet("basic", [1, 1, 1, 1], [4, 4, 8, 8], conv1_t_size=3, **kinds)
    return bs.replace(model, block, (1, 32, 32))[0]


@pytest.mark.slow
def test_a_resnet_with_replaced_convolutions_is_priced_and_trained(tmp_path):
    images, labels = digits(120)
    large = np.repeat(np.repeat(images, 4, 1), 4, 2)
    rows = bs.train(
        "mobilenet", dataset=(large, labels), skeleton=residual_net, db=tmp_path / "r.db", **TRAINED
    ).records()
    assert [row["state"] for row in rows] == ["complete"]
    task = bs.Task(input=(1, 32, 32), classes=10, widths=(4, 8))
    network = bs.network("mobilenet", task, skeleton=residual_net)
    model = network.module(seed=0).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 1, 32, 32))
    assert network.cost.flops == counter.get_total_flops()
    assert network.cost.params == sum(each.numel() for each in model.parameters())


class Moody(nn.Module):
    """Fails once it is trained, on images that have values."""

    def __init__(self, block):
        super().__init__()
        self.body, self.calls = make(block), 0

    def forward(self, x):
        self.calls += self.training and type(x) is torch.Tensor
        if self.calls > 2:
            raise RuntimeError("enough of this")
        return self.body(x)


@pytest.mark.slow
def test_a_model_that_fails_while_it_is_trained_is_no_row(tmp_path):
    with pytest.raises(PluginError, match=r"Moody fails while it is trained.*enough of this"):
        bs.train("kernel=3x3", dataset=digits(), skeleton=Moody, db=tmp_path / "m.db", **TRAINED)
