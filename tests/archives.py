"""Archives of every kind, and small reproducible damage to them."""

import io
import random
import tarfile
import zipfile
from collections.abc import Iterator

from tests.pictures import drawn

PICTURES = {f"{digit}.png": drawn.encode(drawn.on_paper(digit, side=50)) for digit in range(3)}
LONG = {"ä" * 60 + ".png": PICTURES["0.png"]}  # too long for a tar header's name field

# Values with a meaning of their own, to put in place of a number or a type.
SPECIAL = (
    *(b"\0\0\0\0", b"\xff\xff", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80"),
    *(b"x", b"g", b"L", b"K", b"S", b"7777777", b"\x80", b"PK\x01\x02", b"\x01\0\x10\0"),
)


def zipped(files: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", how) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(files: dict[str, bytes], how: int = tarfile.DEFAULT_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=how) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


TARS = {
    "ustar": tarred(PICTURES, tarfile.USTAR_FORMAT),
    "gnu": tarred(PICTURES | LONG, tarfile.GNU_FORMAT),
    "pax": tarred(PICTURES | LONG, tarfile.PAX_FORMAT),
}
ARCHIVES = {
    "stored": zipped(PICTURES | LONG, zipfile.ZIP_STORED),
    "deflated": zipped(PICTURES, zipfile.ZIP_DEFLATED),
    "bzip2": zipped(PICTURES, zipfile.ZIP_BZIP2),
    "lzma": zipped(PICTURES, zipfile.ZIP_LZMA),
    "tiff": drawn.encode_all([drawn.on_paper(digit, side=50) for digit in range(3)], "TIFF"),
    **TARS,
}


def mutations(body: bytes, count: int) -> Iterator[bytes]:
    """Yield copies of an archive, each damaged in a few places, most of them in its headers."""
    rng = random.Random(count)
    headers = _headers(body)
    for _ in range(count):
        damaged = bytearray(body)
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = min(rng.choice(headers), len(damaged) - 1)
            length = rng.choice((1, 4, 46, 512))
            change = rng.randrange(10)
            if change < 4:
                damaged[at] ^= 1 << rng.randrange(8)
            elif change < 8:
                special = rng.choice(SPECIAL)
                damaged[at : at + len(special)] = special
            elif change < 9:
                damaged[at : at + length] = b""
            else:
                damaged[at:at] = body[at : at + length]
        if rng.randrange(4):
            _correct_checksums(damaged)
        yield bytes(damaged[: rng.randrange(len(damaged))] if not rng.randrange(20) else damaged)


def _headers(body: bytes) -> list[int]:
    if body.startswith(b"PK"):
        directory = range(body.index(b"PK\x01\x02"), len(body))
        local = (at for at in range(len(body)) if body.startswith(b"PK\x03\x04", at))
        return [*directory, *(at + i for at in local for i in range(40))]
    if body.startswith(b"II"):
        return list(range(len(body)))
    blocks = [at for at in range(0, len(body), 512) if body[at : at + 512].strip(b"\0")]
    return [at + i for at in blocks if body[at + 257 : at + 262] == b"ustar" for i in range(512)]


def _correct_checksums(body: bytearray) -> None:
    """Recompute the checksums in a tar file's headers, so that readers accept the headers."""
    for at in range(0, len(body) - 511, 512):
        if body[at + 257 : at + 262] == b"ustar":
            body[at + 148 : at + 156] = b" " * 8
            body[at + 148 : at + 156] = b"%06o\0 " % sum(body[at : at + 512])
