"""Finished answers as terminal tables. The one door to rich, with `progress`."""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.terminal_theme import DEFAULT_TERMINAL_THEME

from blocksearch.errors import UsageError
from blocksearch.experiments.published import FlopsCell, printed
from blocksearch.runs.execute import Plan
from blocksearch.space.cost import Cost
from blocksearch.space.network import Network
from blocksearch.space.notation import format_network
from blocksearch.views.flow import FlowRow

if TYPE_CHECKING:  # only to describe arguments: their modules load scipy
    from blocksearch.experiments.ablate import Result
    from blocksearch.experiments.reproduce import Table as Published
    from blocksearch.experiments.stats import Effect

PICTURE_WIDTH = 130
PAPER = "paper, by section"  # heads what the paper claims and what becomes of it
PLAIN_WIDTH = 180  # where the output is a file or a pipe, which has no width of its own


def console(*, stderr: bool = False) -> Console:
    """Open a terminal, or a wide plain page where the output is not one. Text from outside is never read as markup."""
    page = Console(stderr=stderr, markup=False, highlight=False)
    return page if page.is_terminal else Console(stderr=stderr, markup=False, highlight=False, width=PLAIN_WIDTH)


def answer(picture: Path | None, *tables: Table) -> None:
    """Print tables, and where a file is given save them there as SVG. Raises UsageError where it cannot be written."""
    console().print(*tables)
    if picture is not None:
        page = Console(record=True, file=io.StringIO(), width=PICTURE_WIDTH, markup=False, highlight=False)
        page.print(*tables)
        try:
            picture.write_text(page.export_svg(title="blocksearch", theme=DEFAULT_TERMINAL_THEME))
        except OSError as error:
            raise UsageError(f"{picture} cannot be written: {error.strerror}") from error


def titled(title: str, *columns: str, left: int = 1) -> Table:
    """Begin a table; the first `left` columns are texts."""
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right", overflow="fold")
    return table


def flow_table(network: Network, name: str, rows: Sequence[FlowRow], price: Cost) -> Table:
    """Draw the data flow as in the paper's Table 1, with a line under each stage and the totals at the end."""
    table = titled(f"{name}\n{format_network(network)}", "layer", "output", "MACs", "params", "floats out")
    for row, following in zip(rows, (*rows[1:], None), strict=True):
        ends = following is None or following.stage != row.stage
        table.add_row(row.label, str(row.output), _count(row.macs), _count(row.params), _count(row.floats_out), end_section=ends)
    table.add_row("total", "", _count(price.macs), _count(price.params), "")
    return table


def cost_table(network: Network, name: str, price: Cost) -> Table:
    """Draw what a network costs, with the convention."""
    table = titled(f"{name}\n{format_network(network)}", "cost of one image", "")
    for label, value in (
        ("MACs (convolutions and classifier)", price.macs),
        ("FLOPs (2 × MACs, as in the paper)", price.flops),
        ("parameters (with normalisation and bias)", price.params),
        ("peak activation, floats", price.peak_activation_floats),
    ):
        table.add_row(label, _count(value))
    table.add_row("floats out of each convolution", " ".join(map(_count, price.floats_out)))
    table.add_row("fingerprint", network.fingerprint)
    return table


def cost_row(name: str, network: Network, price: Cost) -> dict[str, object]:
    """Flatten a cost for `--json`."""
    return {
        "name": name,
        "text": format_network(network),
        "fingerprint": network.fingerprint,
        "macs": price.macs,
        "flops": price.flops,
        "params": price.params,
        "floats_out": list(price.floats_out),
        "peak_activation_floats": price.peak_activation_floats,
    }


def rows_table(title: str, rows: Sequence[Mapping[str, object]]) -> Table:
    """Draw rows that are already words and numbers; columns are the keys of the first, words to the left."""
    columns = list(rows[0]) if rows else ["nothing"]
    table = titled(title, *(column.replace("_", " ") for column in columns))
    for column, name in zip(table.columns, columns, strict=True):
        column.justify = "left" if rows and isinstance(rows[0][name], str) else "right"
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in columns))
    return table


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.2f}"
        case list() | tuple():
            return " ".join(map(_cell, value))
        case _:
            return str(value)


def flops_table(cells: Sequence[FlopsCell]) -> Table:
    """Draw published FLOPs beside computed ones."""
    table = titled(
        "FLOPs of Tables 2-7: published beside computed (2 × MACs of convolutions and classifier)",
        *("table", "dataset", "network", "published", "printed alike", "counted", "built network", "matches", "difference"),
        left=3,
    )
    for cell, following in zip(cells, (*cells[1:], None), strict=True):
        ends = following is None or following.table != cell.table
        if cell.flops is None or cell.flops_actual is None:
            table.add_row(
                str(cell.table), cell.dataset, cell.label, cell.published, "", "", "", "not specified", "", end_section=ends
            )
            continue
        difference = "" if cell.matches else f"{cell.difference:+,}"
        table.add_row(
            str(cell.table),
            cell.dataset,
            cell.label,
            cell.published,
            printed(cell.flops, cell.published),
            _count(cell.flops),
            _count(cell.flops_actual),
            "yes" if cell.matches else "no",
            difference,
            end_section=ends,
        )
    return table


def flops_summary(cells: Sequence[FlopsCell]) -> str:
    """Count distinct cells that match; Tables 5-7 repeat the baselines."""
    distinct = {(cell.dataset, cell.network): cell.matches for cell in cells if cell.matches is not None}
    return f"{sum(distinct.values())} of {len(distinct)} distinct cells match to the last printed digit"


def published_tables(found: "Published") -> list[Table]:
    """Draw a table of the paper beside its reproduction, intervals 95 % over seeds; and its networks against each other."""
    columns = ("paper, %", "here, %", "interval", "seeds", "paper, FLOPs", "here, FLOPs", "paper, factor", "here, factor")
    table = titled(found.title, "network", *columns)
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
        "", "network", "against", "seeds", "difference", "interval", "p (Holm)", "sign flip", "verdict", PAPER, left=2
    )
    for judged in found.judged:
        verdict = _verdict(judged.effect.verdict, judged.effect, [])
        measured = (str(judged.effect.n), *_effect(judged.effect), verdict, _by_section(judged.claims))
        compared.add_row(judged.network, judged.reference, *measured)
    for column in compared.columns[-2:]:
        column.justify = "left"
    tables = [table, compared] if found.judged else [table]
    return _noted(tables, [*order_text(found), *found.notes])


def order_text(found: "Published") -> list[str]:
    """Say how far a table's order is the paper's, where both have one."""
    if found.order is None:
        return []
    return ["rank correlation of the accuracies, paper and here: {:+.2f} (p = {:.3f})".format(*found.order)]


def _noted(tables: list[Table], notes: Sequence[str]) -> list[Table]:
    tables[-1].caption, tables[-1].caption_justify = "\n".join(notes), "left"
    return tables


def foreseen(title: str, plan: Plan, more: int = 0) -> str:
    """Say what a command would train, and how many runs `more` it adds at most where comparisons stay undecided."""
    runs = f"{len(plan.missing)} runs to train ({plan.known} already in the ledger)"
    later = f"; at most {more} more where comparisons stay undecided" if more else ""
    terms = plan.flops / 1e12
    work = f"{terms:,.0f}" if terms >= 100 else f"{terms:.3g}"
    return f"{title}: {runs}, {work} TFLOP forward and backward, about {duration(plan.seconds)}{later}"


def duration(seconds: float) -> str:
    """Write a time as a person would estimate it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def ablation_tables(title: str, results: "Sequence[Result]", notes: Sequence[str] = ()) -> list[Table]:
    """Draw effects in percentage points beside their cost: a table for each given value, and for what the effects differ by.

    Intervals are simultaneous over all of them; `notes` stand at the end.
    """
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.variant.given, []).append(result)
    tables = [_ablation_table(given, own) for given, own in groups.items()]
    tables[0].title = "\n\n".join(part for part in (title, str(tables[0].title or "")) if part)
    least = {e.n: e.p_sign_flip_smallest for result in results if (e := result.effect) and e.p_sign_flip_smallest is not None}
    bounds = ", ".join(f"{p:.2g} at {n}" for n, p in sorted(least.items()))
    flips = [f"sign flip: exact p, unadjusted, whose least value by the number of seeds is {bounds}"] if least else []
    return _noted(tables, [*flips, *notes])


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
                [*([result.variant.rule] if result.variant.rule else []), *_failures(result.failures)],
            ),
            *([_by_section(result.claims)] if claimed else []),
        )
    return table


def _effect(effect: "Effect | None") -> tuple[str, str, str, str]:
    if effect is None or effect.difference is None:
        return "", "", "", ""
    interval = "" if effect.interval is None else _interval(*effect.interval)
    p_value = "" if effect.p_value is None else f"{effect.p_value:.3f}"
    sign_flip = "" if effect.p_sign_flip is None else f"{effect.p_sign_flip:.3f}"
    return f"{effect.difference:+.2f}", interval, p_value, sign_flip


def _interval(low: float, high: float) -> str:
    """Write an interval; an end at exactly zero is open, since Holm's test has excluded zero."""
    left, right = ("(0" if low == 0 < high else f"[{low:+.2f}"), ("0)" if high == 0 > low else f"{high:+.2f}]")
    return f"{left}, {right}"


def _price(result: "Result") -> tuple[str, str]:
    price, base = result.cost, result.base
    if price is None:
        return "", ""
    if result.variant.is_reference:
        return f"{price.flops:,}", f"{price.params:,}"
    return f"{price.flops / base.flops - 1:+.1%}", f"{price.params / base.params - 1:+.1%}"


def _verdict(verdict: str, effect: "Effect | None", notes: Sequence[str]) -> str:
    """Write a verdict; where there is none, how many seeds to plan for."""
    needs = []
    if verdict == "undecided" and effect and effect.n < 2:
        needs = ["a comparison needs two seeds that both complete"]
    elif verdict == "undecided" and effect:
        needs = [f"about {effect.seeds_to_decide} seeds" if effect.seeds_to_decide else "more than 1,000 seeds"]
    said = [*needs, *notes]
    return f"{verdict} ({'; '.join(said)})" if said else verdict


def _by_section(claims: Sequence[str]) -> str:
    return "\n".join(claim.removeprefix("Section ") for claim in claims)


def _failures(failures: Mapping[int, str]) -> list[str]:
    """Say what became of seeds that did not complete, and once where it was the same for several."""
    reasons: dict[str, list[int]] = {}
    for seed, reason in failures.items():
        reasons.setdefault(re.sub(r" at step .*", "", reason) if len(failures) > 2 else reason, []).append(seed)
    return [f"seed{'s' * (len(s) > 1)} {','.join(map(str, s))} {reason}" for reason, s in reasons.items()]


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.2f}" if values else "–"


def _count(value: int) -> str:
    return f"{value:,}"
