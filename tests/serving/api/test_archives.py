"""Pictures in archives, and in the pages of a TIFF."""

import bz2
import struct
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Iterator

import orjson
import pytest
from PIL import Image

from imaging.errors import DamagedPicture, NotAPicture, PictureTooLarge
from serving.api.archives import unpack
from serving.errors import (
    REFUSALS,
    BodyTooLarge,
    DamagedArchive,
    InvalidRequest,
    Refusal,
    TooManyPictures,
    UnsupportedBody,
)
from serving.settings import Settings
from serving.tar_headers import LONGEST
from tests.archives import ARCHIVES, mutations, tarred, zipped
from tests.pictures import drawn

SETTINGS = Settings(
    max_batch=3, max_image_bytes=20_000, max_batch_bytes=50_000, max_image_pixels=90_000
)
PICTURES = {f"{digit}.png": drawn.encode(drawn.on_paper(digit)) for digit in range(3)}


# Pillow warns about metadata that it cannot read, and decodes the picture nevertheless.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

PACKERS = pytest.mark.parametrize("pack", [zipped, tarred])


def paged(*pages: Image.Image) -> bytes:
    return drawn.encode_all(pages, "TIFF")


def opened(
    body: bytes, settings: Settings = SETTINGS
) -> dict[str, tuple[int, int] | type[Refusal]]:
    """Return each picture's size, or the type of its error, by name."""
    found: dict[str, tuple[int, int] | type[Refusal]] = {}
    for picture in unpack(body, settings):
        try:
            found[picture.name] = picture.open().size
        except REFUSALS as error:
            found[picture.name] = type(error)
    return found


def said(body: bytes, settings: Settings) -> set[tuple[int, int] | type[Refusal]]:
    """Return the sizes and error types of a body's pictures, or the error that refuses the body."""
    try:
        found = opened(body, settings)
    except REFUSALS as error:
        return {type(error)}
    assert orjson.dumps(list(found))
    return set(found.values())


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
    """A zip bomb's directory understates the size."""
    body = bytearray(zipped({"a": b"\0" * 19_999}))
    for place in (22, body.index(b"PK\x01\x02") + 24):
        body[place : place + 4] = (10).to_bytes(4, "little")
    assert opened(bytes(body)) == {"a": DamagedPicture}


@PACKERS
def test_what_is_too_large_for_a_picture_does_not_count(pack: type) -> None:
    """It does not count towards the limit of the body because it is never unpacked."""
    files = {"a": bytes(60_000), "0.png": PICTURES["0.png"]}
    assert opened(pack(files)) == {"a": PictureTooLarge, "0.png": drawn.on_paper(0).size}


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


SIZE = drawn.on_paper(0).size


def test_a_file_packed_in_another_way_is_said() -> None:
    for how in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        assert set(opened(zipped(PICTURES, how)).values()) == {DamagedPicture}


def test_a_name_that_is_not_utf8_where_the_file_is() -> None:
    body = zipped({"ä.png": PICTURES["0.png"], "1.png": PICTURES["1.png"]})
    body = body.replace("ä".encode(), b"\xff\xff", 1)
    assert opened(body) == {"ä.png": DamagedPicture, "1.png": SIZE}


def test_a_file_without_a_name() -> None:
    body = zipped({"a.png": PICTURES["0.png"], "1.png": PICTURES["1.png"]})
    assert opened(body.replace(b"a.png", b"\0.png")) == {"": SIZE, "1.png": SIZE}


def test_a_name_that_is_not_utf8_can_be_written_in_json() -> None:
    body = tarred({"\udcff.png": PICTURES["0.png"]}, tarfile.GNU_FORMAT)
    assert opened(body) == {"\\xff.png": SIZE}


@pytest.mark.parametrize("how", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_kind_of_tar(how: int) -> None:
    long = "folder/" * 14 + "0.png"  # fits all three formats
    longer = {} if how == tarfile.USTAR_FORMAT else {"ä" * 200: PICTURES["1.png"]}
    assert opened(tarred({long: PICTURES["0.png"], **longer}, how)) == dict.fromkeys(
        [long, *longer], SIZE
    )


def test_a_sparse_file_is_said_in_its_place() -> None:
    body = pax(record("GNU.sparse.map", "0,1"), header("a.png", size=1)) + b"x" * 512
    assert opened(body + tarred({"1.png": PICTURES["1.png"]})) == {
        "a.png": DamagedPicture,
        "1.png": SIZE,
    }
    sparse = bytearray(header("a.png", tarfile.GNUTYPE_SPARSE, 1))
    sparse[482] = 1  # a block of its map follows
    body = with_checksum(sparse) + bytes(512) + b"x" * 512
    assert opened(body + tarred({"1.png": PICTURES["1.png"]})) == {
        "a.png": DamagedPicture,
        "1.png": SIZE,
    }


@pytest.mark.parametrize("size", ["x", "-1", "", "9" * 5_000])
def test_a_size_that_is_no_number(size: str) -> None:
    with pytest.raises(DamagedArchive):
        unpack(pax(record("size", size), header("a.png")) + bytes(1_024), SETTINGS)


@pytest.mark.parametrize("record", [b"x", b"0 a=b\n", b"2\n", b"2 \n", b"5 a=b\n", b"999 a=b\n"])
def test_a_record_of_a_wrong_length(record: bytes) -> None:
    with pytest.raises(DamagedArchive):
        unpack(pax(record, header("a.png")) + bytes(1_024), SETTINGS)


def test_headers_after_which_there_is_no_file() -> None:
    for body in (pax(record("path", "a"), b""), header("a", tarfile.GNUTYPE_LONGNAME) * 600):
        with pytest.raises(DamagedArchive):
            unpack(body + bytes(1_024), Settings())


def test_the_pages_of_a_tiff() -> None:
    pages = [drawn.on_paper(digit, side=100 + digit) for digit in range(3)]
    assert opened(paged(*pages)) == {f"page {i + 1}": page.size for i, page in enumerate(pages)}
    with pytest.raises(TooManyPictures):
        unpack(paged(*pages, *pages), SETTINGS)


def test_a_page_that_is_too_large_is_said_in_its_place() -> None:
    body = paged(Image.new("1", (10, 10)), Image.new("1", (400, 400)), Image.new("1", (20, 20)))
    assert opened(body) == {"page 1": (10, 10), "page 2": PictureTooLarge, "page 3": (20, 20)}


def test_a_damaged_page_is_said_in_its_place() -> None:
    pages = paged(*[drawn.on_paper(digit, side=100) for digit in range(3)])
    width, compression = struct.pack("<HHL", 256, 4, 1), struct.pack("<HHL", 259, 3, 1)
    for tag, change in ((width, b"\xfe\xff"), (compression, compression + b"A")):
        body = bytearray(pages)
        second = body.index(tag, body.index(tag) + 1)
        body[second : second + len(change)] = change
        found = opened(bytes(body))
        assert found == {"page 1": (100, 100), "page 2": DamagedPicture, "page 3": (100, 100)}


def test_pages_that_go_round_end() -> None:
    body = bytearray(paged(*[Image.new("1", (10, 10))] * 2))
    (first,) = struct.unpack_from("<L", body, 4)
    places = [first]
    while places[-1]:
        end = places[-1] + 2 + 12 * struct.unpack_from("<H", body, places[-1])[0]
        places.append(struct.unpack_from("<L", body, end)[0])
    struct.pack_into("<L", body, end, first)
    assert list(opened(bytes(body))) == ["page 1", "page 2"]
    struct.pack_into("<L", body, end, len(body))
    with pytest.raises(DamagedArchive):
        unpack(bytes(body), SETTINGS)


def header(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


def with_checksum(block: bytearray) -> bytes:
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def record(keyword: str, value: str) -> bytes:
    rest = f" {keyword}={value}\n".encode()
    digits = next(n for n in range(1, 9) if len(str(len(rest) + n)) == n)
    return str(len(rest) + digits).encode() + rest


def pax(records: bytes, after: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    padded = records + bytes(-len(records) % 512)
    return header("pax", kind, len(records)) + padded + after


def directory(*entries: bytes, before: bytes = b"PK\x03\x04") -> bytes:
    """Return a zip archive's directory; the files that it lists need not exist."""
    size, count = sum(map(len, entries)), min(len(entries), 65_535)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, size, len(before), 0)
    return before + b"".join(entries) + end


def entry(name: bytes, extra: bytes = b"", how: int = 0, packed: int = 0, size: int = 1) -> bytes:
    numbers = (20, 0, 20, 0, 0, how, 0, 0, 0, packed, size, len(name), len(extra), 0, 0, 0, 0, 0)
    return struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", *numbers) + name + extra


def one_file(packed: bytes, how: int, size: int, times: int = 1) -> bytes:
    """Return a zip archive with one file and several entries for it."""
    numbers = (20, 0, 0, how, 0, 0, 0, len(packed), size, 1, 0)
    local = struct.pack("<4s2B4HL2L2H", b"PK\x03\x04", *numbers) + b"a" + packed
    entries = [entry(b"a", b"", how, len(packed), size)] * times
    return directory(*entries, before=local)


def tags(pages: int, count: int) -> bytes:
    """Return a TIFF with overlapping tags: each page starts one tag later than the one before."""
    wanted = {256: 8, 257: 8, 258: 1, 259: 1, 262: 1, 273: 8, 277: 1, 278: 8, 279: 8}
    values = {1_000 + i: 0 for i in range(count // 2)} | wanted
    values |= {1_000 + i: 0 for i in range(count // 2, count + pages)}
    each = (struct.pack("<HHLHH", tag, 3, 1, value, count) for tag, value in values.items())
    body = bytearray(b"II*\0\x08\0\0\0" + struct.pack("<H", count) + b"".join(each))
    for page in range(pages):
        following = 8 + 12 * (page + 1) if page + 1 < pages else 0
        struct.pack_into("<L", body, 8 + 12 * page + 2 + 12 * count, following)
    return bytes(body)


def many_pages(count: int) -> bytes:
    """Return a TIFF with this many pages that all show the same picture."""
    body = paged(Image.new("1", (8, 8)))
    (first,) = struct.unpack_from("<L", body, 4)
    page = body[first : first + 2 + 12 * struct.unpack_from("<H", body, first)[0]]
    starts = range(len(body), len(body) + count * (len(page) + 4), len(page) + 4)
    pages = b"".join(page + struct.pack("<L", start) for start in [*starts[1:], 0])
    return body[:4] + struct.pack("<L", len(body)) + body[8:] + pages


def dear() -> Iterator[tuple[str, bytes, type[Refusal]]]:
    """Yield bodies that would take seconds or gigabytes if there were no limits."""
    longer = struct.pack("<HH", 9, 0) * 16_000
    yield "zip, entries", directory(*[entry(b"a")] * 100_000), TooManyPictures
    yield "zip, folders", directory(*[entry(b"a/")] * 100_000), TooManyPictures
    yield "zip, extra fields", directory(*[entry(b"a", longer)] * 50), TooManyPictures
    yield "zip, bzip2", one_file(bz2.compress(bytes(100_000_000)), 12, 10), DamagedPicture
    empty = b"\0\0\0\xff\xff" * 400_000  # empty blocks
    yield "zip, one upon another", one_file(empty, 8, 1, times=200), DamagedPicture
    end = header("a.png") + bytes(1_024)
    yield "tar, members", header("a") * 20_000 + end, TooManyPictures
    yield "tar, folders", header("a", tarfile.DIRTYPE) * 20_000 + end, TooManyPictures
    long = header("a", tarfile.GNUTYPE_LONGNAME, 1) + b"a" * 512
    yield "tar, long names", long * 2_000 + end, TooManyPictures
    yield "tar, a long header", pax(bytes(LONGEST + 1), end), DamagedArchive
    yield "tar, a long name", header("a", tarfile.GNUTYPE_LONGNAME, 1 << 30) + end, DamagedArchive
    yield "tar, long keywords", pax(b"5 aaa" * 15_000 + b"=", end), DamagedArchive
    keys = b"".join(record(f"{i:06}", "") for i in range(20_000))
    yield "tar, for all", pax(keys, header("a") * 199 + end, tarfile.XGLTYPE), NotAPicture
    extended = bytearray(header("a", tarfile.GNUTYPE_SPARSE))
    extended[482] = 1
    block = b"%011o\0" % 1 * 42 + b"\1" + bytes(7)
    yield "tar, old sparse", with_checksum(extended) + block * 20_000 + end, TooManyPictures
    yield "tar, sparse", pax(record("GNU.sparse.map", "1," * 400_000 + "1"), end), DamagedPicture
    yield "tiff, pages", many_pages(20_000), TooManyPictures
    yield "tiff, tags", tags(20, 8_000), TooManyPictures


@pytest.mark.parametrize(("body", "error"), [pytest.param(b, e, id=name) for name, b, e in dear()])
def test_what_would_be_dear_is_cheap(body: bytes, error: type[Refusal]) -> None:
    started = time.process_time()
    tracemalloc.start()
    found = said(body, Settings(max_batch=200))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == {error}
    assert time.process_time() - started < 2
    assert peak < len(body) + 10_000_000


@pytest.mark.parametrize("kind", ARCHIVES)
def test_whatever_is_damaged_is_said(kind: str) -> None:
    for body in mutations(ARCHIVES[kind], 300):
        said(body, SETTINGS)


@pytest.mark.parametrize("body", [b"text", PICTURES["0.png"], b"\x1f\x8b" + bytes(300)])
def test_anything_else_is_said(body: bytes) -> None:
    with pytest.raises(UnsupportedBody, match="zip or"):
        unpack(body, SETTINGS)
