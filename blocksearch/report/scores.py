"""Reports scores that others measured, as a table of comparisons."""

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from blocksearch.ablation.stats import Verdict
from blocksearch.report.comparisons import COLORS, interval_text, p_text
from blocksearch.report.figure import Figure, Fork, fork_figure
from blocksearch.report.notes import (
    collapse_remark,
    counted,
    elsewhere_note,
    few_seeds_note,
    moderation_note,
    undecided_needs,
    units_note,
    unseen_note,
)
from blocksearch.report.table import Column, Priority, Report, Table, form

if TYPE_CHECKING:  # only to describe arguments: its module loads scipy
    from blocksearch.ablation.scores import ScoreAnswer, ScoreResult

_MOST = 5  # seeds that are named one by one
_COLUMNS = (
    Column(name="treatment", left=True),
    Column(name="n", label="seeds"),
    Column(name="score", form=form(".4g")),
    Column(name="difference", form=form("+.3g")),
    Column(name="interval", form=partial(interval_text, spec="+.3g")),
    Column(name="p_value", label="p (Holm)", form=p_text),
    Column(name="outcome", label="verdict", left=True),
    Column(name="other_groups", label="on other groups", left=True),
    Column(name="p_sign_flip", label="sign-flip p", form=p_text, priority=Priority.WIDE),
)


def scores_report(name: str, answer: "ScoreAnswer") -> Report:
    """Show each treatment's difference from the reference, a table for each task."""
    from blocksearch.ablation.images import GROUPS  # not before its numbers are there

    records = answer.records()
    rows = [
        {
            **record,
            "task": f"task {each.task}" if each.task else "",
            "interval": each.comparison and each.comparison.interval,
            "outcome": _outcome(each, _widest(answer)),
        }
        for each, record in zip(answer.results, records, strict=True)
    ]
    table = Table(
        name="comparisons",
        columns=_COLUMNS,
        rows=tuple(rows),
        data=tuple(records),
        grouped="task",
        notes=tuple(_notes(answer, GROUPS)),
    )
    return Report(
        title=f"{name}: treatments against {answer.results[0].reference}",
        tables=(table,),
        figures=(_effects(answer.results),),
        facts={
            "margin": answer.margin,
            "fractions": answer.fractions,
            "groups_needed": GROUPS,
            "look": answer.look,
            "ignored_columns": list(answer.ignored),
        },
    )


def _effects(results: "Sequence[ScoreResult]") -> Figure:
    forks = [
        Fork(
            name=" ".join(filter(None, (each.task, each.treatment))),
            mean=own.difference,
            interval=own.interval,
            points=own.differences,
            kind=str(own.verdict),
            color=COLORS[own.verdict],
        )
        for each in results
        if (own := each.comparison)
    ]
    title = f"Difference from {results[0].reference} with its interval, and every seed"
    return fork_figure("effects", title, "difference in score", forks, origin=0.0, spec=".3g")


def _widest(answer: "ScoreAnswer") -> float:
    """Return the largest difference that scores in percent, or fractions, have; of others none."""
    scores = [score for each in answer.results for score in each.scores.values()]
    most = 1 if answer.fractions else 100
    return most if min(scores) >= 0 and max(scores) <= most else math.inf


def _outcome(result: "ScoreResult", most: float) -> str:
    """Write the verdict, what it lacks, and which runs it is not about."""
    own = result.comparison
    verdict = "reference" if own is None else str(own.verdict)
    if own and own.verdict is Verdict.WITHIN:
        verdict = f"{verdict} ±{own.margin:g}"
    remarks = [
        *undecided_needs(own, "have", most),
        *_alone(result.only_reference, result.reference),
        *_alone(result.only_treatment, result.treatment),
        *collapse_remark(result.collapsed, result.scores, "{:.4g}".format),
    ]
    return f"{verdict} ({'; '.join(remarks)})" if remarks else verdict


def _alone(seeds: "Sequence[int | str]", treatment: str) -> list[str]:
    if not seeds:
        return []
    shown = ", ".join(map(str, seeds[:_MOST]))
    more = f" and {len(seeds) - _MOST} more" if len(seeds) > _MOST else ""
    return [f"{treatment} alone has seed{'s' * (len(seeds) > 1)} {shown}{more}"]


def _notes(answer: "ScoreAnswer", needed: int) -> list[str]:
    """Say how the numbers are to be read, and what they cannot say."""
    compared = answer.comparisons
    lost = "verdicts are about the seeds that both have; lost runs are not missing at random"
    unpaired = any(each.only_reference or each.only_treatment for each in answer.results)
    ignored = f"columns that are not used: {', '.join(answer.ignored)}"
    return [
        units_note(compared, "in the units of the scores, over the paired seeds"),
        *few_seeds_note(compared),
        _margin(answer),
        *moderation_note(compared),
        *elsewhere_note([each.elsewhere for each in answer.results], "groups"),
        *_few_groups(answer, needed),
        *unseen_note(compared, "treatment"),
        *([lost] if unpaired else []),
        *([ignored] if answer.ignored else []),
        _look(answer),
    ]


def _margin(answer: "ScoreAnswer") -> str:
    said = f"scores within ±{answer.margin:g} of each other count as equal"
    said += ", as chosen" if answer.chosen else ""
    if not answer.fractions:
        return said
    least = min(score for each in answer.results for score in each.scores.values())
    span = "0..1" if least >= 0 else "-1..1"
    return f"all scores lie in {span} and are read as fractions, so 0.01 is one point; {said}"


def _few_groups(answer: "ScoreAnswer", needed: int) -> list[str]:
    """Say of which tasks the groups are too few, if any were given."""
    few = {each.task: each.groups for each in answer.results if 0 < each.groups < needed}
    return [
        (f"task {task}: " if task else "")
        + f"{count} group{' is' if count == 1 else 's are'} too few for an interval over other "
        f"groups, which needs {needed}; verdicts are about these groups"
        for task, count in few.items()
    ]


def _look(answer: "ScoreAnswer") -> str:
    if answer.look == 1:
        return "a first look; if scores are added after it, the next answer is another look"
    named = [
        (f"{each.treatment} ({each.task})" if each.task else each.treatment, each.comparison)
        for each in answer.results
    ]
    return f"look {answer.look} at these scores; {counted(answer.look, named)}"
