"""Texts from outside in pages and pictures: no tag, no control character, whatever they hold."""

import re
import xml.etree.ElementTree as ET
from html import unescape

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocksearch.errors import clean
from blocksearch.report.figure import Figure, Mark, Scale, Series
from blocksearch.report.front import front_report
from blocksearch.report.table import Report, Table, rows_table
from blocksearch.report.writers import save
from tests.benchmarks.pages import study

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "' onmouseover='alert(3)",
    '" onmouseover="alert(4)',
    "&lt;b&gt; $x^2$ {style} %s",
    "\x1b]0;x\x07\x9b2J\u202e\x00\ud800\ufffe",
    "]]><!--",
)


def report(*texts):
    """Put a text wherever a report takes one."""
    text = " ".join(texts)
    series = Series(
        name=text, x=(1.0, 2.0), y=(1.0, 2.0), hover=((text, text),) * 2, labels=(text, "")
    )
    scale = Scale(label=text)
    line = Figure(
        name=text,
        title=text,
        x=scale,
        y=scale,
        series=(series,),
        marks=(Mark(value=1.5, label=text),),
        main=True,
    )
    rows = rows_table(text, [{text: text, "n": 1}], text)
    hidden = Table(name="h", title=text, columns=rows.columns, rows=rows.rows, terminal=False)
    return Report(title=text, tables=(rows, hidden), figures=(line,), notes=(text,))


def obeyed(text):
    return [each for each in text if clean(each) != each]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_a_page_has_no_tag_of_a_name(tmp_path, text):
    save(report(text), tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text()
    ours = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert text not in ours
    assert "<img" not in ours
    assert not re.search(r"<[^>]*\son\w+=", re.sub(r'"[^"]*"', '""', ours))
    assert clean(text) in unescape(ours)
    plotly = next(part for part in page.split("<script") if "plotly.js v" in part)
    assert obeyed(page.replace(plotly, "")) == []


@settings(max_examples=5)
@given(st.text(st.characters(exclude_categories=()), min_size=1))
def test_a_picture_is_xml_whatever_its_texts_are(tmp_path_factory, text):
    file = tmp_path_factory.getbasetemp() / "markup.svg"
    for shown in (report(text, *HOSTILE), Report(title=text, tables=report(text).tables)):
        save(shown, file)
        drawn = ET.parse(file)
        tags = {each.tag.split("}")[1] for each in drawn.iter()}
        assert not tags & {"script", "img", "a", "foreignObject"}
        assert obeyed(file.read_text()) == []


def test_a_page_of_many_trials_has_a_bounded_size(tmp_path):
    """Rows and points that a page leaves out are counted in it, and stand in the other files."""
    sizes = []
    for trials in (6_000, 18_000):
        found = study(trials)
        save(front_report(found), tmp_path / "a.html")
        sizes.append((tmp_path / "a.html").stat().st_size)
        page = (tmp_path / "a.html").read_text()
        assert f"the first 2,000 of {trials:,} rows" in page
        assert f"(5,000 of {trials - len(found.front):,})" in page
        save(front_report(found), tmp_path / "a.csv")
        assert (tmp_path / "a.csv").read_text().count("\n") == trials + 1
    assert sizes[1] < 1.1 * sizes[0]
    (front,) = [own for own in front_report(found).figures[0].series if own.name == "front"]
    assert front.x == tuple(entry.costs["flops"] for entry in found.front)


def test_a_long_walk_is_drawn_as_it_is():
    found = study(9_000)
    volumes = front_report(found).figures[-1].series[0]
    assert (volumes.x[0], volumes.x[-1]) == (1, len(found.walk))
    drawn = np.repeat(volumes.y[:-1], np.diff(volumes.x))
    assert [*drawn, volumes.y[-1]] == list(found.walk)
