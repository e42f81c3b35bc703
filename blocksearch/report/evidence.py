"""Measured answers as terminal tables: ablations, and tables of the paper beside what was measured."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from blocksearch.paper.tables import printed
from blocksearch.report.pages import titled

if TYPE_CHECKING:  # only to describe arguments: their modules load scipy
    from blocksearch.ablation.stats import Effect
    from blocksearch.ablation.study import Result
    from blocksearch.paper.reproduce import Table as Published

UNITS = (
    "difference: percentage points over the paired seeds, "
    "with intervals that are simultaneous (95 %) over all comparisons here"
)
PAPER = "paper, by section"  # heads what the paper claims and what becomes of it


def published_tables(found: "Published") -> list[Table]:
    """Draw `published_parts` under the title, the notes at the end."""
    tables = published_parts(found)
    tables[0].title = found.title
    return _noted(tables, [*published_notes(found), *found.notes])


def published_parts(found: "Published") -> list[Table]:
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
        failed = f" ({'; '.join(row.failures)})" if row.failures else ""
        table.add_row(
            row.label,
            f"{row.published_accuracy:.2f}",
            "–" if row.accuracy is None else f"{row.accuracy:.2f}",
            interval,
            f"{len(row.accuracies)}{failed}",
            row.published_flops,
            printed(row.flops, row.published_flops),
            f"{row.published_factor:.2f}",
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
    for judged in found.judged:
        verdict = _verdict(judged.effect.verdict, judged.effect, [])
        measured = (
            str(judged.effect.n),
            *_effect(judged.effect),
            verdict,
            _by_section(judged.claims),
        )
        compared.add_row(judged.network, judged.reference, *measured)
    for column in compared.columns[-2:]:
        column.justify = "left"
    return [table, compared] if found.judged else [table]


def published_notes(found: "Published") -> list[str]:
    """Say what a table's numbers are, and how far its order is the paper's, where both have one."""
    units = [f"95 % interval: of the mean over seeds; {UNITS}"] if found.judged else []
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


def ablation_tables(
    title: str, results: "Sequence[Result]", notes: Sequence[str] = ()
) -> list[Table]:
    """Draw effects in percentage points beside their cost: a table for each given value, and for
    what the effects differ by.

    Intervals are simultaneous over all of them; `notes` stand at the end.
    """
    tables = ablation_parts(results)
    tables[0].title = "\n\n".join(part for part in (title, str(tables[0].title or "")) if part)
    return _noted(tables, [*ablation_notes(results), *notes])


def ablation_parts(results: "Sequence[Result]") -> list[Table]:
    """Draw the tables of an ablation, each under what was given."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.variant.given, []).append(result)
    return [_ablation_table(given, own) for given, own in groups.items()]


def ablation_notes(results: "Sequence[Result]") -> list[str]:
    """Say what the numbers of an ablation are, and how small a sign flip's p can be at all, where
    there is one.
    """
    least = {
        e.n: e.p_sign_flip_smallest
        for result in results
        if (e := result.effect) and e.p_sign_flip_smallest is not None
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


def _ablation_table(given: str, results: "Sequence[Result]") -> Table:
    claimed = any(result.claims for result in results)
    apart = any(result.variant.beside for result in results)
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
        "floats",
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
            "" if result.variant.beside else _mean(list(result.accuracies.values())),
            *_effect(result.effect),
            *_price(result),
            _verdict(
                result.verdict,
                result.effect,
                [
                    *([result.variant.rule] if result.variant.rule else []),
                    *_failures(result.failures),
                ],
            ),
            *([_by_section(result.claims)] if claimed else []),
        )
    return table


def _effect(effect: "Effect | None") -> tuple[str, str, str, str]:
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


def _price(result: "Result") -> list[str]:
    """Write FLOPs, parameters and floats out of convolutions: a reference's own, of others the
    share more or less.
    """
    if result.cost is None:
        return ["", "", ""]
    own, base = ([price.flops, price.params, price.floats] for price in (result.cost, result.base))
    if result.variant.is_reference:
        return [f"{value:,}" for value in own]
    return [f"{value / reference - 1:+.1%}" for value, reference in zip(own, base, strict=True)]


def _verdict(verdict: str, effect: "Effect | None", notes: Sequence[str]) -> str:
    """Write a verdict; where there is none, how many seeds to plan for."""
    needs = []
    if verdict == "undecided" and effect and effect.n < 2:
        needs = ["a comparison needs two seeds that both complete"]
    elif verdict == "undecided" and effect:
        needs = [
            f"about {effect.seeds_to_decide} seeds"
            if effect.seeds_to_decide
            else "more than 1,000 seeds"
        ]
        needs += ["no interval: the seeds have no spread"] if effect.interval is None else []
    said = [*needs, *notes]
    return f"{verdict} ({'; '.join(said)})" if said else verdict


def _by_section(claims: Sequence[str]) -> str:
    return "\n".join(claim.removeprefix("Section ") for claim in claims)


def _failures(failures: Mapping[int, str]) -> list[str]:
    """Say what became of seeds that did not complete, and once where it was the same for several."""
    reasons: dict[str, list[int]] = {}
    for seed, reason in failures.items():
        reasons.setdefault(
            re.sub(r" at step .*", "", reason) if len(failures) > 2 else reason, []
        ).append(seed)
    return [
        f"seed{'s' * (len(s) > 1)} {','.join(map(str, s))} {reason}"
        for reason, s in reasons.items()
    ]


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.2f}" if values else "–"
