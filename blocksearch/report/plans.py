"""Reports what an ablation would train, and how many seeds its comparisons would need."""

from dataclasses import replace
from typing import TYPE_CHECKING

from blocksearch.report.progress import plan_report
from blocksearch.report.table import Column, Report, Table, form

if TYPE_CHECKING:  # only to describe arguments: their modules load scipy
    from blocksearch.ablation.study import Foreseen


def foreseen_report(own: "Foreseen") -> Report:
    """Show a plan with the seeds that a new question of this family would need, by stored runs."""
    report = plan_report(own.title, own.plan, own.later)
    if not own.needed:
        return report
    columns = [
        Column(name="factor", left=True),
        Column(name="value", left=True),
        Column(name="given", left=True),
        Column(name="n", label="stored seeds"),
        Column(name="deviation", label="spread", unit="points", form=form(".2f")),
        Column(name="within", label=f"seeds for within ±{own.margin:g}", form=_count),
    ]
    if own.effect is not None:
        columns.insert(5, Column(name="range", label=f"seeds for ±{own.effect:g}"))
    rows = [
        {
            **vars(each),
            "given": each.given or None,
            "range": f"{_count(each.fewest)} to {_count(each.most)}",
        }
        for each in own.needed
    ]
    note = (
        "seeds: those of a new question with as many comparisons, with 80 % power; within: if the "
        "true difference is 0"
    )
    if own.effect is not None:
        note += "; a range has the 80 % limits of the spread"
    table = Table(
        name="needed",
        columns=tuple(columns),
        rows=tuple(rows),
        data=tuple(map(vars, own.needed)),
        notes=(note,),
    )
    return replace(report, tables=(table,), facts={**report.facts, "effect": own.effect})


def _count(seeds: int | None) -> str:
    return "over 1,000" if seeds is None else f"{seeds:,}"
