"""Defines the parts of training steps and evaluations: loss, precision, layout, prediction."""

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from blocksearch.arch.cost import cost
from blocksearch.arch.layers import Dropout, Layers, Linear, UserModel
from blocksearch.errors import ConfigError
from blocksearch.training.batches import Gather
from blocksearch.training.build import build
from blocksearch.training.recipe import Precision

EVALUATION_BATCH = 500  # images that are judged together, where their maps are small
SMALL = 2**18  # peak activations of a small image's maps
LARGE = 2**25  # and of a batch of larger ones
_LARGEST_KEPT = 31 * 2**20  # bytes


def keep_freed_memory() -> None:
    """Let the C library keep what a step frees for the next one, by freeing one large block.

    glibc returns freed memory to the system above a bound that it sets by the largest block that
    it saw freed, up to 32 MiB. Below that each step gets its large tensors anew, page by page,
    which took 15 % of a small network's steps.
    """
    torch.empty(_LARGEST_KEPT, dtype=torch.uint8)


def with_dropout(layers: Layers, rate: float | None) -> Layers:
    """Replace the dropout before the classifier; None keeps the network's own, 0 removes it.

    Raises ConfigError for a user's model.
    """
    if rate is None:
        return layers
    if is_users(layers):
        raise ConfigError("a recipe cannot set the dropout of a model of yours: set it there")
    *body, classifier = (layer for layer in layers if not isinstance(layer, Dropout))
    assert isinstance(classifier, Linear)
    dropout = (Dropout(classifier.input, rate),) if rate else ()
    return (*body, *dropout, replace(classifier))


def batches_per_epoch(images: int, batch: int) -> int:
    """Return the full batches in an epoch; fewer images than a batch make one smaller batch."""
    return max(1, images // batch)


def evaluation_batch(layers: Layers) -> int:
    """Return how many images are evaluated together, fewer if a network's maps are large.

    It depends on the layers alone, since the size of a batch decides how sums are rounded. Images
    of 32×32 are judged by `EVALUATION_BATCH` in all networks of the paper. Images count twice,
    because the first convolution copies them into a layout of its own.
    """
    peak = max(cost(layers).peak_activations, 2 * layers[0].input.elements)
    return EVALUATION_BATCH if peak <= SMALL else max(1, min(EVALUATION_BATCH, LARGE // peak))


def in_precision(precision: Precision, device: torch.device) -> torch.autocast:
    """Return the context in which layers multiply in a precision; what must not is left in single
    by torch's own lists.
    """
    match precision:
        case "float32":
            lower = False
        case "bfloat16":
            lower = True
        case _:
            assert_never(precision)
    return torch.autocast(device.type, torch.bfloat16, enabled=lower)


def seed_losses(
    logits: Tensor, labels: Tensor, smoothing: float, weights: Tensor | None = None
) -> Tensor:
    """Cross entropy of each of K seeds: logits N×K×classes, or N×classes of one, and labels N×K
    give K numbers.

    With a weight for each class it is the weighted mean, as torch's own is.
    """
    single = logits.to(torch.promote_types(logits.dtype, torch.float32))
    flat, own = single.reshape(labels.numel(), -1), labels.flatten()
    weights = None if weights is None else weights.to(flat.dtype)
    losses = functional.cross_entropy(
        flat, own, weight=weights, label_smoothing=smoothing, reduction="none"
    ).view(labels.shape)
    if weights is None:
        return losses.mean(0)
    total = weights[labels].sum(0)  # 0 where a batch has only images of classes that do not count
    return losses.sum(0) / torch.where(total > 0, total, torch.ones_like(total))


def class_weights(
    wanted: str | tuple[float, ...] | None, labels: NDArray[np.int64], classes: int
) -> NDArray[np.float32] | None:
    """Return a weight for each class, None if all count alike.

    Balanced ones are in inverse proportion to the class's training images, and have a mean of 1
    over the images; a class without images has 0.
    """
    if wanted is None:
        return None
    if isinstance(wanted, tuple):
        return np.array(wanted, np.float32)
    counts = np.bincount(labels, minlength=classes)
    shares = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return np.where(counts > 0, shares, 0).astype(np.float32)


def is_users(layers: Layers) -> bool:
    """Return whether this is a user's model, which trains seed by seed in torch's layout."""
    return isinstance(layers[0], UserModel)


def name_of(layers: Layers) -> str:
    """Return what a user's model was made by, "" for a network of ours."""
    first = layers[0]
    return first.source.name if isinstance(first, UserModel) and first.source else ""


def module_for(layers: Layers, seeds: Sequence[int], device: torch.device) -> nn.Module:
    """Build a network to be trained, with weights of convolutions in channels-last layout."""
    module = build(layers, *seeds)
    if not is_users(layers):
        for parameter in module.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return module.to(device)


@torch.no_grad()
def predict(
    module: nn.Module,
    judge: Gather,
    images: int,
    copies: int,
    device: torch.device,
    batch: int = EVALUATION_BATCH,
) -> NDArray[np.uint16]:
    """Return the class that each copy gives each image, N×K; `batch` images are judged together."""
    module.eval()
    found = []
    for start in range(0, images, batch):
        indices = torch.arange(start, min(start + batch, images), device=device)
        x, _ = judge(indices[:, None].repeat(1, copies))
        found.append(module(x).reshape(len(x), copies, -1).argmax(2))
    return torch.cat(found).cpu().numpy().astype(np.uint16)
