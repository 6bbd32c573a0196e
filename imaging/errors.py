"""What can be wrong with a picture.

PictureError
├── NotAPicture      in none of the formats that are read
├── PictureTooLarge  too many bytes, pixels or scans
├── DamagedPicture   it cannot be decoded
├── NoDigit          there is nothing on it
└── SeveralDigits    there are more digits on it than the one that is wanted
"""

from typing import ClassVar


class PictureError(Exception):
    """What is wrong; the message is a sentence for whoever sent the picture.

    Attributes:
        code: One word for programs.
    """

    code: ClassVar[str]


class NotAPicture(PictureError):
    """The bytes are in none of the picture formats that are read."""

    code = "not_an_image"


class PictureTooLarge(PictureError):
    """The picture has more bytes or more pixels than the settings allow."""

    code = "image_too_large"


class DamagedPicture(PictureError):
    """The bytes begin like a picture and cannot be decoded as one."""

    code = "damaged_image"


class NoDigit(PictureError):
    """There is no ink in the picture."""

    code = "no_digit"


class SeveralDigits(PictureError):
    """There are several digits in the picture, and one is wanted."""

    code = "several_digits"
