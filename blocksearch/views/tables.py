"""Finished answers as terminal tables. The one door to rich, with `progress`."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.terminal_theme import DEFAULT_TERMINAL_THEME

from blocksearch.errors import UsageError
from blocksearch.experiments.published import FlopsCell, printed
from blocksearch.runs.execute import Plan
from blocksearch.space.cost import Cost
from blocksearch.space.network import Network
from blocksearch.space.notation import format_network
from blocksearch.views.flow import FlowRow

PICTURE_WIDTH = 170
PLAIN_WIDTH = 180  # where the output is a file or a pipe, which has no width of its own


def console(*, stderr: bool = False) -> Console:
    """Open a terminal, or a wide plain page where the output is not one. Text from outside is never read as markup."""
    page = Console(stderr=stderr, markup=False, highlight=False)
    return page if page.is_terminal else Console(stderr=stderr, markup=False, highlight=False, width=PLAIN_WIDTH)


def answer(picture: Path | None, *tables: Table) -> None:
    """Print tables, and where a file is given save them there as SVG. Raises UsageError where it cannot be written."""
    console().print(*tables)
    if picture is not None:
        page = Console(record=True, file=io.StringIO(), width=PICTURE_WIDTH, markup=False, highlight=False)
        page.print(*tables)
        try:
            picture.write_text(page.export_svg(title="blocksearch", theme=DEFAULT_TERMINAL_THEME), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{picture} cannot be written: {error.strerror}") from error


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


def flow_table(network: Network, name: str, rows: Sequence[FlowRow], price: Cost) -> Table:
    """Draw the data flow as in the paper's Table 1, with a line under each stage and the totals at the end."""
    table = titled(f"{name}\n{format_network(network)}", "layer", "output", "MACs", "params", "floats out")
    for row, following in zip(rows, (*rows[1:], None), strict=True):
        ends = following is None or following.stage != row.stage
        table.add_row(row.label, str(row.output), _count(row.macs), _count(row.params), _count(row.floats_out), end_section=ends)
    table.add_row("total", "", _count(price.macs), _count(price.params), "")
    return table


def cost_table(network: Network, name: str, price: Cost) -> Table:
    """Draw what a network costs, with the convention."""
    table = titled(f"{name}\n{format_network(network)}", "cost of one image", "")
    for label, value in (
        ("MACs (convolutions and classifier)", price.macs),
        ("FLOPs (2 × MACs, as in the paper)", price.flops),
        ("parameters (with normalisation and bias)", price.params),
        ("peak activation, floats", price.peak_activation_floats),
    ):
        table.add_row(label, _count(value))
    table.add_row("floats out of each convolution", " ".join(map(_count, price.floats_out)))
    table.add_row("fingerprint", network.fingerprint)
    return table


def cost_row(name: str, network: Network, price: Cost) -> dict[str, object]:
    """Flatten a cost for `--json`."""
    return {
        "name": name,
        "text": format_network(network),
        "fingerprint": network.fingerprint,
        "macs": price.macs,
        "flops": price.flops,
        "params": price.params,
        "floats_out": list(price.floats_out),
        "peak_activation_floats": price.peak_activation_floats,
    }


def rows_table(title: str, rows: Sequence[Mapping[str, object]]) -> Table:
    """Draw rows that are already words and numbers; columns are the keys of the first, words to the left."""
    columns = list(rows[0]) if rows else ["nothing"]
    table = titled(title, *(column.replace("_", " ") for column in columns))
    for column, name in zip(table.columns, columns, strict=True):
        column.justify = "left" if rows and isinstance(rows[0][name], str) else "right"
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in columns))
    return table


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.2f}"
        case list() | tuple():
            return " ".join(map(_cell, value))
        case _:
            return str(value)


def flops_table(cells: Sequence[FlopsCell]) -> Table:
    """Draw published FLOPs beside computed ones."""
    table = titled(
        "FLOPs of Tables 2-7: published beside computed (2 × MACs of convolutions and classifier)",
        *("table", "dataset", "network", "published", "printed alike", "counted", "built network", "matches", "difference"),
        left=3,
    )
    for cell, following in zip(cells, (*cells[1:], None), strict=True):
        ends = following is None or following.table != cell.table
        if cell.flops is None or cell.flops_actual is None:
            table.add_row(
                str(cell.table), cell.dataset, cell.label, cell.published, "", "", "", "not specified", "", end_section=ends
            )
            continue
        difference = "" if cell.matches else f"{cell.difference:+,}"
        table.add_row(
            str(cell.table),
            cell.dataset,
            cell.label,
            cell.published,
            printed(cell.flops, cell.published),
            _count(cell.flops),
            _count(cell.flops_actual),
            "yes" if cell.matches else "no",
            difference,
            end_section=ends,
        )
    return table


def flops_summary(cells: Sequence[FlopsCell]) -> str:
    """Count distinct cells that match; Tables 5-7 repeat the baselines."""
    distinct = {(cell.dataset, cell.network): cell.matches for cell in cells if cell.matches is not None}
    return f"{sum(distinct.values())} of {len(distinct)} distinct cells match to the last printed digit"


def foreseen(title: str, plan: Plan, more: int = 0) -> str:
    """Say what a command would train, and how many runs `more` it adds at most where comparisons stay undecided."""
    runs = f"{len(plan.missing)} runs to train ({plan.known} already in the ledger)"
    later = f"; at most {more} more where comparisons stay undecided" if more else ""
    terms = plan.flops / 1e12
    work = f"{terms:,.0f}" if terms >= 100 else f"{terms:.3g}"
    return f"{title}: {runs}, {work} TFLOP forward and backward, about {duration(plan.seconds)}{later}"


def duration(seconds: float) -> str:
    """Write a time as a person would estimate it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _count(value: int) -> str:
    return f"{value:,}"
