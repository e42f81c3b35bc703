"""Reports the paper's FLOPs and claims beside what is counted and measured here."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from blocksearch.ablation.variant import Role
from blocksearch.report.figure import (
    BLUE,
    GREY,
    ORANGE,
    Figure,
    Fork,
    Scale,
    Series,
    Style,
    fork_figure,
)
from blocksearch.report.table import Column, Priority, Report, Row, Table, form, rows_table

if TYPE_CHECKING:  # a neighbour, named in types alone
    from blocksearch.paper.tables import FlopsCell


def flops_report(cells: "Sequence[FlopsCell]") -> Report:
    """Put the paper's FLOPs beside the computed ones."""
    rows = [
        cell.record()
        | {
            "difference": cell.difference or None,
            "shown": "not specified" if cell.matches is None else ("no", "yes")[cell.matches],
        }
        for cell in cells
    ]
    columns = (
        Column(name="table"),
        Column(name="dataset", left=True, priority=Priority.ROOM),
        Column(name="label", label="network", left=True),
        Column(name="published", left=False),
        Column(name="rounded", label="rounded alike"),
        Column(name="flops", label="the paper's count", form=form(",")),
        Column(name="flops_actual", label="real network", priority=Priority.ROOM),
        Column(name="shown", label="matches", left=True),
        Column(name="difference", form=form("+,"), priority=Priority.ROOM),
    )
    breaks = {at for at in range(1, len(cells)) if cells[at].table != cells[at - 1].table}
    distinct = {(c.dataset, c.network): c.matches for c in cells if c.matches is not None}
    matching = sum(distinct.values())
    table = Table(
        name="cells",
        columns=columns,
        rows=tuple(rows),
        data=tuple(cell.record() for cell in cells),
        breaks=frozenset(breaks),
        notes=(f"{matching} of {len(distinct)} distinct cells match to the last printed digit",),
    )
    return Report(
        title="FLOPs of the paper's Tables 2-7: published, and 2 × MACs as counted here",
        tables=(table,),
        figures=(_published(cells),),
        facts={"matching": matching, "distinct": len(distinct)},
    )


def _published(cells: "Sequence[FlopsCell]") -> Figure:
    """Draw each distinct network's FLOPs as printed and as counted."""
    each = sorted(cells, key=lambda cell: cell.dataset)
    rows = {f"{cell.dataset} {cell.label}": cell.record() for cell in each}
    counted = {name: row for name, row in rows.items() if row["flops"] is not None}

    def drawn(name: str, key: str, shown: Mapping[str, Row], style: Style) -> Series:
        return Series(
            name=name,
            x=tuple(row[key] for row in shown.values()),
            y=tuple(shown),
            style=style,
            hover=tuple((own, f"{name}: {row[key]:,}") for own, row in shown.items()),
        )

    parts = {
        matches: {name: row for name, row in counted.items() if row["matches"] is matches}
        for matches in (True, False)
    }
    paper = Style(color=GREY, symbol="diamond", hollow=True, size=13)
    return Figure(
        name="flops",
        title="FLOPs of each network, as printed and as counted here",
        x=Scale(label="FLOPs", log=True, whole=True),
        y=Scale(label="", categories=tuple(rows)),
        series=(
            drawn("the paper", "published_flops", rows, paper),
            drawn("here, alike to the last digit", "flops", parts[True], Style(color=BLUE)),
            drawn("here, another number", "flops", parts[False], Style(color=ORANGE)),
        ),
        main=True,
    )


def claims_report(
    found: Mapping[str, str], shown: Sequence[Row], data: Sequence[Row], notes: Sequence[str]
) -> Report:
    """Show what becomes of the paper's claims on several data sets, a column for each; `found` are
    the titles of their runs.
    """
    said = (
        "differences in percentage points of accuracy over paired seeds; verdicts of Sections 3 "
        "and 4.2 are right at once within a data set, of Section 6 within its table"
    )
    table = replace(rows_table("claims", shown), data=tuple(data))
    facts = {"data": list(found.values())}
    return Report(
        title="\n".join((f"claims of the paper on {', '.join(found)}", *found.values())),
        tables=(table,),
        figures=tuple(_claimed(name, data) for name in found),
        notes=(said, *notes),
        facts=facts,
    )


def _claimed(dataset: str, records: Sequence[Row]) -> Figure:
    """Draw the effects that the paper claims something about, as a data set has them."""
    from blocksearch.report.comparisons import COLORS  # not before its numbers are there

    forks = []
    for row in records:
        low, high = row[f"{dataset}_interval_low"], row[f"{dataset}_interval_high"]
        verdict = row[f"{dataset}_verdict"]
        role = row["role"] if row["role"] != Role.VARIANT else ""
        words = (f"{row['factor']} {row['value']}", row["given"], role)
        forks.append(
            Fork(
                name=f"{row['section']}: {', '.join(filter(None, words))}",
                mean=row[f"{dataset}_difference"],
                interval=None if low is None else (low, high),
                kind=verdict or "not run",
                color=COLORS.get(verdict, GREY),
            )
        )
    title = "Effects that the paper claims something about, with 95 % intervals"
    label = f"{dataset}: difference in accuracy, points"
    return fork_figure(dataset, title, label, forks, origin=0.0)
