"""Finds the ink in a decoded picture: its strength at each pixel, on any paper.

Ink is whatever differs from the paper around it, in the mix of colours with the most contrast. The
paper is what borders the picture, or a sheet that lies in it; its shade may vary, as in a shadow.

OpenCV's filters on bytes take a fraction of the time of Pillow's and SciPy's.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.decoding import Pixels, reduced
from imaging.errors import NoDigit
from imaging.lines import may_have_lines

THUMBNAIL = 64  # pixels, the longest side of the small picture used to find the paper
GREY = 10  # of 255; channels that differ by less are treated as grey, which saves time

# The name after each is what fails without it: a condition of `tests/pictures/conditions.py`,
# strings of `benchmarks/imaging.py`, or other people's pictures (`benchmarks/wild.py`).
EVEN = 0.2  # of the contrast; paper with a larger spread is uneven: refusal of noise
ONE_SHADE = 0.5  # of the contrast; marks that are weaker by more are shadow: shadow with an edge
SHEET = 0.3  # of the picture; a sheet of paper fills at least this share: wide gaps
STRAIGHT = 0.93  # of its hull, and of its corners' quadrilateral: cropped to its ink
BLANK = 0.6  # of a sheet, at least, is blank: in a form's cell
STEP = 0.6  # of the contrast with its surroundings, that the edge of a sheet has: all at once
CORNERS = 0.04  # of the outline's length: tolerance for straight sides
CONTRAST = 12  # of 255; fainter marks are paper: all at once, pencil
DEVIATIONS = 1.4826  # standard deviation per median deviation, in a normal distribution
NOISE = 4.0  # standard deviations of the paper's grain; weaker marks are noise: church records
NOISY = 4.0  # of 255; pictures with a larger deviation are smoothed first: grain
ROWS = 128  # rows sampled, about, to find the polarity
SAMPLE = 10_000  # pixels of ink sampled, about, to find its strength


class Polarity(StrEnum):
    """Whether the ink is darker or lighter than the paper."""

    DARK_ON_LIGHT = "dark on light"
    LIGHT_ON_DARK = "light on dark"


@dataclass(frozen=True)
class Ink:
    """The ink of a picture.

    Attributes:
        strength: uint8 `[H, W]`: 0 is paper, 255 is as strong as most of the ink, or stronger.
    """

    strength: Pixels
    polarity: Polarity


@dataclass(frozen=True)
class Paper:
    """The paper of a picture.

    Attributes:
        shade: One shade for all of it; or uint8 `[h, w]`, one for each pixel of the small picture.
        sheet: uint8 `[h, w]`, 1 on the sheet; `None` if there is paper everywhere.
        on_dark: Whether the ink is lighter; `None`, not yet known, if the paper has several shades.
    """

    shade: int | Pixels
    sheet: Pixels | None
    on_dark: bool | None = None

    def shades(self, shape: tuple[int, ...]) -> Pixels:
        """Return the shade of each pixel of a picture: uint8 `[H, W]`."""
        if isinstance(self.shade, int):
            return np.full(shape, self.shade, np.uint8)
        return cv2.resize(self.shade, shape[::-1], interpolation=cv2.INTER_LINEAR)


def find_ink(picture: Pixels, large: int | None = None) -> Ink:
    """Separate the ink from the paper.

    Args:
        picture: uint8 `[H, W]` (grey) or `[H, W, 3]` (RGB).
        large: If given, there is one digit, for which this length in pixels suffices: the picture
            is reduced first if the digit is at least twice as long.

    Raises:
        NoDigit: The whole picture has about the same shade.
    """
    small = reduced(picture, -(-max(picture.shape[:2]) // THUMBNAIL))
    mix = _mix(small)
    small = _mixed(small, mix)
    paper = _find_paper(small)
    if large is not None and max(picture.shape) >= 2 * large:
        longest = _longest(small, paper) * max(picture.shape) // max(small.shape)
        picture = reduced(picture, longest // large)
    grey = _mixed(picture, mix)
    noise = _noise(grey)
    if noise > NOISY and min(grey.shape) > THUMBNAIL:
        grey = _smoothed(grey)
        noise = _noise(grey)
    marks, on_dark = _marks(grey, paper)
    floor = round(max(CONTRAST, NOISE * noise))
    polarity = Polarity.LIGHT_ON_DARK if on_dark else Polarity.DARK_ON_LIGHT
    return Ink(levelled(marks, floor), polarity)


def levelled(marks: Pixels, floor: int) -> Pixels:
    """Return marks scaled so that most of the ink has full strength: uint8 `[H, W]`.

    Raises:
        NoDigit: No mark is stronger than the floor.
    """
    _, marks = cv2.threshold(marks, floor - 1, 0, cv2.THRESH_TOZERO)
    return cv2.convertScaleAbs(marks, alpha=255 / _level(marks, floor))


def _mix(small: Pixels) -> NDArray[np.float32] | None:
    """Find the mix of colours with the most contrast of ink and paper; `None` if grey."""
    if small.ndim == 2:
        return None
    red, green, blue = cv2.split(small)
    if max(cv2.absdiff(red, green).max(), cv2.absdiff(green, blue).max()) < GREY:
        return None
    difference = small.astype(np.float32) - cv2.medianBlur(small, _window(small))
    difference = difference.reshape(-1, 3)
    size = np.square(difference).sum(axis=1, keepdims=True)
    # The first principal component, weighted towards the strongest marks.
    _, vectors = np.linalg.eigh((difference * size).T @ difference)
    mix = vectors[:, -1] / np.abs(vectors[:, -1]).sum() * np.sign(vectors[:, -1].sum())
    return np.append(mix, -255 * mix[mix < 0].sum())[None].astype(np.float32)


def _mixed(picture: Pixels, mix: NDArray[np.float32] | None) -> Pixels:
    if picture.ndim == 2:
        return picture
    if mix is None:
        return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return cv2.transform(picture, mix)


def _window(small: Pixels) -> int:
    """Return an odd window side, large enough that at most half of a window is ink."""
    return min(small.shape[:2]) // 4 * 2 + 1


def _noise(grey: Pixels) -> float:
    """Estimate the standard deviation of the paper's grain, of 255."""
    rows = grey[:: max(1, grey.shape[0] // 16)]
    if rows.shape[1] < 2:
        return 0.0
    steps = cv2.absdiff(rows[:, 1:], rows[:, :-1])
    middle = steps.size // 2
    return float(np.partition(steps, middle, axis=None)[middle]) * DEVIATIONS / 2**0.5


def _counts(shades: Pixels, mask: Pixels | None = None) -> NDArray[np.float32]:
    """Count the pixels of each shade, everywhere or where a mask is 1: float32 `[256]`."""
    return cv2.calcHist([shades], [0], mask, [256], [0, 256]).ravel()


def _cumulative(shades: Pixels, mask: Pixels | None = None) -> list[float]:
    """Count the pixels up to each of the 256 shades, everywhere or where a mask is 1."""
    return list(_counts(shades, mask).cumsum().tolist())


def _shade_at(cumulative: list[float], share: float) -> int:
    """Return the shade at this quantile of the counted pixels."""
    return bisect_right(cumulative, int(share * cumulative[-1]))


def _smoothed(grey: Pixels) -> Pixels:
    return cv2.GaussianBlur(grey, (0, 0), max(1.0, max(grey.shape) / 300))


def _find_paper(small: Pixels) -> Paper:
    _, dark = cv2.threshold(small, 0, 1, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    on_dark = _borders(dark)
    marked = 1 - dark if on_dark else dark
    sheet = _find_sheet(small, marked)
    if sheet is not None:
        on_dark = not on_dark
        marked = sheet & (1 - marked)
        small = np.where(sheet == 1, small, np.uint8(np.median(small[(sheet > marked)])))
    shade = _even_shade(small, marked, on_dark)
    if shade is None:
        return Paper(cv2.medianBlur(small, _window(small)), sheet)
    return Paper(shade, sheet, on_dark)


def _longest(small: Pixels, paper: Paper) -> int:
    """Return the length of the longest piece of ink; 0 if there may be lines or a scanner's edge.

    These are thin, and the digit next to them may be much smaller.
    """
    marks = cv2.absdiff(small, paper.shades(small.shape))
    if paper.sheet is not None:
        marks *= paper.sheet
    _, marked = cv2.threshold(marks, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    if cv2.countNonZero(marked) > cv2.countNonZero(marked[1:-1, 1:-1]) or may_have_lines(marked):
        return 0
    contours, _ = cv2.findContours(marked, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return max((max(cv2.boundingRect(contour)[2:]) for contour in contours), default=0)


def _even_shade(small: Pixels, marked: Pixels, on_dark: bool) -> int | None:
    """Return the shade of the paper, or `None` if it has several, as in a shadow."""
    if not on_dark:
        small = cv2.bitwise_not(small)
    paper, ink = _cumulative(small, 1 - marked), _cumulative(small, marked)
    if not paper[-1] or not ink[-1]:
        shade = _shade_at(_cumulative(small), 0.5)
        return shade if on_dark else 255 - shade
    shade = _shade_at(paper, 0.5)
    contrast = _shade_at(ink, 0.5) - shade
    # Half of the paper is within a median deviation.
    near = int(EVEN * contrast / DEVIATIONS)
    if paper[min(shade + near, 255)] - [0.0, *paper][max(shade - near, 0)] <= paper[-1] // 2:
        return None
    # If light falls on only part of the picture, some ink is hidden in what seems paper, or is
    # stronger than what seems ink.
    if shade - _shade_at(paper, 0.005) > ONE_SHADE * contrast:
        return None
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    wide = _cumulative(small, cv2.erode(marked, cross, iterations=2, borderValue=0))
    if wide[-1] and _shade_at(ink, 0.98) - _shade_at(wide, 0.5) > ONE_SHADE * contrast:
        return None
    return shade if on_dark else 255 - shade


def _borders(dark: Pixels) -> bool:
    """Return whether the border and the corners of a picture are mostly dark."""
    sides = dark[:1], dark[-1:], dark[:, :1], dark[:, -1:]
    corners = dark[:3, :3], dark[:3, -3:], dark[-3:, :3], dark[-3:, -3:]
    return _share(sides) + _share(corners) > 1


def _share(places: Sequence[Pixels]) -> float:
    return sum(map(cv2.countNonZero, places)) / sum(place.size for place in places)


def _find_sheet(small: Pixels, marked: Pixels) -> Pixels | None:
    """Find a sheet of paper among the marks: it has four corners and something on it."""
    contours, _ = cv2.findContours(marked, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return None
    largest = max(contours, key=cv2.contourArea)
    area = cv2.contourArea(largest)
    if area < SHEET * marked.size:
        return None
    hull = cv2.convexHull(largest)
    corners = cv2.approxPolyDP(hull, CORNERS * cv2.arcLength(hull, True), True)
    if (
        len(corners) != 4
        or area < STRAIGHT * cv2.contourArea(hull)
        or not STRAIGHT < cv2.contourArea(corners) / area < 1 / STRAIGHT
    ):
        return None
    sheet = cv2.drawContours(np.zeros_like(marked), [largest], 0, 1, cv2.FILLED)
    sheet = cv2.erode(sheet, np.ones((3, 3), np.uint8), borderValue=1)
    blank = int((sheet & marked).sum())
    if not BLANK * sheet.sum() < blank < sheet.sum():
        return None
    # A sheet ends in a sharp step, fading light does not.
    near, around = np.ones((3, 3), np.uint8), np.ones((7, 7), np.uint8)
    inner = sheet & (1 - cv2.erode(sheet, around, borderValue=1))
    outer = cv2.dilate(sheet, around) & (1 - cv2.dilate(sheet, near))
    if not outer.any():
        return None
    step = abs(np.median(small[inner == 1]) - np.median(small[outer == 1]))
    contrast = abs(np.median(small[sheet == 1]) - np.median(small[sheet == 0]))
    return cv2.erode(sheet, near, borderValue=1) if step >= STEP * contrast else None


def _marks(grey: Pixels, paper: Paper) -> tuple[Pixels, bool]:
    """Subtract the paper: uint8 `[H, W]`, 0 is paper; and whether the ink is lighter."""
    shades = paper.shades(grey.shape)
    sides = cv2.subtract(shades, grey), cv2.subtract(grey, shades)
    if paper.sheet is not None:
        inside = cv2.resize(paper.sheet, grey.shape[::-1], interpolation=cv2.INTER_NEAREST)
        sides = sides[0] * inside, sides[1] * inside
    if paper.on_dark is not None:
        return sides[paper.on_dark], paper.on_dark
    # In third powers, the symmetric grain cancels out and strong ink counts most.
    cubes = np.arange(256.0) ** 3
    step = 1 + len(grey) // ROWS
    dark, light = (_counts(side[::step]) @ cubes for side in sides)
    if light > dark:
        return sides[1], True
    # Light multiplies the shade of paper, so divide. A blackboard's bright ink is subtracted.
    marks = cv2.bitwise_not(cv2.divide(grey, shades, scale=255))
    return marks if paper.sheet is None else marks * inside, False


def _level(marks: Pixels, floor: int) -> float:
    """Return the strength of most of the ink: the mean of the upper class of Otsu's threshold.

    Otsu, A Threshold Selection Method from Gray-Level Histograms, 1979.
    """
    x, y, width, height = cv2.boundingRect(cv2.threshold(marks, floor, 1, cv2.THRESH_BINARY)[1])
    if width == 0:
        raise NoDigit("all of them have about the same shade.")
    inside = marks[y : y + height, x : x + width]
    marked = inside[inside > floor][None]
    marked = marked[:, :: 1 + marked.size // SAMPLE]
    _, upper = cv2.threshold(marked, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return cv2.mean(marked, upper)[0] or cv2.mean(marked)[0]
