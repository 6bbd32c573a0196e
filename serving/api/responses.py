"""Error responses, all in one shape."""

from serving.api.frame import request_id
from serving.api.http import Headers, Response, in_json
from serving.api.schemas import Error, ErrorDetail
from serving.errors import STATUS, Refusal, RequestError
from serving.telemetry import metrics

# The header with an error's code, which BentoML's own errors lack.
ERROR_CODE = b"x-error-code"

# What to do about an error, by its code.
HINTS = {"several_digits": " POST it to /read, which reads them all."}


def describe(error: Refusal) -> ErrorDetail:
    """Return an error's code and message, and count it."""
    metrics.count_error(error.code)
    return {"code": error.code, "message": f"{error}{HINTS.get(error.code, '')}"}


def refuse(error: Refusal) -> Response:
    """Return the response for an error."""
    body: Error = {"error": {**describe(error), "request_id": request_id.get()}}
    return in_json(body, STATUS[error.code], headers_of(error))


def headers_of(error: Refusal) -> Headers:
    """Return the headers of an error response."""
    more = error.headers if isinstance(error, RequestError) else {}
    headers = ((name.lower().encode(), value.encode()) for name, value in more.items())
    return [(ERROR_CODE, error.code.encode()), *headers]
