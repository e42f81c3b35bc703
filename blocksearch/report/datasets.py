"""What data sets are, as reports: which there are, what reading them found, what is in them."""

from collections.abc import Sequence
from dataclasses import asdict

from blocksearch.data.overview import Overview
from blocksearch.report.table import Report, Row, rows_table


def datasets_report(rows: Sequence[Row]) -> Report:
    """List data sets and whether their files are here."""
    return Report(title="data sets", tables=(rows_table("datasets", rows),))


def checked_report(rows: Sequence[Row]) -> Report:
    """List what reading data sets whole has found."""
    shown = rows_table("datasets", rows, least="least of a class", most="most of a class")
    return Report(title="data sets, read whole", tables=(shown,))


def overview_report(
    found: Overview, seeds: int, least: float | None, disagreement: float
) -> Report:
    """Say what images are, class by class, and what `least` difference their number can decide."""
    rows = [asdict(each) for each in found.classes]
    sizes = [{"size": size, "images": count} for size, count in found.sizes]
    copies = found.copies
    notes = [
        f"a constant guess scores {found.guess:.2f} % on the {found.judged:,} validation images",
        f"the largest class has {found.imbalance:.3g} times as many images as the smallest",
        f"copies: {copies['within_a_class']:,} images equal an earlier one of their class, "
        f"{copies['across_classes']:,} one of another class; {copies['training_and_validation']:,} "
        f"validation and {copies['training_and_test']:,} test images equal one that is learned",
    ]
    if found.groups is not None:
        notes.append(f"{found.groups:,} groups: a validation split that divides one is refused")
    if len(found.sizes) > 1:
        notes.append(f"{len(found.sizes):,} sizes: resize brings all to one, such as 64x64")
    if least is not None:
        notes.append(
            f"{seeds} seeds decide differences from about {least:.2g} points on (80 % power), if "
            f"seeds of a network disagree on {disagreement:.0%} of the validation images"
        )
    notes += [f"cannot be read: {each}" for each in found.damaged]
    tables = (rows_table("classes", rows), rows_table("sizes", sizes, "sizes"))
    facts = {
        "images": sum(count for _, count in found.sizes),
        "groups": found.groups,
        "copies": copies,
        "guess": found.guess,
        "imbalance": found.imbalance,
        "seeds": seeds,
        "smallest_difference": least,
        "damaged": list(found.damaged),
    }
    title = f"{found.name}: {facts['images']:,} images in {len(found.classes)} classes"
    return Report(title=title, tables=tables, notes=tuple(notes), facts=facts)
