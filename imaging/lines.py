"""Printed lines: paper's rules and squares, the sides of a form's cells, a frame's edge.

A printed line is straight, thin, and longer than a digit. It runs from one border of the picture,
or one such line, to another; what else is straight may be a digit's stroke. It is taken away where
no stroke crosses it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.decoding import Pixels

FAINT = 70  # of 255: the strength at and above which a pixel may belong to a printed line
SMALLEST = 32  # pixels; in smaller pictures strokes are as thin as lines
THICKNESS, THIN = 1 / 25, 3  # of the shorter side, or pixels: no line is thicker
TILT = 6  # degrees

# As shares of the side of the picture that a line is along.
RUN = 1 / 12  # its straight pieces are at least so long,
DOTS = 1 / 20  # with gaps that are no longer,
GAP = 1 / 8  # and strokes that cross it hide no more of it
SHORTEST = 0.25
COVER = 0.8  # of its own length is seen

# As shares of the picture's longer side.
BAND, WIDEST_BAND = 1 / 60, 3  # by which it is not quite straight, or pixels
NEAR = 0.04  # how far from the border, or from another line, it may end
DIGIT = 0.08  # smaller things are no digits

CORNER = 0.12  # of a tilted frame's sides, within which its corners are
LONGER = 1.1  # times the digits' height, or what ends at two such lines
STROKE = 1.5  # times a line's thickness: ink that is thicker is a stroke; all at once
MOST = 200  # found, several for each line

Places = tuple[NDArray[np.int64], NDArray[np.int64]]  # rows and columns of pixels


@dataclass(frozen=True, eq=False)
class Line:
    """What may be a printed line.

    Attributes:
        ink: Its own pixels.
        band: All pixels that are near to it.
        ends: int `[2, 2]`, row and column of the first and the last pixel of its middle.
        along: 1 if it is rather from left to right, 0 if it is rather from top to bottom.
    """

    ink: Places
    band: Places
    ends: NDArray[np.int64]
    along: int

    @property
    def length(self) -> int:
        """In pixels, along the side that it follows."""
        return int(self.ends[1, self.along] - self.ends[0, self.along]) + 1

    @property
    def transposed(self) -> "Line":
        """The same in the transposed picture."""
        return Line(self.ink[::-1], self.band[::-1], self.ends[:, ::-1], 1 - self.along)

    def at_border(self, shape: tuple[int, ...], near: int) -> NDArray[np.bool_]:
        """Say of each end whether it is at the border, bool `[2]`."""
        return abs(self.ends[:, self.along] - [0, shape[self.along] - 1]) <= near

    def at(self, others: list["Line"], near: int) -> NDArray[np.bool_]:
        """Say of each end whether it is at one of some lines, bool `[2]`."""
        across = np.array([other.ends for other in others if other.along != self.along])
        first, last = across.reshape(-1, 2, 2).transpose(1, 0, 2)
        ends = self.ends[:, None]
        share = ((ends - first) * (last - first)).sum(axis=2) / np.square(last - first).sum(axis=1)
        nearest = first + share.clip(0, 1)[:, :, None] * (last - first)
        found: NDArray[np.bool_] = (abs(nearest - ends).max(axis=2) <= near).any(axis=1)
        return found


def find_lines(strength: Pixels) -> Pixels:
    """Return uint8 `[H, W]`, 1 where there is a printed line and no stroke on it.

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
    """Tell in a fraction of the time that there are none: ink on fewer than two sides, no frame."""
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
    """Leave out what may be strokes of a digit."""
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
    if height < DIGIT * max(shape):  # then it may be a 1, or an angular 0, but not all of paper
        across = [line for line in lines if line.at_border(shape, near).all()]
        return across if len(across) > 1 else []
    long = [line for line in lines if line.length >= LONGER * height]
    return [line for line in lines if line in long or line.at(long, near).all()]


def _height_of_rest(lines: list[Line], strength: Pixels) -> int:
    """Return how high the highest thing is beside some lines, in pixels."""
    drawn = np.zeros_like(strength)
    _draw(lines, strength, drawn)
    rest = _threshold(strength) & ~drawn
    _, _, boxes, _ = cv2.connectedComponentsWithStats(rest)
    left, top, width, height, _ = boxes[1:].T
    inside = (top > 0) & (top + height < len(rest)) & (left > 0) & (left + width < len(rest[0]))
    return int(height[inside].max() if inside.any() else height.max(initial=0))


def _draw(lines: list[Line], strength: Pixels, drawn: Pixels) -> None:
    """Set 1 where the lines' ink is, and where they cross."""
    bands = np.zeros((2, *strength.shape), np.uint8)
    for line in lines:
        drawn[line.ink] = 1
        bands[line.along][line.band] = 1
    drawn |= bands[0] & bands[1] & _threshold(strength)


def _threshold(strength: Pixels) -> Pixels:
    faint: Pixels = cv2.threshold(strength, FAINT - 1, 1, cv2.THRESH_BINARY)[1]
    return faint


def _straight(strength: Pixels) -> Iterator[Line]:
    """Find what is thin and straight from left to right, by Hough's transform."""
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
            continue  # it was found before
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
            # Where ink is thicker than the line, a stroke lies on it or crosses it.
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
    """Lay a line through the middle of the pieces that are near: its rows, and its thickness."""
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
