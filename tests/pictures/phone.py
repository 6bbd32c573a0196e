"""Photographs as phones save them: HEIC and AVIF, encoded independently of the service's decoder.

FFmpeg's x265 and SVT-AV1 encode; `boxes` writes the files. `python -m tests.pictures.phone 7
docs/seven.heic` draws a digit.
"""

import os
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from tests.pictures.boxes import Frame, Item, box, grid, heif, ispe, pixi
from tests.pictures.drawn import on_paper

os.environ.setdefault("SVT_LOG", "1")  # errors only

TILE = 512  # pixels, the side of a phone's tiles


def hevc(picture: Image.Image, bits: int = 8) -> Frame:
    """Encode with x265."""
    parameters = "log-level=none:info=0:pools=none:frame-threads=1:crf=20"
    extra, data = _encode(picture, "libx265", bits, {"preset": "medium", "x265-params": parameters})
    sets = list(_units(extra))
    plain = sets[1].replace(b"\0\0\3", b"\0\0")  # without the emulation prevention bytes
    arrays = [
        struct.pack(">BHH", 0x80 | unit[0] >> 1, 1, len(unit)) + unit for unit in sets
    ]  # the parameter sets of video, sequence and picture
    configuration = (
        b"\1"
        + plain[3:15]  # the profile and the level
        + struct.pack(">HBBBBHB", 0xF000, 0xFC, 0xFD, 0xF8 | bits - 8, 0xF8 | bits - 8, 0, 0x0F)
        + bytes([len(arrays)])
        + b"".join(arrays)
    )
    lengths = b"".join(struct.pack(">I", len(unit)) + unit for unit in _units(data))
    return Frame(b"hvc1", box(b"hvcC", configuration), lengths, picture.size, bits)


def av1(picture: Image.Image, bits: int = 8) -> Frame:
    """Encode with SVT-AV1."""
    extra, data = _encode(
        picture, "libsvtav1", bits, {"preset": "10", "crf": "20", "svtav1-params": "lp=1:avif=1"}
    )
    depth = 0x40 if bits > 8 else 0
    configuration = bytes([0x81, 0x1F, depth | 0x0C, 0]) + extra
    return Frame(
        b"av01", box(b"av1C", configuration), data.removeprefix(b"\x12\0"), picture.size, bits
    )


def tiled(
    picture: Image.Image, encode: Callable[[Image.Image], Frame], *properties: bytes
) -> list[Item]:
    """Return the items of a tiled picture: the grid, then the tiles."""
    columns, rows = (-(-side // TILE) for side in picture.size)
    tiles = [
        encode(picture.crop((x, y, x + TILE, y + TILE))).item(hidden=True)
        for y in range(0, rows * TILE, TILE)
        for x in range(0, columns * TILE, TILE)
    ]
    own = (ispe(*picture.size), pixi(8, 8, 8), *properties)
    named = {b"dimg": range(2, 2 + len(tiles))}
    return [Item(b"grid", grid(rows, columns, *picture.size), own, named), *tiles]


@contextmanager
def usual_priority() -> Iterator[None]:
    """Restore the calling thread's priority after SVT-AV1 has run.

    Run by root, SVT-AV1 turns its calling thread into a real-time thread of the highest priority
    and leaves it so. Everything that the thread starts later, such as servers and browsers, would
    inherit that priority and let nothing else run.
    """
    if not hasattr(os, "sched_getscheduler"):  # not Linux
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def _encode(
    picture: Image.Image, codec: str, bits: int, options: dict[str, str]
) -> tuple[bytes, bytes]:
    import av  # noqa: PLC0415  the fast tests collect this file without FFmpeg

    context = av.CodecContext.create(codec, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height = picture.size
    context.pix_fmt = "yuv420p" if bits == 8 else f"yuv420p{bits}le"
    context.framerate = context.time_base = Fraction(1)
    context.options = options
    context.flags |= av.codec.context.Flags.global_header
    frame = av.VideoFrame.from_ndarray(np.asarray(picture.convert("RGB")), "rgb24")
    with usual_priority():
        packets = [*context.encode(frame.reformat(format=context.pix_fmt)), *context.encode(None)]
    return bytes(context.extradata or b""), b"".join(map(bytes, packets))


def _units(stream: bytes) -> Iterator[bytes]:
    """Split a stream at its start codes (ITU H.265, annex B)."""
    return (unit.rstrip(b"\0") for unit in stream.split(b"\0\0\1")[1:])


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(heif([hevc(on_paper(int(sys.argv[1]))).item()], b"heic"))
