"""An invented person's handwriting: the 1 has a flat flag and looks like a 7 to others.

`python -m tests.pictures.hand 20 my-digits/` writes twenty of each digit as `<label>/<n>.png`;
`python -m tests.pictures.hand 20 my-digits/ 1` writes twenty of the 1 only. A number after the
digits is the seed: another seed draws other pictures.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.pictures.drawn import STROKES, line, paint

SIDE = 140  # pixels
HAND = {
    **STROKES,
    1: [line((0.08, 0.25), (0.6, 0.02), (0.5, 0.98))],
    7: [*STROKES[7], line((0.35, 0.5), (0.8, 0.5))],
}


def write(digit: int, rng: np.random.Generator) -> Image.Image:
    """Draw a digit in this handwriting on paper, slightly different each time."""
    angle, shear = rng.normal(0, 0.06), rng.normal(0, 0.1)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    slant = np.array([[rng.uniform(0.8, 1.1), shear], [0, 1]])
    strokes = []
    for stroke in HAND[digit]:
        corners = len(stroke) < 10  # moving an arc's points one by one would make it tremble
        moved = stroke - 0.5 + (rng.normal(0, 0.02, stroke.shape) if corners else 0)
        strokes.append((moved @ (turn @ slant).T * 0.6 + 0.5) * SIDE)
    return Image.fromarray(255 - paint(strokes, (SIDE, SIDE), rng.uniform(5, 10)))


def write_folder(folder: Path, count: int, digits: Iterable[int], seed: int = 0) -> None:
    """Write `count` pictures of each digit as `<label>/<n>.png`."""
    rng = np.random.default_rng(seed)
    for digit in digits:
        (folder / str(digit)).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            write(digit, rng).save(folder / str(digit) / f"{number}.png", optimize=True)


if __name__ == "__main__":
    shown = map(int, sys.argv[3]) if len(sys.argv) > 3 else range(10)
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    write_folder(Path(sys.argv[2]), int(sys.argv[1]), shown, seed)
