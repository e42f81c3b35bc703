"""Pages in a real browser that has no network: drawn without errors, on any screen, in the dark."""

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from blocksearch.errors import clean
from blocksearch.report.front import front_report
from blocksearch.report.table import Column, Report, Table
from blocksearch.report.writers import save
from tests.report.test_front import SHOWN, hostile, made  # noqa: F401
from tests.report.test_markup import HOSTILE as MARKUP
from tests.report.test_markup import report

CHROMIUM = """--headless --no-sandbox --disable-gpu --disable-background-networking
--disable-component-update --disable-sync --no-first-run --virtual-time-budget=10000"""
pytestmark = pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
WATCH = """<script>window.errors = [];
addEventListener('error', e => errors.push(e.message));</script>"""
POINT = """<script>addEventListener('load', async () => { const said = [];
  const wait = () => new Promise(done => setTimeout(done, 200));
  for (const plot of document.querySelectorAll('.js-plotly-plot'))
    for (let n = 0; n < plot.data.length; n++) {
      await wait();
      const points = plot.data[n].x.length;
      if (points) Plotly.Fx.hover(plot, [{curveNumber: n, pointNumber: points - 1}]);
      await wait();
      said.push(plot.querySelector('.hoverlayer').textContent); }
  const scrolls = [...document.querySelectorAll('.scroll')];
  const mark = document.createElement('pre'); mark.id = 'told';
  mark.textContent = JSON.stringify({errors, said,
    width: innerWidth, page: document.documentElement.scrollWidth,
    inside: scrolls.map(each => each.scrollWidth > each.clientWidth),
    back: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.querySelector('td')).color,
    drawn: [...document.querySelectorAll('.xtitle')].map(each => getComputedStyle(each).fill),
    loaded: performance.getEntriesByType('resource').map(each => each.name)});
  document.body.append(mark); });</script>"""


def browsed(report, folder, *options, listen=""):
    """Open a report's page, point at every trace, and return what the page then is and says."""
    save(report, folder / "a.html")
    text = (folder / "a.html").read_text()
    copy = folder / "watched.html"
    copy.write_text(
        text.replace("<head>", f"<head>{WATCH}{listen}").replace("</body>", f"{POINT}</body>")
    )
    profile = f"--user-data-dir={folder}/profile"
    command = ["chromium", *CHROMIUM.split(), *options, profile, "--dump-dom", copy.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    told = re.search(r'<pre id="told">(.*?)</pre>', dom, re.DOTALL)
    assert told, "the page's scripts did not come to their end"
    return dom, json.loads(html.unescape(told[1]))


def drawn_texts(dom):
    """Return the texts that plotly drew: tags within them are markup that became elements."""
    return [html.unescape(own) for own in re.findall(r"<text[^>]*>(.*?)</text>", dom, re.DOTALL)]


def test_a_browser_draws_the_page_without_errors_and_loads_nothing(tmp_path, made):  # noqa: F811
    dom, told = browsed(front_report(made), tmp_path)
    assert (told["errors"], told["loaded"]) == ([], [])
    assert dom.count('<svg class="main-svg"') >= 2 * 2
    texts = set(drawn_texts(dom))
    assert {entry.origin for entry in made.entries if entry.named} <= texts
    budgets = {"flops <= 300k", "dominated", "front, 95 % intervals", "reference networks"}
    assert budgets | {"hypervolume"} <= texts
    best = made.front[-1]
    wanted = f"{best.mean:.2f}", f"{best.costs['params']:,}", f"{made.walk[-1]:.4f}"
    for text in wanted:
        assert any(text in said for said in told["said"])
    assert "errorbar" in dom
    assert (dom.count("<main>"), dom.count("<h1>")) == (1, 1)
    assert all("scope=" in head for head in re.findall(r"<th[ >][^>]*", dom))
    plots = re.findall(r"<figure[^>]*>", dom)
    assert len(plots) == 2
    assert all(re.search(r'aria-label="[^"]{10,}"', plot) for plot in plots)


@pytest.mark.slow
def test_in_a_browser_no_text_becomes_an_element(tmp_path, hostile):  # noqa: F811
    dom, told = browsed(front_report(hostile), tmp_path)
    assert told["errors"] == []
    texts = drawn_texts(dom)
    for text in SHOWN:
        assert text in texts
    assert any(SHOWN[-1] in said for said in told["said"])  # the last of the trace is pointed at
    body = dom[dom.index("<h1>") :]
    assert "<script>alert" not in body
    assert not re.search(r"<(b|i)>", re.sub(r"<script.*?</script>", "", body, flags=re.DOTALL))
    drawn = re.findall(r'<text[^>]*class="(?!hover)[^>]*>.*?</text>', dom, re.DOTALL)
    assert "font-weight: bold" not in "".join(drawn)


LISTEN = """<script>for (const name of ['alert', 'confirm', 'prompt', 'open'])
  window[name] = said => errors.push(name + said);</script>"""


@pytest.mark.slow
@pytest.mark.parametrize("text", MARKUP, ids=ascii)
@pytest.mark.slow
def test_in_a_browser_no_hostile_name_runs_or_is_a_tag(tmp_path, text):
    dom, told = browsed(report(text), tmp_path, listen=LISTEN)
    assert (told["errors"], told["loaded"]) == ([], [])
    assert clean(text) in html.unescape(dom)
    body = re.sub(r"<(script|style).*?</\1>", "", dom[dom.index("<h1>") :], flags=re.DOTALL)
    assert not re.search(r"<(img|iframe|b>|i>)", body)
    assert not re.search(r"\son\w+=", re.sub(r'"[^"]*"', "", "".join(re.findall("<[^>]*>", body))))


@pytest.mark.slow
def test_the_browser_would_tell_what_ran(tmp_path):
    told = browsed(report("a"), tmp_path, listen=LISTEN + "<script>alert(7)</script>")[1]
    assert told["errors"] == ["alert7"]


@pytest.mark.slow
def test_on_a_phone_tables_scroll_and_the_page_does_not(tmp_path, made):  # noqa: F811
    # a headless window is at least 500 pixels wide: the page is put into a frame of 390
    columns = tuple(Column(name=f"column{n}") for n in range(40))
    wide = Table(name="wide", columns=columns, rows=({c.name: 10**9 for c in columns},))
    report = front_report(made)
    save(replace(report, tables=(wide, *report.tables)), tmp_path / "inner.html")
    outer = tmp_path / "outer.html"
    outer.write_text(
        '<iframe src="inner.html" width="390" height="800" style="border:0"></iframe>'
        "<pre id=told></pre><script>addEventListener('load', () => setTimeout(() => {"
        "const page = frames[0].document, root = page.documentElement;"
        "told.textContent = JSON.stringify([root.clientWidth, root.scrollWidth,"
        "page.querySelector('.scroll').scrollWidth]); }, 3000));</script>"
    )
    command = ["chromium", *CHROMIUM.split(), "--allow-file-access-from-files"]
    command += [f"--user-data-dir={tmp_path}/profile", "--dump-dom", outer.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    client, page, inside = json.loads(re.search(r'<pre id="told">(.*?)</pre>', dom)[1])
    assert page <= client <= 390
    assert inside > 1000


@pytest.mark.slow
def test_a_page_is_dark_where_that_is_preferred(tmp_path, made):  # noqa: F811
    report = front_report(made)
    _, light = browsed(report, tmp_path)
    _, dark = browsed(report, tmp_path, "--blink-settings=preferredColorScheme=0")
    brightness = {
        name: [sum(map(int, re.findall(r"\d+", told[name])[:3])) for told in (light, dark)]
        for name in ("back", "ink")
    }
    assert brightness["back"][0] > 700 > 100 > brightness["back"][1]
    assert brightness["ink"][0] < 150 < 600 < brightness["ink"][1]
    assert light["drawn"] != dark["drawn"]


SORTED = """<script>addEventListener('load', () => {
  const said = [], read = table => [...table.tBodies[0].rows].map(row => row.cells[1].textContent);
  const table = document.querySelector('table'), heads = table.tHead.rows[0].cells;
  for (const press of [() => heads[1].click(), () => heads[1].click(),
      () => heads[0].dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter'}))]) {
    press(); said.push([read(table), [...heads].map(each => each.getAttribute('aria-sort'))]); }
  const mark = document.createElement('pre'); mark.id = 'sorted';
  mark.textContent = JSON.stringify(said); document.body.append(mark); });</script>"""


@pytest.mark.slow
def test_a_press_on_a_head_sorts_by_what_the_cells_are_worth(tmp_path):
    """Numbers by their size, with units and signs; what is empty stays last."""
    columns = (Column(name="name", left=True), Column(name="size", left=True))
    sizes = ["900", "1.5k", "−3", "", "2,000", "+7"]
    rows = tuple({"name": f"n{9 - n}", "size": own} for n, own in enumerate(sizes))
    table = Table(name="sizes", columns=columns, rows=rows)
    dom, told = browsed(Report(title="sizes", tables=(table,)), tmp_path, listen=SORTED)
    assert told["errors"] == []
    found = json.loads(html.unescape(re.search(r'<pre id="sorted">(.*?)</pre>', dom)[1]))
    up = ["−3", "+7", "900", "1.5k", "2,000", ""]
    assert found == [
        [up, [None, "ascending"]],
        [[*up[-2::-1], ""], [None, "descending"]],
        [sizes[::-1], ["ascending", None]],
    ]


@pytest.mark.slow
def test_a_page_of_nothing_is_a_page(tmp_path):
    empty = Report(title="nothing", tables=(Table(name="rows", columns=(), rows=({"a": 1},)),))
    save(empty, tmp_path / "a.html")
    assert "nothing" in (tmp_path / "a.html").read_text()
