"""Fuses batch normalisation with the activation that follows it, in two passes over memory each
forward and backward.

The thinnest networks spend half of their training in these two layers when each is an operator of
its own.
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
    """Batch normalisation, then `slope` times what is not positive: 0 is ReLU, 1 is no activation.
    N×C×H×W in and out.

    Parameters, running statistics and results are those of `BatchNorm2d` with the activation after
    it, which is also what runs wherever the loops of `kernels` do not: on other devices, in other
    precisions, in evaluation, in what `torch.compile` makes.
    """

    def __init__(self, channels: int, slope: float = LINEAR) -> None:
        super().__init__(channels)
        self.slope = slope

    def extra_repr(self) -> str:
        """Say what is printed of it."""
        return f"{self.num_features}, slope={self.slope:g}"

    def forward(self, x: Tensor) -> Tensor:
        plain = x.device.type == "cpu" and x.dtype == torch.float32 and type(x) is Tensor
        # Tensors without values, as in an export, have no loops, and dynamo cannot read them.
        if not (self.training and plain) or torch.compiler.is_compiling():
            return self._by_torch(x)
        applied: tuple[Tensor, Tensor] = _Function.apply(
            x, self.weight, self.bias, self.eps, self.slope
        )  # type: ignore[no-untyped-call]
        y, (mean, variance) = applied
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
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, slope: float
    ) -> tuple[Tensor, Tensor]:
        x = x.contiguous(memory_format=torch.channels_last)
        y, rows = torch.empty_like(x), _wide(x)
        kept, statistics = np.empty((3, rows.shape[1]), np.float32), torch.empty(2, len(weight))
        ctx.eps, ctx.slope, ctx.kept = eps, np.float32(slope), kept
        affine = weight.numpy(), bias.numpy()
        kernels.normalised(rows, *affine, eps, ctx.slope, _wide(y), kept, statistics.numpy())
        ctx.save_for_backward(x, statistics)
        ctx.mark_non_differentiable(statistics)
        return y, statistics

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, statistics = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx, d_affine = torch.empty_like(x), torch.empty_like(statistics)
        known = ctx.kept, statistics.numpy(), ctx.eps, ctx.slope
        kernels.normalised_gradient(_wide(dy), _wide(x), *known, _wide(dx), d_affine.numpy())
        return dx, *d_affine, None, None


def _wide(x: Tensor) -> NDArray[np.float32]:
    """View a channels-last tensor as rows of channels, some laid end to end."""
    channels = x.shape[1]
    rows = x.numel() // channels
    repeats = kernels.wide(rows, channels)
    view: NDArray[np.float32] = (
        x.permute(0, 2, 3, 1).numpy().reshape(rows // repeats, repeats * channels)
    )
    return view
