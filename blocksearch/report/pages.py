"""How answers reach the eye: a terminal of any width, a pipe, a picture. The one door to rich, with
`progress`.
"""

import io
import re
import sys
from pathlib import Path

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.terminal_theme import DEFAULT_TERMINAL_THEME

from blocksearch.errors import ConfigError

PICTURE_WIDTH = 170
PLAIN_WIDTH = 180  # where the output is a file or a pipe, which has no width of its own


def console(*, stderr: bool = False) -> Console:
    """Open a terminal, or a wide plain page where the output is not one. Text from outside is never
    read as markup.
    """
    width = None if (sys.stderr if stderr else sys.stdout).isatty() else PLAIN_WIDTH
    return _Page(stderr=stderr, markup=False, highlight=False, width=width)


class _Page(Console):
    """A console of which a reader may have enough; `cli.main` knows how to end then."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def show(*parts: Table | str) -> None:
    """Print tables and texts; a table that does not fit is printed row by row, so that nothing is
    cut.
    """
    page = console()
    for part in parts:
        page.print(part if isinstance(part, str) or _fits(part, page) else _row_by_row(part))


def save_picture(file: Path | None, *tables: Table) -> None:
    """Save tables as SVG, where there is a file to save them in. Raises ConfigError where it cannot
    be written.
    """
    if file is None:
        return
    page = Console(
        record=True, file=io.StringIO(), width=PICTURE_WIDTH, markup=False, highlight=False
    )
    page.print(*tables)
    drawn = page.export_svg(title="blocksearch", theme=DEFAULT_TERMINAL_THEME)
    try:
        # rich names a font on a server of others, and after it the viewer's own
        file.write_text(
            re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL), encoding="utf-8"
        )
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from error


def titled(title: str, *columns: str, left: int = 1) -> Table:
    """Begin a table; the first `left` columns are texts."""
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right", overflow="fold")
    return table


def as_texts(table: Table) -> tuple[str, list[str], list[list[str]]]:
    """Return what a table says: its title, its head and its rows."""
    head = [str(column.header) for column in table.columns]
    cells = zip(*(map(str, column.cells) for column in table.columns), strict=True)
    return str(table.title or ""), head, [list(row) for row in cells]


def _fits(table: Table, page: Console) -> bool:
    """Whether a table can be printed without breaking a word or a number."""
    return Measurement.get(page, page.options.update(width=10_000), table).minimum <= page.width


def _row_by_row(table: Table) -> Table:
    """Write a table with a line for each of its cells that says something, and a rule after each
    row.
    """
    title, head, rows = as_texts(table)
    narrow = Table(
        title=title,
        caption=table.caption,
        box=box.SIMPLE_HEAD,
        show_header=False,
        title_justify="left",
        expand=True,
    )
    narrow.title_style, narrow.caption_justify = "bold", "left"
    narrow.add_column(no_wrap=True)
    narrow.add_column(overflow="fold")
    for row in rows:
        said = [(name, cell) for name, cell in zip(head, row, strict=True) if cell.strip()]
        for place, (name, cell) in enumerate(said, 1):
            narrow.add_row(name, cell, end_section=place == len(said))
    return narrow
