"""Defines layers of several networks side by side, whose channels stand copy by copy."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from blocksearch.arch.layers import Shape


def copies_of(x: Tensor, copies: int, dim: int = 1) -> Tensor:
    """View an axis of copies side by side as two: copies, and what each has."""
    return x.view(*x.shape[:dim], copies, x.shape[dim] // copies, *x.shape[dim + 1 :])


def side_by_side(pieces: Sequence[Tensor], copies: int) -> Tensor:
    """Concatenate channels copy by copy."""
    if copies == 1:
        return torch.cat(list(pieces), dim=1)
    return torch.cat([copies_of(piece, copies) for piece in pieces], dim=2).flatten(1, 2)


class SeededConv(nn.Conv2d):
    """A dense convolution of each of several copies: N×(K·I)×H×W in, N×(K·O)×H×W out.

    A grouped convolution gives this, but not always fast on a GPU; there `apart` says when each
    copy is convolved by itself. Both give the same numbers up to rounding.
    """

    def __init__(self, copies: int, in_channels: int, out_channels: int, *shape: Any) -> None:
        kernel, stride, padding, dilation = shape
        super().__init__(
            copies * in_channels,
            copies * out_channels,
            kernel,
            stride,
            padding,
            dilation,
            copies,
            bias=False,
        )

    def forward(self, x: Tensor) -> Tensor:
        if not (x.is_cuda and apart(self.weight.shape[1], self.weight.shape[2:])):
            return super().forward(x)
        return self.one_by_one(x)

    def one_by_one(self, x: Tensor) -> Tensor:
        """Convolve each copy by itself and put the results side by side."""
        pairs = zip(x.chunk(self.groups, 1), self.weight.chunk(self.groups, 0), strict=True)
        convolve = partial(functional.conv2d, bias=None, stride=self.stride, dilation=self.dilation)
        return torch.cat([convolve(own, w, padding=self.padding) for own, w in pairs], 1)


def apart(in_channels: int, kernel: Sequence[int]) -> bool:
    """Return whether copies are convolved one by one on a GPU, by a fixed rule on the layer.

    A rule and not a clock decides, because the two ways round differently and a result must not
    depend on how busy a machine was. Measured on an H200 with float32 over the 100 convolutions of
    the paper's networks at three and five copies, it takes 6 % more time than the faster way of
    each; grouped ones alone would take 43 % more.
    """
    taps = math.prod(kernel)
    return taps == 1 or in_channels >= 80 or (taps >= 9 and in_channels >= 12)


class SeededDropout(nn.Module):
    """Dropout from a random stream of each copy's own, so that a seed means the same masks whatever
    else draws numbers.

    Streams are the processor's on every device. `ahead` keeps a mask that `redraw` fills, for a
    step that is recorded once.
    """

    def __init__(self, input: Shape, rate: float, copies: int) -> None:
        super().__init__()
        self.input, self.rate = input, rate
        self.generators = [torch.Generator() for _ in range(copies)]
        self._mask: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        mask = self._drawn(len(x)).to(x) if self._mask is None else self._mask.to(x.dtype)
        return x * mask

    def ahead(self, images: int, device: torch.device) -> None:
        """Draw masks ahead of each step from now on, for batches of so many images."""
        self._mask = torch.empty(
            images, len(self.generators) * self.input.channels, *self.input.map, device=device
        )

    def redraw(self) -> None:
        """Draw the mask of the next step."""
        if self._mask is not None:
            self._mask.copy_(self._drawn(len(self._mask)))

    def _drawn(self, images: int) -> Tensor:
        own = images, self.input.channels, *self.input.map
        drawn = [torch.rand(own, generator=generator) for generator in self.generators]
        return (torch.cat(drawn, dim=1) >= self.rate) / (1 - self.rate)


class Classifiers(nn.Module):
    """The classifiers of several copies as one batched product: N×(K·C)×H×W in, N×K×classes out."""

    def __init__(self, floats: int, classes: int, copies: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(copies, classes, floats))
        self.bias = nn.Parameter(torch.empty(copies, 1, classes))

    def forward(self, x: Tensor) -> Tensor:
        own = copies_of(x.flatten(1), len(self.weight)).transpose(0, 1)
        return torch.baddbmm(self.bias, own, self.weight.transpose(1, 2)).transpose(0, 1)


class Stages(nn.Sequential):
    """The stages of a network by their names, each a sequence of its layers.

    It also loads the weights that a training keeps, whose names count all layers of the network:
    what is `3.weight` there may be `stage1.0.weight` here.
    """

    def __init__(self, stages: Mapping[str, Sequence[nn.Module]]) -> None:
        super().__init__()
        self._names: dict[str, str] = {}
        for name, layers in stages.items():
            kept = list[nn.Module]()
            for layer in layers:
                self._names[str(len(self._names))] = f"{name}.{len(kept)}"
                kept += [] if isinstance(layer, nn.Identity) else [layer]
            self.add_module(name, nn.Sequential(*kept))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *arguments: Any) -> None:
        for key in [each for each in state_dict if each.startswith(prefix)]:
            number, _, rest = key.removeprefix(prefix).partition(".")
            if number in self._names:
                state_dict[f"{prefix}{self._names[number]}.{rest}"] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *arguments)
