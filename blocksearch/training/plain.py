"""Trains by the loop that a user would write by hand, against which our training is timed.

Plain torch and nothing else: default layout and threads, a Dataset and a DataLoader with two
workers, one seed after another.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from blocksearch.arch.layers import Layers
from blocksearch.data.splits import Images, Prepared
from blocksearch.errors import ConfigError
from blocksearch.training.build import build
from blocksearch.training.norm_act import LINEAR, NormAct
from blocksearch.training.optimizers import optimizer_for
from blocksearch.training.recipe import Recipe
from blocksearch.training.step import class_weights, with_dropout


class _Pictures(Dataset[tuple[torch.Tensor, int]]):
    def __init__(self, images: Images, data: Prepared) -> None:
        self.images = images
        self.scale, self.shift = (
            torch.from_numpy(values).view(-1, 1, 1) for values in data.normalisation
        )

    def __len__(self) -> int:
        return len(self.images.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        place = index if self.images.places is None else self.images.places[index]
        picture = torch.from_numpy(self.images.pixels[place].copy()).permute(2, 0, 1).float()
        return picture * self.scale + self.shift, int(self.images.labels[index])


def plain_seconds(
    layers: Layers, data: Prepared, recipe: Recipe, batches: int, warm: int, device: str
) -> float:
    """Train one seed for some batches the plain way; return the seconds of a batch, the first
    `warm` left out.
    """
    loop = _Loop(layers, data, recipe, 0, device)
    start, done = 0.0, 0
    while done < warm + batches:
        for x, y in loop.loader:
            if done == warm:
                _finish(device)
                start = time.perf_counter()
            loop.step(x, y)
            done += 1
            if done == warm + batches:
                break
    _finish(device)
    return (time.perf_counter() - start) / batches


class _Loop:
    """Everything the loop needs, set up as a user would."""

    def __init__(
        self, layers: Layers, data: Prepared, recipe: Recipe, seed: int, device: str
    ) -> None:
        if recipe.augment:
            raise ConfigError("the plain loop augments no images: time a recipe without `augment`")
        torch.manual_seed(seed)
        images = len(data.training.labels)
        self.device, self.recipe = device, recipe
        self.loader = DataLoader(
            _Pictures(data.training, data),
            recipe.batch,
            shuffle=True,
            num_workers=2,
            drop_last=images >= recipe.batch,
            persistent_workers=True,
        )
        own = build(with_dropout(layers, recipe.dropout), seed)
        self.module = _operators(own).to(device)
        self.optimizer = optimizer_for(self.module, recipe, recipe.learning_rate)
        for group in self.optimizer.param_groups:
            group["fused"] = False  # torch's default, which is what a user writes
        labels, classes = data.training.labels, len(np.unique(data.training.labels))
        weights = class_weights(recipe.class_weights, labels, classes)
        self.weights = None if weights is None else torch.from_numpy(weights).to(device)

    def step(self, x: Tensor, y: Tensor) -> None:
        self.optimizer.zero_grad()
        logits = self.module(x.to(self.device))
        functional.cross_entropy(
            logits, y.to(self.device), self.weights, label_smoothing=self.recipe.label_smoothing
        ).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()


def _finish(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def _operators(module: nn.Module) -> nn.Module:
    """Put torch's own operators in the place of normalisation and activation in one step."""
    for name, part in list(module.named_children()):
        if isinstance(part, NormAct):
            activation: nn.Module = nn.LeakyReLU(part.slope) if part.slope else nn.ReLU()
            if part.slope == LINEAR:
                activation = nn.Identity()
            setattr(module, name, nn.Sequential(nn.BatchNorm2d(part.num_features), activation))
        else:
            _operators(part)
    return module


def copied_bytes_per_second(device: str) -> float:
    """Measure how fast memory is read and written, by a copy much larger than the caches, counting
    both directions.
    """
    source = torch.ones(1 << (24 if device == "cpu" else 27), device=device)
    target = torch.empty_like(source)
    return _best_rate(lambda: target.copy_(source), 2 * 4 * source.numel(), device)


def multiplied_flops_per_second(device: str) -> float:
    """Measure how fast square matrices are multiplied."""
    side = 1024 if device == "cpu" else 8192
    one, other = torch.ones(side, side, device=device), torch.ones(side, side, device=device)
    return _best_rate(lambda: torch.mm(one, other), 2 * side**3, device)


def _best_rate(work: Callable[[], object], amount: int, device: str) -> float:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        work()
        _finish(device)
        times.append(time.perf_counter() - start)
    return amount / min(times)
