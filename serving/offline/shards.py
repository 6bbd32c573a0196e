"""What a source is cut into.

A shard is what one process reads in one go. It says where its pictures are and holds none of them,
so it can be sent to another process or another machine.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

BATCH = 2_048  # pictures of 28 x 28 that are read, classified, and written together
UNKNOWN = -1  # the label of a picture that has none


# What is wrong only now. It is not a row's error: the same command is to try it again.
TRANSIENT = (TimeoutError, ConnectionError)


class SourceError(Exception):
    """The source cannot be read; the message says what is wrong with which part of it."""


class Sample(NamedTuple):
    """A picture in a file's format; in its place, if it cannot be read, what is wrong."""

    path: str
    content: bytes | Exception
    label: int = UNKNOWN


@dataclass(frozen=True)
class Pixels:
    """N pictures in QMNIST's form; where `errors` says what is wrong, the rest says nothing.

    Attributes:
        images: uint8 `[N, 28, 28]`, 255 is ink.
        labels: int64 `[N]`.
        errors: A sentence, by row.
    """

    paths: list[str]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    errors: dict[int, str] = field(default_factory=dict)


class Shard(Protocol):
    """A part of a source."""

    @property
    def group(self) -> str:
        """What it is counted under: the source, a file's name, or `test10k`."""

    @property
    def weight(self) -> int:
        """How much of the source it is, compared with other shards."""

    def read(self, largest: int) -> Iterator[Sample | Pixels]:
        """Read it; at most `BATCH` pictures of 28 x 28 at once, and a few of others.

        Raises:
            TimeoutError, ConnectionError: It can be tried again.

        Args:
            largest: Bytes of a sample; of one that has more, at least one more is read.
        """


@dataclass(frozen=True)
class Unreadable:
    """A file in which no picture can be found: one row, with what is wrong."""

    url: str
    error: str
    weight: int = 1

    @property
    def group(self) -> str:
        """The file."""
        return self.url

    def read(self, largest: int) -> Iterator[Sample]:  # noqa: ARG002  the protocol's
        """Give the row."""
        yield Sample(self.url, OSError(self.error))


def is_hidden(name: str) -> bool:
    """Whether a file is none of the source's, as `.DS_Store` is."""
    return name.rpartition("/")[2].startswith(".")
