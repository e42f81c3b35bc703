"""Loads images for a user's own training loop, divided and normalised as ours are."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blocksearch.data.cache import describe
from blocksearch.data.datasets import get
from blocksearch.data.splits import Images, Split, prepare


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """Levels 0 to 255 to floats with mean 0 and deviation 1 in each channel, over the training
    images: (level - mean) / std, which is level * scale + shift.
    """

    scale: NDArray[np.float32]
    shift: NDArray[np.float32]

    @property
    def mean(self) -> NDArray[np.float32]:
        """The mean level of each channel."""
        return (-self.shift / self.scale).astype(np.float32)

    @property
    def std(self) -> NDArray[np.float32]:
        """The deviation of each channel's levels."""
        return (1 / self.scale).astype(np.float32)

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return N×H×W×C or H×W×C levels as a network of ours reads them: N×C×H×W or C×H×W."""
        found = images.astype(np.float32) * self.scale + self.shift
        return np.ascontiguousarray(np.moveaxis(found, -1, -3))


@dataclass(frozen=True, kw_only=True)
class Subset:
    """Some images of a data set, as a data set of PyTorch's: item k is a normalised image, C×H×W
    float32, and the number of its class. `indices` say which of all images these are.
    """

    indices: NDArray[np.int64]
    _images: Images = field(repr=False)
    _normalise: Normalisation = field(repr=False)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, k: int) -> tuple[NDArray[np.float32], int]:
        at = self.indices[k]
        return self._normalise(self._images.pixels[at]), int(self._images.labels[at])

    @property
    def labels(self) -> NDArray[np.int64]:
        """The number of each image's class, N."""
        return self._images.labels[self.indices]

    def arrays(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return all images at once, N×C×H×W float32, and their labels, N."""
        return self._normalise(self._images.pixels[self.indices]), self.labels


@dataclass(frozen=True, kw_only=True)
class LoadedDataset:
    """The training images of a data set, and how a split divides them into `train` and `val`.

    `images` are N×H×W×C uint8, mapped from a file that must not be changed; `labels` are numbers
    from 0, N, in the order of `classes`, whose names are numbers where they have none; `groups` are
    images that are never divided, N, or None. `normalise` makes other images what networks read.
    """

    name: str
    images: NDArray[np.uint8] = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    groups: NDArray[np.int32] | None = field(repr=False)
    classes: tuple[str, ...]
    train: Subset = field(repr=False)
    val: Subset = field(repr=False)
    normalise: Normalisation


def loaded(split: Split, root: Path | None = None) -> LoadedDataset:
    """Load the training images of a data set with a validation split. Raises DataError.

    >>> digits = loaded(Split("digits", images=1000))
    >>> len(digits.train), len(digits.val), digits.val[0][0].shape
    (1000, 1000, (3, 32, 32))
    """
    data, known = prepare(split, root), describe(split.dataset, "train", root)
    whole = Images(pixels=data.training.pixels, labels=np.array(known.labels), groups=known.groups)
    scale, shift = data.normalisation
    normalise = Normalisation(scale=scale, shift=shift)
    train, val = (
        Subset(
            indices=each.located(np.arange(len(each.labels))), _images=whole, _normalise=normalise
        )
        for each in (data.training, data.evaluation)
    )
    named = known.about.classes or get(split.dataset).class_names
    return LoadedDataset(
        name=split.dataset,
        images=whole.pixels,
        labels=whole.labels,
        groups=whole.groups,
        classes=named or tuple(map(str, range(get(split.dataset).task.classes))),
        train=train,
        val=val,
        normalise=normalise,
    )
