"""Photographs as phones save them, coded by other libraries than the ones that read them."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageOps

from imaging import look, open_picture
from imaging.decoding import ORIENTATION
from tests.pictures import boxes, drawn, phone
from tests.pictures.boxes import Frame, auxiliary, exif, turns

pytestmark = pytest.mark.full  # for FFmpeg

MAX_PIXELS = 40_000_000
ENCODERS = {b"heic": phone.hevc, b"avif": phone.av1}

every_format = pytest.mark.parametrize(("brand", "encode"), ENCODERS.items())


def box_of(data: bytes) -> tuple[int, int, int, int]:
    return look(open_picture(data, MAX_PIXELS)).box


@every_format
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiled_photograph_is_upright_once(
    brand: bytes, encode: Callable[[Image.Image], Frame], orientation: int
) -> None:
    """As a phone writes it: tiles, a thumbnail, a gain map, and metadata that turn it as well."""
    upright = ImageOps.expand(drawn.on_paper(7, 500), (100, 0, 200, 0), fill=255)  # 800 x 500
    lying = upright.copy()
    inverse = {6: 8, 8: 6}.get(orientation, orientation)
    lying.getexif()[ORIENTATION] = inverse
    lying = ImageOps.exif_transpose(lying)
    items = phone.tiled(lying, encode, *turns(orientation))
    small = encode(lying.resize((128, 128)))
    items += [small.item(thmb=[1]), small.item(auxiliary(b"urn:com:apple:gain"), auxl=[1])]
    found = box_of(boxes.heif([*items, exif(orientation)], brand))
    assert np.abs(np.subtract(found, box_of(drawn.encode(upright)))).max() <= 2


@every_format
@pytest.mark.parametrize("bits", [8, 10])
def test_shades_of_eight_and_ten_bits(
    brand: bytes, encode: Callable[[Image.Image, int], Frame], bits: int
) -> None:
    picture = drawn.on_paper(5)
    frame = encode(picture, bits)
    pixels, _ = open_picture(boxes.heif([frame.item()], brand), MAX_PIXELS).decode(1_000)
    assert np.abs(pixels.mean(axis=2) - np.asarray(picture)).mean() < 1


@every_format
def test_ink_on_nothing_is_seen(brand: bytes, encode: Callable[[Image.Image], Frame]) -> None:
    picture = drawn.on_paper(3)
    black, ink = encode(Image.new("L", picture.size)), encode(ImageOps.invert(picture))
    alpha = ink.item(auxiliary(boxes.ALPHA), hidden=True, auxl=[1])
    found = box_of(boxes.heif([black.item(), alpha], brand))
    assert np.abs(np.subtract(found, box_of(drawn.encode(picture)))).max() <= 2


def test_ffmpegs_own_avif() -> None:
    file = BytesIO()
    with phone.av.open(file, "w", format="avif") as container:
        stream = container.add_stream("libsvtav1", 1, options={"svtav1-params": "avif=1"})
        stream.width, stream.height, stream.pix_fmt = 280, 280, "yuv420p"
        frame = phone.av.VideoFrame.from_image(drawn.on_paper(7).convert("RGB"))
        container.mux([*stream.encode(frame), *stream.encode(None)])
    found = box_of(file.getvalue())
    assert np.abs(np.subtract(found, box_of(drawn.encode(drawn.on_paper(7))))).max() <= 2
