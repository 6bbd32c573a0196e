"""Several digits in one picture: which strokes make one, where touching ones part, in which order.

Heights and distances are shares of the digits' own height, which is the median of the tall parts.
Whether a wide piece of ink is one digit or several that touch is not decided here: it can be told
only by what they look like then.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.decoding import Pixels
from imaging.strokes import MARKED, Box, Part, Strokes

# What breaks without each is named after it: strings of `benchmarks/imaging.py`, or of others.
TALL = 0.4  # of the tallest part's height: what counts for the digits' height; cheques
WHOLE = 0.55  # a part of this height is a digit by itself: wide gaps; a lower one is
CLOSE = 0.12  # a piece of the digit that it is so near to, or none
SAME_LINE = 0.6  # how far above or below its neighbour a digit may be: a page of lines
SINGLE = 1.0  # a narrower piece of ink is one digit: wide gaps
NARROWEST, WIDEST = 0.4, 1.5  # of digits that touch, on average: touching
MOST_TOUCHING = 8  # digits in one piece of ink, so that no picture costs more
OUTLINE = 100  # points of an outline, about, between which distances are measured: for time
CUT = 0.3  # of a digit's width: how far from an even share a cut may be: touching


@dataclass
class Glyph:
    """The parts that make one digit, or several that touch."""

    parts: list[Part]
    box: Box

    @property
    def middle(self) -> float:
        """Its height in the picture."""
        return (self.box.top + self.box.bottom) / 2

    def add(self, part: Part) -> None:
        """Take another part."""
        self.parts.append(part)
        self.box = self.box.joined(part.box)


@dataclass(frozen=True)
class Digit:
    """The ink of one digit, uint8 `[H, W]`, and its box in the picture."""

    ink: Pixels
    box: Box


# What one piece of ink may be: one digit, two that touch, and so on.
Candidates = list[list[Digit]]


def find_digits(strokes: Strokes) -> list[list[Candidates]]:
    """Find the digits in reading order: line by line from the top, each from the left."""
    parts = _written(strokes)
    height = _height(parts)
    lines = _lines(_joined(parts, height), height)
    return [[_candidates(strokes, glyph, height) for glyph in line] for line in lines]


def _written(strokes: Strokes) -> list[Part]:
    """Leave out punched holes, if that leaves anything."""
    written = [part for part in strokes.parts if not strokes.is_disc(part)]
    if not written or 2 * written[0].box.longest < strokes.parts[0].box.longest:
        return strokes.parts
    return written


def _height(parts: list[Part]) -> float:
    tallest = max(part.box.height for part in parts)
    return float(np.median([p.box.height for p in parts if p.box.height >= TALL * tallest]))


def _joined(parts: list[Part], height: float) -> list[Glyph]:
    """Join the strokes of each digit: small pieces to what they are nearest to."""
    glyphs: list[Glyph] = []
    for part in sorted(parts, key=lambda part: part.box.height, reverse=True):
        whole = part.box.height >= WHOLE * height
        nearest = min(glyphs, key=lambda glyph: _apart(part, glyph.parts), default=None)
        if not whole and nearest and _apart(part, nearest.parts) <= CLOSE * height:
            nearest.add(part)
        elif whole:
            glyphs.append(Glyph([part], part.box))
    return glyphs


def _apart(part: Part, others: Iterable[Part]) -> float:
    """Return the smallest distance between outlines, in pixels."""
    outline = _thinned(part)
    return min(
        float(np.sqrt(np.square(outline[:, None] - _thinned(other)).sum(axis=2).min()))
        for other in others
    )


def _thinned(part: Part) -> NDArray[np.int32]:
    outline = part.outline[:, 0]
    return outline[:: max(1, len(outline) // OUTLINE)]


def _lines(glyphs: list[Glyph], height: float) -> list[list[Glyph]]:
    """Follow each line from left to right, as it may rise or fall."""
    lines: list[list[Glyph]] = []
    for glyph in sorted(glyphs, key=lambda glyph: glyph.box.left):
        near = [
            (abs(line[-1].middle - glyph.middle), line)
            for line in lines
            if abs(line[-1].middle - glyph.middle) <= SAME_LINE * height
        ]
        if near:
            min(near, key=lambda pair: pair[0])[1].append(glyph)
        else:
            lines.append([glyph])
    return sorted(lines, key=lambda line: np.mean([glyph.middle for glyph in line]))


def _candidates(strokes: Strokes, glyph: Glyph, height: float) -> Candidates:
    box = glyph.box
    ink = strokes.cut_out(glyph.parts, box)
    width = box.width / max(height, box.height)
    fewest = max(1, ceil(width / WIDEST))
    most = min(max(fewest, int(width / NARROWEST)), MOST_TOUCHING)
    if width < SINGLE or most == 1:
        return [[Digit(ink, box)]]
    origin = max(0, box.left - 1), max(0, box.top - 1)
    return [list(_cut(ink, origin, count)) for count in range(min(fewest, most), most + 1)]


def _cut(ink: Pixels, origin: tuple[int, int], count: int) -> Iterator[Digit]:
    """Cut ink from top to bottom into digits of about the same width."""
    height, width = ink.shape
    pitch = width / count
    columns = np.arange(width)
    left = np.zeros(height, int)
    for number in range(1, count + 1):
        last = number == count
        right = np.full(height, width) if last else _seam(ink, number * pitch, CUT * pitch)
        piece = np.where((columns >= left[:, None]) & (columns < right[:, None]), ink, np.uint8(0))
        left = right
        strong = cv2.threshold(piece, MARKED, 1, cv2.THRESH_BINARY)[1]
        x, y, across, down = cv2.boundingRect(strong)
        if across:
            x0, y0 = origin[0] + x, origin[1] + y
            yield Digit(piece[y : y + down, x : x + across], Box(x0, y0, x0 + across, y0 + down))


def _seam(ink: Pixels, centre: float, reach: float) -> NDArray[np.int64]:
    """Find the way from top to bottom that crosses the least ink, a column for each row.

    The way moves by at most one column a row, as in Avidan and Shamir, Seam Carving for
    Content-Aware Image Resizing, 2007.
    """
    first, last = max(0, int(centre - reach)), min(ink.shape[1], int(centre + reach) + 1)
    cost = ink[:, first:last].astype(np.float64) + 1
    steps = np.zeros(cost.shape, int)
    for row in range(1, len(cost)):
        above = np.pad(cost[row - 1], 1, constant_values=np.inf)
        costs = np.stack([above[1:-1], above[:-2] + 1, above[2:] + 1])
        best = costs.argmin(axis=0)
        steps[row] = np.array([0, -1, 1])[best]
        cost[row] += costs.min(axis=0)
    way = np.zeros(len(cost), int)
    way[-1] = cost[-1].argmin()
    for row in range(len(cost) - 1, 0, -1):
        way[row - 1] = way[row] + steps[row, way[row]]
    return way + first
