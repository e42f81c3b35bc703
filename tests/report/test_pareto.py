"""A study to look at: in the terminal, as a page in a real browser, and as pictures; no text of a
study becomes markup.
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

from blocksearch.cli.options import check_files
from blocksearch.errors import ConfigError
from blocksearch.report.pages import show
from blocksearch.report.pareto import pareto_page
from blocksearch.report.picture import _STYLE, _drawn, picture
from blocksearch.report.study import budget_lines, front_table, short, split_texts
from blocksearch.search.results import Axis, Entry, Summary
from blocksearch.search.summary import summarise
from tests.search.made import HOSTILE, definition, row, searched, write

SHIPPED = Path(__file__).parent.parent.parent / "studies"
CHOICES = [["kernel", ["3x3", "1x3+3x1"]], ["groups", ["none", "both(4)"]]]
SHOWN = [text.replace("\x1b", "\ufffd") for text in HOSTILE]
CHROMIUM = """--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync
--no-first-run --virtual-time-budget=10000"""


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
    defined = definition(
        CHOICES, title=" ".join(HOSTILE), budgets=["<b>flops</b> <= 1", "flops <= 60k"]
    )
    return summarise(
        write(tmp_path_factory.mktemp("hostile") / "a.db", "<i>&name</i>", defined, rows)
    )


def test_the_table_shows_texts_as_they_are(hostile, capsys):
    show(front_table(hostile))
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    for text in SHOWN:
        assert text in " ".join(printed.split())


def test_the_table_says_what_the_volume_means_and_how_good_each_network_is(made, capsys):
    show(front_table(made))
    printed = capsys.readouterr().out
    best = made.front[-1]
    assert f"hypervolume {made.volume:.4f}" in printed
    assert "accuracy from 10 %, chance, to 100 %; log10 flops from" in printed
    assert f"{best.mean:.2f}   [{best.interval[0]:.2f}, {best.interval[1]:.2f}]" in printed
    assert f"{best.costs['flops']:,}" in printed
    assert f"{best.factor:.2f}" in printed


def test_words_that_all_texts_begin_with_are_said_once():
    assert split_texts(["a=1 b=2 [c]", "a=1 b=3 [d]"]) == ("a=1", ["b=2 [c]", "b=3 [d]"])
    assert split_texts(["a [c d]", "a [c e]"]) == ("a", ["[c d]", "[c e]"])
    assert split_texts(["a b"]) == ("", ["a b"])
    assert split_texts([]) == ("", [])


def test_budgets_are_lines_on_their_own_axis(made):
    assert list(budget_lines(made, "flops")) == [
        (300_000, "flops <= 300k"),
        (400_000, "macs <= 200k"),
    ]
    assert list(budget_lines(made, "params")) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.5"), (950, "950"), (35_600, "35.6k"), (1.25e6, "1.25M"), (2e9, "2G")],
)
def test_short_numbers(value, text):
    assert short(value) == text


def test_a_markdown_table_and_a_csv_have_the_front_first(tmp_path, made):
    for ending in (".md", ".csv"):
        pareto_page(tmp_path / f"a{ending}", made)
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in lines[1:]] == ["yes"] * len(made.front) + ["no"] * (
        40 - len(made.front)
    )
    assert made.frame in (tmp_path / "a.md").read_text()


def test_a_hostile_text_becomes_nothing_in_markdown(tmp_path, hostile):
    pareto_page(tmp_path / "a.md", hostile)
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


def test_what_was_measured_stands_beside_what_the_model_says(tmp_path, made):
    pareto_page(tmp_path / "a.csv", made)
    for line in csv.DictReader((tmp_path / "a.csv").read_text().splitlines()):
        entry = made.entries[int(line["trial"])]
        assert float(line["measured"]) == pytest.approx(
            sum(entry.accuracies) / len(entry.accuracies), abs=0.006
        )
        assert float(line["accuracy"]) == pytest.approx(entry.mean, abs=0.006)


# ---- a page in a browser


def browsed(page, folder):
    """Open a page in a browser that has no network, point at every trace, and return what the page
    then is and its errors.
    """
    text = page.read_text()
    watch = "<script>window.errors = []; window.addEventListener('error', e => errors.push(e.message));</script>"
    point = """<script>window.addEventListener('load', async () => { const said = [];
      for (const plot of document.querySelectorAll('.js-plotly-plot')) for (let n = 0; n < plot.data.length; n++) {
        await new Promise(done => setTimeout(done, 200));
        if (plot.data[n].x.length) Plotly.Fx.hover(plot, [{curveNumber: n, pointNumber: plot.data[n].x.length - 1}]);
        await new Promise(done => setTimeout(done, 200));
        said.push(plot.querySelector('.hoverlayer').textContent); }
      const mark = document.createElement('pre'); mark.id = 'told';
      mark.textContent = JSON.stringify({errors, said, loaded: performance.getEntriesByType('resource').map(e => e.name)});
      document.body.append(mark); });</script>"""
    copy = folder / "watched.html"
    copy.write_text(text.replace("<head>", f"<head>{watch}").replace("</body>", f"{point}</body>"))
    command = [
        "chromium",
        *CHROMIUM.split(),
        f"--user-data-dir={folder}/profile",
        "--dump-dom",
        copy.as_uri(),
    ]
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    told = re.search(r'<pre id="told">(.*?)</pre>', dom, re.DOTALL)
    assert told, "the page's scripts did not come to their end"
    return dom, json.loads(html.unescape(told[1]))


def drawn_texts(dom):
    """Return the texts that plotly drew: tags within them are markup that became elements."""
    return [html.unescape(own) for own in re.findall(r"<text[^>]*>(.*?)</text>", dom, re.DOTALL)]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_browser_draws_the_page_without_errors_and_loads_nothing(tmp_path, made):
    pareto_page(tmp_path / "a.html", made)
    dom, told = browsed(tmp_path / "a.html", tmp_path)
    assert (told["errors"], told["loaded"]) == ([], [])
    assert dom.count('<svg class="main-svg"') >= 2 * 2
    texts = drawn_texts(dom)
    assert {entry.origin for entry in made.entries if entry.named} <= set(texts)
    assert {"flops <= 300k", "dominated", "front", "named points", "hypervolume"} <= set(texts)
    best = made.front[-1]
    assert any(
        f"{best.mean:.2f}" in said and f"{best.costs['params']:,}" in said for said in told["said"]
    )
    assert any(f"{made.walk[-1]:.4f}" in said for said in told["said"])
    assert "errorbar" in dom


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_in_a_browser_no_text_becomes_an_element(tmp_path, hostile):
    pareto_page(tmp_path / "a.html", hostile)
    dom, told = browsed(tmp_path / "a.html", tmp_path)
    assert told["errors"] == []
    texts = drawn_texts(dom)
    for text in SHOWN:
        assert text in texts
    assert any(SHOWN[-1] in said for said in told["said"])  # the last of the trace is pointed at
    body = dom[dom.index("<h1>") :]
    assert "<script>alert" not in body
    assert not re.search(r"<(b|i)>", re.sub(r"<script.*?</script>", "", body, flags=re.DOTALL))
    assert "font-weight: bold" not in "".join(
        re.findall(r"<text[^>]*class=\"(?!hover)[^>]*>.*?</text>", dom, re.DOTALL)
    )


def test_hover_texts_are_escaped_but_for_their_own_lines(tmp_path, hostile):
    pareto_page(tmp_path / "a.html", hostile)
    page = (tmp_path / "a.html").read_text()
    places = [match.end() for match in re.finditer('"hovertext":', page)]
    found = [
        json.JSONDecoder().raw_decode(page[place:])[0] for place in places if page[place] == "["
    ]
    assert len(found) == 4  # dominated, front, named and the walk
    for texts in found[:3]:
        for text in texts:
            assert set(re.findall(r"<[^>]*>", text)) == {"<br>", "<b>", "</b>"}
            assert text.count("<b>") == 1


# ---- pictures


def svg_texts(file):
    return [
        "".join(element.itertext())
        for element in ET.parse(file).iter("{http://www.w3.org/2000/svg}text")
    ]


def test_an_svg_names_everything_as_it_is(tmp_path, hostile):
    picture(tmp_path / "a.svg", hostile)
    texts = svg_texts(tmp_path / "a.svg")
    for text in SHOWN:
        assert text in texts
    assert any("flops <= 60k" in text for text in texts)
    tags = {element.tag.split("}")[1] for element in ET.parse(tmp_path / "a.svg").iter()}
    assert not tags & {"script", "b", "i"}


def test_an_svg_says_what_was_reduced_and_is_the_same_again(tmp_path, made):
    picture(tmp_path / "a.svg", made)
    picture(tmp_path / "b.svg", made)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    said = " ".join(svg_texts(tmp_path / "a.svg"))
    assert "only 1,500 of 16,000 training images" in said
    drawn = {"baseline", "effnet", "front, 95 % intervals", "dominated", "named points", "budget"}
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
    with mpl.rc_context(_STYLE):
        figure = _drawn(study)
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
    picture(tmp_path / "again.svg", summarise(str(tmp_path / "gtsrb-search.db")))
    assert svg_texts(SHIPPED / "gtsrb-search.svg") == svg_texts(tmp_path / "again.svg")


@pytest.mark.parametrize("name", ["$x^2$", "$\\frac{", "a $ b"])
def test_a_dollar_sign_begins_no_formula(tmp_path, name):
    entries = tuple(
        Entry(n, name, "t", {name: n + 1.0}, float(n), True, named=True) for n in range(3)
    )
    summary = Summary(
        name,
        name,
        (),
        (Axis("a", maximise=True), Axis(name)),
        ("flops <= 1",),
        entries,
        entries,
        0.5,
        (0.5,),
        "",
    )
    picture(tmp_path / "a.svg", summary)
    assert svg_texts(tmp_path / "a.svg").count(name) == 3 + 1  # the points and the axis
    picture(tmp_path / "a.png", summary)


def test_more_objectives_are_more_panels(tmp_path):
    sizes = []
    for costs in (("flops",), ("flops", "params"), ("flops", "params", "peak_activations")):
        file = searched(tmp_path / f"{len(costs)}.db", objectives=("accuracy", *costs), trials=20)
        picture(tmp_path / "a.png", summarise(file))
        with Image.open(tmp_path / "a.png") as image:
            sizes.append(image.width)
    assert sizes[0] < sizes[1] < sizes[2]


def test_a_picture_of_nothing_is_a_picture(tmp_path):
    for ending in (".png", ".svg"):
        picture(
            tmp_path / f"a{ending}",
            summarise(write(tmp_path / f"{ending}.db", "a", definition(CHOICES), [])),
        )
        assert (tmp_path / f"a{ending}").stat().st_size > 1000


@pytest.mark.parametrize("name", ["a.jpg", "a.svg", "nowhere/a.png"])
def test_a_picture_that_cannot_be_written_is_refused_at_once(tmp_path, name):
    with pytest.raises(ConfigError, match=r"--png writes a \.png file in a folder that exists"):
        check_files(png=tmp_path / name)


@pytest.mark.slow
@pytest.mark.parametrize("raced", [False, True])
def test_the_command_writes_everything_it_is_asked_for(tmp_path, raced):
    file = searched(tmp_path / "a.db", trials=20, raced=raced)
    assert any(entry.early for entry in summarise(file).entries) == raced
    asked = {"--report": "a.html", "--csv": "a.csv", "--png": "a.png", "--svg": "a.svg"}
    arguments = [text for flag, name in asked.items() for text in (flag, str(tmp_path / name))]
    command = [sys.executable, "-W", "error", "-m", "blocksearch", "pareto", file, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    assert all((tmp_path / name).stat().st_size > 1000 for name in asked.values())
