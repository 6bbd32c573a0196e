"""What can be wrong with a request. Each error carries its HTTP status and a sentence to act on.

RequestError
├── InvalidRequest       400  not a request that this endpoint takes
├── UnknownModel         404  no model has that name
├── PictureTooLarge      413  too many bytes or too many pixels
├── NotAPicture          415  in none of the formats that are read
├── DamagedPicture       422  a picture that cannot be decoded
├── NoDigit              422  a picture with nothing on it
└── SeveralDigits        422  a picture with more digits than the one that is asked for
"""

from typing import ClassVar


class RequestError(Exception):
    """Something the client can mend."""

    status: ClassVar[int]
    code: ClassVar[str]


class InvalidRequest(RequestError):
    """The request's form is wrong: no picture in it, or more than one."""

    status = 400
    code = "invalid_request"


class UnknownModel(RequestError):
    """There is no model of that name."""

    status = 404
    code = "unknown_model"


class PictureTooLarge(RequestError):
    """The picture has more bytes or more pixels than the settings allow."""

    status = 413
    code = "image_too_large"


class NotAPicture(RequestError):
    """The bytes are in none of the picture formats that are read."""

    status = 415
    code = "not_an_image"


class DamagedPicture(RequestError):
    """The bytes begin like a picture and cannot be decoded as one."""

    status = 422
    code = "damaged_image"


class NoDigit(RequestError):
    """There is no ink in the picture."""

    status = 422
    code = "no_digit"


class SeveralDigits(RequestError):
    """There are several digits in the picture; `/read` reads them."""

    status = 422
    code = "several_digits"
