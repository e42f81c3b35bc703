"""Counted answers as tables: data flow, costs, published FLOPs, rows of any kind; and how long a
command will take.
"""

from collections.abc import Mapping, Sequence

from rich.table import Table

from blocksearch.arch.cost import Cost
from blocksearch.arch.network import Network
from blocksearch.arch.summary import LayerRow
from blocksearch.paper.tables import FlopsCell, printed
from blocksearch.report.pages import titled
from blocksearch.runs.scheduler import Plan


def flow_table(network: Network, name: str, rows: Sequence[LayerRow], price: Cost) -> Table:
    """Draw the data flow as in the paper's Table 1, with a line under each stage and the totals at
    the end.
    """
    table = titled(f"{name}\n{network}", "layer", "output", "MACs", "params", "activations")
    for row, following in zip(rows, (*rows[1:], None), strict=True):
        ends = following is None or following.stage != row.stage
        table.add_row(
            row.label,
            str(row.output),
            _count(row.macs),
            _count(row.params),
            _count(row.activations),
            end_section=ends,
        )
    table.add_row("total", "", _count(price.macs), _count(price.params), "")
    return table


def cost_table(network: Network, name: str, price: Cost) -> Table:
    """Draw what a network costs, with the convention."""
    table = titled(f"{name}\n{network}", "cost of one image", "")
    for label, value in (
        ("MACs (convolutions and classifier)", price.macs),
        ("FLOPs (2 × MACs, as in the paper)", price.flops),
        ("parameters (with normalisation and bias)", price.params),
        ("peak activations (elements)", price.peak_activations),
    ):
        table.add_row(label, _count(value))
    table.add_row("activations of each convolution", " ".join(map(_count, price.layer_activations)))
    table.add_row("fingerprint", network.digest)
    return table


def cost_row(name: str, network: Network, price: Cost) -> dict[str, object]:
    """Flatten a cost for `--json`."""
    return {
        "name": name,
        "text": str(network),
        "fingerprint": network.digest,
        "macs": price.macs,
        "flops": price.flops,
        "params": price.params,
        "layer_activations": list(price.layer_activations),
        "peak_activations": price.peak_activations,
    }


def rows_table(title: str, rows: Sequence[Mapping[str, object]]) -> Table:
    """Draw rows that are already words and numbers; columns are the keys of the first, words to the
    left.
    """
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
        *(
            "table",
            "dataset",
            "network",
            "published",
            "printed alike",
            "counted",
            "built network",
            "matches",
            "difference",
        ),
        left=3,
    )
    for cell, following in zip(cells, (*cells[1:], None), strict=True):
        ends = following is None or following.table != cell.table
        if cell.flops is None or cell.flops_actual is None:
            table.add_row(
                str(cell.table),
                cell.dataset,
                cell.label,
                cell.published,
                "",
                "",
                "",
                "not specified",
                "",
                end_section=ends,
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
    distinct = {
        (cell.dataset, cell.network): cell.matches for cell in cells if cell.matches is not None
    }
    return f"{sum(distinct.values())} of {len(distinct)} distinct cells match to the last printed digit"


def foreseen(title: str, plan: Plan, more: int = 0) -> str:
    """Say what a command would train, and how many runs `more` it adds at most where comparisons
    stay undecided.
    """
    runs = f"{len(plan.missing)} runs to train ({plan.known} already in the ledger)"
    later = f"; at most {more} more where comparisons stay undecided" if more else ""
    terms = plan.flops / 1e12
    work = f"{terms:,.0f}" if terms >= 100 else f"{terms:.3g}"
    return (
        f"{title}: {runs}, {work} TFLOP forward and backward, about {duration(plan.seconds)}{later}"
    )


def duration(seconds: float) -> str:
    """Write a time as a person would estimate it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _count(value: int) -> str:
    return f"{value:,}"
