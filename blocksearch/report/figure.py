"""Describes figures as series, axes and marks, which `interactive` and `pictures` draw alike."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import cycle, zip_longest
from types import MappingProxyType
from typing import TypeVar

Anything = TypeVar("Anything")
GREY, BLUE, ORANGE, GREEN = "#8a919c", "#0072b2", "#d55e00", "#009e73"
MOST_BARS = 50
LABEL = 40  # characters of a line beside a bar
_NAME = 40  # of a bar's name


class Kind(StrEnum):
    """Say how the points of a series are drawn."""

    POINTS = "points"
    LINE = "line"
    STEPS = "steps"  # level, then up or down at the next point
    RISES = "rises"  # up or down first, then level
    BARS = "bars"  # across, each along its span


@dataclass(frozen=True, kw_only=True)
class Style:
    """Describe a series' look: `symbol` and `dash` by plotly's names, `size` in pixels."""

    color: str = BLUE
    symbol: str = "circle"
    dash: str = "solid"
    size: float = 9
    hollow: bool = False


@dataclass(frozen=True, kw_only=True)
class Series:
    """Hold points: numbers, or on an axis of categories their names.

    `spans` are (low, high) of each point along axis `spread`, None if there is none; of bars,
    where each begins and ends. `hover` are
    lines of text for each point, the first its title; `labels` stand beside the points in the
    figure.
    """

    name: str
    x: tuple[float | str, ...]
    y: tuple[float | str, ...]
    kind: Kind = Kind.POINTS
    style: Style = Style()
    spread: str = "y"
    spans: tuple[tuple[float, float] | None, ...] = ()
    hover: tuple[tuple[str, ...], ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Describe an axis: its label, whether it is logarithmic, and its categories if it has some."""

    label: str
    log: bool = False
    categories: tuple[str, ...] = ()
    whole: bool = False  # counts, which have no fractions


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Draw a line across the figure at a value of the x axis; without a label a thin one."""

    value: float
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Hold a figure. Pictures (SVG, PNG, PDF) show the `main` figures of a report side by side."""

    name: str
    title: str
    x: Scale
    y: Scale
    series: tuple[Series, ...]
    marks: tuple[Mark, ...] = ()
    main: bool = False


@dataclass(frozen=True, kw_only=True)
class Fork:
    """Hold a row of a figure of intervals: a mean, its interval, the points that it is the mean of,
    and a value beside it. Rows of one `kind` share a colour and an entry in the legend.
    """

    name: str
    mean: float | None
    interval: tuple[float, float] | None = None
    points: Sequence[float] = ()
    kind: str = "here"
    color: str = BLUE
    beside: float | None = None


def fork_figure(
    name: str,
    title: str,
    label: str,
    forks: Sequence[Fork],
    *,
    origin: float | None = None,
    beside: str = "",
    spec: str = ".2f",
) -> Figure:
    """Draw means with their intervals, a row each, coloured by kind, with every point."""
    known = [fork for fork in forks if fork.mean is not None]
    kinds = dict.fromkeys(fork.kind for fork in known)
    points = [(point, fork.name) for fork in known for point in fork.points]
    others = [(fork.beside, fork.name) for fork in forks if fork.beside is not None]
    seeds = Style(color=GREY, size=5)
    signed = spec if origin is None else f"+{spec}"
    series = [_means(kind, [fork for fork in known if fork.kind == kind], signed) for kind in kinds]
    series += [_at("a seed", points, seeds)]
    series += [_at(beside, others, Style(color=GREY, symbol="diamond", hollow=True))]
    return Figure(
        name=name,
        title=title,
        x=Scale(label=label),
        y=Scale(label="", categories=tuple(dict.fromkeys(fork.name for fork in forks))),
        series=tuple(each for each in series if each.x),
        marks=() if origin is None else (Mark(value=origin),),
        main=True,
    )


def _means(kind: str, forks: Sequence[Fork], spec: str) -> Series:
    return Series(
        name=kind,
        x=tuple(fork.mean for fork in forks if fork.mean is not None),
        y=tuple(fork.name for fork in forks),
        style=Style(color=forks[0].color, size=10),
        spread="x",
        spans=tuple(fork.interval for fork in forks),
        labels=tuple(f"{fork.mean:{spec}}" for fork in forks),
    )


def _at(name: str, points: Sequence[tuple[float, str]], style: Style) -> Series:
    across, up = tuple(x for x, _ in points), tuple(y for _, y in points)
    return Series(name=name, x=across, y=up, style=style)


def largest(
    rows: Sequence[Anything], size: Callable[[Anything], float]
) -> tuple[list[Anything], str]:
    """Return the rows that bars show, in their order, and a remark if these are not all.

    >>> largest([3, 1, 2], float)
    ([3, 1, 2], '')
    """
    if len(rows) <= MOST_BARS:
        return list(rows), ""
    kept = sorted(sorted(range(len(rows)), key=lambda at: -size(rows[at]))[:MOST_BARS])
    return [rows[at] for at in kept], f", the {MOST_BARS} largest of {len(rows):,}"


def bar_figure(
    title: str,
    label: str,
    names: Sequence[str],
    parts: Mapping[str, Sequence[float]],
    *,
    beside: Mapping[str, Sequence[float]] = MappingProxyType({}),
    said: Sequence[str] = (),
) -> Figure:
    """Draw what is counted of each name as a bar, its parts end to end, with other values beside,
    and what is said of it.
    """
    cut = [name if len(name) <= _NAME else f"{name[: _NAME - 1]}…" for name in names]
    rows = tuple(cut if len(set(cut)) == len(cut) else names)
    ends, series = [0.0] * len(rows), list[Series]()
    for (part, values), style in zip(parts.items(), styles(), strict=False):
        spans = tuple((low, low + own) for low, own in zip(ends, values, strict=True))
        ends = [high for _, high in spans]
        series.append(
            Series(
                name=part,
                x=tuple(ends),
                y=rows,
                kind=Kind.BARS,
                style=style,
                spread="x",
                spans=spans,
                hover=tuple(
                    (name, f"{part}: {short(own)}") for name, own in zip(names, values, strict=True)
                ),
            )
        )
    sums = map(short, ends)
    labels = (": ".join(filter(None, own)) for own in zip_longest(sums, said))
    series[-1] = replace(series[-1], labels=tuple(labels))
    others = Style(color=GREY, symbol="diamond", hollow=True)
    series += [_at(name, list(zip(own, rows, strict=True)), others) for name, own in beside.items()]
    return Figure(
        name=label,
        title=title,
        x=Scale(label=label, whole=True),
        y=Scale(label="", categories=rows),
        series=tuple(series),
        main=True,
    )


def beside_cost(points: Sequence[tuple[str, int, Sequence[float]]]) -> Figure:
    """Draw every seed's accuracy over FLOPs; `points` are names, FLOPs and accuracies."""
    series = [
        Series(name=name, x=(flops,) * len(values), y=tuple(values), style=style)
        for (name, flops, values), style in zip(points, styles(), strict=False)
    ]
    return over_flops("Accuracy and FLOPs, every seed", series)


def over_flops(title: str, series: Sequence[Series]) -> Figure:
    """Draw accuracies over FLOPs."""
    return Figure(
        name="costs",
        title=title,
        x=Scale(label="FLOPs", log=True, whole=True),
        y=Scale(label="accuracy, %"),
        series=tuple(series),
    )


def by_epoch(title: str, label: str, curves: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """Draw the mean over seeds after each epoch; `curves` have a list for each seed."""
    known = {name: own for name, own in curves.items() if own}
    means = [
        tuple(sum(epoch) / len(epoch) for epoch in zip(*own, strict=True)) for own in known.values()
    ]
    series = [
        Series(
            name=name,
            x=tuple(range(1, len(y) + 1)),
            y=y,
            kind=Kind.LINE if len(y) > 1 else Kind.POINTS,  # no line is seen of a single epoch
            style=style,
        )
        for name, y, style in zip(known, means, styles(), strict=False)
    ]
    return Figure(
        name="curves",
        title=title,
        x=Scale(label="epoch", whole=True),
        y=Scale(label=label),
        series=tuple(series),
    )


def styles() -> Iterator[Style]:
    """Yield a look for each of many series: colours that eyes of any kind tell apart, on white and
    on black, then another symbol and dash.

    Source of the colours: Okabe and Ito 2008, Color Universal Design.
    """
    colors = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999")
    looks = {
        "circle": "solid",
        "diamond": "dash",
        "square": "dot",
        "x": "dashdot",
        "triangle-up": "longdash",
    }
    for symbol, dash in cycle(looks.items()):
        yield from (Style(color=color, symbol=symbol, dash=dash, size=8) for color in colors)


def short(value: float) -> str:
    """Write a number as an axis does.

    >>> short(35_600), short(1.25e6), short(0.5)
    ('35.6k', '1.25M', '0.5')
    """
    for scale, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= scale:
            return f"{value / scale:.4g}{letter}"
    return f"{value:.4g}"
