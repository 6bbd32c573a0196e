"""Reads pictures in Parquet files."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np
from numpy.typing import NDArray

from imaging import SIDE
from serving.offline.shards import (
    BATCH,
    TRANSIENT,
    UNKNOWN,
    Pixels,
    Sample,
    Shard,
    SourceError,
    Unreadable,
)

BUFFER = 1 << 20  # bytes
AT_ONCE = 16  # encoded pictures, which may be large
EMPTY = "this row is empty"


@dataclass(frozen=True)
class RowGroup:
    """A row group of a Parquet file.

    Attributes:
        column: Encoded pictures, structs with a field `bytes` (Hugging Face's form), or pixels as
            `fixed_size_binary[784]`.
        label_column: Integers; `None` if there are no labels.
    """

    url: str
    number: int
    start: int
    weight: int
    column: str
    label_column: str | None

    @property
    def group(self) -> str:
        """The file's URL."""
        return self.url

    def read(self, largest: int) -> Iterator[Sample | Pixels]:  # noqa: ARG002  of `Shard`
        """Read the row group."""
        import pyarrow as pa  # noqa: PLC0415  an extra

        try:
            yield from self._pieces(pa)
        except TRANSIENT:
            raise
        except (pa.ArrowException, OSError) as error:
            yield Sample(self.url, OSError(f"the Parquet file is damaged here: {error}"))

    def _pieces(self, pa: Any) -> Iterator[Sample | Pixels]:  # noqa: ANN401  untyped
        import pyarrow.parquet as pq  # noqa: PLC0415

        columns = [self.column, *([self.label_column] if self.label_column else [])]
        # By default it reads a whole row group at once, which may be the whole file.
        options = {"buffer_size": BUFFER, "pre_buffer": False}
        with fsspec.open(self.url, "rb") as file, pq.ParquetFile(file, **options) as parquet:
            are_pixels = parquet.schema_arrow.field(self.column).type == pa.binary(SIDE * SIDE)
            row = self.start
            for batch in parquet.iter_batches(
                BATCH if are_pixels else AT_ONCE, [self.number], columns, use_threads=False
            ):
                paths = [f"{self.url}#{i}" for i in range(row, row + len(batch))]
                row += len(batch)
                pictures = batch.column(self.column)
                labels = np.full(len(batch), UNKNOWN, np.int64)
                if self.label_column:
                    given = batch.column(self.label_column).cast(pa.int64(), safe=False)
                    labels = given.fill_null(UNKNOWN).to_numpy(zero_copy_only=False)
                if are_pixels:
                    errors = {int(i): EMPTY for i in np.flatnonzero(pictures.is_null())}
                    yield Pixels(paths, _images(pictures), labels, errors)
                    continue
                if pa.types.is_struct(pictures.type):
                    pictures = pictures.field("bytes")
                for path, value, label in zip(paths, pictures.to_pylist(), labels, strict=True):
                    yield Sample(path, OSError(EMPTY) if value is None else value, int(label))


def _images(pictures: Any) -> NDArray[np.uint8]:  # noqa: ANN401  a pyarrow array
    """Return pixels without copying: uint8 `[N, 28, 28]`; null rows contain anything."""
    flat = np.frombuffer(pictures.buffers()[1], np.uint8)
    return flat.reshape(-1, SIDE, SIDE)[pictures.offset : pictures.offset + len(pictures)]


def row_groups(url: str, column: str | None) -> Iterator[Shard]:
    """Split a Parquet file into its row groups; an invalid file becomes `Unreadable`.

    Args:
        url: The file.
        column: The column with pictures; by default the only binary one.

    Raises:
        SourceError: The column is missing or ambiguous, or pyarrow is not installed.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415  an extra
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        raise SourceError(
            f"Parquet files need an extra: install qmnist-digits[offline] ({error})"
        ) from None
    try:
        with fsspec.open(url, "rb") as file, pq.ParquetFile(file) as parquet:
            schema, metadata = parquet.schema_arrow, parquet.metadata
    except TRANSIENT:
        raise
    except (pa.ArrowException, OSError) as error:
        yield Unreadable(url, f"it is not a Parquet file: {error}")
        return
    binary = [field.name for field in schema if _holds_pictures(field.type)]
    if column is None and len(binary) != 1:
        raise SourceError(f"{url} has {len(binary)} binary columns; choose one with --column")
    if column is not None and column not in binary:
        raise SourceError(f"{url} has no binary column {column!r}")
    integers = [field.name for field in schema if pa.types.is_integer(field.type)]
    label = next((name for name in integers if name in {"label", "labels", "digit"}), None)
    start = 0
    for number in range(metadata.num_row_groups):
        rows = metadata.row_group(number).num_rows
        yield RowGroup(url, number, start, rows, column or binary[0], label)
        start += rows


def _holds_pictures(kind: Any) -> bool:  # noqa: ANN401  a pyarrow type
    import pyarrow as pa  # noqa: PLC0415  an extra

    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _holds_pictures(kind.field(place).type)
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )
