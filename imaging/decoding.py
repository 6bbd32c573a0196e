"""Bytes of a picture become shades or colours, upright and no larger than wanted.

Pillow decodes: it reads every format here within limits of ours, HEIC by libheif, and a JPEG at a
smaller size in a fraction of the time. Only data sets' PNG files are OpenCV's, which is faster; so
is what it does to pixels.
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

SIDE = 28  # pixels, of QMNIST's pictures

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "HEIC", "AVIF")

ORIENTATION = 0x0112  # the EXIF tag
ON_ITS_SIDE = (5, 6, 7, 8)  # its values that exchange width and height
LIGHT = 200  # of 255; where all that is visible is lighter than this, the paper behind is dark
BYTE = 255

# Limits of a JPEG. A scan of a few bytes redraws the whole picture, so 10 MB of them take minutes;
# encoders write about ten, and libtiff has the same limit. Skipping 10 MB of empty segments takes
# seconds; metadata and colour profiles fill a few hundred at most.
MAX_SCANS, MAX_SEGMENTS = 100, 2_000
JPEG_BEGIN = b"\xff\xd8"
# A marker that begins a segment, or the end (ITU T.81, B.1): neither a restart nor a scan's bytes.
JPEG_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9

# Pillow's own limit warns and raises in its own words; ours is checked just as early.
Image.MAX_IMAGE_PIXELS = None

# Threads of the decoders would take turns with the server's own.
pi_heif.options.DECODE_THREADS = AvifImagePlugin.DEFAULT_MAX_THREADS = 1

# What `main_picture` writes is this or AVIF.
Image.register_open("HEIC", pi_heif.HeifImageFile, lambda prefix: prefix[4:12] == b"ftypheic")

# It also warns of what is odd in a picture, such as metadata. That is not for the server's log, and
# Python would keep each such text, which a client may choose, for as long as the server runs.
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")

# What Pillow's decoders raise for damaged files; it documents no common base. They are caught round
# Pillow's calls alone, or our own mistakes would be called the client's.
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
    """A picture of which the header has been read.

    Attributes:
        size: Its width and height in pixels, as they are encoded: it may be on its side.
        decode: Takes the longest side that is wanted, in pixels. Returns uint8 `[H, W]` (grey) or
            `[H, W, 3]` (RGB), upright, on paper where it is transparent, and reduced; and the width
            and height of the whole picture, upright. Raises `DamagedPicture`.
    """

    size: tuple[int, int]
    decode: Callable[[int], tuple[Pixels, tuple[int, int]]]


def _chunk(kind: bytes, content: bytes) -> bytes:
    """Write a chunk of a PNG file (https://www.w3.org/TR/png-3/#5Chunk-layout)."""
    kind_and_content = kind + content
    length, check = len(content), zlib.crc32(kind_and_content)
    return length.to_bytes(4, "big") + kind_and_content + check.to_bytes(4, "big")


# How a PNG file of SIDE x SIDE shades begins if nothing else is said of it, and how it ends.
FORM_BEGIN = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">II5B", SIDE, SIDE, 8, 0, 0, 0, 0))
FORM_END = _chunk(b"IEND", b"")
FORM_SIZE = SIDE, SIDE
LINE = 1 + SIDE  # bytes: a filter's number and the shades
FILTERS = 5
WINDOW = b"\x28"  # zlib's first byte for a window of 1,024 bytes


def decode_form(content: bytes) -> Pixels | None:
    """Decode a PNG file of 28 x 28 shades and nothing else, as data sets of digits are kept.

    OpenCV takes a third of Pillow's time for it, but writes what is wrong to the standard error. So
    it is given only what is whole.

    Returns:
        uint8 `[28, 28]`; `None` if it is anything else, and be it damaged.
    """
    if not content.startswith(FORM_BEGIN):
        return None
    packed = content[len(FORM_BEGIN) + 8 : -len(FORM_END) - 4]
    if content != FORM_BEGIN + _chunk(b"IDAT", packed) + FORM_END:
        return None
    # What is packed for a window of less than 1,024 bytes may look back further than that: libpng
    # would mind, and Python's zlib would not.
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
    """Read what kind of picture the bytes are, and how large.

    Args:
        data: An encoded picture in one of `FORMATS`.
        max_pixels: The largest width times height that is allowed.

    Raises:
        NotAPicture: It is in none of the formats.
        PictureTooLarge: It has more pixels than allowed; or it is a JPEG of more than `MAX_SCANS`
            or `MAX_SEGMENTS`.
        DamagedPicture: Already its header cannot be read.
    """
    form = decode_form(data)
    if form is None:
        return open_image(_open(data, max_pixels))
    check_size(FORM_SIZE, max_pixels)
    return Opened(FORM_SIZE, lambda _: (form, FORM_SIZE))


def open_image(image: Image.Image) -> Opened:
    """Take a picture that Pillow has opened."""
    return Opened(image.size, partial(_decode, image))


def open_pages(data: bytes, max_pixels: int) -> Callable[[int], Opened]:
    """Read what kind of picture of several pages the bytes are.

    Returns:
        A function that turns to a page, the first being 0, and opens it. A page is decoded before
        the next is turned to. It raises `DamagedPicture` if the page cannot be found, and
        `PictureTooLarge`.

    Raises:
        NotAPicture, PictureTooLarge, DamagedPicture: As `open_picture`, of the first page.
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
    """Go from segment to segment to the end of the picture; a phone may put a film after it."""
    scans, segments, place = 0, 0, len(JPEG_BEGIN)
    while (marker := JPEG_MARKER.search(data, place)) and marker[0][1] != END_OF_IMAGE:
        # Before the first scan, bytes between two segments cost as much as a segment.
        segments += 1 if scans else 1 + marker.start() - place
        scans += marker[0][1] == START_OF_SCAN
        if scans > MAX_SCANS or segments > MAX_SEGMENTS:
            raise PictureTooLarge(
                f"The JPEG has more than {MAX_SCANS} scans or {MAX_SEGMENTS:,} segments."
            )
        place = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")


def reduced(pixels: Pixels, factor: int) -> Pixels:
    """Shrink by a whole number, which OpenCV does several times faster than by another."""
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
    """Return width and height, reduced so that the longer one is `longest`."""
    width, height = (max(1, side * longest // max(size)) for side in size)
    return width, height


def _values(image: Image.Image) -> NDArray[Any]:
    """Return shades, colours, or colours times their alpha and the alpha, which can be reduced.

    They are uint8, but for shades of more than eight bits.
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
    """Scale values of more than eight bits by the smallest depth that holds them."""
    values = np.nan_to_num(values.astype(np.float32), copy=False, posinf=0.0, neginf=0.0)
    np.maximum(values, 0, out=values)
    largest = float(values.max())
    depth = 1.0 if largest <= 1 else 2 ** np.ceil(np.log2(largest + 1)) - 1
    return cv2.convertScaleAbs(values, alpha=BYTE / float(depth))


def _on_paper(rgba: Pixels) -> Pixels:
    """Lay what is visible on white paper, or on black where all of it is light."""
    red, green, blue, alpha = cv2.split(rgba)  # the colours are times their alpha
    _, visible = cv2.threshold(alpha, BYTE // 2, 1, cv2.THRESH_BINARY)
    lightest = cv2.convertScaleAbs(alpha, alpha=LIGHT / BYTE)
    dark = cv2.compare(cv2.min(cv2.min(red, green), blue), lightest, cv2.CMP_LE)
    colours = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)
    if cv2.hasNonZero(visible) and not cv2.hasNonZero(visible & dark):
        return colours
    return cv2.add(colours, cv2.cvtColor(cv2.bitwise_not(alpha), cv2.COLOR_GRAY2RGB))
