"""Odd and broken pictures: each is read, or refused with a sentence."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from imaging import look, look_for_all, open_picture
from imaging.errors import PictureError, PictureTooLarge
from tests import drawn, odd
from tests.conftest import ROOT

MAX_PIXELS = 40_000_000
PICTURES = odd.pictures()

# Pillow warns of metadata that it cannot read, and goes on to the picture.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def test_there_are_many() -> None:
    assert len(PICTURES) >= 60


@pytest.mark.parametrize("name", PICTURES)
def test_it_is_read_or_refused_with_a_sentence(name: str) -> None:
    try:
        view = look(open_picture(PICTURES[name], MAX_PIXELS))
    except PictureError as error:
        assert error.code  # noqa: PT017
        assert str(error)[0].isupper()  # noqa: PT017
        assert str(error).endswith(".")  # noqa: PT017
    else:
        assert view.pixels.shape == (28, 28)
        assert view.pixels.dtype == np.uint8
        assert view.pixels.any()
        left, top, width, height = view.box
        assert 0 <= left < left + width
        assert 0 <= top < top + height


@pytest.mark.parametrize("size", [(1_519, 1), (1, 2_334), (3_000, 5), (7, 2_500), (1_400, 900)])
def test_the_box_is_within_a_picture_that_is_reduced(size: tuple[int, int]) -> None:
    width, height = size
    pixels = np.full((height, width), 255, np.uint8)
    pixels[height // 3 : height // 3 + 40, width // 3 : width // 3 + 40] = 0
    left, top, across, down = look(open_picture(drawn.encode(pixels), MAX_PIXELS)).box
    assert 0 <= left < left + across <= width
    assert 0 <= top < top + down <= height


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("value", range(2, 9))
def test_a_turned_picture_has_the_box_of_the_upright_one(value: int, ending: str) -> None:
    turned = look(open_picture(PICTURES[f"orientation-{value}.{ending}"], MAX_PIXELS))
    upright = look(open_picture(PICTURES["orientation-1.jpg"], MAX_PIXELS))
    assert np.abs(np.subtract(turned.box, upright.box)).max() <= 2


@pytest.mark.parametrize("name", [name for name, data in PICTURES.items() if len(data) < 100_000])
def test_all_digits_of_it_are_read_or_it_is_refused(name: str) -> None:
    try:
        lines = look_for_all(open_picture(PICTURES[name], 2_000_000))
    except PictureError as error:
        assert error.code  # noqa: PT017
    else:
        for view in (view for line in lines for ways in line for way in ways for view in way):
            assert view.pixels.any()


@pytest.mark.parametrize("name", [name for name in PICTURES if name.startswith(odd.BOMB)])
def test_what_announces_too_much_is_refused_undecoded(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*_: object) -> None:
        pytest.fail("decoded")

    monkeypatch.setattr(Image.Image, "load", decode)
    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    with pytest.raises(PictureTooLarge):
        open_picture(PICTURES[name], MAX_PIXELS)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system has no /proc")
def test_memory_is_bounded_and_nothing_is_warned_of() -> None:
    """All of them, one after the other, in a process of its own that says how much it took."""
    # Not getrusage: the peak that it gives a process includes the one that started it.
    code = """
import re
from pathlib import Path
from imaging.errors import PictureError
from imaging import look, open_picture
from tests import odd
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
pictures = odd.pictures()
before = peak()
for data in pictures.values():
    try:
        look(open_picture(data, 40_000_000))
    except PictureError:
        pass
print(before, peak())
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before, after = (kilobytes / 1024 for kilobytes in map(int, done.stdout.split()))
    assert before < 400  # or what comes next would hide below it
    assert after < 1_000  # megabytes; the largest have 39 megapixels
