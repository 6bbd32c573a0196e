"""Comparisons of models that answered the same questions."""

from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of two models on the same digits.

    McNemar, Note on the sampling error of the difference between correlated proportions or
    percentages, 1947; here exact, by the binomial distribution.

    Attributes:
        first_only: How many digits the first model alone gets right.
        second_only: How many the second alone gets right.
    """

    first_only: int
    second_only: int

    @classmethod
    def of(cls, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> "McNemar":
        """Count where the two differ, from whether each answer is right, bool `[N]`."""
        return cls(int((first & ~second).sum()), int((second & ~first).sum()))

    @property
    def p_value(self) -> float:
        """How likely a difference as large would be if the two were equally good."""
        n = self.first_only + self.second_only
        fewer = min(self.first_only, self.second_only)
        fewer_still = sum(comb(n, k) for k in range(fewer + 1))
        return min(1.0, float(2 * fewer_still / 2**n))


def auroc(positive: NDArray[np.floating], negative: NDArray[np.floating]) -> float:
    """How likely a positive scores higher than a negative: the area under the ROC curve.

    By ranks, ties counting half (Mann and Whitney, 1947).
    """
    scores = np.concatenate([positive, negative])
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    n = len(positive)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * len(negative)))
