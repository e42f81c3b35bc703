"""What images are, before anything is trained: classes, sizes, copies, and what guessing scores."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blocksearch.data.arrays import numbered
from blocksearch.data.cache import load
from blocksearch.data.config import DataConfig
from blocksearch.data.datasets import PARTS, Arrays, get
from blocksearch.data.listings import Purpose
from blocksearch.data.opening import DatasetLike, is_path, sources_of
from blocksearch.data.own import Progress
from blocksearch.data.pictures import Pixels, fitted, write_png
from blocksearch.data.sources import ArraySource, ImageSource, Sample
from blocksearch.data.splits import divided
from blocksearch.errors import DataError

SHEET = 10  # pictures of each class on a contact sheet
TILE = 48  # pixels a side of one of them
GAP = 4


@dataclass(frozen=True, kw_only=True)
class ClassCounts:
    """How many images of a class there are, by what they are for."""

    name: str
    training: int
    validation: int
    test: int


@dataclass(frozen=True, kw_only=True)
class Overview:
    """What images are: `sizes` counts them by height×width×channels, most frequent first.

    `copies` count images that equal another one: an earlier one of the same class, one of another
    class, a training image among those validated on, and a training image among the test images.
    `guess` is what the best constant guess scores on the validation images, percent, and
    `imbalance` how many times as many images the largest class has as the smallest. `damaged` says
    which images cannot be read, and why.
    """

    name: str
    classes: tuple[ClassCounts, ...]
    sizes: tuple[tuple[str, int], ...]
    groups: int | None
    copies: dict[str, int]
    guess: float
    imbalance: float
    damaged: tuple[str, ...]
    sheet: Pixels

    @property
    def judged(self) -> int:
        """Count the validation images."""
        return sum(each.validation for each in self.classes)

    def save_sheet(self, path: Path) -> None:
        """Write the contact sheet as a PNG file: a row of pictures for each class, in order."""
        write_png(self.sheet, path)


@dataclass(frozen=True)
class _Seen:
    """What is kept of an image once it was looked at."""

    size: str
    print: bytes
    tile: Pixels


def overview(
    dataset: DatasetLike,
    config: DataConfig,
    *,
    test: DatasetLike = None,
    root: Path | None = None,
    progress: Progress = lambda _: None,
) -> Overview:
    """Look at every image once, as it is; nothing is kept. Images may be of any sizes, and damaged
    ones are counted and not refused. Raises DataError or ConfigError for what is no data set.

    >>> found = overview("digits", DataConfig())
    >>> len(found.classes), found.judged, found.sizes
    (10, 4000, (('32×32×3', 25000),))
    """
    if isinstance(dataset, str) and not is_path(dataset):
        sources, names = _named(dataset, root), get(dataset).class_names
    else:
        sources, names = sources_of(dataset, config, test=test), ()
    total, done = sum(each.count or 0 for each in sources), 0
    samples: list[Sample[_Seen]] = []
    tiles: dict[str | int, list[Pixels]] = {}
    for place, source in enumerate(sources):
        for sample in source.samples(_look):
            done += 1
            progress(done / max(done, total))
            if sample.made and len(own := tiles.setdefault(sample.label, [])) < SHEET:
                own.append(sample.made.tile)
            samples.append(_slim(sample, for_test=place > 0))
    title = dataset if isinstance(dataset, str) else sources[0].title
    names = names or sources[0].classes or ()
    return _overview(str(title), samples, names, tiles)


def _named(name: str, root: Path | None) -> list[ImageSource]:
    found: list[ImageSource] = []
    for part in PARTS:
        try:
            found.append(ArraySource(load(name, part, root), name))
        except DataError:
            if part == "train":
                raise
    return found


def _look(pixels: Pixels) -> _Seen:
    shape = "×".join(map(str, pixels.shape))
    print_ = blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=8).digest()
    shown = pixels if pixels.shape[2] in (1, 3) else np.ascontiguousarray(pixels[..., :1])
    return _Seen(shape, print_, fitted(shown, (TILE, TILE), 3))


def _slim(sample: Sample[_Seen], *, for_test: bool) -> Sample[_Seen]:
    """Leave out the pixels, and say that all of a second source is for testing."""
    own = sample.made
    made = own and _Seen(own.size, own.print, np.zeros((0, 0, 3), np.uint8))
    part = Purpose.TEST if for_test else sample.part
    return Sample(sample.name, made, sample.label, part, sample.group, sample.damage)


def _overview(
    title: str,
    samples: Sequence[Sample[_Seen]],
    names: Sequence[str],
    tiles: dict[str | int, list[Pixels]],
) -> Overview:
    whole = [each for each in samples if each.made is not None]
    if not whole:
        raise DataError(f"{title}: there is no image that can be read")
    order = _classes([each.label for each in whole], names)
    place = {label: k for k, label in enumerate(order)}
    labels = np.array([place[each.label] for each in whole])
    parts = np.array([each.part for each in whole])
    groups = [each.group for each in whole]
    parts = _with_validation(labels, parts, groups)
    counts = {part: np.bincount(labels[parts == part], minlength=len(order)) for part in Purpose}
    judged, every = counts[Purpose.VALIDATION], np.sum(list(counts.values()), axis=0)
    return Overview(
        name=title,
        classes=tuple(
            ClassCounts(
                name=names[label] if isinstance(label, int) and label < len(names) else str(label),
                training=int(counts[Purpose.TRAIN][k]),
                validation=int(judged[k]),
                test=int(counts[Purpose.TEST][k]),
            )
            for k, label in enumerate(order)
        ),
        sizes=tuple(Counter(each.made.size for each in whole if each.made).most_common()),
        groups=None if groups[0] is None else len(set(groups)),
        copies=_copies([each.made.print for each in whole if each.made], labels, parts),
        guess=100 * float(judged.max() / max(1, judged.sum())),
        imbalance=float(every.max() / max(1, every.min())),
        damaged=tuple(each.damage for each in samples if each.made is None),
        sheet=_sheet([tiles[label] for label in order if label in tiles]),
    )


def _classes(labels: Sequence[str | int], names: Sequence[str]) -> list[str | int]:
    seen = set(labels)
    if all(isinstance(label, int) for label in seen):
        return list(range(max(len(names), *(int(label) + 1 for label in seen))))
    return [*names, *sorted(map(str, seen - set(names)))]


def _with_validation(
    labels: NDArray[np.int64], parts: NDArray[np.str_], groups: Sequence[object]
) -> NDArray[np.str_]:
    """Mark the images that the first validation split holds out, where the user marked none."""
    if (parts == Purpose.VALIDATION).any() or not (parts == Purpose.TRAIN).any():
        return parts
    own = np.flatnonzero(parts == Purpose.TRAIN)
    numbers = None
    if groups[0] is not None:
        numbers = numbered(np.array([str(groups[int(k)]) for k in own]), len(own), "groups")
    none = np.zeros((0, 1, 1, 1), np.uint8)
    judged = divided(Arrays(none, labels[own], numbers), 0)[1]
    found = parts.copy()
    found[own[judged]] = Purpose.VALIDATION
    return found


def _copies(
    prints: Sequence[bytes], labels: NDArray[np.int64], parts: NDArray[np.str_]
) -> dict[str, int]:
    found = np.unique(np.array(prints), return_inverse=True)[1]
    pairs = np.unique(np.stack([found, labels]), axis=1)
    several = np.bincount(pairs[0]) > 1
    learned, judged, tested = (
        found[parts == part] for part in (Purpose.TRAIN, Purpose.VALIDATION, Purpose.TEST)
    )
    return {
        "within_a_class": len(found) - pairs.shape[1],
        "across_classes": int(several[found].sum()),
        "training_and_validation": int(np.isin(judged, learned).sum()),
        "training_and_test": int(np.isin(tested, np.union1d(learned, judged)).sum()),
    }


def _sheet(rows: Sequence[Sequence[Pixels]]) -> Pixels:
    """Lay tiles on white, a row for each class."""
    step = TILE + GAP
    sheet = np.full((GAP + step * len(rows), GAP + step * SHEET, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, tile in enumerate(row):
            top, left = GAP + i * step, GAP + j * step
            sheet[top : top + TILE, left : left + TILE] = tile
    return sheet
