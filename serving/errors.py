"""What a request can come to in place of an answer: an HTTP status and a sentence to act on.

RequestError
├── InvalidRequest       400  not a request that this endpoint takes
├── Unauthorized         401  no API key, or one that is not known
├── Forbidden            403  not done for anyone, as the service is set up
├── NotFound             404  nothing is at that address
├── UnknownModel         404  no model has that name
├── MethodNotAllowed     405  the address takes another method
├── SlowRequest          408  the body did not arrive in time
├── PictureTooLarge      413  too many bytes or too many pixels
├── BodyTooLarge         413  too many bytes in a request of many pictures
├── TooManyPictures      413  more pictures than one request may have
├── NotAPicture          415  in none of the formats that are read
├── UnsupportedBody      415  a body of a type that the endpoint does not take
├── DamagedPicture       422  a picture that cannot be decoded
├── DamagedArchive       422  an archive that cannot be read
├── NoDigit              422  a picture with nothing on it
├── SeveralDigits        422  a picture with more digits than the one that is asked for
├── InternalError        500  our fault, with its traceback in the log
├── Overloaded           503  more requests at once than are taken on
└── TookTooLong          504  the answer was not found in time
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar


class RequestError(Exception):
    """What was wrong; the message is a sentence for the client."""

    status: ClassVar[int]
    code: ClassVar[str]
    headers: Mapping[str, str] = MappingProxyType({})


class InvalidRequest(RequestError):
    """The request's form is wrong: no picture in it, or more than one."""

    status = 400
    code = "invalid_request"


class Unauthorized(RequestError):
    """The service wants an API key, and the request has none or another."""

    status = 401
    code = "unauthorized"
    headers = MappingProxyType({"WWW-Authenticate": "Bearer"})


class Forbidden(RequestError):
    """The service does that for nobody, as it is set up."""

    status = 403
    code = "forbidden"


class NotFound(RequestError):
    """There is nothing at that address."""

    status = 404
    code = "not_found"


class UnknownModel(RequestError):
    """There is no model of that name."""

    status = 404
    code = "unknown_model"


class MethodNotAllowed(RequestError):
    """The address does not take that method, but those in `allow`, if they are known."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, allow: str) -> None:
        super().__init__(message)
        self.headers = {"Allow": allow} if allow else {}


class SlowRequest(RequestError):
    """The request's body did not arrive in time."""

    status = 408
    code = "request_timeout"


class PictureTooLarge(RequestError):
    """The picture has more bytes or more pixels than the settings allow."""

    status = 413
    code = "image_too_large"


class BodyTooLarge(RequestError):
    """The request has more bytes than the settings allow."""

    status = 413
    code = "body_too_large"


class TooManyPictures(RequestError):
    """The request has more pictures than the settings allow."""

    status = 413
    code = "too_many_images"


class NotAPicture(RequestError):
    """The bytes are in none of the picture formats that are read."""

    status = 415
    code = "not_an_image"


class UnsupportedBody(RequestError):
    """The endpoint takes no body of that type."""

    status = 415
    code = "unsupported_media_type"


class DamagedPicture(RequestError):
    """The bytes begin like a picture and cannot be decoded as one."""

    status = 422
    code = "damaged_image"


class DamagedArchive(RequestError):
    """The bytes begin like a zip or tar archive and cannot be read as one."""

    status = 422
    code = "damaged_archive"


class NoDigit(RequestError):
    """There is no ink in the picture."""

    status = 422
    code = "no_digit"


class SeveralDigits(RequestError):
    """There are several digits in the picture; `/read` reads them."""

    status = 422
    code = "several_digits"


class InternalError(RequestError):
    """The service made a mistake; its log says which, beside the request's id."""

    status = 500
    code = "internal_error"


class Overloaded(RequestError):
    """The service has as many requests at once as it takes on, or is going down."""

    status = 503
    code = "overloaded"
    headers = MappingProxyType({"Retry-After": "1"})


class TookTooLong(RequestError):
    """The answer was not found in time."""

    status = 504
    code = "timeout"
