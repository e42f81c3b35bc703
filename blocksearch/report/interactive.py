"""Draws figures by plotly, for pages. The one door to plotly.

Plotly reads a little HTML in labels and hover texts, and knows no entity for quotes: all but those
is escaped.
"""

from collections.abc import Sequence
from html import escape
from math import log10
from textwrap import wrap
from typing import Any

import plotly.graph_objects as go

from blocksearch.report.figure import LABEL, Figure, Kind, Scale, Series

_SHAPES = {
    Kind.STEPS: "hv",
    Kind.RISES: "vh",
    Kind.LINE: "linear",
    Kind.POINTS: None,
    Kind.BARS: None,
}
_SCRIPT = """<script>
function blocksearchColors() {
  const dark = matchMedia('(prefers-color-scheme: dark)').matches, narrow = innerWidth < 600;
  const ink = dark ? '#e6e6e6' : '#222', grid = dark ? '#444' : '#ddd';
  for (const plot of document.querySelectorAll('.js-plotly-plot'))
    Plotly.relayout(plot, {'font.color': ink, 'xaxis.gridcolor': grid, 'yaxis.gridcolor': grid,
      'xaxis.zerolinecolor': grid, 'yaxis.zerolinecolor': grid, 'font.size': narrow ? 11 : 14,
      ...(narrow ? {annotations: []} : {})});
}
addEventListener('load', blocksearchColors);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', blocksearchColors);
</script>"""


def drawn(figures: Sequence[Figure]) -> list[str]:
    """Draw figures as HTML; the first brings the script, so that a page needs no network."""
    found = [
        plotly_figure(figure).to_html(
            full_html=False,
            include_plotlyjs=place == 0,
            config={"displayModeBar": False, "responsive": True},
        )
        for place, figure in enumerate(figures)
    ]
    return [*found[:-1], found[-1] + _SCRIPT] if found else []


def plotly_figure(figure: Figure) -> go.Figure:
    """Draw a figure."""
    found = go.Figure()
    for series in figure.series:
        if series.kind is Kind.BARS:
            found.add_bar(**_along(series))
        else:
            found.add_scatter(**_trace(series))
    for mark in figure.marks:
        line = {"dash": "dot" if mark.label else "solid", "color": "#888", "width": 1.5}
        found.add_vline(
            x=mark.value, line=line, name=_safe(mark.label), showlegend=bool(mark.label)
        )
    rows = len(figure.y.categories)
    for series in figure.series if not rows else ():
        _label(found, series, figure)
    found.update_xaxes(**_axis(figure.x, [v for series in figure.series for v in series.x]))
    found.update_yaxes(**_axis(figure.y, []))
    return found.update_layout(
        template="plotly_white",
        height=220 + 36 * rows if rows else 520,
        hovermode="closest",
        barmode="overlay",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        margin={"l": 10, "r": 10, "t": 20, "b": 10},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )


def _axis(scale: Scale, values: Sequence[float | str]) -> dict[str, Any]:
    found: dict[str, Any] = {"title_text": _safe(scale.label), "automargin": True}
    if scale.categories:
        names = list(map(_safe, scale.categories))
        ends = [len(names) - 0.4, -0.6]
        return found | {"categoryorder": "array", "categoryarray": names, "range": ends}
    if scale.log:
        numbers = [value for value in values if isinstance(value, int | float)]
        span = max(numbers) / min(numbers) if numbers else 1
        step = {"dtick": 1 if span > 1e3 else "D2"} if span > 5 else {}
        return found | {"type": "log", "tickformat": "~s"} | step
    return found | ({"tickformat": "~s"} if scale.whole else {})


def _along(series: Series) -> dict[str, Any]:
    """Return bars that lie across, each along its span."""
    spans = [span for span in series.spans if span]
    return {
        "x": [high - low for low, high in spans],
        "base": [low for low, _ in spans],
        "y": _coordinates(series.y),
        "orientation": "h",
        "marker": {"color": series.style.color},
        "text": ["<br>".join(map(_safe, wrap(label, LABEL))) for label in series.labels],
        "textposition": "outside" if any(low for low, _ in spans) else "auto",  # inside is a part
        "cliponaxis": False,
        **_named(series),
    }


def _trace(series: Series) -> dict[str, Any]:
    style, shape = series.style, _SHAPES[series.kind]
    symbol = f"{style.symbol}-open" if style.hollow else style.symbol
    lines = series.kind is Kind.LINE
    found: dict[str, Any] = {
        "x": _coordinates(series.x),
        "y": _coordinates(series.y),
        "mode": "lines" if lines else "lines+markers" if shape else "markers",
        "marker": {"color": style.color, "size": style.size, "symbol": symbol},
        **_named(series),
    }
    if shape:
        found["line"] = {"shape": shape, "width": 2, "color": style.color, "dash": style.dash}
    if any(series.spans):
        found[f"error_{series.spread}"] = _bars(series)
    return found


def _named(series: Series) -> dict[str, Any]:
    """Return a series' entry in the legend, and its hover texts."""
    found: dict[str, Any] = {"name": _safe(series.name), "showlegend": True}
    if series.hover:
        texts = ["<br>".join([f"<b>{_safe(t)}</b>", *map(_safe, m)]) for t, *m in series.hover]
        found |= {"hovertext": texts, "hoverinfo": "text"}
    return found


def _bars(series: Series) -> dict[str, Any]:
    middles = series.x if series.spread == "x" else series.y
    ends = [
        (span[1] - middle, middle - span[0]) if span and not isinstance(middle, str) else (0, 0)
        for middle, span in zip(middles, series.spans, strict=True)
    ]
    return {
        "type": "data",
        "symmetric": False,
        "array": [above for above, _ in ends],
        "arrayminus": [below for _, below in ends],
        "thickness": 1.5,
    }


def _label(found: go.Figure, series: Series, figure: Figure) -> None:
    """Write names at the ends of lines from their points, neighbours at other lengths."""
    named = sorted(zip(series.x, series.y, series.labels, strict=False))
    for place, (x, y, text) in enumerate(named):
        across = -30 if place == len(named) - 1 else 30  # the last is near the edge
        found.add_annotation(
            x=log10(x) if figure.x.log and not isinstance(x, str) else x,
            y=y,
            text=_safe(text),
            ax=across,
            ay=24 + 24 * (place % 3),
            xanchor="right" if across < 0 else "left",
            font={"color": series.style.color},
            arrowcolor=series.style.color,
            arrowwidth=1,
            arrowhead=0,
        )


def _coordinates(values: Sequence[float | str]) -> list[float | str]:
    return [_safe(value) if isinstance(value, str) else value for value in values]


def _safe(text: str) -> str:
    return escape(text, quote=False)
