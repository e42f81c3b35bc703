"""Trains one network, with one seed or several at once, as a pure function of layers, images,
recipe and seeds.

Several seeds are one fused module (see `build`), each with its own weights, batch order, dropout
and fate; what happens to one does not touch the others. A training can be stopped after any step
and taken up again to the same bits.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blocksearch.arch.layers import Layers, Linear, UserModel
from blocksearch.data.splits import Prepared
from blocksearch.training.batches import gather
from blocksearch.training.build import build
from blocksearch.training.modules import SeededDropout
from blocksearch.training.optimizers import optimizer_for, restore, stored
from blocksearch.training.outcome import Divergence, Outcome
from blocksearch.training.recipe import Recipe
from blocksearch.training.record import RecordedStep
from blocksearch.training.schedules import SCHEDULES
from blocksearch.training.step import (
    batches_per_epoch,
    class_weights,
    evaluation_batch,
    in_precision,
    is_users,
    keep_freed_memory,
    module_for,
    name_of,
    predict,
    seed_losses,
    with_dropout,
)
from blocksearch.training.transforms import Augmentation
from blocksearch.training.users import Draws


class Training:
    """A training in progress: stepped, stopped, stored and taken up again. It ends at the recipe's
    horizon; the last accuracy is the result, never the best one.

    Seed s gives the same batch order to every network, and weights and dropout from streams of
    their own. Repeated with the same number of threads it is bit-identical. A loss that is not
    finite ends a seed's run as diverged.

    On a GPU the step is recorded (`recorded` says so, and can be asked for anywhere), and losses
    wait there for the epoch's end.
    """

    def __init__(
        self,
        layers: Layers,
        data: Prepared,
        recipe: Recipe,
        seeds: Sequence[int],
        device: str = "cpu",
        *,
        recorded: bool | None = None,
    ) -> None:
        recipe.load_sources()
        keep_freed_memory()
        self.layers, self.data, self.recipe = layers, data, recipe
        self.seeds, self.device = tuple(seeds), torch.device(device)
        on_gpu = self.device.type == "cuda" and not is_users(layers)
        self.recorded = on_gpu if recorded is None else recorded
        self.module = module_for(with_dropout(layers, recipe.dropout), self.seeds, self.device)
        self._draws = Draws(name_of(layers), self.seeds[0], self.device)
        rate = recipe.learning_rate
        self.optimizer = optimizer_for(
            self.module, recipe, torch.tensor(rate, device=self.device) if self.recorded else rate
        )
        self._schedule = SCHEDULES.made(recipe.schedule)
        self._class_weights = self._weights_of_classes()
        images, batch = len(data.training.labels), recipe.batch
        self.steps_per_epoch = batches_per_epoch(images, batch)
        self._learn = gather(data.training, data, self.device, self._augmentation())
        self._judge = gather(data.evaluation, data, self.device)
        self._descend = (
            RecordedStep(self._body, self.module, self.optimizer) if self.recorded else self._body
        )
        for dropout in self._dropouts():
            if self.recorded:
                dropout.ahead(min(images, batch), self.device)
        self.epoch = self.batch = 0
        self.seconds = 0.0
        self._orders = [np.random.Generator(np.random.PCG64(seed)) for seed in self.seeds]
        self._order_states = self._draw_orders()
        self._unread: list[Tensor] = []
        self._epoch_losses: list[NDArray[np.float64]] = []
        self.losses: list[NDArray[np.float64]] = []
        self.accuracies: list[NDArray[np.float64]] = []
        self.predictions = np.zeros((0, len(self.seeds)), np.uint16)
        self.divergences: list[Divergence | None] = [None] * len(self.seeds)

    @property
    def finished(self) -> bool:
        """No step is left: the horizon is reached, or every seed has diverged."""
        return self.epoch == self.recipe.epochs or all(self.divergences)

    def step(self) -> bool:
        """Take one step; after the last of an epoch, evaluate where it is time. Return whether an
        epoch ended.
        """
        start = time.perf_counter()
        self._set_rate()
        self.module.train()
        for dropout in self._dropouts():
            dropout.redraw()
        batch = self.recipe.batch
        done = self.epoch * self.steps_per_epoch + self.batch
        self._learn.draw(done, min(batch, len(self.data.training.labels)))
        with self._draws.lent():
            self._unread.append(
                self._descend(self._permutations[self.batch * batch : (self.batch + 1) * batch])
            )
        self.batch += 1
        last = self.batch == self.steps_per_epoch
        if last or not self.recorded:
            self._read_losses()
        ended = last and not all(self.divergences)
        if ended:
            with self._draws.lent():
                self._end_epoch()
        self.seconds += time.perf_counter() - start
        return ended

    def outcomes(self) -> list[Outcome]:
        """Return what the training gave for each seed."""
        return [self._outcome(place) for place in range(len(self.seeds))]

    def state(self) -> dict[str, NDArray[Any]]:
        """Return everything that the next step depends on, as arrays by name."""
        self._read_losses()
        arrays = {
            f"module/{name}": tensor.cpu().numpy().copy()
            for name, tensor in self.module.state_dict().items()
        }
        arrays |= stored(self.optimizer) | self._draws.stored()
        arrays |= {
            f"dropout/{i}": generator.get_state().numpy()
            for i, generator in enumerate(self._dropout_generators())
        }
        arrays |= {f"order/{i}": state for i, state in enumerate(self._order_states)}
        return arrays | {
            "at": np.array([self.epoch, self.batch]),
            "seconds": np.array(self.seconds),
            "epoch_losses": _rows(self._epoch_losses, len(self.seeds)),
            "losses": _rows(self.losses, len(self.seeds)),
            "accuracies": _rows(self.accuracies, len(self.seeds)),
            "predictions": self.predictions,
            "divergences": np.array([_numbers(each) for each in self.divergences]),
        }

    def weights(self, place: int) -> dict[str, NDArray[Any]]:
        """Return the state dict of one seed's network, as `build(layers, seed)` names it: a dropout
        that the recipe adds or leaves out changes no name.

        What the module of several seeds holds copy by copy is cut out for the one at `place`. Those
        of a user's model have its own names.
        """
        if is_users(self.layers):
            return {n: own.cpu().numpy().copy() for n, own in self.module.state_dict().items()}
        single = build(self.layers, device="meta").state_dict()
        whole = self.module.state_dict()
        found = {}
        for (name, meta), own in zip(single.items(), whole.values(), strict=True):
            each = own.cpu().reshape(-1, *meta.shape)
            found[name] = each[place if len(each) > 1 else 0].contiguous().numpy().copy()
        return found

    def load(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take up a stored state: the steps that follow give the same bits as if there had been no
        stop.

        Raises KeyError, ValueError or RuntimeError if the state is another training's.
        """
        named = {
            name: torch.from_numpy(arrays[f"module/{name}"]) for name in self.module.state_dict()
        }
        self.module.load_state_dict(named)
        restore(self.optimizer, arrays)
        self._draws.restore(arrays)
        for i, generator in enumerate(self._dropout_generators()):
            generator.set_state(torch.from_numpy(arrays[f"dropout/{i}"]))
        for i, order in enumerate(self._orders):
            order.bit_generator.state = _pcg64(arrays[f"order/{i}"])
        self._order_states = self._draw_orders()
        self.epoch, self.batch = map(int, arrays["at"])
        self.seconds = float(arrays["seconds"])
        self._epoch_losses, self.losses = list(arrays["epoch_losses"]), list(arrays["losses"])
        self.accuracies, self.predictions = list(arrays["accuracies"]), arrays["predictions"]
        self.divergences = [_divergence(row) for row in arrays["divergences"]]

    def _augmentation(self) -> Augmentation | None:
        map_ = self.data.training.pixels.shape[1:3]
        own = self.recipe.augment
        return Augmentation(own, (map_[0], map_[1]), self.seeds) if own else None

    def _weights_of_classes(self) -> Tensor | None:
        classifier = self.layers[-1]
        assert isinstance(classifier, Linear | UserModel)
        labels = self.data.training.labels
        found = class_weights(self.recipe.class_weights, labels, classifier.classes)
        return None if found is None else torch.from_numpy(found).to(self.device)

    def _draw_orders(self) -> list[NDArray[np.uint64]]:
        """Draw each seed's order of the images for the next epoch; return what the streams were
        before.
        """
        before = [_pcg64_words(order.bit_generator.state) for order in self._orders]
        orders = np.stack(
            [order.permutation(len(self.data.training.labels)) for order in self._orders], axis=1
        )
        self._permutations = torch.from_numpy(orders).to(self.device)
        return before

    def _set_rate(self) -> None:
        done = self.epoch * self.steps_per_epoch + self.batch
        share = self._schedule(done, self.recipe.epochs * self.steps_per_epoch)
        rate = self.recipe.learning_rate * share
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)  # a recorded step reads it from there
            else:
                group["lr"] = rate

    def _body(self, indices: Tensor) -> Tensor:
        """Take a step of the optimiser on N×K images; return each seed's loss.

        On the processor nothing is changed where every loss left the finite numbers; a GPU is not
        waited for to find out.
        """
        x, y = self._learn(indices)
        self.optimizer.zero_grad()
        with in_precision(self.recipe.precision, self.device):
            logits = self.module(x)
        losses = seed_losses(logits, y, self.recipe.label_smoothing, self._class_weights)
        if self.device.type != "cpu" or bool(losses.isfinite().any()):
            losses.sum().backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return losses.detach()

    def _read_losses(self) -> None:
        """Bring losses from the device, and note which seeds diverged where."""
        rows = [losses.cpu().numpy().astype(np.float64) for losses in self._unread]
        for step, losses in enumerate(rows, self.batch - len(rows) + 1):
            for place, loss in enumerate(losses):
                if not np.isfinite(loss) and not self.divergences[place]:
                    self.divergences[place] = Divergence(self.epoch + 1, step, float(loss))
        self._epoch_losses += rows
        self._unread.clear()

    def _check_weights(self) -> None:
        """Note which seeds the last step left with weights that are no finite numbers: nothing
        comes after it whose loss would say so.
        """
        if all(bool(own.isfinite().all()) for own in self.module.parameters()):
            return
        alone = self.module if is_users(self.layers) else build(self.layers, device="meta")
        names = [name for name, _ in alone.named_parameters()]
        for place, known in enumerate(self.divergences):
            own = self.weights(place)
            if not known and not all(np.isfinite(own[name]).all() for name in names):
                self.divergences[place] = Divergence(self.epoch + 1, self.batch, np.nan)

    def _end_epoch(self) -> None:
        if self.epoch + 1 == self.recipe.epochs:
            self._check_weights()
        self.losses.append(np.stack(self._epoch_losses).mean(0))
        if not self.data.once or self.epoch + 1 == self.recipe.epochs:
            with in_precision(self.recipe.precision, self.device):
                self.predictions = predict(
                    self.module,
                    self._judge,
                    len(self.data.evaluation.labels),
                    len(self.seeds),
                    self.device,
                    evaluation_batch(self.layers),
                )
            self.accuracies.append(100 * self._right.sum(0) / len(self._right))
        self.epoch, self.batch, self._epoch_losses = self.epoch + 1, 0, []
        self._order_states = self._draw_orders()

    @property
    def _right(self) -> NDArray[np.bool_]:
        right: NDArray[np.bool_] = (
            self.predictions == self.data.evaluation.labels[: len(self.predictions), None]
        )
        return right

    def _outcome(self, place: int) -> Outcome:
        divergence = self.divergences[place]
        epochs = divergence.epoch - 1 if divergence else self.epoch
        judged = [] if divergence and self.data.once else self.accuracies[:epochs]
        kept = slice(0) if divergence else slice(None)
        return Outcome(
            divergence=divergence,
            accuracies=tuple(float(epoch[place]) for epoch in judged),
            losses=tuple(float(epoch[place]) for epoch in self.losses[:epochs]),
            predictions=np.ascontiguousarray(self.predictions[kept, place]),
            right=np.ascontiguousarray(self._right[kept, place]),
            seconds=self.seconds / len(self.seeds),
        )

    def _dropouts(self) -> list[SeededDropout]:
        return [part for part in self.module.modules() if isinstance(part, SeededDropout)]

    def _dropout_generators(self) -> list[torch.Generator]:
        return [generator for part in self._dropouts() for generator in part.generators]


def _numbers(divergence: Divergence | None) -> tuple[float, float, float]:
    return (divergence.epoch, divergence.step, divergence.value) if divergence else (0, 0, 0)


def _divergence(row: NDArray[np.float64]) -> Divergence | None:
    return Divergence(int(row[0]), int(row[1]), float(row[2])) if row[0] else None


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
