"""Turns the bytes of any picture into pixels in QMNIST's form: uint8 `[28, 28]`, 255 is ink.

Four steps: `decoding` (bytes to shades), `ink` (shades to ink), `strokes` (all ink to the digit's,
without printed `lines`), `form` (the digit's ink to 28 x 28). `reading` separates several digits.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from imaging.decoding import SIDE, Opened, Pixels, open_image, open_pages, open_picture
from imaging.errors import NoDigit
from imaging.form import FINE, is_form, to_form
from imaging.ink import Ink, Polarity, find_ink
from imaging.reading import Digit, Segment, find_digits
from imaging.strokes import Box, Strokes, find_strokes, one_digit

__all__ = [
    "SIDE",
    "Candidate",
    "Opened",
    "Polarity",
    "Steps",
    "View",
    "look",
    "look_for_all",
    "open_image",
    "open_pages",
    "open_picture",
]

# Pixels: larger pictures are reduced to this longest side to look for one digit, or for several.
LONGEST, LONGEST_OF_SEVERAL = 1_000, 2_000
LARGE = 2 * FINE  # pixels; a longer digit is no more accurate: pen of 33 %

MARGIN = 0.5  # of a digit's length, shown around it in each step
SHOWN = 112  # pixels, the longest side of a step's picture

# OpenCV's threads would compete with the server's own, and these pictures are small.
cv2.setNumThreads(1)

# Bytes up to which glibc keeps freed memory. By default it returns each decoded picture's memory to
# the system, and clearing new pages takes a quarter of a drawing's time. Other systems have no such
# function (https://man7.org/linux/man-pages/man3/mallopt.3.html).
LARGEST_KEPT, MOST_KEPT = 4 << 20, 16 << 20
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
    mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
    mallopt(M_TRIM_THRESHOLD, MOST_KEPT)


@dataclass(frozen=True, eq=False)
class Steps:
    """A digit and its surroundings on the way to 28 x 28; at most `SHOWN` pixels long.

    Attributes:
        decoded: The picture: uint8 `[H, W]` (grey) or `[H, W, 3]` (RGB).
        ink: All ink: uint8 `[H, W]`, 255 is ink.
        strokes: The digit's ink alone: uint8 `[H, W]`, 255 is ink.
    """

    decoded: Pixels
    ink: Pixels
    strokes: Pixels


@dataclass(frozen=True, eq=False)
class View:
    """One digit, as it is passed to the network.

    Attributes:
        pixels: The network's input: uint8 `[28, 28]`, 255 is ink.
        box: The digit's place in the original picture, upright: x, y, width, height in pixels.
        removed: What was removed as not part of the digit: `lines`, `edges`, `specks`.
        steps: Makes pictures of the steps. It keeps the decoded picture in memory.
    """

    pixels: Pixels
    box: tuple[int, int, int, int]
    polarity: Polarity
    removed: tuple[str, ...]
    steps: Callable[[], Steps]


@dataclass(frozen=True, eq=False)
class Candidate:
    """Neighbouring pieces of ink in a line of writing that may be one digit, or none.

    Attributes:
        first: The index of the first piece, from the left.
        last: The index after the last piece.
        cost: How unlikely it is, judged by size and place alone, as a negative logarithm.
        look: Makes the view of the pieces as one digit, which takes time; `None` to leave them out.
    """

    first: int
    last: int
    cost: float
    look: Callable[[], View] | None


def look(opened: Opened) -> View:
    """Decode an opened picture and find the digit in it.

    A picture already in QMNIST's form is returned pixel for pixel.

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
    return _see(Digit(strokes.cut_out(parts, box), box), picture, size, ink, strokes)


def look_for_all(opened: Opened) -> list[list[Candidate]]:
    """Decode an opened picture and find all digits in it.

    Returns:
        For each line of writing, the candidates from the left. Any chain of candidates from the
        first piece of ink to the last is a possible reading of the line.

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
        def see() -> View:
            return _see(segment.digit(), picture, size, ink, strokes)

        return Candidate(segment.first, segment.last, segment.cost, see if segment.pieces else None)

    return [list(map(candidate, line)) for line in find_digits(strokes)]


def _see(digit: Digit, picture: Pixels, size: tuple[int, int], ink: Ink, strokes: Strokes) -> View:
    return View(
        to_form(digit.ink),
        _in_original(digit.box, ink.strength.shape, size),
        ink.polarity,
        tuple(strokes.removed),
        partial(_steps, digit, picture, ink.strength),
    )


def _steps(digit: Digit, picture: Pixels, ink: Pixels) -> Steps:
    height, width = ink.shape
    margin = round(MARGIN * digit.box.longest)
    left, top = max(0, digit.box.left - margin), max(0, digit.box.top - margin)
    right, bottom = min(width, digit.box.right + margin), min(height, digit.box.bottom + margin)
    strokes = np.zeros_like(ink)
    x, y = digit.corner
    strokes[y : y + digit.ink.shape[0], x : x + digit.ink.shape[1]] = digit.ink
    # The ink may have been found in a reduced picture.
    across, down = picture.shape[1] / width, picture.shape[0] / height
    decoded = picture[
        int(top * down) : round(bottom * down), int(left * across) : round(right * across)
    ]
    return Steps(
        _shown(decoded),
        _shown(ink[top:bottom, left:right]),
        _shown(strokes[top:bottom, left:right]),
    )


def _shown(pixels: Pixels) -> Pixels:
    scale = SHOWN / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _in_form(picture: Pixels) -> View | None:
    if picture.shape != (SIDE, SIDE):
        return None
    for pixels, polarity in (
        (picture, Polarity.LIGHT_ON_DARK),
        (cv2.bitwise_not(picture), Polarity.DARK_ON_LIGHT),
    ):
        if is_form(pixels):
            steps = partial(Steps, picture, pixels, pixels)
            return View(pixels, cv2.boundingRect(pixels), polarity, (), steps)
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
    # A side of one pixel cannot shrink further, so each side has its own scale.
    across, down = size[0] / shape[1], size[1] / shape[0]
    left, top = int(box.left * across), int(box.top * down)
    right, bottom = round(box.right * across), round(box.bottom * down)
    return left, top, max(1, right - left), max(1, bottom - top)
