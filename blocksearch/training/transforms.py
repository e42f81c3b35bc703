"""Transforms training images, drawn anew for each image of each step (augmentation).

A transform is added in one place: a class here and its name in `TRANSFORMS`, or one of your own
handed to `TRANSFORMS.register`. It says how many numbers each image draws, and describes in a
`Warp` what becomes of the image; pixels are read once, when the batch is gathered. Wherever a
recipe names them, first colours are changed, then all movements are made (as one, in the recipe's
order, read between pixels by bilinear interpolation), then holes.

Draws depend on the seed and the step alone, so a seed sees the same images whatever trains beside
it, on every device, and after a stop. No torch here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from blocksearch.errors import ConfigError, unknown
from blocksearch.training.registry import Registry, within

Draws = NDArray[np.float64]
PADDINGS = ("reflect", "zero")
_STREAM = 0x6175676D656E74  # tells these draws from those of other streams of a seed


@dataclass(kw_only=True)
class Warp:
    """What becomes of each of N images of `height`×`width` pixels: arrays that transforms change.

    A level p of a channel whose training images have the mean m becomes `gain`·p + `lift`·m, kept
    within 0 to 255 (N each). Then the pixel at row r and column c is read at `matrix` @ (r, c, 1),
    N×2×3. At last rows `hole[:, 0]` to `hole[:, 2]` and columns `hole[:, 1]` to `hole[:, 3]`
    (excluded) become m.
    """

    count: int
    height: int
    width: int
    matrix: NDArray[np.float64] = field(init=False)
    gain: Draws = field(init=False)
    lift: Draws = field(init=False)
    hole: NDArray[np.int32] = field(init=False)

    def __post_init__(self) -> None:
        self.matrix = np.tile(np.eye(2, 3), (self.count, 1, 1))
        self.gain, self.lift = np.ones(self.count), np.zeros(self.count)
        self.hole = np.zeros((self.count, 4), np.int32)

    def move(self, linear: NDArray[np.float64], along: NDArray[np.float64]) -> None:
        """Read row and column x at `linear` @ x + `along` from now on: N×2×2 and N×2."""
        turned = self.matrix[:, :, :2]
        moved = turned @ along[:, :, None] + self.matrix[:, :, 2:]
        self.matrix = np.concatenate([turned @ linear, moved], axis=2)

    def about_centre(self, linear: NDArray[np.float64]) -> None:
        """Read at `linear` @ x about the images' centre: N×2×2."""
        centre = np.array([(self.height - 1) / 2, (self.width - 1) / 2])
        self.move(linear, centre - linear @ centre)

    def tint(self, gain: Draws, lift: Draws) -> None:
        """Make a level p `gain`·p + `lift`·m from now on, with the channel's mean m."""
        self.gain, self.lift = gain * self.gain, gain * self.lift + lift


class Transform(Protocol):
    """What a recipe may do to training images; the recipe's text names its class and options.

    `draws` is how many uniform numbers from 0 to 1 each image takes. `whole` says that it moves
    whole pixels only, without a turn, so that none is interpolated. One that reads beyond the
    image's border has an option `padding`.

    >>> @dataclass(frozen=True)
    ... class Upside:
    ...     draws: ClassVar[int] = 1
    ...     whole: ClassVar[bool] = True
    ...     def __call__(self, warp, draws):
    ...         up = np.where(draws[0] < 0.5, 1.0, -1.0)
    ...         linear = np.stack([np.diag([sign, 1.0]) for sign in up])
    ...         warp.about_centre(linear)
    >>> warp = Warp(count=1, height=4, width=4)
    >>> Upside()(warp, np.array([[0.7]]))
    >>> warp.matrix[0].tolist()
    [[-1.0, 0.0, 3.0], [0.0, 1.0, 0.0]]
    """

    draws: ClassVar[int]
    whole: ClassVar[bool]

    def __call__(self, warp: Warp, draws: Draws, /) -> None:
        """Change a warp of N images, given `draws`×N numbers."""
        ...


def _padding(padding: str) -> None:
    if padding not in PADDINGS:
        raise unknown("padding", padding, PADDINGS)


def _up_to(name: str, value: float, most: float) -> None:
    if not 0 <= value <= most:
        raise ConfigError(f"{name} must be at least 0 and at most {most:g}, but got {value}")


def _signed(draws: Draws, most: float) -> Draws:
    """Spread numbers from 0 to 1 evenly over -most to most."""
    return (2 * draws - 1) * most


def _matrices(rows: Sequence[Sequence[Draws]]) -> NDArray[np.float64]:
    """Stack 2×2 arrays of N numbers to N×2×2."""
    return np.moveaxis(np.array(rows), 2, 0)


@dataclass(frozen=True)
class Flip:
    """Mirror left and right, a `share` of the images."""

    share: float = 0.5
    draws: ClassVar[int] = 1
    whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _up_to("flip: share", self.share, 1)

    def __call__(self, warp: Warp, draws: Draws) -> None:
        """Mirror columns about the centre."""
        sign = np.where(draws[0] < self.share, -1.0, 1.0)
        one, none = np.ones_like(sign), np.zeros_like(sign)
        warp.about_centre(_matrices([[one, none], [none, sign]]))


@dataclass(frozen=True)
class Shift:
    """Shift by up to so many whole `pixels` down, up, right or left."""

    pixels: int = 4
    padding: str = "reflect"
    draws: ClassVar[int] = 2
    whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        within("shift: pixels", self.pixels, 1, 10_000)
        _padding(self.padding)

    def __call__(self, warp: Warp, draws: Draws) -> None:
        """Move rows and columns."""
        steps = np.floor(draws * (2 * self.pixels + 1)) - self.pixels
        warp.move(np.tile(np.eye(2), (warp.count, 1, 1)), steps.T)


@dataclass(frozen=True)
class Rotate:
    """Turn about the centre by up to so many `degrees` either way."""

    degrees: float = 15.0
    padding: str = "reflect"
    draws: ClassVar[int] = 1
    whole: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _up_to("rotate: degrees", self.degrees, 180)
        _padding(self.padding)

    def __call__(self, warp: Warp, draws: Draws) -> None:
        """Turn rows and columns."""
        angle = np.radians(_signed(draws[0], self.degrees))
        cosine, sine = np.cos(angle), np.sin(angle)
        warp.about_centre(_matrices([[cosine, -sine], [sine, cosine]]))


@dataclass(frozen=True)
class Zoom:
    """Enlarge or shrink about the centre, at most by a factor of 1 + `by` either way."""

    by: float = 0.1
    padding: str = "reflect"
    draws: ClassVar[int] = 1
    whole: ClassVar[bool] = False

    def __post_init__(self) -> None:
        within("scale: by", self.by, 0, 10)
        _padding(self.padding)

    def __call__(self, warp: Warp, draws: Draws) -> None:
        """Scale rows and columns alike; factors are even on a logarithmic axis."""
        read = (1 + self.by) ** -_signed(draws[0], 1.0)
        none = np.zeros_like(read)
        warp.about_centre(_matrices([[read, none], [none, read]]))


@dataclass(frozen=True)
class Shear:
    """Shift each row sideways by up to `by` of its distance from the centre."""

    by: float = 0.1
    padding: str = "reflect"
    draws: ClassVar[int] = 1
    whole: ClassVar[bool] = False

    def __post_init__(self) -> None:
        within("shear: by", self.by, 0, 10)
        _padding(self.padding)

    def __call__(self, warp: Warp, draws: Draws) -> None:
        """Lean columns."""
        lean = _signed(draws[0], self.by)
        one, none = np.ones_like(lean), np.zeros_like(lean)
        warp.about_centre(_matrices([[one, none], [lean, one]]))


@dataclass(frozen=True)
class Brightness:
    """Multiply all levels by a factor from 1 - `by` to 1 + `by`."""

    by: float = 0.2
    draws: ClassVar[int] = 1
    whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _up_to("brightness: by", self.by, 1)

    def __call__(self, warp: Warp, draws: Draws) -> None:
        """Change the gain."""
        gain = 1 + _signed(draws[0], self.by)
        warp.tint(gain, np.zeros_like(gain))


@dataclass(frozen=True)
class Contrast:
    """Spread levels about the training images' mean by a factor from 1 - `by` to 1 + `by`."""

    by: float = 0.2
    draws: ClassVar[int] = 1
    whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _up_to("contrast: by", self.by, 1)

    def __call__(self, warp: Warp, draws: Draws) -> None:
        """Change the gain, and keep the mean where it is."""
        gain = 1 + _signed(draws[0], self.by)
        warp.tint(gain, 1 - gain)


@dataclass(frozen=True)
class Cutout:
    """Replace a square of `size` pixels about a random one by the mean (DeVries & Taylor, 2017).

    Parts beyond the border are lost, so that a hole may be smaller.
    """

    size: int = 8
    draws: ClassVar[int] = 2
    whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        within("cutout: size", self.size, 1, 10_000)

    def __call__(self, warp: Warp, draws: Draws) -> None:
        """Choose each image's hole."""
        sides = np.array([[warp.height], [warp.width]])
        first = np.floor(draws * sides).astype(np.int32) - self.size // 2
        corners = np.concatenate([np.maximum(first, 0), np.minimum(first + self.size, sides)])
        warp.hole = np.ascontiguousarray(corners.T, np.int32)


TRANSFORMS: Registry[Transform] = Registry(
    "transform",
    {
        "flip": Flip,
        "shift": Shift,
        "rotate": Rotate,
        "scale": Zoom,
        "shear": Shear,
        "brightness": Brightness,
        "contrast": Contrast,
        "cutout": Cutout,
    },
)


class Augmentation:
    """The transforms of a recipe, drawn for one step after another for K seeds side by side.

    >>> flips = Augmentation(("flip",), (4, 4), seeds=[0, 1])
    >>> flips.warp(step=0, images=3).count
    6
    """

    def __init__(self, texts: Sequence[str], map: tuple[int, int], seeds: Sequence[int]) -> None:
        self.transforms = [TRANSFORMS.made(text) for text in texts]
        self.map, self.seeds = map, tuple(seeds)
        self.whole = all(each.whole for each in self.transforms)
        self.reflect = padding_of(texts) == "reflect"

    def warp(self, step: int, images: int) -> Warp:
        """Return what a step does to `images` of each seed, image by image, in each seed by
        seed.
        """
        height, width = self.map
        warp = Warp(count=images * len(self.seeds), height=height, width=width)
        total = sum(each.draws for each in self.transforms)
        streams = [
            np.random.Generator(np.random.Philox(key=[seed, _STREAM], counter=[0, 0, step, 0]))
            for seed in self.seeds
        ]
        own = np.stack([stream.random((total, images)) for stream in streams], axis=2)
        draws, first = own.reshape(total, -1), 0
        for each in self.transforms:
            each(warp, draws[first : first + each.draws])
            first += each.draws
        return warp


def padding_of(texts: Sequence[str]) -> str:
    """Return the padding that transforms share. Raises ConfigError if they have two."""
    every = {text: getattr(TRANSFORMS.made(text), "padding", None) for text in texts}
    found = list(dict.fromkeys(padding for padding in every.values() if padding is not None))
    if len(found) > 1:
        each = [f"{text} has {padding}" for text, padding in every.items() if padding in found]
        raise ConfigError(
            f"transforms must share one padding, but {' and '.join(each)}: images are moved "
            "and padded once"
        )
    return found[0] if found else PADDINGS[0]


def check_fits(texts: Sequence[str], map: tuple[int, int]) -> None:
    """Raise ConfigError if a transform in pixels leaves nothing of images of that size."""
    for text in texts:
        match TRANSFORMS.made(text):
            case Shift(pixels=pixels) | Cutout(size=pixels) if pixels >= min(map):
                raise ConfigError(
                    f"{text} must be smaller than the images, but they are {map[0]}×{map[1]}"
                )


def canonical(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the texts of transforms in their one form. Raises ConfigError for what cannot be."""
    found = tuple(TRANSFORMS.canonical(text) for text in texts)
    names = [TRANSFORMS.name_of(text) for text in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"a transform is named once, but {twice[0]} is there twice")
    padding_of(found)
    return found
