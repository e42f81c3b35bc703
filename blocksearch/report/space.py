"""A whole space as it is printed: its grammar, size, costs, histogram and named points; and lists
of its networks.
"""

import csv
import sys
from collections.abc import Iterable, Mapping

from blocksearch.report.pages import console, show
from blocksearch.report.tables import rows_table
from blocksearch.space.grammar import Grammar
from blocksearch.space.statistics import Point, Survey

_BAR = 40


def print_space(name: str, question: str, grammar: Grammar, found: Survey) -> None:
    """Print what a survey found."""
    page = console()
    page.print(f"{name}: {question}\n{grammar}")
    page.print(
        f"\n{found.count} distinct networks ({found.combinations:,} combinations of options)\n"
    )
    looked_at = "all networks" if found.whole else f"a uniform sample of {found.priced:,} networks"
    spreads = [{"cost": name, **vars(spread)} for name, spread in found.spreads.items()]
    show(rows_table(f"costs of one image, {looked_at}", spreads))
    most = max(number for *_, number in found.histogram)
    bars = [
        {"FLOPs from": low, "below": high, "networks": number, " ": "█" * -(-_BAR * number // most)}
        for low, high, number in found.histogram
    ]
    show(rows_table(f"FLOPs of {looked_at}", bars))
    show(rows_table("named networks in this task", [_point(point) for point in found.points]))


def print_table(networks: Iterable[Mapping[str, object]]) -> None:
    """Print networks as a table; nothing where there are none."""
    rows = list(networks)
    if rows:
        show(rows_table("networks", rows))


def print_csv(networks: Iterable[Mapping[str, object]]) -> None:
    """Print networks as CSV, one by one, so that a space of any size streams."""
    writer: csv.DictWriter[str] | None = None
    for row in networks:
        if writer is None:
            writer = csv.DictWriter(sys.stdout, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)


def _point(point: Point) -> dict[str, object]:
    return {
        "name": point.name,
        "FLOPs": point.flops,
        "params": point.params,
        "networks below": None if point.below is None else f"{point.below:.0%}",
        "in the space": "yes" if point.reason is None else f"no: {point.reason}",
    }
