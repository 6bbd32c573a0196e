"""Reads all digits of a picture: what `imaging` finds, as it makes most sense to the classifier."""

import math
from dataclasses import dataclass

import numpy as np

from imaging import Candidates, View
from serving.inference.classifier import Classifier, Prediction

# By how much each more digit must make a reading likelier. What breaks without it: wide gaps, of
# `benchmarks/imaging.py`.
MORE = 4.0


@dataclass(frozen=True, eq=False)
class ReadDigit:
    """One digit that was read, and what of the picture it was read from."""

    prediction: Prediction
    view: View

    @property
    def likeness(self) -> float:
        """How sure the answer is, and how much of a digit it is of; the least of both counts."""
        return math.log(self.prediction.confidence) + min(self.prediction.typicality, 0.0)


def read(classifier: Classifier, lines: list[list[Candidates]]) -> list[list[ReadDigit]]:
    """Read what `imaging.look_for_all` found, line by line from the top, each from the left."""
    pieces = [piece for line in lines for piece in line]
    views = dict.fromkeys(view for piece in pieces for candidate in piece for view in candidate)
    predictions = classifier.predict(np.stack([view.pixels for view in views])).rows()
    seen = {view: ReadDigit(next(predictions), view) for view in views}
    return [[digit for piece in line for digit in _likeliest(piece, seen)] for line in lines]


def text(lines: list[list[ReadDigit]]) -> str:
    """Write the digits that were read, each line of writing as a line."""
    return "\n".join("".join(str(digit.prediction.digit) for digit in line) for line in lines)


def _likeliest(candidates: Candidates, seen: dict[View, ReadDigit]) -> list[ReadDigit]:
    """Choose digits that are all accepted, or else those that look most like digits."""
    readings = [[seen[view] for view in candidate] for candidate in candidates]

    def plausible(reading: list[ReadDigit]) -> tuple[bool, float]:
        accepted = all(digit.prediction.accepted for digit in reading)
        return accepted, min(digit.likeness for digit in reading) - MORE * len(reading)

    return max(readings, key=plausible)
