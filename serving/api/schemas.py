"""The types of the answers, from which their JSON schemas are made."""

from typing import Annotated, Any, NotRequired

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, GetPydanticSchema
from typing_extensions import TypedDict  # pydantic accepts Python's own only from 3.12

from artifact import Card, Reason
from imaging import Polarity
from serving.settings import Provider


def _in_json(kind: Any) -> GetPydanticSchema:  # noqa: ANN401  a type
    """Give the JSON schema of another type to a field."""
    return GetPydanticSchema(lambda _, schema_of: schema_of(kind))


Digit = Annotated[int, Field(ge=0, le=9)]
Probabilities = Annotated[
    list[float], Field(min_length=10, max_length=10, description="Of the digits 0 to 9.")
]
Box = Annotated[
    tuple[int, int, int, int],
    _in_json(Annotated[list[int], Field(min_length=4, max_length=4)]),
    Field(description="x, y, width and height, in pixels of the upright picture."),
]


class ByModel(TypedDict):
    """The model that answered."""

    model: Annotated[str, Field(description="The model's name.")]
    version: Annotated[str, Field(description="The model's version: its weights' fingerprint.")]


class Explanation(TypedDict):
    """How the picture became the network's input; the small pictures are PNG in base64."""

    decoded: Annotated[str, Field(description="The digit and its surroundings, as decoded.")]
    ink: Annotated[str, Field(description="All ink there, light on black, without the paper.")]
    strokes: Annotated[
        str, Field(description="The ink of the digit alone, without lines, edges and specks.")
    ]
    pixels: Annotated[str, Field(description="The network's 28 x 28 input.")]
    box: Box
    polarity: Polarity
    removed: Annotated[
        tuple[str, ...],
        Field(description="What was removed as not part of the digit: `lines`, `edges`, `specks`."),
    ]


class FoundDigit(TypedDict):
    """A digit, and how reliable the answer is."""

    digit: Digit
    confidence: Annotated[float, Field(description="The digit's probability, 0…1.")]
    typicality: Annotated[
        float,
        Field(
            description="How much the picture looks like a digit at all: an unbounded score, "
            "higher is more. The threshold is on the model's card."
        ),
    ]
    accepted: Annotated[
        bool | None,
        Field(
            description="Whether confidence and typicality reach the thresholds on the model's "
            "card; null if it has none."
        ),
    ]
    reason: Annotated[
        Reason | None,
        Field(
            description="Why it is not accepted: `unsure` if the confidence is too low, `atypical` "
            "if the typicality is, whatever the confidence; null otherwise."
        ),
    ]


class PredictedDigit(FoundDigit):
    """A digit, and the probability of each."""

    probabilities: Probabilities


class Prediction(PredictedDigit, ByModel):
    """The digit in a picture."""

    explanation: Annotated[NotRequired[Explanation], Field(description="Only if requested.")]


class ErrorDetail(TypedDict):
    """What was wrong with a picture or a request."""

    code: Annotated[str, Field(description="The kind of error, for programs.")]
    message: Annotated[str, Field(description="What was wrong and what to do, for people.")]


class NamedPrediction(PredictedDigit):
    """The digit in one of many pictures."""

    name: Annotated[str, Field(description="The name of the file or page.")]


class NamedError(TypedDict):
    """What was wrong with one of many pictures."""

    name: Annotated[str, Field(description="The name of the file or page.")]
    error: ErrorDetail


class Predictions(ByModel):
    """The digits in many pictures, in the order of the request."""

    predictions: list[NamedPrediction | NamedError]


class SeveralPredictions(TypedDict):
    """Several models' answers for one picture."""

    answers: list[Prediction]


class SeveralBatches(TypedDict):
    """Several models' answers for the same pictures."""

    answers: list[Predictions]


class Classification(ByModel):
    """The digits in N pictures sent as pixels."""

    digits: Annotated[NDArray[np.int64], _in_json(list[Digit])]
    confidences: Annotated[
        NDArray[np.float32],
        _in_json(list[float]),
        Field(description="Each digit's probability, 0…1."),
    ]
    typicalities: Annotated[
        NDArray[np.float32],
        _in_json(list[float]),
        Field(description="As in a single prediction."),
    ]
    accepted: Annotated[
        NDArray[np.bool_] | None,
        _in_json(list[bool] | None),
        Field(description="As in a single prediction."),
    ]
    reasons: Annotated[list[Reason | None] | None, Field(description="As in a single prediction.")]
    probabilities: Annotated[NDArray[np.float32], _in_json(list[Probabilities])]


class ReadDigit(FoundDigit):
    """One of several digits in a picture."""

    box: Box
    explanation: Annotated[NotRequired[Explanation], Field(description="Only if requested.")]


class Reading(ByModel):
    """The digits in a picture, in reading order."""

    text: Annotated[str, Field(description="The digits; each line of writing is a line.")]
    digits: list[ReadDigit]


class SeveralReadings(TypedDict):
    """Several models' readings of one picture."""

    answers: list[Reading]


class ServedModel(Card):
    """A model: where it runs, and its card."""

    model_config = ConfigDict(extra="allow")

    provider: Provider


class ModelList(TypedDict):
    """All models."""

    default: Annotated[str, Field(description="The model for requests that name none.")]
    models: Annotated[list[dict[str, Any]], _in_json(list[ServedModel])]


class RequestError(ErrorDetail):
    """What was wrong with a request."""

    request_id: Annotated[
        str, Field(description="The request's id, as in the header X-Request-ID and the log.")
    ]


class Error(TypedDict):
    """The body of every error response."""

    error: RequestError
