"""What a study found as tables: its front, and what its factors do; and the words and numbers that
its pictures share.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from blocksearch.arch.constraints import read_budget
from blocksearch.errors import ConfigError
from blocksearch.report.pages import titled
from blocksearch.search.importance import Effects, Estimate
from blocksearch.search.results import Axis, Entry, Summary

if TYPE_CHECKING:  # only to describe an argument: its module trains
    from blocksearch.search.evaluation import Final


def front_table(summary: Summary) -> Table:
    """Draw the front, by its first cost; under it, between what the hypervolume is measured, and
    what else must be said.
    """
    modelled = any(entry.interval for entry in summary.front)
    costs = list(dict.fromkeys(axis.name for axis in summary.costs))
    costs += [name for name in ("flops", "params") if modelled and name not in costs]
    shared, texts = split_texts([entry.text for entry in summary.front])
    first = summary.axes[0]
    ours = ("95 % interval", "measured", "seeds") if modelled else ()
    head = (
        f"{first.name},{first.unit}" if first.unit else first.name,
        *ours,
        *costs,
        *(["× baseline"] if modelled else []),
    )
    table = titled(
        f"{summary.name}: {summary.title}\n{counted(summary)}",
        "network",
        *(["from"] if modelled else []),
        *head,
    )
    table.columns[1].justify = "left" if modelled else "right"
    for entry, text in zip(summary.front, texts, strict=True):
        table.add_row(
            text,
            *([entry.origin] if modelled else []),
            amount(entry.mean),
            *(
                [
                    f"[{entry.interval[0]:.2f}, {entry.interval[1]:.2f}]",
                    _measured(entry),
                    seeds(entry),
                ]
                if entry.interval
                else []
            ),
            *(amount(entry.costs[name]) for name in costs),
            *([f"{entry.factor:.2f}"] if entry.factor is not None else []),
        )
    table.caption_justify = "left"
    table.caption = "\n".join([*([f"all: {shared}"] if shared else []), *explained(summary)])
    return table


def effects_table(effects: Effects) -> Table:
    """Draw factors, the most important first, with what each of their levels does."""
    title = (
        f"{effects.name}: {effects.title}\nwhat puts a network on the front: {effects.networks:,} networks with results, "
        f"{_spread(effects.front, '.0f')} of them on fronts of drawn accuracies"
    )
    columns = (
        "bits",
        "level",
        "networks",
        "share of all",
        "on the front",
        "lift",
        "accuracy, points",
        "FLOPs",
    )
    table = titled(title, "factor", *columns)
    table.columns[2].justify = "left"
    for factor in effects.factors:
        for place, level in enumerate(factor.levels):
            last = place == len(factor.levels) - 1
            table.add_row(
                *((factor.name, _spread(factor.importance, "+.2f")) if place == 0 else ("", "")),
                level.name,
                f"{level.networks:,}",
                *([f"{level.share:.0%}"] if level.networks else [""]),
                _spread(level.on_front, ".0%"),
                _spread(level.lift, ".2f"),
                _spread(level.accuracy, "+.2f"),
                "" if level.flops is None else f"× {10**level.flops:.2f}",
                end_section=last,
            )
    table.caption_justify = "left"
    table.caption = (
        "bits: how far the levels on the front are from those of all networks, less what as many networks chosen by chance give; "
        "0 is no importance\nlift: share on the front against share of all\naccuracy: by the search's model, against the mean "
        "over the factor's levels, costs changing with the level; FLOPs: by an additive fit to the exact ones\n"
        "95 % intervals over fronts of drawn accuracies, each network's drawn by itself; levels that the search favoured are "
        "more often among all networks, too"
    )
    return table


def final_table(found: "Final") -> Table:
    """Draw what the test images said of a study's front, beside what the search had believed."""
    when = f"tested on {found.date[:10]}{', and not again now' if found.again else ''}"
    columns = ("FLOPs", "params", "searched, %", "test, %", "95 % interval", "seeds")
    table = titled(f"{found.title}; {when}", "network", "from", *columns, left=2)
    shared, texts = split_texts([row.text for row in found.rows])
    for row, text in zip(found.rows, texts, strict=True):
        table.add_row(
            text,
            row.origin,
            amount(row.flops),
            amount(row.params),
            f"{row.searched:.2f}",
            "" if row.accuracy is None else f"{row.accuracy:.2f}",
            "" if row.interval is None else "[{:.2f}, {:.2f}]".format(*row.interval),
            str(len(row.accuracies)) + (f" ({'; '.join(row.failures)})" if row.failures else ""),
        )
    table.caption_justify = "left"
    alike = [f"all: {shared}"] if shared else []
    table.caption = "\n".join(
        [
            *alike,
            f"searched: what the model expected when the front was written down; {found.searched}",
        ]
    )
    return table


def other_studies(name: str, others: Sequence[str]) -> str:
    """Say which study is shown where a file has several."""
    return f"study {name} of {len(others) + 1}; --name shows another: {', '.join(others)}"


def counted(summary: Summary) -> str:
    """Say how many networks and runs a study has, and its hypervolume."""
    runs = sum(len(entry.accuracies) + entry.early + entry.failures for entry in summary.entries)
    ours = (
        f"{len(summary.entries):,} networks, {runs:,} runs"
        if runs
        else f"{len(summary.entries):,} trials"
    )
    return f"{ours}; {len(summary.front):,} on the front; hypervolume {summary.volume:.4f}"


def explained(summary: Summary) -> list[str]:
    """Say what the numbers are: accuracies, the hypervolume, and what else must be said."""
    model = [
        f"{summary.axes[0].name}, with its interval: what a model of all results expects, which draws a network towards what its "
        "factors let expect; measured: the mean over its own seeds"
    ]
    modelled = any(entry.interval for entry in summary.known)
    return [
        *(model if modelled else []),
        f"hypervolume: share of the box dominated; {summary.frame}",
        *summary.notes,
    ]


def _measured(entry: Entry) -> str:
    return amount(sum(entry.accuracies) / len(entry.accuracies)) if entry.accuracies else ""


def written(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Write numbers with the digits that mean something, for a file."""
    return [{key: _written(value) for key, value in row.items()} for row in rows]


def _written(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else value


def seeds(entry: Entry) -> str:
    """Count the seeds of a network, and those that were stopped early."""
    return f"{len(entry.accuracies)}" + (f" +{entry.early} early" if entry.early else "")


def amount(value: float | None) -> str:
    """Write a value exactly where it is a count, else to a few digits."""
    if value is None:
        return ""
    return (
        f"{value:,}"
        if isinstance(value, int)
        else f"{value:.2f}"
        if 10 <= abs(value) < 1e6
        else f"{value:.4g}"
    )


WORDS = {
    "flops": "FLOPs",
    "params": "parameters",
    "activations": "activations",
    "peak_activations": "peak activations",
}


def titled_axis(axis: Axis) -> str:
    """Write what an axis shows."""
    return f"{axis.name},{axis.unit}" if axis.unit else WORDS.get(axis.name, axis.name)


def short(value: float) -> str:
    """Write a cost as an axis or a label does: 35.6k, 1.2M."""
    for scale, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= scale:
            return f"{value / scale:.4g}{letter}"
    return f"{value:.4g}"


def is_logarithmic(summary: Summary, axis: Axis) -> bool:
    """Say whether an axis is drawn on a logarithmic scale: costs that are counts, or span more than
    a factor of ten.
    """
    values = [entry.costs[axis.name] for entry in summary.known]
    whole = all(isinstance(value, int) for value in values)
    return bool(values) and min(values) > 0 and (whole or max(values) > 10 * min(values))


def budget_lines(summary: Summary, cost: str) -> Iterator[tuple[float, str]]:
    """Return the bounds on a cost, with their texts; two FLOPs are a multiply-accumulate."""
    for text in summary.budgets:
        try:
            budget = read_budget(text)
        except ConfigError:  # stored by another version: its text is in the title
            continue
        if budget.quantity == cost or (budget.quantity == "macs" and cost == "flops"):
            yield budget.bound * (2 if budget.quantity == "macs" else 1), text


def split_texts(texts: Sequence[str]) -> tuple[str, list[str]]:
    """Take from texts the words before the first bracket that all of them begin with."""
    words = [text.split() for text in texts]
    alike = 0
    while (
        all(
            len(own) > alike + 1 and own[alike] == words[0][alike] and "[" not in own[alike]
            for own in words
        )
        and words[1:]
    ):
        alike += 1
    return " ".join(words[0][:alike]) if words else "", [" ".join(own[alike:]) for own in words]


def _spread(estimate: Estimate | None, form: str) -> str:
    if estimate is None:
        return ""
    low, high = estimate.interval
    return f"{estimate.mean:{form}} [{low:{form}}, {high:{form}}]"
