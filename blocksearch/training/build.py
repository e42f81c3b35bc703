"""Builds a torch module from the tree of layers that `arch.cost` counts."""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from itertools import chain, islice
from typing import Any, assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional

from blocksearch.arch.block import Block
from blocksearch.arch.expansion import expand
from blocksearch.arch.layers import (
    LEAKY_SLOPE,
    Activation,
    ActivationKind,
    Conv,
    CustomOp,
    Dropout,
    GlobalPool,
    Join,
    Layer,
    Layers,
    Linear,
    MatchChannels,
    Norm,
    Pool,
    Shuffle,
    UserModel,
    flat,
)
from blocksearch.arch.network import read_input
from blocksearch.arch.shape import Shape, padding
from blocksearch.errors import ConfigError, SpecError, check_type
from blocksearch.training.modules import (
    Classifiers,
    SeededConv,
    SeededDropout,
    Stages,
    copies_of,
    side_by_side,
)
from blocksearch.training.norm_act import NormAct

_SLOPES: dict[ActivationKind, float] = {"relu": 0.0, "leaky": LEAKY_SLOPE}


def build(layers: Layers, *seeds: int, device: str | torch.device = "cpu") -> nn.Module:
    """Build the module of a resolved network: N×C×H×W floats in, N×classes logits out.

    With several seeds it is one module for all of them, exact for each: channels stand seed by
    seed, N×(K·C)×H×W floats in and N×K×classes logits out, and no layer mixes channels of two
    seeds. Weights are drawn he-normal in layer order from a stream of each seed's own, so that they
    depend on nothing else; on the meta device, or without a seed, they are as torch makes them. A
    user's model is what its callable returns under the one seed.
    """
    if isinstance(layers[0], UserModel):
        return _user_model(layers[0], seeds[0] if seeds else 0).to(device)
    maker = _Maker(max(1, len(seeds)))
    with torch.device(device):
        module = maker.sequence(layers)
    if seeds:
        initialise(module, seeds)
    return module


def build_stages(stages: Mapping[str, Layers], seed: int) -> nn.Module:
    """Build a network as `build` does, with its stages by their names."""
    modules = build(tuple(chain(*stages.values())), seed).children()
    return Stages({name: list(islice(modules, len(own))) for name, own in stages.items()})


def block_module(block: Block, in_shape: Any, width: int, seed: int | None = None) -> nn.Module:
    """Build the module of one block on an input of C×H×W, `width` channels wide."""
    check_type("width", width, int)
    if width < 1:
        raise ConfigError(f"width must be at least 1, but got {width}")
    return placed(expand(block, read_input(in_shape), width), seed)


def placed(layers: Layers, seed: int | None = None) -> nn.Module:
    """Build layers that go into another model, which gets back the memory layout that it gives.

    Without a seed, weights are drawn from torch's own generator, as those of the other layers are.
    """
    made = Placed(*build(layers, read_seed(seed)).children())
    made.output = layers[-1].output  # for the layers behind it: a block may give more channels
    return made


def read_seed(seed: int | None) -> int:
    """Return a seed; without one, draw it from torch's own generator. Raises ConfigError."""
    check_type("seed", seed, int | None)
    if seed is not None and not 0 <= seed < 2**62:
        raise ConfigError(f"a seed is at least 0 and below 2**62, but got {seed}")
    return int(torch.randint(2**31, ()) if seed is None else seed)


class Placed(nn.Sequential):
    """Layers in another model: where that has torch's usual layout, so has what they give, and that
    model may change it in place (`out += x`).

    Our normalisation gives channels last, on which a `view` in the other model would fail. Torch's
    activations keep what they give for their gradients, so the other model gets a copy. `output` is
    the shape of what they give for one image.
    """

    output: Shape

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        usual = x.is_contiguous()
        if torch.is_grad_enabled():
            return y.clone(
                memory_format=torch.contiguous_format if usual else torch.preserve_format
            )
        return y.contiguous() if usual else y


def _user_model(layer: UserModel, seed: int) -> nn.Module:
    """Make a user's model. Raises ConfigError for one that was read from a database, without its
    callable.
    """
    from blocksearch.training.traced import made_again  # torch.export, once it is needed

    if layer.source is None:
        raise ConfigError(
            "a network inside a model of yours can only be made with the function that makes it"
        )
    return made_again(layer.source, layer.classes, layer.input, seed)


def initialise(module: nn.Module, seeds: Sequence[int]) -> None:
    """Draw every weight he-normal (fan in); biases zero, normalisation one and zero. Seeds dropout
    as well.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    dropouts = 0
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear | Classifiers):
            own = (
                part.weight.data
                if isinstance(part, Classifiers)
                else copies_of(part.weight.data, len(seeds), dim=0)
            )
            fan_in = own[0, 0].numel()
            for weight, generator in zip(own, generators, strict=True):
                weight.copy_(torch.randn(weight.shape, generator=generator) * (2 / fan_in) ** 0.5)
            if part.bias is not None:
                part.bias.data.zero_()
        elif isinstance(part, SeededDropout):
            for seed, generator in zip(seeds, part.generators, strict=True):
                # two layers of one shape must not draw the same masks
                generator.manual_seed(seed + (dropouts << 32))
            dropouts += 1


class _Maker:
    """Makes the module of each layer, for `copies` networks side by side."""

    def __init__(self, copies: int) -> None:
        self.copies = copies

    def sequence(self, layers: Layers) -> nn.Sequential:
        """Make one module for each layer; an activation that its normalisation takes along leaves
        an identity behind.

        Other activations write over what they read, where the layer before has made it for them
        alone.
        """
        modules = [self.module(layer) for layer in layers]
        for at, (before, norm, layer) in enumerate(
            zip(layers, modules, layers[1:], strict=False), 1
        ):
            if isinstance(layer, Activation):
                if isinstance(norm, NormAct) and layer.kind in _SLOPES:
                    norm.slope, modules[at] = _SLOPES[layer.kind], nn.Identity()
                elif hasattr(modules[at], "inplace"):
                    # torch types every attribute as a tensor
                    setattr(modules[at], "inplace", _is_new(before))  # noqa: B010
        return nn.Sequential(*modules)

    def module(self, layer: Layer) -> nn.Module:
        """Make the module of a layer. Raises SpecError if its kind has no builder."""
        builder = BUILDERS.get(type(layer))
        if builder is None:
            raise SpecError(f"{type(layer).__name__} has no builder: no module can be made of it")
        return builder(self, layer)

    def _conv(self, layer: Conv) -> nn.Module:
        if layer.uneven:
            return ParallelConv(
                [self._plain_conv(layer, i, o, groups=1) for i, o in layer.parts], self.copies
            )
        return self._plain_conv(layer, layer.input.channels, layer.out_channels, layer.groups)

    def _plain_conv(
        self, layer: Conv, in_channels: int, out_channels: int, groups: int
    ) -> nn.Module:
        rows, columns = (
            padding(size, kernel, stride, dilation)
            for size, kernel, stride, dilation in zip(
                layer.input.map, layer.kernel, layer.stride, layer.dilation, strict=True
            )
        )
        symmetric = all(after <= before for before, after in (rows, columns))
        copies, before = self.copies, (rows[0], columns[0]) if symmetric else (0, 0)
        shape = layer.kernel, layer.stride, before, layer.dilation
        conv: nn.Module
        if copies > 1 and groups == 1:
            conv = SeededConv(copies, in_channels, out_channels, *shape)
        else:
            conv = nn.Conv2d(
                copies * in_channels, copies * out_channels, *shape, copies * groups, bias=False
            )
        return conv if symmetric else nn.Sequential(nn.ZeroPad2d((*columns, *rows)), conv)


BUILDERS: dict[type[Layer], Callable[[_Maker, Any], nn.Module]] = {
    Conv: _Maker._conv,
    Norm: lambda maker, layer: NormAct(maker.copies * layer.input.channels),
    Activation: lambda maker, layer: _ACTIVATIONS[layer.kind](),
    Pool: lambda maker, layer: _pool(layer),
    GlobalPool: lambda maker, layer: nn.AdaptiveAvgPool2d(1),
    Shuffle: lambda maker, layer: _shuffle(layer, maker.copies),
    MatchChannels: lambda maker, layer: ChannelMatch(layer.out_channels, maker.copies),
    Join: lambda maker, layer: Joined(
        layer.kind, [maker.sequence(tuple(flat(branch))) for branch in layer.branches], maker.copies
    ),
    CustomOp: lambda maker, layer: maker.sequence(layer.body),
    Dropout: lambda maker, layer: SeededDropout(layer.input, layer.rate, maker.copies),
    Linear: lambda maker, layer: _classifier(layer, maker.copies),
}


def _shuffle(layer: Shuffle, copies: int) -> nn.Module:
    starts = range(0, copies * layer.input.channels, layer.input.channels)
    return ChannelShuffle(tuple(start + channel for start in starts for channel in layer.order))


def _is_new(layer: Layer) -> bool:
    """Whether a layer always returns a new tensor; others may return their input, which a join's
    branches share.
    """
    return isinstance(layer, Conv | Norm | Pool) or (
        isinstance(layer, Join) and len(layer.branches) > 1
    )


def _classifier(layer: Linear, copies: int) -> nn.Module:
    if copies > 1:
        return Classifiers(layer.input.elements, layer.classes, copies)
    return nn.Sequential(nn.Flatten(), nn.Linear(layer.input.elements, layer.classes))


_ACTIVATIONS: dict[ActivationKind, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky": lambda: nn.LeakyReLU(LEAKY_SLOPE),
    "relu6": nn.ReLU6,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "hardsigmoid": nn.Hardsigmoid,
}


def _pool(layer: Pool) -> nn.Module:
    before = (layer.kernel[0] - 1) // 2, (layer.kernel[1] - 1) // 2
    shape = layer.kernel, layer.stride, before
    match layer.kind:
        case "max":
            return nn.MaxPool2d(*shape, ceil_mode=layer.to_end)
        case "average":
            return nn.AvgPool2d(*shape, ceil_mode=layer.to_end, count_include_pad=False)
        case _:
            assert_never(layer.kind)


class ParallelConv(nn.Module):
    """Convolutions side by side over uneven slices of each copy's channels."""

    def __init__(self, parts: Sequence[nn.Module], copies: int) -> None:
        super().__init__()
        self.parts, self.copies = nn.ModuleList(parts), copies
        self.sizes = [
            conv.in_channels // copies for conv in self.modules() if isinstance(conv, nn.Conv2d)
        ]

    def forward(self, x: Tensor) -> Tensor:
        slices = torch.split(copies_of(x, self.copies), self.sizes, dim=2)
        pieces = [part(piece.flatten(1, 2)) for part, piece in zip(self.parts, slices, strict=True)]
        return side_by_side(pieces, self.copies)


class ChannelShuffle(nn.Module):
    """Reorder channels so that each group of the next layer sees every group of this one."""

    def __init__(self, order: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("order", torch.tensor(order), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(1, self.get_buffer("order"))


class ChannelMatch(nn.Module):
    """Zero-pad missing channels of each copy at the end, or drop surplus ones."""

    def __init__(self, channels: int, copies: int) -> None:
        super().__init__()
        self.channels, self.copies = channels, copies

    def forward(self, x: Tensor) -> Tensor:
        own = copies_of(x, self.copies)
        missing = self.channels - own.shape[2]
        matched = (
            functional.pad(own, (0, 0, 0, 0, 0, missing))
            if missing > 0
            else own[:, :, : self.channels]
        )
        return matched.flatten(1, 2)


class Joined(nn.Module):
    """Run branches on one input and add, concatenate or multiply their outputs."""

    def __init__(self, kind: str, branches: Sequence[nn.Module], copies: int) -> None:
        super().__init__()
        self.kind, self.branches, self.copies = kind, nn.ModuleList(branches), copies

    def forward(self, x: Tensor) -> Tensor:
        outputs = [branch(x) for branch in self.branches]
        if self.kind == "concatenate":
            return side_by_side(outputs, self.copies)
        joined: Tensor = reduce(torch.mul if self.kind == "multiply" else torch.add, outputs)
        return joined
