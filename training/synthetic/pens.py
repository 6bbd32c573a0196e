"""Draws ink: strokes with a pen, and training digits in any size and thickness.

Ink is uint8 `[H, W]`: the share of each pixel that is covered, 255 for all of it, with no margin.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from training.synthetic.styles import Rng, Stroke

Ink = NDArray[np.uint8]

FINER = 3  # strokes are drawn this many times larger, then reduced
FRACTION = 3  # fractional bits of the coordinates for OpenCV


def draw(strokes: list[Stroke], rng: Rng, height: int) -> Ink:
    """Draw strokes with a random pen, `height` pixels high not counting the pen's width."""
    scale = height * FINER
    width = scale * np.exp(rng.uniform(np.log(0.025), np.log(0.2)))
    pressure, nib = rng.uniform(0, 0.35), rng.uniform(0, 0.5) * (rng.random() < 0.25)
    angle = rng.uniform(0, np.pi)
    points = np.concatenate(strokes) * scale
    top_left = points.min(axis=0) - width
    columns, rows = np.ceil(points.max(axis=0) + width - top_left).astype(int)
    canvas = np.zeros((rows, columns), np.uint8)
    for stroke in strokes:
        corners = stroke * scale - top_left
        steps = np.diff(corners, axis=0)
        along = np.linspace(0, 1, len(steps))
        press = 1 + pressure * np.sin(2 * np.pi * (rng.uniform(0.5, 2) * along + rng.random()))
        across = np.abs(np.sin(np.arctan2(steps[:, 1], steps[:, 0]) - angle))
        widths = np.maximum(width * press * (1 - nib * (1 - across)), 1)
        fine = np.rint(corners * 2**FRACTION).astype(int)
        for start, end, thick in zip(fine[:-1], fine[1:], widths.round().astype(int), strict=True):
            cv2.line(canvas, start, end, 255, int(thick), cv2.LINE_8, FRACTION)
    size = (max(1, round(columns / FINER)), max(1, round(rows / FINER)))
    return cropped(cv2.resize(canvas, size, interpolation=cv2.INTER_AREA))


def copied(digit: NDArray[np.uint8], rng: Rng, height: int) -> Ink:
    """Draw a training digit, uint8 `[28, 28]`, `height` pixels high, thicker or thinner."""
    box = cropped(digit)
    scale = height / box.shape[0]
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    margin = round(4 * scale)
    size = (round(box.shape[1] * scale) + margin, height + margin)
    smooth = cv2.resize(np.pad(box, 2), size, interpolation=how).astype(np.float32) / 255
    edge = rng.uniform(0.25, 0.7)  # the shade where ink ends; a lower one makes thicker strokes
    sharp = max(scale, 0.5 / min(edge, 1 - edge))  # keeps 0 at 0 and 255 at 255
    return cropped(np.clip(((smooth - edge) * sharp + 0.5) * 255, 0, 255).astype(np.uint8))


def worn(ink: Ink, rng: Rng) -> Ink:
    """Remove some of the ink, as a dry pen does: grain or dots."""
    cells = max(2, round(max(ink.shape) / rng.uniform(1, 6)))
    grain = cv2.resize(rng.random((cells, cells), np.float32), ink.shape[::-1])
    kept = np.clip((grain - rng.uniform(0.1, 0.45)) * rng.uniform(2, 8) + 0.5, 0, 1)
    left: Ink = (ink * kept).astype(np.uint8)
    return left


def cropped(ink: Ink) -> Ink:
    """Crop to the ink."""
    x, y, width, height = cv2.boundingRect(ink)
    box: Ink = ink[y : y + height, x : x + width]
    return box
