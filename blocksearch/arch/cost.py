"""What a network costs, exactly and without torch: a fold over the same layers that the module is
built from.

Convention (EffNet paper, recovered from its tables): one multiply-accumulate is two FLOPs;
convolutions and the classifier count, one image; no bias, normalisation, activation, pooling or
addition. Parameters include normalisation and the bias.
"""

from dataclasses import dataclass, replace

from blocksearch.arch.layers import (
    Activation,
    Conv,
    GlobalPool,
    Join,
    JoinKind,
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


@dataclass(frozen=True)
class Cost:
    """Exact counts for one image.

    `floats_out`: floats that each convolution and the classifier hand on, pooling folded in (Table
    1), in order of execution. `peak_activation_floats`: the largest sum of tensors alive at once,
    in the order the module runs; normalisation, activation and addition work in place, a shortcut's
    source lives until the shortcut has read it. Weights not included.
    """

    macs: int = 0
    params: int = 0
    floats_out: tuple[int, ...] = ()
    peak_activation_floats: int = 0

    @property
    def flops(self) -> int:
        """2 · macs: the paper's count, and that of `torch.utils.flop_counter`."""
        return 2 * self.macs

    @property
    def floats(self) -> int:
        """All that the convolutions and the classifier hand on, summed."""
        return sum(self.floats_out)

    @property
    def peak_activation_bytes(self) -> int:
        """Peak activation at four bytes a float."""
        return 4 * self.peak_activation_floats

    def then(self, other: "Cost") -> "Cost":
        """Cost of running this, then the other."""
        return Cost(
            self.macs + other.macs,
            self.params + other.params,
            self.floats_out + other.floats_out,
            max(self.peak_activation_floats, other.peak_activation_floats),
        )

    def beside(self, held: int) -> "Cost":
        """The same cost while another tensor of `held` floats is alive."""
        return replace(self, peak_activation_floats=self.peak_activation_floats + held)


def cost(layers: Layers) -> Cost:
    """Count a sequence of layers."""
    total, convolved = Cost(), False
    for layer in flat(layers):
        total = total.then(_layer_cost(layer))
        if isinstance(layer, Pool) and convolved:
            total = replace(total, floats_out=(*total.floats_out[:-1], layer.output.floats))
        convolved = isinstance(layer, Conv) or (
            convolved and isinstance(layer, Norm | Activation | Pool)
        )
    return total


def _layer_cost(layer: Layer) -> Cost:
    both = layer.input.floats + layer.output.floats
    match layer:
        case Conv():
            positions = layer.output.height * layer.output.width
            return Cost(layer.weights * positions, layer.weights, (layer.output.floats,), both)
        case Linear():
            weights = layer.input.floats * layer.classes
            return Cost(weights, weights + layer.classes, (layer.classes,), both)
        case Norm():
            return Cost(params=2 * layer.input.channels, peak_activation_floats=layer.input.floats)
        case Join():
            return _join_cost(layer)
        case Pool() | GlobalPool() | Shuffle() | MatchChannels():
            return Cost(peak_activation_floats=both)
        case _:
            return Cost(peak_activation_floats=layer.input.floats)


def layer_cost(layer: Layer, folding: int = 0) -> tuple[Cost, int]:
    """Count one layer of a sequence; `floats_out` holds one number, what it adds to the sum.

    `folding` is what the convolution before handed on, where a pool would fold into it, else 0; the
    second answer is the same for the next layer. Sums of this are `cost` of the whole sequence.
    """
    total = Cost()
    for part in flat((layer,)):
        added = _layer_cost(part)
        floats = sum(added.floats_out)
        if isinstance(part, Pool) and folding:
            floats = part.output.floats - folding
        total = total.then(replace(added, floats_out=(floats,)))
        keeps = isinstance(part, Conv) or (folding and isinstance(part, Norm | Activation | Pool))
        folding = part.output.floats if keeps else 0
    return replace(total, floats_out=(sum(total.floats_out),)), folding


def shortcut_cost(kind: JoinKind, entry: Shape, body: Shape, shortcut: Layers) -> Cost:
    """Count what follows the body of a block: its shortcut, while the body's output is held, and
    the join.
    """
    held = body.floats + (shortcut[-1].output if shortcut else entry).floats
    joined = 2 * held if kind == "concatenate" else held
    return (
        _branch_cost(shortcut, entry, held=0)
        .beside(body.floats)
        .then(Cost(peak_activation_floats=joined))
    )


def _join_cost(join: Join) -> Cost:
    """Branches run in order; the input is held for those still to come, finished outputs are held
    for the join.

    A branch whose first layer reads the input counts it itself, so it is held only behind the first
    layer.
    """
    total, finished = Cost(), 0
    for index, branch in enumerate(join.branches):
        later = index < len(join.branches) - 1
        total = total.then(
            _branch_cost(branch, join.input, held=join.input.floats if later else 0).beside(
                finished
            )
        )
        finished += join.branch_outputs[index].floats
    at_join = finished + (join.output.floats if join.kind == "concatenate" else 0)
    return total.then(Cost(peak_activation_floats=at_join))


def _branch_cost(branch: Layers, entry: Shape, held: int) -> Cost:
    branch = tuple(flat(branch))
    if not branch:
        return Cost(peak_activation_floats=entry.floats)
    first, rest = cost(branch[:1]), cost(branch[1:]).beside(held)
    if isinstance(branch[0], Norm | Activation):  # not in place: other branches read the same input
        first = first.beside(branch[0].output.floats)
    return replace(
        cost(branch),
        peak_activation_floats=max(first.peak_activation_floats, rest.peak_activation_floats),
    )
