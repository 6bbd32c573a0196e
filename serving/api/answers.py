"""Builds the answers: finds and classifies digits, and describes them for JSON."""

import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from io import BytesIO
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imaging import Opened, View, look, look_for_all
from serving.api import arrays, responses, schemas
from serving.api.archives import Picture
from serving.api.http import Response
from serving.errors import REFUSALS
from serving.inference import reader
from serving.inference.classifier import Classifier, Prediction, Predictions
from serving.telemetry import metrics, traces
from serving.telemetry.traces import RequestTrace
from serving.work import Allowance

DECIMALS = 6  # of probabilities and typicality

T = TypeVar("T")

Open = Callable[[], Opened]

# Returns several models' answers for one picture, in the models' order.
Answer = Callable[
    [Sequence[Classifier], Open, bool], list[schemas.Prediction] | list[schemas.Reading]
]


class Question(NamedTuple):
    """A request to classify pixels.

    Attributes:
        pixels: uint8 `[N, 28, 28]`, 255 is ink.
        in_rows: Whether the answer is a NumPy file of rows.
        traces: The request's traces, needed because one call answers several requests.
    """

    classifier: Classifier
    pixels: NDArray[np.uint8]
    in_rows: bool
    traces: Sequence[RequestTrace] = ()


def predict(
    classifiers: Sequence[Classifier], open_picture: Open, explain: bool
) -> list[schemas.Prediction]:
    """Return each model's answer for the one digit in a picture."""
    view = decode(open_picture, look)
    explanation = _explanation(view) if explain else None
    answers = []
    for classifier in classifiers:
        (digit,) = _digits(classifier, [view.pixels])
        answer: schemas.Prediction = {**digit, **_model(classifier)}  # type: ignore[typeddict-item]  # explanation is optional
        if explanation is not None:
            answer["explanation"] = explanation
        answers.append(answer)
    return answers


def predict_batch(
    classifiers: Sequence[Classifier], pictures: Iterable[Picture], allowance: Allowance
) -> list[schemas.Predictions]:
    """Return each model's answers for the digit in each picture, or the picture's error.

    Raises:
        AllowanceEnded: No client waits for the answer any more.
    """
    names: list[tuple[str, schemas.ErrorDetail | None]] = []
    pixels = []  # not the views, which hold the decoded pictures
    for picture in pictures:
        wrong = None
        try:
            pixels.append(decode(partial(allowance.open, picture.open), look).pixels)
        except REFUSALS as error:
            wrong = responses.describe(error)
        names.append((picture.name, wrong))
    answers: list[schemas.Predictions] = []
    for classifier in classifiers:
        digits = iter(_digits(classifier, pixels))
        predictions: list[schemas.NamedPrediction | schemas.NamedError] = [
            {"name": name, "error": wrong} if wrong else {"name": name, **next(digits)}
            for name, wrong in names
        ]
        answers.append({"predictions": predictions, **_model(classifier)})
    return answers


def read(
    classifiers: Sequence[Classifier], open_picture: Open, explain: bool
) -> list[schemas.Reading]:
    """Return each model's reading of all digits in a picture."""
    found = decode(open_picture, look_for_all)
    answers: list[schemas.Reading] = []
    for classifier in classifiers:
        lines = reader.read(classifier, found)
        digits = [digit for line in lines for digit in line]
        metrics.count_predictions(classifier.card.name, (digit.prediction for digit in digits))
        answers.append(
            {
                "text": reader.text(lines),
                "digits": [_read_digit(digit, explain) for digit in digits],
                **_model(classifier),
            }
        )
    return answers


def classify(questions: list[Question]) -> list[schemas.Classification | Response]:
    """Answer many pixel requests with one call per model and form of answer."""
    alike: dict[tuple[Classifier, bool], list[int]] = {}
    for place, question in enumerate(questions):
        alike.setdefault((question.classifier, question.in_rows), []).append(place)
    answers: dict[int, schemas.Classification | Response] = {}
    for (classifier, in_rows), places in alike.items():
        asked = [questions[place].pixels for place in places]
        traces.current.set([each for place in places for each in questions[place].traces])
        predictions = classifier.predict(np.concatenate(asked) if len(asked) > 1 else asked[0])
        metrics.count_many_predictions(classifier.card.name, predictions)
        part = (_rows if in_rows else _lists)(classifier, predictions)
        start = 0
        for place, pixels in zip(places, asked, strict=True):
            answers[place] = part(slice(start, start := start + len(pixels)))
    return [answers[place] for place in range(len(questions))]


def _lists(
    classifier: Classifier, predictions: Predictions
) -> Callable[[slice], schemas.Classification]:
    """Return a function that answers with a slice of the predictions, for JSON."""
    digits, accepted, reasons = predictions.digits, predictions.accepted, predictions.reasons
    confidences = predictions.confidences.round(DECIMALS)
    typicalities = predictions.typicality.round(DECIMALS)
    probabilities = predictions.probabilities.round(DECIMALS)
    return lambda own: {
        "digits": digits[own],
        "confidences": confidences[own],
        "typicalities": typicalities[own],
        "accepted": None if accepted is None else accepted[own],
        "reasons": None if reasons is None else reasons[own],
        "probabilities": probabilities[own],
        **_model(classifier),
    }


def _rows(classifier: Classifier, predictions: Predictions) -> Callable[[slice], Response]:
    """Return a function that answers with a slice of the predictions, as rows."""
    rows = arrays.rows_of(predictions)
    return lambda own: arrays.respond(rows[own], classifier.card)


def decode(open_picture: Open, find: Callable[[Opened], T]) -> T:
    """Open a picture and find what is on it; measure and trace the time."""
    started = time.perf_counter()
    found = find(open_picture())
    ended = time.perf_counter()
    metrics.count_decoding(ended - started)
    if traces.tracer is not None:
        traces.decoded(started, ended)
    return found


def _digits(
    classifier: Classifier, pixels: Sequence[NDArray[np.uint8]]
) -> list[schemas.PredictedDigit]:
    """Classify the pixels of some digits, and count the predictions."""
    if not pixels:
        return []
    found = classifier.predict(np.array(pixels))
    predictions = list(found.rows())
    metrics.count_predictions(classifier.card.name, predictions)
    # numpy rounds all at once in a fraction of the time of `round`.
    probabilities = found.probabilities.astype(np.float64).round(DECIMALS).tolist()
    return [
        {**_digit(prediction), "probabilities": row}
        for prediction, row in zip(predictions, probabilities, strict=True)
    ]


def _digit(prediction: Prediction) -> schemas.FoundDigit:
    return {
        "digit": prediction.digit,
        "confidence": round(prediction.confidence, DECIMALS),
        "typicality": round(prediction.typicality, DECIMALS),
        "accepted": prediction.accepted,
        "reason": prediction.reason,
    }


def _read_digit(digit: reader.ReadDigit, explain: bool) -> schemas.ReadDigit:
    answer: schemas.ReadDigit = {**_digit(digit.prediction), "box": digit.view.box}  # type: ignore[typeddict-item]  # as above
    if explain:
        answer["explanation"] = _explanation(digit.view)
    return answer


def _model(classifier: Classifier) -> schemas.ByModel:
    return {"model": classifier.card.name, "version": classifier.card.version}


def _explanation(view: View) -> schemas.Explanation:
    steps = view.steps()
    return {
        "decoded": _png(steps.decoded),
        "ink": _png(steps.ink),
        "strokes": _png(steps.strokes),
        "pixels": _png(view.pixels),
        "box": view.box,
        "polarity": view.polarity,
        "removed": view.removed,
    }


def _png(pixels: NDArray[np.uint8]) -> str:
    png = BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    return b64encode(png.getvalue()).decode("ascii")
