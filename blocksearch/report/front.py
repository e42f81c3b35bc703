"""Reports the front of a study, its Pareto-optimal networks, and figures of all."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from blocksearch.arch.quantities import QUANTITIES
from blocksearch.errors import ConfigError
from blocksearch.report.figure import GREY, ORANGE, Figure, Kind, Mark, Scale, Series, Style
from blocksearch.report.table import Column, Made, Priority, Report, Row, Table, form, shared_words
from blocksearch.search.measured import read_limit
from blocksearch.search.results import Axis, Entry, Summary, Z, row_of, simultaneous_z

_ROOM, _WIDE = Priority.ROOM, Priority.WIDE
_LIMITS = (
    "limits: shown where the 95 % intervals are within the limits on what is measured, not shown "
    "where one is outside, else undecided; the front is of those that keep them as expected"
)
MOST_POINTS = 5_000  # that a figure draws of one kind
_LINE = 72  # characters of a line of a hover text
_LABELS = {each.name: each.label for each in QUANTITIES.values()}


def front_report(summary: Summary) -> Report:
    """Show the Pareto-optimal networks of a study, the cheapest first; pages and files list all."""
    others = (entry for entry in summary.entries if not entry.on_front)
    every = (*summary.front, *others)
    costs = tuple(_points(summary, cost) for cost in summary.costs)
    return Report(
        title=f"{summary.name}: {summary.title}",
        tables=(
            _networks(summary, summary.front, "", counted(summary)),
            _networks(summary, every, "networks", "all networks, the front first"),
        ),
        figures=(*costs, _volumes(summary)),
        notes=tuple(_explained(summary)),
        facts={
            "study": summary.name,
            "others": list(summary.others),
            "objectives": [axis.name for axis in summary.axes],
            "directions": ["maximise" if axis.maximise else "minimise" for axis in summary.axes],
            "budgets": list(summary.budgets),
            "hypervolume": summary.volume,
            "frame": summary.frame,
            **_certainty(summary),
            "front": [entry.trial for entry in summary.front],
            "hypervolumes": list(summary.walk),
        },
    )


def _networks(summary: Summary, entries: Sequence[Entry], name: str, title: str) -> Table:
    alike = shared_words(map(_words, entries))
    shared = " ".join(_words(entries[0])[:alike]) if entries else ""
    record = row_of(summary.axes, summary.entries)
    return Table(
        name=name,
        title=title,
        columns=tuple(_columns(summary)),
        rows=Made(entries, lambda entry: _printed(entry, record(entry), alike)),
        data=Made(entries, record),
        notes=(f"all: {shared}",) if shared else (),
        terminal=not name,
    )


def _words(entry: Entry) -> Sequence[str]:
    return entry.units or entry.text.split()


def _printed(entry: Entry, record: Row, alike: int) -> Row:
    """Return the row that is printed of a network, without the words that all texts begin with."""
    expected = {
        f"{name}_expected": (entry.costs[name], *own.interval)
        for name, own in entry.further.items()
    }
    return {
        **record,
        "interval": entry.interval and (entry.mean, *entry.interval),
        "count": _seeds(entry),
        "shown": " ".join(_words(entry)[alike:]),
        **expected,
    }


def _columns(summary: Summary) -> Iterator[Column]:
    modelled, first = any(entry.interval for entry in summary.known), summary.axes[0]
    costs = dict.fromkeys(axis.name for axis in summary.costs)
    more = dict.fromkeys(name for entry in summary.entries for name in entry.costs)
    measured = [axis.name for axis in summary.axes if axis.measured]
    yield Column(name="trial", priority=_ROOM)
    if modelled:
        unit = first.unit.strip()
        yield Column(name="measured", label=f"{first.name} measured", unit=unit, form=form(".2f"))
        label = "expected by the model"
        yield Column(name="interval", label=label, unit=unit, form=form(".2f"))
    else:
        yield Column(name=first.name, unit=first.unit.strip(), form=amount)
    for name in measured:
        yield Column(name=f"{name}_measured", label=f"{name} measured", form=amount)
        yield Column(name=f"{name}_expected", label="expected by the model", form=form(".2f"))
    if any(entry.limits for entry in summary.entries):
        yield Column(name="limits")
    for name in [each for each in costs | (more if modelled else {}) if each not in measured]:
        main = name in costs or name in ("flops", "params")
        priority = Priority.MAIN if main else _WIDE
        yield Column(name=name, label=_LABELS.get(name, ""), form=amount, priority=priority)
    if modelled:
        yield Column(name="factor", label="relative FLOPs", form=form(".2f"), priority=_WIDE)
        yield Column(name="count", label="seeds", priority=_ROOM)
        yield Column(name="origin", label="from", left=True, priority=_ROOM)
    label = "network" if modelled else "parameters"
    yield Column(name="shown", label=label, left=True)


def counted(summary: Summary) -> str:
    """Say how many networks and runs a study has, and its hypervolume."""
    runs = sum(len(entry.accuracies) + entry.early + entry.failures for entry in summary.entries)
    trials = f"{len(summary.entries):,}"
    ours = f"{trials} networks, {runs:,} runs" if runs else f"{trials} trials"
    return f"{ours}; {len(summary.front):,} on the front; hypervolume {summary.volume:.4f}"


def _explained(summary: Summary) -> list[str]:
    modelled = any(entry.interval for entry in summary.known)
    model = (
        "measured: the mean over the network's own seeds; expected: its mean over all seeds, with "
        "a 95 % interval of that, so a measured seed may lie outside; by a model of all results, "
        "which draws it towards what its factors let expect; the front is by the expected values"
    )
    return [
        *([model, *_uncertain(summary)] if modelled else []),
        *([_LIMITS] if any(entry.limits for entry in summary.entries) else []),
        f"hypervolume, 0 to 1, higher is better; {summary.frame}",
        *summary.notes,
    ]


def _certainty(summary: Summary) -> dict[str, Any]:
    """Return what intervals are by; nothing where there are none."""
    noise = summary.noise
    if noise is None:
        return {}
    return {
        "noise_between_seeds": noise.deviation,
        "noise_degrees_of_freedom": noise.freedom,
        "noise_is_a_guess": noise.guessed,
        "intervals": "pointwise",
        "simultaneous_z": simultaneous_z(len(summary.front)),
    }


def _uncertain(summary: Summary) -> Iterator[str]:
    """Say what intervals are by, and of what they are."""
    count = len(summary.front)
    if count > 1:
        times = simultaneous_z(count) / Z
        yield (
            f"intervals: 95 % for each network by itself; at {times:.2f} times the width those of "
            f"all {count} of the front cover together with 95 %, if the model is right"
        )
    if (noise := summary.noise) is None:
        return
    amount = f"{noise.deviation:.2f} points"
    if noise.freedom == 0:
        yield f"the noise between seeds is a guess ({amount}): no network has two seeds"
    elif noise.guessed:
        known = f"only {noise.freedom} degree{'s' * (noise.freedom > 1)} of freedom"
        yield f"the noise between seeds is mostly a guess ({amount}): it has {known}"
    else:
        yield f"noise between seeds: {amount}, by {noise.freedom} degrees of freedom"


def _seeds(entry: Entry) -> str:
    return f"{len(entry.accuracies)}" + (f" +{entry.early} early" if entry.early else "")


def amount(value: float | None) -> str:
    """Write a value exactly where it is a count, else to a few digits.

    >>> amount(1234567), amount(65.3473), amount(0.0123456)
    ('1,234,567', '65.35', '0.01235')
    """
    match value:
        case None:
            return ""
        case int():
            return f"{value:,}"
        case _:
            return f"{value:.2f}" if 10 <= abs(value) < 1e6 else f"{value:.4g}"


# ---- figures of a front


def few(entries: Sequence[Any]) -> tuple[Sequence[Any], str]:
    """Return entries at even distances where there are more than a figure can draw, and a remark of
    how many it draws.
    """
    if len(entries) <= MOST_POINTS:
        return entries, ""
    places = (at * (len(entries) - 1) // (MOST_POINTS - 1) for at in range(MOST_POINTS))
    return [entries[at] for at in places], f" ({MOST_POINTS:,} of {len(entries):,})"


def _points(summary: Summary, cost: Axis) -> Figure:
    first, alone = summary.axes[0], len(summary.axes) == 2
    lesser = [entry for entry in summary.walked if not entry.on_front and not entry.named]
    beaten, some = few(lesser)
    left, some_left = few([e for e in summary.known if e.early and not e.accuracies])
    named, _ = few([entry for entry in summary.known if entry.named])
    best, some_best = few(summary.front)
    front = "front" if alone else "front of all objectives"
    bars = any(entry.interval for entry in best)
    small, diamond = Style(color=GREY, size=6), Style(color=ORANGE, symbol="diamond", size=10)
    hollow = Style(color=GREY, size=6, hollow=True)
    steps = (Kind.RISES if cost.maximise else Kind.STEPS) if alone else Kind.POINTS
    series = [
        _series(f"dominated{some}", summary, beaten, cost, style=small),
        _series(f"stopped early: expected{some_left}", summary, left, cost, style=hollow),
        _series(
            f"{front}{', 95 % intervals' if bars else ''}{some_best}",
            summary,
            best,
            cost,
            kind=steps,
            spans=tuple(entry.interval for entry in best),
        ),
        _series(
            "reference networks",
            summary,
            named,
            cost,
            style=diamond,
            labels=tuple(entry.origin for entry in named),
        ),
    ]
    return Figure(
        name=cost.name,
        title=f"{_named(first)} and {_named(cost)}",
        x=Scale(label=_with_direction(cost), log=is_logarithmic(summary, cost), whole=True),
        y=Scale(label=_with_direction(first)),
        series=tuple(each for each in series if each.x),
        marks=tuple(
            Mark(value=bound, label=text) for bound, text in budget_lines(summary, cost.name)
        ),
        main=True,
    )


def _series(
    name: str, summary: Summary, entries: Sequence[Entry], cost: Axis, **own: Any
) -> Series:
    return Series(
        name=name,
        x=tuple(entry.costs[cost.name] for entry in entries),
        y=tuple(entry.mean or 0.0 for entry in entries),
        hover=tuple(_hover(summary, entry) for entry in entries),
        **own,
    )


def _volumes(summary: Summary) -> Figure:
    walk, walked = summary.walk, summary.walked
    last = len(walk) - 1
    # level until the next point: only where it rises is there something to draw
    rises = (at for at in range(len(walk)) if at in (0, last) or walk[at] != walk[at - 1])
    places = range(len(walk)) if last < MOST_POINTS else few(tuple(rises))[0]
    series = Series(
        name="hypervolume",
        x=tuple(at + 1 for at in places),
        y=tuple(walk[at] for at in places),
        kind=Kind.STEPS,
        hover=tuple((f"{walk[at]:.4f} after {_trial(walked[at])}",) for at in places),
    )
    return Figure(
        name="hypervolume",
        title="Hypervolume over trials, by what is known in the end",
        x=Scale(label="networks trained to the end", whole=True),
        y=Scale(label="hypervolume"),
        series=(series,) if walk else (),
    )


def _hover(summary: Summary, entry: Entry) -> tuple[str, ...]:
    first = summary.axes[0]
    result = f"{first.name}: {amount(entry.mean)}{first.unit}"
    if entry.interval:
        low, high = entry.interval
        own = ", ".join(f"{accuracy:.2f}" for accuracy in entry.accuracies)
        result += f" [{low:.2f}, {high:.2f}], seeds: {_seeds(entry)}{f' ({own})' if own else ''}"
    costs = [f"{name}: {amount(value)}" for name, value in entry.costs.items()]
    costs += [f"limits: {entry.limits}"] if entry.limits else []
    factor = [] if entry.factor is None else [f"{entry.factor:.2f} of the baseline network's FLOPs"]
    return (_trial(entry), *textwrap.wrap(entry.text, _LINE), result, *costs, *factor)


def _trial(entry: Entry) -> str:
    return f"trial {entry.trial}" + (f", {entry.origin}" if entry.origin else "")


def _named(axis: Axis) -> str:
    return f"{axis.name},{axis.unit}" if axis.unit else _LABELS.get(axis.name, axis.name)


def _with_direction(axis: Axis) -> str:
    return f"{_named(axis)} ({'more' if axis.maximise else 'less'} is better)"


def is_logarithmic(summary: Summary, axis: Axis) -> bool:
    """Say whether an axis is logarithmic: costs that are counts, or that span more than a factor of
    ten.
    """
    values = [entry.costs[axis.name] for entry in summary.known]
    whole = all(isinstance(value, int) for value in values)
    return bool(values) and min(values) > 0 and (whole or max(values) > 10 * min(values))


def budget_lines(summary: Summary, cost: str) -> Iterator[tuple[float, str]]:
    """Yield the bounds on a cost, or on what it is a multiple of, with their texts."""
    names = [axis.name for axis in summary.axes if axis.measured]
    for text in summary.budgets:
        try:
            budget = read_limit(text, names)
        except ConfigError:  # stored by another version: its text is in the title
            continue
        (times, row), (own, drawn) = _base(budget.quantity), _base(cost)
        if row == drawn and own % times == 0:
            yield budget.bound * (own // times), text


def _base(cost: str) -> tuple[int, str]:
    return QUANTITIES[cost].base if cost in QUANTITIES else (1, cost)
