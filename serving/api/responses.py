"""HTTP responses: JSON, in one shape for every error."""

from typing import Any

import orjson
from starlette.responses import Response

from serving.api.frame import request_id
from serving.api.schemas import Error, ErrorDetail
from serving.errors import STATUS, Refusal, RequestError
from serving.telemetry import metrics

# The header that has an error's code, by which it is told from one of BentoML's.
ERROR_CODE = b"x-error-code"

# What can be done about an error here, by its code.
HINTS = {"several_digits": " POST it to /read, which reads them all."}


class JSON(Response):
    """A body of JSON; numpy's arrays are lists in it."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:  # noqa: ANN401  as in Starlette
        """Encode the body."""
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def describe(error: Refusal) -> ErrorDetail:
    """Say what was wrong, for programs and for people."""
    metrics.count_error(error.code)
    return {"code": error.code, "message": f"{error}{HINTS.get(error.code, '')}"}


def refuse(error: Refusal) -> JSON:
    """Answer a request with what was wrong with it."""
    body: Error = {"error": {**describe(error), "request_id": request_id.get()}}
    return JSON(body, STATUS[error.code], headers_of(error))


def headers_of(error: Refusal) -> dict[str, str]:
    """Return the headers that an error is answered with."""
    more = error.headers if isinstance(error, RequestError) else {}
    return {ERROR_CODE.decode(): error.code, **more}
