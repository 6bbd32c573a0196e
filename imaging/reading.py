"""Finds several digits in one picture: groups strokes, separates touching digits, orders them.

A line of writing is a row of pieces: its strokes, cut wherever digits may touch. Only the network
can tell which neighbouring pieces form a digit, so every plausible combination is returned, with a
cost for its size and place.

Heights and distances are shares of the digits' own height: the median height of the tall parts.
"""

import math
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.decoding import Pixels
from imaging.strokes import MARKED, Box, Part, Strokes

# The name after each is what fails without it: strings of `benchmarks/imaging.py`, or of others.
TALL = 0.4  # of the tallest part's height; lower parts do not count for the digits' height: cheques
WHOLE = 0.55  # a part of this height is a digit of its own: wide gaps
PIECE = 0.06  # smaller parts are ignored; others may be pieces, dots or dashes: cheques
SAME_LINE = 0.6  # how far above or below its neighbour a digit may be: a page of lines
LOWEST = 0.45  # the lowest digit: cheques
NEAR = 0.3  # how far apart the pieces of a digit may be: cheques
NARROWEST, WIDEST = 0.12, 1.5  # width of a digit among touching ones: touching
MOST_PIECES = 6  # pieces of one digit, to bound the cost of any picture

SINGLE = 0.75  # of its height; narrower parts are not cut: wide gaps
TALLER = 1.2  # taller parts are cut as if they had this height: touching
FINE = 40  # pixels; parts are reduced to this height to find cuts: for time
STEP = 0.1  # the distance between possible cuts, about: touching
REACH = 0.25  # how far to each side a cut may lean: touching
CROSSED = 0.45  # the most ink that a cut may cross: touching
INSIDE = 0.4  # how much the inside of a loop counts as ink: touching
SHARED = 0.06  # the ink on each side of a cut that both digits share: touching

# Costs, as negative logarithms. Without them, touching and cheques fail.
WIDTH = 0.7  # heights; wider digits cost
WIDE = 5.0  # times the squared logarithm of the excess width
UNEVEN = 3.0  # times the squared logarithm of its height
CUT = 0.35  # per cut at its sides
CUT_INK = 4.0  # per height of ink that these cuts cross
JOINED = 7.0  # per height of distance between its pieces
LEFT_OUT = 1.4  # per height of the height plus width of a piece that is left out


@dataclass(frozen=True, eq=False)
class Digit:
    """The ink of one digit and its box in the picture.

    Attributes:
        ink: uint8 `[H, W]`, with a margin of one pixel except at the picture's border.
    """

    ink: Pixels
    box: Box

    @property
    def corner(self) -> tuple[int, int]:
        """Where the ink begins in the picture: x, y."""
        return max(0, self.box.left - 1), max(0, self.box.top - 1)


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of the strokes, or a slice of one between two cuts.

    Attributes:
        part: The part that it is from.
        cuts: The ink that the cuts at its left and right cross, in heights.
    """

    digit: Digit
    part: Part
    cuts: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Segment:
    """Neighbouring pieces of a line that may be one digit, or none.

    Attributes:
        first: The index of the first piece, from the left.
        last: The index after the last piece.
        pieces: The digit's pieces; empty if they are left out.
        cost: How unlikely it is, judged by size and place alone, as a negative logarithm.
    """

    first: int
    last: int
    pieces: list[Piece]
    cost: float

    def digit(self) -> Digit:
        """Combine the ink of the pieces."""
        digits = [piece.digit for piece in self.pieces]
        if len(digits) == 1:
            return digits[0]
        left, top = (min(place) for place in zip(*(digit.corner for digit in digits), strict=True))
        right = max(digit.corner[0] + digit.ink.shape[1] for digit in digits)
        bottom = max(digit.corner[1] + len(digit.ink) for digit in digits)
        ink = np.zeros((bottom - top, right - left), np.uint8)
        for digit in digits:
            x, y = digit.corner[0] - left, digit.corner[1] - top
            place = ink[y : y + len(digit.ink), x : x + digit.ink.shape[1]]
            np.maximum(place, digit.ink, out=place)
        return Digit(ink, reduce(Box.joined, (digit.box for digit in digits)))


def find_digits(strokes: Strokes) -> list[list[Segment]]:
    """Find possible digits, line by line from the top, each line from the left."""
    parts = _written(strokes)
    height = _height(parts)
    return [_segments(_pieces(strokes, line, height), height) for line in _lines(parts, height)]


def _written(strokes: Strokes) -> list[Part]:
    """Leave out punched holes, unless little else would be left."""
    written = [part for part in strokes.parts if not strokes.is_disc(part)]
    if not written or 2 * written[0].box.longest < strokes.parts[0].box.longest:
        return strokes.parts
    return written


def _height(parts: list[Part]) -> float:
    tallest = max(part.box.height for part in parts)
    return float(np.median([p.box.height for p in parts if p.box.height >= TALL * tallest]))


def _lines(parts: list[Part], height: float) -> list[list[Part]]:
    """Follow each line from left to right, rising or falling; then add the small pieces."""
    tall = [part for part in parts if part.box.height >= WHOLE * height]
    lines: list[list[Part]] = []
    line_of: dict[Part, list[Part]] = {}
    for part in sorted(tall, key=lambda part: part.box.left):
        near = [
            (abs(line[-1].box.middle - part.box.middle), line)
            for line in lines
            if abs(line[-1].box.middle - part.box.middle) <= SAME_LINE * height
        ]
        if not near:
            lines.append([])
        line_of[part] = min(near, key=lambda pair: pair[0])[1] if near else lines[-1]
        line_of[part].append(part)
    lines.sort(key=lambda line: np.mean([part.box.middle for part in line]))
    boxes = np.array([(part.box.left, part.box.right, part.box.middle) for part in tall]).T
    for part in parts:
        if PIECE * height <= part.box.longest and part.box.height < WHOLE * height:
            beside = np.maximum(boxes[0] - part.box.right, part.box.left - boxes[1]).clip(0)
            above = abs(boxes[2] - part.box.middle)
            nearest = int(np.where(above <= SAME_LINE * height, beside + above, np.inf).argmin())
            if above[nearest] <= SAME_LINE * height:
                line_of[tall[nearest]].append(part)
    return lines


def _pieces(strokes: Strokes, line: list[Part], height: float) -> list[Piece]:
    """Cut parts wherever digits may touch; return the pieces from the left."""
    pieces = []
    for part in line:
        digit = Digit(strokes.cut_out([part], part.box), part.box)
        if part.box.height >= WHOLE * height and part.box.width >= SINGLE * min(
            part.box.height, TALLER * height
        ):
            pieces += _cut(digit, part, height)
        else:
            pieces.append(Piece(digit, part))
    return sorted(pieces, key=lambda piece: piece.digit.box.left + piece.digit.box.right)


def _cut(digit: Digit, part: Part, height: float) -> list[Piece]:
    ink, box = digit.ink, digit.box
    rows, width = ink.shape
    cuts = [
        (np.zeros(rows, int), 0.0),
        *_cuts(ink, min(box.height, TALLER * height)),
        (np.full(rows, width), 0.0),
    ]
    shared = round(SHARED * height)
    columns = np.arange(width)
    pieces = []
    for (left, first), (right, last) in pairwise(cuts):
        from_left = columns >= left[:, None] - shared
        mine = np.where(from_left & (columns < right[:, None] + shared), ink, np.uint8(0))
        strong = cv2.threshold(mine, MARKED, 1, cv2.THRESH_BINARY)[1]
        x, y, across, down = cv2.boundingRect(strong)
        if across:
            mine = mine[max(0, y - 1) : y + down + 1, max(0, x - 1) : x + across + 1]
            x, y = x + digit.corner[0], y + digit.corner[1]
            piece = Digit(mine, Box(x, y, x + across, y + down))
            pieces.append(Piece(piece, part, (first, last)))
    return pieces


def _cuts(ink: Pixels, height: float) -> list[tuple[NDArray[np.int64], float]]:
    """Find where digits may be cut, from the left.

    Returns:
        For each cut, its column in each row, int `[H]`, and the ink that it crosses, in heights.
    """
    scale = min(1.0, FINE / height)
    size = (max(1, round(ink.shape[1] * scale)), max(1, round(ink.shape[0] * scale)))
    small = cv2.resize(ink, size, interpolation=cv2.INTER_AREA)
    marked = cv2.threshold(small, MARKED, 1, cv2.THRESH_BINARY)[1]
    outlines, _ = cv2.findContours(marked, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros_like(small), outlines, -1, INSIDE * 255, cv2.FILLED)
    small = np.maximum(small, filled)
    height *= scale
    step = max(1.0, STEP * height)
    edge = max(1, round(NARROWEST * height))
    centres = np.arange(edge, size[0] - edge + 1, max(1, round(step / 2)))
    found = _seams(small, centres, max(1, round(REACH * height)))
    rows = np.arange(size[1])
    padded = np.pad(small, ((0, 0), (0, 1)))
    crossed = [float(padded[rows, cut].sum()) / 255 / height for cut in found]
    chosen: list[int] = []
    for place in np.argsort(crossed, kind="stable").tolist():
        if (
            crossed[place] <= CROSSED
            and edge / 2 <= found[place].mean() <= size[0] - edge / 2
            and all(abs(found[place] - found[other]).mean() >= step for other in chosen)
        ):
            chosen.append(place)
    chosen.sort(key=lambda place: float(found[place].mean()))
    at = (np.arange(len(ink)) + 0.5) * size[1] / len(ink) - 0.5
    across = ink.shape[1] / size[0]
    return [
        (np.rint(np.interp(at, rows, found[place]) * across).astype(int), crossed[place])
        for place in chosen
    ]


def _seams(ink: Pixels, centres: NDArray[np.int64], reach: int) -> list[NDArray[np.int64]]:
    """Find the seams from top to bottom that cross the least ink, one near each given column.

    A seam moves by at most one column per row, as in Avidan and Shamir, Seam Carving for
    Content-Aware Image Resizing, 2007.

    Args:
        ink: uint8 `[H, W]`.
        centres: int `[N]`, columns.
        reach: How far a seam may be from its column, in pixels.

    Returns:
        N seams, int `[H]`: a column for each row, up to W.
    """
    columns = centres[:, None] + np.arange(2 * reach + 1)
    cost = np.pad(ink, ((0, 0), (reach, reach)))[:, columns].astype(np.float64) + 1
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
    return list((ways + columns[:, 0] - reach).clip(0, ink.shape[1]).T)


def _segments(pieces: list[Piece], height: float) -> list[Segment]:
    """Combine neighbouring pieces wherever they may be one digit."""
    segments = []
    for first, piece in enumerate(pieces):
        box = piece.digit.box
        if box.height < WHOLE * height or any(piece.cuts):
            cost = LEFT_OUT * (box.height + box.width) / height
            segments.append(Segment(first, first + 1, [], cost))
        apart = 0.0
        for last in range(first + 1, min(first + MOST_PIECES, len(pieces)) + 1):
            together = pieces[first:last]
            if last > first + 1:
                box = box.joined(together[-1].digit.box)
                apart += _apart(together, height)
                if apart > NEAR or box.width > WIDEST * height:
                    break
            if box.height >= LOWEST * height:
                cost = _cost(together, box, height) + JOINED * apart
                segments.append(Segment(first, last, together, cost))
    if not any(segment.pieces for segment in segments):
        return [Segment(0, 1, pieces, 0.0)]
    return segments


def _apart(pieces: list[Piece], height: float) -> float:
    """Return the distance of the last piece from the nearest other one, in heights."""
    part = pieces[-1].part
    others = {piece.part for piece in pieces[:-1]}
    if part in others:
        return 0.0
    whole = part.box.height >= WHOLE * height
    near = [
        part.apart(other)
        for other in others
        if part.box.gap(other.box) <= NEAR * height
        and not (whole and other.box.height >= WHOLE * height and part.box.beside(other.box) >= 0)
    ]
    return min(near, default=np.inf) / height


def _cost(pieces: list[Piece], box: Box, height: float) -> float:
    """Return how unlikely some pieces are to be one digit, judged by size and cuts alone."""
    sides = {piece.part: [piece.cuts[0], piece.cuts[1]] for piece in reversed(pieces)}
    for piece in pieces:
        sides[piece.part][1] = piece.cuts[1]
    cuts = [cut for both in sides.values() for cut in both if cut]
    return (
        WIDE * math.log(max(1.0, box.width / height / WIDTH)) ** 2
        + UNEVEN * math.log(box.height / height) ** 2
        + CUT * len(cuts)
        + CUT_INK * sum(cuts)
    )
