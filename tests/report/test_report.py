"""Reports: everything an answer says, in one file that needs nothing else, with no text that
becomes markup.
"""

import csv
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from blocksearch.ablation.design import variants
from blocksearch.ablation.results import Agreement, Statement, VariantResult
from blocksearch.ablation.stats import Comparison, Verdict
from blocksearch.ablation.study import Ablation
from blocksearch.ablation.variant import Variant
from blocksearch.errors import ConfigError
from blocksearch.paper.reproduce import Measured, PaperTable
from blocksearch.paper.tables import Row
from blocksearch.report import study
from blocksearch.report.comparisons import ablation_report, paper_report
from blocksearch.report.console import Page as Console
from blocksearch.report.console import as_text, show
from blocksearch.report.measured import measured_by
from blocksearch.report.table import (
    Column,
    Made,
    Priority,
    Report,
    Table,
    clean,
    cleaned,
    rows_table,
    shared_words,
)
from blocksearch.report.writers import WRITERS, register_writer, save
from blocksearch.runs.measures import read_metric
from blocksearch.runs.records import Run, RunState
from blocksearch.search import evaluation
from tests.ablation.test_study import EFFNET, SHARED, made_up_runs, results

HOSTILE = "<script>alert(1)</script> & | title"


def answered(found, title="t"):
    return Ablation(title=title, results=tuple(found), notes=())


def run(seed, accuracy, losses=(1.0,)):
    """A run of effnet on test images, which judge once; without accuracy it diverged."""
    key = replace(SHARED.job(EFFNET, seed).key, protocol="test")
    lost = accuracy is None
    return Run(
        key=key,
        epoch_to=1,
        state=RunState.DIVERGED if lost else RunState.COMPLETE,
        reason="nan" if lost else "",
        accuracies=() if lost else (accuracy,),
        losses=losses,
        right=np.zeros(0, bool),
        seconds=1.0,
        provenance={},
    )


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
    save(ablation_report(answered(found, HOSTILE)), file)
    text = file.read_text()
    page = Page(text)
    assert page.loads == []
    assert page.title == HOSTILE
    assert "<script>alert" not in text
    assert [row[1] for row in page.rows[1:]] == ["none", "add", "project", "concatenate"]
    assert any("diverged" in cell for cell in page.rows[3])
    effects, costs, curves = figures_of(text)
    assert sorted(y for trace in effects[:-1] for y in trace["y"]) == [
        "residual add",
        "residual concatenate",
    ]
    assert text.index("<table") < text.index("<figure")  # the verdicts come first
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
    save(paper_report(table), file)
    text = file.read_text()
    assert "<script>alert" not in text
    assert "paper and here: +0.50 (p = 0.250)" in text
    assert Page(text).rows[-1][:5] == ["b", "mobilenet", "5", "+1.50", "[+1.00, +2.00]"]
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
    save(paper_report(table), tmp_path / "a.csv")
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    own, compared = (
        [row for row in rows if row["table"] == name] for name in ("networks", "comparisons")
    )
    assert [row["accuracies"] for row in own] == ["90.0 92.0", ""]
    assert [
        (row["value"], row["reference"], row["interval_low"], row["verdict"]) for row in compared
    ] == [("effnet", "mobilenet", "1.0", "helps")]


def test_files_hold_every_row_under_named_fields_with_all_digits(tmp_path, found):
    report = ablation_report(answered(found, HOSTILE))
    for ending in (".csv", ".md", ".json"):
        save(report, tmp_path / f"a{ending}")
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    data = json.loads((tmp_path / "a.json").read_text())
    records = data["comparisons"]
    assert {row["title"] for row in rows} == {HOSTILE}
    assert data["title"] == HOSTILE
    assert data["units"]["comparisons"]["difference"] == "points"
    for result, row, record in zip(found, rows, records, strict=True):
        effect, own = result.comparison, list(result.accuracies.values())
        assert row["value"] == record["value"] == result.variant.value
        assert (record["n"], record["accuracies"]) == (len(own), own)
        assert record["accuracy"] == (np.mean(own) if own else None)
        assert row["accuracies"] == " ".join(map(str, own))
        if effect and effect.interval:
            assert (record["interval_low"], record["interval_high"]) == effect.interval
            assert float(row["p_value"]) == effect.p_value
    assert set(rows[0]) == {*records[0], "title"}
    lines = [line for line in (tmp_path / "a.md").read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)] for line in lines]
    assert {len(row) for row in cells} == {len(cells[0])}
    assert [row[2] for row in cells[2:]] == [result.variant.value for result in found]


def test_a_name_from_outside_is_no_formula(tmp_path):
    hostile = ("=1+1", "+1", "-1", "@x", "plain")
    rows = [{"name": name, "=cmd()": -1.5} for name in hostile]
    named = rows_table("names", rows, '=HYPERLINK("x")')
    save(Report(tables=(named,)), tmp_path / "a.csv")
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == [*(f"'{name}" for name in hostile[:-1]), "plain"]
    assert {(row["'=cmd()"], row["title"]) for row in rows} == {("-1.5", '\'=HYPERLINK("x")')}


def test_many_networks_look_different(tmp_path):
    listed = variants(
        EFFNET, "kernel", [f"{size}x{other}" for size in (1, 3, 5, 7, 9, 11) for other in (1, 3, 5)]
    )
    runs = made_up_runs(listed, lambda v, seed: 50.0 + seed)
    save(ablation_report(answered(results(listed, runs))), tmp_path / "a.html")
    _, costs, curves = figures_of((tmp_path / "a.html").read_text())
    assert len(costs) > 16
    for traces in (costs, curves):  # of one epoch a curve is a point
        looks = {(trace["marker"]["color"], trace["marker"]["symbol"]) for trace in traces}
        assert len(looks) == len(traces)


def test_intervals_of_a_table_are_drawn_as_they_are_printed(tmp_path):
    rows = (row("first", run(0, 97.0)), row("a", run(0, 96.0), run(1, 98.0)))
    table = PaperTable(number=4, title="Table 4", rows=rows, order=None)
    save(paper_report(table), tmp_path / "a.html")
    here = figures_of((tmp_path / "a.html").read_text())[0][0]
    assert here["y"] == ["first", "a"]
    assert (here["error_x"]["array"], here["error_x"]["arrayminus"]) == (
        [0, 3],
        [0, pytest.approx(12.71, abs=0.01)],
    )


def test_the_cells_of_an_ablation_are_the_effects_and_costs():
    listed = variants(EFFNET, "residual", ["project"])
    runs = made_up_runs(
        listed, lambda v, seed: 60.0 + seed + (0.3 + 0.2 * seed**2) * (not v.is_reference)
    )
    reference, variant = results(listed, runs)

    def shown(*results):
        (table,) = ablation_report(answered(results)).tables
        columns, rows = table.cells(Priority.WIDE)
        return dict(zip([column.name for column in columns], rows[-1], strict=True))

    cells, effect = shown(reference, variant), variant.comparison
    for name, quantity in (
        ("flops", "flops"),
        ("params", "params"),
        ("activations", "activations"),
    ):
        own, other = getattr(reference.cost, quantity), getattr(variant.cost, quantity)
        assert cells[f"{name}_change"] == f"{100 * (other - own) / own:+.1f}%"
        assert cells[f"{name}_change"].startswith("+")
        assert cells[name] == f"{other:,}"
    assert (cells["p_value"], cells["p_sign_flip"]) == (
        f"{effect.p_value:.3f}",
        f"{effect.p_sign_flip:.3f}",
    )
    assert cells["p_value"] != cells["p_sign_flip"]
    assert cells["accuracy"] == f"{np.mean(list(variant.accuracies.values())):.2f}"
    said = f"undecided ({effect.n} seeds show ±{effect.decides:.2g} or more"
    assert cells["outcome"].startswith(said)
    ends = [replace(effect, interval=each) for each in ((0.0, 1.2), (-1.2, 0.0), (-0.4, 0.3))]
    found = [shown(reference, replace(variant, comparison=each))["interval"] for each in ends]
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
    save(ablation_report(answered(shown)), tmp_path / "a.html")
    effects, costs, _ = figures_of((tmp_path / "a.html").read_text())
    one, seeds = effects
    assert (one["x"], one["marker"]["color"]) == ([pytest.approx(3.2)], "#0072b2")
    assert (one["error_x"]["arrayminus"], one["error_x"]["array"]) == (
        [pytest.approx(1)],
        [pytest.approx(2)],
    )
    assert seeds["x"] == pytest.approx([3, 3.1, 3.2, 3.3, 3.4])
    assert [trace["x"][0] for trace in costs] == [result.cost.flops for result in shown]


# ---- tables and files of any kind


def test_on_a_usual_terminal_an_ablation_is_a_table():
    listed = variants(EFFNET, "residual")
    runs = made_up_runs(listed, lambda v, seed: 70.0 + seed + len(v.value) * seed % 3)
    found = results(listed, runs)
    report = ablation_report(answered(found, "a question"))
    for columns in (80, 100, 120):
        lines = as_text(report, columns, wide=False).splitlines()
        assert all(len(line) <= columns and line == line.rstrip() for line in lines)
        head = next(line for line in lines if line.startswith("factor"))
        at = [head.index(word) for word in ("factor", "value", "difference", "interval", "verdict")]
        assert at == sorted(at)
        for result in found:
            effect = result.comparison
            if effect and effect.interval:
                row = next(line for line in lines if f" {result.variant.value} " in line)
                assert f"{effect.difference:+.2f}" in row
                assert f"{effect.interval[0]:+.2f}" in row


@pytest.mark.parametrize("columns", [40, 80, 120, 200])
def test_every_column_is_shown_or_named_and_a_note_goes_with_its_column(columns, found):
    report = ablation_report(answered(found, "a question"))
    (table,) = report.tables
    every, _ = table.cells(Priority.WIDE)
    text = as_text(report, columns, wide=False, more="wide=True")
    table_text, _, named = " ".join(text.split()).partition("more columns with wide=True: ")
    left_out = named.split(", ")
    assert {own.label or own.name for own in every} >= set(left_out) >= {"params", "activations"}
    shown = [own for own in every if (own.label or own.name) not in left_out]
    head = text.partition("───")[0] if columns > 40 else text
    assert all(word in head for own in shown for word in (own.label or own.name).split())
    for name, note in table.about.items():
        assert (note in table_text) == (name in [own.name for own in shown])
    assert ("FLOPs change" in left_out) == (columns < 120)
    whole = as_text(report, columns, wide=True, more="wide=True")
    assert "more columns" not in whole
    assert all(note in " ".join(whole.split()) for note in table.about.values())


def test_a_picture_of_an_ablation_is_its_effects(tmp_path, found):
    save(ablation_report(answered(found, "a question")), tmp_path / "a.svg")
    texts = {
        "".join(element.itertext())
        for element in ET.parse(tmp_path / "a.svg").iter("{http://www.w3.org/2000/svg}text")
    }
    assert {"residual add", "residual concatenate", "difference in accuracy, points"} <= texts


def test_a_picture_of_what_has_no_figure_is_its_table(tmp_path):
    table = rows_table("sizes", [{"name": "$x^2$ <b>", "size": 1234}])
    save(Report(tables=(table,)), tmp_path / "a.svg")
    drawn = " ".join("".join(each.itertext()) for each in ET.parse(tmp_path / "a.svg").iter())
    assert "$x^2$ <b>" in drawn
    assert "1,234" in drawn


@pytest.mark.parametrize("ending", sorted(WRITERS))
def test_a_file_that_cannot_be_written_leaves_the_former_one_whole(
    tmp_path, monkeypatch, ending, found
):
    file = tmp_path / f"a{ending}"
    file.write_text("before")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(ConfigError, match="No space left"):
        save(ablation_report(answered(found)), file)
    assert file.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    monkeypatch.undo()
    save(ablation_report(answered(found)), file)
    assert file.stat().st_size > 100


@pytest.mark.parametrize(
    ("name", "match"), [("a.doc", r"one of \.html, \.md"), ("a", "one of"), ("no/a.md", "folder")]
)
def test_a_file_of_no_known_kind_is_refused_in_one_line(tmp_path, name, match):
    with pytest.raises(ConfigError, match=match) as error:
        save(Report(tables=(rows_table("a", [{"b": 1}]),)), tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_users_writer_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr("blocksearch.report.writers.WRITERS", dict(WRITERS))
    register_writer(".count", lambda report: f"{len(report.tables[0].rows)} rows".encode())
    save(Report(tables=(rows_table("a", [{"b": 1}, {"b": 2}]),)), tmp_path / "a.count")
    assert Path(tmp_path / "a.count").read_text() == "2 rows"
    with pytest.raises(ConfigError, match="a suffix is one dot"):
        register_writer("count", lambda report: b"")


def test_records_are_the_columns_values_or_the_data_of_a_table():
    columns = (Column(name="a", unit="%"), Column(name="b"))
    table = Table(name="t", columns=columns, rows=({"a": 1.23456789, "c": 1}, {"b": 2}))
    assert table.records() == [{"a": 1.23456789, "b": None}, {"a": None, "b": 2}]
    assert table.cells(Priority.WIDE)[1] == [["1.235", ""], ["", "2"]]
    assert Report(tables=(table,)).data()["units"] == {"t": {"a": "%"}}
    assert replace(table, data=({"x": 1},)).records() == [{"x": 1}]
    total = replace(table, totals=({"a": 5},))
    assert (total.records(), total.cells(Priority.WIDE)[1][-1]) == (table.records(), ["5", ""])
    assert [total.begins_section(place) for place in range(3)] == [False, False, True]


def test_a_table_in_groups_is_one_table_in_files_and_several_in_print():
    rows = tuple({"given": given, "n": n} for n, given in enumerate(("", "x", "x", "y")))
    columns = (Column(name="given"), Column(name="n"))
    table = Table(
        name="t", title="all", columns=columns, rows=rows, grouped="given", notes=("end",)
    )
    parts = list(table.parts())
    assert [part.title for part in parts] == ["all", "x", "y"]
    assert [[row["n"] for row in part.rows] for part in parts] == [[0], [1, 2], [3]]
    assert [part.notes for part in parts] == [(), (), ("end",)]
    assert [record["given"] for record in table.records()] == ["", "x", "x", "y"]


@pytest.mark.parametrize("text", ["\x1b]0;x\x07", "\x9b2J", "\u202eabc", "\r", "\x00"])
def test_nothing_that_a_terminal_obeys_is_printed(text, capsys):
    table = rows_table("t", [{f"name {text}": f"value {text}"}], f"title {text}")
    show(Report(title=text, tables=(replace(table, notes=(text,)),), notes=(text,)))
    Console().print(text)
    printed = capsys.readouterr().out
    assert not set(printed) & set("\x1b\x07\x9b\u202e\r\x00")
    assert clean("line\nline é 漢") == "line\nline é 漢"
    assert cleaned(table) != table


def test_words_that_all_texts_begin_with_are_said_once():
    assert shared_words([["a", "[c", "d]"], ["a", "[c", "e]"]]) == 1
    assert shared_words([["a", "b"], ["a", "b"]]) == 1  # each keeps a word of its own
    assert shared_words([["a", "b"]]) == shared_words([]) == 0


def test_rows_that_are_made_where_they_are_read_are_those_that_are_there():
    rows = [{"size": size, "name": f"\x1b{size}"} for size in range(7)]
    there = rows_table("t", rows)
    made = replace(there, rows=Made(range(7), rows.__getitem__))
    for own in (there, made):
        assert cleaned(own).records() == [{**row, "name": clean(row["name"])} for row in rows]
    assert list(made.rows[2:5]) == rows[2:5]
    assert len(made.rows) == 7
    assert made.cells(Priority.WIDE) == there.cells(Priority.WIDE)


@pytest.mark.parametrize("columns", range(40, 100, 7))
def test_a_word_is_broken_only_where_no_column_can_be_left_out_for_it(columns):
    roomy = [Column(name=f"number_{at}", priority=Priority.ROOM) for at in range(4)]
    row = {"name": "spatial_activation", **{own.name: 10**12 for own in roomy}}
    table = Table(name="t", columns=(Column(name="name", left=True), *roomy), rows=(row,))
    text = as_text(Report(tables=(table,)), columns, wide=False)
    assert "spatial_activation" in text
    assert max(map(len, text.splitlines())) <= columns


@pytest.mark.parametrize("columns", [5, 7, 20, 39])
def test_no_width_is_too_narrow(columns, found):
    text = as_text(ablation_report(answered(found, "a question")), columns, wide=False)
    assert all(len(line) <= columns for line in text.splitlines())


def test_the_columns_of_a_pipe_are_those_that_are_asked_for(monkeypatch, capsys):
    wordy = rows_table("t", [{"text": "word " * 60}])
    for columns in ("70", "150"):
        monkeypatch.setenv("COLUMNS", columns)
        show(Report(tables=(wordy,)))
        lines = capsys.readouterr().out.splitlines()
        assert int(columns) - 5 <= max(map(len, lines)) <= int(columns)


@pytest.mark.parametrize("asked", ["accuracy", "macro-f1", "recall:bee"])
def test_a_test_says_what_it_measured_and_what_the_search_had(asked):
    metric, sought = read_metric(asked), read_metric("balanced-accuracy")
    text = "input=3x8x8 widths=4,8,16 classes=2 [kernel=3x3]"
    row = evaluation.Tested(
        text=text,
        origin="random",
        flops=9,
        params=9,
        searched=50.0,
        accuracy=60.0,
        interval=(55.0, 65.0),
        accuracies=(60.0,),
        failures=(run(1001, None),),
    )
    found = evaluation.Final(
        title="t",
        searched="on images",
        date="2026-11-28",
        rows=(row,),
        again=False,
        metric=metric,
        sought=sought,
    )
    report = measured_by(study.test_report(found), metric)
    (failure,) = report.tables[0].records()[0]["failures"]
    assert failure == run(1001, None).ending
    assert report.tables[0].rows[0]["count"] == "1 (seed 1001 diverged: nan)"
    assert report.tables[0].columns[1].head == f"test {metric.title}, %"
    assert any("expected in the search: balanced accuracy, by its" in note for note in report.notes)
