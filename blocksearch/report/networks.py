"""Reports what networks cost, layer by layer, in all, and of a model before and after."""

from collections.abc import Sequence
from dataclasses import replace

from blocksearch.arch.cost import Cost
from blocksearch.arch.network import Network
from blocksearch.arch.quantities import QUANTITIES
from blocksearch.arch.summary import LayerRow, layer_rows
from blocksearch.report.figure import Figure, bar_figure, largest
from blocksearch.report.table import Column, Priority, Report, Row, Table, rows_table


def layers_report(
    name: str,
    network: Network,
    rows: Sequence[LayerRow],
    price: Cost,
    *,
    images: str | None = None,
    assumed: bool = False,
) -> Report:
    """List a network's layers as the paper's Table 1 does, with totals and a legend. `images` names
    the data set that it is for; `assumed` says that nobody has.
    """
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
    facts = _facts(name, network, price) | {"dataset": images}
    return Report(
        title=_headed(name, network, images, assumed),
        tables=(table,),
        figures=_by_layer(rows),
        facts=facts,
        units=UNITS,
    )


def _by_layer(rows: Sequence[LayerRow]) -> tuple[Figure, ...]:
    """Draw the FLOPs and parameters of the layers that have any."""
    named = [(f"{at}. {row.label}", row) for at, row in enumerate(rows, 1)]
    counted = [(name, row) for name, row in named if row.macs or row.params]
    kept, some = largest(counted, lambda own: own[1].macs)
    names, own = [name for name, _ in kept], [row for _, row in kept]
    return tuple(
        bar_figure(f"{label} by layer{some}", label, names, {"a layer": values})
        for label, values in (
            ("FLOPs", [2 * row.macs for row in own]),
            ("Parameters", [row.params for row in own]),
        )
    )


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


def cost_report(
    name: str, network: Network, price: Cost, *, images: str | None = None, assumed: bool = False
) -> Report:
    """List what one image costs a network, with the convention of each count; see `layers_report`
    for `images`.
    """
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
    facts = _facts(name, network, price) | {"dataset": images}
    return Report(
        title=_headed(name, network, images, assumed),
        tables=(table,),
        figures=_by_layer(layer_rows(network)),
        facts=facts,
        units=UNITS,
    )


def _headed(name: str, network: Network, images: str | None, assumed: bool) -> str:
    text, by = str(network), " (default)" if assumed else ""
    purpose = f" for {images}{by}" if images else ""
    return text if name == text else f"{name}{purpose}\n{text}"


UNITS = {each.name: each.unit for each in QUANTITIES.values()}


def _facts(name: str, network: Network, price: Cost) -> dict[str, object]:
    return {
        "name": name,
        "text": str(network),
        "network_id": network.digest,
        **price.named(),
    }


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
    kept, some = largest(rows, lambda row: row["flops"])
    names = [row["name"] for row in kept]
    figures = tuple(
        bar_figure(
            f"{label} by layer{some}",
            label,
            names,
            {"now": [row[f"new_{key}"] for row in kept]},
            beside={"before": [row[key] for row in kept]},
        )
        for label, key in (("FLOPs", "flops"), ("Parameters", "params"))
    )
    return Report(title=title, tables=(table,), figures=figures, facts=facts)
