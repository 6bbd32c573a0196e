"""Inputs and outputs as BentoML and its client see them."""

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
    """An HTTP request passed to an API unread."""

    request: Any


# A file's type in JSON schema: BentoML says "file", OpenAPI "string".
FilePart = Annotated[
    bytes,
    WithJsonSchema({"type": "file", "format": "image"}, mode="validation"),
    WithJsonSchema({"type": "string", "format": "binary"}, mode="serialization"),
]


class PictureInput(bentoml.IODescriptor):
    """One picture as a file, the model to use, and whether to explain the answer."""

    image: FilePart
    model: str | None = None
    explain: bool = False

    media_type: ClassVar[str | None] = "multipart/form-data"

    @classmethod
    async def from_http_request(cls, request: Request, _serde: object) -> bentoml.IODescriptor:
        """Leave the request unread: `serving.api.requests` reads it, with limits and no URLs."""
        return UnreadRequest.model_construct(request=request)


class PicturesInput(bentoml.IODescriptor):
    """Many pictures as files, and the model to use."""

    images: list[FilePart]
    model: str | None = None

    media_type: ClassVar[str | None] = "multipart/form-data"

    @classmethod
    async def from_http_request(cls, request: Request, _serde: object) -> bentoml.IODescriptor:
        """Leave the request unread, as `PictureInput` does."""
        return UnreadRequest.model_construct(request=request)


class ReadPixels(bentoml.IODescriptor):
    """One `/classify` request: one element of a batch."""

    requests: Any


class PixelsInput(bentoml.IODescriptor):
    """Pictures as pixels, 28 by 28 each, 255 is ink, and the model to use."""

    pixels: list[list[list[int]]]
    model: str | None = None

    media_type: ClassVar[str | None] = "application/json"

    @classmethod
    async def from_http_request(cls, request: Request, _serde: object) -> bentoml.IODescriptor:
        """Read the pixels within our limits; BentoML then batches them."""
        sent = http.Request(request.scope, request.receive)
        pixels = await bentoml.get_current_service().read_pixels(sent)
        return ReadPixels.model_construct(requests=[pixels])


class ClassificationOutput(bentoml.IODescriptor, RootModel[dict[str, Any]]):
    """A `schemas.Classification`, whose references BentoML cannot read."""

    @classmethod
    async def to_http_response(cls, obj: Any, _serde: object) -> Response:  # noqa: ANN401
        """Send the answer, or the error."""
        (answer,) = obj  # a request is one element of the batch
        if isinstance(answer, http.Response):
            response = answer
        elif isinstance(answer, Refusal):
            response = refuse(answer)
        else:
            response = in_json(answer)
        headers = {name.decode(): value.decode() for name, value in response.headers}
        return Response(response.body, response.status, headers)
