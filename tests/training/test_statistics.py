import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from training.statistics import McNemar, auroc


def test_mcnemar_is_the_binomial_test_of_where_two_differ() -> None:
    first = np.array([True] * 90 + [False] * 30 + [True] * 12)
    second = np.array([True] * 90 + [True] * 30 + [False] * 12)
    test = McNemar.of(first, second)
    assert (test.first_only, test.second_only) == (12, 30)
    # As R says of binom.test(12, 42).
    assert test.p_value == pytest.approx(0.007916, abs=1e-6)


@pytest.mark.parametrize(("a", "b"), [(0, 0), (5, 5), (1, 0)])
def test_no_evidence_is_a_p_value_of_one(a: int, b: int) -> None:
    assert McNemar(a, b).p_value == 1.0


def test_auroc_is_scikit_learns_also_with_ties() -> None:
    rng = np.random.default_rng(0)
    positive = rng.normal(1, 1, 500).round(1)
    negative = rng.normal(0, 1, 300).round(1)
    truth = np.r_[np.ones(500), np.zeros(300)]
    expected = roc_auc_score(truth, np.r_[positive, negative])
    assert auroc(positive, negative) == pytest.approx(expected)
