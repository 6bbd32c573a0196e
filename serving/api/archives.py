"""Extracts the pictures from a zip or tar archive, or a multi-page TIFF."""

import math
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import PurePosixPath
from typing import Literal

from imaging import Opened, open_pages, open_picture
from imaging.errors import DamagedPicture, PictureTooLarge
from serving.errors import (
    BodyTooLarge,
    DamagedArchive,
    InvalidRequest,
    TooManyPictures,
    UnsupportedBody,
)
from serving.settings import Settings
from serving.tar_headers import SPARSE, Stream, TooManyHeaders, walk

TIFF = (b"II*\0", b"MM\0*")
ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the second begins an empty archive
TAR, TAR_AT = b"ustar", 257
TAG = 12  # bytes of a TIFF tag

# The folder that macOS adds to zip archives.
NOT_CHOSEN = "__MACOSX"

# Bytes of headers per allowed picture. Half of that is plenty, even with folders, long names and
# macOS's extras; without a limit, 50 MB of headers take minutes to read.
ZIP_DIRECTORY = 1_024
TAR_HEADERS = 4_096
TIFF_TAGS = 4_096

# The usual compression methods. zipfile decompresses the others without a limit: 4 kB of bzip2 can
# become gigabytes.
ZIP_WAYS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 1  # flag of an entry

# What zipfile raises for damaged archives; only the first is documented.
ZIP_ERRORS = (
    zipfile.BadZipFile,
    EOFError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    zlib.error,
)

# The largest compressed size: this many times the file's size, plus this many bytes. Otherwise all
# entries could share one large block of compressed bytes, which would be read once per entry.
COMPRESSED_WORST, COMPRESSED_NOTHING = 2, 1_000

DAMAGED = "The file is damaged in the archive."
UNSUPPORTED = (
    "The archive stores this file in an unsupported way: encrypted, sparse, or compressed with "
    "anything but deflate."
)


@dataclass(frozen=True)
class Picture:
    """One of many pictures.

    Attributes:
        name: The name of its file or page.
        open: Opens it when its turn comes; raises a `PictureError`.
    """

    name: str
    open: Callable[[], Opened]


def is_archive(body: bytes) -> bool:
    """Whether a body begins like a zip or tar archive."""
    return body.startswith(ZIP) or body[TAR_AT : TAR_AT + len(TAR)] == TAR


def unpack(body: bytes, settings: Settings) -> Iterator[Picture]:
    """Find the pictures in a body, in their order.

    Raises:
        UnsupportedBody: It is not a zip, tar or TIFF file.
        DamagedArchive: It cannot be read.
        InvalidRequest: It contains no files.
        TooManyPictures: There are more than allowed.
        BodyTooLarge: It has more bytes unpacked than allowed.
    """
    if body.startswith(ZIP):
        return _of_zip(body, settings)
    if body[TAR_AT : TAR_AT + len(TAR)] == TAR:
        return _of_tar(body, settings)
    if body.startswith(TIFF):
        return _of_tiff(body, settings)
    raise UnsupportedBody(
        "Send pictures as the files 'images' of a form, as a zip or uncompressed tar archive, or "
        "as a multi-page TIFF."
    )


class _ZipBody(BytesIO):
    """A zip archive that allows reads of at most `longest` bytes."""

    longest: float

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > self.longest:
            raise TooManyHeaders
        return super().read(size)


def _of_zip(body: bytes, settings: Settings) -> Iterator[Picture]:
    file = _ZipBody(body)
    file.longest = ZIP_DIRECTORY * settings.max_batch  # zipfile reads the directory in one go
    try:
        archive = zipfile.ZipFile(file)
    except TooManyHeaders:
        raise _too_many(settings) from None
    except ZIP_ERRORS as error:
        raise DamagedArchive("The zip archive is damaged.") from error
    file.longest = math.inf
    entries = [
        i for i in archive.infolist() if not i.filename.endswith("/") and _chosen(i.filename)
    ]
    _check([entry.file_size for entry in entries], settings)
    return (
        Picture(entry.filename, partial(_open_in_zip, archive, entry, settings))
        for entry in entries
    )


def _open_in_zip(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, settings: Settings) -> Opened:
    _check_bytes(entry.file_size, settings)
    if entry.flag_bits & ENCRYPTED or entry.compress_type not in ZIP_WAYS:
        raise DamagedPicture(UNSUPPORTED)
    if entry.compress_size > COMPRESSED_WORST * entry.file_size + COMPRESSED_NOTHING:
        raise DamagedPicture(DAMAGED)
    try:
        with archive.open(entry) as file:
            # A limited read, in case more is compressed than the entry declares.
            content = file.read(entry.file_size)
    except ZIP_ERRORS as error:
        raise DamagedPicture(DAMAGED) from error
    return open_picture(content, settings.max_image_pixels)


def _of_tar(body: bytes, settings: Settings) -> Iterator[Picture]:
    headers = walk(Stream(BytesIO(body)), TAR_HEADERS * settings.max_batch)
    files = (header for header in headers if header.isfile() and _chosen(header.name))
    try:
        members = list(islice(files, settings.max_batch + 1))
    except TooManyHeaders:
        raise _too_many(settings) from None
    except tarfile.TarError as error:
        raise DamagedArchive("The tar archive is damaged.") from error
    _check([member.size for member in members], settings)
    return (
        Picture(member.name, partial(_open_in_tar, body, member, settings)) for member in members
    )


def _open_in_tar(body: bytes, member: tarfile.TarInfo, settings: Settings) -> Opened:
    _check_bytes(member.size, settings)
    if member.type == SPARSE:
        raise DamagedPicture(UNSUPPORTED)
    content = body[member.offset_data : member.offset_data + member.size]
    return open_picture(content, settings.max_image_pixels)


def _of_tiff(body: bytes, settings: Settings) -> Iterator[Picture]:
    open_page = open_pages(body, settings.max_image_pixels)
    return (
        Picture(f"page {page + 1}", partial(open_page, page))
        for page in range(_count_pages(body, settings))
    )


def _count_pages(body: bytes, settings: Settings) -> int:
    """Count pages by following their tag directories; Pillow would read every tag twice."""
    order: Literal["little", "big"] = "little" if body.startswith(b"II") else "big"
    places: set[int] = set()
    tags = 0
    place = int.from_bytes(body[4:8], order)
    while place and place not in places:  # Pillow also treats a cycle as the end
        places.add(place)
        length = TAG * int.from_bytes(body[place : place + 2], order)
        end = place + 2 + length
        if end + 4 > len(body):
            raise DamagedArchive("The TIFF is damaged.")
        tags += length
        if len(places) > settings.max_batch or tags > TIFF_TAGS * settings.max_batch:
            raise _too_many(settings)
        place = int.from_bytes(body[end : end + 4], order)
    return len(places)


def _chosen(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.name.startswith(".") and NOT_CHOSEN not in path.parts


def _check(sizes: list[int], settings: Settings) -> None:
    if not sizes:
        raise InvalidRequest("The archive contains no files.")
    if len(sizes) > settings.max_batch:
        raise _too_many(settings)
    # Files too large for a picture are refused one by one, without unpacking them.
    unpacked = sum(size for size in sizes if size <= settings.max_image_bytes)
    if unpacked > settings.max_batch_bytes:
        raise BodyTooLarge(
            f"The archive has {unpacked:,} bytes unpacked. "
            f"Send at most {settings.max_batch_bytes:,} at a time."
        )


def _too_many(settings: Settings) -> TooManyPictures:
    return TooManyPictures(
        f"The request has more than {settings.max_batch:,} pictures. Send fewer at a time."
    )


def _check_bytes(size: int, settings: Settings) -> None:
    if size > settings.max_image_bytes:
        raise PictureTooLarge(
            f"The picture has {size:,} bytes. Send one of at most {settings.max_image_bytes:,}."
        )
