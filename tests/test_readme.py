"""What the README says was measured is what the shipped ledgers hold: its tables, row by row."""

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blocksearch.ablation.stats import compare_pairs
from blocksearch.arch.cost import cost
from blocksearch.arch.notation import parse
from blocksearch.arch.zoo import TASKS, named_network
from blocksearch.data import split_id
from blocksearch.paper.reproduce import LARGE, compared, measured, networks_of, rank_correlation
from blocksearch.paper.section3 import recorded
from blocksearch.paper.tables import TABLES, printed
from blocksearch.report.comparisons import verdict_of
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.metrics import mean_interval
from blocksearch.space.load import load_space

ROOT = Path(__file__).parent.parent
WIDTHS = {"cifar10": (16, 32, 64)}  # where a table was reproduced at other widths than the paper's
README = (ROOT / "README.md").read_text()


def table_under(heading: str) -> list[list[str]]:
    """The cells of the README's table whose head has these words, row by row."""
    lines = README.splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("|") and heading in line)
    end = next(at for at in range(start, len(lines)) if not lines[at].startswith("|"))
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines[start + 2 : end]
    ]


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """The runs of a shipped ledger, read from a copy."""
    folder = tmp_path_factory.mktemp("studies")

    def read(name):
        shutil.copy(ROOT / "studies" / name, folder)
        with closing(Ledger(folder / name, create=False)) as ledger:
            return list(ledger.runs()), ledger.reports()

    return read


def reproduced(number):
    """The data set of a table, and its networks at the widths of the README."""
    name = TABLES[number][0]
    task = TASKS[name]
    return name, networks_of(number, replace(task, widths=WIDTHS.get(name, task.widths)))


@pytest.mark.parametrize("number", [2, 4, 7])
def test_what_the_paper_says_of_networks_is_as_the_ledger_has_it(number, shipped):
    name, found = reproduced(number)
    runs, _ = shipped(f"{name}.db")
    tested = [run for run in runs if run.key.protocol == "test"]
    measured_rows = measured(found, tested, range(5))
    labels = {row.name: row.label for row in measured_rows}
    rows = {label: cells for label, *cells in table_under(f"| {name}, ")}
    for result in compared(measured_rows, range(5)):
        variant, own, (claim, *_) = result.variant, result.comparison, result.statements
        wanted = [
            f"{own.difference:+.2f}",
            "{:+.2f} – {:+.2f}".format(*own.interval),
            claim.text,
            claim.agreement,
        ]
        cells = rows[f"{labels[variant.value]} against {labels[variant.reference_value]}"]
        assert [cell.replace("−", "-") for cell in cells] == wanted
    assert len(rows) == {"gtsrb": 9, "cifar10": 5}[name]


@pytest.mark.parametrize("number", [2, 4, 7])
def test_a_table_of_the_paper_is_as_the_ledger_has_it(number, shipped):
    dataset, found = reproduced(number)
    runs, _ = shipped(f"{dataset}.db")
    tested = [run for run in runs if run.key.protocol == "test"]
    base = cost(found[0][2].layers).flops
    wanted, means = {}, []
    for name, row, network in found:
        accuracies = [run.accuracy for run in tested if run.key.network == network.digest]
        assert len(accuracies) == 5
        flops, mean, (low, high) = (
            cost(network.layers).flops,
            sum(accuracies) / 5,
            mean_interval(accuracies),
        )
        if name != "effnet_large_published":
            means.append((mean, row.accuracy))
        wanted[LARGE.get(name, row.label)] = [
            *(
                f"{row.accuracy:.2f}",
                f"{mean:.2f}",
                f"{low:.2f} – {high:.2f}",
                printed(flops, row.flops),
            ),
            *(f"{row.factor:.2f}", f"{flops / base:.2f}"),
        ]
    rows = {label: cells for label, *cells in table_under(f"`blocksearch reproduce table{number}")}
    assert rows == {label: cells for label, cells in wanted.items() if label in rows}
    assert set(wanted) - set(rows) <= {"Baseline"}  # which is in the first table
    assert re.search(
        r"{:+.2f} \(p = {:.3f}\) for Table {}".format(
            *rank_correlation(*zip(*means, strict=True)), number
        ).replace("+", r"\+"),
        README,
    )


def effects_of_shortcuts(runs, name, widths, epochs, split, seeds):
    """Every shortcut against none, in effnet, over the first seeds of a split."""
    task = TASKS[name] if widths is None else replace(TASKS[name], widths=widths)
    effnet = named_network("effnet", task, dataset=name)

    def accuracies(network):
        wanted = (network.digest, split_id(split), epochs)
        judged = [
            run for run in runs if (run.key.network, run.key.protocol, run.epoch_to) == wanted
        ]
        found = [run for run in judged if run.key.seed < seeds]
        assert len(found) == seeds
        return {run.key.seed: run.accuracy for run in found}

    names = ("add", "project", "concatenate")
    return compare_pairs(
        {
            each: (accuracies(effnet), accuracies(effnet.with_factor("residual", each)))
            for each in names
        }
    )


def test_what_shortcuts_do_is_as_the_ledgers_have_it(shipped):
    asked = (
        ("gtsrb", None, 30, 0, 8),
        ("gtsrb", None, 30, 1, 8),
        ("cifar10", (32, 64, 128), 6, 0, 5),
    )
    columns = [effects_of_shortcuts(shipped(f"{name}.db")[0], name, *rest) for name, *rest in asked]
    written = {value: cells for value, *cells in table_under("GTSRB, `--val-split 1`")}
    for value, cells in written.items():
        effects = [column[value] for column in columns]
        wanted = [
            "{:+.2f} ({:+.2f} – {:+.2f}), {}".format(e.difference, *e.interval, e.verdict)
            for e in effects
        ]
        assert [cell.replace("−", "-") for cell in cells] == wanted
    assert set(written) == set(columns[0])
    picture = (ROOT / "studies" / "gtsrb-residual.svg").read_text()
    for effect in columns[0].values():
        assert re.search(rf"{re.escape(f'{effect.difference:+.2f}')}\b", picture)


def section3_cells(result):
    """A result of Section 3, as the README writes it."""
    variant, own = result.variant, result.comparison
    label = f"{variant.factor} {variant.value}" + (f", {variant.given}" if variant.given else "")
    low, high = own.interval
    return label, [
        str(own.n),
        f"{own.difference:+.2f}",
        f"{low:+.2f} – {high:+.2f}",
        f"{result.cost.flops / result.reference_cost.flops - 1:+.0%}" if result.cost else "",
        verdict_of(result),
        "; ".join(str(each).removeprefix("Section ") for each in result.statements),
    ]


@pytest.mark.parametrize("name", ["gtsrb", "cifar10"])
def test_section_3_is_as_the_ledger_has_it(name, shipped):
    """Its table has a row for each comparison that the shipped runs make."""
    found = recorded(shipped(f"{name}.db")[0], name)
    wanted = dict(section3_cells(result) for result in found.results if result.comparison)
    heading = f"`blocksearch reproduce section3 --dataset {name}"
    rows = {label: cells for label, *cells in table_under(heading)}
    assert {
        label: [cell.replace("−", "-") for cell in cells] for label, cells in rows.items()
    } == wanted


def test_the_front_of_the_shipped_search_is_as_its_runs_have_it(shipped):
    runs, reports = shipped("gtsrb-search.db")
    (content,) = [json.loads(report["content"]) for report in reports if report["kind"] == "final"]
    tested = {row["flops"]: row for row in content["rows"]}
    base = cost(named_network("baseline", TASKS["gtsrb"]).layers).flops
    found = table_under("test, % (10 epochs, 5 seeds)")
    assert len(found) == 5
    assert len(tested) == 19
    for text, flops, factor, accuracy, interval in found:
        row = tested[int(flops.replace(",", ""))]
        own = [
            run.accuracy
            for run in runs
            if (run.key.protocol, run.key.network) == ("test", parse(row["text"]).digest)
        ]
        assert sorted(own) == sorted(row["accuracies"])
        low, high = mean_interval(own)
        assert (accuracy, interval) == (f"{sum(own) / 5:.2f}", f"{low:.2f} – {high:.2f}")
        assert factor == f"{row['flops'] / base:.2f}"
        assert all(part in row["text"] for part in text.strip("`").split() if "=" in part)
        assert "kernel=1x3+3x1 depth_multiplier=2" in row["text"]


@pytest.mark.slow
def test_the_readmes_programs_run(tmp_path):
    """Its four blocks of Python as files in one folder, the last ones on small images; what is
    printed is as it says.
    """
    option, space, use, study = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert option.startswith("# squeeze.py")
    assert space.startswith("# my_space.py")
    for name, code in (("squeeze", option), ("my_space", space), ("use", use), ("study", study)):
        (tmp_path / f"{name}.py").write_text(code)
    random = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", random.integers(0, 256, (400, 32, 32, 3), np.uint8))
    np.save(tmp_path / "labels.npy", np.arange(400) % 10)
    environment = os.environ | {
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
        "BLOCKSEARCH_DATA": str(tmp_path / "data"),
    }

    def run(*arguments):
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command,
            check=False,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    shown = run(
        "-m",
        "blocksearch",
        "show",
        "effnet attention=squeeze.se(ratio=2)",
        "--plugin",
        "squeeze.py",
    )
    assert "squeeze.se(ratio=2)" in shown
    assert "(23, 45, 91)" in run("use.py").splitlines()[-1]
    assert re.fullmatch(r"(\d+\.\d\d % .*\n)+", run("study.py"))


def test_sizes_are_as_the_readme_says():
    grammar = load_space("per_stage")
    said = f"`per_stage` has {grammar.size:,} distinct networks of {sum(p.product.combinations for p in grammar.parts):,}"
    assert said in " ".join(README.split())
