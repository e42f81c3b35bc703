"""Reports: everything an answer says, in one file that needs nothing else, with no text that
becomes markup.
"""

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from blocksearch.ablation.design import Variant, variants
from blocksearch.ablation.results import Ablation, Agreement, Statement, VariantResult
from blocksearch.ablation.stats import Comparison, Verdict
from blocksearch.cli.options import check_files
from blocksearch.errors import ConfigError
from blocksearch.paper.reproduce import Measured, PaperTable
from blocksearch.paper.tables import Row
from blocksearch.report.evidence import ablation_parts
from blocksearch.report.pages import as_texts
from blocksearch.report.report import ablation_report, published_report, save
from blocksearch.runs.records import Run
from tests.ablation.test_study import EFFNET, SHARED, made_up_runs, results

HOSTILE = "<script>alert(1)</script> & | title"


def answered(found, title="t"):
    return Ablation(title=title, results=tuple(found), notes=())


def run(seed, accuracy, losses=(1.0,)):
    """A run of effnet on test images, which judge once; without accuracy it diverged."""
    key = replace(SHARED.job(EFFNET, seed).key, protocol="test")
    state, curve = ("diverged", ()) if accuracy is None else ("complete", (accuracy,))
    return Run(key, 0, 1, state, "nan", curve, losses, np.zeros(0, bool), 1.0, {})


def row(label, *runs):
    """A row of a table whose paper prints 90 %, 300k FLOPs and a factor of 0.2."""
    published = Row(label, "effnet", 90.0, "300k", 0.2)
    return Measured(name="effnet", published=published, network=EFFNET, runs=runs, base=1_666_048)


class Page(HTMLParser):
    """What a browser would see: tags that load something, the scripts, the cells of tables."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.rows, self.title, self._in = [], [], "", ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self._in = tag
        self.loads += [value for name, value in attrs if name in ("src", "href")]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self._in = ""

    def handle_data(self, data):
        if self._in == "title":
            self.title += data
        elif self._in in ("td", "th"):
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def found():
    listed = variants(EFFNET, "residual")
    return results(
        listed,
        made_up_runs(
            listed, lambda v, seed: None if v.value == "project" else 70.0 + seed + len(v.value)
        ),
    )


def test_a_page_holds_everything_and_loads_nothing(tmp_path, found):
    file = tmp_path / "a.html"
    ablation_report(file, answered(found, HOSTILE))
    text = file.read_text()
    page = Page(text)
    assert page.loads == []
    assert page.title == HOSTILE
    assert "<script>alert" not in text
    assert [row[1] for row in page.rows[1:]] == ["none", "add", "project", "concatenate"]
    assert any("diverged" in cell for cell in page.rows[3])
    effects, costs, curves = figures_of(text)
    assert [trace["y"] for trace in effects[::2]] == [["residual add"], ["residual concatenate"]]
    assert len(costs) == len(curves) == 3  # a variant of which no seed completed has no point


def figures_of(text):
    return [
        json.loads(found)
        for found in re.findall(
            r"Plotly\.newPlot\(\s*\"[^\"]+\",\s*(\[.*?\]),\s*\{", text, re.DOTALL
        )
    ]


def test_a_page_of_a_table_shows_the_papers_values_every_seed_and_how_it_was_learnt(tmp_path):
    rows = (
        row(HOSTILE, run(0, 90.0, (2.0, 1.0)), run(1, 92.0, (4.0, 2.0))),
        row("b", run(0, None)),
    )
    file = tmp_path / "a.html"
    result = VariantResult(
        variant=Variant(
            factor="network",
            value="effnet",
            network=EFFNET,
            reference=EFFNET,
            reference_value="mobilenet",
        ),
        comparison=Comparison(
            seeds=tuple(range(5)),
            reference=(50.0,) * 5,
            variant=(51.5,) * 5,
            margin=0.5,
            verdict=Verdict.HELPS,
            difference=1.5,
            interval=(1.0, 2.0),
        ),
        absence=None,
        runs=tuple(run(seed, 51.5) for seed in range(5)),
        failed=(),
        statements=(Statement(section="5", text="helps", agreement=Agreement.AGREES),),
    )
    table = PaperTable(
        number=4,
        title="Table 4",
        rows=rows,
        order=(0.5, 0.25),
        compared=(result,),
        notes=("5 runs",),
    )
    published_report(file, table)
    text = file.read_text()
    assert "<script>alert" not in text
    assert "paper and here: +0.50 (p = 0.250)" in text
    assert Page(text).rows[-1][:5] == ["effnet", "mobilenet", "5", "+1.50", "[+1.00, +2.00]"]
    assert Page(text).rows[-1][-2:] == ["helps", "5: helps, agrees"]
    assert "5 runs" in text
    accuracies, costs, curves = figures_of(text)
    here, seeds, paper = accuracies
    assert (here["x"], here["error_x"]["array"], seeds["x"], paper["x"]) == (
        [91.0],
        [9.0],  # to 100
        [90.0, 92.0],
        [90.0, 90.0],
    )
    assert [(trace["x"], trace["y"]) for trace in costs] == [([rows[0].flops] * 2, [90.0, 92.0])]
    assert [(trace["x"], trace["y"]) for trace in curves] == [([1, 2], [3.0, 1.5])]
    assert len(Page(text).rows) == 5
    published_report(tmp_path / "a.csv", table)
    own, compared = (
        list(csv.DictReader(part.splitlines()))
        for part in (tmp_path / "a.csv").read_text().split("\n\n")
    )
    assert [row["accuracies"] for row in own] == ["90 92", ""]
    assert [
        (row["network"], row["reference"], row["interval_low"], row["verdict"]) for row in compared
    ] == [("effnet", "mobilenet", "1", "helps")]


def test_tables_to_paste_hold_the_rows(tmp_path, found):
    for ending in (".csv", ".md"):
        ablation_report(tmp_path / f"a{ending}", answered(found, HOSTILE))
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert [row["value"] for row in rows] == [row["value"] for row in answered(found).records()]
    assert {row["title"] for row in rows} == {HOSTILE}
    assert rows[1]["accuracies"] == "73 74 75 76 77"
    assert [row["p_value"] and float(row["p_value"]) for row in rows] == [
        "" if row["p_value"] is None else pytest.approx(row["p_value"], rel=1e-9)
        for row in answered(found).records()
    ]
    lines = [line for line in (tmp_path / "a.md").read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)] for line in lines]
    assert {len(row) for row in cells} == {len(cells[0])}
    assert [row[2] for row in cells[2:]] == [row["value"] for row in answered(found).records()]


def test_a_name_from_outside_is_no_formula(tmp_path):
    hostile = ("=1+1", "+1", "-1", "@x", "\tx", "plain")
    save(
        tmp_path / "a.csv", '=HYPERLINK("x")', [{"name": name, "number": -1.5} for name in hostile]
    )
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == [*(f"'{name}" for name in hostile[:-1]), "plain"]
    assert {(row["number"], row["title"]) for row in rows} == {("-1.5", '\'=HYPERLINK("x")')}


def test_many_networks_look_different(tmp_path):
    listed = variants(
        EFFNET, "kernel", [f"{size}x{other}" for size in (1, 3, 5, 7, 9, 11) for other in (1, 3, 5)]
    )
    ablation_report(
        tmp_path / "a.html",
        answered(results(listed, made_up_runs(listed, lambda v, seed: 50.0 + seed))),
    )
    _, costs, curves = figures_of((tmp_path / "a.html").read_text())
    assert len(costs) > 16
    assert len({(trace["marker"]["color"], trace["marker"]["symbol"]) for trace in costs}) == len(
        costs
    )
    assert len({(trace["line"]["color"], trace["line"]["dash"]) for trace in curves}) == len(curves)


def test_intervals_of_a_table_are_drawn_as_they_are_printed(tmp_path):
    rows = (row("first", run(0, 97.0)), row("a", run(0, 96.0), run(1, 98.0)))
    table = PaperTable(number=4, title="Table 4", rows=rows, order=None)
    published_report(tmp_path / "a.html", table)
    here = figures_of((tmp_path / "a.html").read_text())[0][0]
    assert here["y"] == ["first", "a"]
    assert (here["error_x"]["array"], here["error_x"]["arrayminus"]) == (
        [0, 3],
        [0, pytest.approx(12.71, abs=0.01)],
    )


@pytest.mark.parametrize("name", ["a.pdf", "nowhere/a.html"])
def test_a_report_that_cannot_be_written_is_refused_at_once(tmp_path, name):
    with pytest.raises(
        ConfigError, match=r"--report writes a \.html or \.md or \.csv file in a folder that exists"
    ):
        check_files(report=tmp_path / name)
    check_files(report=None)


def test_the_cells_of_an_ablation_are_the_effects_and_costs():
    listed = variants(EFFNET, "residual", ["project"])
    runs = made_up_runs(
        listed, lambda v, seed: 60.0 + seed + (0.3 + 0.2 * seed**2) * (not v.is_reference)
    )
    reference, variant = results(listed, runs)
    _, head, (_, row) = as_texts(ablation_parts([reference, variant])[0])
    cells, effect = dict(zip(head, row, strict=True)), variant.comparison
    for name, quantity in (
        ("FLOPs", "flops"),
        ("params", "params"),
        ("activations", "activations"),
    ):
        own, other = getattr(reference.cost, quantity), getattr(variant.cost, quantity)
        assert cells[name] == f"{100 * (other - own) / own:+.1f}%"
        assert cells[name].startswith("+")
    assert (cells["p (Holm)"], cells["sign flip"]) == (
        f"{effect.p_value:.3f}",
        f"{effect.p_sign_flip:.3f}",
    )
    assert cells["p (Holm)"] != cells["sign flip"]
    assert cells["accuracy %"] == f"{np.mean(list(variant.accuracies.values())):.2f}"
    assert cells["verdict"].startswith(f"undecided (about {effect.seeds_to_decide} seeds")
    ends = [replace(effect, interval=each) for each in ((0.0, 1.2), (-1.2, 0.0), (-0.4, 0.3))]
    shown = [ablation_parts([reference, replace(variant, comparison=each)])[0] for each in ends]
    found = [
        dict(zip(*(as_texts(table)[1], as_texts(table)[2][1]), strict=True))["interval"]
        for table in shown
    ]
    assert found == ["(0, +1.20]", "[-1.20, 0)", "[-0.40, +0.30]"]


def test_figures_draw_the_effects_and_costs(tmp_path):
    listed = variants(EFFNET, "residual", ["project"])
    runs = made_up_runs(
        listed, lambda v, seed: 60.0 + seed + (3 + 0.1 * seed) * (not v.is_reference)
    )
    reference, variant = results(listed, runs)
    low, high = variant.comparison.difference - 1, variant.comparison.difference + 2
    shown = [
        reference,
        replace(variant, comparison=replace(variant.comparison, interval=(low, high))),
    ]
    ablation_report(tmp_path / "a.html", answered(shown))
    effects, costs, _ = figures_of((tmp_path / "a.html").read_text())
    one, seeds = effects
    assert (one["x"], one["marker"]["color"]) == ([pytest.approx(3.2)], "#0072b2")
    assert (one["error_x"]["arrayminus"], one["error_x"]["array"]) == (
        [pytest.approx(1)],
        [pytest.approx(2)],
    )
    assert seeds["x"] == pytest.approx([3, 3.1, 3.2, 3.3, 3.4])
    assert [trace["x"][0] for trace in costs] == [result.cost.flops for result in shown]
