"""Batches of normalised floats out of uint8 images: on the processor from images that all workers
share, or on a GPU's memory.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blocksearch.data.splits import Images, Prepared
from blocksearch.training import kernels


class SharedImages:
    """Gathers batches from images in shared memory.

    N×K indices give each of K seeds its own images, N×(K·C)×H×W in channels-last layout, and labels
    N×K.
    """

    def __init__(self, images: Images, data: Prepared) -> None:
        self.images, self.normalisation = images, data.normalisation

    def __call__(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        chosen: NDArray[np.int64] = indices.numpy()
        (count, *map_, channels), (rows, copies) = self.images.pixels.shape, chosen.shape
        x = np.empty((rows, *map_, copies * channels), np.float32)
        pixels, places = (
            self.images.pixels.reshape(count, -1, channels),
            x.reshape(rows, -1, copies * channels),
        )
        kernels.gathered(pixels, self.images.located(chosen), *self.normalisation, places)
        return torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(self.images.labels[chosen])


class ResidentImages:
    """The same from images that lie on a device, with operators that a recorded step can hold."""

    def __init__(self, images: Images, data: Prepared, device: torch.device) -> None:
        self.pixels = torch.from_numpy(
            images.pixels[images.located(np.arange(len(images.labels)))]
        ).to(device)
        self.labels = torch.tensor(images.labels, device=device)
        self.scale, self.shift = (
            torch.from_numpy(values).to(device) for values in data.normalisation
        )

    def __call__(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        pixels = self.pixels[indices].float() * self.scale + self.shift
        return pixels.permute(0, 2, 3, 1, 4).flatten(3).permute(0, 3, 1, 2), self.labels[indices]


Gather = SharedImages | ResidentImages


def gather(images: Images, data: Prepared, device: torch.device) -> Gather:
    """Return what gathers batches of these images for a device."""
    return (
        SharedImages(images, data) if device.type == "cpu" else ResidentImages(images, data, device)
    )
