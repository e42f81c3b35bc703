"""Prints answers on a terminal of any width, or in a pipe. With `progress` the one door to rich.

Every text is cleaned here: what comes from a file or from a name cannot steer the terminal.
"""

import io
import os
import shutil
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from blocksearch.errors import clean
from blocksearch.report.table import Column, Priority, Report, Table, cleaned

PIPE_WIDTH = 120  # columns where the output is no terminal and COLUMNS is not set
_READABLE = (36, 14)  # columns that a text gets before other columns do, and at least
_WORD = 20  # columns of a word that is not broken
_GAP = "  "

Line = tuple[str, bool]  # a text, and whether it is bold


class Page(Console):
    """A console that reads no markup and obeys no text, and breaks no line; a reader may stop
    reading.
    """

    def __init__(self, *, stderr: bool = False, **options: Any) -> None:
        stream = sys.stderr if stderr else sys.stdout
        width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
        if not os.environ.get("COLUMNS", "1").strip("0"):  # rich would cut every line to nothing
            width = shutil.get_terminal_size((PIPE_WIDTH, 0)).columns
        own = {"stderr": stderr, "markup": False, "highlight": False, "soft_wrap": True}
        super().__init__(**own | {"width": width} | options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print texts after cleaning them."""
        super().print(*(clean(o) if isinstance(o, str) else o for o in objects), **options)

    def on_broken_pipe(self) -> None:
        """Exit as the command line does on a broken pipe."""
        raise BrokenPipeError


def say(text: str, *, stderr: bool = False) -> None:
    """Print a text as it is, however long its lines are."""
    Page(stderr=stderr).print(text)


def show(report: Report, *, wide: bool = False, more: str = "") -> None:
    """Print a report: of each table the columns that matter, and others where there is room; all
    if `wide`. `more` is what the reader may write to see all, and is named with what is left out.
    """
    page = Page()
    for text, bold in _lines(_for_terminal(report), page.width, wide=wide, more=more):
        page.print(Text(text, "bold" if bold else ""))


def as_text(report: Report, width: int = PIPE_WIDTH, *, wide: bool = True, more: str = "") -> str:
    """Write a report as plain text of a width, as `show` prints it; no line ends in blanks."""
    lines = _lines(_for_terminal(report), width, wide=wide, more=more)
    return "".join(f"{text}\n" for text, _ in lines)


def _for_terminal(report: Report) -> Report:
    """Clean what is printed of a report, and leave the rest out."""
    printed = tuple(table for table in report.tables if table.terminal)
    return cleaned(replace(report, tables=printed, figures=(), facts={}))


def _lines(report: Report, width: int, *, wide: bool, more: str) -> Iterator[Line]:
    yield from _wrapped(report.title, width, bold=True)
    for table in report.tables:
        hidden: dict[str, None] = {}
        for part in table.parts():
            yield "", False
            hidden |= yield from _table(part, width, wide=wide)
        if hidden and more:
            yield from _wrapped(f"more columns with {more}: {', '.join(hidden)}", width)
    if report.notes:
        yield "", False
    for note in report.notes:
        yield from _wrapped(note, width)


def _wrapped(text: str, width: int, *, bold: bool = False) -> list[Line]:
    return [(line, bold) for line in _wrap(text, width)] if text else []


def _table(table: Table, width: int, *, wide: bool) -> Generator[Line, None, dict[str, None]]:
    """Write a table; return the names of the columns that are left out."""
    yield from _wrapped(table.title, width, bold=True)
    every, _ = table.cells(Priority.WIDE)
    columns, cells = table.cells(Priority.WIDE if wide else Priority.ROOM)
    texts = _turned(columns, cells)
    roomy, tight = (
        [_least(column, own, readable) for column, own in zip(columns, texts, strict=True)]
        for readable in _READABLE
    )
    chosen = range(len(columns)) if wide else _fitting(columns, tight, width)
    columns, cells = [columns[at] for at in chosen], [[row[at] for at in chosen] for row in cells]
    roomy, tight = [roomy[at] for at in chosen], [tight[at] for at in chosen]
    if _total(tight) > width and not wide:
        yield from _records(columns, cells, width)
    else:
        least = roomy if _total(roomy) <= width else tight
        widths = _widened(columns, cells, least, width)
        rule = "─" * _total(widths), False
        yield from ((text, True) for text in _row(columns, [c.head for c in columns], widths))
        yield rule
        for at, row in enumerate(cells):
            if table.begins_section(at):
                yield rule
            yield from ((text, False) for text in _row(columns, row, widths))
    for note in table.noted(columns):
        yield from _wrapped(note, width)
    return dict.fromkeys(column.label or column.name for column in every if column not in columns)


def _turned(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[row[at] for row in cells] for at in range(len(columns))]


def _least(column: Column, texts: Sequence[str], readable: int) -> int:
    """Return the width below which a column is not readable: numbers whole, texts by words."""
    head = max(map(cell_len, column.head.split()), default=0)
    lines = [line for text in texts for line in text.split("\n")]
    longest = max(map(cell_len, lines), default=0)
    if column.left:
        word = max((cell_len(word) for line in lines for word in line.split()), default=0)
        longest = min(longest, max(readable, min(word, _WORD)))
    return max(head, longest, 1)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * max(0, len(widths) - 1)


def _fitting(columns: Sequence[Column], least: Sequence[int], width: int) -> list[int]:
    """Choose the main columns, and others in their order while they fit."""
    chosen = {at for at, column in enumerate(columns) if column.priority == Priority.MAIN}
    for at in range(len(columns)):
        if _total([least[own] for own in chosen | {at}]) <= width:
            chosen.add(at)
    return sorted(chosen)


def _widened(
    columns: Sequence[Column], cells: Sequence[Sequence[str]], least: Sequence[int], width: int
) -> list[int]:
    """Give texts the width that is left, as far as they need it."""
    widths, room = list(least), width - _total(least)
    wanted = [
        max((cell_len(line) for text in texts for line in text.split("\n")), default=0)
        if column.left
        else 0
        for column, texts in zip(columns, _turned(columns, cells), strict=True)
    ]
    while room > 0 and (short := [at for at, own in enumerate(widths) if own < wanted[at]]):
        for at in short[:room]:
            widths[at] += 1
        room -= len(short)
    return widths


def _row(columns: Sequence[Column], texts: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    parts = [_wrap(text, width) or [""] for text, width in zip(texts, widths, strict=True)]
    for at in range(max(map(len, parts), default=0)):
        line = []
        for column, part, width in zip(columns, parts, widths, strict=True):
            text = part[at] if at < len(part) else ""
            blanks = " " * (width - cell_len(text))
            line.append(text + blanks if column.left else blanks + text)
        yield _GAP.join(line).rstrip()


_RULER = Console(file=io.StringIO())


def _wrap(text: str, width: int) -> list[str]:
    """Break a text into lines at blanks, and where a word is too long within it."""
    if cell_len(text) <= width and "\n" not in text:
        return [text]
    lines = Text(text).wrap(_RULER, max(1, width), overflow="fold")
    return [line.plain.rstrip() for line in lines]


def _records(
    columns: Sequence[Column], cells: Sequence[Sequence[str]], width: int
) -> Iterator[Line]:
    """Write a line for each cell that says something, where not even the main columns fit."""
    head = min(width // 2, max((cell_len(column.head) for column in columns), default=0))
    own = [Column(name="", left=True), Column(name="", left=True)]
    widths = [head, max(1, width - head - len(_GAP))]
    for row in cells:
        yield "─" * width, False
        for column, text in zip(columns, row, strict=True):
            if text.strip():
                yield from ((line, False) for line in _row(own, [column.head, text], widths))
