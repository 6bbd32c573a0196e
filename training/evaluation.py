"""Measures a model: its accuracy and its confidence, calibration, thresholds and intervals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

from artifact import Acceptance
from training.dataset import Digits
from training.networks import CLASSES, normalise
from training.recipes import CalibrationRecipe

BATCH = 1_000
BINS = 15


@dataclass
class History:
    """The course of a training so far: one entry per epoch, and the time it took."""

    losses: list[float] = field(default_factory=list)
    validation_accuracies: list[float] = field(default_factory=list)
    seconds: float = 0.0


@torch.inference_mode()
def accuracy(network: nn.Module, digits: Digits) -> float:
    """Return the share of digits that a network gets right, 0…1."""
    device = next(network.parameters()).device
    network.eval()
    logits = network(normalise(digits.images.to(device)))
    return int((logits.argmax(1).cpu() == digits.labels).sum()) / len(digits)


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


# Pictures, uint8 [N, 28, 28], to a model's outputs.
Predict = Callable[[Tensor], Outputs]


def predict_all(predict: Predict, images: Tensor) -> Outputs:
    """Run a model on many pictures, in batches."""
    batches = [predict(batch) for batch in images.split(BATCH)]
    return Outputs(
        np.concatenate([batch.probabilities for batch in batches]),
        np.concatenate([batch.typicality for batch in batches]),
    )


@dataclass(frozen=True)
class Evaluation:
    """A model's results on one split.

    Attributes:
        labels: int64 `[N]`.
        outputs: What the model returned.
        acceptance: The model's thresholds, if it has any.
        temperature: What its logits were divided by.
    """

    labels: NDArray[np.int64]
    outputs: Outputs
    acceptance: Acceptance | None
    temperature: float

    @property
    def right(self) -> NDArray[np.bool_]:
        """Tell for each answer whether it is right, bool `[N]`."""
        right: NDArray[np.bool_] = self.outputs.digits == self.labels
        return right

    @property
    def correct(self) -> int:
        """Return the number of digits that were right."""
        return int(self.right.sum())

    @property
    def total(self) -> int:
        """Return the number of digits."""
        return len(self.labels)

    @property
    def accuracy(self) -> float:
        """Return the share of digits that were right, 0…1."""
        return self.correct / self.total

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Return the counts of true classes (rows) and predicted ones, int64 `[10, 10]`."""
        return confusion(self.labels, self.outputs.digits)

    @property
    def reliability(self) -> list["Bin"]:
        """Return confidence and accuracy in 15 bins of equal width."""
        return reliability(self.outputs.confidence, self.right)

    def to_json(self) -> dict[str, Any]:
        """Return the values for the card."""
        confusion = self.confusion
        counts = confusion.sum(axis=1)
        errors = counts - confusion.diagonal()
        described: dict[str, Any] = {
            "correct": self.correct,
            "total": self.total,
            "accuracy": self.accuracy,
            **confidence_scores(self.outputs.probabilities, self.labels),
            "errors_by_class": [
                {"digit": digit, "errors": int(wrong), "total": int(count)}
                for digit, (wrong, count) in enumerate(zip(errors, counts, strict=True))
            ],
        }
        if self.acceptance is not None:
            accepted = self.acceptance.accepts(self.outputs.confidence, self.outputs.typicality)
            described["accepted"] = int(accepted.sum())
            described["accepted_correct"] = int((accepted & self.right).sum())
            untempered = without_temperature(self.outputs.probabilities, self.temperature)
            described["without_temperature"] = confidence_scores(untempered, self.labels)
        return described


def evaluate_splits(
    predict: Predict,
    splits: Mapping[str, Digits],
    acceptance: Acceptance | None,
    temperature: float,
) -> dict[str, Evaluation]:
    """Evaluate a model on several splits, by name."""
    return {
        name: Evaluation(
            digits.labels.numpy(), predict_all(predict, digits.images), acceptance, temperature
        )
        for name, digits in splits.items()
    }


def confusion(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count pairs of a true class (rows) and a predicted one (columns), int64 `[10, 10]`."""
    counts = np.zeros((CLASSES, CLASSES), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


@dataclass(frozen=True)
class Bin:
    """The answers whose confidence is in one range."""

    count: int
    confidence: float  # mean
    accuracy: float


def reliability(
    confidence: NDArray[np.float32], right: NDArray[np.bool_], bins: int = BINS
) -> list[Bin]:
    """Group answers by confidence into bins of equal width, which include their right edge.

    Args:
        confidence: The predicted class's probability, float32 `[N]`, 0…1.
        right: Whether that class was right, bool `[N]`.
        bins: The number of bins.
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
    """Return the mean distance between confidence and accuracy over all answers, 0…1.

    This is the expected calibration error of Guo et al., On Calibration of Modern Neural Networks,
    2017, equation 3.
    """
    total = sum(b.count for b in bins)
    return sum(b.count * abs(b.accuracy - b.confidence) for b in bins) / total


def negative_log_likelihood(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the negative logarithm of the labels' probabilities: the mean of N pictures, in nats.

    Args:
        probabilities: float32 `[N, 10]`.
        labels: int64 `[N]`.
    """
    of_label = probabilities[np.arange(len(labels)), labels]
    # 0 counts as the smallest number of float32; otherwise one picture would make this infinite.
    least = np.finfo(np.float32).tiny
    return float(-np.log(np.maximum(of_label, least), dtype=np.float64).mean())


def brier_score(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the squared distance of probabilities from 1 for the label and 0 for the rest, 0…2.

    It is summed over the classes and averaged over N pictures, as in Brier, Verification of
    forecasts expressed in terms of probability, 1950.

    Args:
        probabilities: float32 `[N, 10]`.
        labels: int64 `[N]`.
    """
    distances = probabilities - np.eye(CLASSES)[labels]
    return float((distances**2).sum(axis=1).mean())


def confidence_scores(
    probabilities: NDArray[np.float32], labels: NDArray[np.int64]
) -> dict[str, float]:
    """Return three measures of calibration; lower is better for each."""
    right: NDArray[np.bool_] = probabilities.argmax(axis=1) == labels
    return {
        "calibration_error": calibration_error(reliability(probabilities.max(axis=1), right)),
        "negative_log_likelihood": negative_log_likelihood(probabilities, labels),
        "brier_score": brier_score(probabilities, labels),
    }


def without_temperature(
    probabilities: NDArray[np.float32], temperature: float
) -> NDArray[np.float32]:
    """Return the probabilities that a model would give without its temperature.

    The softmax of its logits is the softmax of `temperature` times the logarithms of its
    probabilities.
    """
    tempered = probabilities.astype(np.float64) ** temperature
    untempered: NDArray[np.float32] = tempered / tempered.sum(axis=1, keepdims=True)
    return untempered.astype(np.float32)


def fit_temperature(
    recipe: CalibrationRecipe, logits: Tensor, labels: Tensor, writers: Tensor
) -> float:
    """Return the number to divide logits by, so that the probabilities are calibrated.

    The method is that of Guo et al., On Calibration of Modern Neural Networks, 2017. If cross-
    validation over the writers shows no better likelihood, the temperature is 1.

    Args:
        recipe: The number of folds for the cross-validation.
        logits: float32 `[N, 10]`, of validation digits.
        labels: int64 `[N]`.
        writers: int64 `[N]`.
    """
    _, fold_of_writer = writers.unique(return_inverse=True)
    folds = fold_of_writer % recipe.folds
    change = 0.0
    for fold in range(recipe.folds):
        held_out = folds == fold
        temperature = _likeliest_temperature(logits[~held_out], labels[~held_out])
        x, y = logits[held_out], labels[held_out]
        change += (
            F.cross_entropy(x / temperature, y, reduction="sum")
            - F.cross_entropy(x, y, reduction="sum")
        ).item()
    return _likeliest_temperature(logits, labels) if change < 0 else 1.0


def _likeliest_temperature(logits: Tensor, labels: Tensor) -> float:
    logarithm = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([logarithm], line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(logits / logarithm.exp(), labels)
        value.backward()
        return value

    optimizer.step(loss)
    return logarithm.exp().item()


def fit_acceptance(recipe: CalibrationRecipe, outputs: Outputs) -> Acceptance:
    """Set the thresholds so that they refuse fixed small shares of the validation digits.

    Args:
        recipe: Which shares.
        outputs: A model's outputs for validation digits.
    """
    confidence = float(np.quantile(outputs.confidence, recipe.unsure))
    sure: NDArray[np.bool_] = outputs.confidence >= confidence
    atypical = (recipe.refused - (1 - sure.mean())) / sure.mean()
    typicality = float(np.quantile(outputs.typicality[sure], atypical))
    return Acceptance(confidence=confidence, typicality=typicality)


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % confidence interval for the mean of paired differences, by Student's t.

    Student, The probable error of a mean, 1908.

    Args:
        differences: Of two pairs or more.
    """
    found = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    return float(found.low), float(found.high)


def auroc(positive: NDArray[np.floating], negative: NDArray[np.floating]) -> float:
    """Return the area under the ROC curve: how likely a positive scores higher than a negative.

    It is computed from ranks; ties count half (Mann and Whitney, 1947).
    """
    scores = np.concatenate([positive, negative])
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    n = len(positive)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * len(negative)))
