"""A study to look at: in the terminal, as files, and as pictures; no text of a study becomes
markup.
"""

import csv
import html
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from math import hypot
from pathlib import Path

import matplotlib as mpl
import pytest
from PIL import Image

from blocksearch.cli.options import Output
from blocksearch.errors import ConfigError
from blocksearch.report.console import as_text, show
from blocksearch.report.front import budget_lines, front_report
from blocksearch.report.pictures import STYLE, draw
from blocksearch.report.writers import save
from blocksearch.search.results import Axis, Entry, Summary
from blocksearch.search.summary import summarise
from tests.search.made import HOSTILE, definition, row, searched, write

SHIPPED = Path(__file__).parent.parent.parent / "studies"
CHOICES = [["kernel", ["3x3", "1x3+3x1"]], ["groups", ["none", "both(4)"]]]
SHOWN = [text.replace("\x1b", "\ufffd") for text in HOSTILE]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return summarise(
        searched(
            tmp_path_factory.mktemp("made") / "made.db", budgets=["flops <= 300k", "macs <= 200k"]
        )
    )


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A study of which every text is hostile; each hostile text is a named point, too."""
    rows = [
        row(n, n, 50.0 + 3 * n, {"flops": 20_000 * (n + 1)}, [0, 0], origin=own, text=own)
        for n, own in enumerate(HOSTILE)
    ]
    defined = definition(CHOICES, title=" ".join(HOSTILE), budgets=["flops <= 60k"])
    return summarise(
        write(tmp_path_factory.mktemp("hostile") / "a.db", "<i>&name</i>", defined, rows)
    )


def test_the_table_shows_texts_as_they_are(hostile, capsys):
    show(front_report(hostile))
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    for text in SHOWN:
        assert text in " ".join(printed.split())


def test_the_table_says_what_the_volume_means_and_how_good_each_network_is(made):
    printed, best = as_text(front_report(made), 200), made.front[-1]
    low, high = best.interval
    own = sum(best.accuracies) / len(best.accuracies)
    assert f"hypervolume {made.volume:.4f}" in printed
    assert "accuracy from 10 %, chance, to 100 %; log10 flops from" in printed
    assert f"{own:.2f}  {best.mean:.2f} [{low:.2f}, {high:.2f}]" in printed
    assert f"{best.costs['flops']:,}" in printed
    assert f"{best.factor:.2f}" in printed


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_on_a_usual_terminal_the_front_is_a_table(made, columns):
    printed = as_text(front_report(made), columns, wide=False)
    lines = printed.splitlines()
    assert all(len(line) <= columns and line == line.rstrip() for line in lines)
    for entry in made.front:
        own = sum(entry.accuracies) / len(entry.accuracies)
        counts = r"\s+".join(f"{entry.costs[name]:,}" for name in ("flops", "params"))
        row = rf"{own:.2f}\s+{entry.mean:.2f} \[[\d., ]+\]\s+{counts}\s.*[\w\[]"
        assert any(re.search(row, line) for line in lines)


def test_budgets_are_lines_on_their_own_axis(made):
    assert list(budget_lines(made, "flops")) == [
        (300_000, "flops <= 300k"),
        (400_000, "macs <= 200k"),
    ]
    assert list(budget_lines(made, "params")) == []


def test_files_of_numbers_list_all_networks_the_front_first_with_all_digits(tmp_path, made):
    save(front_report(made), tmp_path / "a.csv")
    save(front_report(made), tmp_path / "a.json")
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    data = json.loads((tmp_path / "a.json").read_text())
    kinds = ["yes"] * len(made.front) + ["no"] * (40 - len(made.front))
    assert [line["front"] for line in rows] == kinds
    assert data["hypervolume"] == made.volume
    assert data["front"] == [entry.trial for entry in made.front]
    assert data["units"]["networks"]["measured"] == "%"
    for line, record in zip(rows, data["networks"], strict=True):
        entry = made.entries[int(line["trial"])]
        own = entry.accuracies
        assert record["accuracies"] == list(own)
        for found in (line, record):
            assert float(found["measured"]) == sum(own) / len(own)
            assert float(found["expected"]) == entry.mean
            ends = float(found["expected_low"]), float(found["expected_high"])
            assert ends == entry.interval
            assert int(found["flops"]) == entry.costs["flops"]


def test_markdown_says_between_what_the_volume_is_measured(tmp_path, made):
    save(front_report(made), tmp_path / "a.md")
    assert made.frame in (tmp_path / "a.md").read_text()


def test_a_hostile_text_becomes_nothing_in_markdown(tmp_path, hostile):
    save(front_report(hostile), tmp_path / "a.md")
    text = (tmp_path / "a.md").read_text()
    assert not re.findall(r"(?<!\\)[<>`$\[\]&]", text)
    assert not re.findall(r"(?<![\\*])\*(?!\*)", text.replace("**", ""))
    rendered = html.unescape(re.sub(r"\\(.)", r"\1", text))
    assert "<script>alert(1)</script>" in rendered
    assert (
        len(
            {
                line.replace("\\|", "").count("|")
                for line in text.splitlines()
                if line.startswith("|")
            }
        )
        == 1
    )


@pytest.mark.parametrize("ending", [".html", ".svg", ".md", ".csv", ".txt"])
def test_no_file_has_a_control_character(tmp_path, hostile, ending):
    save(front_report(hostile), tmp_path / f"a{ending}")
    text = (tmp_path / f"a{ending}").read_text()
    script = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", script)
    assert "\ufffd[31mred" in html.unescape(text).replace("\\", "")


# ---- pictures


def svg_texts(file):
    return [
        "".join(element.itertext())
        for element in ET.parse(file).iter("{http://www.w3.org/2000/svg}text")
    ]


def test_an_svg_names_everything_as_it_is(tmp_path, hostile):
    save(front_report(hostile), tmp_path / "a.svg")
    texts = svg_texts(tmp_path / "a.svg")
    for text in SHOWN:
        assert text in texts
    assert any("flops <= 60k" in text for text in texts)
    tags = {element.tag.split("}")[1] for element in ET.parse(tmp_path / "a.svg").iter()}
    assert not tags & {"script", "b", "i"}


def test_an_svg_says_what_was_reduced_and_is_the_same_again(tmp_path, made):
    save(front_report(made), tmp_path / "a.svg")
    save(front_report(made), tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    said = " ".join(svg_texts(tmp_path / "a.svg"))
    assert "only 1,500 of 16,000 training images" in said
    drawn = {
        "baseline",
        "effnet",
        "front, 95 % intervals",
        "dominated",
        "reference networks",
        "budget",
    }
    assert drawn <= set(svg_texts(tmp_path / "a.svg"))


def distance(box, point):
    return hypot(
        *(
            max(low - at, 0, at - high)
            for low, at, high in zip(box.min, point, box.max, strict=True)
        )
    )


def test_a_name_is_nearest_to_its_own_point(tmp_path):
    shutil.copy(SHIPPED / "gtsrb-search.db", tmp_path)
    study = summarise(str(tmp_path / "gtsrb-search.db"))
    with mpl.rc_context(STYLE):
        figure = draw(front_report(study))
        figure.draw_without_rendering()
    (panel,) = figure.axes
    named = {
        entry.origin: panel.transData.transform((entry.costs["flops"], entry.mean))
        for entry in study.known
        if entry.named
    }
    boxes = {text.get_text(): text.get_window_extent() for text in panel.texts}
    assert set(named) == set(boxes)
    for name, box in boxes.items():
        assert min(named, key=lambda other: distance(box, named[other])) == name


def test_the_shipped_picture_is_of_the_shipped_study(tmp_path):
    shutil.copy(SHIPPED / "gtsrb-search.db", tmp_path)
    save(front_report(summarise(str(tmp_path / "gtsrb-search.db"))), tmp_path / "again.svg")
    assert svg_texts(SHIPPED / "gtsrb-search.svg") == svg_texts(tmp_path / "again.svg")


@pytest.mark.parametrize("name", ["$x^2$", "$\\frac{", "a $ b"])
def test_a_dollar_sign_begins_no_formula(tmp_path, name):
    entries = tuple(
        Entry(
            trial=n,
            origin=name,
            text="t",
            costs={name: n + 1.0},
            mean=float(n),
            on_front=True,
            named=True,
        )
        for n in range(3)
    )
    summary = Summary(
        name=name,
        title=name,
        others=(),
        axes=(Axis(name="a", maximise=True), Axis(name=name)),
        budgets=("flops <= 1",),
        entries=entries,
        front=entries,
        volume=0.5,
        walk=(0.5,) * 3,
        frame="",
    )
    save(front_report(summary), tmp_path / "a.svg")
    texts = svg_texts(tmp_path / "a.svg")
    assert texts.count(name) == 3  # beside the points
    assert f"{name} (less is better)" in texts
    save(front_report(summary), tmp_path / "a.png")


def test_more_objectives_are_more_panels(tmp_path):
    sizes = []
    for costs in (("flops",), ("flops", "params"), ("flops", "params", "peak_activations")):
        file = searched(tmp_path / f"{len(costs)}.db", objectives=("accuracy", *costs), trials=20)
        save(front_report(summarise(file)), tmp_path / "a.png")
        with Image.open(tmp_path / "a.png") as image:
            sizes.append(image.width)
    assert sizes[0] < sizes[1] < sizes[2]


def test_a_picture_of_nothing_is_a_picture(tmp_path):
    for ending in (".png", ".svg"):
        study = write(tmp_path / f"{ending}.db", "a", definition(CHOICES), [])
        save(front_report(summarise(study)), tmp_path / f"a{ending}")
        assert (tmp_path / f"a{ending}").stat().st_size > 1000


@pytest.mark.parametrize("name", ["a.jpg", "a", "nowhere/a.png"])
def test_a_file_that_cannot_be_written_is_refused_at_once(tmp_path, name):
    with pytest.raises(ConfigError, match="an answer is saved"):
        Output(save=[tmp_path / name])


@pytest.mark.slow
@pytest.mark.parametrize("raced", [False, True])
def test_the_command_writes_everything_it_is_asked_for(tmp_path, raced):
    file = searched(tmp_path / "a.db", trials=20, raced=raced)
    assert any(entry.early for entry in summarise(file).entries) == raced
    names = ("a.html", "a.csv", "a.png", "a.svg")
    arguments = [text for name in names for text in ("--save", str(tmp_path / name))]
    command = [sys.executable, "-W", "error", "-m", "blocksearch", "pareto", file, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    assert all((tmp_path / name).stat().st_size > 1000 for name in names)
