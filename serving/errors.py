"""Errors that a request can end with, each with an HTTP status and a message for the client.

Errors in pictures are `imaging.errors.PictureError`.

RequestError
├── InvalidRequest       400  malformed, or without a picture
├── Unauthorized         401  no API key, or an unknown one
├── Forbidden            403  not allowed by the configuration
├── NotFound             404  no such address
├── UnknownModel         404  no model of that name or version
├── MethodNotAllowed     405  the address does not accept the method
├── SlowRequest          408  the body did not arrive in time
├── BodyTooLarge         413  too many bytes in the request
├── TooManyPictures      413  too many pictures in one request
├── UnsupportedBody      415  a type of body that the endpoint does not accept
├── DamagedArchive       422  an archive that cannot be read
├── InternalError        500  a bug; the traceback is in the log
├── Overloaded           503  too many requests in flight, or shutting down
└── TookTooLong          504  the answer took too long
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, TypeAlias

from pydantic import ValidationError

from imaging.errors import PictureError


class RequestError(Exception):
    """Base of the errors; the message is for the client."""

    code: ClassVar[str]
    headers: Mapping[str, str] = MappingProxyType({})


class InvalidRequest(RequestError):
    """The request is malformed, or has no picture or too many."""

    code = "invalid_request"


class Unauthorized(RequestError):
    """The service requires an API key, and the request has none or an unknown one."""

    code = "unauthorized"
    headers = MappingProxyType({"WWW-Authenticate": "Bearer"})


class Forbidden(RequestError):
    """The service's configuration does not allow this."""

    code = "forbidden"


class NotFound(RequestError):
    """There is nothing at this address."""

    code = "not_found"


class UnknownModel(RequestError):
    """There is no model with this name, or not in this version."""

    code = "unknown_model"


class MethodNotAllowed(RequestError):
    """The address does not accept this method; `Allow` lists those it does, if known."""

    code = "method_not_allowed"

    def __init__(self, message: str, allow: str) -> None:
        super().__init__(message)
        self.headers = {"Allow": allow} if allow else {}


class SlowRequest(RequestError):
    """The request's body did not arrive in time."""

    code = "request_timeout"


class BodyTooLarge(RequestError):
    """The request has more bytes than the settings allow."""

    code = "body_too_large"


class TooManyPictures(RequestError):
    """The request has more pictures than the settings allow."""

    code = "too_many_images"


class UnsupportedBody(RequestError):
    """The endpoint does not accept a body of this type."""

    code = "unsupported_media_type"


class DamagedArchive(RequestError):
    """The body begins like a zip, tar or TIFF file but cannot be read as one."""

    code = "damaged_archive"


class InternalError(RequestError):
    """The service failed; its log has the details, under the request's id."""

    code = "internal_error"


class Overloaded(RequestError):
    """Too many requests are in flight, or the service is shutting down."""

    code = "overloaded"
    headers = MappingProxyType({"Retry-After": "1"})


class TookTooLong(RequestError):
    """The answer took too long."""

    code = "timeout"


# For annotations, and as the tuple that `except` needs.
Refusal: TypeAlias = RequestError | PictureError
REFUSALS = (RequestError, PictureError)

# HTTP status by error code.
STATUS = {
    "invalid_request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "unknown_model": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "body_too_large": 413,
    "image_too_large": 413,
    "too_many_images": 413,
    "not_an_image": 415,
    "unsupported_media_type": 415,
    "damaged_archive": 422,
    "damaged_image": 422,
    "no_digit": 422,
    "several_digits": 422,
    "internal_error": 500,
    "overloaded": 503,
    "timeout": 504,
}


def first_mistake(error: ValidationError) -> str:
    """Describe the first validation error and its place, without echoing the input."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]
