"""The answers: their types, which are their JSON schemas, too."""

from typing import Annotated, Any, NotRequired

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, GetPydanticSchema
from typing_extensions import TypedDict  # pydantic takes Python's own from 3.12 on

from artifact import Card, Reason
from imaging import Polarity
from serving.settings import Provider


def _in_json(kind: Any) -> GetPydanticSchema:  # noqa: ANN401  a type
    """Say what something is in JSON, where that is another type."""
    return GetPydanticSchema(lambda _, schema_of: schema_of(kind))


Digit = Annotated[int, Field(ge=0, le=9)]
Probabilities = Annotated[
    list[float], Field(min_length=10, max_length=10, description="Of the digits 0 to 9.")
]
Box = Annotated[
    tuple[int, int, int, int],
    _in_json(Annotated[list[int], Field(min_length=4, max_length=4)]),
    Field(description="x, y, width and height, in the upright picture's pixels."),
]


class ByModel(TypedDict):
    """Which model answered."""

    model: Annotated[str, Field(description="The model that answered.")]
    version: Annotated[str, Field(description="The model's version: its weights' fingerprint.")]


class Explanation(TypedDict):
    """What was seen of a digit, in small pictures: PNG, in base64."""

    decoded: Annotated[str, Field(description="The digit and what is around it, as decoded.")]
    ink: Annotated[str, Field(description="The ink there, light on black, without the paper.")]
    strokes: Annotated[
        str, Field(description="Of that the digit's own, without lines, edges and specks.")
    ]
    pixels: Annotated[str, Field(description="The 28 x 28 picture that the network got.")]
    box: Box
    polarity: Polarity
    removed: Annotated[
        tuple[str, ...],
        Field(description="What was taken for no part of it: `lines`, `edges`, `specks`."),
    ]


class FoundDigit(TypedDict):
    """A digit, and how sure that is."""

    digit: Digit
    confidence: Annotated[float, Field(description="The digit's probability, 0…1.")]
    typicality: Annotated[
        float,
        Field(
            description="How much the picture looks like a digit at all: a score like a logit, "
            "higher is more. The threshold is on the model's card."
        ),
    ]
    accepted: Annotated[
        bool | None,
        Field(
            description="Whether the answer is sure enough and the picture enough of a digit, by "
            "the thresholds on the model's card; null if it has none."
        ),
    ]
    reason: Annotated[
        Reason | None,
        Field(
            description="Why it is not accepted: `unsure`, or `atypical` where the picture is not "
            "enough of a digit, however sure the answer; else null."
        ),
    ]


class PredictedDigit(FoundDigit):
    """A digit, and how probable each would have been."""

    probabilities: Probabilities


class Prediction(PredictedDigit, ByModel):
    """The digit in a picture."""

    explanation: Annotated[NotRequired[Explanation], Field(description="If it was asked for.")]


class ErrorDetail(TypedDict):
    """What was wrong with a picture or a request."""

    code: Annotated[str, Field(description="One word for programs.")]
    message: Annotated[str, Field(description="A sentence for people.")]


class NamedPrediction(PredictedDigit):
    """The digit in one of many pictures."""

    name: Annotated[str, Field(description="The file's, or the page's.")]


class NamedError(TypedDict):
    """What was wrong with one of many pictures."""

    name: Annotated[str, Field(description="The file's, or the page's.")]
    error: ErrorDetail


class Predictions(ByModel):
    """The digits in many pictures, in the order in which they were sent."""

    predictions: list[NamedPrediction | NamedError]


class SeveralPredictions(TypedDict):
    """What several models make of one picture."""

    answers: list[Prediction]


class SeveralBatches(TypedDict):
    """What several models make of the same pictures."""

    answers: list[Predictions]


class Classification(ByModel):
    """The digits of N pictures that were sent as pixels."""

    digits: Annotated[NDArray[np.int64], _in_json(list[Digit])]
    confidences: Annotated[
        NDArray[np.float32],
        _in_json(list[float]),
        Field(description="Each digit's probability, 0…1."),
    ]
    typicalities: Annotated[
        NDArray[np.float32],
        _in_json(list[float]),
        Field(description="As of a single prediction."),
    ]
    accepted: Annotated[
        NDArray[np.bool_] | None,
        _in_json(list[bool] | None),
        Field(description="As of a single prediction."),
    ]
    reasons: Annotated[list[Reason | None] | None, Field(description="As of a single prediction.")]
    probabilities: Annotated[NDArray[np.float32], _in_json(list[Probabilities])]


class ReadDigit(FoundDigit):
    """One of several digits in a picture."""

    box: Box
    explanation: Annotated[NotRequired[Explanation], Field(description="If it was asked for.")]


class Reading(ByModel):
    """The digits in a picture, in reading order."""

    text: Annotated[str, Field(description="The digits; each line of writing is a line.")]
    digits: list[ReadDigit]


class SeveralReadings(TypedDict):
    """How several models read one picture."""

    answers: list[Reading]


class ServedModel(Card):
    """A model that is served: where it runs, and its card."""

    model_config = ConfigDict(extra="allow")

    provider: Provider


class ModelList(TypedDict):
    """The models that are served."""

    default: Annotated[str, Field(description="The model that answers when none is named.")]
    models: Annotated[list[dict[str, Any]], _in_json(list[ServedModel])]


class RequestError(ErrorDetail):
    """What was wrong with a request."""

    request_id: Annotated[str, Field(description="Of the header X-Request-ID and the log.")]


class Error(TypedDict):
    """The body of every answer that is an error."""

    error: RequestError
