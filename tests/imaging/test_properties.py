"""Properties that hold for any bytes and any pixels."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image

from imaging import View, look, open_picture
from imaging.decoding import FORMATS
from imaging.errors import PictureError
from tests.pictures import drawn, odd

# Pillow warns about metadata that it cannot read, and decodes the picture nevertheless.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

MAX_PIXELS = 1_000_000
PLAIN = {
    form: odd.plain(form)
    if form == "HEIC"  # Pillow cannot write it
    else drawn.encode(drawn.on_paper(5, 56).convert("RGB"), form)
    for form in FORMATS
}

# Run the same examples on every machine, however slow.
anything = settings(deadline=None, derandomize=True, max_examples=300)


def see(data: bytes) -> View | None:
    try:
        return look(open_picture(data, MAX_PIXELS))
    except PictureError as error:
        assert str(error).endswith(".")  # noqa: PT017
        return None


@anything
@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    assert see(data) is None


@anything
@given(st.sampled_from(FORMATS), st.integers(2, 40), st.binary(max_size=300))
def test_a_pictures_beginning_and_random_bytes(form: str, kept: int, rest: bytes) -> None:
    see(PLAIN[form][:kept] + rest)


@anything
@given(
    st.sampled_from(FORMATS),
    st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4), st.integers(0, 4)), max_size=5),
)
def test_a_mutated_picture_is_read_or_refused(
    form: str, changes: list[tuple[float, bytes, int]]
) -> None:
    data = PLAIN[form]
    for place, inserted, deleted in changes:
        at = int(place * len(data))
        data = data[:at] + inserted + data[at + deleted :]
    see(data)


shapes = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(
    lambda side: st.sampled_from([side, (*side, 3), (*side, 4)])
)


@anything
@given(arrays.arrays(np.uint8, shapes, elements=st.sampled_from([0, 60, 128, 200, 255])))
def test_any_pixels_are_seen_in_qmnists_form_or_refused(pixels: NDArray[np.uint8]) -> None:
    view = see(drawn.encode(pixels))
    if view is None:
        return
    left, top, width, height = view.box
    assert 0 <= left < left + width <= pixels.shape[1]
    assert 0 <= top < top + height <= pixels.shape[0]
    again = BytesIO()
    Image.fromarray(view.pixels).save(again, "PNG")
    seen_again = see(again.getvalue())
    assert seen_again is not None
    assert np.array_equal(seen_again.pixels, view.pixels)
