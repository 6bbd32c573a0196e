"""Pictures in tar files, as WebDataset has them.

https://github.com/webdataset/webdataset: the files of one sample follow each other, have one name,
and differ in what comes after its first dot.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath
from typing import IO

import fsspec

from serving.offline.shards import UNKNOWN, Sample

PICTURES = {"png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff"}
LABEL = "cls"

END = bytes(512)  # a tar file's last block


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
        for _, sample in groupby(members, lambda member: _stem(member[0])):
            yield self._sample(list(sample))
        # What was read before is good; what is missing is one row.
        for error in damage:
            yield Sample(self.url, OSError(f"the tar file is damaged here: {error}"))

    def _members(self, largest: int, damage: list[Exception]) -> Iterator[tuple[str, bytes]]:
        try:
            with fsspec.open(self.url, "rb") as file:
                watched = _Watched(file)
                # A stream is only read, whatever tarfile's types say.
                with tarfile.open(fileobj=watched, mode="r|") as tar:  # type: ignore[call-overload]
                    for member in tar:
                        if (opened := tar.extractfile(member)) and not is_hidden(member.name):
                            yield member.name, opened.read(largest + 1)
                # Python does not mind where the end is missing.
                if not watched.last.endswith(END):
                    raise tarfile.ReadError("unexpected end of data")
        except (tarfile.TarError, OSError, EOFError) as error:
            damage.append(error)

    def _sample(self, members: list[tuple[str, bytes]]) -> Sample:
        by_kind = {_kind(name): (name, content) for name, content in members}
        pictures = (found for kind, found in by_kind.items() if kind in PICTURES)
        name, content = next(pictures, members[0])
        _, label = by_kind.get(LABEL, ("", b""))
        digit = label.strip()
        is_digit = len(digit) == 1 and digit.isdigit()
        return Sample(f"{self.url}/{name}", content, int(digit) if is_digit else UNKNOWN)


class _Watched:
    """A file that is read, and what was read of it last."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.last = b""

    def read(self, size: int) -> bytes:
        content = self._file.read(size)
        self.last = content or self.last
        return content


def is_hidden(name: str) -> bool:
    """Whether a file is none of the source's, as `.DS_Store` is."""
    return name.rpartition("/")[2].startswith(".")


def _kind(name: str) -> str:
    return PurePosixPath(name).name.partition(".")[2].lower()


def _stem(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(path.name.partition(".")[0]))
