"""Turns a shard's pictures into rows: the digit of each, or its error."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from imaging import SIDE, look, open_picture
from imaging.errors import PictureError
from serving.inference.artifacts import Artifact
from serving.inference.classifier import Classifier, Predictions
from serving.offline.shards import BATCH, TRANSIENT, Pixels, Shard
from serving.settings import Provider

CLASSES = 10
REFUSED = CLASSES  # the column of `Count.confusion` for pictures that could not be read

# A file's path, the digit's pixels or an error, and the label.
Looked: TypeAlias = tuple[str, NDArray[np.uint8] | str, int]


@dataclass(frozen=True)
class Job:
    """What to do with every shard, model included; it can be sent to another machine."""

    artifact: Artifact
    provider: Provider
    max_image_bytes: int
    max_image_pixels: int


@dataclass(frozen=True)
class Rows:
    """The results for N pictures; the predictions of rows with an error are meaningless.

    Attributes:
        errors: Messages, by row.
    """

    paths: list[str]
    predictions: Predictions
    errors: dict[int, str]


@dataclass
class Count:
    """The counts of a shard.

    Attributes:
        confusion: int64 `[10, 11]`, for labelled pictures: rows are labels, columns are the digits
            found, or `REFUSED`.
        seconds: Time spent in the model.
    """

    rows: int = 0
    errors: int = 0
    seconds: float = 0.0
    confusion: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((CLASSES, CLASSES + 1), np.int64)
    )

    def add(self, other: "Count") -> None:
        """Add the counts of another shard."""
        self.rows += other.rows
        self.errors += other.errors
        self.seconds += other.seconds
        self.confusion += other.confusion


Item = TypeVar("Item")


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield items, making the next one in a thread meanwhile."""
    with ThreadPoolExecutor(1) as maker:
        making = maker.submit(next, items, None)
        while (item := making.result()) is not None:
            making = maker.submit(next, items, None)
            yield item


class Labeller:
    """Labels shards with one model, in one session."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._classifier = Classifier(job.artifact, job.provider)

    def label(self, shard: Shard, count: Count) -> Iterator[Rows]:
        """Read and label a shard, batch by batch, adding to `count`."""
        for batch in ahead(self._pixels(shard)):
            started = perf_counter()
            predictions = self._classifier.predict(batch.images)
            count.seconds += perf_counter() - started
            rows = Rows(
                [path if path.isascii() else _in_utf8(path) for path in batch.paths],
                predictions,
                batch.errors,
            )
            count.rows += len(rows.paths)
            count.errors += len(rows.errors)
            labelled = (batch.labels >= 0) & (batch.labels < CLASSES)
            found = predictions.digits.copy()
            found[list(rows.errors)] = REFUSED
            np.add.at(count.confusion, (batch.labels[labelled], found[labelled]), 1)
            yield rows

    def _pixels(self, shard: Shard) -> Iterator[Pixels]:
        """Read a shard; picture files are processed one by one, because they may be large."""
        looked: list[Looked] = []
        for piece in shard.read(self._job.max_image_bytes):
            if isinstance(piece, Pixels):
                yield piece
                continue
            looked.append((piece.path, self._look(piece.content), piece.label))
            if len(looked) == BATCH:
                yield _together(looked)
                looked = []
        if looked:
            yield _together(looked)

    def _look(self, content: bytes | Exception) -> NDArray[np.uint8] | str:
        if isinstance(content, TRANSIENT):
            raise content
        if isinstance(content, Exception):
            return f"It cannot be read: {getattr(content, 'strerror', None) or content}"
        if len(content) > self._job.max_image_bytes:
            return f"The picture has more than {self._job.max_image_bytes:,} bytes."
        try:
            return look(open_picture(content, self._job.max_image_pixels)).pixels
        except PictureError as error:
            return str(error)


def _in_utf8(path: str) -> str:
    """Escape the bytes of a file name that are not UTF-8."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _together(looked: list[Looked]) -> Pixels:
    paths, found, labels = zip(*looked, strict=True)
    images = np.zeros((len(paths), SIDE, SIDE), np.uint8)
    errors = {}
    for row, pixels in enumerate(found):
        if isinstance(pixels, str):
            errors[row] = pixels
        else:
            images[row] = pixels
    return Pixels(list(paths), images, np.array(labels, np.int64), errors)
