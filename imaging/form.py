"""Brings the ink of one digit into QMNIST's form.

QMNIST has the form of MNIST: the box of the ink is scaled to a longest side of 20 pixels, keeping
the aspect, and placed with the ink's centre of mass at the centre of 28 x 28 (LeCun et al.,
Gradient-Based Learning Applied to Document Recognition, 1998, section III-A). QMNIST's strokes are
two to four pixels wide; thinner and thicker ones are changed to that.
"""

import cv2
import numpy as np

from imaging.decoding import SIDE, Pixels, reduced

INK_SIDE = 20  # the longest side of the ink's box
OFF_CENTRE = 1.05  # pixels; MNIST's centres of mass lie up to 1 to the right and below

# The name after each is the condition of `tests/pictures/conditions.py` that fails without it.
FINE = 80  # pixels; smaller ink is enlarged to this, so that stroke widths can be measured: 14 px
EDGE_CENTRE, EDGE_STEEPNESS = 0.45, 2.5  # of the curve that sharpens enlarged edges: 10 px
EDGE = np.uint8(255 * ((np.linspace(0, 1, 256) - EDGE_CENTRE) * EDGE_STEEPNESS + 0.5).clip(0, 1))

THINNEST, THICKEST = 1.8, 3.2  # of the 20 pixels, as nearly all of QMNIST: pens of 0.5 and 33 %
CHANGED = 0.15  # of the 20 pixels; smaller changes of thickness are not worth the time
THINNED = 0.5  # of their thickness; strokes lose at most this: pen of 33 %


def is_form(pixels: Pixels) -> bool:
    """Whether pixels are already in QMNIST's form, as all 70,000 digits of MNIST are.

    The box of the ink is 20 pixels long, or a little less if its edge is faint, and the centre of
    mass is within a pixel of the centre, or as near as the border allows.
    """
    if pixels.shape != (SIDE, SIDE):
        return False
    left, top, width, height = cv2.boundingRect(pixels)
    if not INK_SIDE - 2 <= max(width, height) <= INK_SIDE:
        return False
    x, y = _centre_of_mass(pixels)
    return _is_in_the_middle(x, left, width) and _is_in_the_middle(y, top, height)


def _is_in_the_middle(centre: float, start: int, length: int) -> bool:
    return abs(centre - SIDE / 2) <= OFF_CENTRE or start == 0 or start + length == SIDE


def to_form(ink: Pixels) -> Pixels:
    """Bring ink into QMNIST's form.

    Args:
        ink: The ink of one digit and nothing else: uint8 `[H, W]`, 255 is ink.

    Returns:
        uint8 `[28, 28]`.
    """
    strongest = int(ink.max())
    if strongest < 255:  # other ink in the picture is stronger
        ink = cv2.convertScaleAbs(ink, alpha=255 / strongest)
    if max(ink.shape) < FINE:
        ink = _enlarged(ink)
    ink = _of_normal_thickness(_trimmed(ink))
    height, width = ink.shape
    scale = INK_SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    ink = reduced(ink, max(height, width) // FINE)
    return _centred(cv2.resize(ink, size, interpolation=cv2.INTER_AREA))


def _trimmed(ink: Pixels) -> Pixels:
    x, y, width, height = cv2.boundingRect(cv2.threshold(ink, 127, 1, cv2.THRESH_BINARY)[1])
    return ink[y : y + height, x : x + width]


def _enlarged(ink: Pixels) -> Pixels:
    margin = 2
    scale = FINE / max(ink.shape)
    ink = cv2.copyMakeBorder(ink, margin, margin, margin, margin, cv2.BORDER_CONSTANT)
    large = cv2.resize(ink, None, fx=scale, fy=scale, interpolation=cv2.INTER_LANCZOS4)
    return cv2.LUT(large, EDGE)


def _of_normal_thickness(ink: Pixels) -> Pixels:
    """Move the outline in or out if strokes are too thick or too thin."""
    # A reduced picture is enough to recognise most normal strokes; measure others at full size.
    for measured in (reduced(ink, max(ink.shape) // FINE), ink):
        thickness = _thickness(measured)
        change = min(max(thickness, THINNEST), THICKEST) - thickness
        if abs(change) < CHANGED:
            return ink
    reach = max(change, -THINNED * thickness) / 2 * max(ink.shape) / INK_SIDE
    margin = int(max(reach, 0)) + 3
    marked = cv2.threshold(ink, 127, 1, cv2.THRESH_BINARY)[1]
    marked = cv2.copyMakeBorder(marked, margin, margin, margin, margin, cv2.BORDER_CONSTANT)
    if reach > 0:
        coverage = reach + 1 - cv2.distanceTransform(1 - marked, cv2.DIST_L2, 5)
    else:
        coverage = reach + cv2.distanceTransform(marked, cv2.DIST_L2, 5)
    return _trimmed(cv2.convertScaleAbs(coverage.clip(0, 1), alpha=255))


def _thickness(ink: Pixels) -> float:
    """Return the mean thickness of strokes, in pixels of the 20."""
    marked = cv2.threshold(ink, 127, 1, cv2.THRESH_BINARY)[1]
    marked = cv2.copyMakeBorder(marked, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    inside = cv2.distanceTransform(marked, cv2.DIST_L2, 3)
    # The mean distance to the nearest side of a bar is a quarter of its width. The transform
    # measures to the centre of the nearest outside pixel, half a pixel more.
    return 4 * (cv2.mean(inside, marked)[0] - 0.5) * INK_SIDE / max(ink.shape)


def _centred(small: Pixels) -> Pixels:
    """Place a small picture on 28 x 28 with its centre of mass in the middle."""
    height, width = small.shape
    x, y = _centre_of_mass(small)
    # As in MNIST (see OFF_CENTRE): on average half a pixel beyond the middle.
    left = min(max(round((SIDE + 1) / 2 - x), 0), SIDE - width)
    top = min(max(round((SIDE + 1) / 2 - y), 0), SIDE - height)
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    pixels[top : top + height, left : left + width] = small
    return pixels


def _centre_of_mass(pixels: Pixels) -> tuple[float, float]:
    moments = cv2.moments(pixels)
    return moments["m10"] / moments["m00"] + 0.5, moments["m01"] / moments["m00"] + 0.5
