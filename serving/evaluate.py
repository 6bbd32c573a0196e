"""Offline evaluation of a model on labelled digits: QMNIST's test files, or a folder of pictures.

Only ONNX Runtime is needed, and the pictures go through `imaging` as a served one does.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.classifier import Classifier
from serving.errors import RequestError
from serving.imaging import look, open_picture

CLASSES = 10
BATCH = 1_000

RAW = Path("QMNIST", "raw")  # below a torchvision root
IMAGES_FILE = "qmnist-test-images-idx3-ubyte"
LABELS_FILE = "qmnist-test-labels-idx2-int"
TEST10K = 10_000

# How an IDX file begins, by the type of its elements.
IDX_TYPES: dict[bytes, np.dtype[Any]] = {
    b"\0\0\x08": np.dtype(np.uint8),
    b"\0\0\x0c": np.dtype(">i4"),
}

# pixels, uint8 [N, 28, 28], and labels, int64 [N], N at most BATCH
Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]


class SourceError(Exception):
    """The labelled digits cannot be read; the message says what is wrong with which file."""


@dataclass(frozen=True)
class Source:
    """Labelled digits, by batch.

    Attributes:
        name: What they are called in a result.
        total: How many there are.
        batches: Gives them, once.
    """

    name: str
    total: int
    batches: Iterator[Batch]


@dataclass(frozen=True)
class Result:
    """How a model did on one source.

    Attributes:
        confusion: int64 `[10, 10]`, rows are the true digits, columns the predicted ones.
        seconds: In the model alone, for all of them.
    """

    model: str
    version: str
    source: str
    confusion: NDArray[np.int64]
    seconds: float

    @property
    def correct(self) -> int:
        """How many digits were right."""
        return int(np.trace(self.confusion))

    @property
    def total(self) -> int:
        """How many digits there were."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """The share that was right, 0…1."""
        return self.correct / self.total

    @property
    def images_per_second(self) -> float:
        """How fast the model was, reading the files not counted."""
        return self.total / self.seconds

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "model": self.model,
            "version": self.version,
            "source": self.source,
            "correct": self.correct,
            "total": self.total,
            "accuracy": self.accuracy,
            "images_per_second": self.images_per_second,
            "by_class": [
                {"digit": digit, "correct": int(row[digit]), "total": int(row.sum())}
                for digit, row in enumerate(self.confusion)
            ],
            "confusion": self.confusion.tolist(),
        }


def evaluate(
    classifier: Classifier, source: Source, advance: Callable[[int], None] = lambda _: None
) -> Result:
    """Classify a source's digits and count; `advance` is told how many are done, by batch."""
    confusion = np.zeros((CLASSES, CLASSES), np.int64)
    seconds = 0.0
    for images, labels in source.batches:
        start = perf_counter()
        digits = classifier.predict(images).digits
        seconds += perf_counter() - start
        np.add.at(confusion, (labels, digits), 1)
        advance(len(images))
    card = classifier.card
    return Result(card.name, card.version, source.name, confusion, seconds)


def open_sources(data: Path, max_pixels: int) -> list[Source]:
    """Find labelled digits below a folder: QMNIST's files, or pictures in folders `0` to `9`.

    The official test file is read as its authors name its parts: `test10k` and `test50k`.

    Raises:
        SourceError: There are none, or they are damaged.
    """
    raw = data / RAW
    if (raw / IMAGES_FILE).exists():
        return _qmnist(raw)
    if any((data / str(digit)).is_dir() for digit in range(CLASSES)):
        return [_pictures(data, max_pixels)]
    raise SourceError(
        f"{data} has neither {RAW / IMAGES_FILE} nor folders of pictures named 0 to 9"
    )


def _qmnist(raw: Path) -> list[Source]:
    images = _read_idx(raw / IMAGES_FILE)
    labels = _read_idx(raw / LABELS_FILE)
    if images.shape[1:] != (28, 28) or labels.ndim != 2 or len(labels) != len(images):
        raise SourceError(
            f"{raw}: pictures {list(images.shape)} do not go with labels {list(labels.shape)}"
        )
    classes = labels[:, 0].astype(np.int64)
    if len(classes) == 0 or classes.min() < 0 or classes.max() >= CLASSES:
        raise SourceError(f"{raw / LABELS_FILE} has labels that are not digits")
    if len(images) == 6 * TEST10K:
        return [
            _in_batches("test10k", images[:TEST10K], classes[:TEST10K]),
            _in_batches("test50k", images[TEST10K:], classes[TEST10K:]),
        ]
    name = "test10k" if len(images) == TEST10K else "test"
    return [_in_batches(name, images, classes)]


def _in_batches(name: str, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Source:
    starts = range(0, len(labels), BATCH)
    batches = ((images[i : i + BATCH], labels[i : i + BATCH]) for i in starts)
    return Source(name, len(labels), batches)


def _read_idx(path: Path) -> NDArray[Any]:
    """Read a file in the IDX format: a magic number of type and rank, the shape, the elements."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    try:
        dtype, rank = IDX_TYPES[content[:3]], content[3]
        shape = np.frombuffer(content, ">u4", rank, offset=4).astype(np.int64)
        elements: NDArray[Any] = np.frombuffer(content, dtype, offset=4 + 4 * rank).reshape(shape)
    except KeyError as error:
        raise SourceError(f"{path} is not an IDX file of bytes or integers") from error
    except (IndexError, ValueError) as error:
        raise SourceError(f"{path} is not a whole IDX file: {error}") from error
    return elements


def _pictures(data: Path, max_pixels: int) -> Source:
    files = [
        (path, digit)
        for digit in range(CLASSES)
        for path in sorted((data / str(digit)).glob("*"))
        if path.is_file() and not path.name.startswith(".")
    ]
    if not files:
        raise SourceError(f"the folders 0 to 9 of {data} have no files")

    def batches() -> Iterator[Batch]:
        for start in range(0, len(files), BATCH):
            chunk = files[start : start + BATCH]
            images = np.stack([_read_picture(path, max_pixels) for path, _ in chunk])
            yield images, np.array([digit for _, digit in chunk], np.int64)

    return Source(data.name, len(files), batches())


def _read_picture(path: Path, max_pixels: int) -> NDArray[np.uint8]:
    try:
        return look(open_picture(path.read_bytes(), max_pixels)).pixels
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    except RequestError as error:
        raise SourceError(f"{path}: {error}") from error
