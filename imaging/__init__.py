"""Bytes of any picture become pixels as QMNIST has them: uint8 `[28, 28]`, 255 is ink.

Four steps: `decoding` (bytes to shades), `ink` (shades to ink), `strokes` (ink to the digit's ink,
without printed `lines`), `form` (the digit's ink to 28 x 28). Where there are several
digits, `reading` tells them apart.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2

from imaging.decoding import SIDE, Opened, Pixels, open_image, open_pages, open_picture
from imaging.errors import NoDigit
from imaging.form import FINE, is_form, to_form
from imaging.ink import Ink, Polarity, find_ink
from imaging.reading import Segment, find_digits
from imaging.strokes import Box, Strokes, find_strokes, one_digit

__all__ = [
    "SIDE",
    "Candidate",
    "Opened",
    "Polarity",
    "View",
    "look",
    "look_for_all",
    "open_image",
    "open_pages",
    "open_picture",
]

# Pixels, the longest side of the picture in which one digit, or several, are looked for.
LONGEST, LONGEST_OF_SEVERAL = 1_000, 2_000
LARGE = 2 * FINE  # pixels, the length of a digit, beyond which nothing is gained: pen of 33 %

# OpenCV's threads would take turns with the server's own, and these pictures are small.
cv2.setNumThreads(1)

# Bytes that glibc gives back to the system at once: for each decoded picture of more it would ask
# for memory anew, which the system clears page by page, for a quarter of a drawing's time. Other
# systems have no such function (https://man7.org/linux/man-pages/man3/mallopt.3.html).
LARGEST_KEPT, MOST_KEPT = 4 << 20, 16 << 20
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
    mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
    mallopt(M_TRIM_THRESHOLD, MOST_KEPT)


@dataclass(frozen=True, eq=False)
class View:
    """What is seen of one digit.

    Attributes:
        pixels: uint8 `[28, 28]`, 255 is ink: what the network gets.
        box: Of the digit in the picture as it was sent, upright: x, y, width, height in pixels.
        removed: What was taken for no part of it: `lines`, `edges`, `specks`.
    """

    pixels: Pixels
    box: tuple[int, int, int, int]
    polarity: Polarity
    removed: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Candidate:
    """Neighbouring pieces of ink in a line of writing that may be one digit, or none.

    Attributes:
        first: The first of the pieces, counted from the left.
        last: The first one after them.
        cost: How unlikely that is by size and place alone, as a negative logarithm.
        look: Looks at them together, which takes time; `None` if they are left out.
    """

    first: int
    last: int
    cost: float
    look: Callable[[], View] | None


def look(opened: Opened) -> View:
    """Decode an opened picture and find the digit in it.

    A picture that is in QMNIST's form already comes out pixel for pixel.

    Raises:
        DamagedPicture: It cannot be decoded.
        NoDigit: There is no ink on it.
        SeveralDigits: There is more than one digit on it.
    """
    picture, size = opened.decode(LONGEST)
    as_sent = _in_form(picture)
    if as_sent is not None:
        return as_sent
    ink, strokes = _ink_and_strokes(picture, size, LARGE)
    parts, box = one_digit(strokes)
    pixels = to_form(strokes.cut_out(parts, box))
    return View(
        pixels, _in_original(box, ink.strength.shape, size), ink.polarity, tuple(strokes.removed)
    )


def look_for_all(opened: Opened) -> list[list[Candidate]]:
    """Decode an opened picture and find all digits in it.

    Returns:
        By line, from the left: what may be a digit. Each way from the first piece of ink to the
        last, from candidate to candidate, is a reading of the line.

    Raises:
        DamagedPicture: It cannot be decoded.
        NoDigit: There is no ink on it.
    """
    picture, size = opened.decode(LONGEST_OF_SEVERAL)
    as_sent = _in_form(picture)
    if as_sent is not None:
        return [[Candidate(0, 1, 0.0, lambda: as_sent)]]
    ink, strokes = _ink_and_strokes(picture, size)

    def candidate(segment: Segment) -> Candidate:
        see = partial(_see, segment, picture.shape, size, ink.polarity, tuple(strokes.removed))
        return Candidate(segment.first, segment.last, segment.cost, see if segment.pieces else None)

    return [list(map(candidate, line)) for line in find_digits(strokes)]


def _see(
    segment: Segment,
    shape: tuple[int, ...],
    size: tuple[int, int],
    polarity: Polarity,
    removed: tuple[str, ...],
) -> View:
    digit = segment.digit()
    return View(to_form(digit.ink), _in_original(digit.box, shape, size), polarity, removed)


def _in_form(picture: Pixels) -> View | None:
    if picture.shape != (SIDE, SIDE):
        return None
    if is_form(picture):
        return View(picture, cv2.boundingRect(picture), Polarity.LIGHT_ON_DARK, ())
    inverted = cv2.bitwise_not(picture)
    if is_form(inverted):
        return View(inverted, cv2.boundingRect(inverted), Polarity.DARK_ON_LIGHT, ())
    return None


def _ink_and_strokes(
    picture: Pixels, size: tuple[int, int], large: int | None = None
) -> tuple[Ink, Strokes]:
    try:
        ink = find_ink(picture, large)
        return ink, find_strokes(ink.strength)
    except NoDigit as error:
        raise NoDigit(f"No digit found in {size[0]} x {size[1]} pixels: {error}") from error


def _in_original(
    box: Box, shape: tuple[int, ...], size: tuple[int, int]
) -> tuple[int, int, int, int]:
    # A side of one pixel cannot shrink with the other, so each has its own scale.
    across, down = size[0] / shape[1], size[1] / shape[0]
    left, top = int(box.left * across), int(box.top * down)
    right, bottom = round(box.right * across), round(box.bottom * down)
    return left, top, max(1, right - left), max(1, bottom - top)
