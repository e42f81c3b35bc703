"""Layers to a torch module: the second fold over the tree that `space.cost` counts."""

from collections.abc import Sequence
from functools import reduce
from typing import assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional

from blocksearch.space.layers import (
    LEAKY_SLOPE,
    Activation,
    ActivationKind,
    Conv,
    Custom,
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
    flat,
    padding,
)


def build(layers: Layers, seed: int | None = None, device: str | torch.device = "cpu") -> nn.Sequential:
    """Build the module of a resolved network: N×C×H×W floats in, N×classes logits out.

    With a seed, weights are drawn he-normal in layer order from a stream of their own, so that they depend on nothing else;
    on the meta device, or without a seed, they are left as torch makes them.
    """
    with torch.device(device):
        module = nn.Sequential(*(_module(layer) for layer in layers))
    if seed is not None:
        initialise(module, seed)
    return module


def initialise(module: nn.Module, seed: int) -> None:
    """Draw every weight he-normal (fan in); biases zero, normalisation one and zero. Seeds dropout as well."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            fan_in = part.weight[0].numel()
            with torch.no_grad():
                part.weight.copy_(torch.randn(part.weight.shape, generator=generator) * (2 / fan_in) ** 0.5)
                if part.bias is not None:
                    part.bias.zero_()
        elif isinstance(part, SeededDropout):
            part.generator.manual_seed(seed)


def _module(layer: Layer) -> nn.Module:
    match layer:
        case Conv():
            return _conv(layer)
        case Norm():
            return nn.BatchNorm2d(layer.input.channels)
        case Activation():
            return _activation(layer.kind)
        case Pool():
            return _pool(layer)
        case GlobalPool():
            return nn.AdaptiveAvgPool2d(1)
        case Shuffle():
            return ChannelShuffle(layer.order)
        case MatchChannels():
            return ChannelMatch(layer.out_channels)
        case Join():
            return Joined(layer.kind, [_branch(branch) for branch in layer.branches])
        case Custom():
            return nn.Sequential(*map(_module, layer.body))
        case Dropout():
            return SeededDropout(layer.rate)
        case Linear():
            return nn.Sequential(nn.Flatten(), nn.Linear(layer.input.floats, layer.classes))
        case _:
            assert_never(layer)


def _branch(layers: Layers) -> nn.Sequential:
    """Build a branch; its first layer must not write into the input that the other branches read."""
    modules = [_module(layer) for layer in flat(layers)]
    if modules and hasattr(modules[0], "inplace"):
        setattr(modules[0], "inplace", False)  # noqa: B010 (torch types every attribute of a module as a tensor)
    return nn.Sequential(*modules)


def _activation(kind: ActivationKind) -> nn.Module:
    match kind:
        case "leaky":
            return nn.LeakyReLU(LEAKY_SLOPE, inplace=True)
        case "gelu":
            return nn.GELU()
        case "tanh" | "sigmoid":
            return {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid}[kind]()
        case _:
            kinds: dict[str, type[nn.Module]] = {
                "relu": nn.ReLU,
                "relu6": nn.ReLU6,
                "elu": nn.ELU,
                "silu": nn.SiLU,
                "hardswish": nn.Hardswish,
                "hardsigmoid": nn.Hardsigmoid,
            }
            return kinds[kind](inplace=True)


def _conv(layer: Conv) -> nn.Module:
    if layer.uneven:
        return ParallelConv([_plain_conv(layer, i, o, groups=1) for i, o in layer.parts])
    return _plain_conv(layer, layer.input.channels, layer.out_channels, layer.groups)


def _plain_conv(layer: Conv, in_channels: int, out_channels: int, groups: int) -> nn.Module:
    rows, columns = (
        padding(size, kernel, stride, dilation)
        for size, kernel, stride, dilation in zip(layer.input.map, layer.kernel, layer.stride, layer.dilation, strict=True)
    )
    symmetric = all(after <= before for before, after in (rows, columns))
    conv = nn.Conv2d(
        in_channels,
        out_channels,
        layer.kernel,
        layer.stride,
        (rows[0], columns[0]) if symmetric else 0,
        layer.dilation,
        groups,
        bias=False,
    )
    return conv if symmetric else nn.Sequential(nn.ZeroPad2d((*columns, *rows)), conv)


def _pool(layer: Pool) -> nn.Module:
    # An even kernel is padded at the end only, which is torch's ceil mode; an odd one is centred.
    before = (layer.kernel[0] - 1) // 2, (layer.kernel[1] - 1) // 2
    odd = all(size % 2 for size in layer.kernel)
    if layer.kind == "max":
        return nn.MaxPool2d(layer.kernel, layer.stride, before, ceil_mode=not odd)
    return nn.AvgPool2d(layer.kernel, layer.stride, before, ceil_mode=not odd, count_include_pad=False)


class ParallelConv(nn.Module):
    """Convolutions side by side over uneven slices of the channels."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.sizes = [conv.in_channels for conv in self.modules() if isinstance(conv, nn.Conv2d)]

    def forward(self, x: Tensor) -> Tensor:
        slices = torch.split(x, self.sizes, dim=1)
        return torch.cat([part(piece) for part, piece in zip(self.parts, slices, strict=True)], dim=1)


class ChannelShuffle(nn.Module):
    """Reorder channels so that each group of the next layer sees every group of this one."""

    def __init__(self, order: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("order", torch.tensor(order), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(1, self.get_buffer("order"))


class ChannelMatch(nn.Module):
    """Zero-pad missing channels at the end, or drop surplus ones."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        missing = self.channels - x.shape[1]
        return functional.pad(x, (0, 0, 0, 0, 0, missing)) if missing > 0 else x[:, : self.channels]


class Joined(nn.Module):
    """Run branches on one input and add, concatenate or multiply their outputs."""

    def __init__(self, kind: str, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.kind, self.branches = kind, nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        outputs = [branch(x) for branch in self.branches]
        if self.kind == "concatenate":
            return torch.cat(outputs, dim=1)
        joined: Tensor = reduce(torch.mul if self.kind == "multiply" else torch.add, outputs)
        return joined


class SeededDropout(nn.Module):
    """Dropout from a random stream of its own, so that a seed means the same masks whatever else draws numbers."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate, self.generator = rate, torch.Generator()

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        keep = torch.rand(x.shape, generator=self.generator) >= self.rate
        return x * keep.to(x) / (1 - self.rate)
