"""Times a step and an evaluation here, from a few of each."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from blocksearch.arch.layers import Layers
from blocksearch.data.splits import Prepared
from blocksearch.training.batches import gather
from blocksearch.training.recipe import Recipe
from blocksearch.training.step import (
    batches_per_epoch,
    evaluation_batch,
    module_for,
    predict,
)
from blocksearch.training.trainer import Training

WARM_UP = 2  # calls before a measurement
PATIENCE = 1.0  # seconds after its first call in which a measurement that is no benchmark goes on


def probe_step(
    layers: Layers,
    data: Prepared,
    recipe: Recipe,
    copies: int,
    steps: int,
    device: str = "cpu",
    patience: float = PATIENCE,
) -> float:
    """Measure the median seconds of one training step, after some to warm up; of fewer where they
    take longer than `patience`.
    """
    few = recipe.batch * min(
        steps + WARM_UP, batches_per_epoch(len(data.training.labels), recipe.batch)
    )
    some = replace(data, training=data.training.first(few), evaluation=data.evaluation.first(1))
    training = Training(layers, some, recipe, range(copies), device)
    return _median_seconds(training.step, steps, training.device, patience)


def probe_evaluation(
    layers: Layers, data: Prepared, copies: int, batches: int, device: str = "cpu"
) -> float:
    """Measure the median seconds of evaluating an image, by batches after some to warm up."""
    place = torch.device(device)
    module = module_for(layers, range(copies), place)
    some = data.evaluation.first(evaluation_batch(layers))
    judge, count = gather(some, data, place), len(some.labels)
    evaluate = partial(predict, module, judge, count, copies, place, count)
    return _median_seconds(evaluate, batches, place) / count


def _median_seconds(
    action: Callable[[], object], times: int, device: torch.device, patience: float = PATIENCE
) -> float:
    seconds: list[float] = []
    until = math.inf
    while len(seconds) < times + WARM_UP and (len(seconds) < 2 or time.perf_counter() < until):
        start = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        end = time.perf_counter()
        seconds.append(end - start)
        until = min(until, end + patience)  # the first call compiles
    return float(np.median(seconds[min(WARM_UP, len(seconds) - 1) :]))
