"""Bytes of any picture become pixels as QMNIST has them: uint8 `[28, 28]`, 255 is ink.

QMNIST's form is NIST's and MNIST's: the box of the ink, its longest side scaled to 20 pixels with
the aspect kept, placed so that the ink's centre of mass is the centre of 28 x 28 (LeCun et al.,
Gradient-Based Learning Applied to Document Recognition, 1998, section III-A).
"""

import struct
import zlib
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from serving.errors import DamagedPicture, NoDigit, NotAPicture, PictureTooLarge

SIDE = 28
INK_SIDE = 20  # the longest side of the ink's box
INK = 0.25  # what counts as ink, as a share of the darkest ink there is
CONTRAST = 12  # of 255; fainter marks than this are paper

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")

# Pillow's own limit warns and raises in its own words; ours is checked just as early.
Image.MAX_IMAGE_PIXELS = None

# What Pillow's decoders raise for damaged files; it documents no common base.
DECODE_ERRORS = (
    EOFError,
    IndexError,
    OSError,
    OverflowError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def open_picture(data: bytes, max_pixels: int) -> Image.Image:
    """Read what kind of picture the bytes are, and how large; decode nothing yet.

    Args:
        data: An encoded picture in one of `FORMATS`.
        max_pixels: The largest width times height that is allowed.

    Raises:
        NotAPicture: It is in none of the formats.
        PictureTooLarge: It has more pixels than allowed.
        DamagedPicture: Already its header cannot be read.
    """
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise NotAPicture(
            f"This is not a picture that can be read. Send one of {', '.join(FORMATS)}."
        ) from error
    except DECODE_ERRORS as error:
        raise _damaged(error) from error
    if image.width * image.height > max_pixels:
        raise PictureTooLarge(
            f"The picture has {image.width} x {image.height} pixels; "
            f"at most {max_pixels:,} are read."
        )
    return image


def to_pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Decode an opened picture and bring it into QMNIST's form.

    A 28 x 28 picture that is already in that form comes out pixel for pixel.

    Returns:
        uint8 `[28, 28]`, 255 is ink.

    Raises:
        DamagedPicture: It cannot be decoded.
        NoDigit: There is no ink on it.
    """
    try:
        grey = _grey(ImageOps.exif_transpose(image))
    except DECODE_ERRORS as error:
        raise _damaged(error) from error
    return _as_qmnist(grey)


def _damaged(error: Exception) -> DamagedPicture:
    return DamagedPicture(f"The picture is damaged and cannot be decoded: {error}.")


def _grey(image: Image.Image) -> NDArray[np.uint8]:
    """Decode a picture to grey, uint8 `[height, width]`, transparency on white paper."""
    if image.mode.startswith(("I", "F")):  # 16 or 32 bits a pixel
        values = np.asarray(image, np.float64)
        top = max(float(values.max()), 1.0) if values.max() > 65535 or image.mode == "F" else 65535
        return (np.clip(values, 0, top) * (255 / top)).astype(np.uint8)
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA"))
    return np.asarray(image.convert("L"))


def _as_qmnist(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    paper = int(np.median(border))
    on_dark = paper < 128
    ink = grey.astype(np.int16) - paper if on_dark else paper - grey.astype(np.int16)
    strongest = int(ink.max())
    if strongest < CONTRAST:
        raise NoDigit("No digit found: the picture has the same shade everywhere.")
    if grey.shape == (SIDE, SIDE) and on_dark:
        return grey

    scaled = (np.clip(ink, 0, None) * (255 / strongest)).astype(np.uint8)

    rows, columns = np.nonzero(scaled >= INK * 255)
    box = scaled[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    height, width = box.shape
    scale = INK_SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(Image.fromarray(box).resize(size, Image.Resampling.BILINEAR))
    return _centred(small)


def _centred(small: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Place a small picture on 28 x 28 so that its centre of mass is in the middle."""
    total = small.sum(dtype=np.int64)
    offsets = []
    for axis in (0, 1):
        length = small.shape[axis]
        mass = small.sum(axis=1 - axis, dtype=np.int64)
        centre = float(mass @ (np.arange(length) + 0.5) / total)
        offsets.append(min(max(round(SIDE / 2 - centre), 0), SIDE - length))
    top, left = offsets
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    pixels[top : top + small.shape[0], left : left + small.shape[1]] = small
    return pixels
