"""Writes answers as an HTML page that needs nothing else, as Markdown, CSV and JSON.

Names and texts from outside are escaped: they never become markup or formulas.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from html import escape
from numbers import Integral, Real
from typing import IO, Any

from blocksearch.errors import clean
from blocksearch.report.table import Column, Priority, Report, Row, Table

_STYLE = """
:root { color-scheme: light dark; --line: #d0d0d0; --soft: #f4f4f4; --ink: #222; --page: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --line: #444; --soft: #262626; --ink: #e6e6e6; --page: #181818; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0;
  color: var(--ink); background: var(--page); }
main { max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 1.5rem 0 .5rem; }
p, figcaption, summary { overflow-wrap: anywhere; max-width: 60rem; }
.scroll { overflow: auto; max-width: 100%; max-height: 90vh; border: 1px solid var(--line); }
table { border-collapse: collapse; font-size: .9rem; width: 100%; }
td, th { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid var(--line);
  vertical-align: top; white-space: nowrap; font-weight: normal; }
thead th { background: var(--soft); white-space: normal; vertical-align: bottom; font-weight: 600;
  position: sticky; top: 0; cursor: pointer; }
th[aria-sort=ascending]::after { content: " ↑"; } th[aria-sort=descending]::after { content: " ↓"; }
.left { text-align: left; } .long { white-space: normal; min-width: 16rem; }
tr.section > * { border-top: 2px solid var(--line); }
@media (max-width: 600px) { h1 { font-size: 1.05rem; } }
figure { margin: 1.5rem 0; } figcaption { font-weight: 600; margin-bottom: .3rem; }
details { margin: 1.5rem 0; } .notes { font-size: .9rem; }
"""
_SORT = """
for (const head of document.querySelectorAll("thead th")) {
  const sort = () => {
    const table = head.closest("table"), body = table.tBodies[0], at = head.cellIndex;
    const up = head.getAttribute("aria-sort") !== "ascending";
    const read = row => row.cells[at].textContent.trim();
    const size = { k: 1e3, M: 1e6, G: 1e9 };
    const number = text => {
      const own = text.replace("\u2212", "-").replace(/,/g, "").match(/^[<+]?(-?[\\d.]+)([kMG]?)/);
      return own ? parseFloat(own[1]) * (size[own[2]] || 1) : NaN; };
    const rows = [...body.rows], filled = rows.filter(row => read(row));
    const numeric = filled.every(row => !isNaN(number(read(row))));
    const compare = (a, b) => numeric ? number(read(a)) - number(read(b))
      : read(a).localeCompare(read(b));
    filled.sort((a, b) => up ? compare(a, b) : compare(b, a));
    body.append(...filled, ...rows.filter(row => !read(row)));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending"); };
  head.tabIndex = 0;
  head.title = "sort by this column";
  head.addEventListener("click", sort);
  head.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
}
"""
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}</title>
<style>{style}</style></head>
<body><main>
<h1>{title}</h1>
{body}
</main><script>{sort}</script></body></html>
"""
MOST_ROWS = 2_000  # of a table on a page, which a browser keeps whole
_LONG = 28  # characters from which on a text may be broken into lines


def html(report: Report) -> str:
    """Write a page: the main table, notes, figures, and what else there is to look up."""
    from blocksearch.report.interactive import drawn

    shown = [part for table in report.tables if table.terminal for part in table.parts()]
    rest = [table for table in report.tables if not table.terminal]
    notes = _paragraphs(report.notes)
    figures = [
        f'<figure role="group" aria-label="{escape(figure.title)}">'
        f"<figcaption>{escape(figure.title)}</figcaption>{plot}</figure>"
        for figure, plot in zip(report.drawable, drawn(report.drawable), strict=True)
    ]
    body = [
        *map(_html_table, shown),
        *([f'<div class="notes">{notes}</div>'] if notes else []),
        *figures,
        *(
            f"<details><summary>{escape(table.title)}</summary>{_html_table(table)}</details>"
            for table in rest
        ),
    ]
    return _PAGE.format(
        name=escape(report.title.split("\n")[0][:80]),
        style=_STYLE,
        sort=_SORT,
        title=_lines(report.title),
        body="\n".join(body),
    )


def fragment(report: Report) -> str:
    """Write what a notebook shows: title, tables and notes, without figures."""
    tables = [part for table in report.tables if table.terminal for part in table.parts()]
    shown = "".join(map(_html_table, tables))
    return f"<h3>{_lines(report.title)}</h3>{shown}{_paragraphs(report.notes)}"


def _html_table(table: Table) -> str:
    if (count := len(table.rows)) > MOST_ROWS:
        said = f"the first {MOST_ROWS:,} of {count:,} rows; a .csv or .json file has all"
        return _html_table(replace(table, rows=table.rows[:MOST_ROWS], notes=(said, *table.notes)))
    columns, rows = table.cells(Priority.WIDE)
    long = [any(len(row[at]) > _LONG for row in rows) for at in range(len(columns))]
    kinds = [
        " ".join(["left"] * column.left + ["long"] * own)
        for column, own in zip(columns, long, strict=True)
    ]
    head = "".join(
        f'<th scope="col" class="{kind}">{escape(column.head)}</th>'
        for column, kind in zip(columns, kinds, strict=True)
    )
    first = next((at for at, column in enumerate(columns) if column.left), -1)
    lines = []
    for place, row in enumerate(rows):
        cells = [
            f'<th scope="row" class="{kind}">{_lines(cell)}</th>'
            if at == first
            else f'<td class="{kind}">{_lines(cell)}</td>'
            for at, (cell, kind) in enumerate(zip(row, kinds, strict=True))
        ]
        section = ' class="section"' if table.begins_section(place) else ""
        lines.append(f"<tr{section}>{''.join(cells)}</tr>")
    heading = f"<h2>{_lines(table.title)}</h2>" if table.title and table.terminal else ""
    label = escape(table.title or table.name or "table")
    return (
        f'{heading}<div class="scroll" role="region" tabindex="0" aria-label="{label}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
        f'<div class="notes">{_paragraphs(table.noted(columns))}</div>'
    )


def _paragraphs(notes: Sequence[str]) -> str:
    return "".join(f"<p>{escape(note)}</p>" for note in notes)


def _lines(text: str) -> str:
    return escape(text).replace("\n", "<br>")


def markdown(report: Report) -> str:
    """Write tables to paste, and the notes under them."""
    tables = [part for table in report.tables for part in table.parts()]
    parts = [f"**{_as_it_is(report.title)}**"] if report.title else []
    for table in tables:
        parts += [_as_it_is(table.title)] if table.title else []
        columns, cells = table.cells(Priority.WIDE)
        parts += [_markdown_table(columns, cells), *map(_as_it_is, table.noted(columns))]
    return "\n\n".join([*parts, *map(_as_it_is, report.notes)]) + "\n"


def _markdown_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    lines = [
        f"| {' | '.join(_as_it_is(cell.replace(chr(10), '; ')) for cell in row)} |"
        for row in [[column.head for column in columns], *rows]
    ]
    rule = "|".join(" --- " if column.left else " ---: " for column in columns)
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


_MARKS = re.compile(r"([\\`*_\[\]<>|~&$])")  # what Markdown may take for a beginning of something


def _as_it_is(text: str) -> str:
    """Write a text so that Markdown shows it as it is, in one line."""
    return _MARKS.sub(r"\\\1", " ".join(text.split()))


def json_text(report: Report) -> str:
    """Write JSON; numbers that JSON does not have are an error."""
    return json.dumps(report.data(), indent=2, allow_nan=False) + "\n"


def csv_text(report: Report) -> str:
    """Write the records with all digits under one row of heads, as data frames and spreadsheets
    read it: those of the main table, or of all, told apart by a column `table`.

    The first line of the title is a column of its own: what was reduced goes where the numbers go.
    """
    tables = report.asked or list(report.tables)
    parts = [(table, table.records()) for table in tables]
    filled = [(table, records) for table, records in parts if records]
    columns = [column.name for table in tables[:1] for column in table.columns]
    keys = list(dict.fromkeys(key for _, rows in filled for row in rows for key in row)) or columns
    several = len(filled) > 1
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(_no_formula, [*["table"] * several, *keys, "title"]))
    for table, records in filled:
        title = (report.title or table.title).split("\n")[0]
        for row in records:
            cells = [*[table.name] * several, *map(row.get, keys), title]
            writer.writerow(map(_exact, cells))
    return out.getvalue()


def stream_csv(rows: Iterable[Row], out: IO[bytes]) -> None:
    """Write rows as CSV one by one, so that a space of any size streams."""
    text = io.TextIOWrapper(out, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    for place, row in enumerate(rows):
        if place == 0:
            writer.writerow(map(_no_formula, row))
        writer.writerow(map(_exact, row.values()))
    text.detach()  # the file stays its owner's


_EXPONENT = 1e22  # below it, no digit of a whole number that is written out is made up


def _exact(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case Integral():
            return str(int(value))
        case Real():
            number = float(value)
            whole = 1e16 <= abs(number) < _EXPONENT  # and is written with an exponent
            return str(int(number)) if whole else repr(number)
        case str():
            return _no_formula(value)
        case Mapping():
            return _no_formula(" ".join(map(str, value.values())))
        case list() | tuple():
            words = any(isinstance(own, str | Mapping) for own in value)
            return ("; " if words else " ").join(map(_exact, value))
        case _:
            return _no_formula(str(value))


_FORMULA = tuple("=+-@＝＋－＠")  # the wide ones are read alike


def _no_formula(text: str) -> str:
    """Keep a spreadsheet from calculating a text that is from outside, and a terminal from obeying
    it.
    """
    return f"'{clean(text)}" if text.lstrip().startswith(_FORMULA) else clean(text)
