"""Reports the importance of a study's factors, and its front on the test set."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from blocksearch.report.figure import Fork, fork_figure, short
from blocksearch.report.table import Column, Priority, Report, Table, form, shared_words
from blocksearch.search.importance import Effects, Estimate, FactorImportance, Level, as_rows

if TYPE_CHECKING:  # only to describe an argument: its module trains
    from blocksearch.search.evaluation import Final

_ROOM, _WIDE = Priority.ROOM, Priority.WIDE

_LEVELS = (
    Column(name="head", label="factor", left=True),
    Column(name="bits", label="importance, bits", form=form("+.2f")),
    Column(name="level", label="value", left=True),
    Column(name="networks", priority=_ROOM),
    Column(name="share", label="share of all", form=form(".0%")),
    Column(name="on_front", label="share on the front", form=form(".0%")),
    Column(name="lift", label="over-representation", form=form(".2f"), priority=_WIDE),
    Column(name="accuracy", unit="points", form=form("+.2f"), priority=_ROOM),
    Column(name="times", label="FLOPs", left=False, priority=_ROOM),
)
_IMPORTANCE = (
    "importance: how far the factor's values on the front are from those of all networks, less "
    "what as many networks chosen by chance give: 0 means no association",
    "accuracy: by the search's model, against the mean over the factor's values, costs changing "
    "with the value; FLOPs: counted in every network with the values exchanged",
    "95 % intervals over simulated fronts, each network's accuracy drawn by itself; values that "
    "the search favoured are more often among all networks, too",
)
_CHOSEN = "a search tries what it believes in: intervals of accuracy cover about 85 to 90 % then"


def importance_report(found: Effects) -> Report:
    """Show the importance of each factor, the greatest first, with what each of its levels does."""
    rows = [
        _level_row(factor, level, first=place == 0)
        for factor in found.factors
        for place, level in enumerate(factor.levels)
    ]
    table = Table(
        name="levels",
        title=f"importance of each factor: {found.networks:,} networks with results, "
        f"{form('.0f')(_spread(found.front))} of them on a front, as simulated",
        columns=_LEVELS,
        rows=tuple(rows),
        data=tuple(as_rows(found)),
        about={"lift": "over-representation: share on the front against share of all"},
        breaks=frozenset(at for at, row in enumerate(rows) if row["head"] and at),
    )
    forks = [
        Fork(name=factor.name, mean=factor.importance.mean, interval=factor.importance.interval)
        for factor in found.factors
    ]
    apart = [factor.name for factor in found.factors if not factor.exchanged]
    lost = (
        f"no effect on accuracy and FLOPs of {', '.join(apart)}: the networks cannot be made from "
        "their texts with another level"
    )
    unclear = all(fork.interval[0] <= 0 for fork in forks if fork.interval)
    doubt = "all intervals of importance contain 0: no factor stands out by these results"
    notes = [doubt] * bool(forks and unclear) + [*_IMPORTANCE]
    notes += [_CHOSEN] * found.chosen + [lost] * bool(apart)
    figure = fork_figure(
        "importance", "Importance with 95 % intervals", "importance, bits", forks, origin=0.0
    )
    return Report(
        title=f"{found.name}: {found.title}",
        tables=(table,),
        figures=(figure,),
        notes=tuple(note.replace("accuracy", found.metric.title) for note in notes),
        facts={
            "study": found.name,
            "others": list(found.others),
            "networks": found.networks,
            "front": found.front.mean,
            "front_low": found.front.interval[0],
            "front_high": found.front.interval[1],
        },
    )


def _level_row(factor: FactorImportance, level: Level, *, first: bool) -> Mapping[str, Any]:
    return {
        "head": factor.name if first else "",
        "bits": _spread(factor.importance) if first else None,
        "level": level.name,
        "networks": level.networks,
        "share": level.share,
        "on_front": _spread(level.on_front),
        "lift": _spread(level.lift),
        "accuracy": _spread(level.accuracy),
        "times": "" if level.flops is None else f"× {10**level.flops:.2f}",
    }


def _spread(estimate: Estimate | None) -> tuple[float, float, float] | None:
    return None if estimate is None else (estimate.mean, *estimate.interval)


# ---- the test set

_TESTED = (
    Column(name="searched", label="expected in the search", unit="%", form=form(".2f")),
    Column(name="accuracy", label="test accuracy", unit="%", form=form(".2f")),
    Column(name="interval", label="95 % interval", unit="%", form=form(".2f")),
    Column(name="count", label="seeds", priority=_ROOM),
    Column(name="flops", label="FLOPs"),
    Column(name="params"),
    Column(name="origin", label="from", left=True, priority=_ROOM),
    Column(name="shown", label="network", left=True),
)


def test_report(found: "Final") -> Report:
    """Show how the front of a study did on the test set, beside what the search had expected."""
    words = [row.text.split() for row in found.rows]
    alike = shared_words(words)
    shared = " ".join(words[0][:alike]) if words else ""
    data = [vars(row) | {"failures": [run.ending for run in row.failures]} for row in found.rows]
    rows = []
    for row, record, own in zip(found.rows, data, words, strict=True):
        failed = f" ({'; '.join(map(str, row.failures))})" if row.failures else ""
        count = f"{len(row.accuracies)}{failed}"
        rows.append(record | {"shown": " ".join(own[alike:]), "count": count})
    forks = [
        Fork(
            name=f"{row.origin}, {short(row.flops)} FLOPs",
            mean=row.accuracy,
            interval=row.interval,
            points=row.accuracies,
            beside=row.searched,
        )
        for row in found.rows
    ]
    figure = fork_figure(
        "test",
        "Accuracy on the test set with 95 % intervals, and what the search expected",
        "accuracy, %",
        forks,
        beside="expected in the search",
    )
    when = f"tested on {found.date[:10]}{', and not again now' if found.again else ''}"
    return Report(
        title=found.title,
        tables=(Table(name="rows", title=when, columns=_TESTED, rows=tuple(rows), data=data),),
        figures=(figure,),
        notes=(
            *([f"all: {shared}"] if shared else []),
            "95 % interval: of the mean over the seeds, each by itself",
            f"expected in the search: {found.sought.title}, by its model when the front was "
            f"written down; {found.searched}",
        ),
        facts={"date": found.date, "again": found.again, "searched": found.searched},
    )
