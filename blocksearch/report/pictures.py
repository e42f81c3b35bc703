"""Draws answers as SVG, PNG and PDF, without a browser. The one door to matplotlib.

Texts are drawn as they are: a dollar sign begins no formula, and in an SVG they are escaped text.
"""

import io
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot
from typing import Any, assert_never

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from blocksearch.report.console import as_text
from blocksearch.report.figure import GREY, LABEL, Figure, Kind, Series, short
from blocksearch.report.table import Report

STYLE: Any = {
    "text.parse_math": False,
    "svg.fonttype": "none",  # texts stay texts: small, and found by a search
    "svg.hashsalt": "blocksearch",  # the same answer gives the same bytes
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
}
_SYMBOLS = {"circle": "o", "diamond": "D", "square": "s", "x": "x", "triangle-up": "^"}
_DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-.", "longdash": (0, (8, 3))}
_JOINED: dict[Kind, Any] = {
    Kind.STEPS: "steps-post",
    Kind.RISES: "steps-pre",
    Kind.LINE: "default",
    Kind.POINTS: None,
    Kind.BARS: None,
}
FARTHEST = 1e150  # beyond, squares of coordinates overflow
_TEXT_WIDTH = 110  # columns of a picture of tables
# points offset, and which side of the text is nearest
_PLACES = (
    (6, -5, "left", "top"),
    (-6, 5, "right", "bottom"),
    (0, 9, "center", "bottom"),
    (0, -9, "center", "top"),
    (9, 0, "left", "center"),
    (-9, 0, "right", "center"),
)
_FAR = tuple((2 * x, 2 * y, across, up) for x, y, across, up in _PLACES)


def picture(report: Report, suffix: str) -> bytes:
    """Draw the main figures side by side, or where there are none the tables as text."""
    out = io.BytesIO()
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # a script that the font lacks is no fault of the answer
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        # names that are longer than the picture
        warnings.filterwarnings("ignore", "constrained_layout not applied", UserWarning)
        canvas = draw(report)
        dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
        canvas.savefig(out, format=suffix, dpi=160, metadata=dates.get(suffix))
    return out.getvalue()


def draw(report: Report) -> Canvas:
    """Draw a report on a canvas of matplotlib."""
    figures = [figure for figure in report.drawable if figure.main]
    return _figures(report, figures) if figures else _tables(report)


def _tables(report: Report) -> Canvas:
    text = as_text(report, _TEXT_WIDTH, wide=False)
    lines = text.splitlines()
    wide = max(map(len, lines), default=1)
    canvas = Canvas(figsize=(0.4 + 0.0837 * wide, 0.4 + 0.17 * len(lines)))
    FigureCanvasAgg(canvas)
    canvas.text(0.02, 0.98, text, family="monospace", va="top", fontsize=10, linespacing=1.2)
    return canvas


def _figures(report: Report, figures: Sequence[Figure]) -> Canvas:
    rows = max(len(figure.y.categories) for figure in figures)
    height = 1.9 + 0.34 * rows if rows else 5.6
    width = 9 if len(figures) == 1 else 6.4 * len(figures)
    canvas = Canvas(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(canvas)
    panels: Sequence[Axes] = canvas.subplots(1, len(figures), squeeze=False, sharey=True)[0]
    for panel, figure in zip(panels, figures, strict=True):
        _panel(panel, figure)
    panels[0].set_ylabel(figures[0].y.label)
    columns = 100 if len(figures) == 1 else 72 * len(figures)
    counts = [table.title for table in report.tables[:1] if not table.grouped]
    titles = dict.fromkeys(figure.title for figure in figures)
    above = [report.title, "; ".join(titles) if rows else "", *counts]
    title = [line for text in above for line in textwrap.wrap(text, columns)]
    canvas.set_figheight(height + 0.17 * max(0, len(title) - 4))
    canvas.suptitle("\n".join(title), fontsize=10, x=0.01, ha="left")
    legend = {
        label: handle
        for panel in panels
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    canvas.legend(
        legend.values(), legend.keys(), loc="outside lower center", ncols=4, frameon=False
    )
    canvas.draw_without_rendering()  # places are known only now
    for panel, figure in zip(panels, figures, strict=True):
        _label(panel, figure)
    return canvas


def _panel(panel: Axes, figure: Figure) -> None:
    panel.set_xlabel(figure.x.label)
    panel.grid(visible=True, color="#e5e7eb", linewidth=0.8)
    if figure.x.log:
        panel.set_xscale("log")
        values = [value for series in figure.series for value in series.x]
        numbers = [value for value in values if not isinstance(value, str)]
        if numbers:
            panel.xaxis.set_major_locator(LogLocator(subs=_subs(max(numbers) / min(numbers))))
        panel.xaxis.set_minor_formatter(NullFormatter())
    if figure.x.whole:
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    rows = figure.y.categories
    if rows:
        panel.set_yticks(range(len(rows)), rows)
        panel.set_ylim(len(rows) - 0.4, -0.6)
    for place, series in enumerate(figure.series):
        _draw_series(panel, series, rows, 2 + place)
    edge = panel.get_xaxis_transform()
    for place, mark in enumerate(figure.marks):
        # the first names them all in the legend
        label = "budget" if mark.label and not place else ""
        dash = ":" if mark.label else "-"
        panel.axvline(mark.value, linestyle=dash, color=GREY, lw=1.2, label=label, zorder=1)
        panel.text(
            mark.value,
            0.01,
            mark.label,
            transform=edge,
            rotation=90,
            va="bottom",
            ha="right",
            color="#6b7280",
            fontsize=8,
        )


def _draw_series(panel: Axes, series: Series, rows: Sequence[str], order: int) -> None:
    x, y = _numbers(series.x, rows), _numbers(series.y, rows)
    style = series.style
    match series.kind:
        case Kind.BARS:
            low, high = zip(*filter(None, series.spans), strict=True)
            sizes = [end - begin for begin, end in zip(low, high, strict=True)]
            panel.barh(y, sizes, 0.7, low, color=style.color, label=series.name, zorder=order)
            return
        case Kind.LINE:
            symbol = ""
        case Kind.POINTS | Kind.STEPS | Kind.RISES:
            symbol = _SYMBOLS[style.symbol]
        case _:
            assert_never(series.kind)
    spans = [
        (0.0, 0.0) if span is None else (middle - span[0], span[1] - middle)
        for middle, span in zip(x if series.spread == "x" else y, series.spans, strict=False)
    ]
    bars: dict[str, Any] = (
        {f"{series.spread}err": list(zip(*spans, strict=True))} if any(series.spans) else {}
    )
    drawn = panel.errorbar(
        x,
        y,
        **bars,
        fmt=symbol,
        linestyle=_DASHES[style.dash] if _JOINED[series.kind] else "none",
        ms=0.7 * style.size,
        mfc="none" if style.hollow else style.color,
        color=style.color,
        elinewidth=1.2,
        capsize=2.5,
        label=series.name,
        zorder=order,
    )
    if joined := _JOINED[series.kind]:
        drawn.lines[0].set_drawstyle(joined)


def _numbers(values: Sequence[float | str], rows: Sequence[str]) -> list[float]:
    return [float(rows.index(v)) if isinstance(v, str) else _drawable(v) for v in values]


def _drawable(value: float) -> float:
    """Return a number that matplotlib can calculate with; what is farther off stands at the end."""
    return max(-FARTHEST, min(FARTHEST, float(value)))


def _subs(span: float) -> tuple[float, ...]:
    """Return which multiples of powers of ten an axis names: about five to ten of them."""
    return (1,) if span > 1e3 else (1, 2, 5) if span > 10 else (1, 1.5, 2, 3, 4, 5, 6, 8)


@dataclass(frozen=True, kw_only=True)
class _Point:
    """A point to be labelled, in pixels."""

    text: str
    color: str
    at: tuple[float, float]
    pixel: tuple[float, float]


def _label(panel: Axes, figure: Figure) -> None:
    """Write names beside their points, each nearest to its own, where it covers no other name and
    the fewest points.
    """
    rows = figure.y.categories
    if rows:
        _write_means(panel, figure)
        return
    named, crowd = list[_Point](), list[tuple[float, float]]()
    for series in figure.series:
        places = list(zip(_numbers(series.x, rows), _numbers(series.y, rows), strict=True))
        if series.labels or any(series.spans):
            crowd += [_pixel(panel, place) for place in places]
            crowd += [
                _pixel(panel, (x, end))
                for (x, _), span in zip(places, series.spans, strict=False)
                for end in span or ()
            ]
        named += [
            _Point(text=text, color=series.style.color, at=place, pixel=_pixel(panel, place))
            for text, place in zip(series.labels, places, strict=False)
        ]
    taken: list[Bbox] = []
    for own in named:
        others = [other.pixel for other in named if other is not own]
        taken.append(_place(panel, own, others, crowd, taken))


def _write_means(panel: Axes, figure: Figure) -> None:
    """Write the means of a figure of intervals at its right edge."""
    for series in figure.series:
        for row, text in zip(_numbers(series.y, figure.y.categories), series.labels, strict=False):
            panel.text(
                1.01,
                row,
                "\n".join(textwrap.wrap(text, LABEL)),
                transform=panel.get_yaxis_transform(),
                va="center",
                color=series.style.color,
            )


def _pixel(panel: Axes, place: tuple[float, float]) -> tuple[float, float]:
    x, y = panel.transData.transform(place)
    return float(x), float(y)


def _place(
    panel: Axes,
    own: _Point,
    others: Sequence[tuple[float, float]],
    crowd: Sequence[tuple[float, float]],
    taken: Sequence[Bbox],
) -> Bbox:
    """Try every place for a name, keep the best, and return what it covers."""
    renderer = panel.figure.canvas.get_renderer()  # type: ignore[attr-defined]
    trials: list[tuple[int, int, Text, Bbox]] = []
    for x, y, across, up in (*_PLACES, *_FAR):
        text = panel.annotate(
            own.text,
            own.at,
            (x, y),
            textcoords="offset points",
            ha=across,
            va=up,
            color=own.color,
            fontsize=9,
            zorder=99,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8},
        )
        box, limits = text.get_window_extent(renderer), panel.bbox
        outside = box.x0 < limits.x0 or box.x1 > limits.x1 or box.y0 < limits.y0
        covered = sum(box.contains(*point) for point in crowd)
        apart = _apart(box, *own.pixel)
        nearest = min((_apart(box, *other) for other in others), default=float("inf"))
        mistaken = 100 * (nearest <= 1.2 * apart) + 10 * (nearest < 2 * apart)  # for another's
        faults = 100 * (sum(box.overlaps(other) for other in taken) + outside) + mistaken
        trials.append((faults + covered, len(trials), text, box))
    best = min(trials, key=lambda trial: trial[:2])
    for trial in trials:
        if trial is not best:
            trial[2].remove()
    return best[3]


def _apart(box: Bbox, x: float, y: float) -> float:
    """Return how far a point is from a box, in pixels."""
    return hypot(max(box.x0 - x, 0.0, x - box.x1), max(box.y0 - y, 0.0, y - box.y1))
