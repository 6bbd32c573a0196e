"""Drawn digits, for tests that need pictures and for people without a data set.

`python -m tests.pictures.drawn 7 seven.png` draws one digit in dark ink on white paper;
`python -m tests.pictures.drawn 902/10 numbers.png` draws several, on two lines.
"""

import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Points = NDArray[np.float64]  # [N, 2], x and y, 0…1 from the top left of the digit's box

FINE = 8  # pixels drawn per pixel kept, along each side


def arc(x: float, y: float, rx: float, ry: float, start: float, stop: float) -> Points:
    """Return points on an ellipse; angles are in degrees, clockwise from the right."""
    angles = np.radians(np.linspace(start, stop, 24))
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)


def line(*points: tuple[float, float]) -> Points:
    return np.array(points, np.float64)


STROKES: dict[int, list[Points]] = {
    0: [arc(0.5, 0.5, 0.32, 0.48, 0, 360)],
    1: [line((0.35, 0.25), (0.55, 0.02), (0.55, 0.98))],
    2: [np.concatenate([arc(0.5, 0.28, 0.32, 0.26, 190, 380), line((0.18, 0.98), (0.85, 0.98))])],
    3: [
        np.concatenate(
            [arc(0.45, 0.26, 0.3, 0.24, 200, 440), arc(0.45, 0.74, 0.34, 0.24, 280, 520)]
        )
    ],
    4: [line((0.6, 0.02), (0.12, 0.66), (0.9, 0.66)), line((0.66, 0.35), (0.66, 0.98))],
    5: [
        np.concatenate(
            [line((0.8, 0.02), (0.27, 0.02), (0.24, 0.42)), arc(0.46, 0.68, 0.34, 0.3, 240, 500)]
        )
    ],
    6: [np.concatenate([line((0.68, 0.02), (0.32, 0.4)), arc(0.48, 0.7, 0.3, 0.28, 180, 540)])],
    7: [line((0.12, 0.04), (0.85, 0.04), (0.4, 0.98))],
    8: [arc(0.5, 0.25, 0.25, 0.23, 90, 450), arc(0.5, 0.74, 0.3, 0.24, -90, 270)],
    9: [np.concatenate([arc(0.46, 0.3, 0.3, 0.27, 360, 0), line((0.76, 0.3), (0.68, 0.98))])],
}


def paint(strokes: Sequence[Points], size: tuple[int, int], width: float) -> NDArray[np.uint8]:
    """Draw strokes given in pixels, with round ends; uint8 `[height, width]`, 255 is ink."""
    image = Image.new("L", (size[0] * FINE, size[1] * FINE))
    pen = ImageDraw.Draw(image)
    radius = width * FINE / 2
    for stroke in strokes:
        points = [(float(x), float(y)) for x, y in stroke * FINE]
        pen.line(points, fill=255, width=round(2 * radius))
        for x, y in points:
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return np.asarray(image.reduce(FINE))


def pixels(digit: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a digit in QMNIST's form, slightly different each time: uint8 `[28, 28]`."""
    angle, shear = rng.normal(0, 0.12), rng.normal(0, 0.15)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    slant = np.array([[rng.uniform(0.8, 1.1), shear], [0, 1]])
    strokes = [(stroke - 0.5) @ (turn @ slant).T for stroke in STROKES[digit]]
    width = rng.uniform(1.8, 3.2)
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = (18.3 - width) / (high - low).max()  # leaves room for the blurred edge, a pixel or two
    drawn = paint([(s - (low + high) / 2) * scale + 14 for s in strokes], (28, 28), width)
    weights = drawn / drawn.sum()
    centre = [weights.sum(axis=1 - axis) @ (np.arange(28) + 0.5) for axis in (0, 1)]
    shifted: NDArray[np.uint8] = np.roll(drawn, [round(14.5 - c) for c in centre], axis=(0, 1))
    return shifted


def digits(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw random digits: uint8 `[count, 28, 28]` and their labels, int64 `[count]`."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % 10)
    return np.stack([pixels(digit, rng) for digit in labels]), labels


def on_paper(digit: int, side: int = 280) -> Image.Image:
    """Draw a digit in dark ink on white paper, somewhere near the middle."""
    strokes = [(stroke * 0.6 + 0.2) * side for stroke in STROKES[digit]]
    return Image.fromarray(255 - paint(strokes, (side, side), width=side / 14))


def photograph(digit: int) -> Image.Image:
    """Draw a digit as on a camera's photograph: 4000 x 3000 pixels, noise, uneven light."""
    sheet = Image.new("L", (4000, 3000), 225)
    sheet.paste(on_paper(digit, 1200).point(lambda v: int(v * 225 / 255)), (1400, 900))
    grey = np.asarray(sheet, np.float32) * np.linspace(1, 0.6, 4000, dtype=np.float32)
    grain = np.random.default_rng(0).normal(0, 5, (3000, 4000, 3))
    return Image.fromarray((grey[..., None] + grain).clip(0, 255).astype(np.uint8))


def encode(
    picture: Image.Image | NDArray[np.uint8], form: str = "PNG", exif: Image.Exif | None = None
) -> bytes:
    """Encode a picture, or grey pixels."""
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    buffer = BytesIO()
    picture.save(buffer, form, **({"exif": exif} if exif else {}))
    return buffer.getvalue()


def encode_all(pictures: Sequence[Image.Image], form: str) -> bytes:
    """Encode several pictures as the frames, or pages, of one file."""
    buffer = BytesIO()
    pictures[0].save(buffer, form, save_all=True, append_images=pictures[1:])
    return buffer.getvalue()


def write_qmnist(root: Path, train: int, test: int) -> None:
    """Write drawn digits as QMNIST files below a torchvision root."""
    raw = root / "QMNIST" / "raw"
    raw.mkdir(parents=True)
    for split, count, seed in (("train", train, 1), ("test", test, 2)):
        images, labels = digits(count, seed)
        extended = np.zeros((count, 8), ">i4")
        extended[:, 0] = labels
        extended[:, 2] = np.arange(count) // 20  # the writer: twenty digits each
        write_idx(raw / f"qmnist-{split}-images-idx3-ubyte", 0x08, images)
        write_idx(raw / f"qmnist-{split}-labels-idx2-int", 0x0C, extended)


def write_idx(path: Path, code: int, array: NDArray[np.generic]) -> None:
    header = bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(header + array.tobytes())


def page(*lines: str, side: int = 120, pitch: int = 100) -> Image.Image:
    """Draw lines of digits; a space leaves a gap."""
    width = side + pitch * max(map(len, lines))
    sheet = Image.new("L", (width, side + side * len(lines)), 255)
    for row, line in enumerate(lines):
        for column, character in enumerate(line):
            if character != " ":
                place = (side // 2 + column * pitch, side // 2 + row * side)
                sheet.paste(on_paper(int(character), side), place)
    return sheet


if __name__ == "__main__":
    text = sys.argv[1]
    drawing = on_paper(int(text)) if len(text) == 1 else page(*text.split("/"))
    drawing.save(sys.argv[2], optimize=True)
