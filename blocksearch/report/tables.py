"""Reports spaces, and lists of runs and of timings."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from blocksearch.report.figure import (
    Figure,
    Scale,
    Series,
    Style,
    bar_figure,
    by_epoch,
    over_flops,
    short,
    styles,
)
from blocksearch.report.front import few
from blocksearch.report.table import Column, Priority, Report, Row, Table, form, rows_table
from blocksearch.space.grammar import Grammar
from blocksearch.space.statistics import Survey

_BAR = 40


def space_report(
    name: str, question: str, grammar: Grammar, found: Survey, networks: Iterable[Row] = ()
) -> Report:
    """Describe a space: its size, the range of its costs, a histogram, reference networks, and
    networks of it that were asked for.
    """
    looked_at = "all networks" if found.whole else f"a uniform sample of {found.priced:,} networks"
    spreads = [{"cost": cost, **vars(spread)} for cost, spread in found.spreads.items()]
    most = max(number for *_, number in found.histogram)
    bars = [
        {"from": low, "below": high, "networks": number, "bar": "█" * -(-_BAR * number // most)}
        for low, high, number in found.histogram
    ]
    histogram = Table(
        name="histogram",
        title=f"FLOPs of {looked_at}",
        columns=(
            Column(name="from", label="FLOPs from"),
            Column(name="below"),
            Column(name="networks"),
            Column(name="bar", label=" ", left=True),
        ),
        rows=tuple(bars),
        data=tuple({key: bar[key] for key in ("from", "below", "networks")} for bar in bars),
    )
    listed = list(networks)
    tables = [
        rows_table("costs", spreads, f"costs of one image, {looked_at}"),
        *([histogram] if found.priced > len(bars) else []),
        _references(found),
        *([rows_table("networks", listed, "networks")] if listed else []),
    ]
    return Report(
        title=f"{name}: {question}\n{grammar}\n\n{found.count} distinct networks "
        f"({found.combinations:,} combinations of options)",
        tables=tuple(tables),
        figures=(_distribution(found, looked_at),),
        main="networks",
        facts={
            "space": name,
            "question": question,
            "grammar": grammar.data(),
            "digest": grammar.digest,
            "size": found.count.value,
            "exact": found.count.exact,
            "interval": found.count.interval,
            "combinations": found.combinations,
            "priced": found.priced,
        },
    )


def _distribution(found: Survey, looked_at: str) -> Figure:
    """Draw how many networks have how many FLOPs, and name the reference networks among them."""
    named = {point.name: point.flops for point in found.points if point.flops}
    least, most = found.histogram[0][0], found.histogram[-1][1]
    bins = [
        (f"below {short(least)}", 0, least, 0),
        *((f"{short(low)} to {short(high)}", low, high, own) for low, high, own in found.histogram),
        (f"from {short(most)}", most, math.inf, 0),
    ]
    rows = [
        (label, number, ", ".join(name for name, flops in named.items() if low <= flops < high))
        for label, low, high, number in bins
    ]
    labels, numbers, names = zip(*(row for row in rows if row[1] or row[2]), strict=True)
    title = f"FLOPs of {looked_at}, and where reference networks lie"
    return bar_figure(title, "networks", labels, {"networks": numbers}, said=names)


def _references(found: Survey) -> Table:
    columns = (
        Column(name="name", left=True),
        Column(name="flops", label="FLOPs"),
        Column(name="params"),
        Column(name="below", label="networks below", form=form(".0%")),
        Column(name="inside", label="in the space", left=True),
    )
    rows = [
        {**vars(point), "inside": "yes" if point.reason is None else f"no: {point.reason}"}
        for point in found.points
    ]
    title = "reference networks in this task"
    data = tuple(map(vars, found.points))
    return Table(name="references", title=title, columns=columns, rows=tuple(rows), data=data)


def bench_report(title: str, rows: Sequence[Row]) -> Report:
    """List ways to train five seeds, with their speed."""
    labels = {
        "images_per_second": "images/s",
        "times_plain": "times as fast as plain",
        "of_memory_floor": "share of memory limit",
        "of_matrix_peak": "share of compute limit",
    }
    names, speeds = zip(*((row["way"], row["images_per_second"]) for row in rows), strict=True)
    figure = bar_figure("Training speed", "images per second", names, {"way to train": speeds})
    return Report(title=title, tables=(rows_table("ways", rows, **labels),), figures=(figure,))


def merge_report(found: Mapping[str, Any]) -> Report:
    """Say what was copied between two databases, and on which trainings they disagree."""
    conflicts = rows_table("conflicts", found["conflicts"], "kept as they were")
    tables = (conflicts,) if found["conflicts"] else ()
    return Report(
        title=found["summary"],
        tables=tables,
        facts={"copied": found["copied"]},
        undrawn="a count of the runs that were copied",
    )


def verified_report(location: str, rows: Sequence[Row], equal: int, wrong: int) -> Report:
    """List stored runs beside the same trainings done again."""
    columns = (
        Column(name="network", left=True),
        Column(name="split", left=True),
        Column(name="seed"),
        Column(name="stored", unit="%", form=form(".2f")),
        Column(name="again", unit="%", form=form(".2f")),
        Column(name="spreads", label="difference, spreads between seeds", form=form("+.2f")),
        Column(name="result", left=True),
        Column(name="same_machine"),
        Column(name="together", label="seeds in one module", priority=Priority.ROOM),
        Column(name="recorded", label="so recorded", priority=Priority.WIDE),
        Column(name="stored_on", left=True, priority=Priority.WIDE),
        Column(name="again_on", left=True, priority=Priority.WIDE),
    )
    title = f"{location}: {equal} of {len(rows)} trainings done again are equal to the bit"
    notes = (
        "same machine: one kind of processor and of instructions (such as AVX2), with the same "
        "libraries and kernels; there they must be equal, and runs without an answer do not say "
        "by which instructions they were made",
        *([f"{wrong} had to be equal and are not"] if wrong else []),
    )
    own = tuple(rows)
    table = Table(name="runs", columns=columns, rows=own, data=own, notes=notes)
    figure = _alike([row for row in rows if None not in (row["stored"], row["again"])])
    return Report(title=title, tables=(table,), figures=(figure,), facts={"equal": equal})


def _alike(rows: Sequence[Row]) -> Figure:
    """Draw accuracies of trainings done again over the stored ones."""
    groups = {
        result: [row for row in rows if row["result"] == result]
        for result in dict.fromkeys(row["result"] for row in rows)
    }
    series = [
        Series(
            name=result,
            x=tuple(row["stored"] for row in own),
            y=tuple(row["again"] for row in own),
            style=style,
            hover=tuple((row["network"], f"seed {row['seed']}") for row in own),
        )
        for (result, own), style in zip(groups.items(), styles(), strict=False)
    ]
    return Figure(
        name="again",
        title="Accuracy of each training, stored and done again",
        x=Scale(label="stored, %"),
        y=Scale(label="again, %"),
        series=tuple(series),
        main=True,
    )


def runs_report(title: str, rows: Sequence[Row], classes: Sequence[Row] = ()) -> Report:
    """List the trainings of one network, a row for each seed, and the recall of each class."""
    columns = (
        Column(name="seed"),
        Column(name="state", left=True),
        Column(name="accuracy", unit="%", form=form(".2f")),
        Column(name="interval", label="95 % interval", unit="%", form=form(".2f")),
        Column(name="epochs"),
        Column(name="seconds", unit="s", form=form(".1f")),
        Column(name="accuracies", label="accuracy by epoch", unit="%", priority=Priority.WIDE),
        Column(name="reason", left=True),
        Column(name="diverged_epoch", priority=Priority.WIDE),
        Column(name="diverged_step", priority=Priority.WIDE),
        Column(name="diverged_loss", priority=Priority.WIDE),
        Column(name="weights", left=True, priority=Priority.WIDE),
    )
    table = Table(name="runs", columns=columns, rows=tuple(rows))
    curves = {f"seed {row['seed']}": [row["accuracies"]] for row in rows if row["accuracies"]}
    figure = by_epoch("Accuracy after each epoch", "accuracy, %", curves)
    by_class = rows_table("classes", classes, "recall of each class, %, mean over seeds")
    tables = (table, *([by_class] if classes else []))
    return Report(title=title, tables=tables, figures=(replace(figure, main=True),))


def tabulated_report(
    title: str, file: Path, rows: Sequence[Row], flops: Mapping[str, int]
) -> Report:
    """List the trainings of a whole space, and draw each one's accuracy over FLOPs."""
    known, some = few([row for row in rows if row["accuracies"]])
    series = Series(
        name="a training",
        x=tuple(flops[row["fingerprint"]] for row in known),
        y=tuple(float(row["accuracies"].split()[-1]) for row in known),
        style=Style(size=5),
        hover=tuple((row["network"], f"seed {row['seed']}") for row in known),
    )
    figure = over_flops(f"Accuracy and FLOPs of every training{some}", [series] if known else [])
    return Report(
        title=title,
        tables=(rows_table("rows", rows),),
        figures=(replace(figure, main=True),),
        facts={"file": str(file)},
    )
