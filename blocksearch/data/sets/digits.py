"""Draws `digits`, digits like street numbers, from a seed, so that everything runs without data or
network. They are synthetic, not SVHN.

Bytes are the same on every machine: randomness comes from RandomState, whose stream is frozen (NEP
19), and arithmetic from IEEE-exact operations alone (no sine, no power, no sums along axes, no
matrix products).
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from blocksearch.arch.zoo import TASKS
from blocksearch.data.datasets import MIRRORED, Arrays, Dataset, register
from blocksearch.errors import DataError

SIZE = 32
CHUNK = 100  # images drawn at once and from one stream: another number would draw other images
COUNTS = {"train": 20_000, "test": 5_000}
SEEDS = {"train": 1706, "test": 4128}
DIGESTS = {
    "train": "bad1da27661287b61fe7107b43d03b5dc9a019b2345365e513a52280e9718cee",
    "test": "3d89c04cf6f82b048d00317d605588df4dc45c97536c96d04aa39742a602ce01",
}

AnyFloats: TypeAlias = NDArray[np.floating[Any]]  # float32 throughout

# fmt: off
# Strokes as control points x, y in a box of ±0.6 × ±1, y downwards, for 0 to 9.
_STROKES: tuple[tuple[tuple[float, float], ...], ...] = (
    ((0, -1), (0.5, -0.75), (0.6, 0), (0.5, 0.75), (0, 1), (-0.5, 0.75), (-0.6, 0), (-0.5, -0.75),
     (0, -1)),
    ((-0.35, -0.6), (0.05, -1), (0.05, 1)),
    ((-0.5, -0.6), (-0.25, -0.95), (0.25, -0.95), (0.5, -0.55), (0.35, -0.1), (-0.55, 1), (0.6, 1)),
    ((-0.5, -0.85), (0, -1), (0.45, -0.75), (0.4, -0.25), (-0.1, -0.05), (0.45, 0.2), (0.5, 0.7),
     (0.05, 1), (-0.5, 0.85)),
    ((0.25, 1), (0.25, -1), (-0.6, 0.4), (0.6, 0.4)),
    ((0.5, -1), (-0.4, -1), (-0.5, -0.1), (0.05, -0.25), (0.5, 0.1), (0.5, 0.65), (0.05, 1),
     (-0.5, 0.8)),
    ((0.4, -0.95), (0, -0.9), (-0.45, -0.4), (-0.55, 0.3), (-0.3, 0.9), (0.2, 1), (0.55, 0.6),
     (0.4, 0.1), (-0.1, 0), (-0.5, 0.35)),
    ((-0.55, -1), (0.55, -1), (-0.1, 1)),
    ((0, -1), (0.42, -0.75), (0.35, -0.25), (0, -0.05), (-0.35, -0.25), (-0.42, -0.75), (0, -1),
     (0.42, -0.75), (0.35, -0.25), (0, -0.05), (0.5, 0.3), (0.45, 0.8), (0, 1), (-0.45, 0.8),
     (-0.5, 0.3), (0, -0.05)),
    ((-0.4, 0.95), (0, 0.9), (0.45, 0.4), (0.55, -0.3), (0.3, -0.9), (-0.2, -1), (-0.55, -0.6),
     (-0.4, -0.1), (0.1, 0), (0.5, -0.35)),
)
# fmt: on
_LONGEST = max(map(len, _STROKES))
# Short strokes repeat their last point: a segment without length draws nothing new.
_POINTS = np.array(
    [stroke + (stroke[-1],) * (_LONGEST - len(stroke)) for stroke in _STROKES], np.float32
)


@dataclass(frozen=True, kw_only=True)
class Digits(Dataset):
    """Digits drawn from a seed; there are no files."""

    def stamp(self, part: str, root: Path) -> list[Any]:
        return [DIGESTS[part]]

    def read(self, part: str, root: Path) -> Arrays:
        return Arrays(*generate(part))


register(
    Digits(
        name="digits",
        description="street-number-like digits, synthetic",
        task=TASKS["digits"],
        epochs=3,
        counts=(COUNTS["train"], COUNTS["test"]),
        unsuited={"flip": MIRRORED},
        origins=dict.fromkeys(
            (
                "984a8842178ac3daddf93fb73ae02ed5a53c9210d863d44c9d8418668a8754a6",
                "592374afa4fe212de29acfccbc4dc5a664120bf0c119bac95b9f1b39dddefe51",
            ),
            "synthetic, drawn from a seed",
        ),
    )
)


def generate(part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw a part, "train" or "test": images N×32×32×3 uint8 and labels N int64, classes balanced,
    order shuffled.

    Raises DataError if the bytes are not the pinned ones.
    """
    images, labels = draw(COUNTS[part], SEEDS[part])
    found = digest_of(images, labels)
    if found != DIGESTS[part]:
        raise DataError(
            f"digits/{part} must have digest {DIGESTS[part][:12]}…, but this machine drew "
            f"{found[:12]}…"
        )
    return images, labels


def digest_of(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> str:
    """Digest images and labels as bytes, labels little-endian."""
    return hashlib.sha256(images.tobytes() + labels.astype("<i8").tobytes()).hexdigest()


def draw(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw `count` images. Each chunk has a stream of its own."""
    labels = np.random.RandomState(seed).permutation(np.arange(count, dtype=np.int64) % 10)
    images = [
        _draw_chunk(labels[start : start + CHUNK], np.random.RandomState([seed, start]))
        for start in range(0, count, CHUNK)
    ]
    return np.concatenate(images), labels


def _between(random: np.random.RandomState, low: float, high: float, *shape: int) -> AnyFloats:
    return (low + (high - low) * random.random_sample(shape)).astype(np.float32)


def _draw_chunk(labels: NDArray[np.int64], random: np.random.RandomState) -> NDArray[np.uint8]:
    n = len(labels)
    pose = _Pose(random, n)
    paper, ink = _colours(random, n)
    field = pose.distance(labels, random, shift=0.0)
    for side in (-1.0, 1.0):
        neighbour = pose.distance(random.randint(0, 10, n), random, shift=side)
        shown = _between(random, 0, 1, n, 1) < 0.6
        field = np.where(shown, np.minimum(field, neighbour), field)
    canvas = _over(paper, ink, _coverage(field, pose.thickness, pose.softness))
    for _ in range(2):
        canvas = _over(canvas, _between(random, 0, 255, n, 1, 3), _scratch(random, n))
    shade = _between(random, 0.7, 1.15, n, 1, 1)
    grain = _between(random, -1, 1, n, SIZE * SIZE, 3) * _between(random, 5, 40, n, 1, 1)
    return np.clip(canvas * shade + grain, 0, 255).astype(np.uint8).reshape(n, SIZE, SIZE, 3)


def _grid() -> tuple[AnyFloats, AnyFloats]:
    """Pixel centres from -1 to 1, each 1×1024."""
    axis = (
        (np.arange(SIZE, dtype=np.float32) + np.float32(0.5)) * np.float32(2 / SIZE)
    ) - np.float32(1)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return x.reshape(1, -1), y.reshape(1, -1)


class _Pose:
    """Where and how thick each image's digits stand; neighbours share it, a digit's width aside."""

    def __init__(self, random: np.random.RandomState, n: int) -> None:
        x, y = _grid()
        # tangent of half the angle: sine and cosine are rational in it
        half_turn = _between(random, -0.16, 0.16, n, 1)
        one = np.float32(1)
        scale = one + half_turn * half_turn
        cosine, sine = (one - half_turn * half_turn) / scale, (half_turn + half_turn) / scale
        dx, dy = x - _between(random, -0.22, 0.22, n, 1), y - _between(random, -0.18, 0.18, n, 1)
        u, v = cosine * dx + sine * dy, cosine * dy - sine * dx
        self.u = (u + _between(random, -0.3, 0.3, n, 1) * v) / _between(random, 0.45, 0.8, n, 1)
        self.v = v / _between(random, 0.5, 0.85, n, 1)
        self.gap = _between(random, 1.15, 1.6, n, 1)
        self.thickness = _between(random, 0.08, 0.26, n, 1)
        self.softness = _between(random, 0.08, 0.45, n, 1)

    def distance(
        self, labels: NDArray[np.int64], random: np.random.RandomState, shift: float
    ) -> AnyFloats:
        """Return the distance n×1024 of each pixel from the strokes of a digit that is `shift`
        places to the right.
        """
        n = len(labels)
        points = _POINTS[labels] + _between(random, -0.09, 0.09, n, _LONGEST, 2)
        u = self.u - np.float32(shift) * self.gap
        nearest = np.full(u.shape, 1e6, np.float32)
        for k in range(_LONGEST - 1):
            ax, ay = points[:, k, 0, None], points[:, k, 1, None]
            bx, by = points[:, k + 1, 0, None] - ax, points[:, k + 1, 1, None] - ay
            length = np.maximum(bx * bx + by * by, np.float32(1e-4))
            px, py = u - ax, self.v - ay
            along = np.minimum(np.maximum((px * bx + py * by) / length, 0), 1)
            px, py = px - along * bx, py - along * by
            nearest = np.minimum(nearest, px * px + py * py)
        return np.sqrt(nearest)


def _colours(random: np.random.RandomState, n: int) -> tuple[AnyFloats, AnyFloats]:
    """Paper n×1024×3 with a gradient, and ink n×1×3 that stands out from it, by little at times."""
    x, y = _grid()
    tone = _between(random, 40, 215, n, 1, 3)
    slopes = _between(random, -45, 45, n, 1, 3), _between(random, -45, 45, n, 1, 3)
    paper = tone + slopes[0] * x[..., None] + slopes[1] * y[..., None]
    contrast = _between(random, 45, 150, n, 1, 1)
    darker = (tone[:, :, :1] + tone[:, :, 1:2] + tone[:, :, 2:]) > np.float32(382)
    ink = tone + np.where(darker, -contrast, contrast) + _between(random, -30, 30, n, 1, 3)
    return paper, ink


def _coverage(
    distance: AnyFloats, thickness: AnyFloats | np.float32, softness: AnyFloats | np.float32
) -> AnyFloats:
    """Share of ink n×1024×1: full inside a stroke, falling off over `softness`."""
    covered: AnyFloats = np.minimum(
        np.maximum((thickness - distance) / softness + np.float32(0.5), 0), 1
    )
    return covered[..., None]


def _scratch(random: np.random.RandomState, n: int) -> AnyFloats:
    """Share n×1024×1 of a straight line across some images, at any place and slant."""
    x, y = _grid()
    a, b = _between(random, -1, 1, n, 1), _between(random, -1, 1, n, 1)
    offset = a * x + b * y - _between(random, -0.7, 0.7, n, 1)
    distance = np.abs(offset) / np.sqrt(np.maximum(a * a + b * b, np.float32(1e-3)))
    strength = _between(random, -0.6, 0.9, n, 1)
    return (
        _coverage(distance, np.float32(0.07), np.float32(0.1)) * np.maximum(strength, 0)[..., None]
    )


def _over(below: AnyFloats, above: AnyFloats, share: AnyFloats) -> AnyFloats:
    return below + (above - below) * share
