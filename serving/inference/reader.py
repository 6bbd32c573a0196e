"""Reads all digits of a picture: what `imaging` finds, as it makes most sense to the classifier."""

import math
from dataclasses import dataclass

import numpy as np

from imaging import Candidate, View
from serving.inference.classifier import Classifier, Prediction

# What the network says of a digit counts so much beside its size and place. What breaks with less:
# touching, of `benchmarks/imaging.py`.
SURE = 6.0  # times the logarithm of the probability
LEAST_SURE = 0.03  # a probability below this counts as this
TYPICAL = 0.12  # times the typicality
LEAST, MOST = -6.0, 4.0  # a typicality outside of these counts as the nearer one


@dataclass(frozen=True, eq=False)
class ReadDigit:
    """One digit that was read, and what of the picture it was read from."""

    prediction: Prediction
    view: View

    @property
    def likeness(self) -> float:
        """How much it looks like a digit, as a logarithm."""
        typical = min(max(self.prediction.typicality, LEAST), MOST) - MOST
        return SURE * math.log(max(self.prediction.confidence, LEAST_SURE)) + TYPICAL * typical


def read(classifier: Classifier, lines: list[list[Candidate]]) -> list[list[ReadDigit]]:
    """Read what `imaging.look_for_all` found, line by line from the top, each from the left."""
    seen: dict[Candidate, ReadDigit] = {}
    ways = [_likeliest(line, seen) for line in lines]
    while unseen := [each for way in ways for each in way if each not in seen]:
        views = [each.look() for each in unseen if each.look is not None]
        predictions = classifier.predict(np.stack([view.pixels for view in views])).rows()
        seen |= zip(unseen, map(ReadDigit, predictions, views), strict=True)
        ways = [_likeliest(line, seen) for line in lines]
    return [[seen[each] for each in way] for way in ways]


def text(lines: list[list[ReadDigit]]) -> str:
    """Write the digits that were read, each line of writing as a line."""
    return "\n".join("".join(str(digit.prediction.digit) for digit in line) for line in lines)


def _likeliest(line: list[Candidate], seen: dict[Candidate, ReadDigit]) -> list[Candidate]:
    """Choose the likeliest way through a line's pieces, of which each is read or left out.

    What is not seen yet counts as if it were a perfect digit: so the likeliest way is found once
    all on it is seen, and what can be on none is never looked at.
    """
    best: dict[int, tuple[float, list[Candidate]]] = {0: (0.0, [])}
    for each in line:  # those that begin farther to the left come first
        likelihood, way = best[each.first]
        likelihood -= each.cost
        if each in seen:
            likelihood += seen[each].likeness
        if each.last not in best or likelihood > best[each.last][0]:
            best[each.last] = likelihood, way if each.look is None else [*way, each]
    digits = (each for each in line if each.look is not None)
    return best[max(best)][1] or [min(digits, key=lambda each: each.cost)]
