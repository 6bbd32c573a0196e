"""Several digits in one picture: which strokes make one, where touching ones part, in which order.

Heights and distances are shares of the digits' own height, which is the median of the tall parts.
Whether a wide piece of ink is one digit or several that touch is not decided here: it can be told
only by what they look like then.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from operator import itemgetter

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
NARROWEST, WIDEST = 0.2, 1.4  # of digits that touch: touching
MOST_TOUCHING = 8  # digits in one piece of ink, so that no picture costs more
STEP = 0.12  # about so far apart are places where digits may be cut: touching
CROSSED = 0.25  # of the height: cuts go through no more ink
MOST_CUTS = 6  # in one piece of ink, those through the least ink; so that no picture costs more


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


@dataclass(frozen=True, eq=False)
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
    glyphs = [Glyph([part], part.box) for part in parts if part.box.height >= WHOLE * height]
    pieces = [part for part in parts if part.box.height < WHOLE * height]
    for piece in sorted(pieces, key=lambda part: part.box.height, reverse=True):
        near = [
            (min(map(piece.apart, glyph.parts)), glyph)
            for glyph in glyphs
            if piece.box.gap(glyph.box) <= CLOSE * height  # which is quick to tell
        ]
        apart, nearest = min(near, key=itemgetter(0), default=(np.inf, None))
        if nearest is not None and apart <= CLOSE * height:
            nearest.add(piece)
    return glyphs


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
    """Cut ink from top to bottom wherever digits may touch, and put the pieces together."""
    box = glyph.box
    ink = strokes.cut_out(glyph.parts, box)
    height = max(height, box.height)
    if box.width < SINGLE * height:
        return [[Digit(ink, box)]]
    origin = max(0, box.left - 1), max(0, box.top - 1)
    rows, width = ink.shape
    cuts = [np.zeros(rows, int), *_cuts(ink, height), np.full(rows, width)]
    places = [float(cut.mean()) for cut in cuts]
    pieces: dict[tuple[int, int], Digit] = {}
    for first, last in combinations(range(len(cuts)), 2):
        if NARROWEST * height <= places[last] - places[first] <= WIDEST * height:
            piece = _piece(ink, cuts[first], cuts[last], origin)
            if piece is not None:
                pieces[first, last] = piece

    def ways(first: int, left: int) -> Iterator[list[Digit]]:
        if first == len(cuts) - 1:
            yield []
        for last in range(first + 1, len(cuts)) if left else ():
            if (first, last) in pieces:
                yield from ([pieces[first, last], *rest] for rest in ways(last, left - 1))

    return sorted(ways(0, MOST_TOUCHING), key=len) or [[Digit(ink, box)]]


def _cuts(ink: Pixels, height: float) -> list[NDArray[np.int64]]:
    """Find where digits may be cut, from the left: the columns of each cut, int `[H]`."""
    step = max(1, round(STEP * height))
    found = _seams(ink, np.arange(2 * step, ink.shape[1] - 2 * step, step), step)
    rows = np.arange(len(ink))
    crossed = [int(ink[rows, cut].sum()) for cut in found]
    chosen: list[NDArray[np.int64]] = []
    for place in np.argsort(crossed):
        cut = found[place]
        if crossed[place] <= CROSSED * 255 * height and all(
            abs(cut.mean() - other.mean()) >= step for other in chosen
        ):
            chosen.append(cut)
    return sorted(chosen[:MOST_CUTS], key=lambda cut: float(cut.mean()))


def _piece(
    ink: Pixels, left: NDArray[np.int64], right: NDArray[np.int64], origin: tuple[int, int]
) -> Digit | None:
    columns = np.arange(ink.shape[1])
    piece = np.where((columns >= left[:, None]) & (columns < right[:, None]), ink, np.uint8(0))
    strong = cv2.threshold(piece, MARKED, 1, cv2.THRESH_BINARY)[1]
    x, y, across, down = cv2.boundingRect(strong)
    if not across:
        return None
    x0, y0 = origin[0] + x, origin[1] + y
    return Digit(piece[y : y + down, x : x + across], Box(x0, y0, x0 + across, y0 + down))


def _seams(ink: Pixels, centres: NDArray[np.int64], reach: int) -> list[NDArray[np.int64]]:
    """Find the ways from top to bottom that cross the least ink, each near to a column.

    A way moves by at most one column a row, as in Avidan and Shamir, Seam Carving for
    Content-Aware Image Resizing, 2007.

    Args:
        ink: uint8 `[H, W]`.
        centres: int `[N]`, columns.
        reach: How far from its column a way may be; within the ink for all of them.

    Returns:
        N ways, int `[H]`: a column for each row.
    """
    columns = centres[:, None] + np.arange(-reach, reach + 1)
    cost = ink[:, columns].astype(np.float64) + 1
    steps = np.zeros(cost.shape, int)
    for row in range(1, len(cost)):
        above = np.pad(cost[row - 1], ((0, 0), (1, 1)), constant_values=np.inf)
        costs = np.stack([above[:, 1:-1], above[:, :-2] + 1, above[:, 2:] + 1])
        best = costs.argmin(axis=0)
        steps[row] = np.array([0, -1, 1])[best]
        cost[row] += costs.min(axis=0)
    every = np.arange(len(centres))
    ways = np.zeros(cost.shape[:2], int)
    ways[-1] = cost[-1].argmin(axis=1)
    for row in range(len(cost) - 1, 0, -1):
        ways[row - 1] = ways[row] + steps[row, every, ways[row]]
    return list((ways + columns[:, 0]).T)
