"""Reads all digits of a picture: what `imaging` finds, as it makes most sense to the classifier."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imaging import Candidates, View
from serving.inference.classifier import Classifier

# By how much each more digit must make a reading likelier. What breaks without it: wide gaps, of
# `benchmarks/imaging.py`.
MORE = 4.0


@dataclass(frozen=True, eq=False)
class ReadDigit:
    """One digit that was read, and what of the picture it was read from."""

    digit: int
    confidence: float
    typicality: float
    accepted: bool | None
    view: View

    @property
    def likeness(self) -> float:
        """How sure the answer is, and how much of a digit it is of; the least of both counts."""
        return float(np.log(self.confidence)) + min(self.typicality, 0.0)


def read(classifier: Classifier, lines: list[list[Candidates]]) -> list[list[ReadDigit]]:
    """Read what `imaging.look_for_all` found, line by line from the top, each from the left."""
    pieces = [piece for line in lines for piece in line]
    views = dict.fromkeys(view for piece in pieces for candidate in piece for view in candidate)
    seen = dict(_classify(classifier, list(views)))
    return [[digit for piece in line for digit in _likeliest(piece, seen)] for line in lines]


def _classify(classifier: Classifier, views: list[View]) -> Iterator[tuple[View, ReadDigit]]:
    predictions = classifier.predict(np.stack([view.pixels for view in views]))
    accepted = predictions.accepted
    for i, view in enumerate(views):
        yield (
            view,
            ReadDigit(
                digit=int(predictions.digits[i]),
                confidence=float(predictions.confidences[i]),
                typicality=float(predictions.typicality[i]),
                accepted=None if accepted is None else bool(accepted[i]),
                view=view,
            ),
        )


def _likeliest(candidates: Candidates, seen: dict[View, ReadDigit]) -> list[ReadDigit]:
    """Choose digits that are all accepted, or else those that look most like digits."""
    readings = [[seen[view] for view in candidate] for candidate in candidates]

    def plausible(reading: list[ReadDigit]) -> tuple[bool, float]:
        accepted = all(digit.accepted for digit in reading)
        return accepted, min(digit.likeness for digit in reading) - MORE * len(reading)

    return max(readings, key=plausible)
