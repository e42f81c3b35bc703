"""Records a training step once and replays it, by one launch on a GPU in place of hundreds."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

# steps on another stream, so that libraries choose their ways before anything is recorded
_WARM_UP = 3


class RecordedStep:
    """Takes the same step as `body`, on indices and losses that stay in one place.

    Where there is no CUDA graph to record it calls the body, so that all else about it can be held
    against the plain step.
    """

    def __init__(
        self, body: Callable[[Tensor], Tensor], module: nn.Module, optimizer: torch.optim.Optimizer
    ) -> None:
        self._body, self._module, self._optimizer = body, module, optimizer
        self._indices: Tensor | None = None
        self._losses = torch.empty(0)
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, indices: Tensor) -> Tensor:
        if self._indices is None:
            self._indices = indices.clone()
            if indices.is_cuda:
                self._record(self._indices)
        self._indices.copy_(indices)
        if self._graph is None:
            self._losses = self._body(self._indices)
        else:
            self._graph.replay()
        return self._losses.clone()

    def _record(self, indices: Tensor) -> None:
        weights = [(tensor, tensor.clone()) for tensor in self._module.state_dict().values()]
        moments = {id(tensor): tensor.clone() for tensor in self._moments()}
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP):
                self._body(indices)
        torch.cuda.current_stream().wait_stream(side)
        with torch.no_grad():
            for tensor, before in weights:
                tensor.copy_(before)
            for tensor in self._moments():
                # Adam starts from zeros
                tensor.copy_(moments.get(id(tensor), torch.zeros_like(tensor)))
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._losses = self._body(indices)

    def _moments(self) -> list[Tensor]:
        return [
            value
            for state in self._optimizer.state.values()
            for value in state.values()
            if isinstance(value, Tensor)
        ]
