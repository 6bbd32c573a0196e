import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix
from torch import Tensor

from tests.training.conftest import drawn_digits
from training.evaluation import (
    Acceptance,
    Outputs,
    calibration_error,
    evaluate_splits,
    reliability,
)


def random_outputs(count: int) -> Outputs:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(10, 0.1), size=count).astype(np.float32)
    return Outputs(probabilities, rng.normal(size=count).astype(np.float32))


def test_evaluation_counts_as_scikit_learn_does() -> None:
    data, outputs = drawn_digits(2_500, seed=3), random_outputs(2_500)
    acceptance = Acceptance(confidence=0.9, typicality=0.1)
    asked: list[int] = []

    def predict(images: Tensor) -> Outputs:
        rows = slice(sum(asked), sum(asked) + len(images))
        asked.append(len(images))
        return Outputs(outputs.probabilities[rows], outputs.typicality[rows])

    result = evaluate_splits(predict, {"test": data}, acceptance)["test"]
    labels, predicted = data.labels.numpy(), outputs.probabilities.argmax(axis=1)
    assert np.array_equal(result.confusion, confusion_matrix(labels, predicted))
    assert result.correct == (labels == predicted).sum()
    assert result.total == 2_500

    described = result.to_json()
    accepted = (outputs.confidence >= 0.9) & (outputs.typicality >= 0.1)
    assert described["accuracy"] == result.correct / 2_500
    assert described["accepted"] == accepted.sum() > 0
    assert described["accepted_correct"] == (accepted & (labels == predicted)).sum()
    assert sum(c["errors"] for c in described["errors_by_class"]) == 2_500 - result.correct


def test_without_thresholds_nothing_is_said_of_acceptance() -> None:
    data, outputs = drawn_digits(100, seed=3), random_outputs(100)
    result = evaluate_splits(lambda _: outputs, {"test": data}, None)["test"]
    assert "accepted" not in result.to_json()


def error(confidence: list[float], right: list[bool], bins: int = 15) -> float:
    values: NDArray[np.float32] = np.array(confidence, np.float32)
    return calibration_error(reliability(values, np.array(right), bins))


def test_calibration_error_of_a_worked_case() -> None:
    # Two bins of the fifteen: 0.4 to 0.4667 with confidence 0.45 and half right, and the last
    # with confidence 1.0 and all right; weights 2/4 each.
    worked = error([0.45, 0.45, 1.0, 1.0], [True, False, True, True])
    assert worked == pytest.approx(0.5 * 0.05 + 0.5 * 0, abs=1e-7)


def test_a_confidence_on_a_bins_edge_belongs_to_the_lower_bin() -> None:
    # In one bin the two would cancel out: (0.5 - 0) + (0.6 - 1) is not 0.5 and 0.4 apart.
    assert error([0.5, 0.6], [False, True], bins=2) == pytest.approx(0.45, abs=1e-7)
