"""Reports ablations, and the paper's tables beside what was measured."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from blocksearch.ablation.stats import Verdict
from blocksearch.report.figure import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    Figure,
    Fork,
    beside_cost,
    by_epoch,
    fork_figure,
)
from blocksearch.report.notes import (
    collapse_remark,
    column_notes,
    comparison_notes,
    few_seeds_note,
    looks,
    looks_notes,
    undecided_needs,
    units_note,
)
from blocksearch.report.table import Column, Priority, Report, Row, Table, called_by, form

if TYPE_CHECKING:  # only to describe arguments: their modules load scipy
    from blocksearch.ablation.results import Statement, VariantResult
    from blocksearch.ablation.study import Ablation
    from blocksearch.paper.reproduce import Measured, PaperTable
    from blocksearch.runs.records import Run

_PRICES = {"flops": "FLOPs", "params": "params", "activations": "activations"}
_POINTS = dict.fromkeys(
    (
        *("difference", "interval_low", "interval_high", "margin", "error", "smallest_effect"),
        *("error_images", "images_interval_low", "images_interval_high"),
    ),
    "points",
)
_PERCENT = dict.fromkeys(("accuracy", "accuracies", "interval_low", "interval_high"), "%")
COLORS = {  # told apart without red and green alone; undecided ones are grey
    Verdict.HELPS: BLUE,
    Verdict.HIGHER: BLUE,
    Verdict.HURTS: ORANGE,
    Verdict.LOWER: ORANGE,
    Verdict.WITHIN: GREEN,
    Verdict.UNDECIDED: GREY,
}
_ROOM, _WIDE = Priority.ROOM, Priority.WIDE


def p_text(value: float | None) -> str:
    """Write a p-value."""
    if value is None:
        return ""
    return f"{value:.3f}" if value >= 0.001 else "<0.001"


def interval_text(value: tuple[float, float] | None, spec: str = "+.2f") -> str:
    """Write an interval; an end at exactly zero is open, because Holm's test excludes zero."""
    if value is None:
        return ""
    low, high = value
    left = "(0" if low == 0 < high else f"[{low:{spec}}"
    right = "0)" if high == 0 > low else f"{high:{spec}}]"
    return f"{left}, {right}"


def _each_text(own: Sequence[float] | None) -> str:
    return ", ".join(f"{each:+.2f}" for each in own or ())


_EFFECT = (
    Column(name="difference", unit="points", form=form("+.2f")),
    Column(name="interval", unit="points", form=interval_text),
    Column(name="p_value", label="p (Holm)", form=p_text, priority=_ROOM),
    Column(name="outcome", label="verdict", left=True),
    Column(name="other_images", label="other images", left=True, priority=_ROOM),
    Column(name="claimed", label="paper, by section", left=True, priority=_ROOM),
    Column(
        name="images_interval",
        label="interval on other images",
        unit="points",
        form=interval_text,
        priority=_WIDE,
    ),
    Column(name="p_sign_flip", label="sign-flip p", form=p_text, priority=_WIDE),
    Column(name="differences_by_split", label="on each split", form=_each_text, priority=_WIDE),
)
_ABLATION = (
    Column(name="factor", left=True),
    Column(name="shown", label="value", left=True),
    Column(name="n", label="seeds", priority=_ROOM),
    Column(name="accuracy", unit="%", form=form(".2f"), priority=_ROOM),
    *_EFFECT,
    *(
        Column(
            name=f"{name}_change",
            label=f"{label} change",
            form=form("+.1%"),
            priority=_ROOM if name == "flops" else _WIDE,
        )
        for name, label in _PRICES.items()
    ),
    *(Column(name=name, label=label, priority=_WIDE) for name, label in _PRICES.items()),
)


def ablation_report(answer: "Ablation") -> Report:
    """Show effects in percentage points, a row for each variant, references before theirs.

    Intervals are simultaneous over all rows.
    """
    results, records = answer.results, answer.records()
    table = Table(
        name="comparisons",
        columns=_ABLATION,
        rows=tuple(map(_ablation_row, results, records)),
        data=tuple(records),
        units=_PERCENT | _POINTS,
        grouped="given",
        about=column_notes(results),
        notes=(*comparison_notes(results), *looks_notes(answer.asked, results), *answer.notes),
    )
    figures = (_effects(results), _costs(results), _curves(results))
    return Report(title=answer.title, tables=(table,), figures=figures, facts=looks(answer.asked))


def _ablation_row(result: "VariantResult", record: Row) -> dict[str, Any]:
    variant, given = result.variant, result.variant.given
    changes = {
        f"{name}_change": record[f"{name}_difference"] / getattr(result.reference_cost, name)
        for name in _PRICES
        if record[name] is not None and not variant.is_reference
    }
    apart = variant.is_interaction
    return {
        **record,
        **changes,
        "given": f"how far the effects differ, {given}" if apart else given and f"given {given}",
        "shown": variant.shown,
        **_outcome(
            result,
            [
                *filter(None, [variant.rule]),
                *_failures(result.failed),
                *collapse_remark(() if apart else record["collapsed"], result.accuracies),
            ],
        ),
    }


def verdict_of(result: "VariantResult") -> str:
    """Write what a row says: its verdict, or why it has none."""
    if (own := result.comparison) is None:
        return str(result.absence or result.variant.role)
    return f"{own.verdict} ±{own.margin:g}" if own.verdict is Verdict.WITHIN else str(own.verdict)


def _outcome(result: "VariantResult", remarks: Sequence[str] = ()) -> dict[str, Any]:
    """Write an interval and a verdict, or what it lacks."""
    own = result.comparison
    said = "; ".join([*undecided_needs(own), *remarks])
    return {
        "interval": own and own.interval,
        "images_interval": result.elsewhere and result.elsewhere.interval,
        "outcome": f"{verdict_of(result)} ({said})" if said else verdict_of(result),
        "claimed": _by_section(result.statements),
    }


def _by_section(statements: "Sequence[Statement]") -> str | None:
    return "\n".join(f"{own.section}: {own.text}, {own.agreement}" for own in statements) or None


def _failures(failed: "Sequence[Run]") -> list[str]:
    """Say what became of seeds that did not complete; of more than two, by state alone."""
    if len(failed) <= 2:
        return list(map(str, failed))
    states: dict[str, list[str]] = {}
    for run in failed:
        states.setdefault(run.state, []).append(str(run.key.seed))
    return [f"seeds {','.join(seeds)} {state}" for state, seeds in states.items()]


def _effects(results: "Sequence[VariantResult]") -> Figure:
    forks = [
        Fork(
            name=_name(result),
            mean=own.difference,
            interval=own.interval,
            points=own.differences,
            kind=verdict_of(result),
            color=COLORS[own.verdict],
        )
        for result in results
        if (own := result.comparison) and own.difference is not None
    ]
    return fork_figure(
        "effects",
        "Effect on accuracy with its simultaneous 95 % interval, and every seed",
        "difference in accuracy, points",
        forks,
        origin=0.0,
    )


def _costs(results: "Sequence[VariantResult]") -> Figure:
    return beside_cost(
        [
            (_name(result), result.cost.flops, list(result.accuracies.values()))
            for result in results
            if result.cost and result.accuracies
        ]
    )


def _curves(results: "Sequence[VariantResult]") -> Figure:
    curves = {
        _name(result): [curve for seed, curve in result.curves.items() if seed in result.accuracies]
        for result in results
        if result.curves
    }
    return by_epoch("Accuracy after each epoch, mean over seeds", "accuracy, %", curves)


def _name(result: "VariantResult") -> str:
    variant = result.variant
    return " ".join(filter(None, (variant.given, variant.factor, variant.shown)))


# ---- the paper's tables

_PAPER = (
    Column(name="label", label="network", left=True),
    Column(name="published_accuracy", label="paper", unit="%", form=form(".2f")),
    Column(name="accuracy", label="here", unit="%", form=form(".2f")),
    Column(name="interval", label="95 % interval", unit="%", form=form(".2f")),
    Column(name="count", label="seeds"),
    Column(name="published_flops_printed", label="paper, FLOPs", priority=_ROOM),
    Column(name="flops_printed", label="here, FLOPs", priority=_ROOM),
    Column(
        name="published_factor", label="paper, relative FLOPs", form=form(".2f"), priority=_WIDE
    ),
    Column(name="factor", label="here, relative FLOPs", form=form(".2f"), priority=_WIDE),
)


def paper_report(found: "PaperTable") -> Report:
    """Put a table of the paper beside its reproduction, and its networks against each other."""
    records = found.records()
    tables = [
        Table(
            name="networks",
            columns=_PAPER,
            rows=tuple(map(_measured_row, found.rows, records)),
            data=tuple(records),
            units=_PERCENT | {"published_accuracy": "%"},
        ),
        *([_compared(found)] if found.compared else []),
    ]
    losses = {row.label: row.losses for row in found.rows}
    points = [
        (row.label, row.flops, list(row.accuracies.values()))
        for row in found.rows
        if row.accuracies
    ]
    # How a network learnt is seen in its losses: test images judge once, after the last epoch.
    learnt = by_epoch("Training loss in each epoch, mean over seeds", "loss", losses)
    differences = [own.comparison for own in found.compared if own.comparison]
    units = f"95 % interval: of the mean over seeds, each by itself; {units_note(differences)}"
    correlation, p = found.order or (None, None)
    by_flops, _ = found.order_by_flops or (None, None)
    return Report(
        title=found.title,
        tables=tuple(tables),
        figures=(_accuracies(found.rows), beside_cost(points), learnt),
        notes=(
            *([units] if found.compared else []),
            *few_seeds_note(differences),
            *_order(found),
            *looks_notes(found.asked, found.compared),
            *found.notes,
        ),
        facts={
            "rank_correlation": correlation,
            "rank_correlation_p": p,
            "rank_correlation_of_flops": by_flops,
            **looks(found.asked),
        },
    )


def _compared(found: "PaperTable") -> Table:
    """List its networks against each other, named as in the table itself."""
    names = {row.name: row.label for row in found.rows}
    called = [
        Column(name=key, label=head, left=True, form=called_by(names))
        for key, head in (("value", "network"), ("reference", "against"))
    ]
    records = [own.record(found.asked) for own in found.compared]
    return Table(
        name="comparisons",
        columns=(*called, Column(name="n", label="seeds", priority=_ROOM), *_EFFECT),
        rows=tuple(
            record | _outcome(own) for own, record in zip(found.compared, records, strict=True)
        ),
        data=tuple(records),
        units=_PERCENT | _POINTS,
    )


def _order(found: "PaperTable") -> list[str]:
    """Say how far the order is the paper's, and what FLOPs alone would give."""
    if found.order is None:
        return []
    said = "rank correlation of the accuracies, paper and here: {:+.2f} (p = {:.3f})"
    said = said.format(*found.order)
    if found.order_by_flops is not None:
        said += f"; of the paper's with FLOPs alone: {found.order_by_flops[0]:+.2f}"
    return [said, *([found.decisive] if found.decisive else [])]


def _measured_row(row: "Measured", record: Row) -> dict[str, Any]:
    failed = f" ({'; '.join(_failures(row.failed))})" if row.failed else ""
    return {**record, "interval": row.interval, "count": f"{len(row.accuracies)}{failed}"}


def _accuracies(rows: "Iterable[Measured]") -> Figure:
    forks = [
        Fork(
            name=row.label,
            mean=row.accuracy,
            interval=row.interval,
            points=list(row.accuracies.values()),
            beside=row.published.accuracy,
        )
        for row in rows
    ]
    return fork_figure(
        "accuracies",
        "Accuracy on test images with 95 % intervals over seeds, every seed, and the paper's",
        "accuracy, %",
        forks,
        beside="paper",
    )
