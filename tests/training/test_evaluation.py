import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss, confusion_matrix, log_loss, roc_auc_score
from torch import Tensor

from artifact import Acceptance
from tests.training.conftest import drawn_digits
from training.evaluation import (
    Outputs,
    auroc,
    brier_score,
    calibration_error,
    confidence_scores,
    evaluate_splits,
    fit_acceptance,
    fit_temperature,
    interval,
    negative_log_likelihood,
    reliability,
    without_temperature,
)
from training.recipes import CALIBRATION


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

    result = evaluate_splits(predict, {"test": data}, acceptance, 2.0)["test"]
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
    scores = confidence_scores(outputs.probabilities, labels)
    assert scores.items() < described.items()
    untempered = without_temperature(outputs.probabilities, 2.0)
    assert described["without_temperature"] == confidence_scores(untempered, labels) != scores


def test_where_nothing_was_fitted_nothing_is_said_of_it() -> None:
    data, outputs = drawn_digits(100, seed=3), random_outputs(100)
    result = evaluate_splits(lambda _: outputs, {"test": data}, None, 1.0)["test"]
    assert not {"accepted", "without_temperature"} & result.to_json().keys()


def test_likelihood_and_brier_score_are_scikit_learns() -> None:
    labels, outputs = drawn_digits(500, seed=3).labels.numpy(), random_outputs(500)
    exact = np.maximum(outputs.probabilities.astype(np.float64), 1e-6)
    exact /= exact.sum(axis=1, keepdims=True)
    probabilities = exact.astype(np.float32)
    expected = log_loss(labels, exact)
    assert negative_log_likelihood(probabilities, labels) == pytest.approx(expected, rel=1e-5)
    # scale_by_half=False gives Brier's original sum over all classes.
    expected = brier_score_loss(labels, exact, scale_by_half=False)
    assert brier_score(probabilities, labels) == pytest.approx(expected, rel=1e-5)


def test_a_likelihood_of_zero_is_not_infinite() -> None:
    sure = np.eye(10, dtype=np.float32)[[3]]
    assert 80 < negative_log_likelihood(sure, np.array([4])) < 100


def test_a_temperature_can_be_taken_back() -> None:
    logits, _ = overconfident(1_000, 2.0)
    tempered = (logits / 1.7).softmax(1).numpy()
    untempered = without_temperature(tempered, 1.7)
    np.testing.assert_allclose(untempered, logits.softmax(1).numpy(), atol=1e-6)


def error(confidence: list[float], right: list[bool], bins: int = 15) -> float:
    values: NDArray[np.float32] = np.array(confidence, np.float32)
    return calibration_error(reliability(values, np.array(right), bins))


def test_calibration_error_of_a_worked_case() -> None:
    # Two of the fifteen bins are used: 0.4 to 0.4667 (confidence 0.45, half right) and the last
    # (confidence 1.0, all right). Each has weight 2/4.
    worked = error([0.45, 0.45, 1.0, 1.0], [True, False, True, True])
    assert worked == pytest.approx(0.5 * 0.05 + 0.5 * 0, abs=1e-7)


def test_a_confidence_on_a_bins_edge_belongs_to_the_lower_bin() -> None:
    # In the same bin, the deviations 0.5 - 0 and 0.6 - 1 would nearly cancel out.
    assert error([0.5, 0.6], [False, True], bins=2) == pytest.approx(0.45, abs=1e-7)


def overconfident(count: int, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits times `temperature`, and labels drawn from the logits before that."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(count, 10, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    return temperature * logits, labels


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_the_temperature_of_known_logits_is_found(temperature: float) -> None:
    logits, labels = overconfident(20_000, temperature)
    found = fit_temperature(CALIBRATION, logits, labels, writers=torch.arange(20_000) // 20)
    assert found == pytest.approx(temperature, rel=0.03)


def test_a_temperature_that_does_not_help_on_other_writers_is_not_kept() -> None:
    logits, labels = overconfident(200, 1.0)
    found = fit_temperature(CALIBRATION, logits, labels, writers=torch.arange(200) // 20)
    assert found == 1.0


def test_the_thresholds_refuse_the_share_they_should() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(10, 0.05), size=10_000).astype(np.float32)
    outputs = Outputs(probabilities, rng.normal(size=10_000).astype(np.float32))
    acceptance = fit_acceptance(CALIBRATION, outputs)
    accepted = acceptance.accepts(outputs.confidence, outputs.typicality)
    sure = outputs.confidence >= acceptance.confidence
    assert sure.mean() == pytest.approx(1 - CALIBRATION.unsure, abs=1e-3)
    assert accepted.mean() == pytest.approx(1 - CALIBRATION.refused, abs=1e-3)


def test_the_interval_of_paired_differences_is_students() -> None:
    # 2.776 is the 97.5 % point for 4 degrees of freedom in Student's table.
    assert interval([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx((1.037, 4.963), abs=1e-3)


def test_auroc_is_scikit_learns_also_with_ties() -> None:
    rng = np.random.default_rng(0)
    positive = rng.normal(1, 1, 500).round(1)
    negative = rng.normal(0, 1, 300).round(1)
    truth = np.r_[np.ones(500), np.zeros(300)]
    expected = roc_auc_score(truth, np.r_[positive, negative])
    assert auroc(positive, negative) == pytest.approx(expected)
