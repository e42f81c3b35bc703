"""Reads picture files as arrays of 8 bits, at a wanted size and number of channels. The door to
pillow; no other program is run for any format.
"""

import io
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blocksearch.data.datasets import one_line
from blocksearch.errors import DataError

MOST_BYTES = 2**28  # of one picture file
MOST_PIXELS = 10**8  # of one picture: a camera's have up to half as many
FOREIGN = {"EPS", "WMF", "FPX", "MIC", "PDF", "MPEG", "BUFR", "GRIB", "HDF5"}  # pillow runs, or
# waits for, another program to read these, or they hold no picture
FRAMED = ("MPO", "PSD")  # formats that hold other things beside their picture, not its motion
GREYS = ("1", "L", "LA", "I;16", "I;16L", "I;16B", "I;16N", "I")
PAPER = 255  # what shows through transparent pixels: white

Pixels = NDArray[np.uint8]


@contextmanager
def quietly() -> Iterator[None]:
    """Silence pillow's warnings, because what is wrong with a picture is refused or harmless."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def picture(
    path: Path,
    *,
    formats: list[str] | None = None,
    most_bytes: int = MOST_BYTES,
    most_pixels: int = MOST_PIXELS,
) -> Pixels:
    """Read a picture: H×W×1 where it is grey, else H×W×3, turned as its camera was.

    Grey of 16 bits is scaled to 8, and transparent pixels are white. Raises DataError, with the
    file's name, for what cannot be read whole, is animated, or has numbers of unknown range.
    """
    from PIL import Image, UnidentifiedImageError

    content = _content(path, most_bytes)
    known = _formats() if formats is None else formats
    try:
        with Image.open(io.BytesIO(content), formats=known) as image:
            image.verify()  # a PNG has checksums, which reading its pixels does not look at
        with Image.open(io.BytesIO(content), formats=known) as image:
            if image.width * image.height > most_pixels:
                raise DataError(
                    f"{path}: an image has at most {most_pixels:,} pixels, but this has "
                    f"{image.width}×{image.height}"
                )
            frames = getattr(image, "n_frames", 1)
            if frames > 1 and image.format not in FRAMED:
                raise DataError(f"{path}: an image has one frame, but this has {frames}")
            return _eight_bits(image, path)
    except UnidentifiedImageError as error:
        begins = f"it begins with {content[:8]!r}" if content else "it is empty"
        raise DataError(f"{path} is not an image that can be read: {begins}") from error
    except DataError:
        raise
    except Exception as error:  # each format's reader raises kinds of its own
        raise DataError(f"{path} is not an image that can be read: {one_line(error)}") from error


def from_pillow(image: Any, where: Path) -> Pixels:
    """Return a picture that pillow has opened, as `picture` does. Raises DataError."""
    try:
        return _eight_bits(image, where)
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{where} is not an image that can be read: {one_line(error)}") from error


def _content(path: Path, most: int) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe waits for ever
            raise DataError(f"{path} is no file")
        with path.open("rb") as file:
            content = file.read(most + 1)
    except FileNotFoundError as error:
        raise DataError(f"{path} is not there") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > most:
        raise DataError(
            f"{path}: an image file has at most {most:,} bytes, but this has "
            f"{path.stat().st_size:,}"
        )
    return content


def _formats() -> list[str]:
    from PIL import Image

    Image.init()
    return [name for name in Image.ID if name not in FOREIGN]


def _eight_bits(image: Any, path: Path) -> Pixels:
    """Bring a picture of any mode to 8 bits a channel, none of which pillow cuts off."""
    from PIL import Image, ImageOps

    mode, format_ = image.mode, image.format
    turned = ImageOps.exif_transpose(image)
    if mode == "F":
        raise DataError(f"{path}: pixels must be whole numbers, but are floats")
    if mode.startswith("I"):
        levels = np.asarray(turned).astype(np.int64)
        if mode == "I" and format_ not in ("PPM", "PNG"):  # those two say their range
            raise DataError(f"{path}: pixels must be of 8 or 16 bits, but are of 32")
        return ((levels * 255 + 32_767) // 65_535).astype(np.uint8)[..., None]
    if mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in turned.info:
        seen = turned.convert("RGBA")
        turned = Image.new("RGBA", seen.size, (PAPER, PAPER, PAPER, 255))
        turned.alpha_composite(seen)
    plain = np.asarray(turned.convert("L" if mode in ("1", "L") else "RGB"))
    if mode in ("LA", "La") or (mode in GREYS and plain.ndim == 3) or _colourless(mode, plain):
        plain = plain[..., 0]
    return plain[..., None] if plain.ndim == 2 else plain


def _colourless(mode: str, pixels: Pixels) -> bool:
    """Whether a palette has nothing but greys."""
    return mode in ("P", "PA") and bool((pixels == pixels[..., :1]).all())


def fitted(pixels: Pixels, size: tuple[int, int] | None, channels: int | None) -> Pixels:
    """Bring H×W×C to another height and width, and colours to grey or grey to colours.

    The whole picture is kept, and stretched where its sides are in another proportion; a pixel is
    the mean of those that it covers (bilinear). None leaves a thing as it is.

    >>> fitted(np.zeros((48, 40, 3), np.uint8), (32, 32), 1).shape
    (32, 32, 1)
    """
    from PIL import Image

    if channels == 1 and pixels.shape[2] == 3:
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    if size is not None and size != pixels.shape[:2]:
        wide = (size[1], size[0])
        bands = [
            np.asarray(Image.fromarray(band).resize(wide, Image.Resampling.BILINEAR))
            for band in np.ascontiguousarray(pixels.transpose(2, 0, 1))
        ]
        pixels = np.stack(bands, axis=2)
    return pixels.repeat(3, axis=2) if channels == 3 and pixels.shape[2] == 1 else pixels


def write_png(pixels: Pixels, path: Path) -> None:
    """Write H×W×3 as a PNG file. Raises OSError."""
    from PIL import Image

    Image.fromarray(pixels).save(path, format="PNG")
