"""How right, and how sure, a model is on some digits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from training.dataset import Digits
from training.networks import CLASSES

BATCH = 1_000
BINS = 15


@dataclass(frozen=True)
class Outputs:
    """What a model returns for N pictures.

    Attributes:
        probabilities: float32 `[N, 10]`.
        typicality: float32 `[N]`.
    """

    probabilities: NDArray[np.float32]
    typicality: NDArray[np.float32]

    @property
    def digits(self) -> NDArray[np.int64]:
        """The likeliest digit, int64 `[N]`."""
        digits: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return digits

    @property
    def confidence(self) -> NDArray[np.float32]:
        """The likeliest digit's probability, float32 `[N]`."""
        confidence: NDArray[np.float32] = self.probabilities.max(axis=1)
        return confidence


@dataclass(frozen=True)
class Acceptance:
    """The thresholds at and above which an answer is accepted."""

    confidence: float
    typicality: float

    def accepts(self, outputs: Outputs) -> NDArray[np.bool_]:
        """Tell which answers are accepted, bool `[N]`."""
        return (outputs.confidence >= self.confidence) & (outputs.typicality >= self.typicality)


# uint8 [N, 28, 28] -> what a model returns
Predict = Callable[[Tensor], Outputs]


def predict_all(predict: Predict, images: Tensor) -> Outputs:
    """Ask a model about many pictures, in batches."""
    batches = [predict(batch) for batch in images.split(BATCH)]
    return Outputs(
        np.concatenate([batch.probabilities for batch in batches]),
        np.concatenate([batch.typicality for batch in batches]),
    )


@dataclass(frozen=True)
class Evaluation:
    """How a model did on one split.

    Attributes:
        labels: int64 `[N]`.
        outputs: What the model returned.
        acceptance: The model's thresholds, if it has any.
    """

    labels: NDArray[np.int64]
    outputs: Outputs
    acceptance: Acceptance | None

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each answer is right, bool `[N]`."""
        right: NDArray[np.bool_] = self.outputs.digits == self.labels
        return right

    @property
    def correct(self) -> int:
        """How many digits were right."""
        return int(self.right.sum())

    @property
    def total(self) -> int:
        """How many digits there were."""
        return len(self.labels)

    @property
    def accuracy(self) -> float:
        """The share that was right, 0…1."""
        return self.correct / self.total

    @property
    def confusion(self) -> NDArray[np.int64]:
        """int64 `[10, 10]`, rows are the true classes, columns the predicted ones."""
        confusion = np.zeros((CLASSES, CLASSES), np.int64)
        np.add.at(confusion, (self.labels, self.outputs.digits), 1)
        return confusion

    @property
    def reliability(self) -> list["Bin"]:
        """Confidence against accuracy, in 15 bins of equal width."""
        return reliability(self.outputs.confidence, self.right)

    def to_json(self) -> dict[str, Any]:
        """What the card says of it."""
        confusion = self.confusion
        counts = confusion.sum(axis=1)
        errors = counts - confusion.diagonal()
        described: dict[str, Any] = {
            "correct": self.correct,
            "total": self.total,
            "accuracy": self.accuracy,
            "calibration_error": calibration_error(self.reliability),
            "errors_by_class": [
                {"digit": digit, "errors": int(wrong), "total": int(count)}
                for digit, (wrong, count) in enumerate(zip(errors, counts, strict=True))
            ],
        }
        if self.acceptance is not None:
            accepted = self.acceptance.accepts(self.outputs)
            described["accepted"] = int(accepted.sum())
            described["accepted_correct"] = int((accepted & self.right).sum())
        return described


def evaluate_splits(
    predict: Predict, splits: Mapping[str, Digits], acceptance: Acceptance | None
) -> dict[str, Evaluation]:
    """Evaluate a model on several splits, by name."""
    return {
        name: Evaluation(digits.labels.numpy(), predict_all(predict, digits.images), acceptance)
        for name, digits in splits.items()
    }


@dataclass(frozen=True)
class Bin:
    """The answers whose confidence is in one range."""

    count: int
    confidence: float  # their mean
    accuracy: float


def reliability(
    confidence: NDArray[np.float32], right: NDArray[np.bool_], bins: int = BINS
) -> list[Bin]:
    """Sort answers by confidence into equally wide bins, open on the left, closed on the right.

    Args:
        confidence: The winning class's probability, float32 `[N]`, 0…1.
        right: Whether that class was the right one, bool `[N]`.
        bins: How many.
    """
    index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(index, minlength=bins)
    confidences = np.bincount(index, weights=confidence, minlength=bins)
    rights = np.bincount(index, weights=right, minlength=bins)
    return [
        Bin(int(n), float(c / n) if n else 0.0, float(r / n) if n else 0.0)
        for n, c, r in zip(counts, confidences, rights, strict=True)
    ]


def calibration_error(bins: list[Bin]) -> float:
    """How far confidence is from accuracy, on average over all answers, 0…1.

    The expected calibration error of Guo et al., On Calibration of Modern Neural Networks, 2017,
    equation 3.
    """
    total = sum(b.count for b in bins)
    return sum(b.count * abs(b.accuracy - b.confidence) for b in bins) / total
