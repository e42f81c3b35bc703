"""Pictures of every kind: the right pixels, or one line with the file's name."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from blocksearch.data.pictures import fitted, picture
from blocksearch.errors import DataError

RAMP = np.arange(12 * 10, dtype=np.uint8).reshape(12, 10) * 2
COLOURS = np.stack([RAMP, RAMP[::-1], 255 - RAMP], axis=2)
WHOLE = ["PNG", "BMP", "TIFF", "TGA", "PPM", "PCX"]  # formats that keep every pixel


def png(bits, kind, rows):
    """Write a PNG by hand: pillow writes none of 16 bits in colour."""

    def chunk(name, content):
        whole = name + content
        return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))

    height, width = rows.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    body = chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("pixels", [RAMP, COLOURS], ids=["grey", "colour"])
def test_pixels_come_back_from_formats_that_keep_them(tmp_path, kind, pixels):
    Image.fromarray(pixels).save(tmp_path / "x", format=kind)
    found = picture(tmp_path / "x")
    expected = pixels[..., None] if pixels.ndim == 2 else pixels
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF", "JPEG2000", "ICO"])
def test_other_formats_are_read_too(tmp_path, kind):
    Image.fromarray(COLOURS).resize((32, 32)).save(tmp_path / "x", format=kind)
    assert picture(tmp_path / "x").shape == (32, 32, 3)


@given(st.lists(st.integers(0, 65_535), min_size=4, max_size=4), st.booleans())
def test_16_bits_are_scaled_whatever_the_mode(tmp_path_factory, levels, colour):
    path = tmp_path_factory.mktemp("deep") / "x.png"
    grey = np.array(levels).reshape(2, 2)
    rows = np.stack([grey, 65_535 - grey, grey], axis=2) if colour else grey
    path.write_bytes(png(16, 2 if colour else 0, rows))
    found = picture(path).astype(float)
    assert found.shape == (2, 2, 3 if colour else 1)
    assert abs(found - rows.reshape(found.shape) / 257).max() < 1


def test_numbers_of_unknown_range_are_refused(tmp_path):
    for mode, says in (("F", "are floats"), ("I", "8 or 16 bits, but are of 32")):
        file = tmp_path / f"{mode}.tiff"
        Image.fromarray(RAMP).convert(mode).save(file)
        with pytest.raises(DataError, match=f"{mode}.tiff: .*{says}"):
            picture(file)


def test_black_and_white_palettes_and_transparency(tmp_path):
    black = Image.fromarray(RAMP).convert("1")
    black.save(tmp_path / "1.png")
    assert np.array_equal(picture(tmp_path / "1.png")[..., 0], np.asarray(black) * 255)
    Image.fromarray(RAMP).convert("P").save(tmp_path / "grey.gif")
    assert np.array_equal(picture(tmp_path / "grey.gif")[..., 0], RAMP)
    few = Image.fromarray(COLOURS).quantize(8)
    few.save(tmp_path / "few.png")
    assert np.array_equal(picture(tmp_path / "few.png"), np.asarray(few.convert("RGB")))
    glass = Image.fromarray(COLOURS).convert("RGBA")
    glass.putalpha(Image.fromarray(np.where(RAMP > 100, 255, 0).astype(np.uint8)))
    glass.save(tmp_path / "glass.png")
    seen = picture(tmp_path / "glass.png")
    assert np.array_equal(seen, np.where((RAMP > 100)[..., None], COLOURS, 255))


def test_cmyk_is_colour_as_it_looks(tmp_path):
    Image.fromarray(COLOURS).resize((64, 64)).convert("CMYK").save(tmp_path / "x.jpg", quality=95)
    wanted = np.asarray(Image.fromarray(COLOURS).resize((64, 64))).astype(int)
    assert abs(picture(tmp_path / "x.jpg").astype(int) - wanted).mean() < 3


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_picture_stands_as_its_camera_was_turned(tmp_path, turn):
    stored = {  # what a viewer shows of each orientation, from the standard's table
        1: RAMP, 2: RAMP[:, ::-1], 3: RAMP[::-1, ::-1], 4: RAMP[::-1], 5: RAMP.T,
        6: np.rot90(RAMP, -1), 7: RAMP[::-1, ::-1].T, 8: np.rot90(RAMP),
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(RAMP).save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(picture(tmp_path / "x.png")[..., 0], stored[turn])


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_motion_is_refused(tmp_path, kind):
    frames = [Image.fromarray(np.roll(COLOURS, k, 0)) for k in range(3)]
    frames[0].save(tmp_path / "x", format=kind, save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="x: an image has one frame, but this has 3"):
        picture(tmp_path / "x")


def jpeg():
    file = io.BytesIO()
    Image.fromarray(COLOURS).resize((64, 64)).save(file, format="JPEG")
    return file.getvalue()


DAMAGED = {
    "empty": (b"", "it is empty"),
    "text": (b"<html>404", "it begins with b'<html>40'"),
    "cut": (jpeg()[:500], "(?i)truncated"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it begins with"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_what_cannot_be_read_is_one_line_with_the_name(tmp_path, case):
    content, says = DAMAGED[case]
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(DataError, match=says) as caught:
        picture(tmp_path / "x.jpg")
    assert str(tmp_path / "x.jpg") in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_picture_cut_anywhere_is_refused_or_whole(tmp_path):
    file = io.BytesIO()
    Image.fromarray(COLOURS).save(file, format="PNG")
    whole, path = file.getvalue(), tmp_path / "x.png"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with contextlib.suppress(DataError):
            assert np.array_equal(picture(path), COLOURS)


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 16])
def test_any_number_of_channels_is_resized_alike(channels):
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30, channels), np.uint8)
    found = fitted(pixels, (10, 8), None)
    for c in range(channels):
        one = Image.fromarray(pixels[..., c]).resize((8, 10), Image.Resampling.BILINEAR)
        assert np.array_equal(found[..., c], np.asarray(one))
    if channels == 3:
        whole = Image.fromarray(pixels).resize((8, 10), Image.Resampling.BILINEAR)
        assert np.array_equal(found, np.asarray(whole))


def test_grey_becomes_colour_and_back():
    assert np.array_equal(fitted(RAMP[..., None], None, 3), np.stack([RAMP] * 3, axis=2))
    weights = np.array([0.299, 0.587, 0.114])
    assert abs(fitted(COLOURS, None, 1)[..., 0] - COLOURS @ weights).max() <= 1
