"""Reads QMNIST's own IDX files, a format that http://yann.lecun.com/exdb/mnist/ described."""

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import fsspec
import numpy as np
from fsspec.core import url_to_fs
from numpy.typing import NDArray

from imaging import SIDE
from serving.offline.shards import BATCH, UNKNOWN, Pixels, Shard, SourceError

ROWS = 50_000  # per shard
IMAGES, LABELS = "images-idx3-ubyte", "labels-idx2-int"  # the endings of QMNIST's files
TEST10K = 10_000  # the first 10,000 digits of the official test file, published first

TYPES: dict[bytes, np.dtype[Any]] = {b"\0\0\x08": np.dtype(np.uint8), b"\0\0\x0c": np.dtype(">i4")}


@dataclass(frozen=True)
class Idx:
    """Rows of one of QMNIST's picture files, with labels if their file is next to it."""

    group: str
    url: str
    start: int
    stop: int
    has_labels: bool

    @property
    def weight(self) -> int:
        """The number of rows."""
        return self.stop - self.start

    def read(self, largest: int) -> Iterator[Pixels]:  # noqa: ARG002  of `Shard`
        """Read the rows."""
        name = PurePosixPath(self.url).name
        start = self.start
        images = _read_idx(self.url, self.start, self.stop)
        if self.has_labels:
            labels = _read_idx(self.url.replace(IMAGES, LABELS), self.start, self.stop)
        for batch in images:
            stop = start + len(batch)
            known = next(labels)[:, 0] if self.has_labels else np.full(len(batch), UNKNOWN)
            paths = [f"{name}#{i}" for i in range(start, stop)]
            yield Pixels(paths, batch, known.astype(np.int64))
            start = stop


def idx_shards(url: str) -> Iterator[Shard]:
    """Split one of QMNIST's picture files into shards of `ROWS` rows.

    Raises:
        SourceError: It, or the label file next to it, is invalid.
    """
    shape = _idx_header(url)[1]
    if len(shape) != 3 or shape[1:] != (SIDE, SIDE):
        raise SourceError(f"{url} has no pictures of {SIDE} x {SIDE} pixels")
    labels = url.replace(IMAGES, LABELS)
    filesystem, path = url_to_fs(labels)
    has_labels = filesystem.exists(path)
    if has_labels and _idx_header(labels)[1][0] != shape[0]:
        raise SourceError(f"{labels} does not have one label for each picture")
    for group, rows in _groups(url, shape[0]):
        for start in range(rows.start, rows.stop, ROWS):
            yield Idx(group, url, start, min(start + ROWS, rows.stop), has_labels)


def _groups(url: str, total: int) -> list[tuple[str, range]]:
    """Name the parts of a file; the official test file has two, test10k and test50k."""
    if not url.endswith(f"test-{IMAGES}"):
        return [(PurePosixPath(url).name, range(total))]
    if total == 6 * TEST10K:
        return [("test10k", range(TEST10K)), ("test50k", range(TEST10K, total))]
    return [("test10k" if total == TEST10K else "test", range(total))]


def _idx_header(url: str) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Return an IDX file's type, its shape, and the offset of its elements in bytes."""
    try:
        with fsspec.open(url, "rb") as file:
            begin = file.read(4)
            rank = begin[3]
            dtype = TYPES[begin[:3]]
            shape = tuple(map(int, np.frombuffer(file.read(4 * rank), ">u4", rank)))
            size = file.seek(0, io.SEEK_END)
    except OSError as error:
        raise SourceError(f"{url} cannot be read: {error}") from error
    except (IndexError, KeyError, ValueError) as error:
        raise SourceError(f"{url} is not an IDX file of bytes or integers") from error
    first = 4 + 4 * rank
    if size != first + math.prod(shape) * dtype.itemsize:
        raise SourceError(f"{url} is not a complete IDX file: its size does not match its header")
    return dtype, shape, first


def _read_idx(url: str, start: int, stop: int) -> Iterator[NDArray[Any]]:
    dtype, shape, begin = _idx_header(url)
    row = math.prod(shape[1:]) * dtype.itemsize
    with fsspec.open(url, "rb") as file:
        file.seek(begin + start * row)
        for first in range(start, stop, BATCH):
            count = min(BATCH, stop - first)
            yield np.frombuffer(file.read(count * row), dtype).reshape(count, *shape[1:])
