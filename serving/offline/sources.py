"""Where pictures are: a folder, a glob, tar files, Parquet files, QMNIST's own; local or any URL.

A source is cut into shards: what one process reads in one go. A shard says where its pictures are
and holds none of them, so it can be sent to another process or another machine.
"""

import io
import math
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any, Protocol

import fsspec
import numpy as np
from fsspec.core import url_to_fs
from numpy.typing import NDArray

from serving.form import SIDE

BATCH = 1_000  # pictures that are read, and classified, at once
BUFFER = 1 << 20  # bytes
FILES = 2_000  # in a shard
ROWS = 10_000  # of an IDX file in a shard

DIGITS = frozenset("0123456789")
UNKNOWN = -1  # the label of a picture that has none

IMAGES, LABELS = "images-idx3-ubyte", "labels-idx2-int"  # how QMNIST's files end
ROOT = "QMNIST/raw"  # below a torchvision root
TEST10K = 10_000  # the digits of the official test file that were published first

TYPES: dict[bytes, np.dtype[Any]] = {b"\0\0\x08": np.dtype(np.uint8), b"\0\0\x0c": np.dtype(">i4")}

# As in WebDataset: the files of one sample have one name and differ in what follows the dot.
PICTURES = {"png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff"}
LABEL = "cls"


class SourceError(Exception):
    """The source cannot be read; the message says what is wrong with which part of it."""


@dataclass(frozen=True)
class Encoded:
    """Pictures in files' formats; in the place of one that cannot be read is what is wrong."""

    paths: list[str]
    contents: list[bytes | OSError]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Pixels:
    """Pictures in QMNIST's form: uint8 `[N, 28, 28]`, 255 is ink."""

    paths: list[str]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


Batch = Encoded | Pixels


class Shard(Protocol):
    """A part of a source."""

    @property
    def group(self) -> str:
        """What it is counted under: the source, a file's name, or `test10k`."""

    @property
    def weight(self) -> int:
        """How much of the source it is, compared with other shards."""

    def read(self) -> Iterator[Batch]:
        """Read it, in batches; at most `BATCH` pictures are in memory."""


@dataclass(frozen=True)
class Files:
    """Files of pictures; the folder that one lies in, if it is `0` to `9`, is its label."""

    group: str
    urls: tuple[str, ...]

    @property
    def weight(self) -> int:
        """How many there are."""
        return len(self.urls)

    def read(self) -> Iterator[Batch]:
        """Read them."""
        for start in range(0, len(self.urls), BATCH):
            urls = self.urls[start : start + BATCH]
            labels = [_label_of_folder(url) for url in urls]
            yield Encoded(list(urls), [_content(url) for url in urls], np.array(labels, np.int64))


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

    def read(self) -> Iterator[Batch]:
        """Give the row."""
        yield Encoded([self.url], [OSError(self.error)], np.array([UNKNOWN]))


@dataclass(frozen=True)
class Tar:
    """A tar file, whose samples are WebDataset's: `7.png`, and perhaps its label in `7.cls`."""

    url: str
    weight: int

    @property
    def group(self) -> str:
        """The file."""
        return self.url

    def read(self) -> Iterator[Batch]:
        """Read it from the beginning to the end, without looking back."""
        paths: list[str] = []
        contents: list[bytes | OSError] = []
        labels: list[int] = []
        for path, content, label in self._samples():
            paths.append(path)
            contents.append(content)
            labels.append(label)
            if len(paths) == BATCH:
                yield Encoded(paths, contents, np.array(labels, np.int64))
                paths, contents, labels = [], [], []
        if paths:
            yield Encoded(paths, contents, np.array(labels, np.int64))

    def _samples(self) -> Iterator[tuple[str, bytes | OSError, int]]:
        damage: list[Exception] = []
        for _, sample in groupby(self._members(damage), lambda member: _stem(member[0])):
            yield self._sample(list(sample))
        # What was read before is good; what is missing is one row.
        for error in damage:
            yield self.url, OSError(f"the tar file is damaged here: {error}"), UNKNOWN

    def _members(self, damage: list[Exception]) -> Iterator[tuple[str, bytes]]:
        try:
            with fsspec.open(self.url, "rb") as file, tarfile.open(fileobj=file, mode="r|*") as tar:
                for member in tar:
                    if (opened := tar.extractfile(member)) and not _is_hidden(member.name):
                        yield member.name, opened.read()
        except (tarfile.TarError, OSError, EOFError) as error:
            damage.append(error)

    def _sample(self, members: list[tuple[str, bytes]]) -> tuple[str, bytes | OSError, int]:
        by_kind = {_kind(name): (name, content) for name, content in members}
        pictures = (found for kind, found in by_kind.items() if kind in PICTURES)
        name, content = next(pictures, members[0])
        _, label = by_kind.get(LABEL, ("", b""))
        digit = label.strip()
        is_digit = len(digit) == 1 and digit.isdigit()
        return f"{self.url}/{name}", content, int(digit) if is_digit else UNKNOWN


@dataclass(frozen=True)
class RowGroup:
    """A row group of a Parquet file.

    Attributes:
        column: Of binary pictures, of structures with `bytes` in them (as Hugging Face keeps
            pictures), or of `fixed_size_binary[784]`, which are pixels.
        label_column: Of integers, if there is one.
    """

    url: str
    number: int
    start: int
    weight: int
    column: str
    label_column: str | None

    @property
    def group(self) -> str:
        """The file."""
        return self.url

    def read(self) -> Iterator[Batch]:
        """Read it."""
        import pyarrow as pa  # noqa: PLC0415  an extra
        import pyarrow.parquet as pq  # noqa: PLC0415

        try:
            yield from self._batches(pa, pq)
        except (pa.ArrowException, OSError) as error:
            yield from Unreadable(self.url, f"the Parquet file is damaged here: {error}").read()

    def _batches(self, pa: Any, pq: Any) -> Iterator[Batch]:  # noqa: ANN401  they have no types
        columns = [self.column, *([self.label_column] if self.label_column else [])]
        # Without buffers of its own it reads a row group as a whole, which may be the whole file.
        options = {"buffer_size": BUFFER, "pre_buffer": False}
        with fsspec.open(self.url, "rb") as file, pq.ParquetFile(file, **options) as parquet:
            row = self.start
            for batch in parquet.iter_batches(BATCH, [self.number], columns):
                pictures = batch.column(self.column)
                labels = np.full(len(batch), UNKNOWN, np.int64)
                if self.label_column:
                    given = batch.column(self.label_column).fill_null(UNKNOWN)
                    labels = given.to_numpy(zero_copy_only=False).astype(np.int64)
                paths = [f"{self.url}#{i}" for i in range(row, row + len(batch))]
                row += len(batch)
                if pictures.type == pa.binary(SIDE * SIDE) and pictures.null_count == 0:
                    flat = np.frombuffer(pictures.buffers()[1], np.uint8)
                    first = pictures.offset * SIDE * SIDE
                    flat = flat[first : first + len(batch) * SIDE * SIDE]
                    yield Pixels(paths, flat.reshape(-1, SIDE, SIDE), labels)
                    continue
                if pa.types.is_struct(pictures.type):
                    pictures = pictures.field("bytes")
                empty = OSError("there is nothing in this row")
                contents = [empty if value is None else value for value in pictures.to_pylist()]
                yield Encoded(paths, contents, labels)


@dataclass(frozen=True)
class Idx:
    """Rows of one of QMNIST's files of pictures, with the labels beside it if there are any."""

    group: str
    url: str
    start: int
    stop: int
    has_labels: bool

    @property
    def weight(self) -> int:
        """How many rows."""
        return self.stop - self.start

    def read(self) -> Iterator[Batch]:
        """Read them."""
        images = _read_idx(self.url, self.start, self.stop)
        labels = np.full(len(images), UNKNOWN, np.int64)
        if self.has_labels:
            url = self.url.replace(IMAGES, LABELS)
            labels = _read_idx(url, self.start, self.stop)[:, 0].astype(np.int64)
        name = PurePosixPath(self.url).name
        for start in range(0, len(images), BATCH):
            part = images[start : start + BATCH]
            first = self.start + start
            paths = [f"{name}#{i}" for i in range(first, first + len(part))]
            yield Pixels(paths, part, labels[start : start + BATCH])


def find_shards(source: str, column: str | None = None) -> list[Shard]:
    """Cut a source into shards, always the same ones in the same order.

    Args:
        source: A folder, a glob, or a file; a path, or a URL that fsspec knows.
        column: Of Parquet files, the one with pictures; the only one of binary values if not given.

    Raises:
        SourceError: There is nothing, or a file is not what its name says.
    """
    filesystem, path = url_to_fs(source)
    if filesystem.isdir(path):
        below = f"{path.rstrip('/')}/{ROOT}"
        if filesystem.isdir(below):
            found = [p for p in filesystem.ls(below, detail=False) if p.endswith(f"test-{IMAGES}")]
        else:
            found = filesystem.find(path)
    else:
        found = filesystem.glob(path)
    as_url = str if _is_local(filesystem) else filesystem.unstrip_protocol
    urls = [as_url(name) for name in sorted(found) if not _is_hidden(name)]
    if not urls:
        raise SourceError(f"there are no files at {source}")
    shards: list[Shard] = []
    for kind, group in groupby(urls, _suffix):
        if kind == "tar":
            shards += [Tar(url, filesystem.size(url_to_fs(url)[1])) for url in group]
        elif kind == "parquet":
            for url in group:
                shards += _row_groups(url, column)
        elif kind == "idx":
            for url in group:
                shards += _idx_shards(url)
        else:
            files = tuple(group)
            starts = range(0, len(files), FILES)
            shards += [Files(source, files[start : start + FILES]) for start in starts]
    return shards


def _row_groups(url: str, column: str | None) -> Iterator[Shard]:
    try:
        import pyarrow as pa  # noqa: PLC0415  an extra
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        raise SourceError(f"Parquet files want qmnist-digits[offline] installed: {error}") from None
    try:
        with fsspec.open(url, "rb") as file, pq.ParquetFile(file) as parquet:
            schema, metadata = parquet.schema_arrow, parquet.metadata
    except (pa.ArrowException, OSError) as error:
        yield Unreadable(url, f"it is not a Parquet file: {error}")
        return
    binary = [field.name for field in schema if _holds_pictures(field.type)]
    if column is None and len(binary) != 1:
        raise SourceError(f"{url} has {len(binary)} columns of binary values; name one: --column")
    if column is not None and column not in binary:
        raise SourceError(f"{url} has no column {column!r} of binary values")
    integers = [field.name for field in schema if pa.types.is_integer(field.type)]
    label = next((name for name in integers if name in {"label", "labels", "digit"}), None)
    start = 0
    for number in range(metadata.num_row_groups):
        rows = metadata.row_group(number).num_rows
        yield RowGroup(url, number, start, rows, column or binary[0], label)
        start += rows


def _holds_pictures(kind: Any) -> bool:  # noqa: ANN401  a type of pyarrow's, which has no types
    import pyarrow as pa  # noqa: PLC0415  an extra

    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _idx_shards(url: str) -> Iterator[Shard]:
    shape = _idx_header(url)[1]
    if len(shape) != 3 or shape[1:] != (SIDE, SIDE):
        raise SourceError(f"{url} has no pictures of {SIDE} x {SIDE} pixels")
    labels = url.replace(IMAGES, LABELS)
    filesystem, path = url_to_fs(labels)
    has_labels = filesystem.exists(path)
    if has_labels and _idx_header(labels)[1][0] != shape[0]:
        raise SourceError(f"{labels} has not as many labels as there are pictures")
    for start in range(0, shape[0], ROWS):
        stop = min(start + ROWS, shape[0])
        yield Idx(_idx_group(url, start, shape[0]), url, start, stop, has_labels)


def _idx_group(url: str, start: int, total: int) -> str:
    """Name a part of QMNIST's official test file as its authors do."""
    if not url.endswith(f"test-{IMAGES}"):
        return PurePosixPath(url).name
    if total == 6 * TEST10K:
        return "test10k" if start < TEST10K else "test50k"
    return "test10k" if total == TEST10K else "test"


def _idx_header(url: str) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Read an IDX file's type, its shape, and where its elements begin."""
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
        raise SourceError(f"{url} is not a whole IDX file")
    return dtype, shape, first


def _read_idx(url: str, start: int, stop: int) -> NDArray[Any]:
    dtype, shape, begin = _idx_header(url)
    row = math.prod(shape[1:]) * dtype.itemsize
    with fsspec.open(url, "rb") as file:
        file.seek(begin + start * row)
        content = file.read((stop - start) * row)
    return np.frombuffer(content, dtype).reshape(stop - start, *shape[1:])


def _content(url: str) -> bytes | OSError:
    try:
        with _open(url) as file:
            content: bytes = file.read()
            return content
    except OSError as error:
        return error


def _open(url: str) -> Any:  # noqa: ANN401  a file of fsspec's
    # fsspec takes several times what opening a local file takes.
    return fsspec.open(url, "rb") if "://" in url else open(url, "rb", 0)  # noqa: PTH123


def _is_local(filesystem: Any) -> bool:  # noqa: ANN401  one of fsspec's
    known = filesystem.protocol
    return not {"file", "local"}.isdisjoint({known} if isinstance(known, str) else known)


def _suffix(url: str) -> str:
    if url.endswith(IMAGES):
        return "idx"
    return next((kind for kind in ("tar", "parquet") if url.lower().endswith(f".{kind}")), "")


def _kind(name: str) -> str:
    return PurePosixPath(name).name.partition(".")[2].lower()


def _stem(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(path.name.partition(".")[0]))


# What follows is done for each of perhaps millions of files; pathlib takes ten times as long.


def _is_hidden(name: str) -> bool:
    return name.rpartition("/")[2].startswith(".")


def _label_of_folder(url: str) -> int:
    folder = url.rpartition("/")[0].rpartition("/")[2]
    return int(folder) if folder in DIGITS else UNKNOWN


def names(shards: Sequence[Shard]) -> list[str]:
    """Describe shards, so that the same ones can be known again."""
    return [repr(shard) for shard in shards]
