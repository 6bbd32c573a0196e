"""Makes pictures of ink on paper with other things around it, scanned or photographed.

Each effect occurs in a share of the pictures. Pictures are uint8 `[H, W]`.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from training.synthetic.pens import Ink
from training.synthetic.styles import Rng

Picture = NDArray[np.uint8]
Box = tuple[int, int, int, int]  # x, y, width, height


def on_paper(ink: Ink, other: Callable[[], Ink], rng: Rng) -> tuple[Picture, Box]:
    """Make a picture of one digit.

    Args:
        ink: The digit's ink.
        other: Returns another digit's ink, for a neighbour that is partly visible.
        rng: Draws all random numbers.

    Returns:
        The picture, and the digit's box in it.
    """
    sheet, (x, y) = _sheet(ink.shape, rng)
    height, width = ink.shape
    sheet[y : y + height, x : x + width] = ink
    thick = max(1, round(height * np.exp(rng.uniform(np.log(0.01), np.log(0.05)))))
    around = _Around(sheet, (x, y, width, height), thick, rng)
    if rng.random() < 0.3:
        around.lines()
    for _ in range(rng.choice(3, p=[0.7, 0.2, 0.1])):
        around.neighbour(other())
    if rng.random() < 0.2:
        around.dots()
    picture = _developed(sheet, around.printed, rng)
    return picture, (x, y, width, height)


def _sheet(shape: tuple[int, ...], rng: Rng) -> tuple[Ink, tuple[int, int]]:
    """Return an empty sheet, and the x and y of the digit's top left corner on it."""
    height, width = shape
    left, right, top, bottom = (np.exp(rng.uniform(-2.5, 0.1, 4)) * max(shape)).round().astype(int)
    return np.zeros((top + height + bottom, left + width + right), np.uint8), (int(left), int(top))


class _Around:
    """Draws the surroundings of a digit: printed lines on a separate sheet, other ink on its own.

    Args:
        sheet: uint8 `[H, W]` with the digit's ink.
        box: The digit's box.
        thick: The thickness of lines, in pixels.
        rng: Draws all random numbers.
    """

    def __init__(self, sheet: Ink, box: Box, thick: int, rng: Rng) -> None:
        self.printed = np.zeros_like(sheet)
        self._sheet, self._box, self._thick, self._rng = sheet, box, thick, rng

    def lines(self) -> None:
        """Draw one to four sides of a cell, extended to the picture's edges."""
        x, y, width, height = self._box
        rows, columns = self._sheet.shape
        rng = self._rng
        gap = np.exp(rng.uniform(np.log(0.02), np.log(0.4), 4)) * height
        touching = rng.random(4) < 0.1
        left, right, top, bottom = np.where(touching, -0.03 * height, gap)
        sides = [
            ((x - left, 0), (x - left, rows)),
            ((x + width + right, 0), (x + width + right, rows)),
            ((0, y - top), (columns, y - top)),
            ((0, y + height + bottom), (columns, y + height + bottom)),
        ]
        drawn = rng.permutation(4)[: rng.choice([1, 2, 4], p=[0.5, 0.25, 0.25])]
        tilt = rng.normal(0, 0.02)
        for side in drawn:
            (x1, y1), (x2, y2) = sides[side]
            lean = tilt * max(rows, columns) / 2
            across = (lean, 0) if x1 == x2 else (0, lean)
            cv2.line(
                self.printed,
                (round(x1 - across[0]), round(y1 - across[1])),
                (round(x2 + across[0]), round(y2 + across[1])),
                255,
                self._thick,
                cv2.LINE_AA,
            )
        if rng.random() < 0.2:  # dotted
            step = max(3, 3 * self._thick)
            self.printed[::step] = self.printed[:, ::step] = 0

    def neighbour(self, ink: Ink) -> None:
        """Draw a part of another digit, cut off by the picture's edge."""
        x, _, width, height = self._box
        rows, columns = self._sheet.shape
        scale = height * self._rng.uniform(0.8, 1.15) / ink.shape[0]
        ink = cv2.resize(ink, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        seen = round(ink.shape[1] * self._rng.uniform(0.1, 0.5))
        top = int(self._rng.integers(max(1, rows - ink.shape[0] + 1)))
        gap = round(height * self._rng.uniform(-0.02, 0.1))
        if self._rng.random() < 0.5:
            room = max(0, x - gap)
            part = ink[: rows - top, ink.shape[1] - min(seen, room) :]
            where = self._sheet[top : top + part.shape[0], : part.shape[1]]
        else:
            room = max(0, columns - x - width - gap)
            part = ink[: rows - top, : min(seen, room)]
            where = self._sheet[top : top + part.shape[0], columns - part.shape[1] :]
        if part.size:
            np.maximum(where, part, out=where)

    def dots(self) -> None:
        """Draw a dot or a comma after the digit, or specks anywhere."""
        x, y, width, height = self._box
        rows, columns = self._sheet.shape
        radius = max(1, round(height * self._rng.uniform(0.02, 0.06)))
        if self._rng.random() < 0.5:
            away = round(radius * self._rng.uniform(1, 4))
            centre = (x + width + away, y + height - radius)
            cv2.circle(self._sheet, centre, radius, 255, -1, cv2.LINE_AA)
            return
        for _ in range(int(self._rng.integers(1, 6))):
            centre = (int(self._rng.integers(columns)), int(self._rng.integers(rows)))
            cv2.circle(self._sheet, centre, max(1, radius // 2), 255, -1, cv2.LINE_AA)


def _developed(ink: Ink, printed: Ink, rng: Rng) -> Picture:
    """Render the picture: shades of ink, print and paper, light, focus, resolution and noise."""
    paper, dark = rng.uniform(170, 255), rng.uniform(0, 90)
    picture = np.full(ink.shape, paper, np.float32)
    faint = rng.uniform(0.25, 1)
    picture -= (paper - dark) * faint * (printed / 255)
    picture += (dark - picture) * (ink / 255)
    rows, columns = ink.shape
    if rng.random() < 0.2:  # light from one side
        fall = rng.uniform(0, 0.4)
        ramp = np.linspace(1 - fall, 1, columns, dtype=np.float32)
        picture *= ramp if rng.random() < 0.5 else ramp[::-1]
    if rng.random() < 0.4:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 0.025 * rows + 0.3))
    if rng.random() < 0.4:
        picture += rng.normal(0, rng.uniform(1, 12), picture.shape)
    if rng.random() < 0.2:  # a scan of black and white
        middle = (paper + dark) / 2
        picture = np.where(picture < middle + rng.uniform(-20, 20), 0.0, 255.0)
    shades: Picture = np.clip(picture, 0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        quality = int(rng.integers(30, 95))
        _, encoded = cv2.imencode(".jpg", shades, [cv2.IMWRITE_JPEG_QUALITY, quality])
        shades = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.uint8)
    return 255 - shades if rng.random() < 0.15 else shades
