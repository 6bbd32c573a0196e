"""Make the page's examples (`python -m tests.pictures.gallery`): strokes on all kinds of paper."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from tests.pictures import drawn

FOLDER = Path(__file__).parents[2] / "serving" / "web" / "ui" / "gallery"
SIDE = 224

Ink = NDArray[np.float64]  # [SIDE, SIDE], 0…1
Colour = tuple[float, float, float]
Sheet = NDArray[np.float64]  # [SIDE, SIDE, 3], 0…255

WHITE, BALLPOINT, FELT = (255.0, 255.0, 255.0), (40.0, 55.0, 130.0), (25.0, 25.0, 30.0)


def ink(
    digit: int, width: float = 15, size: float = 0.6, at: tuple[float, float] = (0.2, 0.2)
) -> Ink:
    """Draw a digit; width is in pixels, size and place are fractions of the sheet."""
    strokes = [(stroke * size + np.array(at)) * SIDE for stroke in drawn.STROKES[digit]]
    return drawn.paint(strokes, (SIDE, SIDE), width) / 255


def lay(strokes: Ink, paper: Sheet | Colour, colour: Colour = FELT) -> Sheet:
    """Lay ink on paper."""
    sheet = np.broadcast_to(np.asarray(paper, np.float64), (SIDE, SIDE, 3))
    return sheet + strokes[..., None] * (np.array(colour) - sheet)


def chalk() -> Sheet:
    rng = np.random.default_rng(1)
    grain = np.clip(0.75 + 0.2 * rng.normal(0, 1, (SIDE, SIDE)), 0, 1)
    return lay(ink(3, 11) * grain, (45, 62, 52), (235, 235, 225))


def squared() -> Sheet:
    paper = Image.new("RGB", (SIDE, SIDE), (246, 244, 236))
    pen = ImageDraw.Draw(paper)
    for place in range(10, SIDE, 28):
        pen.line((place, 0, place, SIDE), (160, 185, 220))
        pen.line((0, place, SIDE, place), (160, 185, 220))
    return lay(ink(2, 8), np.asarray(paper, np.float64), BALLPOINT)


def shadow() -> Sheet:
    across = np.linspace(0, 1, SIDE)
    light = 1 - 0.5 / (1 + np.exp(-14 * (across[None] + 0.5 * across[:, None] - 0.8)))
    return lay(ink(6, 9), (240, 238, 228), BALLPOINT) * light[..., None]


def specks() -> Sheet:
    dirt = Image.new("L", (SIDE, SIDE))
    pen = ImageDraw.Draw(dirt)
    for x, y, radius in ((14, 70, 7), (14, 154, 7), (60, 25, 1), (190, 60, 1), (175, 200, 2)):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), 255)
    return lay(np.maximum(ink(5), np.asarray(dirt) / 255), WHITE)


def numbers() -> Sheet:
    parts = [
        ink(digit, 8, 0.26, place)
        for digit, place in (
            *((9, (0.08, 0.14)), (0, (0.37, 0.12)), (2, (0.66, 0.15))),
            *((4, (0.1, 0.58)), (7, (0.4, 0.57))),
        )
    ]
    return lay(np.maximum.reduce(parts), (250, 248, 240), BALLPOINT)


def letter() -> Sheet:
    strokes = [drawn.line((0.2, 0.9), (0.5, 0.1), (0.8, 0.9)), drawn.line((0.3, 0.6), (0.7, 0.6))]
    return lay(drawn.paint([s * SIDE for s in strokes], (SIDE, SIDE), 15) / 255, WHITE)


def scribble() -> Sheet:
    turn = np.linspace(0, 9 * np.pi, 160)
    x = 0.5 + 0.32 * np.sin(1.37 * turn)
    y = 0.5 + 0.3 * np.cos(turn) * np.linspace(0.6, 1, turn.size)
    points = np.stack([x, y], axis=1) * SIDE
    return lay(drawn.paint([points], (SIDE, SIDE), 6) / 255, WHITE)


PICTURES: dict[str, Callable[[], Sheet]] = {
    "seven": lambda: lay(ink(7), WHITE),
    "thin-pen": lambda: lay(ink(4, 3), (250, 248, 240), BALLPOINT),
    "thick-pen": lambda: lay(ink(9, 30, 0.55, (0.22, 0.22)), WHITE),
    "chalk": chalk,
    "coloured": lambda: lay(ink(8, 13), (250, 214, 90), (190, 40, 70)),
    "squared": squared,
    "shadow": shadow,
    "specks": specks,
    "corner": lambda: lay(ink(1, 5, 0.18, (0.74, 0.76)), WHITE),
    "numbers": numbers,
    "letter": letter,
    "scribble": scribble,
}


def write(folder: Path) -> None:
    """Write all examples to a folder."""
    for name, draw in PICTURES.items():
        pixels = np.clip(np.rint(draw()), 0, 255).astype(np.uint8)
        picture = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(0.5))
        picture.save(folder / f"{name}.webp", quality=70, method=6)


if __name__ == "__main__":
    write(FOLDER)
