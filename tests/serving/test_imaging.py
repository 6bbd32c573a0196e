from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from serving.errors import DamagedPicture, NoDigit, NotAPicture, PictureTooLarge
from serving.evaluate import open_sources
from serving.imaging import FORMATS, open_picture, to_pixels
from tests import drawn

MAX_PIXELS = 40_000_000


def read(picture: Image.Image | NDArray[np.uint8] | bytes, form: str = "PNG") -> NDArray[np.uint8]:
    data = picture if isinstance(picture, bytes) else drawn.encode(picture, form)
    return to_pixels(open_picture(data, MAX_PIXELS))


def close(first: NDArray[np.uint8], second: NDArray[np.uint8], most: float) -> bool:
    """Whether two pictures differ little, on average over the ink."""
    difference = np.abs(first.astype(float) - second).sum()
    return bool(difference / second.sum() <= most)


def test_every_test_digit_passes_pixel_for_pixel(data_root: Path) -> None:
    for source in open_sources(data_root, MAX_PIXELS):
        for images, _ in source.batches:
            for image in images:
                assert np.array_equal(read(image), image)


@pytest.mark.parametrize("digit", range(10))
def test_a_drawing_becomes_what_qmnist_has(digit: int) -> None:
    pixels = read(drawn.on_paper(digit))
    assert pixels.shape == (28, 28)
    assert pixels.dtype == np.uint8
    assert pixels.max() > 200
    rows, columns = np.nonzero(pixels > 60)
    assert 18 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 20
    weights = pixels / pixels.sum()
    for axis in (0, 1):
        assert weights.sum(axis=1 - axis) @ (np.arange(28) + 0.5) == pytest.approx(14, abs=0.6)


def test_the_output_put_in_again_is_the_output() -> None:
    pixels = read(drawn.on_paper(4))
    assert np.array_equal(read(pixels), pixels)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16", "I"])
def test_a_pictures_mode_does_not_matter(mode: str) -> None:
    picture = drawn.on_paper(5)
    expected = read(picture)
    if mode in ("I;16", "I"):
        converted = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
    else:
        converted = picture.convert(mode)
    form = "TIFF" if mode in ("CMYK", "I") else "PNG"
    assert close(read(converted, form), expected, most=0.05)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_read(form: str) -> None:
    picture = drawn.on_paper(5).convert("RGB")
    assert close(read(picture, form), read(picture), most=0.1)


@pytest.mark.parametrize("side", [40, 280, 900])
def test_polarity_place_and_size_do_not_matter(side: int) -> None:
    picture = drawn.on_paper(3, side)
    expected = read(drawn.on_paper(3))
    corner = Image.new("L", (3 * side, 2 * side), 255)
    corner.paste(picture)
    for variant in (picture, ImageOps.invert(picture), corner):
        assert close(read(variant), expected, most=0.25)


def test_transparent_is_paper() -> None:
    picture = drawn.on_paper(3)
    clear = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    clear.putalpha(ImageOps.invert(picture))
    assert close(read(clear), read(picture), most=0.05)


def test_the_camera_that_was_turned_is_turned_back() -> None:
    picture = drawn.on_paper(7)
    turned = picture.rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    data = drawn.encode(turned, exif=exif)
    assert close(read(data), read(picture), most=0.05)


@pytest.mark.parametrize("shade", [0, 100, 255])
@pytest.mark.parametrize("size", [(1, 1), (28, 28), (300, 200)])
def test_no_ink_is_said(shade: int, size: tuple[int, int]) -> None:
    with pytest.raises(NoDigit, match="No digit found"):
        read(Image.new("L", size, shade))


@pytest.mark.parametrize("data", [b"x", b"hello, world", b"<svg></svg>", b"%PDF-1.7", b"\0" * 500])
def test_what_is_no_picture_is_said(data: bytes) -> None:
    with pytest.raises(NotAPicture, match="not a picture that can be read"):
        read(data)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_a_truncated_picture_is_said_or_read(form: str, share: float) -> None:
    data = drawn.encode(drawn.on_paper(6).convert("RGB"), form)
    try:
        pixels = read(data[: int(share * len(data))])
    except (DamagedPicture, NotAPicture) as error:
        assert str(error).endswith(".")  # noqa: PT017
    else:
        assert pixels.shape == (28, 28)


def test_a_truncated_png_is_damaged() -> None:
    data = drawn.encode(drawn.on_paper(6))
    with pytest.raises(DamagedPicture, match="damaged and cannot be decoded"):
        read(data[: len(data) // 2])


def test_too_many_pixels_are_refused_before_they_are_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def decode(*_: object) -> None:
        pytest.fail("decoded")

    bomb = drawn.encode(Image.new("1", (12_000, 12_000)))
    monkeypatch.setattr(Image.Image, "load", decode)
    with pytest.raises(PictureTooLarge, match="12000 x 12000 pixels; at most 40,000,000"):
        open_picture(bomb, MAX_PIXELS)
