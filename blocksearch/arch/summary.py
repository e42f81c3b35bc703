"""Lists the layers of a network, row by row like the paper's Table 1."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from blocksearch.arch.cost import Layers, Place, cost, flat
from blocksearch.arch.layers import Join, Shape, UserModel
from blocksearch.arch.network import Network
from blocksearch.arch.stem import ConvStem

_COLUMNS = ("stage", "layer", "output", "macs", "params", "activations")


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """A convolution with what follows it, a join, or the classifier."""

    stage: int
    label: str
    output: Shape
    macs: int
    params: int
    inside: int = 0  # activations of a user's model, which is one row

    @property
    def activations(self) -> int:
        return self.inside or self.output.elements

    def record(self) -> dict[str, object]:
        """Return the row as plain values."""
        values = (self.stage, self.label, str(self.output), self.macs, self.params)
        return dict(zip(_COLUMNS, (*values, self.activations), strict=True))


def layer_rows(network: Network) -> list[LayerRow]:
    """Read a network's layers as rows; stages count from 1, the classifier's is the last. A stem of
    its own is 0.

    >>> from blocksearch import TASKS, named_network
    >>> layer_rows(named_network("baseline", TASKS["gtsrb"]))[0].label
    '3x3x8 · relu + mp'
    """
    first = 0 if isinstance(network.stem, ConvStem) else 1
    own = (network.layers,) if network.skeleton else network.stages
    stages = enumerate(own, first)
    return [row for number, stage in stages for row in _rows(stage, number, "")]


def _rows(layers: Layers, stage: int, prefix: str) -> Iterator[LayerRow]:
    row: LayerRow | None = None
    for layer in flat(layers):
        opens = layer.place is Place.OPENS or isinstance(layer, Join)
        if row and opens:
            yield row
        if isinstance(layer, Join):
            yield from _rows(layer.branches[0], stage, prefix)
            beside = "gate " if layer.kind == "multiply" else "shortcut "
            for branch in layer.branches[1:]:
                yield from _rows(branch, stage, prefix + beside)
            row = LayerRow(
                stage=stage, label=f"{prefix}{layer.label}", output=layer.output, macs=0, params=0
            )
        elif row is None or opens:
            price = cost((layer,))
            own = price.activations if isinstance(layer, UserModel) else 0
            label = f"{prefix}{layer.label}"
            row = LayerRow(
                stage=stage,
                label=label,
                output=layer.output,
                macs=price.macs,
                params=price.params,
                inside=own,
            )
        else:
            params = row.params + cost((layer,)).params
            row = replace(row, label=row.label + layer.suffix, output=layer.output, params=params)
    if row:
        yield row
