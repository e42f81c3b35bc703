"""What augmentation adds to a training step of a small network, on one thread.

    python -m tests.benchmarks.augmentation [network] [widths]

Steps of each recipe are taken in turn, so that whatever else the machine does falls on all alike.
Prints medians of the processor's time for a step, with one seed and with three side by side.
"""

import sys
import time
from dataclasses import replace
from statistics import median

import torch

from blocksearch.arch.notation import parse
from blocksearch.data.splits import Split, prepare
from blocksearch.runs.plan import task_from
from blocksearch.training.recipe import RECIPES
from blocksearch.training.trainer import Training

STEPS = 40
WARM_UP = 4
ASKED = ("", "flip", "shift", "cutout", "flip,shift,cutout", "rotate", "scale", "shear",
         "brightness,contrast", "flip,shift,rotate,scale,contrast,cutout")  # fmt: skip


def main(name: str = "effnet", widths: str = "8,16,32") -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    data = prepare(Split("digits", images=128 * (STEPS + WARM_UP)))
    layers = parse(name, task_from("digits", widths), dataset="digits").layers
    for seeds in ((0,), (0, 1, 2)):
        trainings = {
            text: Training(layers, data, replace(RECIPES["fast"], augment=text), seeds)
            for text in ASKED
        }
        times: dict[str, list[float]] = {text: [] for text in ASKED}
        for _ in range(STEPS):
            for text, training in trainings.items():
                start = time.process_time()
                training.step()
                times[text].append(time.process_time() - start)
        plain = median(times[""][WARM_UP:])
        print(f"{name} {widths}, {len(seeds)} seeds: a step takes {1000 * plain:.1f} ms")
        for text in ASKED[1:]:
            added = median(times[text][WARM_UP:]) / plain - 1
            print(f"  {text}: {100 * added:+.1f} %", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
