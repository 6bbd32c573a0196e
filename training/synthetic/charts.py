"""Draws charts like those of plotting libraries: in a frame or on axes, with lines, bars or points.

There are two ways of drawing. Charts to learn from are drawn with a pen, twice as large as needed.
Charts to measure on have other layouts, and are drawn by filling rows and columns of an array.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Box = tuple[int, int, int, int]  # left, top, right, bottom
Values = NDArray[np.float64]  # 0…1 from the bottom of the box

SHORTEST, LONGEST = 100, 480  # pixels: the range of a picture's sides
FINE = 2  # charts are drawn this many times larger, then reduced


def to_learn_from(count: int, rng: np.random.Generator) -> list[NDArray[np.uint8]]:
    """Draw charts to learn from, uint8 `[H, W]` each, dark on light."""
    return [_with_a_pen(rng) for _ in range(count)]


def to_measure(count: int, rng: np.random.Generator) -> list[NDArray[np.uint8]]:
    """Draw charts to measure on, uint8 `[H, W]` each, dark on light."""
    return [_by_columns(rng) for _ in range(count)]


def _size(rng: np.random.Generator) -> tuple[int, int]:
    """Choose a width and a height; most charts are landscape."""
    width = int(rng.integers(SHORTEST, LONGEST + 1))
    height = int(width * rng.choice([0.5, 9 / 16, 2 / 3, 0.75, 0.75, 1, 4 / 3]))
    return width, int(np.clip(height, SHORTEST, LONGEST))


def _with_a_pen(rng: np.random.Generator) -> NDArray[np.uint8]:
    width, height = _size(rng)
    paper = int(rng.choice([255, 255, 255, 245, 234]))
    image = Image.new("L", (FINE * width, FINE * height), paper)
    pen = ImageDraw.Draw(image)
    left, bottom = rng.uniform(0.03, 0.18, 2)
    right, top = rng.uniform(0.02, 0.12, 2)
    box = (
        int(FINE * width * left),
        int(FINE * height * top),
        int(FINE * width * (1 - right)),
        int(FINE * height * (1 - bottom)),
    )
    if rng.random() < 0.35:
        _draw_grid(pen, box, int(rng.integers(190, 230)), rng)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        _draw_data(pen, box, int(rng.integers(0, 150)), rng)
    _draw_axes(pen, box, rng)
    return np.asarray(image.reduce(FINE))


def _draw_grid(pen: ImageDraw.ImageDraw, box: Box, shade: int, rng: np.random.Generator) -> None:
    for x in np.linspace(box[0], box[2], int(rng.integers(4, 9))):
        pen.line([(x, box[1]), (x, box[3])], fill=shade, width=FINE)
    for y in np.linspace(box[1], box[3], int(rng.integers(4, 9))):
        pen.line([(box[0], y), (box[2], y)], fill=shade, width=FINE)


def _draw_axes(pen: ImageDraw.ImageDraw, box: Box, rng: np.random.Generator) -> None:
    """Draw a frame around the box or its left and bottom sides, perhaps with ticks and numbers."""
    left, top, right, bottom = box
    width = FINE * int(rng.integers(1, 4))
    shade = int(rng.choice([0, 0, 38, 90]))
    if rng.random() < 0.7:
        pen.rectangle(box, outline=shade, width=width)
    else:
        pen.line([(left, top), (left, bottom), (right, bottom)], fill=shade, width=width)
    if rng.random() < 0.4:
        return
    ticks = FINE * int(rng.integers(3, 7)) * (1 if rng.random() < 0.7 else -1)
    numbered = rng.random() < 0.4
    font = ImageFont.load_default(FINE * int(rng.integers(7, 11)))
    for x in np.linspace(left, right, int(rng.integers(3, 9))):
        pen.line([(x, bottom), (x, bottom + ticks)], fill=shade, width=FINE)
        if numbered:
            pen.text((x, bottom + abs(ticks)), f"{rng.integers(100)}", shade, font, anchor="mt")
    for y in np.linspace(top, bottom, int(rng.integers(3, 7))):
        pen.line([(left, y), (left - ticks, y)], fill=shade, width=FINE)
        if numbered:
            pen.text((left - abs(ticks), y), f"{rng.integers(100)}", shade, font, anchor="rm")


def _draw_data(pen: ImageDraw.ImageDraw, box: Box, shade: int, rng: np.random.Generator) -> None:
    """Draw a line, bars or points."""
    left, top, right, bottom = box
    kind = rng.choice(["line", "line", "bars", "points"])
    values = _walk(int(rng.integers(4, 60)) if kind == "line" else int(rng.integers(3, 25)), rng)
    x = left + (right - left) * (np.arange(len(values)) + 0.5) / len(values)
    y = bottom - (bottom - top) * values
    if kind == "line":
        width = FINE * int(rng.integers(1, 5))
        pen.line(list(zip(x, y, strict=True)), fill=shade, width=width, joint="curve")
        return
    reach = rng.uniform(0.2, 0.5) * (right - left) / len(values)
    if kind == "points":
        reach = FINE * rng.uniform(1.5, 6)
        x = rng.uniform(left, right, len(values))
    for across, down in zip(x, y, strict=True):
        if kind == "bars":
            pen.rectangle((across - reach, down, across + reach, bottom), fill=shade)
        else:
            pen.ellipse((across - reach, down - reach, across + reach, down + reach), fill=shade)


def _walk(count: int, rng: np.random.Generator) -> Values:
    """Walk at random, or scatter around a trend."""
    steps = rng.normal(0, 1, count)
    values = np.cumsum(steps) if rng.random() < 0.6 else steps + rng.normal() * np.arange(count)
    return _within(values)


def _by_columns(rng: np.random.Generator) -> NDArray[np.uint8]:
    width, height = _size(rng)
    ink = np.zeros((height, width))
    margin = int(rng.uniform(0.01, 0.1) * min(width, height))
    panels = int(rng.choice([1, 1, 1, 2]))
    for panel in np.array_split(ink[margin : height - margin, margin : width - margin], panels, 1):
        _fill_axes(panel, rng)
        _fill_data(panel, rng)
    return (255 * (1 - ink)).round().astype(np.uint8)


def _fill_axes(panel: NDArray[np.float64], rng: np.random.Generator) -> None:
    """Fill a frame, or two axes that cross; perhaps a dotted grid and ticks."""
    height, width = panel.shape
    if rng.random() < 0.3:
        every = max(8, height // int(rng.integers(3, 8)))
        panel[::every, ::3] = panel[::3, ::every] = 0.3
    thick = int(rng.integers(1, 4))
    across, down = 0, height - thick
    if rng.random() < 0.7:
        panel[:thick] = panel[-thick:] = 1
        panel[:, :thick] = panel[:, -thick:] = 1
    else:
        across, down = int(rng.uniform(0, 0.6) * width), int(rng.uniform(0.4, 0.99) * height)
        panel[down : down + thick] = panel[:, across : across + thick] = 1
    if rng.random() < 0.5:
        tick = int(rng.integers(3, 8))
        every = max(tick + 2, width // int(rng.integers(4, 12)))
        panel[max(0, down - tick) : down, ::every] = 1
        panel[::every, across : across + thick + tick] = 1


def _fill_data(panel: NDArray[np.float64], rng: np.random.Generator) -> None:
    """Fill a curve, an area, steps, horizontal bars, stems or crosses."""
    height, width = panel.shape
    rows = np.arange(height)[:, None]
    kind = rng.choice(["curve", "curve", "area", "steps", "bars", "stems", "crosses"])
    strength = rng.uniform(0.5, 1)
    x = np.linspace(0, 1, width)
    y = height * (1 - _waves(x, rng))
    count = int(rng.integers(3, 20))
    half = rng.uniform(0.5, 2)  # half of a line's width
    match kind:
        case "curve" | "steps":
            if kind == "steps":
                y = np.repeat(y[:: max(1, width // count)], max(1, width // count))[:width]
                y = np.pad(y, (0, width - len(y)), mode="edge")
            before = np.append(y[:1], y[:-1])
            reach = np.maximum(half, np.abs(y - before) / 2 + half * (kind == "steps"))
            marks = reach + 0.5 - np.abs(rows - (y + before) / 2)
        case "area":
            marks = rows - y
        case "bars":
            thick = max(2, height // count)
            long = np.repeat(rng.uniform(0.1, 0.95, height // thick + 1), thick)[:height, None]
            marks = np.where(rows % thick < rng.uniform(0.4, 0.9) * thick, long - x, 0) * width
        case "stems":
            every = max(3, width // count)
            marks = np.where(np.arange(width) % every < 2 * half, rows - y, 0)
        case _:
            marks = np.zeros(panel.shape)
            arm = int(rng.integers(2, 7))
            for row, column in rng.uniform(arm, (height - arm, width - arm), (count, 2)).astype(
                int
            ):
                marks[row - arm : row + arm + 1, column] = 1
                marks[row, column - arm : column + arm + 1] = 1
    np.maximum(panel, strength * marks.clip(0, 1), out=panel)


def _waves(x: Values, rng: np.random.Generator) -> Values:
    """Sum a trend, a few waves and a peak."""
    values = rng.normal() * x
    for _ in range(rng.integers(0, 4)):
        values = values + rng.normal() * np.sin(rng.uniform(1, 20) * x + rng.uniform(0, math.tau))
    values = values + 2 * rng.normal() * np.exp(
        -(((x - rng.uniform()) / rng.uniform(0.03, 0.3)) ** 2)
    )
    return _within(values)


def _within(values: Values) -> Values:
    low, high = values.min(), values.max()
    scaled: Values = 0.05 + 0.9 * (values - low) / max(high - low, 1e-6)
    return scaled
