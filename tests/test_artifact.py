import numpy as np
import pytest

from artifact import REASONS, Acceptance, Reason

# Some of these are exact in float32, others are not.
THRESHOLDS = [0.5, 0.9, 0.95, 0.99, 0.8765432]
BELOW, AT, ABOVE = -1, 0, 1
EXPECTED = {
    (BELOW, BELOW): Reason.ATYPICAL,  # atypical takes precedence over unsure
    (AT, BELOW): Reason.ATYPICAL,
    (ABOVE, BELOW): Reason.ATYPICAL,
    (BELOW, AT): Reason.UNSURE,
    (BELOW, ABOVE): Reason.UNSURE,
    (AT, AT): None,
    (AT, ABOVE): None,
    (ABOVE, AT): None,
    (ABOVE, ABOVE): None,
}


def beside(threshold: float, side: int) -> np.float32:
    """Return the float32 value of a threshold, or the next one below or above."""
    own = np.float32(threshold)
    return own if side == AT else np.nextafter(own, np.float32(side * np.inf))


@pytest.mark.parametrize("confidence", THRESHOLDS)
@pytest.mark.parametrize("typicality", [*THRESHOLDS, 0.0, -0.7447724316015988, 3.1])
def test_at_and_around_the_thresholds_an_answer_has_its_reason_alone_and_among_others(
    confidence: float, typicality: float
) -> None:
    acceptance = Acceptance(confidence=confidence, typicality=typicality)
    confidences = np.array([beside(confidence, sure) for sure, _ in EXPECTED])
    typicalities = np.array([beside(typicality, typical) for _, typical in EXPECTED])
    reasons = list(EXPECTED.values())
    accepted = [reason is None for reason in reasons]
    assert [REASONS[grade] for grade in acceptance.grades(confidences, typicalities)] == reasons
    assert acceptance.accepts(confidences, typicalities).tolist() == accepted
    pairs = list(zip(confidences.tolist(), typicalities.tolist(), strict=True))
    assert [acceptance.reason(*pair) for pair in pairs] == reasons
    assert [acceptance.accepts(*pair) for pair in pairs] == accepted


def test_what_is_not_a_number_is_not_accepted() -> None:
    acceptance = Acceptance(confidence=0.9, typicality=0.0)
    nan = float("nan")
    pairs = [(nan, 1.0), (0.95, nan), (nan, nan)]
    expected = [Reason.UNSURE, Reason.ATYPICAL, Reason.ATYPICAL]
    assert [acceptance.reason(*pair) for pair in pairs] == expected
    confidences, typicalities = np.array(pairs, np.float32).T
    assert [REASONS[grade] for grade in acceptance.grades(confidences, typicalities)] == expected
    assert not acceptance.accepts(confidences, typicalities).any()
