"""Finds printed lines: ruled and squared paper, the sides of a form's cells, frames.

A printed line is straight, thin, and longer than a digit. It runs from a border of the picture or
another printed line to another; anything else that is straight may be a digit's stroke. Lines are
removed except where a stroke crosses them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.decoding import Pixels

FAINT = 70  # of 255; pixels of at least this strength may belong to a printed line
SMALLEST = 32  # pixels; in smaller pictures strokes are as thin as lines
THICKNESS, THIN = 1 / 25, 3  # of the shorter side, but at least this many pixels: the thickest line
TILT = 6  # degrees

# As shares of the picture's side along which a line runs.
RUN = 1 / 12  # the shortest straight piece of a line
DOTS = 1 / 20  # the longest gap in a piece, as in dotted lines
GAP = 1 / 8  # the longest gap between pieces, where strokes hide the line
SHORTEST = 0.25  # the shortest line
COVER = 0.8  # of its own length, at least, that is visible

# As shares of the picture's longer side.
BAND, WIDEST_BAND = 1 / 60, 3  # of deviation from straight, and its limit in pixels
NEAR = 0.04  # how far from the border or another line it may end
DIGIT = 0.08  # the smallest digit

CORNER = 0.12  # of a tilted frame's sides; its corners have ink within this
LONGER = 1.1  # times the digits' height; lines are longer, or end at two that are
STROKE = 1.5  # times a line's thickness; thicker ink is a stroke: all at once
MOST = 200  # lines that Hough's transform may find, several for each

Places = tuple[NDArray[np.int64], NDArray[np.int64]]  # rows and columns of pixels


@dataclass(frozen=True, eq=False)
class Line:
    """A possible printed line.

    Attributes:
        ink: Its own pixels.
        band: All pixels near it.
        ends: int `[2, 2]`, row and column of the first and the last pixel of its centre line.
        along: 1 if it runs roughly from left to right, 0 if from top to bottom.
    """

    ink: Places
    band: Places
    ends: NDArray[np.int64]
    along: int

    @property
    def length(self) -> int:
        """Its length along the side that it follows, in pixels."""
        return int(self.ends[1, self.along] - self.ends[0, self.along]) + 1

    @property
    def transposed(self) -> "Line":
        """The same line in the transposed picture."""
        return Line(self.ink[::-1], self.band[::-1], self.ends[:, ::-1], 1 - self.along)

    def at_border(self, shape: tuple[int, ...], near: int) -> NDArray[np.bool_]:
        """Return whether each end is at the border: bool `[2]`."""
        return abs(self.ends[:, self.along] - [0, shape[self.along] - 1]) <= near

    def at(self, others: list["Line"], near: int) -> NDArray[np.bool_]:
        """Return whether each end is at one of some lines: bool `[2]`."""
        across = np.array([other.ends for other in others if other.along != self.along])
        first, last = across.reshape(-1, 2, 2).transpose(1, 0, 2)
        ends = self.ends[:, None]
        share = ((ends - first) * (last - first)).sum(axis=2) / np.square(last - first).sum(axis=1)
        nearest = first + share.clip(0, 1)[:, :, None] * (last - first)
        found: NDArray[np.bool_] = (abs(nearest - ends).max(axis=2) <= near).any(axis=1)
        return found


def find_lines(strength: Pixels) -> Pixels:
    """Return uint8 `[H, W]`, 1 on printed lines except where strokes cross them.

    Args:
        strength: uint8 `[H, W]`, of the ink.
    """
    drawn = np.zeros_like(strength)
    if min(strength.shape) < SMALLEST or not may_have_lines(_threshold(strength)):
        return drawn
    lines = list(_straight(strength))
    lines += [line.transposed for line in _straight(np.ascontiguousarray(strength.T))]
    lines = _printed(lines, strength)
    _draw(lines, strength, drawn)
    return drawn


def may_have_lines(faint: Pixels) -> bool:
    """Rule out lines quickly: without a frame, they put ink at two sides or more."""
    near = _near(faint.shape)
    sides = faint[:near], faint[-near:], faint[:, :near], faint[:, -near:]
    if sum(map(cv2.hasNonZero, sides)) > 1:
        return True
    left, top, width, height = cv2.boundingRect(faint)
    inside = faint[top : top + height, left : left + width]
    x, y = ceil(width * CORNER), ceil(height * CORNER)
    corners = inside[:y, :x], inside[:y, -x:], inside[-y:, :x], inside[-y:, -x:]
    return width > 0 and all(map(cv2.hasNonZero, corners))


def _near(shape: tuple[int, ...]) -> int:
    return max(2, round(NEAR * max(shape)))


def _printed(lines: list[Line], strength: Pixels) -> list[Line]:
    """Leave out lines that may be strokes of a digit."""
    shape = strength.shape
    near = _near(shape)
    while lines:
        kept = [x for x in lines if (x.at_border(shape, near) | x.at(lines, near)).all()]
        if len(kept) == len(lines):
            break
        lines = kept
    if not lines:
        return []
    height = _height_of_rest(lines, strength)
    if height < DIGIT * max(shape):  # no digit is left: a line may be a 1 or part of a 0
        across = [line for line in lines if line.at_border(shape, near).all()]
        return across if len(across) > 1 else []
    long = [line for line in lines if line.length >= LONGER * height]
    return [line for line in lines if line in long or line.at(long, near).all()]


def _height_of_rest(lines: list[Line], strength: Pixels) -> int:
    """Return the height of the tallest ink that is not one of some lines, in pixels."""
    drawn = np.zeros_like(strength)
    _draw(lines, strength, drawn)
    rest = _threshold(strength) & ~drawn
    _, _, boxes, _ = cv2.connectedComponentsWithStats(rest)
    left, top, width, height, _ = boxes[1:].T
    inside = (top > 0) & (top + height < len(rest)) & (left > 0) & (left + width < len(rest[0]))
    return int(height[inside].max() if inside.any() else height.max(initial=0))


def _draw(lines: list[Line], strength: Pixels, drawn: Pixels) -> None:
    """Set `drawn` to 1 on the lines' ink and on their crossings."""
    bands = np.zeros((2, *strength.shape), np.uint8)
    for line in lines:
        drawn[line.ink] = 1
        bands[line.along][line.band] = 1
    drawn |= bands[0] & bands[1] & _threshold(strength)


def _threshold(strength: Pixels) -> Pixels:
    faint: Pixels = cv2.threshold(strength, FAINT - 1, 1, cv2.THRESH_BINARY)[1]
    return faint


def _straight(strength: Pixels) -> Iterator[Line]:
    """Find thin, straight ink from left to right with Hough's transform."""
    height, width = strength.shape
    faint = _threshold(strength)
    thick = max(THIN, round(min(strength.shape) * THICKNESS))
    thin = faint & ~cv2.morphologyEx(faint, cv2.MORPH_OPEN, np.ones((thick + 1, 1), np.uint8))
    dots = np.ones((1, max(2, round(width * DOTS))), np.uint8)
    run = np.ones((1, max(3, round(width * RUN))), np.uint8)
    tall = cv2.dilate(thin, np.ones((3, 1), np.uint8))
    joined = cv2.morphologyEx(tall, cv2.MORPH_CLOSE, dots)
    pieces = thin & cv2.morphologyEx(joined, cv2.MORPH_OPEN, run)
    votes = round(SHORTEST * width)
    if cv2.countNonZero(pieces) < votes:
        return
    upright, tilt = np.pi / 2, np.radians(TILT)
    found = cv2.HoughLines(
        pieces, 1, np.pi / 720, votes, min_theta=upright - tilt, max_theta=upright + tilt
    )
    if found is None:
        return
    reach = min(max(1, round(max(strength.shape) * BAND)), WIDEST_BAND)
    around = np.ones((2 * reach + 1, 1), np.uint8)
    near = cv2.dilate(faint | joined, around)
    left = cv2.dilate(pieces, around)
    for distance, angle in found.reshape(-1, 2)[:MOST]:
        columns = np.arange(width)
        rows = np.rint((distance - columns * np.cos(angle)) / np.sin(angle)).astype(int)
        columns = columns[(rows >= 0) & (rows < height)]
        rows = rows[columns]
        if np.count_nonzero(left[rows, columns]) < votes:
            continue  # found before
        seen = np.flatnonzero(near[rows, columns])
        breaks = np.flatnonzero(np.diff(seen) > GAP * width) + 1
        for first, last in pairwise([0, *breaks, len(seen)]):
            part = slice(seen[first], seen[last - 1] + 1)
            length = part.stop - part.start
            if length < SHORTEST * width or last - first < COVER * length:
                continue
            middle, thickness = _fitted(rows[part], columns[part], pieces, thick)
            band = _band(middle, columns[part], reach + ceil(thickness / 2), height)
            pieces[band] = 0
            # Where the ink is thicker than the line, a stroke lies on it or crosses it.
            thicker = np.ones((ceil(STROKE * thickness) + 1, 1), np.uint8)
            own = (thin & ~cv2.morphologyEx(faint, cv2.MORPH_OPEN, thicker))[band] > 0
            if not own.any():
                continue
            rows_of_band, columns_of_band = np.broadcast_arrays(*band)
            yield Line(
                (rows_of_band[own], columns_of_band[own]),
                band,
                np.stack([middle, columns[part]], axis=1)[[0, -1]],
                along=1,
            )
        left = cv2.dilate(pieces, around)


def _fitted(
    rows: NDArray[np.int64], columns: NDArray[np.int64], pieces: Pixels, thick: int
) -> tuple[NDArray[np.int64], float]:
    """Fit a line through the middle of nearby pieces; return its rows and its thickness."""
    band = _band(rows, columns, thick, len(pieces))
    across, along = np.nonzero(pieces[band])
    count = len(np.unique(along))
    if count < 2:
        return rows, 0.0
    slope, start = np.polyfit(along, band[0][across, along], 1)
    return np.rint(start + slope * np.arange(len(rows))).astype(int), len(along) / count


def _band(rows: NDArray[np.int64], columns: NDArray[np.int64], reach: int, height: int) -> Places:
    """Return the pixels above and below a line, as arrays that broadcast."""
    across = np.arange(-reach, reach + 1)[:, None]
    return (rows + across).clip(0, height - 1), columns
