"""Odd and broken pictures: each is read, or refused with a sentence."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from serving.errors import RequestError
from serving.imaging import look, look_for_all, open_picture
from tests import odd
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
    except RequestError as error:
        assert 400 <= error.status < 500  # noqa: PT017
        assert str(error)[0].isupper()  # noqa: PT017
        assert str(error).endswith(".")  # noqa: PT017
    else:
        assert view.pixels.shape == (28, 28)
        assert view.pixels.dtype == np.uint8
        assert view.pixels.any()


@pytest.mark.parametrize("name", [name for name, data in PICTURES.items() if len(data) < 100_000])
def test_all_digits_of_it_are_read_or_it_is_refused(name: str) -> None:
    try:
        lines = look_for_all(open_picture(PICTURES[name], 2_000_000))
    except RequestError as error:
        assert 400 <= error.status < 500  # noqa: PT017
    else:
        for view in (view for line in lines for ways in line for way in ways for view in way):
            assert view.pixels.any()


@pytest.mark.parametrize("name", PICTURES)
def test_what_announces_too_much_is_not_decoded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        image = open_picture(PICTURES[name], MAX_PIXELS)
    except RequestError:
        return
    assert image.width * image.height <= MAX_PIXELS
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", MAX_PIXELS)
    Image._decompression_bomb_check(image.size)  # noqa: SLF001  # Pillow's own opinion


def test_memory_is_bounded() -> None:
    """All of them, one after the other, in a process of its own that says how much it took."""
    code = """
import resource, warnings
warnings.simplefilter("ignore")
from serving.errors import RequestError
from serving.imaging import look, open_picture
from tests import odd
pictures = odd.pictures()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for data in pictures.values():
    try:
        look(open_picture(data, 40_000_000))
    except RequestError:
        pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    kilobytes = int(done.stdout) / (1024 if sys.platform == "darwin" else 1)
    assert kilobytes < 40_000 * 12  # twelve bytes for each pixel of the largest
