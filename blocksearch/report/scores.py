"""Scores that others measured, as a table of comparisons."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from blocksearch.report.comparisons import interval_text, p_text
from blocksearch.report.notes import SCORE_UNITS, moderation_note
from blocksearch.report.table import Column, Priority, Report, Table, form

if TYPE_CHECKING:  # only to describe arguments: its module loads scipy
    from blocksearch.ablation.scores import ScoreResult

_COLUMNS = (
    Column(name="treatment", left=True),
    Column(name="n", label="seeds"),
    Column(name="score", form=form(".4g")),
    Column(name="difference", form=form("+.3g")),
    Column(name="interval", form=lambda ends: interval_text(ends, "+.3g")),
    Column(name="p_value", label="p (Holm)", form=p_text),
    Column(name="outcome", label="verdict", left=True),
    Column(name="other_groups", label="on other groups", left=True),
    Column(name="p_sign_flip", label="sign-flip p", form=p_text, priority=Priority.WIDE),
)


def scores_report(name: str, results: "Sequence[ScoreResult]") -> Report:
    """Show each treatment's difference from the reference, a table for each task."""
    records = [each.record() for each in results]
    rows = [
        {
            **record,
            "task": f"task {each.task}" if each.task else "",
            "interval": each.comparison and each.comparison.interval,
            "outcome": _outcome(each),
        }
        for each, record in zip(results, records, strict=True)
    ]
    compared = [each.comparison for each in results if each.comparison]
    table = Table(
        name="comparisons",
        columns=_COLUMNS,
        rows=tuple(rows),
        data=tuple(records),
        grouped="task",
        notes=(SCORE_UNITS, *moderation_note(compared)),
    )
    reference = results[0].reference
    return Report(title=f"{name}: treatments against {reference}", tables=(table,))


def _outcome(result: "ScoreResult") -> str:
    own = result.comparison
    if own is None:
        return "reference"
    if own.n < 2:
        return f"{own.verdict} (a comparison needs two seeds that both have)"
    if own.verdict == "within":
        return f"{own.verdict} ±{own.margin:g}"
    if own.verdict == "undecided" and own.decides:
        return f"{own.verdict} ({own.n} seeds show ±{own.decides:.2g} or more)"
    return str(own.verdict)
