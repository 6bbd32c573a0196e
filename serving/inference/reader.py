"""Reads all digits in a picture: chooses the most likely of the candidates from `imaging`."""

import math
from dataclasses import dataclass

import numpy as np

from imaging import Candidate, View
from serving.inference.classifier import Classifier, Prediction

# The weight of the network's answer compared with size and place. With less, `touching` in
# `benchmarks/imaging.py` fails.
SURE = 6.0  # times the logarithm of the probability
LEAST_SURE = 0.03  # lower probabilities count as this
TYPICAL = 0.12  # times the typicality
LEAST, MOST = -6.0, 4.0  # the typicality is clipped to this range


@dataclass(frozen=True, eq=False)
class ReadDigit:
    """One digit that was read, and the view that it was read from."""

    prediction: Prediction
    view: View

    @property
    def likeness(self) -> float:
        """How likely it is a digit, as a logarithm."""
        typical = min(max(self.prediction.typicality, LEAST), MOST) - MOST
        return SURE * math.log(max(self.prediction.confidence, LEAST_SURE)) + TYPICAL * typical


def read(classifier: Classifier, lines: list[list[Candidate]]) -> list[list[ReadDigit]]:
    """Read the result of `imaging.look_for_all`, line by line from the top, from the left."""
    seen: dict[Candidate, ReadDigit] = {}
    ways = [_likeliest(line, seen) for line in lines]
    while unseen := [each for way in ways for each in way if each not in seen]:
        views = [each.look() for each in unseen if each.look is not None]
        predictions = classifier.predict(np.stack([view.pixels for view in views])).rows()
        seen |= zip(unseen, map(ReadDigit, predictions, views), strict=True)
        ways = [_likeliest(line, seen) for line in lines]
    return [[seen[each] for each in way] for way in ways]


def text(lines: list[list[ReadDigit]]) -> str:
    """Return the digits as text, one line per line of writing."""
    return "\n".join("".join(str(digit.prediction.digit) for digit in line) for line in lines)


def _likeliest(line: list[Candidate], seen: dict[Candidate, ReadDigit]) -> list[Candidate]:
    """Choose the most likely path through a line's pieces, each of which is read or left out.

    Candidates not yet classified count as perfect digits. So the path is final once all of it is
    classified, and candidates that cannot be on it are never classified.
    """
    best: dict[int, tuple[float, list[Candidate]]] = {0: (0.0, [])}
    for each in line:  # ordered by where they begin, from the left
        likelihood, way = best[each.first]
        likelihood -= each.cost
        if each in seen:
            likelihood += seen[each].likeness
        if each.last not in best or likelihood > best[each.last][0]:
            best[each.last] = likelihood, way if each.look is None else [*way, each]
    digits = (each for each in line if each.look is not None)
    return best[max(best)][1] or [min(digits, key=lambda each: each.cost)]
