"""Takes the pictures out of one body that holds many: zip, tar, or a TIFF of many pages."""

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import PurePosixPath

from PIL import Image

from serving.decoding import DECODE_ERRORS, Opened, check_size, open_image, open_picture
from serving.errors import (
    BodyTooLarge,
    DamagedArchive,
    DamagedPicture,
    InvalidRequest,
    PictureTooLarge,
    UnsupportedBody,
)
from serving.requests import check_count
from serving.settings import Settings

TIFF = (b"II*\0", b"MM\0*")
ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the second is one with nothing in it
TAR, TAR_AT = b"ustar", 257

# What a Mac packs beside the files that one chose.
NOT_CHOSEN = "__MACOSX"


@dataclass(frozen=True)
class Picture:
    """One of many pictures.

    Attributes:
        name: Its file's, or its page's.
        open: Opens it, once its turn has come; raises what is wrong with it.
    """

    name: str
    open: Callable[[], Opened]


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


def _of_zip(body: bytes, settings: Settings) -> Iterator[Picture]:
    try:
        archive = zipfile.ZipFile(BytesIO(body))
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise DamagedArchive("The zip archive is damaged.") from error
    entries = [i for i in archive.infolist() if not i.is_dir() and _chosen(i.filename)]
    _check([entry.file_size for entry in entries], settings)
    return (
        Picture(entry.filename, partial(_open_in_zip, archive, entry, settings))
        for entry in entries
    )


def _open_in_zip(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, settings: Settings) -> Opened:
    _check_bytes(entry.file_size, settings)
    try:
        with archive.open(entry) as file:
            # It gives no more than it has announced, however much is packed in it.
            content = file.read(entry.file_size)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise DamagedPicture("The file is damaged in the archive.") from error
    except (NotImplementedError, RuntimeError) as error:  # other compressions, and encryption
        raise DamagedPicture("The file is packed in a way that is not read.") from error
    return open_picture(content, settings.max_image_pixels)


def _of_tar(body: bytes, settings: Settings) -> Iterator[Picture]:
    try:
        archive = tarfile.open(fileobj=BytesIO(body), mode="r:")  # noqa: SIM115  it is in memory
        members = [m for m in archive.getmembers() if m.isfile() and _chosen(m.name)]
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        raise DamagedArchive("The tar archive is damaged.") from error
    _check([member.size for member in members], settings)
    return (
        Picture(member.name, partial(_open_in_tar, archive, member, settings)) for member in members
    )


def _open_in_tar(archive: tarfile.TarFile, member: tarfile.TarInfo, settings: Settings) -> Opened:
    _check_bytes(member.size, settings)
    file = archive.extractfile(member)
    try:
        content = file.read() if file is not None else b""
    except (tarfile.TarError, OSError) as error:
        raise DamagedPicture("The file is damaged in the archive.") from error
    return open_picture(content, settings.max_image_pixels)


def _of_tiff(body: bytes, settings: Settings) -> Iterator[Picture]:
    image = open_image(body, settings.max_image_pixels)
    try:
        pages = getattr(image, "n_frames", 1)
    except DECODE_ERRORS as error:
        raise DamagedArchive("The TIFF is damaged.") from error
    check_count(pages, settings.max_batch)
    return (
        Picture(f"page {page + 1}", partial(_turn_to, image, page, settings))
        for page in range(pages)
    )


def _turn_to(image: Image.Image, page: int, settings: Settings) -> Image.Image:
    try:
        image.seek(page)
    except DECODE_ERRORS as error:
        raise DamagedPicture("The page is damaged.") from error
    check_size(image, settings.max_image_pixels)
    return image


def _chosen(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.name.startswith(".") and NOT_CHOSEN not in path.parts


def _check(sizes: list[int], settings: Settings) -> None:
    if not sizes:
        raise InvalidRequest("There is no file in the archive.")
    check_count(len(sizes), settings.max_batch)
    if sum(sizes) > settings.max_batch_bytes:
        raise BodyTooLarge(
            f"The archive has {sum(sizes):,} bytes unpacked; "
            f"at most {settings.max_batch_bytes:,} are taken."
        )


def _check_bytes(size: int, settings: Settings) -> None:
    if size > settings.max_image_bytes:
        raise PictureTooLarge(
            f"The picture has {size:,} bytes; at most {settings.max_image_bytes:,} are read."
        )
