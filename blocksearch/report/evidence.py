"""Measured answers as terminal tables: ablations, and tables of the paper beside what was measured."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from blocksearch.paper.tables import printed
from blocksearch.report.pages import titled

if TYPE_CHECKING:  # only to describe arguments: their modules load scipy
    from blocksearch.ablation.results import Ablation, Statement, VariantResult
    from blocksearch.ablation.stats import Comparison
    from blocksearch.paper.reproduce import PaperTable
    from blocksearch.runs.records import Run

UNITS = (
    "difference: percentage points over the paired seeds, "
    "with intervals that are simultaneous (95 %) over all comparisons here"
)
PAPER = "paper, by section"  # heads what the paper claims and what becomes of it


def published_tables(found: "PaperTable") -> list[Table]:
    """Draw `published_parts` under the title, the notes at the end."""
    tables = published_parts(found)
    tables[0].title = found.title
    return _noted(tables, [*published_notes(found), *found.notes])


def published_parts(found: "PaperTable") -> list[Table]:
    """Draw a table of the paper beside its reproduction, intervals 95 % over seeds; and its
    networks against each other.
    """
    columns = (
        "paper, %",
        "here, %",
        "95 % interval",
        "seeds",
        "paper, FLOPs",
        "here, FLOPs",
        "paper, factor",
        "here, factor",
    )
    table = titled("", "network", *columns)
    for row in found.rows:
        interval = "" if row.interval is None else "[{:.2f}, {:.2f}]".format(*row.interval)
        failed = f" ({'; '.join(_failures(row.failed))})" if row.failed else ""
        table.add_row(
            row.label,
            f"{row.published.accuracy:.2f}",
            "–" if row.accuracy is None else f"{row.accuracy:.2f}",
            interval,
            f"{len(row.accuracies)}{failed}",
            row.published.flops,
            printed(row.flops, row.published.flops),
            f"{row.published.factor:.2f}",
            f"{row.factor:.2f}",
        )
    compared = titled(
        "",
        "network",
        "against",
        "seeds",
        "difference",
        "interval",
        "p (Holm)",
        "sign flip",
        "verdict",
        PAPER,
        left=2,
    )
    for result in found.compared:
        measured = (
            str(len(result.accuracies)),
            *_effect(result.comparison),
            _verdict(result, []),
            _by_section(result.statements),
        )
        compared.add_row(result.variant.value, result.variant.reference_value, *measured)
    for column in compared.columns[-2:]:
        column.justify = "left"
    return [table, compared] if found.compared else [table]


def published_notes(found: "PaperTable") -> list[str]:
    """Say what a table's numbers are, and how far its order is the paper's, where both have one."""
    units = [f"95 % interval: of the mean over seeds; {UNITS}"] if found.compared else []
    if found.order is None:
        return units
    return [
        *units,
        "rank correlation of the accuracies, paper and here: {:+.2f} (p = {:.3f})".format(
            *found.order
        ),
    ]


def _noted(tables: list[Table], notes: Sequence[str]) -> list[Table]:
    tables[-1].caption, tables[-1].caption_justify = "\n".join(notes), "left"
    return tables


def ablation_tables(answer: "Ablation") -> list[Table]:
    """Draw effects in percentage points beside their cost: a table for each given value, and for
    what the effects differ by.

    Intervals are simultaneous over all of them; notes stand at the end.
    """
    tables = ablation_parts(answer.results)
    heads = (answer.title, str(tables[0].title or ""))
    tables[0].title = "\n\n".join(filter(None, heads))
    return _noted(tables, [*ablation_notes(answer.results), *answer.notes])


def ablation_parts(results: "Sequence[VariantResult]") -> list[Table]:
    """Draw the tables of an ablation, each under what was given."""
    groups: dict[str, list[VariantResult]] = {}
    for result in results:
        groups.setdefault(result.variant.given, []).append(result)
    return [_ablation_table(given, own) for given, own in groups.items()]


def ablation_notes(results: "Sequence[VariantResult]") -> list[str]:
    """Say what the numbers of an ablation are, and how small a sign flip's p can be at all, where
    there is one.
    """
    least = {
        own.n: own.p_sign_flip_smallest
        for result in results
        if (own := result.comparison) and own.p_sign_flip_smallest is not None
    }
    bounds = ", ".join(f"{p:.2g} at {n}" for n, p in sorted(least.items()))
    return (
        [
            UNITS,
            f"sign flip: exact p, unadjusted, whose least value by the number of seeds is {bounds}",
        ]
        if least
        else []
    )


def _ablation_table(given: str, results: "Sequence[VariantResult]") -> Table:
    claimed = any(result.statements for result in results)
    apart = any(result.variant.is_interaction for result in results)
    words = ["verdict", *([PAPER] if claimed else [])]
    table = titled(
        f"how far the effects differ: {given}" if apart else f"given {given}" if given else "",
        "factor",
        "value",
        "seeds",
        "accuracy %",
        "difference",
        "interval",
        "p (Holm)",
        "sign flip",
        "FLOPs",
        "params",
        "activations",
        *words,
        left=2,
    )
    for column in (*table.columns[:2], table.columns[5]):
        column.no_wrap = True  # a factor's name stays whole, its value, and an interval
    for column in table.columns[-len(words) :]:
        column.justify = "left"
    for result in results:
        table.add_row(
            result.variant.factor,
            result.variant.shown,
            f"{len(result.accuracies)}",
            "" if result.variant.is_interaction else _mean(list(result.accuracies.values())),
            *_effect(result.comparison),
            *_price(result),
            _verdict(result, [*filter(None, [result.variant.rule]), *_failures(result.failed)]),
            *([_by_section(result.statements)] if claimed else []),
        )
    return table


def _effect(effect: "Comparison | None") -> tuple[str, str, str, str]:
    if effect is None or effect.difference is None:
        return "", "", "", ""
    interval = "" if effect.interval is None else _interval(*effect.interval)
    return f"{effect.difference:+.2f}", interval, _p(effect.p_value), _p(effect.p_sign_flip)


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if value >= 0.001 else "<0.001"


def _interval(low: float, high: float) -> str:
    """Write an interval; an end at exactly zero is open, since Holm's test has excluded zero."""
    left, right = (
        ("(0" if low == 0 < high else f"[{low:+.2f}"),
        ("0)" if high == 0 > low else f"{high:+.2f}]"),
    )
    return f"{left}, {right}"


def _price(result: "VariantResult") -> list[str]:
    """Write FLOPs, parameters and floats out of convolutions: a reference's own, of others the
    share more or less.
    """
    if result.cost is None:
        return ["", "", ""]
    own, base = (
        [price.flops, price.params, price.activations]
        for price in (result.cost, result.reference_cost)
    )
    if result.variant.is_reference:
        return [f"{value:,}" for value in own]
    return [f"{value / reference - 1:+.1%}" for value, reference in zip(own, base, strict=True)]


def verdict_of(result: "VariantResult") -> str:
    """Write what a row says: its verdict, or why it has none."""
    if (own := result.comparison) is None:
        return str(result.absence or result.variant.role)
    return f"{own.verdict} ±{own.margin:g}" if own.verdict == "within" else str(own.verdict)


def _verdict(result: "VariantResult", remarks: Sequence[str]) -> str:
    """Write a verdict; if there is none yet, how many seeds to plan for."""
    needs, own = [], result.comparison
    if own and own.verdict == "undecided" and own.n < 2:
        needs = ["a comparison needs two seeds that both complete"]
    elif own and own.verdict == "undecided":
        least = f"about {own.seeds_to_decide}" if own.seeds_to_decide else "more than 1,000"
        needs = [f"{least} seeds"]
        needs += ["no interval: the seeds have no spread"] if own.interval is None else []
    said = [*needs, *remarks]
    return f"{verdict_of(result)} ({'; '.join(said)})" if said else verdict_of(result)


def _by_section(statements: "Sequence[Statement]") -> str:
    return "\n".join(f"{own.section}: {own.text}, {own.agreement}" for own in statements)


def _failures(failed: "Sequence[Run]") -> list[str]:
    """Say what became of seeds that did not complete; of more than two, by state alone."""
    if len(failed) <= 2:
        return [f"seed {run.key.seed} {run.state}: {run.reason}" for run in failed]
    states: dict[str, list[str]] = {}
    for run in failed:
        states.setdefault(run.state, []).append(str(run.key.seed))
    return [f"seeds {','.join(seeds)} {state}" for state, seeds in states.items()]


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.2f}" if values else "–"
