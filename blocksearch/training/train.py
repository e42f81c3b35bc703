"""Train one network with one seed and say how it went: a pure function of layers, images, recipe and seed."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from blocksearch.space.layers import Dropout, Layers, Linear
from blocksearch.training.build import build
from blocksearch.training.protocol import Images, Prepared
from blocksearch.training.recipe import Recipe

EVALUATION_BATCH = 500

State = Literal["complete", "diverged", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What one training gave. `accuracies` (percent) and `losses` (mean over the epoch) have one entry per finished epoch;
    `right` holds one bit per evaluated image, in the protocol's order, after the last epoch."""

    state: State
    reason: str
    accuracies: tuple[float, ...]
    losses: tuple[float, ...]
    right: NDArray[np.bool_]
    seconds: float


class DivergedError(Exception):
    """The loss left the finite numbers."""


def train(layers: Layers, data: Prepared, recipe: Recipe, seed: int, on_epoch: Callable[[int], None] | None = None) -> Outcome:
    """Train for the recipe's horizon and evaluate after each epoch; the last epoch is the result, never the best one.

    Seed s gives the same batch order to every network, and weights and dropout from streams of their own. Repeated with the
    same number of threads it is bit-identical. A loss that is not finite ends the run as `diverged`.
    """
    start, order = time.perf_counter(), np.random.Generator(np.random.PCG64(seed))
    module = _channels_last(build(with_dropout(layers, recipe.dropout), seed))
    steps_per_epoch = batches_per_epoch(len(data.training.labels), recipe.batch)
    optimizer = torch.optim.Adam(
        module.parameters(),
        lr=recipe.learning_rate,
        betas=(recipe.beta1, recipe.beta2),
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    accuracies: list[float] = []
    losses: list[float] = []
    right, reason = np.zeros(0, bool), ""
    for epoch in range(recipe.epochs):
        permutation = order.permutation(len(data.training.labels))
        rates = (recipe.rate_at(epoch * steps_per_epoch + k, recipe.epochs * steps_per_epoch) for k in range(steps_per_epoch))
        try:
            losses.append(_epoch(module, optimizer, data, recipe, permutation, rates))
        except DivergedError as error:
            right, reason = np.zeros(0, bool), f"{error} of epoch {epoch + 1}"
            break
        right = evaluate(module, data.evaluation, data)
        accuracies.append(100 * int(right.sum()) / len(right))
        if on_epoch:
            on_epoch(epoch + 1)
    state: State = "diverged" if reason else "complete"
    return Outcome(state, reason, tuple(accuracies), tuple(losses), right, time.perf_counter() - start)


def with_dropout(layers: Layers, rate: float | None) -> Layers:
    """Replace the dropout before the classifier; None keeps the network's own, 0 removes it."""
    if rate is None:
        return layers
    *body, classifier = (layer for layer in layers if not isinstance(layer, Dropout))
    assert isinstance(classifier, Linear)
    dropout = (Dropout(classifier.input, rate),) if rate else ()
    return (*body, *dropout, replace(classifier))


def batches_per_epoch(images: int, batch: int) -> int:
    """Full batches in an epoch; fewer images than a batch make one smaller batch."""
    return max(1, images // batch)


def batch_tensor(images: Images, indices: NDArray[np.int64], data: Prepared) -> tuple[Tensor, Tensor]:
    """Gather a batch: N×C×H×W float32 in channels-last layout, normalised per channel, and N labels."""
    pixels = torch.from_numpy(np.take(images.pixels, indices, axis=0)).permute(0, 3, 1, 2)
    scale, shift = (torch.from_numpy(values).view(1, -1, 1, 1) for values in data.normalisation)
    return pixels.float().mul_(scale).add_(shift), torch.from_numpy(images.labels[indices])


def _channels_last(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return module


def _epoch(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Prepared,
    recipe: Recipe,
    permutation: NDArray[np.int64],
    rates: Iterator[float],
) -> float:
    module.train()
    losses = []
    for step, rate in enumerate(rates):
        indices = permutation[step * recipe.batch : (step + 1) * recipe.batch]
        x, y = batch_tensor(data.training, indices, data)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss = functional.cross_entropy(module(x), y, label_smoothing=recipe.label_smoothing)
        if not torch.isfinite(loss):
            raise DivergedError(f"the loss became {loss.item()} at step {step + 1}")
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    return float(np.mean(losses))


@torch.no_grad()
def evaluate(module: nn.Module, images: Images, data: Prepared) -> NDArray[np.bool_]:
    """Return one bit per image: was it classified right?"""
    module.eval()
    bits = []
    for start in range(0, len(images.labels), EVALUATION_BATCH):
        indices = np.arange(start, min(start + EVALUATION_BATCH, len(images.labels)))
        x, y = batch_tensor(images, indices, data)
        bits.append((module(x).argmax(1) == y).numpy())
    return np.concatenate(bits)


def probe(layers: Layers, data: Prepared, recipe: Recipe, steps: int) -> tuple[float, float]:
    """Measure the median seconds of one training step and of one evaluation batch, after two of each to warm up."""
    module = _channels_last(build(with_dropout(layers, recipe.dropout), 0))
    optimizer = torch.optim.Adam(module.parameters(), lr=recipe.learning_rate, fused=True)
    indices = np.arange(min(recipe.batch, len(data.training.labels)))
    one = Images(data.evaluation.pixels[:EVALUATION_BATCH], data.evaluation.labels[:EVALUATION_BATCH])
    step = _median_seconds(lambda: _epoch(module, optimizer, data, recipe, indices, iter([0.0])), steps)
    evaluation = _median_seconds(lambda: evaluate(module, one, data), steps)
    return step, evaluation * EVALUATION_BATCH / len(one.labels)


def _median_seconds(action: Callable[[], object], times: int) -> float:
    seconds = []
    for _ in range(times + 2):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[2:]))
