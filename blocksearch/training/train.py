"""Train one network, with one seed or several at once: a pure function of layers, images, recipe and seeds.

Several seeds are one fused module (see `build`), each with its own weights, batch order, dropout and fate; what happens to one
does not touch the others. A training can be stopped after any step and taken up again to the same bits.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from blocksearch.space.layers import Dropout, Layers, Linear
from blocksearch.training import kernels
from blocksearch.training.build import SeededDropout, build
from blocksearch.training.protocol import Images, Prepared
from blocksearch.training.recipe import Recipe

EVALUATION_BATCH = 500

State = Literal["complete", "diverged", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What one training gave. `accuracies` (percent) and `losses` (mean over the epoch) have one entry per finished epoch;
    `right` holds one bit per evaluated image, in the protocol's order, after the last epoch. `seconds` is a seed's share."""

    state: State
    reason: str
    accuracies: tuple[float, ...]
    losses: tuple[float, ...]
    right: NDArray[np.bool_]
    seconds: float


def train(layers: Layers, data: Prepared, recipe: Recipe, seed: int, on_epoch: Callable[[int], None] | None = None) -> Outcome:
    """Train for the recipe's horizon and evaluate after each epoch; the last epoch is the result, never the best one.

    Seed s gives the same batch order to every network, and weights and dropout from streams of their own. Repeated with the
    same number of threads it is bit-identical. A loss that is not finite ends the run as `diverged`.
    """
    training = Training(layers, data, recipe, [seed])
    while not training.finished:
        if training.step() and on_epoch:
            on_epoch(training.epoch)
    return training.outcomes()[0]


class Training:
    """A training in progress: stepped, stopped, stored and taken up again."""

    def __init__(self, layers: Layers, data: Prepared, recipe: Recipe, seeds: Sequence[int]) -> None:
        self.data, self.recipe, self.seeds = data, recipe, tuple(seeds)
        self.module = channels_last(build(with_dropout(layers, recipe.dropout), *self.seeds))
        self.optimizer = torch.optim.Adam(
            self.module.parameters(),
            lr=recipe.learning_rate,
            betas=(recipe.beta1, recipe.beta2),
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self.steps_per_epoch = batches_per_epoch(len(data.training.labels), recipe.batch)
        self.epoch = self.batch = 0
        self.seconds = 0.0
        self._orders = [np.random.Generator(np.random.PCG64(seed)) for seed in self.seeds]
        self._order_states = self._draw_orders()
        self._epoch_losses: list[NDArray[np.float64]] = []
        self.losses: list[NDArray[np.float64]] = []
        self.accuracies: list[NDArray[np.float64]] = []
        self.right = np.zeros((0, len(self.seeds)), bool)
        self.reasons = [""] * len(self.seeds)

    @property
    def finished(self) -> bool:
        """No step is left: the horizon is reached, or every seed has diverged."""
        return self.epoch == self.recipe.epochs or all(self.reasons)

    def step(self) -> bool:
        """Take one step; after the last of an epoch, evaluate. Return whether an epoch ended."""
        start = time.perf_counter()
        done, batch = self.epoch * self.steps_per_epoch + self.batch, self.recipe.batch
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate_at(done, self.recipe.epochs * self.steps_per_epoch)
        self.module.train()
        chosen = self._permutations[:, self.batch * batch : (self.batch + 1) * batch]
        losses = self._descend(*batch_tensor(self.data.training, chosen[0] if len(self.seeds) == 1 else chosen.T, self.data))
        self.batch += 1
        self._note(losses)
        ended = self.batch == self.steps_per_epoch and not all(self.reasons)
        if ended:
            self._end_epoch()
        self.seconds += time.perf_counter() - start
        return ended

    def outcomes(self) -> list[Outcome]:
        """Return what the training gave for each seed."""
        return [self._outcome(place) for place in range(len(self.seeds))]

    def state(self) -> dict[str, NDArray[Any]]:
        """Return everything that the next step depends on, as arrays by name."""
        arrays = {f"module/{name}": tensor.numpy() for name, tensor in self.module.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            arrays |= {f"adam/{index}/{name}": tensor.numpy() for name, tensor in moments.items()}
        arrays |= {f"dropout/{i}": generator.get_state().numpy() for i, generator in enumerate(self._dropout_generators())}
        arrays |= {f"order/{i}": state for i, state in enumerate(self._order_states)}
        return arrays | {
            "at": np.array([self.epoch, self.batch]),
            "seconds": np.array(self.seconds),
            "epoch_losses": _rows(self._epoch_losses, len(self.seeds)),
            "losses": _rows(self.losses, len(self.seeds)),
            "accuracies": _rows(self.accuracies, len(self.seeds)),
            "right": self.right,
            "reasons": np.array(self.reasons),
        }

    def load(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take up a stored state: the steps that follow give the same bits as if there had been no stop.

        Raises KeyError, ValueError or RuntimeError where the state is another training's.
        """
        named = {name: torch.from_numpy(arrays[f"module/{name}"]) for name in self.module.state_dict()}
        self.module.load_state_dict(named)
        moments = {}
        for index, parameter in enumerate(self.module.parameters()):
            if f"adam/{index}/step" in arrays:
                # The fused optimiser reads memory in order: moments are laid out as their parameter is.
                likes = {"step": torch.tensor(0.0), "exp_avg": parameter.data, "exp_avg_sq": parameter.data}
                moments[index] = {
                    name: torch.empty_like(like).copy_(torch.from_numpy(arrays[f"adam/{index}/{name}"]))
                    for name, like in likes.items()
                }
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})
        for i, generator in enumerate(self._dropout_generators()):
            generator.set_state(torch.from_numpy(arrays[f"dropout/{i}"]))
        for i, order in enumerate(self._orders):
            order.bit_generator.state = _pcg64(arrays[f"order/{i}"])
        self._order_states = self._draw_orders()
        self.epoch, self.batch = map(int, arrays["at"])
        self.seconds = float(arrays["seconds"])
        self._epoch_losses, self.losses = list(arrays["epoch_losses"]), list(arrays["losses"])
        self.accuracies, self.right = list(arrays["accuracies"]), arrays["right"]
        self.reasons = [str(reason) for reason in arrays["reasons"]]

    def _draw_orders(self) -> list[NDArray[np.uint64]]:
        """Draw each seed's order of the images for the next epoch; return what the streams were before."""
        before = [_pcg64_words(order.bit_generator.state) for order in self._orders]
        self._permutations = np.stack([order.permutation(len(self.data.training.labels)) for order in self._orders])
        return before

    def _descend(self, x: Tensor, y: Tensor) -> NDArray[np.float64]:
        """Take a step of the optimiser; return each seed's loss. Nothing is changed where every loss left the finite numbers."""
        self.optimizer.zero_grad()
        loss = seed_losses(self.module(x), y, self.recipe.label_smoothing)
        values: NDArray[np.float64] = loss.detach().numpy().astype(np.float64).reshape(-1)
        if np.isfinite(values).any():
            loss.sum().backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return values

    def _note(self, losses: NDArray[np.float64]) -> None:
        for place, loss in enumerate(losses):
            if not np.isfinite(loss) and not self.reasons[place]:
                self.reasons[place] = f"the loss became {loss} at step {self.batch} of epoch {self.epoch + 1}"
        self._epoch_losses.append(losses)

    def _end_epoch(self) -> None:
        self.losses.append(np.stack(self._epoch_losses).mean(0))
        self.right = evaluate(self.module, self.data.evaluation, self.data, len(self.seeds))
        self.accuracies.append(100 * self.right.sum(0) / len(self.right))
        self.epoch, self.batch, self._epoch_losses = self.epoch + 1, 0, []
        self._order_states = self._draw_orders()

    def _outcome(self, place: int) -> Outcome:
        reason, seconds = self.reasons[place], self.seconds / len(self.seeds)
        epochs = int(reason.rsplit(" ", 1)[1]) - 1 if reason else self.epoch
        right = np.zeros(0, bool) if reason else np.ascontiguousarray(self.right[:, place])
        accuracies = tuple(float(epoch[place]) for epoch in self.accuracies[:epochs])
        losses = tuple(float(epoch[place]) for epoch in self.losses[:epochs])
        return Outcome("diverged" if reason else "complete", reason, accuracies, losses, right, seconds)

    def _dropout_generators(self) -> list[torch.Generator]:
        return [g for part in self.module.modules() if isinstance(part, SeededDropout) for g in part.generators]


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
    """Gather a batch: floats in channels-last layout, normalised per channel, and labels.

    N indices give N×C×H×W and N; N×K indices give each of K seeds its own images, N×(K·C)×H×W and N×K.
    """
    count, *map_, channels = images.pixels.shape
    copies = indices[0].size
    x = np.empty((len(indices), *map_, copies * channels), np.float32)
    pixels, places = images.pixels.reshape(count, -1, channels), x.reshape(len(indices), -1, copies * channels)
    kernels.gathered(pixels, indices.reshape(-1, copies), *data.normalisation, places)
    return torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(images.labels[indices])


def seed_losses(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Cross entropy of N×classes logits, or of each seed's for N×K×classes: one number, or K."""
    if logits.dim() == 2:
        return functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    each = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=smoothing, reduction="none")
    return each.view(labels.shape).mean(0)


def channels_last(module: nn.Module) -> nn.Module:
    """Put the weights of convolutions in channels-last layout."""
    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return module


@torch.no_grad()
def evaluate(module: nn.Module, images: Images, data: Prepared, copies: int = 1) -> NDArray[np.bool_]:
    """Return one bit per image and copy, N×K: was it classified right?"""
    module.eval()
    bits = []
    for start in range(0, len(images.labels), EVALUATION_BATCH):
        indices = np.arange(start, min(start + EVALUATION_BATCH, len(images.labels)))
        x, y = batch_tensor(images, indices, data)
        logits = module(x if copies == 1 else x.repeat(1, copies, 1, 1).contiguous(memory_format=torch.channels_last))
        bits.append((logits.view(len(y), copies, -1).argmax(2) == y[:, None]).numpy())
    return np.concatenate(bits)


def probe_step(layers: Layers, data: Prepared, recipe: Recipe, copies: int, steps: int) -> float:
    """Measure the median seconds of one training step, after two to warm up."""
    few = recipe.batch * min(steps + 2, batches_per_epoch(len(data.training.labels), recipe.batch))
    some = Images(data.training.pixels[:few], data.training.labels[:few])
    one = Images(data.evaluation.pixels[:1], data.evaluation.labels[:1])
    return _median_seconds(Training(layers, replace(data, training=some, evaluation=one), recipe, range(copies)).step, steps)


def probe_evaluation(layers: Layers, data: Prepared, copies: int, batches: int) -> float:
    """Measure the median seconds of one evaluation batch, after two to warm up."""
    module = channels_last(build(layers, *range(copies)))
    some = Images(data.evaluation.pixels[:EVALUATION_BATCH], data.evaluation.labels[:EVALUATION_BATCH])
    seconds = _median_seconds(lambda: evaluate(module, some, data, copies), batches)
    return seconds * EVALUATION_BATCH / len(some.labels)


def _median_seconds(action: Callable[[], object], times: int) -> float:
    seconds = []
    for _ in range(times + 2):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[2:]))


def _rows(rows: list[NDArray[np.float64]], columns: int) -> NDArray[np.float64]:
    return np.stack(rows) if rows else np.zeros((0, columns))


def _pcg64_words(state: Any) -> NDArray[np.uint64]:
    """Write a PCG64 state (two whole numbers of 128 bits, and a kept half) as words of 64 bits."""
    numbers = (state["state"]["state"], state["state"]["inc"])
    halves = [word for number in numbers for word in (number >> 64, number & (2**64 - 1))]
    return np.array([*halves, state["has_uint32"], state["uinteger"]], np.uint64)


def _pcg64(words: NDArray[np.uint64]) -> dict[str, Any]:
    high, low, inc_high, inc_low, kept, half = map(int, words)
    return {
        "bit_generator": "PCG64",
        "state": {"state": high << 64 | low, "inc": inc_high << 64 | inc_low},
        "has_uint32": kept,
        "uinteger": half,
    }
