"""The data flow of a network, row by row like the paper's Table 1: gathered here, drawn by
`tables`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from blocksearch.arch.cost import cost
from blocksearch.arch.layers import (
    Activation,
    Conv,
    GlobalPool,
    Join,
    Layer,
    Layers,
    Linear,
    MatchChannels,
    Norm,
    Pool,
    Shape,
    Shuffle,
    flat,
)
from blocksearch.arch.network import Network


@dataclass(frozen=True)
class FlowRow:
    """A convolution with what follows it (normalisation, activation, pooling), a join, or the
    classifier.
    """

    stage: int
    label: str
    output: Shape
    macs: int
    params: int

    @property
    def floats_out(self) -> int:
        return self.output.floats


def data_flow(network: Network) -> list[FlowRow]:
    """Read a network's layers as rows; stages count from 1, the classifier's is the last."""
    return [
        row for number, stage in enumerate(network.stages, 1) for row in _rows(stage, number, "")
    ]


def as_rows(rows: Iterable[FlowRow]) -> list[dict[str, object]]:
    """Flatten rows for `--json`."""
    return [
        {
            "stage": row.stage,
            "layer": row.label,
            "output": str(row.output),
            "macs": row.macs,
            "params": row.params,
            "floats_out": row.floats_out,
        }
        for row in rows
    ]


def _rows(layers: Layers, stage: int, prefix: str) -> Iterator[FlowRow]:
    row: FlowRow | None = None
    for layer in flat(layers):
        opens = isinstance(layer, Conv | Join | Linear)
        if row and opens:
            yield row
        if isinstance(layer, Join):
            yield from _rows(layer.branches[0], stage, prefix)
            for branch in layer.branches[1:]:
                yield from _rows(
                    branch, stage, prefix + ("gate " if layer.kind == "multiply" else "shortcut ")
                )
            row = FlowRow(stage, f"{prefix}{layer.kind}", layer.output, 0, 0)
        elif row is None or opens:
            price = cost((layer,))
            row = FlowRow(stage, f"{prefix}{_name(layer)}", layer.output, price.macs, price.params)
        else:
            row = replace(
                row,
                label=row.label + _suffix(layer),
                output=layer.output,
                params=row.params + cost((layer,)).params,
            )
    if row:
        yield row


def _name(layer: Layer) -> str:
    match layer:
        case Conv():
            size = f"{layer.kernel[0]}x{layer.kernel[1]}" + (
                f"d{max(layer.dilation)}" if max(layer.dilation) > 1 else ""
            )
            if layer.depthwise:
                multiplied = (
                    f"x{layer.out_channels}" if layer.out_channels != layer.input.channels else ""
                )
                return f"dw {size}{multiplied}{_phase(layer.stride, 'stride')}"
            groups = f"gc{layer.groups} " if layer.groups > 1 else ""
            return f"{groups}{size}x{layer.out_channels}{_phase(layer.stride, 'stride')}"
        case Linear():
            return "fully connected"
        case _:
            return _suffix(layer).removeprefix(" + ") or type(layer).__name__.lower()


def _suffix(layer: Layer) -> str:
    match layer:
        case Pool():
            return _phase(layer.stride, {"max": "mp", "average": "ap"}[layer.kind])
        case GlobalPool():
            return " + global ap"
        case Shuffle():
            return " + shuffle"
        case MatchChannels():
            return f" + match {layer.out_channels}"
        case Activation():
            return f" · {layer.kind}"
        case Norm():
            return ""
        case _:
            return f" + {type(layer).__name__.lower()}"


def _phase(stride: tuple[int, int], what: str) -> str:
    """Say a halving as Table 1 does: `+ mp`, and `+ 1d mp` along one axis."""
    if stride == (1, 1):
        return ""
    return f" + {what}" if min(stride) > 1 else f" + 1d {what}"
