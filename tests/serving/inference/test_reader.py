import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from imaging import look_for_all, open_picture
from imaging.errors import NoDigit
from serving.inference import artifacts, reader
from serving.inference.classifier import Classifier
from serving.inference.reader import read
from serving.settings import Provider
from tests.conftest import COMMITTED_MODELS
from tests.pictures import drawn
from tests.pictures.drawn import page

MAX_PIXELS = 40_000_000


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(artifacts.load(COMMITTED_MODELS / "deeper"), Provider.CPU)


def text(classifier: Classifier, sheet: Image.Image) -> str:
    image = open_picture(drawn.encode(sheet), MAX_PIXELS)
    return reader.text(read(classifier, look_for_all(image)))


@pytest.mark.parametrize("line", ["7", "90210", "0123456789"])
def test_a_line_is_read_from_the_left(classifier: Classifier, line: str) -> None:
    assert text(classifier, page(line)) == line


def test_lines_are_read_from_the_top(classifier: Classifier) -> None:
    assert text(classifier, page("314", "27 18", "1 4142")) == "314\n2718\n14142"


def test_a_line_may_climb(classifier: Classifier) -> None:
    sheet = page("1234567890").rotate(6, fillcolor=255, expand=True)
    assert text(classifier, sheet) == "1234567890"


def test_light_on_dark(classifier: Classifier) -> None:
    sheet = page("4711").point(lambda shade: 255 - shade)
    assert text(classifier, sheet) == "4711"


def test_a_broken_stroke_is_joined(classifier: Classifier) -> None:
    sheet = page("858")
    left, top, right = 60 + 100, 60, 60 + 220
    pencil = ImageDraw.Draw(sheet)
    pencil.line((left, top + 40, right - 40, top + 40), fill=255, width=4)
    assert text(classifier, sheet) == "858"


@pytest.mark.parametrize("pair", ["68", "00", "35", "40"])
def test_touching_digits_are_parted(classifier: Classifier, pair: str) -> None:
    assert text(classifier, touching(pair)) == pair


def test_digits_that_share_a_stroke_are_parted(classifier: Classifier) -> None:
    assert text(classifier, touching("5000", apart=52)) == "5000"


def touching(line: str, apart: int = 48) -> Image.Image:
    """Write digits so close together that their ink is connected."""
    sheet = np.full((160, 210 + apart * len(line)), 255, np.uint8)
    for column, digit in enumerate(line):
        part = sheet[20:140, 40 + column * apart :][:, :120]
        np.minimum(part, np.asarray(drawn.on_paper(int(digit), 120)), out=part)
    assert cv2.connectedComponents((sheet < 128).astype(np.uint8))[0] == 2  # the paper and the ink
    return Image.fromarray(sheet)


def test_signs_of_an_amount_are_no_digits(classifier: Classifier) -> None:
    sheet = page("12 345 00")
    pencil = ImageDraw.Draw(sheet)
    pencil.ellipse((305, 145, 317, 157), fill=0)  # a dot
    pencil.line((720, 140, 710, 165), fill=0, width=8)  # a comma
    pencil.line((970, 120, 1030, 120), fill=0, width=8)  # a dash
    assert text(classifier, sheet) == "1234500"


def test_high_and_low_digits_are_of_one_line(classifier: Classifier) -> None:
    sheet = Image.new("L", (640, 260), 255)
    for column, (digit, side) in enumerate(((5, 200), (6, 130), (2, 130), (0, 130))):
        sheet.paste(
            drawn.on_paper(digit, side), (20 + column * 140 + (column > 0) * 60, 240 - side)
        )
    assert text(classifier, sheet) == "5620"


def test_the_boxes_are_in_the_picture_as_it_was_sent(classifier: Classifier) -> None:
    sheet = page("35", side=1200, pitch=1100)
    image = open_picture(drawn.encode(sheet), MAX_PIXELS)
    (line,) = read(classifier, look_for_all(image))
    for column, digit in enumerate(line):
        left, top, width, height = digit.view.box
        assert abs(left + width / 2 - (600 + 600 + column * 1100)) < 100
        assert abs(top + height / 2 - 1200) < 50
        assert 700 < height < 900


def test_specks_and_holes_are_no_digits(classifier: Classifier) -> None:
    sheet = page("905")
    pencil = ImageDraw.Draw(sheet)
    for x, y in ((20, 20), (300, 30), (200, 200)):
        pencil.rectangle((x, y, x + 4, y + 4), fill=0)
    pencil.ellipse((5, 100, 45, 140), fill=0)
    assert text(classifier, sheet) == "905"


def test_an_empty_page_is_said(classifier: Classifier) -> None:
    sheet = Image.new("L", (400, 200), 255)
    with pytest.raises(NoDigit, match="400 x 200"):
        text(classifier, sheet)


def test_a_digit_of_qmnist_is_read_as_it_is(classifier: Classifier) -> None:
    pixels = drawn.digits(1, seed=1)[0][0]
    image = open_picture(drawn.encode(Image.fromarray(pixels)), MAX_PIXELS)
    (line,) = read(classifier, look_for_all(image))
    (digit,) = line
    assert np.array_equal(digit.view.pixels, pixels)
    (alone,) = classifier.predict(pixels[None]).rows()
    assert digit.prediction == alone
