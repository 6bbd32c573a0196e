"""Shards: the parts of a source, each read by one process in one go.

A shard describes where its pictures are but holds none of them, so it can be sent to another
process or machine.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

BATCH = 2_048  # pictures of 28 x 28 that are read, classified and written together
UNKNOWN = -1  # the label of a picture that has none


# Temporary errors: they end the run, which can be repeated, and are not recorded in rows.
TRANSIENT = (TimeoutError, ConnectionError)


class SourceError(Exception):
    """The source cannot be read; the message names the part and the problem."""


class Sample(NamedTuple):
    """An encoded picture, or the error if it cannot be read."""

    path: str
    content: bytes | Exception
    label: int = UNKNOWN


@dataclass(frozen=True)
class Pixels:
    """N pictures in QMNIST's form; the pixels of rows with an error are meaningless.

    Attributes:
        images: uint8 `[N, 28, 28]`, 255 is ink.
        labels: int64 `[N]`.
        errors: Messages, by row.
    """

    paths: list[str]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    errors: dict[int, str] = field(default_factory=dict)


class Shard(Protocol):
    """A part of a source."""

    @property
    def group(self) -> str:
        """The name its counts are grouped by: the source, a file, or `test10k`."""

    @property
    def weight(self) -> int:
        """Its size relative to other shards, for the progress bar."""

    def read(self, largest: int) -> Iterator[Sample | Pixels]:
        """Read the shard: up to `BATCH` pictures of 28 x 28 at a time, and a few larger ones.

        Args:
            largest: The largest sample in bytes; of larger ones, at least one byte more is read.

        Raises:
            TimeoutError, ConnectionError: A temporary error; try again.
        """


@dataclass(frozen=True)
class Unreadable:
    """A file without readable pictures: one row with an error."""

    url: str
    error: str
    weight: int = 1

    @property
    def group(self) -> str:
        """The file's URL."""
        return self.url

    def read(self, largest: int) -> Iterator[Sample]:  # noqa: ARG002  of `Shard`
        """Yield the row."""
        yield Sample(self.url, OSError(self.error))


def is_hidden(name: str) -> bool:
    """Whether to ignore a file, such as `.DS_Store`."""
    return name.rpartition("/")[2].startswith(".")
