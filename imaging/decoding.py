"""Decodes a picture's bytes to shades or colours, upright and no larger than requested.

Pillow decodes all formats, HEIC with libheif, and can decode a JPEG at a reduced size in a fraction
of the time. OpenCV, which is faster, decodes the PNG files of data sets and processes the pixels.
"""

import re
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import pi_heif
from numpy.typing import NDArray
from PIL import AvifImagePlugin, Image, ImageOps, UnidentifiedImageError

from imaging.errors import DamagedPicture, NotAPicture, PictureTooLarge
from imaging.heif import DAMAGED, check_size, is_heif, main_picture

Pixels = NDArray[np.uint8]

SIDE = 28  # pixels of a QMNIST picture

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "HEIC", "AVIF")

ORIENTATION = 0x0112  # the EXIF tag
ON_ITS_SIDE = (5, 6, 7, 8)  # its values that swap width and height
LIGHT = 200  # of 255; if everything visible is lighter, the paper behind it is black
BYTE = 255

# Limits of a JPEG. A scan of a few bytes redraws the whole picture, so 10 MB of them take minutes;
# encoders write about ten, and libtiff has the same limit. Skipping 10 MB of empty segments takes
# seconds; metadata and colour profiles fill a few hundred at most.
MAX_SCANS, MAX_SEGMENTS = 100, 2_000
JPEG_BEGIN = b"\xff\xd8"
# A marker of a segment or of the end (ITU T.81, B.1), not a restart or a scan's escaped byte.
JPEG_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9

# Pillow's own limit has its own warnings and errors; `check_size` is called just as early.
Image.MAX_IMAGE_PIXELS = None

# The decoders' threads would compete with the server's own.
pi_heif.options.DECODE_THREADS = AvifImagePlugin.DEFAULT_MAX_THREADS = 1

# `main_picture` writes files of this brand, or AVIF.
Image.register_open("HEIC", pi_heif.HeifImageFile, lambda prefix: prefix[4:12] == b"ftypheic")

# Pillow also warns about oddities such as bad metadata. They are not for the server's log, and
# Python would remember each text, which clients can choose, as long as the server runs.
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")

# What Pillow's decoders raise for damaged files; it documents no common base. Catch these only
# around calls of Pillow, so that our own bugs are not blamed on the client.
DECODE_ERRORS = (
    AssertionError,
    EOFError,
    IndexError,
    KeyError,
    OSError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True, eq=False)
class Opened:
    """A picture whose header has been read.

    Attributes:
        size: Width and height in pixels as encoded, before any rotation.
        decode: Takes the maximum longest side, in pixels. Returns uint8 `[H, W]` (grey) or
            `[H, W, 3]` (RGB): upright, reduced, with transparent parts filled by paper; and the
            width and height of the unreduced picture, upright. Raises `DamagedPicture`.
    """

    size: tuple[int, int]
    decode: Callable[[int], tuple[Pixels, tuple[int, int]]]


def _chunk(kind: bytes, content: bytes) -> bytes:
    """Write a chunk of a PNG file (https://www.w3.org/TR/png-3/#5Chunk-layout)."""
    kind_and_content = kind + content
    length, check = len(content), zlib.crc32(kind_and_content)
    return length.to_bytes(4, "big") + kind_and_content + check.to_bytes(4, "big")


# The start and the end of a PNG file of SIDE x SIDE shades without metadata.
FORM_BEGIN = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">II5B", SIDE, SIDE, 8, 0, 0, 0, 0))
FORM_END = _chunk(b"IEND", b"")
FORM_SIZE = SIDE, SIDE
LINE = 1 + SIDE  # bytes: the filter's number and the shades
FILTERS = 5
WINDOW = b"\x28"  # zlib's first byte for a window of 1,024 bytes


def decode_form(content: bytes) -> Pixels | None:
    """Decode a PNG file of 28 x 28 shades without metadata, the usual form of digit data sets.

    OpenCV takes a third of Pillow's time, but prints errors to standard error, so it gets only
    intact files.

    Returns:
        uint8 `[28, 28]`; `None` for anything else, damaged files included.
    """
    if not content.startswith(FORM_BEGIN):
        return None
    packed = content[len(FORM_BEGIN) + 8 : -len(FORM_END) - 4]
    if content != FORM_BEGIN + _chunk(b"IDAT", packed) + FORM_END:
        return None
    # With a declared window below 1,024 bytes, data may still refer back further: libpng rejects
    # that, Python's zlib does not.
    if packed[:1] < WINDOW:
        return None
    unpacker = zlib.decompressobj()
    try:
        lines = unpacker.decompress(packed, SIDE * LINE + 1)
    except zlib.error:
        return None
    is_whole = unpacker.eof and not unpacker.unused_data and len(lines) == SIDE * LINE
    if not is_whole or max(lines[::LINE]) >= FILTERS:
        return None
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)


def open_picture(data: bytes, max_pixels: int) -> Opened:
    """Read a picture's header: its format and size.

    Args:
        data: An encoded picture in one of `FORMATS`.
        max_pixels: The largest width times height allowed.

    Raises:
        NotAPicture: It is in none of the formats.
        PictureTooLarge: It has more pixels than allowed, or is a JPEG with more than `MAX_SCANS`
            or `MAX_SEGMENTS`.
        DamagedPicture: Its header cannot be read.
    """
    form = decode_form(data)
    if form is None:
        return open_image(_open(data, max_pixels))
    check_size(FORM_SIZE, max_pixels)
    return Opened(FORM_SIZE, lambda _: (form, FORM_SIZE))


def open_image(image: Image.Image) -> Opened:
    """Wrap a picture that Pillow has opened."""
    return Opened(image.size, partial(_decode, image))


def open_pages(data: bytes, max_pixels: int) -> Callable[[int], Opened]:
    """Read the header of a picture with several pages.

    Returns:
        A function that opens a page, counted from 0. Decode a page before you open the next. It
        raises `DamagedPicture` if the page cannot be found, and `PictureTooLarge`.

    Raises:
        NotAPicture, PictureTooLarge, DamagedPicture: As in `open_picture`, for the first page.
    """
    return partial(_open_page, _open(data, max_pixels), max_pixels)


def _open_page(image: Image.Image, max_pixels: int, page: int) -> Opened:
    try:
        image.seek(page)
    except DECODE_ERRORS as error:
        raise DamagedPicture("The page is damaged.") from error
    check_size(image.size, max_pixels)
    return open_image(image)


def _open(data: bytes, max_pixels: int) -> Image.Image:
    if data.startswith(JPEG_BEGIN):
        _check_jpeg(data)
    in_heif = is_heif(data)
    if in_heif:
        data = main_picture(data, max_pixels)
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        if in_heif:
            raise DamagedPicture(DAMAGED) from error
        raise NotAPicture(
            f"This is not a picture that can be read. Send one of {', '.join(FORMATS)}."
        ) from error
    except DECODE_ERRORS as error:
        raise DamagedPicture(DAMAGED) from error
    check_size(image.size, max_pixels)
    return image


def _check_jpeg(data: bytes) -> None:
    """Count scans and segments up to the end of the picture; phones may append a video."""
    scans, segments, place = 0, 0, len(JPEG_BEGIN)
    while (marker := JPEG_MARKER.search(data, place)) and marker[0][1] != END_OF_IMAGE:
        # Before the first scan, stray bytes between segments cost as much as segments.
        segments += 1 if scans else 1 + marker.start() - place
        scans += marker[0][1] == START_OF_SCAN
        if scans > MAX_SCANS or segments > MAX_SEGMENTS:
            raise PictureTooLarge(
                f"The JPEG has more than {MAX_SCANS} scans or {MAX_SEGMENTS:,} segments. "
                "Save the picture as a new JPEG."
            )
        place = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")


def reduced(pixels: Pixels, factor: int) -> Pixels:
    """Shrink by an integer factor, for which OpenCV is several times faster."""
    if factor <= 1:
        return pixels
    height, width = pixels.shape[:2]
    rows, columns = max(1, height // factor), max(1, width // factor)
    whole = pixels[: rows * factor, : columns * factor]
    return cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)


def _decode(image: Image.Image, longest: int) -> tuple[Pixels, tuple[int, int]]:
    size = image.size
    try:
        if image.format == "JPEG" and max(size) > longest:
            image.draft(None, _no_longer(size, longest))
        image.load()
        orientation = image.getexif().get(ORIENTATION, 1)
        if orientation != 1:
            image = ImageOps.exif_transpose(image)
        values = _values(image)
    except DECODE_ERRORS as error:
        raise DamagedPicture(DAMAGED) from error
    if orientation in ON_ITS_SIDE:
        size = size[::-1]
    pixels = values if values.dtype == np.uint8 else _to_bytes(values)
    if max(pixels.shape[:2]) > longest:
        smaller = _no_longer((pixels.shape[1], pixels.shape[0]), longest)
        pixels = cv2.resize(pixels, smaller, interpolation=cv2.INTER_AREA)
    if pixels.shape[2:] == (4,):
        pixels = _on_paper(pixels)
    return pixels, size


def _no_longer(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Return width and height, scaled so that the longer one is `longest`."""
    width, height = (max(1, side * longest // max(size)) for side in size)
    return width, height


def _values(image: Image.Image) -> NDArray[Any]:
    """Return shades, colours, or colours premultiplied by alpha with the alpha, ready for resizing.

    They are uint8, except for shades of more than eight bits.
    """
    if image.mode == "L" and "transparency" not in image.info:
        return np.asarray(image)
    if image.mode.startswith(("I", "F")):
        return np.asarray(image)
    if image.has_transparency_data:
        rgba = np.asarray(image if image.mode == "RGBA" else image.convert("RGBA"))
        opaque = cv2.extractChannel(rgba, 3).min() == BYTE
        return cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB if opaque else cv2.COLOR_RGBA2mRGBA)
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _to_bytes(values: NDArray[np.generic]) -> Pixels:
    """Scale values to bytes from the smallest bit depth that holds them."""
    values = np.nan_to_num(values.astype(np.float32), copy=False, posinf=0.0, neginf=0.0)
    np.maximum(values, 0, out=values)
    largest = float(values.max())
    depth = 1.0 if largest <= 1 else 2 ** np.ceil(np.log2(largest + 1)) - 1
    return cv2.convertScaleAbs(values, alpha=BYTE / float(depth))


def _on_paper(rgba: Pixels) -> Pixels:
    """Put the visible parts on white paper, or on black if all of them are light."""
    red, green, blue, alpha = cv2.split(rgba)  # premultiplied by alpha
    _, visible = cv2.threshold(alpha, BYTE // 2, 1, cv2.THRESH_BINARY)
    lightest = cv2.convertScaleAbs(alpha, alpha=LIGHT / BYTE)
    dark = cv2.compare(cv2.min(cv2.min(red, green), blue), lightest, cv2.CMP_LE)
    colours = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)
    if cv2.hasNonZero(visible) and not cv2.hasNonZero(visible & dark):
        return colours
    return cv2.add(colours, cv2.cvtColor(cv2.bitwise_not(alpha), cv2.COLOR_GRAY2RGB))
