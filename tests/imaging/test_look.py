from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from imaging import SHOWN, Polarity, View, look, look_for_all, open_picture
from imaging.decoding import FORMATS
from imaging.errors import NoDigit, NotAPicture, PictureTooLarge, SeveralDigits
from imaging.form import to_form
from serving.offline.shards import Pixels
from serving.offline.sources import find_shards
from tests.pictures import drawn
from tests.pictures.conditions import CONDITIONS, Condition, lines, pen

MAX_PIXELS = 40_000_000


def see(picture: Image.Image | NDArray[np.uint8] | bytes, form: str = "PNG") -> View:
    data = picture if isinstance(picture, bytes) else drawn.encode(picture, form)
    return look(open_picture(data, MAX_PIXELS))


def likeness(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Return the likeness of two pictures, 0…1; strokes half a pixel apart hardly lower it."""
    a, b = (cv2.GaussianBlur(p.astype(np.float64), (0, 0), 1.2).ravel() for p in (first, second))
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def digits_of(root: Path) -> Iterator[NDArray[np.uint8]]:
    for shard in find_shards(str(root)):
        for batch in shard.read(largest=0):
            assert isinstance(batch, Pixels)
            yield from batch.images


def test_every_test_digit_passes_pixel_for_pixel(data_root: Path) -> None:
    for image in digits_of(data_root):
        assert np.array_equal(see(image).pixels, image)


def test_a_digit_of_qmnist_may_be_inverted(data_root: Path) -> None:
    for image in islice(digits_of(data_root), 200):
        view = see(255 - image)
        assert np.array_equal(view.pixels, image)
        assert view.polarity is Polarity.DARK_ON_LIGHT


@pytest.mark.parametrize("digit", range(10))
def test_a_drawing_becomes_what_qmnist_has(digit: int) -> None:
    pixels = see(drawn.on_paper(digit)).pixels
    assert pixels.shape == (28, 28)
    assert pixels.dtype == np.uint8
    rows, columns = np.nonzero(pixels)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 in (19, 20)
    weights = pixels / pixels.sum()
    for axis in (0, 1):
        assert 13.9 <= weights.sum(axis=1 - axis) @ (np.arange(28) + 0.5) <= 15.1


@pytest.mark.parametrize("digit", range(10))
def test_the_output_put_in_again_is_the_output(digit: int) -> None:
    pixels = see(drawn.on_paper(digit)).pixels
    assert np.array_equal(see(pixels).pixels, pixels)


# With a pen a fifth of the digit's height or wider, only the outer shape remains.
CLEAR = [
    condition for condition in CONDITIONS if condition.name not in ("pen of 20 %", "pen of 33 %")
]


@pytest.mark.parametrize("condition", CLEAR, ids=lambda condition: condition.name)
def test_a_digit_looks_like_itself_in_every_condition(condition: Condition) -> None:
    rng = np.random.default_rng(0)
    alike = [
        likeness(see(condition.render(digit, rng)).pixels, digit)
        for digit in drawn.digits(20, seed=5)[0]
    ]
    assert np.median(alike) > 0.88
    assert min(alike) > 0.7


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16", "I", "F"])
def test_a_pictures_mode_does_not_matter(mode: str) -> None:
    picture = drawn.on_paper(5)
    if mode in ("I;16", "I"):
        converted = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
    else:
        converted = picture.convert(mode)
    form = "TIFF" if mode in ("CMYK", "I", "F") else "PNG"
    assert likeness(see(converted, form).pixels, see(picture).pixels) > 0.98


@pytest.mark.parametrize("depth", [10, 12, 16])
def test_shades_of_more_than_eight_bits(depth: int) -> None:
    picture = drawn.on_paper(5)
    deep = (np.asarray(picture) / 255 * (2**depth - 1)).astype(np.uint16)
    assert likeness(see(drawn.encode(Image.fromarray(deep))).pixels, see(picture).pixels) > 0.98


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "HEIC"])
def test_every_format_is_read(form: str) -> None:
    picture = drawn.on_paper(5).convert("RGB")
    assert likeness(see(picture, form).pixels, see(picture).pixels) > 0.98


def test_an_animation_is_its_first_frame() -> None:
    first, second = drawn.on_paper(3), drawn.on_paper(8)
    data = drawn.encode(first, "GIF")
    animated = drawn.encode_all([first, second], "GIF")
    assert np.array_equal(see(animated).pixels, see(data).pixels)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (240, 250, 230), (200, 30, 30)])
def test_ink_on_nothing_is_seen_whatever_its_colour(colour: tuple[int, int, int]) -> None:
    picture = drawn.on_paper(3)
    clear = Image.new("RGBA", picture.size, (*colour, 0))
    clear.putalpha(ImageOps.invert(picture))
    assert likeness(see(clear).pixels, see(picture).pixels) > 0.98


def test_the_camera_that_was_turned_is_turned_back() -> None:
    picture = drawn.on_paper(7)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to display
    view = see(drawn.encode(picture.rotate(90, expand=True), exif=exif))
    assert likeness(view.pixels, see(picture).pixels) > 0.98


@pytest.mark.parametrize("paper", [0, 255])
@pytest.mark.parametrize("side", [60, 280, 1500])
def test_the_box_is_where_the_digit_is(paper: int, side: int) -> None:
    sheet = Image.new("L", (3 * side, 2 * side), 255)
    sheet.paste(drawn.on_paper(3, side), (side, side // 2))
    ink = ImageOps.invert(sheet).getbbox()
    assert ink is not None
    view = see(sheet if paper else ImageOps.invert(sheet))
    left, top, width, height = view.box
    slack = 1 + 3 * side // 500
    expected = (ink[0], ink[1], ink[2] - ink[0], ink[3] - ink[1])
    assert np.abs(np.subtract((left, top, width, height), expected)).max() <= 2 * slack
    assert view.polarity is (Polarity.DARK_ON_LIGHT if paper else Polarity.LIGHT_ON_DARK)
    assert view.removed == ()


@pytest.mark.parametrize("paper", [0, 255])
def test_a_thin_digit_on_a_large_grainy_page_is_found(paper: int) -> None:
    rng = np.random.default_rng(0)
    drawing = drawn.on_paper(3, 100)
    ink = pen(((255 - np.asarray(drawing)) / 255).astype(np.float32), 4)
    page = np.full((1754, 1240), 240, np.float32)
    page[1100 : 1100 + ink.shape[0], 300 : 300 + ink.shape[1]] -= 150 * ink
    page = (page + rng.normal(0, 4, page.shape)).clip(0, 255)
    view = see((page if paper else 255 - page).astype(np.uint8))
    assert likeness(view.pixels, see(drawing).pixels) > 0.85
    assert view.polarity is (Polarity.DARK_ON_LIGHT if paper else Polarity.LIGHT_ON_DARK)


def test_what_was_removed_is_said() -> None:
    sheet = drawn.on_paper(3, 400)
    pencil = ImageDraw.Draw(sheet)
    pencil.ellipse((10, 100, 40, 130), fill=0)  # a punched hole
    assert see(sheet).removed == ("specks",)
    for y in range(20, 400, 60):
        pencil.line((0, y, 400, y + 5), fill=90)
    assert see(sheet).removed == ("lines", "specks")
    framed = drawn.on_paper(3, 400)
    ImageDraw.Draw(framed).rectangle((0, 0, 400, 12), fill=0)
    assert see(framed).removed == ("edges",)


@pytest.mark.parametrize("width", [1, 2, 6, 20, 40])
def test_thin_and_thick_strokes_become_qmnists(width: int) -> None:
    ink = ((255 - np.asarray(drawn.on_paper(3, 280))) / 255).astype(np.float32)
    drawing = pen(ink, width)
    pixels = see((255 - 255 * drawing).astype(np.uint8)).pixels
    covered = (pixels > 127).sum()
    edges = sum((a != b).sum() for a, b in pairwise((pixels > 127).astype(int)))
    edges += sum((a != b).sum() for a, b in pairwise((pixels > 127).astype(int).T))
    assert 1.2 < 2 * covered / (edges * np.pi / 4) < 4.2  # the width: area by half the outline


@pytest.mark.parametrize("width", [3, 10, 22, 33])
def test_a_stroke_is_as_thick_in_a_drawing_of_any_size(width: int) -> None:
    """`width` is the pen's width in percent of the sheet's side."""
    drawings = {}
    for side in (90, 180, 360, 720):
        ink = ((255 - np.asarray(drawn.on_paper(7, side))) / 255).astype(np.float32)
        drawings[side] = 255 - 255 * pen(ink, width * side / 100)
    covered = [see(drawing.astype(np.uint8)).pixels.mean() for drawing in drawings.values()]
    assert max(covered) < 1.1 * min(covered)


@pytest.mark.parametrize("side", [90, 180, 400, 900])
def test_hatching_is_not_thinned_to_nothing(side: int) -> None:
    """Reduced to a few pixels, hatching looks like one thick stroke."""
    hatching = np.zeros((side, side), np.uint8)
    hatching[:, ::2] = 255
    assert to_form(hatching).any()


@pytest.mark.parametrize("side", [320, 500, 640, 999])
@pytest.mark.parametrize("digit", range(10))
def test_a_large_drawing_is_reduced_and_looks_the_same(digit: int, side: int) -> None:
    small, large = drawn.on_paper(digit, 160), drawn.on_paper(digit, side)
    seen, view = see(small), see(large)
    assert likeness(view.pixels, seen.pixels) > 0.85  # at most about a pixel apart
    # Boxes are in pixels of the picture as sent; the reduction may move an edge a little.
    scaled = np.array(seen.box) * side / 160
    assert np.abs(scaled - view.box).max() <= 0.02 * side


@pytest.mark.parametrize("gap", [20, 60])
def test_what_is_small_beside_a_large_drawing_stays_where_it_is(gap: int) -> None:
    sheet = Image.new("L", (1000, 1000), 255)
    sheet.paste(drawn.on_paper(0, 800), (0, 100))
    ImageDraw.Draw(sheet).ellipse((700 + gap, 600, 708 + gap, 608), fill=0)
    assert see(sheet).removed == ("specks",)
    sheet.paste(drawn.on_paper(5, 500), (560, 300))
    with pytest.raises(SeveralDigits, match="about 2 digits"):
        see(sheet)


@pytest.mark.parametrize("shade", [0, 100, 255])
@pytest.mark.parametrize("size", [(1, 1), (28, 28), (300, 200)])
def test_no_ink_is_said_with_what_was_looked_at(shade: int, size: tuple[int, int]) -> None:
    with pytest.raises(NoDigit, match=rf"No digit found in {size[0]} x {size[1]} pixels"):
        see(Image.new("L", size, shade))


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_what_was_looked_at_is_the_picture_as_it_was_sent(form: str) -> None:
    with pytest.raises(NoDigit, match="No digit found in 4000 x 2000 pixels"):
        see(Image.new("L", (4000, 2000), 200), form)


def test_lines_without_a_digit_are_no_digit() -> None:
    sheet = Image.new("L", (400, 400), 255)
    for y in range(20, 400, 60):
        ImageDraw.Draw(sheet).line((0, y, 400, y), fill=90, width=2)
    with pytest.raises(NoDigit, match="only printed lines"):
        see(sheet)


def test_several_digits_are_said() -> None:
    sheet = Image.new("L", (600, 280), 255)
    sheet.paste(drawn.on_paper(3), (0, 0))
    sheet.paste(drawn.on_paper(4), (300, 0))
    with pytest.raises(SeveralDigits, match="about 2 digits"):
        see(sheet)


@pytest.mark.parametrize("data", [b"x", b"hello, world", b"<svg></svg>", b"%PDF-1.7", b"\0" * 500])
def test_what_is_no_picture_is_said(data: bytes) -> None:
    with pytest.raises(NotAPicture, match="not a picture that can be read"):
        see(data)


def test_too_many_pixels_are_refused_before_they_are_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def decode(*_: object) -> None:
        pytest.fail("decoded")

    bomb = drawn.encode(Image.new("1", (12_000, 12_000)))
    monkeypatch.setattr(Image.Image, "load", decode)
    with pytest.raises(
        PictureTooLarge, match=r"12000 x 12000 pixels\. Send one of at most 40,000,000"
    ):
        see(bomb)


@pytest.mark.parametrize("size", [(4000, 4000), (4000, 2999), (1999, 4000)])
def test_a_photograph_is_decoded_at_a_reduced_scale(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    photograph = drawn.encode(ImageOps.pad(drawn.on_paper(3), size, color=255), "JPEG")
    sizes: list[tuple[int, int]] = []
    load = JpegImageFile.load

    def note_size(image: JpegImageFile) -> object:
        sizes.append(image.size)
        return load(image)

    monkeypatch.setattr(JpegImageFile, "load", note_size)
    assert likeness(see(photograph).pixels, see(drawn.on_paper(3)).pixels) > 0.95
    assert max(sizes[0]) <= 1000


def test_of_a_crop_the_digit_in_the_middle_is_seen() -> None:
    """The border cuts its neighbours off, and a dot follows it."""
    row = Image.new("L", (840, 280), 255)
    for place, digit in enumerate((8, 5, 9)):
        row.paste(drawn.on_paper(digit), (250 * place, 0))
    ImageDraw.Draw(row).ellipse((500, 225, 520, 245), fill=0)
    crop = row.crop((170, 0, 590, 280))
    alone = row.crop((265, 0, 495, 280))
    assert likeness(see(crop).pixels, see(alone).pixels) > 0.95


@pytest.mark.parametrize("x", [0, 5, 388])
@pytest.mark.parametrize("shade", [0, 150])
def test_a_frames_edge_beside_the_digit_is_none_of_it(x: int, shade: int) -> None:
    sheet = drawn.on_paper(5, 400)
    framed = sheet.copy()
    ImageDraw.Draw(framed).rounded_rectangle((x, 3, x + 800, 900), 30, outline=shade, width=8)
    assert likeness(see(framed).pixels, see(sheet).pixels) > 0.95


@pytest.mark.parametrize("shade", [(230, 20, 60), (150, 150, 150), (0, 0, 0)])
def test_a_watermark_in_a_corner_is_none_of_the_digit(shade: tuple[int, int, int]) -> None:
    sheet = Image.new("RGB", (400, 300), "white")
    sheet.paste(drawn.on_paper(0, 300), (50, -20))
    marked = sheet.copy()
    ImageDraw.Draw(marked).rounded_rectangle((300, 268, 390, 292), 6, fill=shade)
    assert likeness(see(marked).pixels, see(sheet).pixels) > 0.98


def test_no_digit_of_a_row_is_taken_for_a_sheet_of_paper() -> None:
    digits, labels = drawn.digits(500, seed=5)
    rows = lines(digits, labels, np.random.default_rng(2), (0.3, 1.2))
    for row in islice(rows, 225, 230):  # row 227 has a digit with four corners and a blank inside
        found = look_for_all(open_picture(row.picture, 10**6))
        polarities = {each.look().polarity for line in found for each in line if each.look}
        assert polarities == {Polarity.DARK_ON_LIGHT}, row.text


@pytest.mark.parametrize("side", [280, 1000])  # ink in a large picture is found in a reduced copy
def test_the_steps_show_the_digit_and_what_is_around_it(side: int) -> None:
    sheet = Image.new("RGB", (2 * side, 2 * side), "white")
    sheet.paste(drawn.on_paper(7, side), (side // 2, side // 2))
    rule = round(1.4 * side)
    ImageDraw.Draw(sheet).line((0, rule, 2 * side, rule), fill=(0, 0, 120), width=side // 40)
    view = see(sheet)
    assert view.removed == ("lines",)
    steps = view.steps()
    assert steps.ink.shape == steps.strokes.shape
    assert steps.decoded.shape == (*steps.ink.shape, 3)
    assert max(steps.ink.shape) == SHOWN
    top, length = view.box[1], max(view.box[2:])
    ruled = round((rule - (top - length / 2)) / (2 * length) * SHOWN)
    line = slice(ruled - 3, ruled + 4)
    assert steps.decoded[line].min(axis=0).max() < 150  # dark on light, with the rule
    assert steps.ink[line].max(axis=0).min() > 100  # light on dark, still with the rule
    assert steps.strokes[line].max() == 0
    assert likeness(to_form(steps.strokes), view.pixels) > 0.95


def test_the_steps_of_what_is_in_the_form_already() -> None:
    picture = 255 - see(drawn.on_paper(4)).pixels
    view = see(picture)
    steps = view.steps()
    assert np.array_equal(steps.decoded, picture)
    assert np.array_equal(steps.ink, view.pixels)
    assert np.array_equal(steps.strokes, view.pixels)


def test_the_steps_of_each_of_several_digits() -> None:
    opened = open_picture(drawn.encode(drawn.page("42")), MAX_PIXELS)
    (line,) = look_for_all(opened)
    for candidate in line:
        if candidate.look:
            view = candidate.look()
            steps = view.steps()
            assert max(steps.ink.shape) <= SHOWN
            assert likeness(to_form(steps.strokes), view.pixels) > 0.9
