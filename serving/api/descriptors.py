"""What BentoML, its client among it, knows of what goes in and out."""

from typing import Annotated, Any, ClassVar

import bentoml
from pydantic import RootModel, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from serving.api import http
from serving.api.http import in_json
from serving.api.responses import refuse
from serving.errors import Refusal


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
        sent = http.Request(request.scope, request.receive)
        pixels = await bentoml.get_current_service().read_pixels(sent)
        return ReadPixels.model_construct(requests=[pixels])


class ClassificationOutput(bentoml.IODescriptor, RootModel[dict[str, Any]]):
    """What `/classify` answers: `schemas.Classification`, whose references BentoML cannot read."""

    @classmethod
    async def to_http_response(cls, obj: Any, _serde: object) -> Response:  # noqa: ANN401
        """Send what `/classify` found, or what was wrong with the request."""
        (answer,) = obj  # one element of the batch for one request
        if isinstance(answer, http.Response):
            response = answer
        elif isinstance(answer, Refusal):
            response = refuse(answer)
        else:
            response = in_json(answer)
        headers = {name.decode(): value.decode() for name, value in response.headers}
        return Response(response.body, response.status, headers)
