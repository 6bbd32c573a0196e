"""Iterates over the headers of a tar file in one pass, with bounded memory.

Python's tarfile keeps every header and recurses for each extension header, so 200 kB can make it
use gigabytes. This reads only each member's name, size and type.
"""

import math
import tarfile
from collections.abc import Iterator
from typing import IO

BLOCK = 512
END = bytes(BLOCK)  # the block after the last member
PIECE = 65_536  # bytes that are skipped at once

# The largest extension header, in bytes. macOS stores file attributes in them.
LONGEST = 1_000_000

# Escapes names that are not UTF-8, so that JSON and Parquet can hold them.
UTF_8 = ("utf-8", "backslashreplace")

SPARSE = tarfile.GNUTYPE_SPARSE
PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
NOT_WANTED = (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE)
WITHOUT_CONTENT = (
    *(tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE),
    *(tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE),
)

# The offsets in a sparse file's header, and in each block of its map, that flag another block.
IS_EXTENDED, IS_EXTENDED_AGAIN = 482, 504
SPARSE_RECORD = b"GNU.sparse."

# The pax records that are used, and what they set.
WANTED = {b"path": b"path", b"size": b"size", b"GNU.sparse.name": b"path"}


class TooManyHeaders(Exception):
    """The headers exceed the limit of bytes."""


class Stream:
    """A file that is read sequentially.

    Attributes:
        at: The number of bytes read so far.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.at = 0

    def read(self, size: int) -> bytes:
        """Read exactly `size` bytes, which a remote file may return in pieces.

        Raises:
            tarfile.ReadError: The file ends too early.
        """
        pieces = []
        while size:
            piece = self._file.read(size)
            if not piece:
                raise tarfile.ReadError("unexpected end of data")
            pieces.append(piece)
            size -= len(piece)
            self.at += len(piece)
        return b"".join(pieces)

    def skip_to(self, place: int) -> None:
        """Skip to a position.

        Raises:
            tarfile.ReadError: The file ends too early.
        """
        while self.at < place:
            self.read(min(PIECE, place - self.at))


class _Headers:
    def __init__(self, stream: Stream, most: float) -> None:
        self._stream, self._left = stream, most

    def read(self, size: int) -> bytes:
        if not 0 <= size <= LONGEST:
            raise tarfile.ReadError("a header is too long")
        self._left -= size
        if self._left < 0:
            raise TooManyHeaders
        return self._stream.read(size)


def walk(stream: Stream, most: float = math.inf) -> Iterator[tarfile.TarInfo]:
    """Yield each member, with `stream` at the start of its content.

    Sparse files, whose content is stored without its holes, have the type `SPARSE`.

    Args:
        stream: A tar file, at its start.
        most: The limit of header bytes.

    Raises:
        tarfile.TarError: The file is damaged, or ends too early.
        TooManyHeaders: The headers exceed the limit.
    """
    read = _Headers(stream, most).read
    extension: dict[bytes, bytes] = {}
    while (block := read(BLOCK)) != END:
        header = tarfile.TarInfo.frombuf(block, *UTF_8)
        if header.type == tarfile.GNUTYPE_LONGNAME:
            extension[b"path"] = read(header.size).partition(b"\0")[0]
        elif header.type in PAX:
            extension |= _wanted(read(header.size))
        elif header.type in NOT_WANTED:
            read(header.size)
        else:
            more = header.type == SPARSE and block[IS_EXTENDED]
            while more:
                more = read(BLOCK)[IS_EXTENDED_AGAIN]
            _describe(header, extension)
            extension = {}
            header.offset_data = stream.at
            yield header
            if header.type not in WITHOUT_CONTENT:
                stream.skip_to(header.offset_data + header.size)
        stream.skip_to(-(-stream.at // BLOCK) * BLOCK)
    if extension:
        raise tarfile.ReadError("unexpected end of data")


def _wanted(records: bytes) -> dict[bytes, bytes]:
    """Read a pax header; each record is `LENGTH KEYWORD=VALUE` and a newline."""
    wanted = {}
    at = 0
    while at < len(records):
        length = records[at : at + 8].partition(b" ")[0]
        end = at + _number(length)
        if end <= at + len(length) + 1 or records[end - 1 : end] != b"\n":
            raise tarfile.ReadError("a header is damaged")
        keyword, _, value = records[at + len(length) + 1 : end - 1].partition(b"=")
        if keyword in WANTED:
            wanted[WANTED[keyword]] = value
        if keyword.startswith(SPARSE_RECORD):
            wanted[SPARSE_RECORD] = value
        at = end
    return wanted


def _describe(header: tarfile.TarInfo, extension: dict[bytes, bytes]) -> None:
    if b"path" in extension:
        header.name = extension[b"path"].decode(*UTF_8)
    if b"size" in extension:
        header.size = _number(extension[b"size"])
    if SPARSE_RECORD in extension:
        header.type = SPARSE
    if header.size < 0:
        raise tarfile.ReadError("a header is damaged")


def _number(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 20:
        raise tarfile.ReadError("a header is damaged")
    return int(digits)
