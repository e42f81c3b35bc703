"""The shipped spaces: found by name, from a wheel as well; their texts stable, their costs exact,
the command around them.
"""

import contextlib
import csv
import json
import os
import re
import runpy
import subprocess
import sys
import zipfile
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from blocksearch import TASKS, Block, Shape, Task, cost, named_network, parse
from blocksearch.api.networks import survey
from blocksearch.arch.factors import FACTORS
from blocksearch.arch.skeleton import Skeleton
from blocksearch.arch.zoo import NAMED
from blocksearch.cli import app
from blocksearch.errors import SpecError
from blocksearch.space.load import find_space, load_space, read_space, shipped_spaces
from blocksearch.training.build import build
from tests.commands import command
from tests.space import brute

ROOT = Path(__file__).parent.parent.parent
GOLDEN = Path(__file__).parent / "golden.json"
NAMES = ["gates", "mobile96", "paper", "per_stage", "revised", "section3", "squeeze", "tiny"]
OPTIONS = {
    name: family
    for space in map(read_space, shipped_spaces().values())
    for name, family in space.options.items()
}
ODD = (
    Task(input=Shape(3, 33, 32), widths=(8, 16, 32), classes=10),
    Task(input=Shape(1, 21, 40), widths=(5, 7, 11), classes=3, dropout=0.25),
    Task(input=Shape(4, 9, 17), widths=(12, 24), classes=2),
    Task(input=Shape(3, 32, 32), widths=(64, 128, 256), classes=10),
)


def blocksearch(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return command(*arguments, cwd=cwd, code=None, COLUMNS="240")


def test_every_space_asks_a_question():
    assert list(shipped_spaces()) == NAMES
    for name in NAMES:
        read = read_space(name)
        assert "?" in read.question
        assert len(read.space()) > 1


README = (ROOT / "search_spaces" / "README.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_table_of_shipped_spaces_holds():
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \| (.*) \|$", README, re.MULTILINE)
    assert [name for name, _, _ in rows] == NAMES
    for name, size, question in rows:
        found = read_space(name)
        assert int(size.replace(",", "")) == len(found.space())
        asked = re.sub(r" \(.*?\)", "", found.question)
        assert asked.startswith(question.rstrip("?"))


def trains(program: str) -> bool:
    return ".search(" in program


@pytest.mark.parametrize(
    "program",
    [pytest.param(each, marks=[pytest.mark.slow] if trains(each) else []) for each in PROGRAMS],
    ids=range(len(PROGRAMS)),
)
def test_the_programs_of_the_guide_run(program, tmp_path, monkeypatch):
    """In a file, since constraints and ops are read from their files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(program)
    if "\ngrammar = " in program:
        assert len(read_space(tmp_path / "mine.py").space()) > 1
    else:
        runpy.run_path(str(tmp_path / "mine.py"))


(INSIDE,) = (each for each in PROGRAMS if "def around(" in each)


def around(folder: Path) -> Callable[[Block], Any]:
    (folder / "my_model.py").write_text(INSIDE)
    return runpy.run_path(str(folder / "my_model.py"))["around"]


@pytest.mark.slow
def test_the_guides_model_takes_every_value_of_every_factor(tmp_path):
    make = around(tmp_path)
    tried = 0
    for name, factor in FACTORS.items():
        for value in factor.values:
            if (name, value) != ("last", "none"):  # which no depthwise block can have
                found = make(Block(**{name: value})).eval()(torch.zeros(2, 3, 32, 32))
                assert found.shape == (2, 10), (name, value)
                tried += 1
    assert tried > 30
    for name in NAMED:
        with contextlib.suppress(SpecError):  # a network of several blocks
            assert named_network(name, TASKS["digits"]).inside(Skeleton(make)).cost.flops


def test_the_guide_names_the_spaces_that_go_inside_a_model(tmp_path):
    make, said = around(tmp_path), README.partition("Of the shipped ones")[2].partition("do (")[0]
    for name in NAMES:
        if f"`{name}`" in said:
            load_space(name).inside(make)
        else:
            with pytest.raises(SpecError, match=r"as squeeze and gates do, but this one has \S"):
                load_space(name).inside(make)


@pytest.mark.slow
def test_the_guides_search_inside_a_model_runs_to_a_front_and_a_test(tmp_path, monkeypatch):
    """Its commands as they are written, with fewer trials on a few small images."""
    monkeypatch.chdir(tmp_path)
    around(tmp_path)
    found = load_digits()
    large = (found.images[:300, :, :, None] * 15).astype(np.uint8).repeat(4, 1).repeat(4, 2)
    images, labels = large.repeat(3, 3), found.target[:300]
    parts = {"x_train": images[:200], "y_train": labels[:200]}
    np.savez("few.npz", **parts, x_test=images[200:], y_test=labels[200:])
    lines = re.findall(r"^    blocksearch ((?:search|pareto|test) .*inside\.db.*)$", README, re.M)
    assert [line.split()[0] for line in lines] == ["search", "pareto", "test"]
    for line in lines:
        words = line.replace("--max-images 1000", "--dataset few.npz --executor serial")
        shown = CliRunner().invoke(app, words.replace("--trials 3", "--trials 1").split())
        assert shown.exit_code == 0, shown.output
        said = " ".join(shown.output.split())
        assert "inside my_model.around" in said
        if not line.startswith("test"):
            assert "residual=add" in said
            assert "on the front; hypervolume" in said


def test_tiny_is_small_enough_to_be_trained_whole():
    assert 200 <= load_space("tiny").size <= 500


def test_revised_holds_the_points_of_section_6():
    grammar = load_space("revised")
    for name in (
        "effnet_revised",
        "effnet_revised_4",
        "effnet_revised_2",
        "mobilenet_v2",
        "mobilenet_v2_2",
        "mob_imp",
    ):
        assert named_network(name, TASKS["gtsrb"]) in grammar


def count_exactly(name: str, task: Task | None) -> int:
    """Hold networks of a space, up to 600, against the scalar cost, the brute force and torch;
    return how many.
    """
    grammar = load_space(name) if task is None else load_space(name).on(task)
    networks = grammar.sample(min(600, grammar.size), seed=1)
    costs = grammar.costs([grammar.index(network) for network in networks])
    for index, network in enumerate(networks):
        price, module = cost(network.layers), build(network.layers, device="meta").eval()
        assert (costs.macs[index], costs.flops[index]) == (price.macs, price.flops)
        assert (costs.params[index], costs.activations[index]) == (price.params, price.activations)
        assert costs.peak_activations[index] == price.peak_activations
        assert brute.macs(network.layers) == price.macs
        assert sum(parameter.numel() for parameter in module.parameters()) == price.params
        for norm in (part for part in module.modules() if isinstance(part, torch.nn.BatchNorm2d)):
            norm.forward = (
                lambda x: x
                # keeps the shape, and is no FLOP to torch's counter, which is slow in it
            )
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(
                torch.empty(
                    (1, network.task.input.channels, *network.task.input.map), device="meta"
                )
            )
        assert counter.get_total_flops() == price.flops
    return len(networks)


JOBS = list(product(NAMES, (None, *ODD)))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "task"), JOBS)
def test_costs_of_ten_thousand_networks_are_exact(name, task):
    """All shipped spaces, on their own images and on odd, grey and non-square ones."""
    assert count_exactly(name, task) == few(name)


def few(name: str) -> int:
    return min(600, load_space(name).size)


@pytest.mark.slow
def test_these_are_ten_thousand():
    assert sum(few(name) for name, _ in JOBS) >= 10_000


@pytest.mark.parametrize("name", NAMES)
def test_texts_and_fingerprints_are_those_of_earlier_versions(name):
    """`golden.json` was written by 0.1: text, FLOPs, and fingerprint where no option is in it,
    whose source may change.
    """
    for entry in json.loads(GOLDEN.read_text())[name]:
        network = parse(entry["text"], ops=OPTIONS)
        today = entry["text"].replace("first_layer=vanilla", "stem=conv")
        assert str(network) == today.replace("first_layer=block", "stem=block")
        assert cost(network.layers).flops == entry["flops"]
        assert entry["fingerprint"] in (network.digest, None)


def test_the_command_shows_a_space():
    shown = blocksearch("space", "section3", "--budget", "flops <= 400k", "--sample", "2")
    assert shown.returncode == 0
    assert "2,236 distinct networks (9,216 combinations of options)" in shown.stdout
    assert "where flops <= 400000" in shown.stdout
    assert (
        "no: bottleneck=none is none of reduce(1) or reduce(2) or reduce(4) or reduce(8)"
        in shown.stdout
    )


def test_the_command_answers_in_json_and_csv(tmp_path):
    asked = ("space", "tiny", "--enumerate", "--save", tmp_path / "all.csv")
    answer = json.loads(blocksearch(*asked, "--json").stdout)
    rows = list(csv.DictReader((tmp_path / "all.csv").read_text().splitlines()))
    shown = blocksearch(*asked).stdout
    assert "288 distinct networks" in shown
    assert rows[0]["network"] not in shown  # what may be millions is in the file alone
    survey("tiny", enumerate=True).save(tmp_path / "same.csv")
    same = csv.DictReader((tmp_path / "same.csv").read_text().splitlines())
    assert [{**row, "title": None} for row in same] == [{**row, "title": None} for row in rows]
    assert answer["size"] == len(answer["networks"]) == len(rows) == 288
    assert sum(bin["networks"] for bin in answer["histogram"]) == 288
    for row, entry in zip(rows, answer["networks"], strict=True):
        assert row["network"] == entry["network"]
        assert int(row["flops"]) == entry["flops"] == cost(parse(row["network"]).layers).flops


def test_a_file_imports_what_lies_beside_it_and_takes_no_librarys_place(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    own = tmp_path / "own"
    own.mkdir()
    (own / "beside_of_mine.py").write_text("BLOCKS = ['none', 'add']\n")
    (own / "colorsys.py").write_text("raise RuntimeError\n")  # a name of the standard library
    (own / "mine.py").write_text(
        "import colorsys\nfrom beside_of_mine import BLOCKS\n"
        "from blocksearch import TASKS, Grammar\n"
        "space = Grammar(TASKS['gtsrb'], residual=BLOCKS)\n"
    )
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    assert load_space(own / "mine.py").size == 2
    monkeypatch.delitem(sys.modules, "beside_of_mine")


def test_a_file_of_ones_own(tmp_path):
    (tmp_path / "mine.py").write_text(
        '"""Is wider better?"""\nfrom blocksearch import Grammar, TASKS\n'
        'grammar = Grammar(TASKS["svhn"], widths=[(12, 24, 48), (16, 32, 64)])\n'
    )
    shown = blocksearch("space", "mine.py", cwd=tmp_path)
    assert "mine.py: Is wider better?" in shown.stdout
    assert "2 distinct networks" in shown.stdout


GRAMMAR = "from blocksearch import Grammar, TASKS, op\n"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("grammar = (\n", "bad.py:1: not Python: '(' was never closed"),
        ("\0", "bad.py:1: not Python: source code string cannot contain null bytes"),
        ("import sys\nsys.exit(3)\n", "bad.py:2: SystemExit: 3"),
        ("x = 1\n", "bad.py defines neither a grammar nor an option"),
        (
            GRAMMAR + "a = Grammar(TASKS['svhn'])\nb = Grammar(TASKS['gtsrb'])\n",
            "bad.py defines 2 grammars",
        ),
        (
            GRAMMAR + "\ngrammar = Grammar(TASKS['svhn'], kernel=['2x2'])\n",
            "bad.py:3: SpecError: kernel",
        ),
        (
            GRAMMAR + "grammar = Grammar(TASKS['svhn'], last=['none'])\n",
            "the space is empty: last=none needs",
        ),
        (
            GRAMMAR + "def no(network):\n    raise ValueError('oops')\n\ngrammar = "
            "Grammar(TASKS['svhn']).where(no)\n",
            "bad.py:2: constraint bad.no raises ValueError: oops",
        ),
        (
            GRAMMAR + "@op('attention')\ndef none(entry):\n    return ()\n",
            "bad.py has options but no grammar",
        ),
        (
            "from blocksearch.space.load import load_space\ng = load_space(__file__)\n",
            "bad.py loads itself",
        ),
    ],
)
def test_bad_files_get_one_line(tmp_path, code, says):
    (tmp_path / "bad.py").write_text(code)
    answer = blocksearch("space", "bad.py", cwd=tmp_path)
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert says in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("section4",), "unknown space 'section4' (did you mean 'section3'?)"),
        (("no/such.py",), "no/such.py is not a file"),
        (
            ("tiny", "--budget", "flops"),
            "a budget is written like 'flops <= 12e6', but got 'flops'",
        ),
        (("tiny", "--budget", "flops <= 3"), "no network of the space meets flops <= 3"),
        (("tiny", "--sample", "1000"), "a sample must hold 1 to 288"),
        (
            ("per_stage", "--enumerate"),
            "108,020,304 networks are too many to list at once: save them as .csv",
        ),
    ],
)
def test_bad_arguments_get_one_line(arguments, says):
    answer = blocksearch("space", *arguments)
    assert answer.returncode == 2
    assert says in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_spaces_come_with_the_wheel(tmp_path):
    """Build a wheel as pip does, unpack it elsewhere, and find a space by its name there."""
    built = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(built, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = "from blocksearch.space.load import find_space; print(find_space('section3'))"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (
        Path(found.stdout.strip())
        == tmp_path / "site" / "blocksearch" / "search_spaces" / "section3.py"
    )


def test_a_path_is_not_a_name(tmp_path):
    assert find_space("./section3.py") == Path("section3.py")
    assert find_space("section3") == shipped_spaces()["section3"]


def write_golden() -> None:
    """Write `golden.json`: run once per format, by hand, and never to make a test pass."""
    golden = {}
    for name in NAMES:
        entries = []
        for network in load_space(name).sample(min(40, load_space(name).size), seed=0):
            own = "." in str(network.blocks[0].attention) + str(network.blocks[0].activation) + str(
                network.blocks[0].residual
            )
            fingerprint = None if own else network.digest
            entries.append(
                {
                    "text": str(network),
                    "flops": cost(network.layers).flops,
                    "fingerprint": fingerprint,
                }
            )
        golden[name] = entries
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")
