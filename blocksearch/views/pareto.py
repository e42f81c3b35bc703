"""A study to look at: its front in the terminal, and as a page that needs no network. A door to plotly, with `report`."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import plotly.graph_objects as go

from blocksearch.experiments.search.summary import Entry, Summary, as_rows
from blocksearch.views.report import save

NAMED = "named points and --start-with"


def pareto_page(file: Path, summary: Summary) -> None:
    """Write the front: .html with figures, .md or .csv. Raises UsageError where it cannot be written."""
    figures = [_points(summary, cost) for cost in summary.objectives[1:]] + [_walk(summary)]
    save(file, f"{summary.name}: {summary.title}", as_rows(summary.entries), figures if file.suffix == ".html" else ())


def _points(summary: Summary, cost: str) -> go.Figure:
    figure = go.Figure(layout_title_text=f"Accuracy, %, by the model of all seeds (95 % intervals), beside {cost}")
    known = [entry for entry in summary.entries if entry.mean is not None]
    proposed = [entry for entry in known if entry.origin in ("evolution", "random", "nsga2", "tpe", "gp")]
    others = [entry for entry in known if entry not in proposed]
    figure.add_scatter(**_marks([e for e in proposed if not e.on_front], cost), name="dominated", marker_color="#aaa")
    figure.add_scatter(
        **_marks(others, cost) | {"mode": "markers+text"},
        name=NAMED,
        text=[escape(entry.origin) for entry in others],
        textposition="top center",
        marker={"symbol": "diamond", "size": 10},
    )
    bars = {"array": [e.interval[1] - e.mean for e in summary.front if e.interval and e.mean is not None]}
    below = [e.mean - e.interval[0] for e in summary.front if e.interval and e.mean is not None]
    figure.add_scatter(
        **_marks(summary.front, cost) | {"mode": "lines+markers"},
        name="front",
        line_shape="hv" if len(summary.objectives) == 2 else "linear",
        error_y={"type": "data", "symmetric": False, **bars, "arrayminus": below},
    )
    for budget in summary.budgets:
        quantity, _, bound = budget.replace(" ", "").replace("=", "").partition("<")
        if quantity == cost and bound:
            figure.add_vline(x=_number(bound), line_dash="dot", annotation_text=escape(budget))
    return figure.update_layout(xaxis_type="log", xaxis_title=cost, yaxis_title="accuracy, %", height=600)


def _marks(entries: Sequence[Entry], cost: str) -> dict[str, object]:
    return {
        "x": [entry.costs[cost] for entry in entries],
        "y": [entry.mean for entry in entries],
        "mode": "markers",
        "hovertext": [_hover(entry) for entry in entries],
        "hoverinfo": "text",
    }


def _hover(entry: Entry) -> str:
    assert entry.mean is not None
    assert entry.interval is not None
    costs = "<br>".join(f"{name}: {value:,}" for name, value in entry.costs.items())
    low, high = entry.interval
    result = f"{entry.mean:.2f} % [{low:.2f}, {high:.2f}], {len(entry.accuracies)} seeds"
    return f"trial {entry.trial} ({escape(entry.origin)})<br>{escape(entry.text)}<br>{result}<br>{costs}"


def _walk(summary: Summary) -> go.Figure:
    figure = go.Figure(layout_title_text="The walk: hypervolume after each network, by what is known in the end")
    figure.add_scatter(x=list(range(1, len(summary.walk) + 1)), y=list(summary.walk), mode="lines", line_shape="hv")
    return figure.update_layout(xaxis_title="networks trained", yaxis_title="hypervolume")


def _number(text: str) -> float:
    scale = {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}.get(text[-1:], 1.0)
    return float(text.rstrip("kKMG").replace("_", "")) * scale
