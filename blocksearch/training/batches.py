"""Makes batches of normalised floats from uint8 images, on the processor from images that all
workers share, or in a GPU's memory. Training images are augmented in the same pass.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blocksearch.data.splits import Images, Prepared
from blocksearch.errors import ConfigError
from blocksearch.training import kernels
from blocksearch.training.transforms import Augmentation, Warp


class SharedImages:
    """Gathers batches from images in shared memory.

    N×K indices give each of K seeds its own images, N×(K·C)×H×W in channels-last layout, and labels
    N×K. With an augmentation, `draw` says for which step.
    """

    def __init__(
        self, images: Images, data: Prepared, augmentation: Augmentation | None = None
    ) -> None:
        self.images, self.normalisation = images, data.normalisation
        self.augmentation = augmentation
        self._drawn: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]

    def draw(self, step: int, images: int) -> None:
        """Draw what a step does to so many images of each seed."""
        if self.augmentation is not None:
            self._drawn = _arrays(self.augmentation, step, images)

    def __call__(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        chosen: NDArray[np.int64] = indices.numpy()
        (count, *map_, channels), (rows, copies) = self.images.pixels.shape, chosen.shape
        x = np.empty((rows, *map_, copies * channels), np.float32)
        pixels, located = self.images.pixels, self.images.located(chosen)
        if self.augmentation is not None:
            how = self.augmentation.whole, self.augmentation.reflect
            kernels.warped(pixels, located, *self._drawn, how, self.normalisation, x)
        else:
            flat = pixels.reshape(count, -1, channels), x.reshape(rows, -1, copies * channels)
            kernels.gathered(flat[0], located, *self.normalisation, flat[1])
        return torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(self.images.labels[chosen])


class ResidentImages:
    """The same from images that lie on a device, with operators that a recorded step can hold."""

    def __init__(
        self,
        images: Images,
        data: Prepared,
        device: torch.device,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.pixels = torch.from_numpy(
            images.pixels[images.located(np.arange(len(images.labels)))]
        ).to(device)
        self.labels = torch.tensor(images.labels, device=device)
        self.scale, self.shift = (
            torch.from_numpy(values).to(device) for values in data.normalisation
        )
        self.augmentation = augmentation
        self._drawn: list[Tensor] = []

    def draw(self, step: int, images: int) -> None:
        """Draw what a step does to so many images of each seed, in tensors that stay in one
        place.
        """
        if self.augmentation is not None:
            arrays = [torch.from_numpy(own) for own in _arrays(self.augmentation, step, images)]
            if not self._drawn:
                self._drawn = [own.to(self.pixels.device) for own in arrays]
            for kept, own in zip(self._drawn, arrays, strict=True):
                kept.copy_(own)

    def __call__(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        pixels = self.pixels[indices].float()
        own = self.augmentation
        pixels = self._warped(pixels, own) if own else pixels * self.scale + self.shift
        return pixels.permute(0, 2, 3, 1, 4).flatten(3).permute(0, 3, 1, 2), self.labels[indices]

    def _warped(self, pixels: Tensor, augmentation: Augmentation) -> Tensor:
        """Change N×K×H×W×C levels as the warp says, and normalise them."""
        count, copies, height, width, _ = pixels.shape
        matrix, tint, hole = (own.view(count, copies, *own.shape[1:]) for own in self._drawn)
        gain, lift = (tint[..., place, None, None, None] for place in (0, 1))
        tinted = (gain * pixels - lift * self.shift / self.scale).clamp(0, 255)
        flat = (tinted * self.scale + self.shift).flatten(2, 3)
        r = torch.arange(height, device=pixels.device, dtype=torch.float32)[:, None]
        c = torch.arange(width, device=pixels.device, dtype=torch.float32)
        m = matrix[..., None, None]
        rows, columns = (m[:, :, i, 0] * r + m[:, :, i, 1] * c + m[:, :, i, 2] for i in (0, 1))
        if augmentation.whole:
            moved = self._tap(flat, rows.round(), columns.round(), augmentation)
        else:
            top, left = rows.floor(), columns.floor()
            down, along = (rows - top)[..., None], (columns - left)[..., None]
            above, below = (
                (1 - along) * self._tap(flat, own, left, augmentation)
                + along * self._tap(flat, own, left + 1, augmentation)
                for own in (top, top + 1)
            )
            moved = (1 - down) * above + down * below
        first, start, last, end = (hole[..., place, None, None] for place in range(4))
        inside = (r >= first) & (r < last) & (c >= start) & (c < end)
        return moved.masked_fill(inside[..., None], 0)

    def _tap(
        self, flat: Tensor, rows: Tensor, columns: Tensor, augmentation: Augmentation
    ) -> Tensor:
        """Read N×K×(H·W)×C pixels at whole rows and columns, N×K×H×W each."""
        height, width = augmentation.map
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        r, c = (_reflected(own, size) for own, size in ((rows, height), (columns, width)))
        places = (r * width + c).flatten(2)[..., None].expand(-1, -1, -1, flat.shape[-1])
        found = flat.gather(2, places).view(*rows.shape, -1)
        return found if augmentation.reflect else torch.where(inside[..., None], found, self.shift)


def _reflected(places: Tensor, size: int) -> Tensor:
    if size == 1:
        return torch.zeros_like(places, dtype=torch.int64)
    period = 2 * (size - 1)
    found = places.to(torch.int64).abs() % period
    return torch.where(found < size, found, period - found)


def _arrays(
    augmentation: Augmentation, step: int, images: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    """Draw matrices, tints and holes of a step. Raises ConfigError if whole moves are not."""
    warp: Warp = augmentation.warp(step, images)
    turned = warp.matrix[:, (0, 1), (1, 0)], np.abs(warp.matrix[:, (0, 1), (0, 1)]) - 1
    if augmentation.whole and (np.any(turned[0]) or np.any(turned[1])):
        raise ConfigError("a transform that says it moves whole pixels turns or scales images")
    tints = np.stack([warp.gain, warp.lift], axis=1)
    return warp.matrix.astype(np.float32), tints.astype(np.float32), warp.hole


Gather = SharedImages | ResidentImages


def gather(
    images: Images,
    data: Prepared,
    device: torch.device,
    augmentation: Augmentation | None = None,
) -> Gather:
    """Return what gathers batches of these images for a device."""
    if device.type == "cpu":
        return SharedImages(images, data, augmentation)
    return ResidentImages(images, data, device, augmentation)
