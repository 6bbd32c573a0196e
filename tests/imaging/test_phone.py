"""Photographs as phones save them, encoded by other libraries than those that decode them."""

import os
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from imaging import look, open_picture
from imaging.decoding import ORIENTATION
from tests.conftest import ROOT
from tests.pictures import boxes, drawn, phone
from tests.pictures.boxes import Frame, auxiliary, exif, turns

pytestmark = pytest.mark.full  # for FFmpeg

MAX_PIXELS = 40_000_000
SIDE = 1_500  # pixels
BYTES_A_PIXEL, LIBRARIES = 22, 10_000_000  # to decode a picture, and to load the decoder
ENCODERS = {b"heic": phone.hevc, b"avif": phone.av1}

every_format = pytest.mark.parametrize(("brand", "encode"), ENCODERS.items())


def box_of(data: bytes) -> tuple[int, int, int, int]:
    return look(open_picture(data, MAX_PIXELS)).box


@every_format
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiled_photograph_is_upright_once(
    brand: bytes, encode: Callable[[Image.Image], Frame], orientation: int
) -> None:
    """A phone's file has tiles, a thumbnail, a gain map, and the orientation in its metadata."""
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


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="needs Linux")
def test_an_encoder_leaves_the_priority_of_its_caller() -> None:
    phone.av1(drawn.on_paper(7))
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_ffmpegs_own_avif() -> None:
    picture, file = drawn.on_paper(7), BytesIO()
    import av  # noqa: PLC0415  the fast tests collect this file without FFmpeg

    with phone.usual_priority(), av.open(file, "w", format="avif") as container:
        stream = container.add_stream("libsvtav1", 1, options={"svtav1-params": "avif=1"})
        stream.width, stream.height, stream.pix_fmt = *picture.size, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.asarray(picture.convert("RGB")), "rgb24")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    found = box_of(file.getvalue())
    assert np.abs(np.subtract(found, box_of(drawn.encode(picture)))).max() <= 2


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc/self/status")
def test_memory_is_bounded(tmp_path: Path) -> None:
    """Check HEIC and AVIF with transparency; the AVIF has full colour resolution, too."""
    paper = Image.new("RGBA", (SIDE, SIDE), (250, 240, 230, 200))
    opaque = phone.hevc(paper)
    alpha = opaque.item(auxiliary(boxes.ALPHA), hidden=True, auxl=[1])
    (tmp_path / "heic").write_bytes(boxes.heif([opaque.item(), alpha], b"heic"))
    paper.save(tmp_path / "avif", "AVIF", subsampling="4:4:4", speed=10)
    code = """
import re, sys
from pathlib import Path
from imaging import open_picture
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
before = peak()
open_picture(Path(sys.argv[1]).read_bytes(), 40_000_000).decode(1_000)
print(1_024 * (peak() - before))
"""
    for form in ("heic", "avif"):
        command = [sys.executable, "-W", "error", "-c", code, str(tmp_path / form)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert int(done.stdout) < BYTES_A_PIXEL * SIDE**2 + LIBRARIES, form
