"""Writes rows to files: one part per shard, which appears only when it is complete.

An interrupted run continues with the shards that have no part yet.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import IO, Any

import numpy as np
import orjson
from fsspec.core import url_to_fs

from serving.offline.labelling import Rows
from serving.offline.shards import is_hidden

PLAN = "_plan.json"  # readers of Parquet folders ignore names with an underscore
HEAD = (
    *("path", "digit", "confidence", "typicality", "accepted", "reason", "error"),
    *(f"p{i}" for i in range(10)),
)


class ResultsError(Exception):
    """The results cannot be written; the message is the reason."""


class Format(StrEnum):
    """The file format of the results."""

    PARQUET = "parquet"
    CSV = "csv"


@dataclass(frozen=True)
class Results:
    """A folder of results: a path, or a URL that fsspec can open."""

    url: str
    format: Format

    def prepare(self, model: str, version: str, shards: list[str]) -> set[int]:
        """Make or reopen the folder; return the numbers of the shards already done.

        Raises:
            ResultsError: The folder has results of other pictures or another model, or other files.
        """
        if self.format is Format.PARQUET:
            _import_pyarrow()
        filesystem, path = url_to_fs(self.url)
        filesystem.makedirs(path, exist_ok=True)
        plan = {
            "model": model,
            "version": version,
            "format": self.format.value,
            "shards": len(shards),
            "sha256": sha256("\n".join(shards).encode()).hexdigest(),
        }
        place = f"{path}/{PLAN}"
        if filesystem.exists(place):
            if orjson.loads(filesystem.cat_file(place)) != plan:
                raise ResultsError(
                    f"{self.url} has results of other pictures, or of another model or format; "
                    "choose another folder"
                )
        elif any(not is_hidden(name) for name in filesystem.ls(path, detail=False)):
            raise ResultsError(f"{self.url} is not empty; choose another folder")
        else:
            unfinished = f"{path}/.{PLAN}"
            filesystem.pipe_file(unfinished, orjson.dumps(plan, option=orjson.OPT_INDENT_2))
            filesystem.mv(unfinished, place)
        parts = {name.rsplit("/", 1)[-1] for name in filesystem.ls(path, detail=False)}
        return {number for number in range(len(shards)) if self.part(number) in parts}

    def part(self, number: int) -> str:
        """Return the file name of a shard."""
        return f"part-{number:06}.{self.format}"

    def write(self, number: int, rows: Iterable[Rows]) -> None:
        """Write a shard's rows to its part, atomically."""
        with self._part(number) as file:
            write = _write_parquet if self.format is Format.PARQUET else _write_csv
            write(file, rows)

    @contextmanager
    def _part(self, number: int) -> Iterator[IO[bytes]]:
        filesystem, path = url_to_fs(self.url)
        unfinished = f"{path}/.{self.part(number)}"
        with filesystem.open(unfinished, "wb") as file:
            yield file
        filesystem.mv(unfinished, f"{path}/{self.part(number)}")


def _import_pyarrow() -> Any:  # noqa: ANN401  untyped
    try:
        import pyarrow as pa  # noqa: PLC0415  an extra
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError as error:
        raise ResultsError(
            f"Parquet needs an extra: install qmnist-digits[offline], or use --format csv ({error})"
        ) from None
    return pa


def _write_parquet(file: IO[bytes], parts: Iterable[Rows]) -> None:
    pa = _import_pyarrow()
    schema = pa.schema(
        {
            "path": pa.string(),
            "digit": pa.int8(),
            "confidence": pa.float32(),
            "typicality": pa.float32(),
            "accepted": pa.bool_(),
            "reason": pa.string(),
            "probabilities": pa.list_(pa.float32(), 10),
            "error": pa.string(),
        }
    )
    # Hardly any value occurs twice, so dictionaries would waste time and space.
    with pa.parquet.ParquetWriter(file, schema, use_dictionary=False) as writer:
        for rows in parts:
            wrong = np.zeros(len(rows.paths), bool)
            wrong[list(rows.errors)] = True
            mask = pa.array(wrong)
            found = rows.predictions
            probabilities = pa.FixedSizeListArray.from_arrays(
                found.probabilities.ravel(), 10, mask=mask
            )
            columns = [
                pa.array(rows.paths, pa.string()),
                pa.array(found.digits.astype(np.int8), mask=wrong),
                pa.array(found.confidences, mask=wrong),
                pa.array(found.typicality, mask=wrong),
                pa.nulls(len(wrong), pa.bool_())
                if found.accepted is None
                else pa.array(found.accepted, mask=wrong),
                pa.nulls(len(wrong), pa.string())
                if found.reasons is None
                else pa.array(found.reasons, pa.string(), mask=wrong),
                probabilities,
                pa.array([rows.errors.get(i) for i in range(len(wrong))], pa.string())
                if rows.errors
                else pa.nulls(len(wrong), pa.string()),
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))


def _write_csv(file: IO[bytes], parts: Iterable[Rows]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(HEAD)
    for rows in parts:
        for row, (path, found) in enumerate(zip(rows.paths, rows.predictions.rows(), strict=True)):
            if row in rows.errors:
                writer.writerow([path, *[""] * 5, rows.errors[row], *[""] * 10])
                continue
            numbers = (found.confidence, found.typicality, *found.probabilities)
            confidence, typicality, *probabilities = (f"{number:.6f}" for number in numbers)
            accepted = "" if found.accepted is None else str(found.accepted).lower()
            answer = [found.digit, confidence, typicality, accepted, found.reason]
            writer.writerow([path, *answer, "", *probabilities])
    text.detach()
