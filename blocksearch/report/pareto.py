"""A study as a page that needs no network: its points, its front and its walk. A door to plotly,
with `report`.

Plotly reads a little HTML in labels and hover texts, and knows no entity for quotes: all but those
is escaped.
"""

import textwrap
from collections.abc import Sequence
from html import escape
from math import log10
from pathlib import Path

import plotly.graph_objects as go

from blocksearch.report.report import save
from blocksearch.report.study import (
    WORDS,
    amount,
    budget_lines,
    counted,
    explained,
    is_logarithmic,
    seeds,
    titled_axis,
    written,
)
from blocksearch.search.results import Axis, Entry, Summary, as_rows

DOMINATED, FRONT, NAMED, BUDGET = "#a9afb8", "#1f5fa8", "#c2410c", "#6b7280"
_WIDTH = 72  # characters of a line of a hover text
_LAYOUT = {
    "template": "plotly_white",
    "font": {"size": 14},
    "margin": {"l": 70, "r": 30, "t": 60, "b": 60},
    "hovermode": "closest",
}


def pareto_page(file: Path, summary: Summary) -> None:
    """Write the study: .html with figures, .md or .csv; the front comes first. Raises ConfigError
    where it cannot be written.
    """
    figures = (
        [_points(summary, cost) for cost in summary.costs] + [_walk(summary)]
        if file.suffix == ".html"
        else []
    )
    rows = written(
        as_rows(
            summary.axes,
            (*summary.front, *(entry for entry in summary.entries if not entry.on_front)),
        )
    )
    if file.suffix != ".csv":  # a table to read has no empty columns
        kept = [key for key in (rows[0] if rows else ()) if any(row[key] for row in rows)]
        rows = [{key: row[key] for key in kept} for row in rows]
    notes = [summary.title, counted(summary), *explained(summary)]
    save(
        file,
        f"{summary.name}: {summary.title}" if file.suffix == ".csv" else summary.name,
        rows,
        figures,
        notes,
    )


def _points(summary: Summary, cost: Axis) -> go.Figure:
    first = summary.axes[0]
    figure = go.Figure(layout=_LAYOUT)
    beaten = [entry for entry in summary.walked if not entry.on_front and not entry.named]
    left = [entry for entry in summary.known if entry.early and not entry.accuracies]
    named = [entry for entry in summary.known if entry.named]
    figure.add_scatter(
        **_marks(summary, beaten, cost),
        name="dominated",
        mode="markers",
        marker={"color": DOMINATED, "size": 7, "opacity": 0.7},
    )
    if left:
        hollow = {"color": DOMINATED, "size": 7, "symbol": "circle-open"}
        figure.add_scatter(
            **_marks(summary, left, cost),
            name="stopped early: expected",
            mode="markers",
            marker=hollow,
        )
    figure.add_scatter(
        **_marks(summary, summary.front, cost),
        **_bars(summary.front),
        name="front" if len(summary.axes) == 2 else "front of all objectives",
        mode="lines+markers" if len(summary.axes) == 2 else "markers",
        line={"shape": "vh" if cost.maximise else "hv", "width": 2, "color": FRONT},
        marker={"color": FRONT, "size": 9},
    )
    if named:
        figure.add_scatter(
            **_marks(summary, named, cost),
            **_bars(named),
            name="named points",
            mode="markers",
            marker={
                "symbol": "diamond",
                "size": 11,
                "color": NAMED,
                "line": {"width": 1, "color": "white"},
            },
        )
    logarithmic = is_logarithmic(summary, cost)
    _name(figure, named, cost, logarithmic=logarithmic)
    for bound, text in budget_lines(summary, cost.name):
        figure.add_vline(x=bound, line={"dash": "dot", "color": BUDGET})
        place = (
            log10(bound) if logarithmic else bound
        )  # an annotation wants the exponent, a line does not
        style = {
            "showarrow": False,
            "xanchor": "right",
            "yanchor": "bottom",
            "font": {"color": BUDGET},
        }
        figure.add_annotation(x=place, y=0, yref="paper", text=_safe(text), **style)
    figure.update_xaxes(
        title_text=_safe(_with_direction(cost)),
        type="log" if logarithmic else "linear",
        tickformat="~s",
    )
    values = [entry.costs[cost.name] for entry in summary.known]
    wide = bool(values) and max(values) > 1e3 * min(values)
    figure.update_xaxes(dtick=(1 if wide else "D2") if logarithmic else None)
    figure.update_yaxes(title_text=_safe(_with_direction(first)))
    interval = (
        "; bars are the model's 95 % intervals"
        if any(entry.interval for entry in summary.known)
        else ""
    )
    title = f"{_safe(first.name)} beside {_safe(WORDS.get(cost.name, cost.name))}{interval}"
    legend = {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0}
    return figure.update_layout(
        title={"text": title, "y": 0.98, "yanchor": "top"}, height=620, legend=legend
    )


def _name(figure: go.Figure, named: Sequence[Entry], cost: Axis, *, logarithmic: bool) -> None:
    """Write names at the ends of lines from their points: away from the front's steps, neighbours
    at other lengths.
    """
    ordered = sorted(named, key=lambda entry: entry.costs[cost.name])
    for place, entry in enumerate(ordered):
        value, away = entry.costs[cost.name], 24 + 24 * (place % 3)
        across = (
            -30 if entry.on_front or place == len(ordered) - 1 else 30
        )  # the last is near the edge
        figure.add_annotation(
            x=log10(value) if logarithmic else value,
            y=entry.mean,
            text=_safe(entry.origin),
            ax=across,
            ay=-away if entry.on_front else away,
            xanchor="right" if across < 0 else "left",
            font={"color": NAMED},
            arrowcolor=NAMED,
            arrowwidth=1,
            arrowhead=0,
        )


def _walk(summary: Summary) -> go.Figure:
    found = list(summary.walk)
    figure = go.Figure(layout=_LAYOUT)
    figure.add_scatter(
        x=list(range(1, len(found) + 1)),
        y=found,
        mode="lines",
        line={"shape": "hv", "width": 2, "color": FRONT},
        hovertext=[
            f"{volume:.4f} after {_title(entry)}"
            for volume, entry in zip(found, summary.walked, strict=True)
        ],
        hoverinfo="text",
    )
    figure.update_xaxes(
        title_text="networks trained to the end, in the order of trials", tickformat=",d"
    )
    figure.update_yaxes(title_text="hypervolume", rangemode="tozero")
    return figure.update_layout(
        title_text="The walk of the search, by what is known in the end",
        height=360,
        showlegend=False,
    )


def _marks(summary: Summary, entries: Sequence[Entry], cost: Axis) -> dict[str, object]:
    return {
        "x": [entry.costs[cost.name] for entry in entries],
        "y": [entry.mean for entry in entries],
        "hovertext": [_hover(summary, entry) for entry in entries],
        "hoverinfo": "text",
    }


def _bars(entries: Sequence[Entry]) -> dict[str, object]:
    spans = [
        (entry.mean, *entry.interval)
        for entry in entries
        if entry.interval and entry.mean is not None
    ]
    if not spans:
        return {}
    above, below = [high - mean for mean, _, high in spans], [mean - low for mean, low, _ in spans]
    return {
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": above,
            "arrayminus": below,
            "width": 3,
            "thickness": 1.2,
        }
    }


def _hover(summary: Summary, entry: Entry) -> str:
    first = summary.axes[0]
    result = f"{first.name}: {amount(entry.mean)}{first.unit}"
    if entry.interval:
        own = ", ".join(f"{accuracy:.2f}" for accuracy in entry.accuracies)
        result += f" [{entry.interval[0]:.2f}, {entry.interval[1]:.2f}], seeds: {seeds(entry)}{f' ({own})' if own else ''}"
    costs = [f"{name}: {amount(value)}" for name, value in entry.costs.items()]
    factor = [] if entry.factor is None else [f"{entry.factor:.2f} of the baseline network's FLOPs"]
    return "<br>".join(
        [
            f"<b>{_title(entry)}</b>",
            *map(_safe, (*textwrap.wrap(entry.text, _WIDTH), result, *costs, *factor)),
        ]
    )


def _title(entry: Entry) -> str:
    return _safe(f"trial {entry.trial}" + (f", {entry.origin}" if entry.origin else ""))


def _with_direction(axis: Axis) -> str:
    return f"{titled_axis(axis)} ({'more' if axis.maximise else 'less'} is better)"


def _safe(text: str) -> str:
    return escape(text, quote=False)
