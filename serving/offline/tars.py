"""Pictures in tar files, as WebDataset has them.

https://github.com/webdataset/webdataset: the files of one sample follow each other, have one name,
and differ in what comes after its first dot.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath
from typing import Self, TypeAlias

import fsspec

from serving.offline.shards import TRANSIENT, UNKNOWN, Sample, is_hidden

PICTURES = {"png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff"}
LABEL = "cls"

END = bytes(512)  # the header of a tar file's end
NO_FILE = "it is a link, or another thing that is no file"

Member: TypeAlias = tuple[str, bytes | Exception]


@dataclass(frozen=True)
class Tar:
    """A tar file, with samples such as `7.png` and perhaps its label in `7.cls`."""

    url: str
    weight: int

    @property
    def group(self) -> str:
        """The file."""
        return self.url

    def read(self, largest: int) -> Iterator[Sample]:
        """Read it from the beginning to the end, without looking back."""
        damage: list[Exception] = []
        members = self._members(largest, damage)
        for _, group in groupby(members, lambda member: _stem(member[0])):
            yield from self._samples(list(group))
        # What was read before is good; what is missing is one row.
        for error in damage:
            yield Sample(self.url, OSError(f"the tar file is damaged here: {error}"))

    def _members(self, largest: int, damage: list[Exception]) -> Iterator[Member]:
        last = b""

        class Header(tarfile.TarInfo):
            """What is before each file, and, all zeros, at the tar file's end."""

            @classmethod
            def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
                nonlocal last
                last = bytes(buf)
                return super().frombuf(buf, encoding, errors)

        try:
            with (
                fsspec.open(self.url, "rb") as file,
                tarfile.open(fileobj=file, mode="r|", tarinfo=Header) as tar,
            ):
                for member in tar:
                    # Or it would keep all of them. (Its types do not know its own attribute.)
                    tar.members.clear()  # type: ignore[attr-defined]
                    if is_hidden(member.name) or member.isdir():
                        continue
                    opened = tar.extractfile(member) if member.isreg() else None
                    yield member.name, opened.read(largest + 1) if opened else OSError(NO_FILE)
            # tarfile takes a header that is damaged, or missing, for the end.
            if last != END:
                raise tarfile.ReadError("unexpected end of data")
        except TRANSIENT:
            raise
        except (tarfile.TarError, OSError, EOFError) as error:
            damage.append(error)

    def _samples(self, members: list[Member]) -> Iterator[Sample]:
        label = UNKNOWN
        for name, content in members:
            if _kind(name) == LABEL and isinstance(content, bytes):
                digit = content.strip()
                label = int(digit) if len(digit) == 1 and digit.isdigit() else UNKNOWN
        pictures = [member for member in members if _kind(member[0]) in PICTURES]
        for name, content in pictures or members[:1]:
            yield Sample(f"{self.url}/{name}", content, label)


def _kind(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _stem(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(path.name.partition(".")[0]))
