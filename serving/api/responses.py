"""Responses to requests that are refused: in one shape, whatever was wrong."""

from serving.api.frame import request_id
from serving.api.http import Headers, Response, in_json
from serving.api.schemas import Error, ErrorDetail
from serving.errors import STATUS, Refusal, RequestError
from serving.telemetry import metrics

# The header that has an error's code, by which it is told from one of BentoML's.
ERROR_CODE = b"x-error-code"

# What can be done about an error here, by its code.
HINTS = {"several_digits": " POST it to /read, which reads them all."}


def describe(error: Refusal) -> ErrorDetail:
    """Say what was wrong, for programs and for people."""
    metrics.count_error(error.code)
    return {"code": error.code, "message": f"{error}{HINTS.get(error.code, '')}"}


def refuse(error: Refusal) -> Response:
    """Answer a request with what was wrong with it."""
    body: Error = {"error": {**describe(error), "request_id": request_id.get()}}
    return in_json(body, STATUS[error.code], headers_of(error))


def headers_of(error: Refusal) -> Headers:
    """Return the headers that an error is answered with."""
    more = error.headers if isinstance(error, RequestError) else {}
    headers = ((name.lower().encode(), value.encode()) for name, value in more.items())
    return [(ERROR_CODE, error.code.encode()), *headers]
