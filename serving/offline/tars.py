"""Reads pictures in tar files, in WebDataset's layout.

The files of a sample follow each other and share their name up to the first dot
(https://github.com/webdataset/webdataset).
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TypeAlias

import fsspec

from serving.offline.shards import TRANSIENT, UNKNOWN, Sample, is_hidden
from serving.tar_headers import SPARSE, Stream, walk

PICTURES = {"png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "heic", "heif", "avif"}
LABEL = "cls"

FILES = 16  # of one sample, held in memory together; more files form another sample

NO_FILE = "it is a link or something else that is not a file"
HAS_HOLES = "it is a sparse file, which is not supported"

Member: TypeAlias = tuple[str, bytes | Exception]


@dataclass(frozen=True)
class Tar:
    """A tar file with samples such as `7.png` and, optionally, its label in `7.cls`."""

    url: str
    weight: int

    @property
    def group(self) -> str:
        """The file's URL."""
        return self.url

    def read(self, largest: int) -> Iterator[Sample]:
        """Read the file in one pass."""
        damage: list[Exception] = []
        members = self._members(largest, damage)
        for _, group in groupby(members, lambda member: _stem(member[0])):
            while sample := list(islice(group, FILES)):
                yield from self._samples(sample)
        # Samples before the damage are good; the rest is one row with an error.
        for error in damage:
            yield Sample(self.url, OSError(f"the tar file is damaged here: {error}"))

    def _members(self, largest: int, damage: list[Exception]) -> Iterator[Member]:
        try:
            with fsspec.open(self.url, "rb") as file:
                stream = Stream(file)
                for member in walk(stream):
                    if not is_hidden(member.name) and not member.isdir():
                        yield member.name, _content(stream, member, largest)
        except TRANSIENT:
            raise
        except (tarfile.TarError, OSError) as error:
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


def _content(stream: Stream, member: tarfile.TarInfo, largest: int) -> bytes | Exception:
    if member.type == SPARSE:
        return OSError(HAS_HOLES)
    return stream.read(min(member.size, largest + 1)) if member.isfile() else OSError(NO_FILE)


def _kind(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _stem(name: str) -> tuple[str, str]:
    folder, _, file = name.rpartition("/")
    return folder, file.partition(".")[0]
