"""Errors in pictures.

PictureError
├── NotAPicture      in none of the supported formats
├── PictureTooLarge  too many bytes, pixels or parts
├── DamagedPicture   cannot be decoded
├── NoDigit          no ink
└── SeveralDigits    more than one digit, where one is expected
"""

from typing import ClassVar


class PictureError(Exception):
    """Base of the errors; the message is for whoever sent the picture.

    Attributes:
        code: The kind of error, for programs.
    """

    code: ClassVar[str]


class NotAPicture(PictureError):
    """The bytes are in none of the supported picture formats."""

    code = "not_an_image"


class PictureTooLarge(PictureError):
    """The picture has more bytes, pixels or parts than allowed."""

    code = "image_too_large"


class DamagedPicture(PictureError):
    """The bytes begin like a picture but cannot be decoded."""

    code = "damaged_image"


class NoDigit(PictureError):
    """There is no ink in the picture."""

    code = "no_digit"


class SeveralDigits(PictureError):
    """There are several digits in the picture, where one is expected."""

    code = "several_digits"
