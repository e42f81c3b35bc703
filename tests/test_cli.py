"""The commands as a user types them, in real processes: answers on stdout, one line and exit code 2
for a mistake.
"""

import inspect
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from blocksearch.ablation.config import AblationConfig
from blocksearch.api import catalog, studies, trainings
from blocksearch.cli import app, main
from blocksearch.cli.commands import Deferred
from blocksearch.cli.options import Given, Options, with_options
from blocksearch.data import DataConfig
from blocksearch.runs.config import RunConfig
from blocksearch.search.config import StudyConfig
from tests import commands as processes

SMALL = [
    "--dataset",
    "digits",
    "--widths",
    "4,6",
    "--epochs",
    "1",
    "--max-images",
    "200",
    "--batch",
    "50",
]


@pytest.fixture
def blocksearch(tmp_path, root):
    return partial(processes.command, cwd=tmp_path, BLOCKSEARCH_DATA=str(root))


def test_show_is_the_papers_table_1(blocksearch):
    text = blocksearch("show", "effnet", "--dataset", "cifar10").stdout
    for row in ("1x1x32", "dw 1x3 + 1d mp", "dw 3x1", "2x1x64 + 1d stride"):
        assert row in text
    rows = json.loads(blocksearch("show", "shufflenet", "--json").stdout)["layers"]
    assert [row["layer"] for row in rows][1:5] == [
        "gc4 1x1x32 · relu + shuffle",
        "dw 3x3 + stride",
        "gc4 1x1x128",
        "shortcut ap",
    ]


def test_cost_of_a_named_network_and_of_a_text(blocksearch):
    cost = json.loads(blocksearch("cost", "effnet", "--dataset", "gtsrb", "--json").stdout)
    assert cost["flops"] == 2 * cost["macs"] == 344_064
    assert set(cost) >= {
        "name",
        "text",
        "network_id",
        "macs",
        "flops",
        "params",
        "activations",
        "peak_activations",
    }
    again = json.loads(blocksearch("cost", cost["text"], "--json").stdout)
    assert again["network_id"] == cost["network_id"]
    other = [
        "cost",
        "kernel=1x3+3x1",
        "--widths",
        "24,40,72",
        "--input",
        "3x48x64",
        "--classes",
        "7",
        "--json",
    ]
    assert (
        "input=3x48x64 widths=24,40,72 classes=7" in json.loads(blocksearch(*other).stdout)["text"]
    )
    assert "344,064" in blocksearch("cost", "effnet", "--dataset", "gtsrb").stdout


def test_a_price_says_for_which_data_set_it_is(blocksearch):
    """Trainings have another default, at which the same words are another network."""
    own, other = "input=3x9x9 widths=5 classes=3 stem=block []", "cifar10:3x48x48/7"
    for command in ("cost", "show"):
        for words, title, name in (
            (["effnet"], "effnet for cifar10 (default)", "cifar10"),
            (["effnet", "--dataset", "digits"], "effnet for digits", "digits"),
            (["effnet", "--dataset", other], f"effnet for {other}", other),
            (["effnet", "--input", "3x48x48"], "effnet", None),
            ([own], own, None),
        ):
            said = json.loads(blocksearch(command, *words, "--json").stdout)
            assert said["title"].partition("\n")[0] == title
            assert said["dataset"] == name
    assert blocksearch("cost", "effnet").stdout.startswith("effnet for cifar10 (default)\n")


def test_as_written_is_the_texts_form(blocksearch):
    costs = [
        json.loads(blocksearch("cost", "effnet_revised", *extra, "--json").stdout)["flops"]
        for extra in ([], ["--as-written"])
    ]
    assert costs == [30_040_064, 30_113_792]


def test_reproduce_flops(blocksearch):
    cells = json.loads(blocksearch("reproduce", "flops", "--json").stdout)["cells"]
    assert set(cells[0]) >= {
        "table",
        "dataset",
        "network",
        "published",
        "flops",
        "flops_actual",
        "matches",
    }
    distinct = {
        (c["dataset"], c["network"]): c["matches"] for c in cells if c["matches"] is not None
    }
    assert (sum(distinct.values()), len(distinct)) == (31, 33)
    assert "31 of 33 distinct cells match" in blocksearch("reproduce", "flops").stdout


@pytest.mark.slow
def test_train_and_ablate_share_their_runs(blocksearch, tmp_path):
    rows = json.loads(blocksearch("train", "effnet", *SMALL, "--seeds", "2", "--json").stdout)[
        "runs"
    ]
    assert [(row["seed"], row["state"]) for row in rows] == [(0, "complete"), (1, "complete")]
    done = blocksearch(
        "ablate", "--factor", "residual", "--values", "add", *SMALL, "--seeds", "2", "--json"
    )
    assert "2 runs to train (2 already in the database), about" in done.stderr
    assert "--epochs, --max-images, --seeds or --widths" in done.stderr
    answer = json.loads(done.stdout)
    assert "only 200 of 16,000 training images" in answer["title"]
    variants = answer["comparisons"]
    assert variants[0]["accuracies"] == [row["accuracy"] for row in rows]
    again = blocksearch(
        "ablate", "--factor", "residual", "--values", "add", *SMALL, "--seeds", "2", "--json"
    )
    assert "nothing to train: all 4 runs are in the database" in again.stderr
    assert again.stdout == done.stdout
    table = blocksearch(
        "ablate", "--factor", "residual", "--values", "add", *SMALL, "--seeds", "2", "--quiet"
    )
    assert table.stderr == ""
    assert "only 200 of 16,000 training images" in " ".join(table.stdout.split())
    assert (tmp_path / "results" / "digits.db").exists()


@pytest.mark.slow
def test_an_ablation_with_looks_says_what_the_paper_claims(blocksearch):
    arguments = ["ablate", "--factor", "residual", "--values", "add", *SMALL, "--seeds", "2..4"]
    done = blocksearch(*arguments, "--json")
    reference, variant = json.loads(done.stdout)["comparisons"]
    counts = [
        tuple(map(int, pair)) for pair in re.findall(r"^\[(\d+)/(\d+)\]", done.stderr, re.MULTILINE)
    ]
    assert counts == [(k, 4) for k in range(1, 5)] * (len(counts) // 4)  # each look counts its own
    (claim,) = variant["claims"]
    agreement = {"helps": "disagrees", "hurts": "agrees", "undecided": "undecided"}.get(
        variant["verdict"], "disagrees"
    )
    assert claim == f"Section 3: hurts, {agreement}"
    assert variant["seeds"] == reference["seeds"] in ([0, 1], [0, 1, 2, 3])
    table = blocksearch(*arguments, "--quiet").stdout
    assert "interim analyses at 2, 4 seeds" in " ".join(table.split())
    assert f"3: hurts, {agreement}" in table


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [["ablate", "--factor", "all"], ["reproduce", "section3"]], ids=" ".join
)
def test_a_dry_run_says_what_the_command_then_trains(blocksearch, tmp_path, command):
    small = [*SMALL[:-2], "--seeds", "2..3"]
    said = blocksearch(*command, *small, "--dry-run").stdout
    first, flops, later = re.search(
        r"(\d+) runs to train \(0 already in .*\), (\S+) TFLOP .* at most (\d+) more where",
        said,
    ).groups()
    assert "interim analyses at 2, 3 seeds" in " ".join(said.split())
    assert not (tmp_path / "results").exists()  # it writes nothing
    assert int(later) == int(first) / 2
    assert (
        blocksearch(*command, *small, "--dry-run").stdout.split(" TFLOP")[0]
        == said.split(" TFLOP")[0]
    )
    done = blocksearch(*command, *small, "--json")
    kept = (tmp_path / "results" / "digits.db").read_bytes()
    again = json.loads(blocksearch(*command, *small, "--dry-run", "--json").stdout)
    assert (again["missing"], again["more_at_most"], again["flops"]) == (
        0,
        0,
        0,
    )  # the looks that are over are walked through
    more = json.loads(blocksearch(*command, *small[:-1], "2..4", "--dry-run", "--json").stdout)
    assert (
        0 < more["missing"] <= int(first) // 2
    )  # the first look is in the ledger, and the third seed of the second
    assert more["more_at_most"] == 0
    assert (tmp_path / "results" / "digits.db").read_bytes() == kept
    assert f"{first} runs to train (0 already in the database)" in done.stderr
    rows = [
        row
        for row in json.loads(done.stdout)["comparisons"]
        if row["text"] and row["role"] != "interaction"
    ]
    prices = {row["network_id"]: row["flops"] for row in rows}
    assert float(flops) == pytest.approx(3 * sum(prices.values()) * 2 * 200 / 1e12, rel=0.005)
    assert {tuple(row["channels"]) for row in rows if row["factor"] == "minimum"} == {
        (6, 6),
        (2, 3),
    }


HEARING = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal, wherever tests run
runpy.run_module("blocksearch", run_name="__main__", alter_sys=True)
"""


def forks_of(process):
    """Processes that one has forked, which have its words: its loaders of images."""

    def words(each):
        with suppress(FileNotFoundError, ProcessLookupError):
            return Path(f"/proc/{each}/cmdline").read_bytes()

    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [each for each in children if words(each) == words(process)]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are listed as Linux does it")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_timing_is_announced_and_ends_without_a_traceback(tmp_path, root, how):
    """All processes of a group are asked to end, loaders of images too, which fail by it."""
    command = [sys.executable, "-c", HEARING, "bench", "effnet", "--max-images", "500"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=os.environ | {"BLOCKSEARCH_DATA": str(root)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as timed:
        assert timed.stderr.readline() == "timing: this may take a minute\n"
        while not forks_of(timed.pid):
            assert timed.poll() is None
            time.sleep(0.05)
        os.killpg(timed.pid, how)
        _, error = timed.communicate(timeout=60)
    assert timed.returncode == 130
    assert error == "interrupted\n"


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_ablation_goes_on_from_where_it_was(blocksearch, tmp_path, root, how):
    """Asked to end in the middle: one line that says what is kept, exit code 130; the same command
    trains the rest.
    """
    arguments = ["ablate", "--factor", "residual", "--values", "add", *SMALL, "--seeds", "60"]
    environment = os.environ | {"BLOCKSEARCH_DATA": str(root)}
    command = [sys.executable, "-m", "blocksearch", *arguments]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # What a shell starts with & ignores Ctrl-C, and so would what that starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 (this process has one thread)
    ) as first:
        while "[2/120]" not in first.stderr.readline():
            pass
        first.send_signal(how)
        _, error = first.communicate(timeout=60)
    assert first.returncode == 130
    kept = int(
        re.search(
            r"interrupted: (\d+) of 120 runs are in the database; the same command goes on", error
        )[1]
    )
    assert "Traceback" not in error
    assert (
        f"{120 - kept} runs to train ({kept} already in the database)"
        in blocksearch(*arguments).stderr
    )


@pytest.mark.slow
def test_merge(blocksearch, tmp_path):
    for name, seeds in (("a", "0"), ("b", "0,1")):
        blocksearch("train", "effnet", *SMALL, "--seeds", f"{seeds},", "--db", f"{name}.db")
    assert blocksearch("merge", "a.db", "b.db").stdout.startswith(
        "1 runs copied from b.db into a.db; 0 trainings on which they"
    )
    assert (
        "nothing to train"
        in blocksearch("train", "effnet", *SMALL, "--seeds", "0,1", "--db", "a.db").stderr
    )


@pytest.mark.slow
def test_data_commands(blocksearch, root):
    listed = json.loads(blocksearch("data", "list", "--json").stdout)["datasets"]
    rows = {row["name"]: row for row in listed}
    here = [rows[name]["here"] for name in ("cifar10", "svhn", "gtsrb", "digits")]
    assert here == [False, False, False, True]
    checked = json.loads(blocksearch("data", "check", "digits", "--json").stdout)["datasets"]
    assert [(row["split"], row["images"], row["classes"]) for row in checked] == [
        ("train", 20000, 10),
        ("test", 5000, 10),
    ]
    assert "nothing to download" in blocksearch("data", "fetch", "digits").stdout
    broken = blocksearch("data", "check", "cifar10", code=2)
    assert "data_batch_1.bin is not under" in broken.stdout
    assert broken.stderr.startswith(
        "blocksearch: cifar-10-batches-bin/data_batch_1.bin is not under"
    )


def commands(of, *path):
    """Every command and group of commands, with the words that call it."""
    of = of.load() if isinstance(of, Deferred) else of
    yield path, of
    for name, command in getattr(of, "commands", {}).items():
        yield from commands(command, *path, name)


def test_help_shows_an_example_of_each_command(blocksearch):
    found = dict(commands(typer.main.get_command(app)))
    assert {
        ("ablate",),
        ("data", "fetch"),
        ("reproduce", "table2"),
        ("reproduce", "all"),
        ("tabulate",),
    } <= set(found)
    for path, command in found.items():
        assert f"Example: blocksearch {' '.join(path)}".strip() in command.help, path
    assert "Example: blocksearch ablate" in blocksearch("ablate", "--help").stdout


def test_what_is_done_with_an_answer_comes_last_in_help():
    for path, command in commands(typer.main.get_command(app)):
        panels = [getattr(each, "rich_help_panel", None) for each in command.params]
        named = list(dict.fromkeys(filter(None, panels)))
        assert "Output" not in named[:-1], path


def test_summaries_fit_beside_their_commands():
    for path, command in commands(typer.main.get_command(app)):
        summary = command.help.split("\n")[0]
        assert len(summary) <= 60, path
        assert summary.endswith("."), path


def test_options_show_people_words():
    for path, command in commands(typer.main.get_command(app)):
        shown = CliRunner().invoke(app, [*path, "--help"], terminal_width=300).stdout
        assert "Options" in shown
        assert "object at" not in shown, path
        flags = re.findall(r"--(\S+) +<bool>", shown)
        assert {*flags} <= {"help", "install-completion", "show-completion"}, path  # typer's own
        for each in command.params:
            assert each.param_type_name == "argument" or each.help, (path, each.name)


def test_options_stand_where_they_are_taken_and_under_their_title():
    found = dict(commands(typer.main.get_command(app)))
    own = {each.name for each in fields(DataConfig)}
    for part in ("table2", "table7", "all"):  # the paper's images, which are used as they are
        assert not own & {each.name for each in found[("reproduce", part)].params}
    assert own <= {each.name for each in found[("reproduce", "section3")].params}
    for command in ("search", "train", "cost"):
        (model,) = [each for each in found[(command,)].params if each.name == "skeleton"]
        assert model.rich_help_panel == "Network"


def test_what_reads_a_network_or_trains_takes_ops_and_models_of_yours():
    """But where a model makes no sense: `bench` times seeds that share a module, which those of a
    model never do, and `verify` and `replace` have their networks. `reproduce` has the paper's.
    """
    found = dict(commands(typer.main.get_command(app)))
    taking = {name: [] for name in ("plugins", "skeleton")}
    for (name, *_), own in ((path, own) for path, own in found.items() if len(path) == 1):
        for each in own.params:
            if each.name in taking:
                taking[each.name].append(name)
                assert each.opts == [{"plugins": "--plugin", "skeleton": "--model"}[each.name]]
                assert each.rich_help_panel == "Network"
    both = {"ablate", "cost", "export", "gain", "search", "show", "tabulate", "test", "train"}
    assert set(taking["skeleton"]) == both
    assert set(taking["plugins"]) == both | {"bench", "replace", "verify"}


MINE = """
from torch import nn
from blocksearch import Grammar, op
from blocksearch.arch.layers import Activation

grammar = Grammar("digits", widths=[(4, 6, 6)], residual=["none", "add"])


@op("attention")
def gate(entry):
    return (Activation(entry, "sigmoid"),)


def around(block):
    body = block.module((3, 32, 32), width=4)
    return nn.Sequential(body, nn.Flatten(), nn.Linear(body.output.elements, 10))
"""
PLAN = "--dataset digits --max-images 60 --workers 1 --epochs 1 --executor serial"
PLAN += " --device cpu --dry-run --plugin mine.py"
TAKEN = {
    "search mine.py --trials 1 --references none --enqueue": "1 given and reference network,",
    "search mine.py --trials 1 --references none --model mine.py:around --enqueue": "mine.around",
    "gain mine.py": "attention=mine.gate()",
    "gain mine.py --model mine.py:around": "attention=mine.gate(), inside mine.around",
    "train --model mine.py:around": "attention=mine.gate(), inside mine.around",
}


@pytest.fixture
def invoke(tmp_path, root, monkeypatch):
    """Run a command in this process, beside a file with an op, a model and a space."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BLOCKSEARCH_DATA", str(root))
    (tmp_path / "mine.py").write_text(MINE)
    return partial(CliRunner().invoke, app)


@pytest.mark.parametrize(
    "command",
    [pytest.param(each, marks=[pytest.mark.slow] * each.startswith("search")) for each in TAKEN],
)
def test_a_network_with_an_op_of_yours_is_read_by_its_file(invoke, command):
    own = [*command.split(), "attention=mine.gate()", *PLAN.split()]
    assert TAKEN[command] in " ".join(invoke(own).stdout.split())
    without = invoke(own[:-2]).exception
    assert "attention=mine.gate() is defined in mine.py, which is not loaded" in str(without)


@pytest.mark.slow
def test_a_table_inside_a_model_and_a_file_that_registers(invoke):
    said = invoke(["tabulate", "mine.py", "--model", "mine.py:around", *PLAN.split()]).stdout
    assert "inside mine.around" in " ".join(said.split())
    for words in (["bench", "effnet"], ["verify", "a.db"], ["tabulate", "tiny"]):
        assert "none.py is not a file" in str(invoke([*words, "--plugin", "none.py"]).exception)


def test_a_command_has_the_default_of_its_call():
    found = dict(commands(typer.main.get_command(app)))
    for path, call in (
        (("train",), trainings.train),
        (("tabulate",), studies.tabulate),
        (("data", "describe"), catalog.describe),
    ):
        (own,) = [each for each in found[path].params if each.name == "seeds"]
        assert own.default == str(inspect.signature(call).parameters["seeds"].default)
    (own,) = [each for each in found[("ablate",)].params if each.name == "seeds"]
    assert own.default == str(AblationConfig(factors="all").seeds)


def test_help_says_in_which_order_an_input_is_and_which_data_sets_there_are():
    found = dict(commands(typer.main.get_command(app)))
    (input,) = [each for each in found[("cost",)].params if each.name == "input"]
    assert "channels x height x width" in input.help
    (name,) = [each for each in found[("data", "fetch")].params if each.name == "name"]
    assert all(each in name.help for each in ("gtsrb", "cifar10", "digits"))


def test_the_list_of_commands_says_what_each_says_of_itself():
    listed = typer.main.get_command(app).commands.values()
    by_module = {}
    for each in listed:
        assert each.load().help.split("\n")[0] == each.help
        by_module.setdefault(each.module, set()).add(each.name)
    for module, names in by_module.items():
        own = typer.main.get_group(import_module(f"blocksearch.cli.{module}").app)
        assert set(own.commands) == names
    modules = {
        path.stem for path in Path(sys.modules[Deferred.__module__].__file__).parent.glob("*.py")
    }
    assert set(by_module) == modules - {"__init__", "apart", "commands", "options"}


def test_options_are_the_fields_of_the_configurations():
    """Nobody writes an option twice: a field more is an option more, in its panel, with its
    help.
    """
    known = dict(commands(typer.main.get_command(app)))
    for path, config in ((("ablate",), AblationConfig), (("search",), StudyConfig)):
        found = {each.name: each for each in known[path].params}
        for own in (*fields(config), *fields(RunConfig)):
            assert found[own.name].help == own.metadata["help"]
            assert found[own.name].rich_help_panel in ("Network", "Question", "Search", "Training")

    @dataclass(frozen=True, kw_only=True)
    class Config:
        several_words: int = field(default=3, metadata={"help": "A number."})

    heard = []

    def command(config: Annotated[Given, Options(config=Config, panel="Mine")]) -> None:
        heard.append(config)

    own = typer.Typer()
    own.command()(with_options(command))
    own(["--several-words", "4"], standalone_mode=False)
    own([], standalone_mode=False)
    assert heard == [{"several_words": 4}, {"several_words": 3}]


NUMBER, TEXTS = (int, float), [str]
RUN = {"seed": int, "state": str, "accuracy": NUMBER, "epochs": int, "accuracies": [NUMBER]}
SCHEMAS = {  # what each command's --json has at least: names, and the types of their values
    "show effnet": {"flops": int, "layers": [{"layer": str}]},
    "cost effnet": {"name": str, "text": str, "network_id": str, "flops": int, "params": int},
    "space tiny --sample 1": {"size": int, "networks": [{"flops": int, "network": str}]},
    "list": {
        "datasets": [{"name": str, "here": bool}],
        "networks": [{"name": str, "source": str}],
        "spaces": [{"name": str, "question": str}],
        "factors": [{"name": str, "meaning": str, "default": str, "values": str}],
        "recipes": [{"name": str, "recipe": str}],
    },
    "data list": {"datasets": [{"name": str, "classes": int}]},
    "data fetch digits": {"title": str, "dataset": str},
    "compare --scores scores.csv": {
        "comparisons": [{"treatment": str, "n": int, "scores": [NUMBER]}]
    },
    "replace model.py:make --input 3x16x16": {
        "flops": int,
        "new_flops": int,
        "layers": [{"name": str, "block": str, "new_flops": int}],
    },
    "reproduce flops": {"matching": int, "cells": [{"network": str, "flops": int}]},
    "reproduce section3 --dataset gtsrb,svhn": {
        "claims": [{"section": str, "says": str, "gtsrb_verdict": str}]
    },
}
TRAINED = {
    "train effnet SMALL --seeds 2": {"title": str, "runs": [RUN]},
    "ablate --factor residual --values add SMALL --seeds 2": {
        "comparisons": [{"value": str, "n": int, "accuracies": [NUMBER]}]
    },
    "gain mine.py effnet SMALL --seeds 2 --sample 2": {
        "title": str,
        "gain": [{"network_id": str, "gain": NUMBER, "sampled": int, "verdict": str}],
    },
    "ablate --factor residual SMALL --dry-run": {"missing": int, "flops": int, "seconds": NUMBER},
    "search tiny QUICK --trials 1 --seeds 1 --references none": {
        "study": str,
        "hypervolume": NUMBER,
        "networks": [{"trial": int, "flops": int}],
    },
    "search tiny QUICK --trials 9 --seeds 1 --references none --dry-run": {
        "trials": int,
        "trainings": int,
        "flops": int,
    },
    "pareto results/digits.db": {"study": str, "networks": [{"trial": int, "flops": int}]},
    "importance results/digits.db": {"study": str, "levels": [{"factor": str, "level": str}]},
    "tabulate mine.py QUICK --seeds 1": {"file": str, "rows": [{"seed": int, "state": str}]},
    "merge results/digits.db other.db": {"copied": int},
    "verify results/digits.db --runs 1": {"equal": int, "runs": [{"result": str, "seed": int}]},
}


def agrees(value, schema, where):
    """Hold an answer against its schema."""
    match schema:
        case dict():
            assert set(schema) <= set(value), where
            for name, own in schema.items():
                agrees(value[name], own, f"{where}.{name}")
        case [own]:
            assert value, where
            agrees(value[0], own, f"{where}[0]")
        case _:
            assert isinstance(value, schema), where


MODEL = """from torch import nn

def make():
    return nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(2)))
"""
SCORES = "treatment,seed,score\n" + "".join(
    f"{name},{seed},{score + seed}\n"
    for name, score in (("old", 80), ("new", 82))
    for seed in (0, 1)
)


@pytest.mark.parametrize("command", SCHEMAS)
def test_json_has_named_fields(blocksearch, tmp_path, command):
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "scores.csv").write_text(SCORES)
    agrees(json.loads(blocksearch(*command.split(), "--json").stdout), SCHEMAS[command], command)


def spelled(command):
    """Return the words of a command, with those that stand for several."""
    words = {"SMALL": SMALL, "QUICK": ["--epochs", "1", "--max-images", "100", "--workers", "2"]}
    return [word for part in command.split() for word in words.get(part, [part])]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, root):
    """A folder in which people trained: two databases, one with a study, and a space."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "mine.py").write_text(
        "from blocksearch import TASKS, Grammar\n"
        "grammar = Grammar(TASKS['digits'], widths=[(4, 6)], residual=['none', 'add'])\n"
    )
    first, search = "train effnet SMALL --seeds 2", next(c for c in TRAINED if "search" in c)
    for command in ("train effnet SMALL --db other.db", first, search):
        program = [sys.executable, "-m", "blocksearch", *spelled(command), "--quiet"]
        environment = os.environ | {"BLOCKSEARCH_DATA": str(root)}
        subprocess.run(program, check=True, cwd=folder, env=environment, capture_output=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("command", TRAINED)
def test_json_of_what_is_trained_has_named_fields(blocksearch, trained, tmp_path, command):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    said = blocksearch(*spelled(command), "--json").stdout
    agrees(json.loads(said), TRAINED[command], command)


def test_main_leaves_no_handler_behind(monkeypatch, capsys):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "argv", ["blocksearch", "cost", "efnet"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert signal.getsignal(signal.SIGTERM) is before
    assert "did you mean 'effnet'" in capsys.readouterr().err


def test_a_file_that_the_system_refuses_is_one_line(monkeypatch, capsys):
    command = typer.Typer()

    @command.command()
    def refuse():
        raise PermissionError(13, "Permission denied", "/somewhere/a.db")

    monkeypatch.setattr("blocksearch.cli.app", command)
    monkeypatch.setattr(sys, "argv", ["blocksearch"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "blocksearch: /somewhere/a.db: Permission denied\n"


def test_a_shell_completes_names(blocksearch, monkeypatch):
    # which shell it is can be asked of the parent process only where there is one
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    assert "blocksearch" in blocksearch("--show-completion", "bash").stdout
    known = dict(commands(typer.main.get_command(app)))
    completed = {
        param.name: param.shell_complete(typer.Context(known[("ablate",)]), "r")
        for param in known[("ablate",)].params
        if param.name in ("dataset", "factors")
    }
    assert "residual" in [each.value for each in completed["factors"]]


@pytest.mark.slow
def test_an_ablation_takes_its_network_by_position_as_a_training_does(blocksearch):
    known = dict(commands(typer.main.get_command(app)))
    (taken, own) = (
        next(each for each in known[(name,)].params if each.name == "network")
        for name in ("train", "ablate")
    )
    assert (own.metavar, own.help, own.required) == (taken.metavar, taken.help, False)
    assert "effnet" in [
        each.value for each in own.shell_complete(typer.Context(known[("ablate",)]), "eff")
    ]
    rest = ["--factor", "residual", *SMALL, "--dry-run", "--json"]
    plan, *same = (
        json.loads(blocksearch("ablate", *words, *rest).stdout)["title"]
        for words in (["mobilenet"], ["--block", "mobilenet"], ["mobilenet", "--block=mobilenet"])
    )
    assert same == [plan, plan]
    assert plan.startswith("mobilenet, ")
    assert json.loads(blocksearch("ablate", *rest).stdout)["title"].startswith("effnet, ")


MISTAKES = [
    (["cost", "effnet", "--widths", "8", "16", "32"], "(16 32) (several numbers are one word, "),
    (["compare", "--scores", "none.csv"], "none.csv is not there"),
    (["show", "efnet"], "unknown network 'efnet' (did you mean 'effnet'?)"),
    (["cost", "effnet", "--dataset", "mnist"], "unknown data set 'mnist'"),
    (["cost", "kernel=3x4"], "kernel must be one to four odd sizes"),
    (
        ["cost", "effnet", "--widths", "0"],
        "widths must be one or more whole numbers from 1, but got 0",
    ),
    (["cost", "effnet", "--input", "3x4x4"], "a map is not pooled below 1×1"),
    (["cost", "effnet", "--classes", "x"], "'--classes': Input should be a valid integer"),
    (["data"], "Missing command. Known: list, check, describe, fetch."),
    (
        ["reproduce", "table1"],
        "No such command 'table1'. Known: flops, table2, table3, table4, table5, table6, table7, "
        "section3, all. Table 1 is what `blocksearch show effnet` prints. (in: ",
    ),
    (
        ["cost", "effnet", "--input", "96x64x3", "--widths", "16,32"],
        "channels x height x width such as 3x32x32, but got '96x64x3': did you mean 3x96x64?",
    ),
    (["cost", "effnet", "--dataset", "cifar10:96x96x1/7"], "did you mean 1x96x96?"),
    (["ablate"], "Missing option '--factor'. Factor to vary, such as residual"),
    (["search"], "Missing argument 'SPACE'. Name of a space, such as section3"),
    (["effects", "a.db"], "No such command"),
    (["train", "effnet", "--ledger", "a.db"], "No such option"),
    (["cost"], "NETWORK"),
    (["costs", "effnet"], "costs"),
    (["cost", "effnet", "--bogus"], "--bogus"),
    (["ablate"], "--factor"),
    (
        ["ablate", "effnet", "--block", "mobilenet", "--factor", "residual"],
        "NETWORK and --block say the same, but got 'effnet' and 'mobilenet'",
    ),
    (["ablate", "--factor", "residul"], "unknown factor 'residul' (did you mean 'residual'?)"),
    (["ablate", "--factor", "residual", "--values", "plus"], "residual must be none or add"),
    (["ablate", "--factor", "residual", "--epochs", "0"], "epochs must be at least 1, but got 0"),
    (
        ["ablate", "--factor", "residual", "--seeds", "0"],
        "seeds must be a count of at least 1 and at most 1000, or a list, but got 0",
    ),
    (
        ["ablate", "--factor", "residual", "--seeds", "99999"],
        "at most 1000, or a list, but got 99999",
    ),
    (
        ["ablate", "--factor", "residual", "--max-images", "1"],
        "max_images must be at least 2, but got 1",
    ),
    (
        ["train", "effnet", "--device", "tpu"],
        "device must be auto, cpu, cuda or cuda:N with a number N, or several such as "
        "cuda:0,cuda:1, but got 'tpu'",
    ),
    (["train", "effnet", "--precision", "half"], "unknown precision 'half'"),
    (["train", "effnet", *SMALL, "--device", "cuda:77"], "device cuda:77: torch"),
    (["ablate", "--factor", "residual", "--workers", "0"], "workers must be at least 1, but got 0"),
    (["ablate", "--factor", "residual", "--dataset", "cifar10"], "data_batch_1.bin is not under"),
    (["ablate", "--factor", "residual", "--recipe", "slow"], "unknown recipe 'slow'"),
    (["ablate", "--factor", "residual", "--db", "notes.txt"], "is not a database"),
    (
        ["train", "input=3x9x9 widths=4 classes=3 [kernel=3x3]"],
        "but the network reads 3x9x9 and tells 3 apart",
    ),
    (["train", "effnet", "--val-split", "-1"], "must be an index such as 1, a list such as 0,2"),
    (["merge", "a.db", "b.db"], "a.db is not there"),
    (["train", "effnet", "--db", "typo/deep/a.db"], "a folder that exists, but got typo/deep/a.db"),
    (["tabulate", "tiny", "--table", "typo/a.csv"], "a folder that exists, but got typo/a.csv"),
    (["ablate", "--factor", "residual", "--seeds", "5.."], "a range such as 5..8, but got '5..'"),
    (["verify", "a.db"], "a.db is not there"),
    (["replace", "m.py"], "a model is named FILE:NAME, such as my_model.py:make, not 'm.py'"),
    (["replace", "m.py:make"], "m.py cannot be read"),
    (["replace", "m.py:make", "--input", "3x32"], "input must be channels x height x width"),
    (
        ["ablate", "--factor", "residual", "--margin", "0"],
        "margin must be points of accuracy above 0",
    ),
    (
        ["ablate", "--factor", "residual", "--dry-run", "--save", "a.html"],
        "--dry-run has no answer to write to a.html",
    ),
    (
        ["show", "effnet", "--save", "nowhere/a.svg"],
        "an answer is saved in a folder that exists, but got nowhere/a.svg",
    ),
    (["reproduce", "table5"], "Table 5: not run, "),
    (
        ["space", "tiny", "--enumerate", "--sample", "3"],
        "--enumerate lists every network, --sample some",
    ),
    (
        ["cost", "input=3x9x9 widths=5 classes=3 [kernel=3x3]", "--widths", "4"],
        "a network's text has its own widths",
    ),
    (
        ["reproduce", "all", "--save", "nowhere/a.html"],
        "an answer is saved in a folder that exists, but got nowhere/a.html",
    ),
    (["data", "check", "mnist"], "unknown data set 'mnist'"),
    (
        ["export", "effnet", "a.pt", "--weights", "notes.txt"],
        "unknown model format '.pt' (did you mean '.pt2'?); known: .safetensors, .pt2",
    ),
    (
        ["export", "effnet", "nowhere/a.pt2", "--weights", "notes.txt"],
        "a model is saved in a folder that exists, but got nowhere/a.pt2",
    ),
    (["export", "effnet", "a.pt2", "--weights", "notes.txt"], "notes.txt is no whole file of weig"),
    (["export", "effnet", "a.pt2", "--weights", "a.safetensors"], "weights a.safetensors cannot"),
    (["export", "effnet", "a.pt2"], "--weights"),
]


@pytest.mark.parametrize(
    ("arguments", "says"),
    MISTAKES,
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_exit_code_2_and_leaves_nothing(
    blocksearch, tmp_path, arguments, says
):
    (tmp_path / "notes.txt").write_text("milk")
    done = blocksearch(*arguments, code=2)
    assert says in done.stderr
    assert done.stderr.startswith("blocksearch: ")
    shown = (
        3 if "\n  " in done.stderr else 1
    )  # text that does not parse is shown with a caret below
    assert len(done.stderr.strip().split("\n")) == shown
    assert done.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_picture_is_saved_beside_json(blocksearch, tmp_path):
    assert json.loads(blocksearch("show", "effnet", "--json", "--save", "a.svg").stdout)
    drawn = (tmp_path / "a.svg").read_text()
    assert "dw 1x3" in drawn
    assert not re.search(r"https?://(?!www\.w3\.org|purl\.org|creativecommons|matplotlib)", drawn)


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_no_number_is_broken_on_a_terminal_of_any_width(blocksearch, tmp_path, columns):
    rows = json.loads(blocksearch("reproduce", "flops", "--json").stdout)["cells"]
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "TERM": "xterm"}
    command = [sys.executable, "-m", "blocksearch", "reproduce", "flops"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=theirs) as process:
        os.close(theirs)
        printed = b""
        with suppress(OSError):  # the end of a terminal that was closed
            while part := os.read(ours, 65536):
                printed += part
    os.close(ours)
    assert process.returncode == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", printed.decode())
    assert all(len(line.rstrip()) <= columns for line in text.splitlines())
    for row in rows:
        assert row["flops"] is None or f"{row['flops']:,}" in text


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2]])
def test_a_stream_that_is_closed_is_no_traceback(tmp_path, closed):
    done = subprocess.run(
        [sys.executable, "-m", "blocksearch", "cost", "effnet", "--dataset", "digits"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        preexec_fn=lambda: [os.close(each) for each in closed],
    )
    said = "blocksearch: the answer cannot be written: standard output is closed\n"
    assert done.stderr == (said if closed == [1] else "")
    assert done.returncode == (2 if 1 in closed else 0)
    assert ("650c18555ac5" in done.stdout) == (1 not in closed)


def test_an_answer_that_cannot_be_written_is_one_line(tmp_path):
    command = [sys.executable, "-m", "blocksearch", "show", "effnet"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (
        2,
        "blocksearch: the answer cannot be written: No space left on device\n",
    )
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as reader:
        reader.stdout.close()  # as `| true` does
        assert (reader.stderr.read(), reader.wait()) == ("", 141)
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}
    assert (
        "effnet"
        in subprocess.run(
            command, check=True, env=ascii_only, capture_output=True, text=True
        ).stdout
    )


def test_version_and_startup(blocksearch):
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", blocksearch("--version").stdout)
    started = blocksearch().stdout
    assert re.findall(r"^  blocksearch (\w+)", started, re.MULTILINE) == [
        "cost",
        "ablate",
        "search",
        "pareto",
        "list",
    ]
