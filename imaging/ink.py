"""A decoded picture becomes ink alone: how strong it is at each pixel, whatever the paper is.

Ink is what differs from the paper around it, in the colour in which the picture differs most. The
paper is what borders the picture, or a sheet that lies in it; its shade may change from place to
place, as in a shadow.

OpenCV does the work: its filters on bytes take a fraction of the time of Pillow's and SciPy's.
"""

from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np

from imaging.decoding import Pixels
from imaging.errors import NoDigit

THUMBNAIL = 64  # pixels, the longest side of the small picture in which the paper is looked at
GREY = 10  # of 255; channels that differ by less are one, which saves time

# After each, what breaks without it: a condition of `tests/pictures/conditions.py`, strings of
# `benchmarks/imaging.py`, or what other people's pictures show (`benchmarks/wild.py`).
EVEN = 0.2  # of the contrast: paper that spreads more is uneven: refusal of noise
ONE_SHADE = 0.5  # of the contrast: marks so much weaker are shade: shadow with an edge
SHEET = 0.3  # a sheet of paper fills at least this share of the picture: wide gaps
STRAIGHT = 0.93  # of its hull, and of its corners' quadrilateral, is a sheet: cropped to its ink
BLANK = 0.6  # of a sheet is blank: in a form's cell
STEP = 0.6  # of the contrast with what is around it: how sharply a sheet ends; all at once
CORNERS = 0.04  # of the outline's length: what is nearer to a line between corners is on it
CONTRAST = 12  # of 255; fainter marks than this are paper: all at once, pencil
DEVIATIONS = 1.4826  # a normal distribution's standard deviation, in median deviations
NOISE = 4.0  # marks are at least this many standard deviations of the paper's grain: church records
NOISY = 4.0  # of 255, the deviation above which a picture is smoothed first: grain
SAMPLE = 10_000  # pixels of ink; about so many are counted to find how strong it is


class Polarity(StrEnum):
    """What is drawn on what."""

    DARK_ON_LIGHT = "dark on light"
    LIGHT_ON_DARK = "light on dark"


@dataclass(frozen=True)
class Ink:
    """The ink of a picture.

    Attributes:
        strength: uint8 `[H, W]`: 0 is paper, 255 as strong as most of the ink is, or stronger.
    """

    strength: Pixels
    polarity: Polarity


@dataclass(frozen=True)
class Paper:
    """What a picture's ink is on.

    Attributes:
        shade: uint8 `[h, w]`, of each place of the small picture.
        sheet: uint8 `[h, w]`, 1 where there is paper, if not everywhere.
    """

    shade: Pixels
    polarity: Polarity
    sheet: Pixels | None


def find_ink(picture: Pixels) -> Ink:
    """Separate the ink from the paper.

    Args:
        picture: uint8 `[H, W]` (grey) or `[H, W, 3]` (RGB).

    Raises:
        NoDigit: All of it has the same shade.
    """
    grey, small = _shades(picture)
    noise = _noise(grey)
    if noise > NOISY and min(grey.shape) > THUMBNAIL:
        grey = _smoothed(grey)
        noise = _noise(grey)
    paper = _find_paper(small, grey)
    marks = _marks(grey, paper)
    floor = round(max(CONTRAST, NOISE * noise))
    return Ink(levelled(marks, floor), paper.polarity)


def levelled(marks: Pixels, floor: int) -> Pixels:
    """Scale marks so that most of the ink has full strength; uint8 `[H, W]`.

    Raises:
        NoDigit: No mark is stronger than the floor.
    """
    strength = (np.arange(256) * (255 / _level(marks, floor))).clip(0, 255).astype(np.uint8)
    strength[:floor] = 0
    return cv2.LUT(marks, strength)


def _shades(picture: Pixels) -> tuple[Pixels, Pixels]:
    """Reduce colours to the shade in which ink and paper differ most; the same again, small."""
    small = _small(picture)
    if picture.ndim == 2:
        return picture, small
    red, green, blue = cv2.split(small)
    if max(cv2.absdiff(red, green).max(), cv2.absdiff(green, blue).max()) < GREY:
        return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    difference = small.astype(np.float32) - cv2.medianBlur(small, _window(small))
    difference = difference.reshape(-1, 3)
    size = np.square(difference).sum(axis=1, keepdims=True)
    # The first principal component, in which the strongest marks count most.
    _, vectors = np.linalg.eigh((difference * size).T @ difference)
    mix = vectors[:, -1] / np.abs(vectors[:, -1]).sum() * np.sign(vectors[:, -1].sum())
    mixing = np.append(mix, -255 * mix[mix < 0].sum())[None].astype(np.float32)
    return cv2.transform(picture, mixing), cv2.transform(small, mixing)


def _small(picture: Pixels) -> Pixels:
    """Shrink by a whole number, which OpenCV does several times faster than by another."""
    height, width = picture.shape[:2]
    factor = -(-max(height, width) // THUMBNAIL)
    if factor == 1:
        return picture
    rows, columns = max(1, height // factor), max(1, width // factor)
    whole = picture[: rows * factor, : columns * factor]
    return cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)


def _window(small: Pixels) -> int:
    """Return the side of a window of which no more than half is ink, an odd number."""
    return min(small.shape[:2]) // 4 * 2 + 1


def _noise(grey: Pixels) -> float:
    """Estimate the standard deviation of the paper's grain, of 255."""
    rows = grey[:: max(1, grey.shape[0] // 16)]
    if rows.shape[1] < 2:
        return 0.0
    steps = np.sort(cv2.absdiff(rows[:, 1:], rows[:, :-1]), axis=None)
    return float(steps[len(steps) // 2]) * DEVIATIONS / 2**0.5


def _smoothed(grey: Pixels) -> Pixels:
    return cv2.GaussianBlur(grey, (0, 0), max(1.0, max(grey.shape) / 300))


def _find_paper(small: Pixels, grey: Pixels) -> Paper:
    _, dark = cv2.threshold(small, 0, 1, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    on_dark = _borders(dark)
    marked = 1 - dark if on_dark else dark
    sheet = _find_sheet(small, marked)
    inside = small
    if sheet is not None:
        on_dark = not on_dark
        marked = sheet & (1 - marked)
        inside = np.where(sheet == 1, small, np.uint8(np.median(small[(sheet > marked)])))
    shade = _even_shade(inside, marked, on_dark)
    if shade is None:
        return _uneven_paper(inside, grey, sheet)
    polarity = Polarity.LIGHT_ON_DARK if on_dark else Polarity.DARK_ON_LIGHT
    return Paper(np.full_like(small, shade), polarity, sheet)


def _uneven_paper(small: Pixels, grey: Pixels, sheet: Pixels | None) -> Paper:
    """Take the median around each place for the paper, and what differs more for the ink."""
    shades = cv2.medianBlur(small, _window(small))
    paper = cv2.resize(shades, grey.shape[::-1], interpolation=cv2.INTER_LINEAR)
    lighter, darker = cv2.subtract(grey, paper), cv2.subtract(paper, grey)
    if sheet is not None:
        inside = cv2.resize(sheet, grey.shape[::-1], interpolation=cv2.INTER_NEAREST)
        lighter, darker = lighter * inside, darker * inside
    # The third power, in which the grain's two sides are the same and the ink's strength counts.
    cubes = np.arange(256.0) ** 3
    light, dark = (np.bincount(side.ravel(), minlength=256) @ cubes for side in (lighter, darker))
    polarity = Polarity.LIGHT_ON_DARK if light > dark else Polarity.DARK_ON_LIGHT
    return Paper(shades, polarity, sheet)


def _even_shade(small: Pixels, marked: Pixels, on_dark: bool) -> int | None:
    """Return the one shade of the paper, or `None` if it has several, as in a shadow."""
    if not on_dark:
        small = cv2.bitwise_not(small)
    paper, ink = np.sort(small[marked == 0]), np.sort(small[marked == 1])
    if len(paper) == 0 or len(ink) == 0:
        shade = int(np.median(small))
        return shade if on_dark else 255 - shade
    shade = int(paper[len(paper) // 2])
    contrast = int(ink[len(ink) // 2]) - shade
    spread = np.sort(cv2.absdiff(paper, np.full_like(paper, shade)), axis=None)
    if DEVIATIONS * spread[len(spread) // 2] > EVEN * contrast:
        return None
    # Where light falls on a part of the picture only, the ink is beyond what seems paper, or
    # stronger than what seems ink.
    if shade - int(paper[len(paper) // 200]) > ONE_SHADE * contrast:
        return None
    padded = cv2.copyMakeBorder(marked, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    wide = np.sort(small[depth >= 2])
    strongest = int(ink[len(ink) * 49 // 50])
    if len(wide) and strongest - int(wide[len(wide) // 2]) > ONE_SHADE * contrast:
        return None
    return shade if on_dark else 255 - shade


def _borders(dark: Pixels) -> bool:
    """Say whether the border and the corners of a picture are rather dark."""
    ring = np.concatenate([dark[0], dark[-1], dark[:, 0], dark[:, -1]])
    corners = (dark[:3, :3], dark[:3, -3:], dark[-3:, :3], dark[-3:, -3:])
    return bool(ring.mean() + np.mean([corner.mean() for corner in corners]) > 1)


def _find_sheet(small: Pixels, marked: Pixels) -> Pixels | None:
    """Find a sheet of paper in what was taken for marks: four corners, and something on it."""
    contours, _ = cv2.findContours(marked, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return None
    largest = max(contours, key=cv2.contourArea)
    area = cv2.contourArea(largest)
    hull = cv2.convexHull(largest)
    corners = cv2.approxPolyDP(hull, CORNERS * cv2.arcLength(hull, True), True)
    if (
        len(corners) != 4
        or area < SHEET * marked.size
        or area < STRAIGHT * cv2.contourArea(hull)
        or not STRAIGHT < cv2.contourArea(corners) / area < 1 / STRAIGHT
    ):
        return None
    sheet = cv2.drawContours(np.zeros_like(marked), [largest], 0, 1, cv2.FILLED)
    sheet = cv2.erode(sheet, np.ones((3, 3), np.uint8), borderValue=1)
    blank = int((sheet & marked).sum())
    if not BLANK * sheet.sum() < blank < sheet.sum():
        return None
    # A sheet ends in a step; where light fades, none is.
    near, around = np.ones((3, 3), np.uint8), np.ones((7, 7), np.uint8)
    inner = sheet & (1 - cv2.erode(sheet, around, borderValue=1))
    outer = cv2.dilate(sheet, around) & (1 - cv2.dilate(sheet, near))
    if not outer.any():
        return None
    step = abs(np.median(small[inner == 1]) - np.median(small[outer == 1]))
    contrast = abs(np.median(small[sheet == 1]) - np.median(small[sheet == 0]))
    return cv2.erode(sheet, near, borderValue=1) if step >= STEP * contrast else None


def _marks(grey: Pixels, paper: Paper) -> Pixels:
    """Subtract the paper: uint8 `[H, W]`, 0 is paper."""
    size = (grey.shape[1], grey.shape[0])
    on_dark = paper.polarity is Polarity.LIGHT_ON_DARK
    shade = int(paper.shade[0, 0])
    if (paper.shade == shade).all():
        values = np.arange(256) - shade if on_dark else shade - np.arange(256)
        marks = cv2.LUT(grey, values.clip(0, 255).astype(np.uint8))
    else:
        shades = cv2.resize(paper.shade, size, interpolation=cv2.INTER_LINEAR)
        # Light on paper multiplies; on a blackboard too, but there it is the ink that is bright.
        marks = (
            cv2.subtract(grey, shades)
            if on_dark
            else cv2.bitwise_not(cv2.divide(grey, shades, scale=255))
        )
    if paper.sheet is not None:
        marks *= cv2.resize(paper.sheet, size, interpolation=cv2.INTER_NEAREST)
    return marks


def _level(marks: Pixels, floor: int) -> float:
    """Find how strong most of the ink is: the mean of the upper class by Otsu's threshold.

    Otsu, A Threshold Selection Method from Gray-Level Histograms, 1979.
    """
    x, y, width, height = cv2.boundingRect(cv2.threshold(marks, floor, 1, cv2.THRESH_BINARY)[1])
    if width == 0:
        raise NoDigit("all of them have about the same shade.")
    inside = marks[y : y + height, x : x + width]
    marked = inside[inside > floor]
    marked = marked[:: 1 + len(marked) // SAMPLE]
    split, _ = cv2.threshold(marked, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    upper = marked[marked > split]
    return float(upper.mean() if len(upper) else marked.mean())
