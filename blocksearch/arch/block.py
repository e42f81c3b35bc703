"""A block as a value of factors, and the layers it expands to. The one place that knows what a
factor does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

from blocksearch.arch.constraints import Condition, Rule
from blocksearch.arch.factors import (
    FACTORS,
    SQUARE,
    Expand,
    Groups,
    Kernel,
    Reduce,
    Value,
    factor_named,
)
from blocksearch.arch.layers import (
    Activation,
    Conv,
    Join,
    JoinKind,
    Layer,
    Layers,
    MatchChannels,
    Norm,
    Pool,
    Shape,
    Shuffle,
    grouped_conv,
)
from blocksearch.arch.ops import Option
from blocksearch.errors import SpecError

RULES = (
    Rule(
        "last=none needs spatial=dense: a depthwise layer cannot change the channels to the block's width",
        (Condition("last", ("pointwise",)), Condition("spatial", ("dense",))),
    ),
    Rule(
        "pooling=separable_end or separable_conv pools at the last pointwise layer, but last=none leaves none",
        (
            Condition("last", ("pointwise",)),
            Condition("pooling", ("separable_end", "separable_conv"), negated=True),
        ),
    ),
)


@dataclass(frozen=True, kw_only=True, repr=False)
class Block:
    """One block of a network. Each field is a factor; a field also takes the factor's text,
    `Block(bottleneck="reduce(2)")`.

    Raises SpecError where a value is not one of its factor's, or where two factors contradict each
    other. Source of the factors: EffNet paper, Sections 3, 4.2 and 6.2.
    """

    bottleneck: Reduce | Expand | str = "none"
    minimum: int = 1
    spatial: str = "depthwise"
    kernel: Kernel | str = SQUARE
    depth_multiplier: int = 1
    attention: Option | str = "none"
    pooling: str = "last"
    pool_kind: str = "max"
    last: str = "pointwise"
    groups: Groups | str = "none"
    residual: Option | str = "none"
    first_activation: Option | str = "relu"
    spatial_activation: Option | str = "linear"
    activation: Option | str = "relu"
    join_activation: Option | str = "linear"

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(
                self, field.name, FACTORS[field.name].value(getattr(self, field.name))
            )
        values = self.values()
        for rule in RULES:
            if not rule.holds(values):
                raise SpecError(rule.name)

    def __str__(self) -> str:
        """Write the factors that differ from their defaults, in the order of `FACTORS`."""
        return " ".join(
            f"{name}={value}" for name, value in self.values().items() if value != _DEFAULTS[name]
        )

    def __repr__(self) -> str:
        return f"<Block {self}>"

    def values(self) -> dict[str, Value]:
        """Return every factor's value by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def with_factors(self, values: Mapping[str, Value]) -> "Block":
        """Return this block with other values, or their texts, for some factors. Raises ConfigError
        for an unknown factor.
        """
        names = [factor_named(name).name for name in values]
        return replace(self, **{name: values[name] for name in names})  # type: ignore[arg-type]


_DEFAULTS = Block().values()


@dataclass(frozen=True)
class Step:
    """One step of a block's expansion: which factors it reads, and the layers that it adds to a
    running shape.

    A step reads no other factor, so a space is counted and priced step by step, without a look at
    whole blocks.
    """

    factors: tuple[str, ...]
    layers: Callable[[Block, Shape, int], Layers]


@dataclass(frozen=True)
class Shortcut:
    """The way around a block's body: how it joins, its own layers, and the activation after the
    join.
    """

    kind: JoinKind
    layers: Layers
    after: Layers
    output: Shape


def expand(block: Block, entry: Shape, width: int) -> Layers:
    """Expand a block that reads `entry` and is `width` channels wide into layers.

    With residual=concatenate the output has width + entry channels. Raises SpecError where a shape
    becomes impossible.
    """
    body: Layers = ()
    for step in STEPS:
        body += step.layers(block, _end(body, entry), width)
    around = shortcut(block, entry, width)
    return (Join(entry, around.kind, (body, around.layers)), *around.after) if around else body


def _end(layers: Layers, entry: Shape) -> Shape:
    return layers[-1].output if layers else entry


def conv_unit(conv: Conv, activation: Option | str) -> Layers:
    """Follow a convolution by batch normalisation and its activation, in that order (a choice of
    ours).
    """
    layers: tuple[Layer, ...] = (conv, Norm(conv.output))
    return layers + _activation(conv.output, activation)


def _activation(shape: Shape, kind: Option | str) -> Layers:
    match kind:
        case Option():
            return kind.expand(shape)
        case "relu" | "leaky":
            return (Activation(shape, kind),)
        case _:
            return ()


def bottleneck_channels(block: Block, entry: Shape, width: int) -> int | None:
    """Return the channels that a block's first pointwise layer gives, or None without one. Raises
    SpecError for none left.
    """
    match block.bottleneck:
        case Reduce(factor):
            return max(block.minimum, width // factor)
        case Expand(rate):
            channels = int(entry.channels * rate)
            if channels < 1:
                raise SpecError(
                    f"bottleneck={block.bottleneck} of {entry.channels} input channels leaves none"
                )
            return channels
        case _:
            return None


def _first_pointwise(block: Block, entry: Shape, width: int) -> Layers:
    channels = bottleneck_channels(block, entry, width)
    if channels is None:
        return ()
    groups = (
        block.groups.count
        if isinstance(block.groups, Groups) and block.groups.where == "both"
        else 1
    )
    conv = grouped_conv(entry, channels, groups, (1, 1), (1, 1))
    unit = conv_unit(conv, block.first_activation)
    return (*unit, Shuffle(conv.output, conv.groups)) if conv.groups > 1 else unit


def _spatial(block: Block, entry: Shape, width: int) -> Layers:
    assert isinstance(block.kernel, Kernel)
    kernels = block.kernel.layers
    layers: Layers = ()
    for index, (rows, columns, dilation) in enumerate(kernels):
        shape, final = _end(layers, entry), index == len(kernels) - 1
        ends_block, dense = final and block.last == "none", block.spatial == "dense"
        stride, pool = _halvings(block.pooling, index, final)
        multiplier = 1 if dense or index else block.depth_multiplier
        conv = Conv(
            shape,
            width if ends_block else shape.channels * multiplier,
            (rows, columns),
            stride,
            groups=1 if dense else shape.channels,
            # An axis of one tap has nothing to spread: it keeps 1, so that equal layers are equal.
            dilation=(dilation if rows > 1 else 1, dilation if columns > 1 else 1),
        )
        unit = conv_unit(conv, block.activation if ends_block else block.spatial_activation)
        layers += unit + _pool(block, conv.output, pool)
    return layers


def _halvings(pooling: str, index: int, final: bool) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the stride and the pool of the spatial layer at `index`; a single layer takes both
    phases at once.
    """
    none, both, across, down = (1, 1), (2, 2), (1, 2), (2, 1)
    phase = (both if final else across) if index == 0 else (down if index == 1 else none)
    match pooling:
        case "stride":
            return phase, none
        case "separable":
            return none, phase
        case "first":
            return none, both if index == 0 else none
        case "last":
            return none, both if final else none
        case "separable_end" | "separable_conv":
            return none, across if index == 0 else none
        case _:
            return none, none


def _pool(block: Block, shape: Shape, size: tuple[int, int]) -> Layers:
    if size == (1, 1):
        return ()
    return (Pool(shape, "average" if block.pool_kind == "average" else "max", size, size),)


def _last_pointwise(block: Block, entry: Shape, width: int) -> Layers:
    if block.last == "none":
        return ()
    halved = (2, 1) if block.pooling == "separable_conv" else (1, 1)
    groups = block.groups.count if isinstance(block.groups, Groups) else 1
    conv = grouped_conv(entry, width, groups, kernel=halved, stride=halved)
    pool = (2, 1) if block.pooling == "separable_end" else (1, 1)
    return conv_unit(conv, block.activation) + _pool(block, conv.output, pool)


def _attention(block: Block, entry: Shape, width: int) -> Layers:
    return block.attention.expand(entry) if isinstance(block.attention, Option) else ()


SHORTCUT_FACTORS = ("residual", "join_activation", "pooling")
STEPS = (
    Step(("bottleneck", "minimum", "groups", "first_activation"), _first_pointwise),
    Step(
        (
            "spatial",
            "kernel",
            "depth_multiplier",
            "pooling",
            "pool_kind",
            "last",
            "spatial_activation",
            "activation",
        ),
        _spatial,
    ),
    Step(("attention",), _attention),
    Step(("last", "groups", "activation", "pooling", "pool_kind"), _last_pointwise),
)


def body_output(block: Block, entry: Shape, width: int) -> Shape:
    """Return the shape that the body ends in: each way of pooling halves the map once, and no other
    factor changes it.
    """
    return entry.strided((1, 1) if block.pooling == "none" else (2, 2)).with_channels(width)


def shortcut(block: Block, entry: Shape, width: int) -> Shortcut | None:
    """Return a block's way around its body: averaged to the body's map, then channels matched,
    projected or concatenated.

    It reads `SHORTCUT_FACTORS` alone. ShuffleNet's is the concatenated one, with an overlapping 3×3
    average; the others do not overlap.
    """
    if block.residual == "none":
        return None
    out = body_output(block, entry, width)
    layers, kind = _around(block.residual, entry, out)
    joined = (
        out.with_channels(out.channels + _end(layers, entry).channels)
        if kind == "concatenate"
        else out
    )
    after = _activation(joined, block.join_activation)
    return Shortcut(kind, layers, after, _end(after, joined))


def _around(residual: Option | str, entry: Shape, out: Shape) -> tuple[Layers, JoinKind]:
    if isinstance(residual, Option):
        layers = residual.expand(entry, out)
        end = _end(layers, entry)
        if end.map != out.map:
            raise SpecError(
                f"residual={residual} ends in {end}, but a shortcut has the map of the body's output, {out}"
            )
        return layers, "add" if end == out else "concatenate"
    stride = -(-entry.height // out.height), -(-entry.width // out.width)
    size = tuple(n + n // 2 if residual == "concatenate" else n for n in stride)
    layers = () if stride == (1, 1) else (Pool(entry, "average", (size[0], size[1]), stride),)
    pooled = _end(layers, entry)
    if residual == "project":
        layers += conv_unit(Conv(pooled, out.channels, (1, 1)), "linear")
    elif residual == "add" and pooled.channels != out.channels:
        layers += (MatchChannels(pooled, out.channels),)
    return layers, "concatenate" if residual == "concatenate" else "add"
