"""Layers of several networks side by side: channels stand copy by copy, and no copy reads
another's.
"""

import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from blocksearch.arch.layers import Shape

Way = Literal["grouped", "loop", "product", "unfolded"]


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

    A grouped convolution gives this, but not always fast: on a GPU the first batch times the ways
    there are, and the fastest is remembered for that shape. All ways give the same numbers up to
    rounding.
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
        self.way: Way | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.way is None and x.is_cuda:
            self.way = self._fastest(x)
        return convolved(x, self.weight, self.way or "grouped", self._shape)

    @property
    def _shape(self) -> tuple[Any, ...]:
        return self.stride, self.padding, self.dilation, self.groups

    def _fastest(self, x: Tensor) -> Way:
        precision = (
            torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else x.dtype
        )
        return fastest(
            tuple(x.shape), tuple(self.weight.shape), self._shape, precision, str(x.device)
        )


def ways(kernel: Sequence[int]) -> tuple[Way, ...]:
    """Return the ways to convolve copies with a kernel of this size."""
    return ("grouped", "loop", "product" if tuple(kernel) == (1, 1) else "unfolded")


def convolved(x: Tensor, weight: Tensor, way: Way, shape: tuple[Any, ...]) -> Tensor:
    """Convolve N×(K·I)×H×W with (K·O)×I×kernel, each copy with its own, one way or another."""
    stride, padding, dilation, copies = shape
    match way:
        case "grouped":
            return functional.conv2d(x, weight, None, stride, padding, dilation, copies)
        case "loop":
            pairs = zip(x.chunk(copies, 1), weight.chunk(copies, 0), strict=True)
            return torch.cat(
                [functional.conv2d(own, w, None, stride, padding, dilation) for own, w in pairs], 1
            )
        case "product":
            rows = x[:, :, :: stride[0], :: stride[1]].permute(0, 2, 3, 1)
            own = rows.reshape(-1, copies, weight.shape[1]).transpose(0, 1)
            out = torch.bmm(own, copies_of(weight.flatten(1), copies, 0).transpose(1, 2))
            return out.transpose(0, 1).reshape(*rows.shape[:3], -1).permute(0, 3, 1, 2)
        case "unfolded":
            kernel = weight.shape[2:]
            columns = copies_of(functional.unfold(x, kernel, dilation, padding, stride), copies)
            out = torch.matmul(copies_of(weight.flatten(1), copies, 0), columns).flatten(1, 2)
            sizes = zip(x.shape[2:], kernel, stride, padding, dilation, strict=True)
            map_ = [
                (size + 2 * pad - far * (taps - 1) - 1) // step + 1
                for size, taps, step, pad, far in sizes
            ]
            return out.view(*out.shape[:2], *map_).contiguous(memory_format=torch.channels_last)


@lru_cache(maxsize=4096)
def fastest(
    x: tuple[int, ...],
    weight: tuple[int, ...],
    shape: tuple[Any, ...],
    precision: torch.dtype,
    device: str,
) -> Way:
    """Time every way once, forward and backward, on a GPU; a way that does not fit into its memory
    is none.
    """
    seconds: dict[Way, float] = {}
    with torch.enable_grad(), torch.autocast("cuda", enabled=False):
        inputs = (
            torch.zeros(x, dtype=precision, device=device)
            .contiguous(memory_format=torch.channels_last)
            .requires_grad_()
        )
        weights = torch.zeros(weight, dtype=precision, device=device).requires_grad_()
        for way in ways(weight[2:]):
            try:
                seconds[way] = _seconds(partial(_both_ways, inputs, weights, way, shape))
            except torch.OutOfMemoryError:
                continue
    return min(seconds, key=lambda way: seconds[way], default="grouped")


def _both_ways(x: Tensor, weight: Tensor, way: Way, shape: tuple[Any, ...]) -> None:
    x.grad = weight.grad = None
    convolved(x, weight, way, shape).sum().backward()  # type: ignore[no-untyped-call]


def _seconds(action: Callable[[], None]) -> float:
    for _ in range(3):
        action()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(10):
        action()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def chosen_ways(module: nn.Module) -> list[str]:
    """Return the way of every convolution of copies, in order; empty where none is chosen."""
    return [part.way or "" for part in module.modules() if isinstance(part, SeededConv)]


def choose_ways(module: nn.Module, names: Sequence[str]) -> None:
    """Take up ways that were chosen before. Raises ValueError where they are another module's."""
    parts = [part for part in module.modules() if isinstance(part, SeededConv)]
    for part, name in zip(parts, names, strict=True):
        part.way = next((way for way in get_args(Way) if way == name), None)


class SeededDropout(nn.Module):
    """Dropout from a random stream of each copy's own, so that a seed means the same masks whatever
    else draws numbers.

    Streams are the processor's on every device. `ahead` keeps a mask that `redraw` fills, for a
    step that is recorded once.
    """

    def __init__(self, input: Shape, rate: float, copies: int) -> None:
        super().__init__()
        self.input, self.rate, self.generators = (
            input,
            rate,
            [torch.Generator() for _ in range(copies)],
        )
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
        keep = (
            torch.cat(
                [torch.rand(own, generator=generator) for generator in self.generators], dim=1
            )
            >= self.rate
        )
        return keep / (1 - self.rate)


class Classifiers(nn.Module):
    """The classifiers of several copies as one batched product: N×(K·C)×H×W in, N×K×classes out."""

    def __init__(self, floats: int, classes: int, copies: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(copies, classes, floats))
        self.bias = nn.Parameter(torch.empty(copies, 1, classes))

    def forward(self, x: Tensor) -> Tensor:
        own = copies_of(x.flatten(1), len(self.weight)).transpose(0, 1)
        return torch.baddbmm(self.bias, own, self.weight.transpose(1, 2)).transpose(0, 1)
