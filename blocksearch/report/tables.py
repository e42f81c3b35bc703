"""Answers that need no training, as reports: layers, costs, published FLOPs, spaces; and
lists of runs and of timings.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from blocksearch.arch.cost import Cost
from blocksearch.arch.network import Network
from blocksearch.arch.quantities import QUANTITIES
from blocksearch.arch.summary import LayerRow
from blocksearch.report.figure import by_epoch
from blocksearch.report.table import Column, Priority, Report, Row, Table, form, rows_table
from blocksearch.space.grammar import Grammar
from blocksearch.space.statistics import Survey

if TYPE_CHECKING:  # a neighbour, named in types alone
    from blocksearch.paper.tables import FlopsCell

_BAR = 40


def layers_report(name: str, network: Network, rows: Sequence[LayerRow], price: Cost) -> Report:
    """List a network's layers as the paper's Table 1 does, with totals and a legend."""
    found = tuple(row.record() | {"flops": 2 * row.macs} for row in rows)
    total = {"layer": "total", "macs": price.macs, "flops": price.flops, "params": price.params}
    columns = (
        Column(name="layer", left=True),
        Column(name="output", left=True),
        Column(name="macs", label="MACs"),
        Column(name="flops", label="FLOPs", priority=Priority.ROOM),
        Column(name="params"),
        Column(name="activations"),
    )
    starts = {at for at in range(1, len(rows)) if rows[at].stage != rows[at - 1].stage}
    table = Table(
        name="layers",
        columns=columns,
        rows=found,
        data=found,
        totals=(total,),
        breaks=frozenset(starts),
        notes=_legend(rows),
    )
    facts = _facts(name, network, price)
    return Report(title=_headed(name, network), tables=(table,), facts=facts, units=UNITS)


_LEGEND = {
    "gc": "gcN: convolution in N groups",
    "dw": "dw: depthwise convolution",
    "mp": "mp: max pooling",
    "ap": "ap: average pooling",
    "1d": "1d: along one axis only",
    "stride": "stride: strided convolution",
    "match": "match N: channels cut or padded with zeros to N",
    "shuffle": "shuffle: channels of groups mixed",
    "shortcut": "shortcut: what runs beside the block's body",
    "gate": "gate: what the body is multiplied with",
}


def _legend(rows: Sequence[LayerRow]) -> tuple[str, ...]:
    """Explain the abbreviations in the labels of rows, those that occur."""
    words = {
        word.rstrip("0123456789") if word.startswith("gc") else word
        for row in rows
        for word in row.label.split()
    }
    found = "; ".join(text for word, text in _LEGEND.items() if word in words)
    return (found,) if found else ()


def cost_report(name: str, network: Network, price: Cost) -> Report:
    """List what one image costs a network, with the convention of each count."""
    by = f"counted by torch in {network.skeleton.name}" if network.skeleton else "as in the paper"
    rows = [
        {
            "cost": QUANTITIES[name].label,
            "value": value,
            "meaning": QUANTITIES[name].meaning.format(by=by, bytes=4 * value),
        }
        for name, value in price.named().items()
    ]
    table = replace(rows_table("", rows), notes=(f"network id: {network.digest}",))
    facts = _facts(name, network, price)
    return Report(title=_headed(name, network), tables=(table,), facts=facts, units=UNITS)


def _headed(name: str, network: Network) -> str:
    text = str(network)
    return text if name == text else f"{name}\n{text}"


UNITS = {each.name: each.unit for each in QUANTITIES.values()}


def _facts(name: str, network: Network, price: Cost) -> dict[str, object]:
    return {
        "name": name,
        "text": str(network),
        "network_id": network.digest,
        **price.named(),
    }


def flops_report(cells: "Sequence[FlopsCell]") -> Report:
    """Put the paper's FLOPs beside the computed ones."""
    rows = [
        cell.record()
        | {
            "difference": cell.difference or None,
            "shown": "not specified" if cell.matches is None else ("no", "yes")[cell.matches],
        }
        for cell in cells
    ]
    columns = (
        Column(name="table"),
        Column(name="dataset", left=True, priority=Priority.ROOM),
        Column(name="label", label="network", left=True),
        Column(name="published", left=False),
        Column(name="rounded", label="rounded alike"),
        Column(name="flops", label="the paper's count", form=form(",")),
        Column(name="flops_actual", label="real network", priority=Priority.ROOM),
        Column(name="shown", label="matches", left=True),
        Column(name="difference", form=form("+,"), priority=Priority.ROOM),
    )
    breaks = {at for at in range(1, len(cells)) if cells[at].table != cells[at - 1].table}
    distinct = {(c.dataset, c.network): c.matches for c in cells if c.matches is not None}
    matching = sum(distinct.values())
    table = Table(
        name="cells",
        columns=columns,
        rows=tuple(rows),
        data=tuple(cell.record() for cell in cells),
        breaks=frozenset(breaks),
        notes=(f"{matching} of {len(distinct)} distinct cells match to the last printed digit",),
    )
    return Report(
        title="FLOPs of the paper's Tables 2-7: published, and 2 × MACs as counted here",
        tables=(table,),
        facts={"matching": matching, "distinct": len(distinct)},
    )


def space_report(
    name: str, question: str, grammar: Grammar, found: Survey, networks: Iterable[Row] = ()
) -> Report:
    """Describe a space: its size, the range of its costs, a histogram, reference networks, and
    networks of it that were asked for.
    """
    looked_at = "all networks" if found.whole else f"a uniform sample of {found.priced:,} networks"
    spreads = [{"cost": cost, **vars(spread)} for cost, spread in found.spreads.items()]
    most = max(number for *_, number in found.histogram)
    bars = [
        {"from": low, "below": high, "networks": number, "bar": "█" * -(-_BAR * number // most)}
        for low, high, number in found.histogram
    ]
    histogram = Table(
        name="histogram",
        title=f"FLOPs of {looked_at}",
        columns=(
            Column(name="from", label="FLOPs from"),
            Column(name="below"),
            Column(name="networks"),
            Column(name="bar", label=" ", left=True),
        ),
        rows=tuple(bars),
        data=tuple({key: bar[key] for key in ("from", "below", "networks")} for bar in bars),
    )
    listed = list(networks)
    tables = [
        rows_table("costs", spreads, f"costs of one image, {looked_at}"),
        *([histogram] if found.priced > len(bars) else []),
        _references(found),
        *([rows_table("networks", listed, "networks")] if listed else []),
    ]
    return Report(
        title=f"{name}: {question}\n{grammar}\n\n{found.count} distinct networks "
        f"({found.combinations:,} combinations of options)",
        tables=tuple(tables),
        facts={
            "space": name,
            "question": question,
            "grammar": grammar.data(),
            "digest": grammar.digest,
            "size": found.count.value,
            "exact": found.count.exact,
            "interval": found.count.interval,
            "combinations": found.combinations,
            "priced": found.priced,
        },
    )


def _references(found: Survey) -> Table:
    columns = (
        Column(name="name", left=True),
        Column(name="flops", label="FLOPs"),
        Column(name="params"),
        Column(name="below", label="networks below", form=form(".0%")),
        Column(name="inside", label="in the space", left=True),
    )
    rows = [
        {**vars(point), "inside": "yes" if point.reason is None else f"no: {point.reason}"}
        for point in found.points
    ]
    title = "reference networks in this task"
    data = tuple(map(vars, found.points))
    return Table(name="references", title=title, columns=columns, rows=tuple(rows), data=data)


def bench_report(title: str, rows: Sequence[Row]) -> Report:
    """List ways to train five seeds, with their speed."""
    labels = {
        "images_per_second": "images/s",
        "times_plain": "times as fast as plain",
        "of_memory_floor": "share of memory limit",
        "of_matrix_peak": "share of compute limit",
    }
    return Report(title=title, tables=(rows_table("ways", rows, **labels),))


def merge_report(found: Mapping[str, Any]) -> Report:
    """Say what was copied between two databases, and on which trainings they disagree."""
    conflicts = rows_table("conflicts", found["conflicts"], "kept as they were")
    tables = (conflicts,) if found["conflicts"] else ()
    return Report(title=found["summary"], tables=tables, facts={"copied": found["copied"]})


def replaced_report(
    title: str, rows: Sequence[Row], flops: tuple[int, int], params: tuple[int, int]
) -> Report:
    """List a model's convolutions, what took the place of each, and what that saves."""
    columns = (
        Column(name="name", left=True),
        Column(name="layer", left=True),
        Column(name="input", left=True),
        Column(name="output", left=True),
        Column(name="flops", label="FLOPs"),
        Column(name="new_flops", label="FLOPs now"),
        Column(name="params"),
        Column(name="new_params", label="params now"),
        Column(name="block", left=True, priority=Priority.WIDE),
        Column(name="absorbed", left=True, priority=Priority.WIDE),
        Column(name="reason", label="left alone, because", left=True),
    )
    facts = {"flops": flops[0], "new_flops": flops[1], "params": params[0], "new_params": params[1]}
    note = (
        "FLOPs of one image, by torch's counter; a row counts a convolution with what it absorbs, "
        "then the block in their place; rows add up to the model"
    )
    untrained = "the blocks are untrained, all weights elsewhere are kept: train the new model"
    replaced = any(not row["reason"] for row in rows)
    table = Table(
        name="layers",
        columns=columns,
        rows=tuple(rows),
        data=tuple(rows),
        totals=({"name": "model", **facts},),
        notes=(note, *([untrained] if replaced else [])),
    )
    return Report(title=title, tables=(table,), facts=facts)


def verified_report(location: str, rows: Sequence[Row], wrong: int) -> Report:
    """List stored runs beside the same trainings done again."""
    columns = (
        Column(name="network", left=True),
        Column(name="split", left=True),
        Column(name="seed"),
        Column(name="stored", unit="%", form=form(".2f")),
        Column(name="again", unit="%", form=form(".2f")),
        Column(name="spreads", label="difference, spreads between seeds", form=form("+.2f")),
        Column(name="result", left=True),
        Column(name="same_machine"),
        Column(name="together", label="seeds in one module", priority=Priority.ROOM),
        Column(name="recorded", label="so recorded", priority=Priority.WIDE),
        Column(name="stored_on", left=True, priority=Priority.WIDE),
        Column(name="again_on", left=True, priority=Priority.WIDE),
    )
    equal = sum(row["result"] == "equal to the bit" for row in rows)
    title = f"{location}: {equal} of {len(rows)} trainings done again are equal to the bit"
    notes = (
        "same machine: one kind of processor and of instructions (such as AVX2), with the same "
        "libraries and kernels; there they must be equal, and runs without an answer do not say "
        "by which instructions they were made",
        *([f"{wrong} had to be equal and are not"] if wrong else []),
    )
    own = tuple(rows)
    table = Table(name="runs", columns=columns, rows=own, data=own, notes=notes)
    return Report(title=title, tables=(table,), facts={"equal": equal})


def runs_report(title: str, rows: Sequence[Row], classes: Sequence[Row] = ()) -> Report:
    """List the trainings of one network, a row for each seed, and the recall of each class."""
    columns = (
        Column(name="seed"),
        Column(name="state", left=True),
        Column(name="accuracy", unit="%", form=form(".2f")),
        Column(name="interval", label="95 % interval", unit="%", form=form(".2f")),
        Column(name="epochs"),
        Column(name="seconds", unit="s", form=form(".1f")),
        Column(name="accuracies", label="accuracy by epoch", unit="%", priority=Priority.WIDE),
        Column(name="reason", left=True),
        Column(name="weights", left=True, priority=Priority.WIDE),
    )
    table = Table(name="runs", columns=columns, rows=tuple(rows))
    curves = {f"seed {row['seed']}": [row["accuracies"]] for row in rows if row["accuracies"]}
    figure = by_epoch("Accuracy after each epoch", "accuracy, %", curves)
    by_class = rows_table("classes", classes, "recall of each class, %, mean over seeds")
    tables = (table, *([by_class] if classes else []))
    return Report(title=title, tables=tables, figures=(replace(figure, main=True),))


def claims_report(
    titles: Sequence[str], shown: Sequence[Row], data: Sequence[Row], notes: Sequence[str]
) -> Report:
    """Show what becomes of the paper's claims on several data sets, a column for each."""
    said = (
        "differences in percentage points of accuracy over paired seeds; verdicts of Sections 3 "
        "and 4.2 are right at once within a data set, of Section 6 within its table"
    )
    table = replace(rows_table("claims", shown), data=tuple(data))
    facts = {"data": list(titles)}
    return Report(title="\n".join(titles), tables=(table,), notes=(said, *notes), facts=facts)
