"""Splits images into those that a run learns from and those it is evaluated on. The split is part
of every run's identity, so its rule never changes without a new version.

Test images are reached only through `test=True`, which only commands that say so pass on.
"""

import re
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blocksearch.data.cache import describe, verified
from blocksearch.data.cache_files import Description
from blocksearch.data.datasets import Arrays, OwnImages, get
from blocksearch.data.grouped import held_out_groups
from blocksearch.errors import ConfigError

VERSION = 1
AT_ONCE = 256  # images that are read into memory together
PERCENT = 20  # NAS-Bench-101 holds out 10,000 of CIFAR-10's 50,000 training images, too


def split_id(number: int, images: int | None = None) -> str:
    """Name a split in a run's identity: its share, version and number, and the cap on images.

    >>> split_id(0, 8000)
    'val20-v1.0-n8000'
    """
    cap = "" if images is None else f"-n{images}"
    return f"val{PERCENT}-v{VERSION}.{number}{cap}"


def validation_split(
    labels: NDArray[np.int64], groups: NDArray[np.int32] | None = None, number: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices to train on and those to validate on, stratified by class, the same for
    ever.

    With groups (GTSRB: frames of one physical sign are near-copies), whole groups go to one side,
    at least one of each class to validation and, where a class has two, one to training. Groups
    that have several classes are divided as evenly as they can be. Both results are ordered so
    that any prefix is stratified.

    >>> learn, judge = validation_split(np.arange(50) % 5)
    >>> len(learn), len(judge)
    (40, 10)
    """
    # RandomState's stream is frozen by numpy's policy (NEP 19); that of Generator is not.
    random = np.random.RandomState(number)
    if groups is not None and _mixed(labels, groups):
        held_out = held_out_groups(labels, groups, PERCENT / 100, random)
    else:
        held_out = _of_each_class(labels, groups, random)
    training, validation = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    return _interleaved(training, labels, random), _interleaved(validation, labels, random)


def divided(known: Arrays | Description, number: int) -> tuple[NDArray[np.int64], ...]:
    """Return the indices to train on and to validate on: those that the user chose, or a split.

    Raises ConfigError for another number where the user chose.
    """
    if known.held is None:
        return validation_split(known.labels, known.groups, number)
    if number:
        raise ConfigError(
            f"these images have a validation split of their own, number 0, but got {number}"
        )
    random, held = np.random.RandomState(0), np.asarray(known.held)
    sides = (np.flatnonzero(~held), np.flatnonzero(held))
    return tuple(_interleaved(side, known.labels, random) for side in sides)


def _mixed(labels: NDArray[np.int64], groups: NDArray[np.int32]) -> bool:
    """Whether a group has images of several classes."""
    pairs = np.unique(np.stack([groups, labels]), axis=1)
    return bool(pairs.shape[1] > len(np.unique(groups)))


def _of_each_class(
    labels: NDArray[np.int64], groups: NDArray[np.int32] | None, random: np.random.RandomState
) -> NDArray[np.bool_]:
    """Hold out a share of each class's images, or of its groups."""
    units = np.arange(len(labels), dtype=np.int64) if groups is None else groups.astype(np.int64)
    held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.unique(units[labels == label])
        count = (
            max(1, round(len(members) * PERCENT / 100))
            if len(members) > 1
            else int(groups is not None)
        )
        chosen = members[random.permutation(len(members))[:count]]
        held_out |= (labels == label) & np.isin(units, chosen)
    return held_out


def _interleaved(
    indices: NDArray[np.int64], labels: NDArray[np.int64], random: np.random.RandomState
) -> NDArray[np.int64]:
    """Shuffle, then order by each index's relative rank within its class, so that every prefix has
    the classes' shares.
    """
    shuffled = indices[random.permutation(len(indices))]
    ranks = np.empty(len(shuffled))
    for label in np.unique(labels[shuffled]):
        places = np.flatnonzero(labels[shuffled] == label)
        ranks[places] = (np.arange(len(places)) + 0.5) / len(places)
    return shuffled[np.argsort(ranks, kind="stable")]


@dataclass(frozen=True, kw_only=True)
class Images:
    """Some images of a store: labels N int64, and groups N int32 (GTSRB: the physical sign) or
    None.

    `pixels` is the whole store, M×H×W×C uint8, a mapped file that all workers share; `places` says
    which N of it these are, or None for all.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    groups: NDArray[np.int32] | None = None
    places: NDArray[np.int64] | None = None

    def located(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where in the store images lie."""
        return indices if self.places is None else self.places[indices]

    def take(self, indices: NDArray[np.int64]) -> "Images":
        """Return some of the images, in this order; the store stays where it is."""
        groups = None if self.groups is None else self.groups[indices]
        return Images(
            pixels=self.pixels,
            labels=self.labels[indices],
            groups=groups,
            places=self.located(indices),
        )

    def first(self, count: int) -> "Images":
        """Return the first so many images, or all where there are fewer."""
        return self.take(np.arange(min(count, len(self.labels))))


@dataclass(frozen=True)
class Split:
    """A data set and how it is divided: validation split `number`, or the test set.

    At most `images` are trained on and at most as many validated on, so that evaluation never costs
    more than training. Before the test set, all training images are trained on.

    >>> Split("cifar10", number=1, images=8000).id
    'val20-v1.1-n8000'
    """

    dataset: str
    _: KW_ONLY
    number: int = 0
    images: int | None = None
    test: bool = False

    def __post_init__(self) -> None:
        if self.images is not None and self.images < 2:
            raise ConfigError(f"max_images must be at least 2, but got {self.images}")
        if self.number < 0:
            raise ConfigError(
                f"the number of the validation split must not be negative, but got {self.number}"
            )

    @classmethod
    def from_id(cls, dataset: str, id: str) -> "Split":
        """Return the split of a data set that has an id. Raises ConfigError for ids of others.

        >>> Split.from_id("cifar10", "val20-v1.1-n8000").images
        8000
        """
        read = re.fullmatch(rf"test|val{PERCENT}-v{VERSION}\.(\d{{1,9}})(?:-n(\d{{1,18}}))?", id)
        if read is None:
            raise ConfigError(f"this version has no split {id!r} of {dataset}")
        images = int(read[2]) if read[2] else None
        return cls(dataset, number=int(read[1] or 0), images=images, test=id == "test")

    def changes(self, before: "Split") -> list[str]:
        """Say what changed in a split, in the words in which it is asked for.

        >>> Split("digits", number=1).changes(Split("digits", images=200))
        ['val_split was 0, now 1', 'max_images was 200, now all']
        """
        was, now = (
            {"val_split": each.number, "max_images": each.images or "all"}
            for each in (before, self)
        )
        return [f"{key} was {was[key]}, now {now[key]}" for key in was if was[key] != now[key]]

    @property
    def id(self) -> str:
        """Name the split in a run's identity."""
        return "test" if self.test else split_id(self.number, self.images)

    @property
    def cap(self) -> int | None:
        """Return the largest number of images on either side, or None."""
        return None if self.test else self.images


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Images to learn from and images to be judged by, with the affine map from uint8 to normalised
    floats per channel.

    Test images judge `once`, after the last epoch; validation images after every epoch.
    """

    training: Images
    evaluation: Images
    normalisation: tuple[NDArray[np.float32], NDArray[np.float32]]
    digest: str
    once: bool = False


@dataclass(frozen=True, kw_only=True)
class SplitSummary:
    """What a split is, without its pixels: its data set and id, the digest of the training images,
    counts, and labels and groups of the evaluated images, in their order.

    `training` of the `available` images are learnt from. `origin` says in a phrase what the images
    are, where they are not the published ones; `classes` are the names of classes in the order of
    labels, where they have any.
    """

    dataset: str
    split: str
    digest: str
    training: int
    available: int
    labels: NDArray[np.int64]
    groups: NDArray[np.int32] | None = None
    origin: str = ""
    classes: tuple[str, ...] = ()

    @property
    def evaluation(self) -> int:
        """Count the evaluated images."""
        return len(self.labels)


def summary(split: Split, root: Path | None = None) -> SplitSummary:
    """Describe a split from what the cache has noted; pixels are read only where they were never
    decoded. Raises DataError if there is neither cache nor readable source.

    >>> found = summary(Split("digits", images=1000))
    >>> found.training, found.available, found.evaluation, found.origin
    (1000, 16000, 1000, 'synthetic, drawn from a seed')
    """
    known = judged = describe(split.dataset, "train", root)
    if split.test:
        judged = describe(split.dataset, "test", root)
        learn, judge = np.arange(len(known.labels)), np.arange(len(judged.labels))
    else:
        learn, judge = divided(known, split.number)
    available, learn, judge = len(learn), learn[: split.cap], judge[: split.cap]
    data, part = get(split.dataset), "test" if split.test else "train"
    told = known.about.origin or data.origin(judged.digest, len(judged.labels), part)
    if isinstance(data, OwnImages):
        copies = int(np.isin(judged.prints[judge], known.prints[learn]).sum())
        if copies:
            told += f", {copies:,} of {len(judge):,} evaluated images equal a training image"
    return SplitSummary(
        dataset=split.dataset,
        split=split.id,
        digest=known.digest,
        training=len(learn),
        available=available,
        labels=judged.labels[judge],
        groups=None if judged.groups is None else judged.groups[judge],
        origin=told,
        classes=known.about.classes or data.class_names,
    )


def both_origins(training: str, tested: str) -> str:
    """Say in a phrase what training and test images are, once where they are the same.

    >>> both_origins("whole frames", "the first 10 frames")
    'whole frames; tested on the first 10 frames'
    """
    same = training == tested or not tested
    return training if same else f"{training}; tested on {tested}".removeprefix("; ")


def prepare(split: Split, root: Path | None = None) -> Prepared:
    """Load and divide a data set. Raises DataError if files are missing or damaged.

    >>> data = prepare(Split("digits", images=100))
    >>> len(data.training.labels), data.evaluation.pixels.shape
    (100, (20000, 32, 32, 3))
    """
    whole, digest = verified(split.dataset, "train", root)
    train = _all(whole)
    if split.test:
        evaluation = _all(verified(split.dataset, "test", root)[0])
    else:
        learn, judge = divided(whole, split.number)
        train, evaluation = train.take(learn[: split.cap]), train.take(judge[: split.cap])
    return Prepared(
        training=train,
        evaluation=evaluation,
        normalisation=normalisation(train),
        digest=digest,
        once=split.test,
    )


def _all(arrays: Arrays) -> Images:
    """Take all images; labels are copied, since torch warns of arrays that are only to be read."""
    return Images(pixels=arrays.images, labels=np.array(arrays.labels), groups=arrays.groups)


def normalisation(images: Images) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return scale and shift that give images mean 0 and deviation 1 per channel; sums are exact.

    >>> pixels = np.array([100, 102, 104, 106], np.uint8).reshape(4, 1, 1, 1)
    >>> scale, shift = normalisation(Images(pixels=pixels, labels=np.zeros(4, np.int64)))
    >>> (pixels * scale + shift).ravel().astype(float).round(2).tolist()
    [-1.34, -0.45, 0.45, 1.34]
    """
    counts = np.zeros((images.pixels.shape[3], 256), np.int64)
    for start in range(0, len(images.labels), AT_ONCE):
        some = images.located(np.arange(start, min(start + AT_ONCE, len(images.labels))))
        flat = images.pixels[some].reshape(-1, len(counts))
        counts += [np.bincount(flat[:, c], minlength=256) for c in range(len(counts))]
    levels, total = np.arange(256), counts[0].sum()
    mean = (counts * levels).sum(1) / total
    variance = (counts * levels**2).sum(1) / total - mean**2
    scale = 1 / np.sqrt(np.maximum(variance, 1.0))
    return scale.astype(np.float32), (-mean * scale).astype(np.float32)
