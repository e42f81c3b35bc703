"""Batch normalisation together with the activation that follows it, forward and backward each in two passes over memory.

The thinnest networks spend half of their training in these two layers when each is an operator of its own.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from blocksearch.training import kernels

LINEAR = 1.0  # the slope of no activation


class NormAct(nn.BatchNorm2d):
    """Batch normalisation, then `slope` times what is not positive: 0 is ReLU, 1 is no activation. N×C×H×W in and out.

    Parameters, running statistics and results are those of `BatchNorm2d` with the activation after it, which is also what runs
    wherever the loops of `kernels` do not: on other devices, in other precisions, in evaluation.
    """

    def __init__(self, channels: int, slope: float = LINEAR) -> None:
        super().__init__(channels)
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and x.device.type == "cpu" and x.dtype == torch.float32):
            return self._by_torch(x)
        applied: tuple[Tensor, Tensor, Tensor] = _Function.apply(x, self.weight, self.bias, self.eps, self.slope)  # type: ignore[no-untyped-call]
        y, mean, variance = applied
        self._remember(mean, variance, x.numel() // x.shape[1])
        return y

    def _by_torch(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        match self.slope:
            case 1.0:
                return y
            case 0.0:
                return functional.relu_(y)
            case _:
                return functional.leaky_relu_(y, self.slope)

    def _remember(self, mean: Tensor, variance: Tensor, rows: int) -> None:
        assert self.momentum is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (rows / max(1, rows - 1)), self.momentum)


class _Function(torch.autograd.Function):
    @staticmethod
    @np.errstate(all="ignore")  # a seed that diverges is found by its loss
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, slope: float) -> tuple[Tensor, Tensor, Tensor]:
        x = x.contiguous(memory_format=torch.channels_last)
        y = torch.empty_like(x)
        rows, columns = _wide(x), _wide(y)
        repeats = rows.shape[1] // x.shape[1]
        origin = np.tile(_rows(x)[0], repeats)  # sums of squares near a value of x's own lose no digits to the mean
        total, squares = np.zeros(len(origin)), np.zeros(len(origin))
        kernels.moments(rows, origin, total, squares)
        count = x.numel() // x.shape[1]
        offset = _folded(total, repeats) / count
        variance = np.maximum(_folded(squares, repeats) / count - offset**2, 0)
        mean = offset + origin[: x.shape[1]]
        inverse = 1 / np.sqrt(variance + eps)
        scale = weight.numpy() * inverse
        constants = _tiled(scale, repeats), _tiled(bias.numpy() - mean * scale, repeats), np.float32(slope)
        kernels.scaled(rows, *constants, columns)
        ctx.save_for_backward(x)
        ctx.constants, ctx.mean, ctx.inverse = constants, mean, inverse
        answers = y, torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(variance.astype(np.float32))
        ctx.mark_non_differentiable(*answers[1:])
        return answers

    @staticmethod
    @np.errstate(all="ignore")
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        (x,) = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx = torch.empty_like(x)
        rows, gradients = _wide(x), _wide(dy)
        scale, shift, slope = ctx.constants
        repeats = len(scale) // x.shape[1]
        total, products = np.zeros(len(scale)), np.zeros(len(scale))
        mean = _tiled(ctx.mean, repeats)
        kernels.gradient_moments(gradients, rows, scale, shift, mean, slope, total, products)
        count, own = x.numel() // x.shape[1], scale[: x.shape[1]].astype(np.float64)
        d_bias, d_weight = _folded(total, repeats), _folded(products, repeats) * ctx.inverse
        along = _tiled(-own * ctx.inverse * d_weight / count, repeats)
        constant = _tiled(-own * d_bias / count, repeats)
        kernels.gradient(gradients, rows, scale, shift, mean, slope, along, constant, _wide(dx))
        return dx, _single(d_weight), _single(d_bias), None, None


def _rows(x: Tensor) -> NDArray[np.float32]:
    """View a channels-last tensor as one row of channels for each pixel."""
    rows: NDArray[np.float32] = x.detach().permute(0, 2, 3, 1).reshape(-1, x.shape[1]).numpy()
    return rows


def _wide(x: Tensor) -> NDArray[np.float32]:
    rows = _rows(x)
    repeats = kernels.wide(*rows.shape)
    return rows.reshape(len(rows) // repeats, -1)


def _folded(sums: NDArray[np.float64], repeats: int) -> NDArray[np.float64]:
    folded: NDArray[np.float64] = sums.reshape(repeats, -1).sum(0)
    return folded


def _tiled(values: NDArray[np.float64], repeats: int) -> NDArray[np.float32]:
    return np.tile(values.astype(np.float32), repeats)


def _single(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
