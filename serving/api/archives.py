"""Takes the pictures out of one body that holds many: zip, tar, or a TIFF of many pages."""

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
ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the second is one with nothing in it
TAR, TAR_AT = b"ustar", 257
TAG = 12  # bytes, of a TIFF

# What a Mac adds to the files that one chose.
NOT_CHOSEN = "__MACOSX"

# Bytes that say where the pictures are, for each picture that is allowed. With folders, long names
# and what a Mac adds, half of it is much; without a limit, 50 MB of them take minutes to be read.
ZIP_DIRECTORY = 1_024
TAR_HEADERS = 4_096
TIFF_TAGS = 4_096

# What zip files are compressed with, unless one asks for something else. zipfile decompresses the
# other ways without limit: 4 kB of bzip2 are gigabytes.
ZIP_WAYS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 1  # of the flags

# What zipfile raises for what is damaged, wherever that is. It documents the first one.
ZIP_ERRORS = (
    zipfile.BadZipFile,
    EOFError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    zlib.error,
)

# How large a file may be compressed: so many times its size, and what one of no size has. All
# entries may have the same compressed bytes, and would have them gone through once for each.
COMPRESSED_WORST, COMPRESSED_NOTHING = 2, 1_000

DAMAGED = "The file is damaged in the archive."
UNSUPPORTED = (
    "The archive holds this file in a form that is not supported: encrypted, sparse, or not "
    "compressed with deflate."
)


@dataclass(frozen=True)
class Picture:
    """One of many pictures.

    Attributes:
        name: Its file's, or its page's.
        open: Opens it, once its turn has come; raises what is wrong with it.
    """

    name: str
    open: Callable[[], Opened]


def is_archive(body: bytes) -> bool:
    """Whether a body begins like a zip or tar archive."""
    return body.startswith(ZIP) or body[TAR_AT : TAR_AT + len(TAR)] == TAR


def unpack(body: bytes, settings: Settings) -> Iterator[Picture]:
    """Find the pictures in a body, in the order in which they are in it.

    Raises:
        UnsupportedBody: It is none of zip, tar and TIFF.
        DamagedArchive: It cannot be read.
        InvalidRequest: There is no file in it.
        TooManyPictures: There are more than allowed.
        BodyTooLarge: Unpacked it has more bytes than allowed.
    """
    if body.startswith(ZIP):
        return _of_zip(body, settings)
    if body[TAR_AT : TAR_AT + len(TAR)] == TAR:
        return _of_tar(body, settings)
    if body.startswith(TIFF):
        return _of_tiff(body, settings)
    raise UnsupportedBody(
        "Send pictures as the files 'images' of a form, or as a zip or (uncompressed) tar archive, "
        "or as a TIFF of many pages."
    )


class _ZipBody(BytesIO):
    """A zip archive, of which no more than `longest` bytes can be read at once."""

    longest: float

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > self.longest:
            raise TooManyHeaders
        return super().read(size)


def _of_zip(body: bytes, settings: Settings) -> Iterator[Picture]:
    file = _ZipBody(body)
    file.longest = ZIP_DIRECTORY * settings.max_batch  # zipfile reads the directory at once
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
            # It gives no more than it has announced, however much is compressed in it.
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
    """Go from each page's directory of tags to the next; Pillow would read every tag, twice."""
    order: Literal["little", "big"] = "little" if body.startswith(b"II") else "big"
    places: set[int] = set()
    tags = 0
    place = int.from_bytes(body[4:8], order)
    while place and place not in places:  # or it goes round, which Pillow takes for the end
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
        raise InvalidRequest("There is no file in the archive.")
    if len(sizes) > settings.max_batch:
        raise _too_many(settings)
    # What is too large for a picture is refused in its place, and not unpacked.
    unpacked = sum(size for size in sizes if size <= settings.max_image_bytes)
    if unpacked > settings.max_batch_bytes:
        raise BodyTooLarge(
            f"The archive has {unpacked:,} bytes unpacked; "
            f"at most {settings.max_batch_bytes:,} are taken."
        )


def _too_many(settings: Settings) -> TooManyPictures:
    return TooManyPictures(
        f"There are more pictures in the request than the {settings.max_batch:,} that are taken."
    )


def _check_bytes(size: int, settings: Settings) -> None:
    if size > settings.max_image_bytes:
        raise PictureTooLarge(
            f"The picture has {size:,} bytes; at most {settings.max_image_bytes:,} are read."
        )
