"""A shard's pictures become rows: the digit of each, or what is wrong with it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from serving.artifacts import Artifact
from serving.classifier import Classifier
from serving.errors import PictureTooLarge, RequestError
from serving.form import SIDE
from serving.imaging import look, open_picture
from serving.offline.sources import Batch, Pixels, Shard
from serving.settings import Provider

CLASSES = 10


@dataclass(frozen=True)
class Job:
    """What is done with every shard, model and all: it can be sent to another machine."""

    artifact: Artifact
    provider: Provider
    max_image_bytes: int
    max_image_pixels: int


@dataclass(frozen=True)
class Rows:
    """What was found in N pictures; where `errors` says what is wrong, the rest says nothing.

    Attributes:
        digits: int64 `[N]`.
        confidences: float32 `[N]`.
        probabilities: float32 `[N, 10]`.
        accepted: bool `[N]`; `None` where the model has no thresholds.
        errors: A sentence, by row.
    """

    paths: list[str]
    digits: NDArray[np.int64]
    confidences: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    accepted: NDArray[np.bool_] | None
    errors: dict[int, str]


@dataclass
class Count:
    """How a shard went.

    Attributes:
        confusion: int64 `[10, 10]`, of labelled pictures: rows are labels, columns what was found.
        seconds: In the model alone.
    """

    rows: int = 0
    errors: int = 0
    seconds: float = 0.0
    confusion: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((CLASSES, CLASSES), np.int64)
    )

    def add(self, other: "Count") -> None:
        """Count another shard, too."""
        self.rows += other.rows
        self.errors += other.errors
        self.seconds += other.seconds
        self.confusion += other.confusion


class Labeller:
    """Labels shards with one model, in one session."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._classifier = Classifier(job.artifact, job.provider)

    def label(self, shard: Shard, count: Count) -> Iterator[Rows]:
        """Read a shard and label it, batch by batch; what is counted goes into `count`."""
        for batch in shard.read():
            images, errors = self._images(batch)
            started = perf_counter()
            predictions = self._classifier.predict(images)
            count.seconds += perf_counter() - started
            rows = Rows(
                batch.paths,
                predictions.digits,
                predictions.confidences,
                predictions.probabilities,
                predictions.accepted,
                errors,
            )
            count.rows += len(rows.paths)
            count.errors += len(errors)
            labelled = (batch.labels >= 0) & (batch.labels < CLASSES)
            labelled[list(errors)] = False
            np.add.at(count.confusion, (batch.labels[labelled], rows.digits[labelled]), 1)
            yield rows

    def _images(self, batch: Batch) -> tuple[NDArray[np.uint8], dict[int, str]]:
        if isinstance(batch, Pixels):
            return batch.images, {}
        images = np.zeros((len(batch.paths), SIDE, SIDE), np.uint8)
        errors = {}
        for row, content in enumerate(batch.contents):
            try:
                images[row] = self._look(content)
            except RequestError as error:
                errors[row] = str(error)
            except OSError as error:
                errors[row] = f"It cannot be read: {error.strerror or error}"
        return images, errors

    def _look(self, content: bytes | OSError) -> NDArray[np.uint8]:
        if isinstance(content, OSError):
            raise content
        if len(content) > self._job.max_image_bytes:
            raise PictureTooLarge(
                f"The picture has {len(content):,} bytes; "
                f"at most {self._job.max_image_bytes:,} are read."
            )
        return look(open_picture(content, self._job.max_image_pixels)).pixels
