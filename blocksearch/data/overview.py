"""Describes images before anything is trained, by classes, sizes, copies and guessing."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blocksearch.data.arrays import numbered
from blocksearch.data.cache import load
from blocksearch.data.config import DataConfig
from blocksearch.data.datasets import PARTS, Arrays, get, times
from blocksearch.data.labelled import Given, numbered_parts
from blocksearch.data.listings import Purpose
from blocksearch.data.opening import DatasetLike, is_named, plain_arrays, sources_of
from blocksearch.data.own import Fit, Own, ProgressFunction, other_shape, two_tests, unreadable
from blocksearch.data.pictures import Pixels, fitted, write_png
from blocksearch.data.sources import ArraySource, ImageSource, Sample
from blocksearch.data.splits import divided
from blocksearch.errors import BlocksearchError, ConfigError, DataError

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
    `imbalance` how many times as many images the largest class has as the smallest that has any.
    `damaged` says which images cannot be read, and why; `refused` for which reasons these images
    cannot be trained on, in the words of training, and `changed` what is done to them before.
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
    refused: tuple[str, ...] = ()
    changed: str = ""

    @property
    def judged(self) -> int:
        """Count the validation images."""
        return sum(each.validation for each in self.classes)

    def save_sheet(self, path: Path) -> None:
        """Write the contact sheet as a PNG file: a row of pictures for each class, in order."""
        write_png(self.sheet, path)


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What is kept of an image once it was looked at: its size as it came, its shape as it would be
    trained on, or why it would not.
    """

    size: str
    shape: tuple[int, ...]
    print: bytes
    pixels: Pixels | None
    refused: str = ""


def overview(
    dataset: DatasetLike,
    config: DataConfig,
    *,
    test: DatasetLike = None,
    root: Path | None = None,
    progress: ProgressFunction = lambda _: None,
) -> Overview:
    """Look at every image once, as it would be trained on; nothing is kept. What training refuses
    is said and not raised. Raises DataError or ConfigError for what is no data set.

    >>> found = overview("digits", DataConfig())
    >>> len(found.classes), found.judged, found.sizes
    (10, 4000, (('32×32×3', 25000),))
    """
    if is_named(dataset, config, test=test):
        sources, names = _named(dataset, root), get(dataset).class_names
    else:
        sources, names = sources_of(dataset, config, test=test), ()
    total, done, fit = sum(each.count or 0 for each in sources), 0, Fit(config=config)
    samples: list[Sample[_Seen]] = []
    tiles: dict[str | int, list[Pixels]] = {}
    for place, source in enumerate(sources):
        for sample in source.samples(partial(_look, fit)):
            if place == 0 and sample.part is Purpose.TEST and len(sources) == 2:
                raise two_tests(source.what)
            done += 1
            progress(done / max(done, total))
            own, seen = tiles.setdefault(sample.label, []), sample.made
            if seen and seen.pixels is not None and len(own) < SHEET:
                own.append(_tile(seen.pixels))
            samples.append(_slim(sample, for_test=place > 0))
    title = dataset if isinstance(dataset, str) else sources[0].title
    known = names or sources[0].classes or ()
    found = _overview(str(title), samples, known, tiles)
    if names:
        return found
    refused = _refusals(dataset, config, test, sources, samples)
    return replace(found, refused=tuple(refused), changed=fit.told.removeprefix(", "))


def _refusals(
    dataset: DatasetLike,
    config: DataConfig,
    test: DatasetLike,
    sources: Sequence[ImageSource],
    samples: Sequence[Sample[_Seen]],
) -> Iterator[str]:
    """Yield the first of each kind of reason for which training refuses images."""
    try:
        if (plain := plain_arrays(dataset, config, test=test)) is not None:
            Own(*plain)
            return
    except BlocksearchError as error:
        yield str(error)
        return
    whole = [(each, each.made) for each in samples if each.made is not None]
    damaged = [each for each in samples if each.made is None]
    if damaged and not config.skip_damaged:
        yield str(unreadable(sources[0].what, damaged, len(samples)))
    yield from islice((seen.refused for _, seen in whole if seen.refused), 1)
    yield from islice(_other_shapes(whole), 1)
    train, tests = Given(), Given()
    for each, _ in whole:
        (tests if each.part is Purpose.TEST else train).add(each.label, each.group, each.part)
    if not train.labels:
        yield f"{sources[0].what}: there is no image to learn from"
        return
    try:
        numbered_parts(sources, train, tests)
    except BlocksearchError as error:
        yield str(error)


def _other_shapes(whole: Sequence[tuple[Sample[_Seen], _Seen]]) -> Iterator[str]:
    """Yield what is said of images of another shape than the first; grey beside colour is none."""
    shapes = [seen.shape for _, seen in whole]
    coloured = 3 in {shape[2] for shape in shapes}
    if coloured:
        shapes = [(*shape[:2], 3) if shape[2] == 1 else shape for shape in shapes]
    for (each, _), shape in zip(whole, shapes, strict=True):
        if shape != shapes[0]:
            yield str(other_shape(shapes[0], shape, each.name))


def _named(name: str, root: Path | None) -> list[ImageSource]:
    found: list[ImageSource] = []
    for part in PARTS:
        try:
            found.append(ArraySource(load(name, part, root), name))
        except DataError:
            if part == "train":
                raise
    return found


def _look(fit: Fit, pixels: Pixels, where: str) -> _Seen:
    size, refused = times(pixels.shape), ""
    try:
        pixels = fit(pixels, where)
    except ConfigError as error:
        refused = str(error)
    same = fitted(pixels, None, 3) if pixels.shape[2] == 1 else pixels  # grey beside colour
    print_ = blake2b(repr(same.shape).encode() + same.tobytes(), digest_size=8).digest()
    return _Seen(size=size, shape=pixels.shape, print=print_, pixels=pixels, refused=refused)


def _tile(pixels: Pixels) -> Pixels:
    shown = pixels if pixels.shape[2] in (1, 3) else np.ascontiguousarray(pixels[..., :1])
    return fitted(shown, (TILE, TILE), 3)


def _slim(sample: Sample[_Seen], *, for_test: bool) -> Sample[_Seen]:
    """Leave out the pixels, and say that all of a second source is for testing."""
    made = sample.made and replace(sample.made, pixels=None)
    return replace(sample, made=made, part=Purpose.TEST if for_test else sample.part)


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
        imbalance=float(every.max() / every[every > 0].min()),
        damaged=tuple(each.damage for each in samples if each.made is None),
        sheet=_sheet([tiles.get(label, []) for label in order]),
    )


def _classes(labels: Sequence[str | int], names: Sequence[str]) -> list[str | int]:
    seen = set(labels)
    if all(isinstance(label, int) and label < len(labels) for label in seen):
        return list(range(max(len(names), *(int(label) + 1 for label in seen))))
    return [*names, *sorted(seen - set(names), key=str)]


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
    judged = divided(Arrays(none, labels[own], groups=numbers), 0)[1]
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
