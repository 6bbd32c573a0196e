"""Printed lines are removed; strokes of digits are kept."""

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageDraw

from imaging import View, look, look_for_all, open_picture
from tests.pictures import drawn

Line = tuple[tuple[int, int], tuple[int, int]]

SIDE = 240
# Coordinates on a canvas twice as large as the crop, so that turned lines still reach its border.
LEFT, RIGHT, TOP, BOTTOM = (140, 0), (340, 0), (0, 135), (0, 345)


def crossing(*sides: tuple[int, int]) -> list[Line]:
    """Return the sides of a cell, extended to the border of the canvas."""
    return [((x, y), (x or 480, y or 480)) for x, y in sides]


CELL = crossing(LEFT, RIGHT, TOP, BOTTOM)
FRAME: list[Line] = [
    ((140, 135), (340, 135)),
    ((340, 135), (340, 345)),
    ((340, 345), (140, 345)),
    ((140, 345), (140, 135)),
]


def written(
    digit: int, lines: list[Line], turned: float = 0, fill: int = 0, width: int = 3
) -> Image.Image:
    canvas = Image.new("L", (2 * SIDE, 2 * SIDE), 255)
    canvas.paste(drawn.on_paper(digit, 180), (150, 150))
    for line in lines:
        ImageDraw.Draw(canvas).line(line, fill, width)
    turned_canvas = canvas.rotate(turned, Image.Resampling.BILINEAR, fillcolor=255)
    return turned_canvas.crop((SIDE // 2, SIDE // 2, 3 * SIDE // 2, 3 * SIDE // 2))


def see(sheet: Image.Image) -> View:
    return look(open_picture(drawn.encode(sheet), 10**6))


def assert_alike(sheet: Image.Image, bare: Image.Image) -> None:
    """Check that both pictures yield the same strokes, at most a pixel apart."""
    found, expected = see(sheet), see(bare)
    assert found.box == pytest.approx(expected.box, abs=6)
    a, b = (view.pixels.astype(float) for view in (found, expected))
    # If the centre of mass is halfway between two pixels, a trace of a line decides the position.
    shifted = (np.roll(a, (x, y), (0, 1)) for x in (-1, 0, 1) for y in (-1, 0, 1))
    assert max((c * b).sum() for c in shifted) > 0.9 * np.sqrt((a * a).sum() * (b * b).sum())


@pytest.mark.parametrize("digit", range(10))
@pytest.mark.parametrize(
    "lines", [CELL, FRAME, CELL[:1], CELL[1:3], CELL[2:]], ids=["cell", "frame", "1", "2", "rules"]
)
@pytest.mark.parametrize("pen", [{"fill": 0, "width": 5}, {"fill": 140, "width": 2}], ids=str)
def test_the_sides_of_a_cell_are_no_ink(digit: int, lines: list[Line], pen: dict[str, int]) -> None:
    for turned in (0, 3):
        assert_alike(written(digit, lines, turned, **pen), written(digit, [], turned))


@pytest.mark.parametrize("digit", range(10))
def test_a_line_that_the_digit_touches_or_crosses_is_no_ink(digit: int) -> None:
    bare = written(digit, [])
    _, top, _, height = see(bare).box
    for y in (top + 1, top + height // 2, top + height - 1):
        line = ((0, SIDE // 2 + y), (2 * SIDE, SIDE // 2 + y))
        assert_alike(written(digit, [line]), bare)


@pytest.mark.parametrize("digit", [1, 4])
def test_a_stroke_along_a_line_of_squared_paper_is_ink(digit: int) -> None:
    strokes = [stroke * 100 + 190 for stroke in drawn.STROKES[digit]]
    side = 2 * SIDE
    bare = Image.fromarray(255 - drawn.paint(strokes, (side, side), 8))
    upright = int((np.asarray(bare) < 128).sum(axis=0).argmax())
    squared = Image.new("L", bare.size, 255)
    for place in range(-side, side, 90):
        ImageDraw.Draw(squared).line((upright + place, 0, upright + place, side), 130, 2)
        ImageDraw.Draw(squared).line((0, 10 + place, side, 10 + place), 130, 2)
    assert_alike(ImageChops.darker(squared, bare), bare)


@pytest.mark.parametrize("digit", range(10))
@pytest.mark.parametrize("pen", [1, 3, 6])
def test_strokes_of_any_digit_are_no_lines(digit: int, pen: int) -> None:
    """Not even straight, thin strokes near the border count as lines."""
    strokes = [stroke * 180 + 10 for stroke in drawn.STROKES[digit]]
    view = see(Image.fromarray(255 - drawn.paint(strokes, (200, 200), pen)))
    assert "lines" not in view.removed


def test_all_digits_of_a_row_of_cells_are_found_in_order() -> None:
    row = Image.new("L", (600, 200), 255)
    for place, digit in enumerate((3, 1, 7)):
        row.paste(drawn.on_paper(digit, 150), (200 * place + 25, 25))
    pencil = ImageDraw.Draw(row)
    for x in (10, 203, 396, 590):
        pencil.line((x, 0, x, 200), fill=60, width=4)
    for y in (12, 187):
        pencil.line((0, y, 600, y), fill=60, width=4)
    (line,) = look_for_all(open_picture(drawn.encode(row), 10**6))
    whole = [each.look() for each in line if each.look is not None and each.cost < 0.2]
    centres = [view.box[0] + view.box[2] / 2 for view in whole]
    assert centres == pytest.approx([100, 300, 500], abs=40)


def test_dotted_rules_are_no_ink() -> None:
    sheet = written(5, [])
    for x in range(0, SIDE, 8):
        ImageDraw.Draw(sheet).line((x, 190, x + 3, 190), fill=0, width=2)
    assert_alike(sheet, written(5, []))


def test_pencil_in_a_black_cell_is_as_strong_as_alone() -> None:
    strokes = 255 - np.asarray(written(5, []), np.float64)
    grain = np.random.default_rng(0).uniform(0.2, 0.5, strokes.shape)
    pencil = Image.fromarray(np.uint8(255 - strokes * grain))
    boxed = pencil.copy()
    for at in (20, 220):
        ImageDraw.Draw(boxed).line((at, 0, at, SIDE), 0, 6)
        ImageDraw.Draw(boxed).line((0, at, SIDE, at), 0, 6)
    assert_alike(boxed, pencil)
