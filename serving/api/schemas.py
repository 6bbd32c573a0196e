"""What goes in and what comes out over HTTP, as BentoML's client and Swagger page know it."""

from typing import Annotated, Any, ClassVar

import bentoml
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from artifact import Card
from imaging import Polarity
from serving.api.responses import JSON, refuse
from serving.errors import Refusal
from serving.settings import Provider


class UnreadRequest(bentoml.IODescriptor):
    """An HTTP request handed to an API as it came."""

    request: Any


# In JSON schema "file" is BentoML's word and "string" OpenAPI's.
FilePart = Annotated[
    bytes,
    WithJsonSchema({"type": "file", "format": "image"}, mode="validation"),
    WithJsonSchema({"type": "string", "format": "binary"}, mode="serialization"),
]


class PictureInput(bentoml.IODescriptor):
    """One picture, as a file, the model that is to answer, and whether to show what was seen."""

    image: FilePart
    model: str | None = None
    explain: bool = False

    media_type: ClassVar[str | None] = "multipart/form-data"

    @classmethod
    async def from_http_request(cls, request: Request, _serde: object) -> bentoml.IODescriptor:
        """Leave the request unread: `serving.api.requests` reads it, with limits and no URLs."""
        return UnreadRequest.model_construct(request=request)


class PicturesInput(bentoml.IODescriptor):
    """Many pictures, as files, and the model that is to answer."""

    images: list[FilePart]
    model: str | None = None

    media_type: ClassVar[str | None] = "multipart/form-data"

    @classmethod
    async def from_http_request(cls, request: Request, _serde: object) -> bentoml.IODescriptor:
        """Leave the request unread, as `PictureInput` does."""
        return UnreadRequest.model_construct(request=request)


class ReadPixels(bentoml.IODescriptor):
    """What `/classify` is asked by one request: one element of a batch."""

    requests: Any


class PixelsInput(bentoml.IODescriptor):
    """Pictures as pixels, 28 by 28 each, 255 is ink, and the model that is to answer."""

    pixels: list[list[list[int]]]
    model: str | None = None

    media_type: ClassVar[str | None] = "application/json"

    @classmethod
    async def from_http_request(cls, request: Request, _serde: object) -> bentoml.IODescriptor:
        """Read the pixels with limits of ours; BentoML batches them then."""
        pixels = await bentoml.get_current_service().read_pixels(request)
        return ReadPixels.model_construct(requests=[pixels])


BOX = Field(
    min_length=4,
    max_length=4,
    description="x, y, width and height, in the upright picture's pixels.",
)


class Explanation(BaseModel):
    """What was seen of a digit."""

    pixels: Annotated[
        str, Field(description="The 28 x 28 picture that the network got: PNG, in base64.")
    ]
    box: Annotated[list[int], BOX]
    polarity: Polarity
    removed: Annotated[
        list[str],
        Field(description="What was taken for no part of it: `lines`, `edges`, `specks`."),
    ]


class Prediction(BaseModel):
    """The digit in a picture."""

    digit: Annotated[int, Field(ge=0, le=9)]
    confidence: Annotated[float, Field(description="The digit's probability, 0…1.")]
    accepted: Annotated[
        bool | None,
        Field(
            description="Whether the answer is sure enough and the picture enough of a digit, by "
            "the thresholds on the model's card; null if it has none."
        ),
    ]
    probabilities: Annotated[
        list[float], Field(min_length=10, max_length=10, description="Of the digits 0 to 9.")
    ]
    model: Annotated[str, Field(description="The model that answered.")]
    version: Annotated[str, Field(description="The model's version: its weights' fingerprint.")]
    explanation: Annotated[Explanation | None, Field(description="If it was asked for.")] = None


class BatchError(BaseModel):
    """What was wrong with one of many pictures."""

    code: Annotated[str, Field(description="One word for programs.")]
    message: Annotated[str, Field(description="A sentence for people.")]


class BatchPrediction(BaseModel):
    """The digit in one of many pictures, or what was wrong with it."""

    name: Annotated[str, Field(description="The file's, or the page's.")]
    digit: Annotated[int | None, Field(ge=0, le=9)] = None
    confidence: Annotated[float | None, Field(description="As of a single prediction.")] = None
    accepted: Annotated[bool | None, Field(description="As of a single prediction.")] = None
    probabilities: Annotated[list[float] | None, Field(min_length=10, max_length=10)] = None
    error: Annotated[BatchError | None, Field(description="In place of the digit.")] = None


class Predictions(BaseModel):
    """The digits in many pictures, in the order in which they were sent."""

    predictions: list[BatchPrediction]
    model: Annotated[str, Field(description="The model that answered.")]
    version: Annotated[str, Field(description="The model's version: its weights' fingerprint.")]


class Classification(BaseModel):
    """The digits of N pictures that were sent as pixels."""

    digits: list[Annotated[int, Field(ge=0, le=9)]]
    confidences: Annotated[list[float], Field(description="Each digit's probability, 0…1.")]
    accepted: Annotated[list[bool] | None, Field(description="As of a single prediction.")]
    probabilities: Annotated[
        list[Annotated[list[float], Field(min_length=10, max_length=10)]],
        Field(description="Of the digits 0 to 9."),
    ]
    model: Annotated[str, Field(description="The model that answered.")]
    version: Annotated[str, Field(description="The model's version: its weights' fingerprint.")]


class ClassificationOutput(Classification, bentoml.IODescriptor):
    """A classification as BentoML sends it."""

    @classmethod
    async def to_http_response(cls, obj: Any, _serde: object) -> Response:  # noqa: ANN401
        """Send what `/classify` found, or what was wrong with the request."""
        (answer,) = obj  # one element of the batch for one request
        return refuse(answer) if isinstance(answer, Refusal) else JSON(answer)


class ReadDigit(BaseModel):
    """One of several digits in a picture."""

    digit: Annotated[int, Field(ge=0, le=9)]
    confidence: Annotated[float, Field(description="The digit's probability, 0…1.")]
    accepted: Annotated[bool | None, Field(description="As of a prediction.")]
    box: Annotated[list[int], BOX]
    explanation: Annotated[Explanation | None, Field(description="If it was asked for.")] = None


class Reading(BaseModel):
    """The digits in a picture, in reading order."""

    text: Annotated[str, Field(description="The digits; each line of writing is a line.")]
    digits: list[ReadDigit]
    model: Annotated[str, Field(description="The model that answered.")]
    version: Annotated[str, Field(description="The model's version: its weights' fingerprint.")]


class ServedModel(Card):
    """A model that is served: where it runs, and its card."""

    model_config = ConfigDict(extra="allow")

    provider: Provider


class ModelList(BaseModel):
    """The models that are served."""

    default: Annotated[str, Field(description="The model that answers when none is named.")]
    models: list[ServedModel]


class RequestError(BatchError):
    """What was wrong with a request."""

    request_id: Annotated[str, Field(description="Of the header X-Request-ID and the log.")]


class Error(BaseModel):
    """The body of every answer that is an error."""

    error: RequestError
