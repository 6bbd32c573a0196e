"""Pictures in archives, and in the pages of a TIFF."""

import io
import tarfile
import zipfile

import pytest
from PIL import Image

from serving.archives import unpack
from serving.decoding import size_of
from serving.errors import (
    BodyTooLarge,
    DamagedArchive,
    DamagedPicture,
    InvalidRequest,
    NotAPicture,
    PictureTooLarge,
    RequestError,
    TooManyPictures,
    UnsupportedBody,
)
from serving.settings import Settings
from tests import drawn

SETTINGS = Settings(
    max_batch=3, max_image_bytes=20_000, max_batch_bytes=50_000, max_image_pixels=90_000
)
PICTURES = {f"{digit}.png": drawn.encode(drawn.on_paper(digit)) for digit in range(3)}


def zipped(files: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", how) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def paged(*pages: Image.Image) -> bytes:
    stream = io.BytesIO()
    pages[0].save(stream, "TIFF", save_all=True, append_images=pages[1:])
    return stream.getvalue()


PACKERS = pytest.mark.parametrize("pack", [zipped, tarred])


def opened(body: bytes) -> dict[str, tuple[int, int] | type[RequestError]]:
    """Each picture's size, or what is wrong with it, by name."""
    found: dict[str, tuple[int, int] | type[RequestError]] = {}
    for picture in unpack(body, SETTINGS):
        try:
            found[picture.name] = size_of(picture.open())
        except RequestError as error:
            found[picture.name] = type(error)
    return found


@PACKERS
def test_files_come_in_their_order(pack: type) -> None:
    reverse = dict(reversed(PICTURES.items()))
    assert list(opened(pack(reverse))) == ["2.png", "1.png", "0.png"]
    assert set(opened(pack(reverse)).values()) == {drawn.on_paper(0).size}


@PACKERS
def test_one_bad_file_is_said_in_its_place(pack: type) -> None:
    files = {"a.png": PICTURES["0.png"], "b.txt": b"text", "c.png": PICTURES["1.png"]}
    size = drawn.on_paper(0).size
    assert opened(pack(files)) == {"a.png": size, "b.txt": NotAPicture, "c.png": size}


@PACKERS
def test_what_a_mac_packs_beside_is_passed_over(pack: type) -> None:
    files = {"__MACOSX/._0.png": b"x", ".DS_Store": b"x", "a/0.png": PICTURES["0.png"]}
    assert list(opened(pack(files))) == ["a/0.png"]


@PACKERS
def test_an_archive_with_nothing_in_it(pack: type) -> None:
    with pytest.raises(InvalidRequest, match="no file"):
        unpack(pack({".DS_Store": b"x"}), SETTINGS)


@PACKERS
def test_limits(pack: type) -> None:
    with pytest.raises(TooManyPictures):
        unpack(pack(dict.fromkeys("abcd", b"x")), SETTINGS)
    with pytest.raises(BodyTooLarge, match="51,000 bytes unpacked"):
        unpack(pack(dict.fromkeys("abc", b"x" * 17_000)), SETTINGS)
    assert opened(pack({"a": b"x" * 20_001})) == {"a": PictureTooLarge}


def test_a_file_that_is_larger_than_it_says_is_not_unpacked() -> None:
    """A zip bomb whose directory lies about the size."""
    body = bytearray(zipped({"a": b"\0" * 19_999}))
    for place in (22, body.index(b"PK\x01\x02") + 24):
        body[place : place + 4] = (10).to_bytes(4, "little")
    assert opened(bytes(body)) == {"a": DamagedPicture}


def test_damaged_archives_are_said() -> None:
    for body in (zipped(PICTURES)[:-30], b"PK\x03\x04" + bytes(100)):
        with pytest.raises(DamagedArchive, match="The zip archive"):
            unpack(body, SETTINGS)
    with pytest.raises(DamagedArchive, match="The tar archive"):
        unpack(tarred(PICTURES)[:600], SETTINGS)
    flipped = bytearray(zipped(PICTURES, zipfile.ZIP_STORED))
    flipped[100] ^= 255
    assert next(iter(opened(bytes(flipped)).values())) is DamagedPicture


def test_an_encrypted_file_is_said() -> None:
    body = bytearray(zipped({"a": b"x"}))
    for place in (6, body.index(b"PK\x01\x02") + 8):
        body[place] |= 1
    assert opened(bytes(body)) == {"a": DamagedPicture}


def test_the_pages_of_a_tiff() -> None:
    pages = [drawn.on_paper(digit, side=100 + digit) for digit in range(3)]
    assert opened(paged(*pages)) == {f"page {i + 1}": page.size for i, page in enumerate(pages)}
    with pytest.raises(TooManyPictures):
        unpack(paged(*pages, *pages), SETTINGS)


def test_a_page_that_is_too_large_is_said_in_its_place() -> None:
    body = paged(Image.new("1", (10, 10)), Image.new("1", (400, 400)), Image.new("1", (20, 20)))
    assert opened(body) == {"page 1": (10, 10), "page 2": PictureTooLarge, "page 3": (20, 20)}


@pytest.mark.parametrize("body", [b"text", PICTURES["0.png"], b"\x1f\x8b" + bytes(300)])
def test_anything_else_is_said(body: bytes) -> None:
    with pytest.raises(UnsupportedBody, match="zip or"):
        unpack(body, SETTINGS)
