"""Answers as files to keep: a self-contained HTML page with figures, or a Markdown or CSV table to
paste. The door to plotly.

Names and texts from outside are escaped: they never become markup.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import cycle
from pathlib import Path

import plotly.graph_objects as go

from blocksearch.ablation.results import Ablation, VariantResult
from blocksearch.ablation.stats import Verdict
from blocksearch.errors import ConfigError
from blocksearch.paper.reproduce import PaperTable
from blocksearch.report.evidence import (
    ablation_notes,
    ablation_parts,
    published_notes,
    published_parts,
    verdict_of,
)
from blocksearch.report.pages import as_texts

Rows = Sequence[Mapping[str, object]]
Texts = tuple[str, list[str], list[list[str]]]  # a table's title, head and rows

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body {{ font-family: sans-serif; max-width: 70em; margin: 2em auto; }}
table {{ border-collapse: collapse; font-size: .85em; margin-bottom: 2em; }}
td, th {{ padding: .2em .8em; text-align: left; border-bottom: 1px solid #ddd; }}</style></head>
<body><h1>{title}</h1>
{body}
</body></html>
"""


def save(
    file: Path,
    title: str,
    rows: Rows,
    figures: Sequence[go.Figure] = (),
    notes: Sequence[str] = (),
    tables: Sequence[Texts] = (),
    more: Rows = (),
) -> None:
    """Write an answer to a file: .html, .md or .csv.

    The first two show `notes` under the title and `tables`, where there are any, instead of the
    rows. A .csv has the rows, and after an empty line `more` of another kind, all their numbers
    with all digits. Raises ConfigError for another ending, or where it cannot be written.
    """
    shown = tables or [("", *_shown(rows))]
    writers = {
        ".html": lambda: _html(title, shown, figures, notes),
        ".md": lambda: _markdown(title, shown, notes),
        ".csv": lambda: _csv(title, [rows, more] if more else [rows]),
    }
    if file.suffix not in writers:
        raise ConfigError(f"a report ends in {', '.join(writers)}, but got {file}")
    try:
        file.write_text(writers[file.suffix](), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from error


def ablation_report(file: Path, answer: Ablation) -> None:
    """Write an ablation: effects as intervals, cost beside accuracy, every seed's point, and
    learning curves.
    """
    figures, tables = (
        [_effects(answer.results), _costs(answer.results), _curves(answer.results)],
        list(map(as_texts, ablation_parts(answer.results))),
    )
    notes = [*ablation_notes(answer.results), *answer.notes]
    save(file, answer.title, answer.records(), figures, notes, tables)


# Of verdicts, told apart without red and green alone; undecided ones are grey.
_COLOURS = {
    Verdict.HELPS: "#0072b2",
    Verdict.HIGHER: "#0072b2",
    Verdict.HURTS: "#d55e00",
    Verdict.LOWER: "#d55e00",
    Verdict.WITHIN: "#009e73",
    Verdict.UNDECIDED: "#777",
}


def _effects(results: Sequence[VariantResult]) -> go.Figure:
    found = [
        (result, own)
        for result in results
        if (own := result.comparison) and own.difference is not None
    ]
    figure = go.Figure(
        layout_title_text="Effect on accuracy, points: simultaneous intervals, every seed; blue helps, orange hurts"
    )
    for result, effect in found:
        assert effect.difference is not None
        low, high = effect.interval or (effect.difference, effect.difference)
        name = _name(result)
        figure.add_scatter(
            x=[effect.difference],
            y=[name],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [high - effect.difference],
                "arrayminus": [effect.difference - low],
            },
            name=escape(verdict_of(result)),
            marker={"size": 10, "color": _COLOURS[effect.verdict]},
            showlegend=False,
        )
        points = list(effect.differences)
        figure.add_scatter(
            x=points,
            y=[name] * len(points),
            mode="markers",
            marker={"size": 5, "color": "#999"},
            showlegend=False,
        )
    figure.add_vline(x=0)
    return figure.update_layout(height=200 + 40 * len(found), yaxis_autorange="reversed")


def _costs(results: Sequence[VariantResult]) -> go.Figure:
    points = [
        (_name(r), r.cost.flops, list(r.accuracies.values()))
        for r in results
        if r.cost and r.accuracies
    ]
    return _beside_cost(points)


def _curves(results: Sequence[VariantResult]) -> go.Figure:
    curves = {
        _name(r): [curve for seed, curve in r.curves.items() if seed in r.accuracies]
        for r in results
        if r.curves
    }
    return _by_epoch(
        "Learning curves: mean accuracy over seeds, %, after each epoch", "accuracy, %", curves
    )


def published_report(file: Path, found: PaperTable) -> None:
    """Write a reproduced table: accuracies as intervals beside the paper's, cost beside accuracy,
    and learning curves.
    """
    points = [
        (escape(row.label), row.flops, list(row.accuracies.values()))
        for row in found.rows
        if row.accuracies
    ]
    losses = {escape(row.label): row.losses for row in found.rows}
    # Test images judge once: how a network learnt is seen in its losses.
    learnt = _by_epoch(
        "Learning curves: mean training loss over seeds, in each epoch", "loss", losses
    )
    figures, tables = (
        [_accuracies(found), _beside_cost(points), learnt],
        list(map(as_texts, published_parts(found))),
    )
    save(
        file,
        found.title,
        found.records(),
        figures,
        [*published_notes(found), *found.notes],
        tables,
        _compared(found),
    )


def _compared(found: PaperTable) -> list[dict[str, object]]:
    """Flatten what a table's networks are against each other, an effect's numbers in columns of
    their own.
    """
    return [{"network": own.variant.value} | own.record() for own in found.compared]


def _accuracies(found: PaperTable) -> go.Figure:
    figure = go.Figure(
        layout_title_text="Accuracy on test images, %: 95 % intervals over seeds, every seed, and the paper's"
    )
    here = [
        (row, row.accuracy, row.interval or (row.accuracy,) * 2)
        for row in found.rows
        if row.accuracy is not None
    ]
    figure.add_scatter(
        x=[accuracy for _, accuracy, _ in here],
        y=[escape(row.label) for row, _, _ in here],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [high - accuracy for _, accuracy, (_, high) in here],
            "arrayminus": [accuracy - low for _, accuracy, (low, _) in here],
        },
        mode="markers",
        marker_size=10,
        name="here",
    )
    seeds = [
        (accuracy, escape(row.label)) for row in found.rows for accuracy in row.accuracies.values()
    ]
    x, y = [accuracy for accuracy, _ in seeds], [label for _, label in seeds]
    figure.add_scatter(x=x, y=y, mode="markers", marker={"size": 5, "color": "#999"}, name="a seed")
    paper = {
        "x": [row.published.accuracy for row in found.rows],
        "y": [escape(row.label) for row in found.rows],
    }
    figure.add_scatter(
        **paper, mode="markers", marker={"size": 10, "symbol": "diamond-open"}, name="paper"
    )
    order = {"categoryorder": "array", "categoryarray": paper["y"], "autorange": "reversed"}
    return figure.update_layout(height=200 + 40 * len(found.rows), yaxis=order)


def _looks() -> Iterator[Mapping[str, str]]:
    """Give each of many networks a look of its own: eight colours that eyes of any kind tell apart,
    then another mark and dash.

    Source of the colours: Okabe and Ito 2008, Color Universal Design.
    """
    colours = (
        "#000000",
        "#e69f00",
        "#56b4e9",
        "#009e73",
        "#cc79a7",
        "#0072b2",
        "#d55e00",
        "#999999",
    )
    marks = (
        ("circle", "solid"),
        ("diamond", "dash"),
        ("square", "dot"),
        ("x", "dashdot"),
        ("triangle-up", "longdash"),
    )
    for symbol, dash in cycle(marks):
        yield from ({"color": colour, "symbol": symbol, "dash": dash} for colour in colours)


def _beside_cost(points: Sequence[tuple[str, int, list[float]]]) -> go.Figure:
    figure = go.Figure(layout_title_text="Accuracy, %, beside FLOPs: every seed")
    for (name, flops, values), look in zip(points, _looks(), strict=False):
        marker = {"color": look["color"], "symbol": look["symbol"], "size": 8}
        figure.add_scatter(
            x=[flops] * len(values), y=values, mode="markers", name=name, marker=marker
        )
    return figure.update_layout(xaxis_type="log", xaxis_title="FLOPs", yaxis_title="accuracy, %")


def _by_epoch(title: str, what: str, curves: Mapping[str, Sequence[Sequence[float]]]) -> go.Figure:
    figure = go.Figure(layout_title_text=title)
    for (name, own), look in zip(curves.items(), _looks(), strict=False):
        if own:
            means = [sum(epoch) / len(epoch) for epoch in zip(*own, strict=True)]
            line = {"color": look["color"], "dash": look["dash"]}
            figure.add_scatter(
                x=list(range(1, len(means) + 1)), y=means, name=name, mode="lines", line=line
            )
    return figure.update_layout(xaxis_title="epoch", yaxis_title=what)


def _name(result: VariantResult) -> str:
    variant = result.variant
    return escape(" ".join(part for part in (variant.given, variant.factor, variant.shown) if part))


def _shown(rows: Rows) -> tuple[list[str], list[list[str]]]:
    head = [_words(key) for key in (rows[0] if rows else ())]
    return head, [[_text(value) for value in row.values()] for row in rows]


def _html(
    title: str, tables: Sequence[Texts], figures: Sequence[go.Figure], notes: Sequence[str]
) -> str:
    # The script is written once, into the page itself: a report needs no network.
    drawn = [
        figure.to_html(full_html=False, include_plotlyjs=place == 0)
        for place, figure in enumerate(figures)
    ]
    said = [f"<p>{escape(note)}</p>" for note in notes]
    return _PAGE.format(
        title=escape(title), body="\n".join([*said, *drawn, *map(_html_table, tables)])
    )


def _html_table(table: Texts) -> str:
    heading, head, rows = table
    above = f"<h2>{escape(heading)}</h2>" if heading else ""
    columns = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = (
        "".join(f"<td>{escape(cell).replace(chr(10), '<br>')}</td>" for cell in row) for row in rows
    )
    return (
        f"{above}<table><tr>{columns}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
    )


def _markdown(title: str, tables: Sequence[Texts], notes: Sequence[str]) -> str:
    parts = [f"**{_as_it_is(title)}**", *map(_as_it_is, notes), *map(_markdown_table, tables)]
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: Texts) -> str:
    heading, columns, rows = table
    head, *lines = (
        f"| {' | '.join(_as_it_is(cell.replace(chr(10), '; ')) for cell in row)} |"
        for row in [columns, *rows]
    )
    return "\n".join(
        [
            *([f"{_as_it_is(heading)}\n"] if heading else []),
            head,
            f"|{' --- |' * len(columns)}",
            *lines,
        ]
    )


_MARKS = re.compile(
    r"([\\`*_\[\]<>|~&$])"
)  # what Markdown could take for a beginning of something, or for a column


def _as_it_is(text: str) -> str:
    """Write a text so that Markdown shows it as it is, in one line."""
    return _MARKS.sub(r"\\\1", " ".join(text.split()))


def _csv(title: str, parts: Sequence[Rows]) -> str:
    """Write rows, the title in a column of its own: what was reduced goes where the numbers go."""
    out = io.StringIO()
    writer = csv.writer(out)
    for place, rows in enumerate(parts):
        flat = [_flat(row) for row in rows]
        writer.writerows([[]] if place else [])
        writer.writerow([*(flat[0] if flat else ()), "title"])
        writer.writerows([*map(_exact, (*row.values(), title))] for row in flat)
    return out.getvalue()


def _flat(row: Mapping[str, object]) -> dict[str, object]:
    """Give each end of an interval a column of its own."""
    found: dict[str, object] = {}
    for key, value in row.items():
        if key == "interval":
            found["interval_low"], found["interval_high"] = (
                value if isinstance(value, tuple) else (None, None)
            )
        else:
            found[key] = value
    return found


def _exact(value: object) -> str:
    match value:
        case float():
            return f"{value:.12g}"
        case list() | tuple():
            return ("; " if any(isinstance(each, str) for each in value) else " ").join(
                map(_exact, value)
            )
        case str():
            return f"'{value}" if value.startswith(_FORMULA) else value
        case _:
            return _text(value)


_FORMULA = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
)  # what a spreadsheet would calculate, in a name from outside


def _words(key: str) -> str:
    return key.replace("_", " ")


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case float():
            return f"{value:.4g}" if abs(value) < 1 else f"{value:.2f}"
        case list() | tuple():
            return " ".join(map(_text, value))
        case dict():
            return "; ".join(f"{key}: {own}" for key, own in value.items())
        case _:
            return str(value)
