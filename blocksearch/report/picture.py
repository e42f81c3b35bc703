"""A study as a picture, PNG or SVG, made without a browser. The door to matplotlib.

Texts are drawn as they are: a dollar sign begins no formula, and in an SVG they are escaped text.
"""

import textwrap
import warnings
from collections.abc import Sequence
from math import hypot
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from blocksearch.errors import ConfigError
from blocksearch.report.study import budget_lines, counted, is_logarithmic, short, titled_axis
from blocksearch.search.results import Axis, Entry, Summary

DOMINATED, FRONT, NAMED, BUDGET = "#aeb4bd", "#1f5fa8", "#c2410c", "#6b7280"
_STYLE: Any = {
    "text.parse_math": False,
    "svg.fonttype": "none",  # texts stay texts: small, and found by a search
    "svg.hashsalt": "blocksearch",  # the same study gives the same bytes
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
}
_ENDINGS = (".png", ".svg")
# above the front's steps, and below: points offset, and which side of the text is nearest
_PLACES = (
    (-6, 5, "right", "bottom"),
    (6, -5, "left", "top"),
    (0, 9, "center", "bottom"),
    (0, -9, "center", "top"),
    (9, 0, "left", "center"),
    (-9, 0, "right", "center"),
)
_FAR = tuple((2 * x, 2 * y, across, up) for x, y, across, up in _PLACES)


def picture(file: Path, summary: Summary) -> None:
    """Draw the points, the front with its intervals, and the budgets: one panel for each cost.
    Raises ConfigError.
    """
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Glyph .* missing", UserWarning
        )  # a script that the font lacks is no fault of the study
        figure = _drawn(summary)
        try:
            figure.savefig(
                file, dpi=160, metadata={"Date": None} if file.suffix == ".svg" else None
            )
        except OSError as error:
            raise ConfigError(f"{file} cannot be written: {error.strerror}") from error


def _drawn(summary: Summary) -> Figure:
    panels = len(summary.costs)
    figure = Figure(figsize=(9 if panels == 1 else 6.4 * panels, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Sequence[Axes] = figure.subplots(1, panels, squeeze=False, sharey=True)[0]
    for panel, cost in zip(axes, summary.costs, strict=True):
        _panel(panel, summary, cost)
    first = summary.axes[0]
    axes[0].set_ylabel(titled_axis(first))
    width = 100 if panels == 1 else 72 * panels
    title = "\n".join([*textwrap.wrap(f"{summary.name}: {summary.title}", width), counted(summary)])
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    legend = {
        label: handle
        for panel in axes
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        legend.values(), legend.keys(), loc="outside lower center", ncols=4, frameon=False
    )
    figure.draw_without_rendering()  # places are known only now
    for panel, cost in zip(axes, summary.costs, strict=True):
        _label(panel, [entry for entry in summary.known if entry.named], summary, cost)
    return figure


def _panel(panel: Axes, summary: Summary, cost: Axis) -> None:
    beaten = [entry for entry in summary.walked if not entry.on_front and not entry.named]
    left = [entry for entry in summary.known if entry.early and not entry.accuracies]
    named = [entry for entry in summary.known if entry.named]
    if is_logarithmic(summary, cost):
        panel.set_xscale("log")
        values = [entry.costs[cost.name] for entry in summary.known]
        panel.xaxis.set_major_locator(LogLocator(subs=_subs(max(values) / min(values))))
        panel.xaxis.set_minor_formatter(NullFormatter())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    panel.grid(visible=True, color="#e5e7eb", linewidth=0.8)
    panel.set_xlabel(titled_axis(cost))
    panel.plot(
        *_points(beaten, cost),
        "o",
        color=DOMINATED,
        markersize=4.5,
        alpha=0.8,
        mew=0,
        label="dominated",
        zorder=2,
    )
    if left:
        panel.plot(
            *_points(left, cost),
            "o",
            mfc="none",
            mec=DOMINATED,
            markersize=4.5,
            label="stopped early: expected",
            zorder=2,
        )
    alone = len(summary.axes) == 2
    if alone:
        panel.step(
            *_points(summary.front, cost),
            where="pre" if cost.maximise else "post",
            lw=1.8,
            color=FRONT,
            zorder=3,
        )
    bars = _bars(summary.front)
    label = ("front" if alone else "front of all objectives") + (
        ", 95 % intervals" if bars is not None else ""
    )
    across, up = _points(summary.front, cost)
    panel.errorbar(
        across,
        up,
        bars,
        fmt="o",
        ms=6,
        elinewidth=1.2,
        capsize=2.5,
        label=label,
        color=FRONT,
        zorder=4,
    )
    if named:
        panel.plot(
            *_points(named, cost),
            "D",
            color=NAMED,
            markersize=7,
            mec="white",
            mew=0.9,
            label="named points",
            zorder=5,
        )
    edge = panel.get_xaxis_transform()
    for place, (bound, text) in enumerate(budget_lines(summary, cost.name)):
        panel.axvline(
            bound,
            linestyle=":",
            color=BUDGET,
            linewidth=1.4,
            label="" if place else "budget",
            zorder=1,
        )
        panel.text(
            bound,
            0.01,
            f" {text}",
            transform=edge,
            rotation=90,
            va="bottom",
            ha="right",
            color=BUDGET,
            fontsize=8,
        )


def _subs(span: float) -> tuple[float, ...]:
    """Return which multiples of powers of ten an axis names, so that about five to ten of them are
    named.
    """
    return (1,) if span > 1e3 else (1, 2, 5) if span > 10 else (1, 1.5, 2, 3, 4, 5, 6, 8)


def _label(panel: Axes, entries: Sequence[Entry], summary: Summary, cost: Axis) -> None:
    """Write names beside their points, each nearest to its own, where it covers no other name and
    the fewest points.
    """
    renderer = panel.figure.canvas.get_renderer()  # type: ignore[attr-defined]
    to_screen = panel.transData.transform
    crowd = (*summary.front, *entries)
    places = [to_screen((entry.costs[cost.name], entry.mean or 0.0)) for entry in entries]
    points = [
        to_screen((entry.costs[cost.name], end))
        for entry in crowd
        for end in (entry.mean or 0.0, *(entry.interval or ()))
    ]
    taken: list[Bbox] = []
    for place, entry in enumerate(entries):
        trials: list[tuple[int, int, Text, Bbox]] = []
        above, below, *rest = _PLACES
        liked = (above, below) if entry.on_front else (below, above)
        for x, y, across, up in (*liked, *rest, *_FAR):
            text = panel.annotate(
                entry.origin,
                (entry.costs[cost.name], entry.mean or 0.0),
                (x, y),
                textcoords="offset points",
                ha=across,
                va=up,
                color=NAMED,
                fontsize=9,
                zorder=6,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8},
            )
            box = text.get_window_extent(renderer)
            outside = not (
                panel.bbox.x0 <= box.x0 and box.x1 <= panel.bbox.x1 and panel.bbox.y0 <= box.y0
            )
            covered = sum(box.contains(*point) for point in points)
            own, *others = (
                _apart(box, *places[at])
                for at in (place, *(at for at in range(len(places)) if at != place))
            )
            nearest = min(others, default=float("inf"))
            mistaken = 100 * (nearest <= 1.2 * own) + 10 * (nearest < 2 * own)  # for another's
            faults = 100 * (sum(box.overlaps(other) for other in taken) + outside) + mistaken
            trials.append((faults + covered, len(trials), text, box))
        best = min(trials, key=lambda trial: trial[:2])
        for trial in trials:
            if trial is not best:
                trial[2].remove()
        taken.append(best[3])


def _apart(box: Bbox, x: float, y: float) -> float:
    """Return how far a point is from a box, in pixels."""
    return hypot(max(box.x0 - x, 0.0, x - box.x1), max(box.y0 - y, 0.0, y - box.y1))


def _points(entries: Sequence[Entry], cost: Axis) -> tuple[list[float], list[float]]:
    return [entry.costs[cost.name] for entry in entries], [entry.mean or 0.0 for entry in entries]


def _bars(entries: Sequence[Entry]) -> list[list[float]] | None:
    """Return how far intervals go below and above their means; None where there are none."""
    spans = [
        (entry.mean, *entry.interval)
        for entry in entries
        if entry.interval and entry.mean is not None
    ]
    return (
        [[mean - low for mean, low, _ in spans], [high - mean for mean, _, high in spans]]
        if spans
        else None
    )
