"""HEIC and AVIF: the main picture of a file is read, whatever else the file contains."""

import struct
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from imaging import heif, open_picture
from imaging.decoding import ORIENTATION
from imaging.errors import DamagedPicture, NotAPicture, PictureError, PictureTooLarge
from tests.conftest import ROOT
from tests.pictures import boxes, drawn
from tests.pictures.boxes import ALPHA, Frame, Item, auxiliary, exif, frame_of, ispe, pixi, turns

MAX_PIXELS = 1_000_000
SEVEN = drawn.on_paper(7)
FRAMES = {
    "heic": frame_of((ROOT / "docs" / "seven.heic").read_bytes()),
    "avif": frame_of(drawn.encode(SEVEN.convert("RGB"), "AVIF")),
}

every_frame = pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)


def written(frame: Frame, items: Sequence[Item], primary: int = 1) -> bytes:
    return boxes.heif(items, b"heic" if frame.kind == heif.HEVC else b"avif", primary)


def decoded(data: bytes) -> NDArray[np.float64]:
    pixels, size = open_picture(data, MAX_PIXELS).decode(1_000)
    assert pixels.shape == (size[1], size[0], 3)
    shades: NDArray[np.float64] = np.mean(pixels, axis=2, dtype=np.float64)
    return shades


def difference(data: bytes, expected: Image.Image) -> float:
    return float(np.abs(decoded(data) - np.asarray(expected.convert("L"), float)).mean())


def grid_of(
    frame: Frame, rows: int, columns: int, size: tuple[int, int], said: tuple[int, int]
) -> bytes:
    tiles = range(2, 2 + rows * columns)
    laid = Item(
        b"grid",
        boxes.grid(rows, columns, *size),
        (ispe(*said), pixi(8, 8, 8)),
        {b"dimg": tiles},
    )
    return written(frame, [laid, *[frame.item(hidden=True)] * len(tiles)])


def laid_out(rows: int, columns: int, size: tuple[int, int]) -> Image.Image:
    sheet = Image.new("L", (280 * columns, 280 * rows))
    for row in range(rows):
        for column in range(columns):
            sheet.paste(SEVEN, (280 * column, 280 * row))
    return sheet.crop((0, 0, *size))


@every_frame
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_once(frame: Frame, orientation: int) -> None:
    """The properties and the metadata both give the orientation; only one of them may apply."""
    lying = SEVEN.copy()
    lying.getexif()[ORIENTATION] = orientation
    data = written(frame, [frame.item(*turns(orientation)), exif(orientation)])
    assert difference(data, ImageOps.exif_transpose(lying)) < 1


@every_frame
def test_only_the_properties_turn_a_picture(frame: Frame) -> None:
    assert difference(written(frame, [frame.item(), exif(6)]), SEVEN) < 1


@every_frame
@pytest.mark.parametrize("size", [(840, 560), (800, 500)])
def test_tiles_are_laid_side_by_side(frame: Frame, size: tuple[int, int]) -> None:
    assert difference(grid_of(frame, 2, 3, size, size), laid_out(2, 3, size)) < 1


@every_frame
def test_of_several_pictures_the_main_one_is_read(frame: Frame) -> None:
    other = replace(frame, size=(9, 9), data=b"no picture")
    depth = other.item(auxiliary(b"urn:mpeg:hevc:2015:auxid:2"), auxl=[2])
    items = [other.item(), frame.item(), other.item(thmb=[2]), depth]
    assert difference(written(frame, items, primary=2), SEVEN) < 1


@every_frame
def test_what_is_transparent_is_laid_on_white(frame: Frame) -> None:
    """The picture is its own alpha channel, so the dark stroke is transparent and disappears."""
    alpha = frame.item(auxiliary(ALPHA), hidden=True, auxl=[1])
    shades = decoded(written(frame, [frame.item(), alpha]))
    assert shades.min() > 180


@every_frame
def test_a_sequence_shows_its_picture(frame: Frame) -> None:
    brand = {heif.HEVC: b"hevc", heif.AV1: b"avis"}[frame.kind]
    data = boxes.heif([frame.item()], brand)
    assert difference(data + boxes.box(b"moov", bytes(99)), SEVEN) < 1


@every_frame
def test_a_file_that_ends_too_early_is_damaged(frame: Frame) -> None:
    data = written(frame, [frame.item(*turns(6))])
    for length in range(40, len(data) - 9, 9):
        with pytest.raises(DamagedPicture):
            open_picture(data[:length], MAX_PIXELS).decode(1_000)


@pytest.mark.parametrize("name", FRAMES)
def test_whatever_bytes_change_is_read_or_refused(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    frame, rng = FRAMES[name], np.random.default_rng(1)
    alpha = frame.item(auxiliary(ALPHA), hidden=True, auxl=[1])
    files = [
        written(frame, [frame.item(*turns(7)), exif(7), alpha]),
        grid_of(frame, 2, 2, (500, 500), (500, 500)),
    ]
    read = 0
    for round_ in range(100):
        changed = bytearray(files[round_ % 2])
        # Most mistakes that a decoder can notice are in the headers, at the beginning.
        for place in rng.integers(0, [300, len(changed)], (2, 2)).flatten():
            changed[place] = rng.choice([0, 1, 127, 128, 255, changed[place] ^ 16])
        try:
            open_picture(bytes(changed), MAX_PIXELS).decode(1_000)
            read += 1
        except PictureError as error:
            assert str(error).endswith(".")  # noqa: PT017
    assert 0 < read < 100
    assert capfd.readouterr() == ("", "")


@every_frame
@pytest.mark.parametrize("said", [(60_000, 60_000), (2_000, 501), (2**32 - 1, 2**32 - 1)])
def test_a_size_over_the_limit_is_refused_unopened(
    frame: Frame, said: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "open", pytest.fail)
    for data in (
        written(frame, [replace(frame, size=said).item()]),
        grid_of(frame, 2, 2, said, said),
    ):
        with pytest.raises(
            PictureTooLarge, match=f"{said[0]} x {said[1]} pixels. Send one of at most 1,000,0"
        ):
            open_picture(data, MAX_PIXELS)


@every_frame
def test_a_picture_larger_than_it_says_is_refused(frame: Frame) -> None:
    """The file announces 400 pixels and codes 78,400."""
    data = written(frame, [replace(frame, size=(20, 20)).item()])
    with pytest.raises((PictureTooLarge, DamagedPicture)):
        open_picture(data, 1_000).decode(1_000)


@every_frame
def test_a_grid_of_another_size_than_it_says_is_damaged(frame: Frame) -> None:
    for size, said in (((20_000, 20_000), (560, 560)), ((560, 560), (600, 600))):
        with pytest.raises(DamagedPicture):
            open_picture(grid_of(frame, 2, 2, size, said), MAX_PIXELS)


@every_frame
def test_tiles_that_nobody_sees_are_not_decoded(frame: Frame) -> None:
    with pytest.raises(PictureTooLarge, match="parts have more than 3,000,000 pixels"):
        open_picture(grid_of(frame, 7, 7, (100, 100), (100, 100)), MAX_PIXELS)


@every_frame
def test_alpha_over_the_limit_is_refused(frame: Frame) -> None:
    alpha = replace(frame, size=(5_000, 5_000)).item(auxiliary(ALPHA), hidden=True, auxl=[1])
    with pytest.raises(PictureTooLarge):
        open_picture(written(frame, [frame.item(), alpha]), MAX_PIXELS)


@every_frame
def test_more_frames_than_anyone_writes_are_refused(frame: Frame) -> None:
    with pytest.raises(PictureTooLarge, match="more than 8 frames"):
        open_picture(written(frame, [replace(frame, data=frame.data * 9).item()]), MAX_PIXELS)


@pytest.mark.parametrize(("name", "unit"), [("heic", bytes(4)), ("avif", b"\x7a\0")])
def test_more_units_than_anyone_writes_are_refused(name: str, unit: bytes) -> None:
    frame = replace(FRAMES[name], data=unit * 10_001)
    with pytest.raises(PictureTooLarge, match="10,000 units"):
        open_picture(written(frame, [frame.item()]), MAX_PIXELS)


@every_frame
def test_what_many_pictures_share_is_not_copied_for_each(frame: Frame) -> None:
    """The decoder gets the main picture without the metadata and profiles of the others."""
    profile = boxes.box(b"colr", b"prof", bytes(100_000))
    metadata = Item(b"Exif", bytes(100_000), (), {b"cdsc": range(1, 200)})
    data = written(frame, [*[frame.item(profile)] * 200, metadata])
    alone = heif.main_picture(data, MAX_PIXELS)
    assert len(alone) < len(frame.data) + 1_000
    assert difference(data, SEVEN) < 1


@every_frame
def test_a_configuration_that_each_tile_would_be_slowed_by_is_refused(frame: Frame) -> None:
    large = replace(frame, configuration=frame.configuration + bytes(20_000))
    large = replace(large, configuration=boxes.box(b"hvcC", large.configuration[8:]))
    with pytest.raises(PictureTooLarge, match="more than 16,384 bytes"):
        open_picture(written(frame, [large.item()]), MAX_PIXELS)


@every_frame
def test_more_items_than_anyone_writes_are_refused(frame: Frame) -> None:
    nothing = replace(frame, data=b"").item(hidden=True)
    with pytest.raises(PictureTooLarge, match="5,000"):
        open_picture(written(frame, [frame.item(), *[nothing] * 5_000]), MAX_PIXELS)


@every_frame
@pytest.mark.parametrize("kind", [b"jpeg", b"avc1", b"unci", b"iovl", b"iden"])
def test_what_is_coded_in_another_way_is_said(frame: Frame, kind: bytes) -> None:
    with pytest.raises(NotAPicture, match="neither HEVC nor AV1"):
        open_picture(written(frame, [replace(frame, kind=kind).item()]), MAX_PIXELS)


def test_an_avif_may_say_its_size_in_the_longer_header() -> None:
    """SVT-AV1's header for a film of 280 x 280 pixels: frames may have any size of 9 bits."""
    bits = f"{0:03b}00" + "1" + f"{1:032b}{1:032b}" + "1" + "00101" + "0" + "0" + f"{0:05b}"
    bits += f"{0:012b}{4:05b}" + f"{8:04b}{8:04b}" + f"{279:09b}{279:09b}"
    header = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    assert heif.largest_size(header) == (512, 512)


def test_boxes_in_boxes_without_an_end_are_damaged() -> None:
    nested = b"".join(struct.pack(">I", 8 * n) + b"dinf" for n in range(20_000, 0, -1))
    kinds = boxes.box(b"ftyp", b"heic", bytes(4), b"mif1", b"heic")
    with pytest.raises(DamagedPicture):
        open_picture(kinds + boxes.full_box(b"meta", 0, 0, nested), MAX_PIXELS)
