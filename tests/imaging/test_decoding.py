import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from imaging import decoding
from imaging.decoding import FORM_BEGIN, FORM_END, MAX_SCANS, decode_form, open_picture
from imaging.errors import PictureTooLarge
from tests.pictures import drawn

DIGITS, _ = drawn.digits(200, seed=5)
HEAD = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def of_lines(lines: bytes, **changes: int) -> bytes:
    """Return a 28 x 28 grey PNG with these lines, each a filter number and 28 bytes."""
    head = {"width": 28, "height": 28, "depth": 8, "colour": 0, "packing": 0, "filters": 0}
    values = {**head, "interlace": 0, **changes}.values()
    return (
        HEAD
        + chunk(b"IHDR", struct.pack(">II5B", *values))
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def by_pillow(content: bytes) -> NDArray[np.uint8] | None:
    try:
        return np.asarray(Image.open(BytesIO(content)))
    except (OSError, SyntaxError, ValueError):
        return None


def test_a_data_sets_png_is_what_pillow_makes_of_it() -> None:
    for digit in DIGITS:
        found = decode_form(drawn.encode(digit))
        assert found is not None
        assert np.array_equal(found, digit)


def test_a_data_sets_png_is_bound_by_the_limit_too() -> None:
    with pytest.raises(
        PictureTooLarge, match=r"The picture has 28 x 28 pixels\. Send one of at most 783"
    ):
        open_picture(drawn.encode(DIGITS[0]), 783)


@pytest.mark.parametrize("filtered", range(5))
def test_all_of_pngs_filters(filtered: int) -> None:
    lines = np.random.default_rng(filtered).integers(0, 256, (28, 29), np.uint8)
    lines[:, 0] = filtered
    content = of_lines(lines.tobytes())
    found, expected = decode_form(content), by_pillow(content)
    assert found is not None
    assert expected is not None
    assert np.array_equal(found, expected)


def test_what_is_damaged_is_left_to_pillow_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    content = drawn.encode(DIGITS[0])
    for place in range(len(content)):
        for change in (0x01, 0x80):
            other = bytearray(content)
            other[place] ^= change
            assert decode_form(bytes(other)) is None
        assert decode_form(content[:place]) is None
    assert decode_form(content + b"\0") is None
    packed = content[len(FORM_BEGIN) + 8 : -len(FORM_END) - 4]
    for wrong in (
        b"",
        packed[:-1],  # checksum cut short
        packed + b"\0",
        zlib.compress(bytes(28 * 29 - 1)),
        zlib.compress(bytes(28 * 29 + 1)),
        zlib.compress(bytes([5]) * 28 * 29),  # no such filter
        zlib.compress(bytes(28 * 29))[:-4] + b"\0\0\0\0",
    ):
        assert decode_form(FORM_BEGIN + chunk(b"IDAT", wrong) + FORM_END) is None
    # The header announces a smaller window than the data needs; libpng complains about that.
    shades = np.random.default_rng(0).integers(0, 256, (28, 29), np.uint8)
    shades[:, 0] = 0
    shades[20:24] = shades[:4]
    for window in range(8, 16):
        packer = zlib.compressobj(9, zlib.DEFLATED, 15)
        altered = bytearray(packer.compress(shades.tobytes()) + packer.flush())
        altered[0] = (window - 8) << 4 | 8
        altered[1] = -altered[0] * 256 % 31
        decode_form(FORM_BEGIN + chunk(b"IDAT", bytes(altered)) + FORM_END)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "change",
    [{"width": 29}, {"height": 27}, {"depth": 16}, {"colour": 2}, {"colour": 3}, {"interlace": 1}],
    ids=str,
)
def test_other_pngs_are_left_to_pillow(change: dict[str, int]) -> None:
    assert decode_form(of_lines(bytes(28 * 29), **change)) is None


def test_a_png_with_something_to_say_is_left_to_pillow() -> None:
    said, turned = PngInfo(), Image.Exif()
    said.add_text("Title", "seven")
    turned[0x0112] = 6
    for options in ({"pnginfo": said}, {"exif": turned}, {"transparency": 0}):
        file = BytesIO()
        Image.fromarray(DIGITS[0]).save(file, "PNG", **options)
        assert decode_form(file.getvalue()) is None


def jpeg_of_scans(scans: int, side: int = 64) -> bytes:
    """Return a grey JPEG with this many scans; all but the first change nothing."""

    def segment(marker: int, content: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content

    def code(value: int) -> bytes:  # a Huffman table with one code, the bit 0
        return bytes([1, *[0] * 15, value])

    end_of_blocks = 0xE0  # the number of blocks is 16,384 plus the next 14 bits
    parts = [
        b"\xff\xd8",
        segment(0xDB, bytes([0, *[1] * 64])),
        segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + bytes([1, 0x11, 0])),
        segment(0xC4, b"\x00" + code(0)),
        segment(0xC4, b"\x10" + code(end_of_blocks)),
        segment(0xDA, bytes([1, 1, 0, 0, 0, 0])) + bytes((side // 8) ** 2 // 8),
    ]
    parts += [segment(0xDA, bytes([1, 1, 0, 1, 63, 0])) + b"\x00\x01"] * (scans - 1)
    return b"".join([*parts, b"\xff\xd9"])


def test_a_jpeg_of_more_scans_than_anyone_writes_is_refused_before_it_is_decoded() -> None:
    pixels, _ = open_picture(jpeg_of_scans(MAX_SCANS), 10**6).decode(1_000)
    assert pixels.shape == (64, 64)
    with pytest.raises(PictureTooLarge, match=f"more than {MAX_SCANS} scans"):
        open_picture(jpeg_of_scans(MAX_SCANS + 1), 10**6)


@pytest.mark.parametrize("invalid", [b"\xff\x02\xff\xff", b"\xff\x01\xff\xff", b"\xff\xd3\xff\xff"])
def test_no_scan_hides_behind_a_marker_that_has_no_segment(invalid: bytes) -> None:
    jpeg = jpeg_of_scans(MAX_SCANS + 1)
    scan = jpeg.index(b"\xff\xda")
    with pytest.raises(PictureTooLarge):
        open_picture(jpeg[:scan] + invalid + jpeg[scan:], 10**6)


@pytest.mark.parametrize("segment", [b"\xff\xfe\x00\x02", b"\xff\xe1\x00\x02", b"\xff"])
def test_a_jpeg_of_more_segments_than_anyone_writes_is_refused_before_it_is_opened(
    segment: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    jpeg = drawn.encode(drawn.on_paper(7), "JPEG")
    many = [jpeg[:2] + segment * count + jpeg[2:] for count in (1_900, 2_001)]
    assert open_picture(many[0], 10**6)
    monkeypatch.setattr(Image, "open", pytest.fail)
    with pytest.raises(PictureTooLarge, match="2,000 segments"):
        open_picture(many[1], 10**6)


def test_a_film_after_a_phones_jpeg_is_none_of_it() -> None:
    film = np.random.default_rng(0).integers(0, 256, 9_000_000, np.uint8).tobytes()
    assert film.count(b"\xff\xda") > MAX_SCANS
    jpeg = drawn.encode(drawn.on_paper(7), "JPEG")
    alone, with_film = (open_picture(data, 10**6).decode(1_000) for data in (jpeg, jpeg + film))
    assert np.array_equal(alone[0], with_film[0])


@pytest.mark.parametrize("error", [TypeError, ValueError, IndexError, AssertionError])
def test_a_mistake_of_ours_is_not_called_the_pictures(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise error

    sixteen_bits = BytesIO()
    Image.fromarray(np.full((9, 9), 60_000, np.uint16)).save(sixteen_bits, "PNG")
    monkeypatch.setattr(decoding, "_to_bytes", broken)
    with pytest.raises(error):
        open_picture(sixteen_bits.getvalue(), 10**6).decode(1_000)
