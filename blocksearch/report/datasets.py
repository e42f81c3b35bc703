"""Reports what is in a data set."""

from collections.abc import Sequence
from dataclasses import asdict

from blocksearch.data.overview import ClassCounts, Overview
from blocksearch.report.figure import Figure, bar_figure, largest
from blocksearch.report.table import Report, rows_table

SHOWN = 5  # classes that a note names


def overview_report(
    found: Overview, seeds: int, least: float | None, disagreement: float
) -> Report:
    """Say what images are, class by class, and what `least` difference their number can decide."""
    rows = [asdict(each) for each in found.classes]
    sizes = [{"size": size, "images": count} for size, count in found.sizes]
    tables = (rows_table("classes", rows), rows_table("sizes", sizes, "sizes"))
    facts = {
        "images": sum(count for _, count in found.sizes),
        "groups": found.groups,
        "copies": found.copies,
        "guess": found.guess,
        "imbalance": found.imbalance,
        "seeds": seeds,
        "smallest_difference": least,
        "damaged": list(found.damaged),
        "changed": found.changed,
        "refused": list(found.refused),
    }
    count = len(found.classes)
    classes = f"{count} class{'es' * (count != 1)}"
    title = f"{found.name}: {facts['images']:,} images in {classes}"
    return Report(
        title=title,
        tables=tables,
        figures=(_counts(found.classes),),
        notes=tuple(_notes(found, seeds, least, disagreement)),
        facts=facts,
    )


def _notes(found: Overview, seeds: int, least: float | None, disagreement: float) -> list[str]:
    """Say what the numbers of images mean for a training."""
    copies = found.copies
    notes = [
        f"a constant guess scores {found.guess:.2f} % on the {found.judged:,} validation images"
        if found.judged
        else "there are no validation images",
        *([_imbalance(found)] if len(found.classes) > 1 else []),
        f"copies: {copies['within_a_class']:,} images equal an earlier one of their class, "
        f"{copies['across_classes']:,} one of another class; {copies['training_and_validation']:,} "
        f"validation and {copies['training_and_test']:,} test images equal one that is learned",
    ]
    if found.groups is not None:
        notes.append(f"{found.groups:,} groups, each whole on one side of a validation split")
    if found.changed:
        notes.append(f"before training, images are {found.changed}")
    notes += _lacking(found)
    if least is not None:
        notes.append(
            f"{seeds} seeds decide differences from about {least:.2g} points on (80 % power), if "
            f"seeds of a network disagree on {disagreement:.0%} of the validation images"
        )
    notes += [f"cannot be read: {each}" for each in found.damaged]
    notes += [f"these images cannot be trained on: {each}" for each in found.refused]
    return notes


def _counts(classes: Sequence[ClassCounts]) -> Figure:
    """Draw how many images each class has, by what they are for."""
    kept, some = largest(classes, lambda own: own.training + own.validation + own.test)
    counts = {
        part: [getattr(own, part) for own in kept] for part in ("training", "validation", "test")
    }
    parts = {part: own for part, own in counts.items() if any(own)}
    return bar_figure(f"Images of each class{some}", "images", [own.name for own in kept], parts)


def _imbalance(found: Overview) -> str:
    """Compare the largest class with the smallest that has images; what rounds to 1 is said in
    words.
    """
    counts = [each.training + each.validation + each.test for each in found.classes]
    empty = counts.count(0)
    classes, smallest = (
        (
            f"all of the {len(counts) - empty} classes that have images",
            "the smallest of those that have any",
        )
        if empty
        else ("all classes", "the smallest")
    )
    if found.imbalance == 1:
        return f"{classes} have the same number of images"
    said = "about as" if found.imbalance < 1.01 else f"{found.imbalance:.3g} times as"
    return f"the largest class has {said} many images as {smallest}"


def _lacking(found: Overview) -> list[str]:
    """Say which classes are learned, and not among the validation or test images."""
    notes = []
    for part in ("validation", "test"):
        lacking = [each.name for each in found.classes if not getattr(each, part)]
        if 0 < len(lacking) < len(found.classes):
            more = f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else ""
            notes.append(f"no {part} image is of class {', '.join(lacking[:SHOWN])}{more}")
    return notes
