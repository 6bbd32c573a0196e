"""What a request can come to in place of an answer: an HTTP status and a sentence to act on.

What is wrong with a picture is `imaging.errors.PictureError`.

RequestError
├── InvalidRequest       400  not a request that this endpoint takes
├── Unauthorized         401  no API key, or one that is not known
├── Forbidden            403  not done for anyone, as the service is set up
├── NotFound             404  nothing is at that address
├── UnknownModel         404  no model has that name
├── MethodNotAllowed     405  the address takes another method
├── SlowRequest          408  the body did not arrive in time
├── BodyTooLarge         413  too many bytes in a request of many pictures
├── TooManyPictures      413  more pictures than one request may have
├── UnsupportedBody      415  a body of a type that the endpoint does not take
├── DamagedArchive       422  an archive that cannot be read
├── InternalError        500  our fault, with its traceback in the log
├── Overloaded           503  more requests at once than are taken on
└── TookTooLong          504  the answer was not found in time
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, TypeAlias

from pydantic import ValidationError

from imaging.errors import PictureError


class RequestError(Exception):
    """What was wrong; the message is a sentence for the client."""

    code: ClassVar[str]
    headers: Mapping[str, str] = MappingProxyType({})


class InvalidRequest(RequestError):
    """The request's form is wrong: no picture in it, or more than one."""

    code = "invalid_request"


class Unauthorized(RequestError):
    """The service wants an API key, and the request has none or another."""

    code = "unauthorized"
    headers = MappingProxyType({"WWW-Authenticate": "Bearer"})


class Forbidden(RequestError):
    """The service does that for nobody, as it is set up."""

    code = "forbidden"


class NotFound(RequestError):
    """There is nothing at that address."""

    code = "not_found"


class UnknownModel(RequestError):
    """There is no model of that name."""

    code = "unknown_model"


class MethodNotAllowed(RequestError):
    """The address does not take that method, but those in `allow`, if they are known."""

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
    """The endpoint takes no body of that type."""

    code = "unsupported_media_type"


class DamagedArchive(RequestError):
    """The bytes begin like a zip or tar archive and cannot be read as one."""

    code = "damaged_archive"


class InternalError(RequestError):
    """The service made a mistake; its log says which, beside the request's id."""

    code = "internal_error"


class Overloaded(RequestError):
    """The service has as many requests at once as it takes on, or is shutting down."""

    code = "overloaded"
    headers = MappingProxyType({"Retry-After": "1"})


class TookTooLong(RequestError):
    """The answer was not found in time."""

    code = "timeout"


# What a request is refused with; `except` wants the two in a tuple.
Refusal: TypeAlias = RequestError | PictureError
REFUSALS = (RequestError, PictureError)

# By an error's code.
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
    """Say what pydantic found first that is wrong, and where; nothing of what was sent."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]
