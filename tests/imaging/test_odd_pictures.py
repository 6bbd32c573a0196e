"""Odd and broken pictures: each is read, or refused with a message."""

import subprocess
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from imaging import look, look_for_all, open_picture
from imaging.errors import PictureError, PictureTooLarge
from tests.conftest import ROOT
from tests.pictures import drawn, odd

MAX_PIXELS = 40_000_000
SMALL = 100_000  # bytes
BYTES_A_PIXEL = 16  # of the largest picture: its decoded colours and the arrays made of them


# Pillow warns about metadata that it cannot read, and decodes the picture nevertheless.
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("group", odd.GROUPS, ids=lambda group: group.__name__)
def test_each_is_read_or_refused_with_a_sentence(group: odd.Group) -> None:
    for name, data in group().items():
        try:
            view = look(open_picture(data, MAX_PIXELS))
        except PictureError as error:
            assert error.code, name  # noqa: PT017
            assert str(error)[0].isupper(), name  # noqa: PT017
            assert str(error).endswith("."), name  # noqa: PT017
        else:
            assert view.pixels.shape == (28, 28), name
            assert view.pixels.dtype == np.uint8, name
            assert view.pixels.any(), name
            left, top, width, height = view.box
            assert 0 <= left < left + width, name
            assert 0 <= top < top + height, name
        if len(data) < SMALL:
            all_digits(name, data)


def all_digits(name: str, data: bytes) -> None:
    try:
        lines = look_for_all(open_picture(data, 2_000_000))
    except PictureError as error:
        assert error.code, name  # noqa: PT017
    else:
        for candidate in chain(*lines):
            assert candidate.look is None or candidate.look().pixels.any(), name


def test_there_are_as_many_as_the_document_says() -> None:
    document = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    assert f"{len(odd.pictures())} odd and broken pictures" in document


@pytest.mark.parametrize("size", [(1_519, 1), (1, 2_334), (3_000, 5), (7, 2_500), (1_400, 900)])
def test_the_box_is_within_a_picture_that_is_reduced(size: tuple[int, int]) -> None:
    width, height = size
    pixels = np.full((height, width), 255, np.uint8)
    pixels[height // 3 : height // 3 + 40, width // 3 : width // 3 + 40] = 0
    left, top, across, down = look(open_picture(drawn.encode(pixels), MAX_PIXELS)).box
    assert 0 <= left < left + across <= width
    assert 0 <= top < top + down <= height


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif", "avif"])
@pytest.mark.parametrize("value", range(2, 9))
def test_a_turned_picture_has_the_box_of_the_upright_one(value: int, ending: str) -> None:
    pictures = odd.orientations()
    turned = look(open_picture(pictures[f"orientation-{value}.{ending}"], MAX_PIXELS))
    upright = look(open_picture(pictures["orientation-1.jpg"], MAX_PIXELS))
    assert np.abs(np.subtract(turned.box, upright.box)).max() <= 2


def test_what_announces_too_much_is_refused_undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: object) -> None:
        pytest.fail("decoded")

    bombs = {name: data for name, data in odd.bombs().items() if name.startswith(odd.BOMB)}
    assert len(bombs) > 10
    monkeypatch.setattr(Image.Image, "load", decode)
    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    for name, data in bombs.items():
        with pytest.raises(PictureTooLarge):
            pytest.fail(f"{name} was opened: {open_picture(data, MAX_PIXELS)}")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc/self/status")
def test_memory_is_bounded_and_nothing_is_warned_of() -> None:
    """Decode the large pictures in a process that reports its peak memory."""
    # `getrusage` won't do: the peak that it reports includes that of the parent process.
    code = """
import re
from pathlib import Path
from imaging.errors import PictureError
from imaging import look, open_picture
from tests.pictures import odd
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
pictures = odd.bombs() | odd.shapes()
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
    before, after = (1_024 * kilobytes for kilobytes in map(int, done.stdout.split()))
    assert after - before < BYTES_A_PIXEL * MAX_PIXELS
