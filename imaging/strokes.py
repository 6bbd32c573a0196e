"""Finds the digit in the ink: removes the paper's lines, a scanner's edges and specks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.decoding import Pixels
from imaging.errors import NoDigit, SeveralDigits
from imaging.ink import levelled
from imaging.lines import find_lines

FAINTEST = 40  # of 255; weaker ink is ignored once lines are removed
MARKED = 102  # of 255; pixels of at least this strength belong to a stroke

# A scanner's edge covers at least this share of a side of the picture; its mean depth is at most
# this share of the shorter side.
EDGE, EDGE_DEPTH = 0.5, 0.15  # scans
MOST_EDGES = 20
EDGE_MARGIN = 0.02  # of the shorter side; ink this near to the border may be cut off: finger
WHOLE = 0.4  # of the largest part's area; a digit next to cut-off ink has at least this: scans
POINTS = 100  # of an outline, about, used to measure distances: for time
SMALLEST = 0.08  # of the picture's longer side; a digit next to an edge is larger
CORNER = 0.05  # of the longer side; ink this near to two sides is in a corner: drawings
DISC = 0.7  # of its box, that a punched hole fills: specks and holes

# As shares of the digit's longest side.
SPECK = 0.12  # smaller ink is a speck: specks and holes;
DOT = 0.2  # or, next to the digit, a dot or comma: church records;
TOUCHING = 0.06  # unless it is this near to the digit: church records
NEAR = 0.25  # how far apart the strokes of a digit may be: church records
APART = 0.1  # two digits are at least this far apart: pencil;
SIMILAR = 0.55  # and the second has at least this share of the first's height: specks and holes

MOST_PARTS = 500  # kept, the largest, in a noisy picture


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels; right and bottom are the first ones outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """The width in pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """The height in pixels."""
        return self.bottom - self.top

    @property
    def middle(self) -> float:
        """The vertical position of its middle, in pixels."""
        return (self.top + self.bottom) / 2

    @property
    def longest(self) -> int:
        """The longer side, in pixels."""
        return max(self.width, self.height)

    @property
    def area(self) -> int:
        """The area in pixels."""
        return self.width * self.height

    def gap(self, other: "Box") -> int:
        """Return the larger gap of two boxes, across or down, in pixels; below 0 they overlap."""
        down = max(self.top, other.top) - min(self.bottom, other.bottom)
        return max(self.beside(other), down)

    def beside(self, other: "Box") -> int:
        """Return the horizontal gap of two boxes in pixels; negative if they overlap."""
        return max(self.left, other.left) - min(self.right, other.right)

    def joined(self, other: "Box") -> "Box":
        """Return the smallest box that holds both."""
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )


@dataclass(frozen=True, eq=False)
class Part:
    """One connected piece of ink.

    Attributes:
        outline: int32 `[points, 1, 2]`, x and y of each pixel of its outer edge.
    """

    outline: NDArray[np.int32]
    box: Box

    @cached_property
    def _points(self) -> NDArray[np.float32]:
        return self.outline[:: 1 + len(self.outline) // POINTS, 0].astype(np.float32)

    def apart(self, other: "Part") -> float:
        """Return the distance of the outlines of two parts, in pixels."""
        return float(np.linalg.norm(self._points[:, None] - other._points, axis=2).min())  # noqa: SLF001


@dataclass
class Strokes:
    """The ink that may be digits.

    Attributes:
        strength: The ink's strength, uint8 `[H, W]`.
        marked: uint8 `[H, W]`, 1 on strokes.
        parts: The connected pieces, the largest first.
        removed: What was removed: `lines`, `edges`, `specks`.
    """

    strength: Pixels
    marked: Pixels
    parts: list[Part]
    removed: list[str] = field(default_factory=list)

    def cut_out(self, parts: Sequence[Part], box: Box) -> Pixels:
        """Return the ink of some parts in a box, without the others: uint8 `[H, W]`."""
        top, left = max(0, box.top - 1), max(0, box.left - 1)
        strength = self.strength[top : box.bottom + 1, left : box.right + 1]
        if len(parts) == len(self.parts) and not self.removed:
            return strength
        mask = np.zeros_like(strength)
        outlines = [part.outline for part in parts]
        cv2.drawContours(mask, outlines, -1, 255, cv2.FILLED, offset=(-left, -top))
        return cv2.bitwise_and(strength, cv2.dilate(mask, np.ones((3, 3), np.uint8)))

    def is_disc(self, part: Part) -> bool:
        """Whether a part is as round and as full as a punched hole."""
        box = part.box
        if min(box.width, box.height) < DISC * box.longest:
            return False
        inside = self.marked[box.top : box.bottom, box.left : box.right]
        return cv2.countNonZero(inside) > DISC * box.area


def find_strokes(strength: Pixels) -> Strokes:
    """Remove printed lines and a scanner's edges, and find the parts that are left.

    Args:
        strength: The ink's strength, uint8 `[H, W]`.

    Raises:
        NoDigit: Nothing is left.
    """
    marked = cv2.threshold(strength, MARKED - 1, 1, cv2.THRESH_BINARY)[1]
    removed = []
    lines = find_lines(strength)
    if cv2.hasNonZero(lines):
        kept = marked & ~lines
        fringe = cv2.dilate(lines, np.ones((3, 3), np.uint8)) & ~kept
        strength = np.where(fringe, np.uint8(0), strength)
        if kept.any():  # faint pencil next to strong print
            strength = levelled(strength, FAINTEST)
            kept = cv2.threshold(strength, MARKED - 1, 1, cv2.THRESH_BINARY)[1]
        marked = kept
        removed.append("lines")
    parts = _find_parts(marked)
    kept_parts = _without_edges(parts, marked.shape)
    if len(kept_parts) < len(parts):
        removed.append("edges")
    if not kept_parts:
        raise NoDigit("there are only printed lines.")
    return Strokes(strength, marked, kept_parts, removed)


def one_digit(strokes: Strokes) -> tuple[list[Part], Box]:
    """Choose the parts that are the one digit in a picture.

    Returns:
        The digit's parts and their common box.

    Raises:
        SeveralDigits: There is more than one.
    """
    parts = _without_neighbours(strokes.parts, strokes.marked.shape)
    if len(parts) < len(strokes.parts):
        strokes.removed.append("edges")
    main = _main(strokes, parts)
    chosen, box = [main], main.box
    rest = [part for part in parts if part is not main]
    others = [part for part in rest if _is_another(part.box, box) and not strokes.is_disc(part)]
    rest = [part for part in rest if part not in others]
    # Ink in a corner is a watermark or a button, unless the digit itself is in a corner.
    central = not _is_in_a_corner(main.box, strokes.marked.shape)
    marks = [
        part
        for part in rest
        if strokes.is_disc(part) or (central and _is_in_a_corner(part.box, strokes.marked.shape))
    ]
    while joining := [part for part in rest if _belongs(part.box, box, part in marks)]:
        chosen += joining
        rest = [part for part in rest if part not in joining]
        for part in joining:
            box = box.joined(part.box)
    if others:
        count = 1 + len(others)
        raise SeveralDigits(f"The picture has about {count} digits, but one is expected.")
    if rest:
        strokes.removed.append("specks")
    return chosen, box


def _main(strokes: Strokes, parts: list[Part]) -> Part:
    largest = parts[0]
    if strokes.is_disc(largest):
        for part in parts:
            if not strokes.is_disc(part) and 2 * part.box.longest > largest.box.longest:
                return part
    return largest


def _is_another(part: Box, digit: Box) -> bool:
    return part.height >= SIMILAR * digit.height and part.beside(digit) >= APART * digit.longest


def _belongs(part: Box, digit: Box, is_mark: bool) -> bool:
    is_speck = part.longest < SPECK * digit.longest
    is_dot = part.longest < DOT * digit.longest and part.beside(digit) >= 0
    near = TOUCHING if is_speck or is_dot or is_mark else NEAR
    return part.gap(digit) <= near * digit.longest


def _find_parts(marked: Pixels) -> list[Part]:
    """Find the connected pieces of ink, the largest first."""
    outlines, hierarchy = cv2.findContours(marked, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return []
    parts = []
    for outline, (_, _, _, parent) in zip(outlines, hierarchy[0], strict=True):
        if parent < 0:  # not the edge of a hole
            left, top, width, height = cv2.boundingRect(outline)
            parts.append(Part(outline, Box(left, top, left + width, top + height)))
    parts.sort(key=lambda part: part.box.longest, reverse=True)
    return parts[:MOST_PARTS]


def _without_edges(parts: list[Part], shape: tuple[int, ...]) -> list[Part]:
    """Leave out the edges of scans and frames, which lie along a side of the picture."""
    along = [part for part in parts[:MOST_EDGES] if _along_a_side(part, shape)]
    others = [part for part in parts if part not in along]
    if not along or not others or others[0].box.longest < SMALLEST * max(shape):
        return parts
    near = TOUCHING * others[0].box.longest
    return [part for part in parts if part in others or part.apart(others[0]) < near]


def _without_neighbours(parts: list[Part], shape: tuple[int, ...]) -> list[Part]:
    """Leave out ink that the border cuts off, if there is a whole digit."""
    height, width = shape
    margin = 1 + round(EDGE_MARGIN * min(shape))
    largest = max(part.box.area for part in parts)
    # The digit of a cropped picture may be as high as the picture.
    for across, down in ((margin, margin), (1, 0)):
        inside = Box(across, down, width - across, height - down)
        whole = [part for part in parts if part.box.joined(inside) == inside]
        if whole and max(part.box.area for part in whole) >= WHOLE * largest:
            return whole
    return parts


def _is_in_a_corner(box: Box, shape: tuple[int, ...]) -> bool:
    """Whether a box is in a corner, like watermarks and buttons."""
    height, width = shape
    near = CORNER * max(shape)
    return min(box.left, width - box.right) <= near and min(box.top, height - box.bottom) <= near


def _along_a_side(part: Part, shape: tuple[int, ...]) -> bool:
    """Whether a part lies in the margin, or is shallow and along most of a side."""
    height, width = shape
    margin = 1 + round(EDGE_MARGIN * min(shape))
    box = part.box
    if min(box.right, box.bottom, width - box.left, height - box.top) <= margin:
        return True
    if min(box.left, box.top, width - box.right, height - box.bottom) >= margin:
        return False
    x, y = part.outline[:, 0].T
    touching = [
        (len(np.unique(along[across < margin])), length)
        for across, along, length in (
            (x, y, height),
            (width - 1 - x, y, height),
            (y, x, width),
            (height - 1 - y, x, width),
        )
    ]
    if not any(touched >= EDGE * length for touched, length in touching):
        return False
    depth = cv2.contourArea(part.outline) / sum(touched for touched, _ in touching)
    return depth <= EDGE_DEPTH * min(shape)
