"""Writes digits in the styles that people use, including some that QMNIST lacks."""

import math
from collections.abc import Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

Stroke = NDArray[np.float64]  # [M, 2], x and y
Rng = np.random.Generator

STEPS = 8  # points of the curve between two points of a stroke

# The styles of each digit: a relative frequency, and strokes separated by slashes. A smooth curve
# passes through the points of a stroke, "x,y" in hundredths of the digit's height, y from the top
# down. A point with an exclamation mark is a corner.
WAYS: Mapping[int, tuple[tuple[float, str], ...]] = {
    0: (
        (3, "38,1 21,3 8,17 1,40 2,66 11,87 25,99 41,98 55,84 63,62 63,36 54,14 40,2"),
        (
            1,  # open at the top
            "48,7 31,0 15,8 4,27 0,53 6,78 19,95 36,100 51,90 62,69 64,42 57,18",
        ),
        (
            1,  # with a tail
            "48,7 32,0 15,7 4,27 0,53 5,78 18,95 35,100 51,90 61,70 64,43 57,19 43,3 26,1 62,2",
        ),
        (1, "45,0 23,7 6,25 0,50 6,75 22,93 45,100 68,93 84,75 90,50 84,25 67,7 45,0"),  # round
        (
            1,  # slashed
            "38,1 21,3 8,17 1,40 2,66 11,87 25,99 41,98 55,84 63,62 63,36 54,14 40,2 / 58,5 8,95",
        ),
        (0.5, "20,0 10,7 3,25 0,50 3,75 10,93 20,100 30,93 37,75 40,50 37,25 30,7 20,0"),  # narrow
        (0.4, "74,20 80,48 68,84 40,100 12,84 1,50 10,18"),  # a cup
        (0.7, "35,2 8,30 2,75 25,100 52,70 55,30 35,0 20,12"),  # begun within
    ),
    1: (
        (2, "0,0 0,100"),
        (3, "0,28 28,0! 28,100"),  # with a flag
        (3, "0,45 40,0! 40,100"),  # with a long one
        (2, "0,70 20,40 45,0! 45,100"),  # with one from the middle
        (1, "0,32 18,20 30,0! 27,50 30,100"),  # bent
        (2, "8,26 34,0! 34,100 / 0,100 66,100"),  # with a flag and a foot
        (0.7, "20,0 20,100 / 0,100 40,100"),  # with a foot
    ),
    2: (
        (3, "2,24 6,14 20,2 38,1 53,11 58,28 51,44 30,72 0,100! 62,100"),
        (
            2,  # looped
            "2,20 6,14 20,2 38,1 53,11 58,28 51,44 30,72 10,93 2,90 8,80 25,88 45,98 66,93",
        ),
        (
            1.5,  # with a wavy base
            "0,22 6,14 20,2 38,1 53,11 58,28 51,44 28,75 6,95 25,90 45,98 66,90",
        ),
        (1, "2,6 30,2 55,5! 0,100! 60,98"),  # like a z
        (1, "10,30 4,15 25,0 52,12 50,40 2,97! 60,100 64,90"),  # hooked at both ends
        (1, "30,42 10,30 14,6 36,0 50,18 40,50 5,90 20,90 42,100 68,80"),  # its top is a ring
        (1, "16,30 6,22 18,4 42,2 50,20 30,60 6,92 0,86 12,82 36,97 55,98 64,84"),  # in copperplate
    ),
    3: (
        (
            3,
            (
                "3,12 11,6 25,0 41,3 52,13 55,27 48,40 35,47 20,47! 35,47 49,54 57,67 57,81 48,93 "
                "33,99 17,98 3,90"
            ),
        ),
        (2, "0,0 55,0! 22,40! 34,41 49,49 57,64 56,80 46,93 30,100 13,97 0,87"),  # with a flat top
        (
            1,  # with a small loop
            (
                "5,15 11,6 24,0 39,2 50,10 55,23 52,35 42,45 24,49 18,44 25,42 43,48 54,58 58,72 "
                "54,86 43,96 27,100 12,96 0,86"
            ),
        ),
        (
            1,  # with hardly a waist
            (
                "3,10 8,6 22,0 37,2 49,11 54,24 51,38 40,49 36,50 44,54 53,66 53,80 46,92 32,99 "
                "17,99 5,91"
            ),
        ),
        (0.7, "0,5 25,0 50,10! 15,45! 50,60 40,92 0,100"),  # pointed
        (
            1,  # in copperplate
            "12,20 10,8 30,0 48,12 36,38 22,44! 42,50 46,74 30,97 6,96 4,84 12,84",
        ),
        (
            0.5,  # with a wavy top
            "0,10 12,0 20,7 34,2 50,0! 24,40! 32,41 46,49 53,64 52,80 43,93 28,100 12,97 -1,87",
        ),
    ),
    4: (
        (3, "20,0 0,58! 65,58 / 48,20 46,100"),  # open
        (2, "12,0 2,50! 60,50 / 50,0 50,100"),  # open, both strokes as high
        (2, "48,0 0,66! 68,66 / 48,40 48,100"),  # closed
        (2, "68,66 0,66! 48,0! 48,100"),  # in one stroke
        (1.5, "5,0 0,35 12,50 35,46 50,30 / 52,0 50,50 46,100"),  # round
        (1, "30,0 12,30 0,66! 34,62 70,64 / 42,48 36,98"),  # with a low bar
        (1.5, "34,0 14,38 0,66! 24,70 50,60 / 36,42 28,100"),  # narrow, with a small arm
        (0.7, "32,0 0,55 2,62! 50,50 / 30,35 24,100"),  # the same, closed
        (1, "55,0 0,70! 75,62 / 62,30 42,100"),  # in copperplate
    ),
    5: (
        (2, "12,0 6,42! 14,41 33,39 50,48 58,66 54,85 39,98 20,99 3,89 / 12,0 58,0"),
        (
            1.5,  # its bar apart
            "10,6 5,45! 14,43 33,41 49,50 57,67 53,85 39,98 20,99 4,89 / 20,-2 62,-5",
        ),
        (2, "58,0 10,2! 6,42! 13,43 33,41 49,50 57,68 52,87 36,98 16,99 1,87"),  # in one stroke
        (1, "58,2 30,4 12,16 20,40 46,58 46,85 25,100 0,93"),  # like an s
        (1, "14,10 8,44 34,42 55,62 45,90 20,100 0,90 / 14,10 36,6 66,0"),  # its bar goes up
        (1, "70,0 36,2! 20,96 12,100 0,72!"),  # like a root sign
        (0.7, "70,0 36,2! 30,45 38,70 26,97 8,100 0,82"),  # the same with a hook
        (1, "20,10 12,44! 36,44 46,68 28,97 4,96 3,86 / 20,10 34,14 50,8 62,0"),  # in copperplate
        (
            0.7,  # its bar is a wave
            "10,20 8,46! 14,43 30,41 45,50 51,68 47,87 34,98 17,99 4,87 / 20,2 40,10 56,0 60,-8",
        ),
        # in copperplate, its bar a wedge apart
        (1, "14,22! 8,46 32,44 44,66 30,94 6,98 2,88 10,88 / 50,-4 55,2 51,18"),
    ),
    6: (
        (3, "50,0 25,15 6,45 2,71 8,89 23,99 41,97 55,85 58,66 49,49 32,42 14,47 3,62 4,81"),
        (
            2,  # straight
            "42,0 16,40 3,72 5,88 17,98 32,100 45,92 52,78 49,63 38,53 23,50 9,57 2,71",
        ),
        (
            1,  # its top is hooked
            "56,10 42,0 16,16 2,55 2,77 12,93 29,100 47,94 57,79 55,60 42,47 24,45 8,55 2,72 9,90",
        ),
        (1, "10,0 3,40 3,70 5,88 18,98 35,99 49,91 54,77 48,63 34,55 17,56 5,66 2,81"),  # upright
        (0.7, "45,0 20,20 4,55 10,92 35,100 55,82 50,62 30,58 12,70"),  # open
        (0.7, "30,0 10,42 2,80 14,100 34,80 36,60 26,54 8,76"),  # narrow
    ),
    7: (
        (2, "0,2 56,0! 20,100"),
        (2, "0,2 56,0! 30,50 20,100 / 12,50 56,47"),  # crossed
        (1.5, "2,20 4,3! 58,0! 24,100"),  # hooked
        (1.5, "0,16 6,3 25,8 60,0! 36,40 26,100 / 10,52 60,46"),  # hooked and crossed
        (1, "0,12 10,2 30,8 55,3 40,40 24,70 20,100"),  # soft
        (1, "0,0 50,0! 46,100"),  # upright
    ),
    8: (
        (3, "48,10 28,0 8,18 20,40 44,60 50,82 28,100 4,82 14,60 38,40 50,20 45,6"),
        (
            2,  # two rings
            (
                "28,48 15,43 7,31 7,17 15,5 28,0 41,5 49,17 49,31 41,43 28,48 / 28,48 44,53 55,66 "
                "55,82 44,95 28,100 12,95 1,82 1,66 12,53 28,48"
            ),
        ),
        (1, "56,4 30,2 10,20 26,44 46,64 46,88 24,100 4,84 16,60 40,36 62,10"),  # open at the top
        (1, "28,48 6,25 28,0 50,22 28,48 2,75 28,100 55,78 28,48"),  # from the middle
        (0.7, "50,10 38,0 26,16 34,40 34,80 20,100 8,86 24,55 50,24 50,8"),  # narrow
    ),
    9: (
        (3, "51,14 40,3 25,0 10,7 2,20 2,36 11,50 25,56 41,53 52,41 55,26 54,40 46,100"),
        (2, "50,18 42,6 29,0 15,3 4,13 0,27 4,41 15,51 29,54 42,48 50,36 52,5! 52,100"),  # upright
        (
            2,  # hooked, as a g
            (
                "52,17 44,5 30,0 15,3 5,14 2,28 8,42 20,51 34,51 47,44 54,31 54,6! 54,70 46,95 "
                "22,100 2,90"
            ),
        ),
        (
            1,  # curved
            "52,17 43,5 29,0 14,4 4,15 2,31 9,44 23,51 38,50 50,41 54,26 52,55 38,90 8,100",
        ),
        (1, "50,6 25,2 4,24 16,46 40,36 54,4! 48,50 34,100"),  # its ring is open
        (
            1,  # its tail comes back
            (
                "47,13 39,4 28,0 15,3 7,11 4,22 9,32 19,39 31,39 42,34 48,23 50,10 50,60 42,94 "
                "24,100 14,86 24,64 46,50"
            ),
        ),
        (
            1,  # small, hooked
            (
                "41,13 35,4 25,0 15,3 8,11 6,22 10,32 18,39 28,39 37,34 42,23 44,6! 46,66 38,93 "
                "20,100 6,90 8,78"
            ),
        ),
        (0.7, "50,12 25,0 2,20 20,42 44,34 52,14! 40,64 12,100"),  # in copperplate
    ),
}


def write(digit: int, rng: Rng) -> list[Stroke]:
    """Write a digit in a random style; return strokes, float64 `[M, 2]` each, about 1 high."""
    shares, ways = _ways(digit)
    way = ways[rng.choice(len(shares), p=shares)]
    wobble = rng.uniform(0.005, 0.055)
    bend = rng.normal(0, wobble, (2, 3, 3))  # bends the plane of all strokes
    steep = rng.random() < 0.2  # as in copperplate
    slant = rng.uniform(0.3, 0.8) if steep else rng.normal(0.12, 0.17)
    turn = rng.normal(0, math.radians(5))
    width = math.exp(rng.normal(0, 0.2))
    turned = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    affine = np.array([[width, 0], [-slant, 1]]) @ turned
    strokes = []
    for points in way:
        again = (points[1:] == points[:-1]).all(axis=1)
        moved = points + rng.normal(0, wobble / 2, points.shape) + rng.normal(0, 0.02, 2)
        moved[1:][again] = moved[:-1][again]
        curves = [_smooth(piece) for piece in np.split(moved, np.flatnonzero(again) + 1)]
        curve = np.concatenate(curves)
        strokes.append((curve + _bent(curve, bend)) @ affine)
    return strokes


@cache
def _ways(digit: int) -> tuple[tuple[float, ...], tuple[list[Stroke], ...]]:
    """Return the probability of each style, and its strokes."""
    total = sum(share for share, _ in WAYS[digit])
    return (
        tuple(share / total for share, _ in WAYS[digit]),
        tuple([_points(stroke) for stroke in way.split(" / ")] for _, way in WAYS[digit]),
    )


def _points(stroke: str) -> Stroke:
    """Parse a stroke's points; a corner occurs twice."""
    points = []
    for point in stroke.split():
        x, y = point.removesuffix("!").split(",")
        points += [(int(x), int(y))] * (2 if point.endswith("!") else 1)
    return np.array(points, np.float64) / 100


def _smooth(points: Stroke) -> Stroke:
    """Interpolate points (Catmull and Rom, A class of local interpolating splines, 1974)."""
    around = np.concatenate([points[:1], points, points[-1:]])
    p0, p1, p2, p3 = around[:-3], around[1:-2], around[2:-1], around[3:]
    t = np.linspace(0, 1, STEPS, endpoint=False)[:, None, None]
    curve = 0.5 * (
        2 * p1
        + (p2 - p0) * t
        + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2
        + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    )
    smooth: Stroke = np.concatenate([curve.transpose(1, 0, 2).reshape(-1, 2), points[-1:]])
    return smooth


def _bent(points: Stroke, bend: NDArray[np.float64]) -> Stroke:
    """Return how far a smooth field moves points: a quadratic polynomial along each axis."""
    x, y = points[:, 0] * 2 - 0.6, points[:, 1] * 2 - 1
    powers = np.stack([np.ones_like(x), x, x * x])[:, None] * np.stack([np.ones_like(y), y, y * y])
    moved: Stroke = np.einsum("cij,ijm->mc", bend, powers)
    return moved
