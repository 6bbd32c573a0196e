"""Parses requests: their pictures or pixels, and the models to use.

BentoML's own parsing would fetch URLs sent instead of pictures, and read bodies of any length.
"""

import math
import re
from base64 import b64decode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaging import SIDE
from serving.api import forms
from serving.api.archives import is_archive
from serving.api.contents import BYTE, ContentsError, JSONContents, parse_json
from serving.api.forms import Part
from serving.api.http import Request
from serving.errors import InvalidRequest, TooManyPictures, UnsupportedBody

FILE = "image"
FILES = "images"
PIXELS = "pixels"
MODEL = "model"
ALL = "*"  # instead of a model's name
EXPLAIN = "explain"

# The start of a PNG file that lost its line breaks, and of pictures in base64.
NO_LINE_BREAKS = b"\x89PNG\x1a"
IN_BASE64 = (b"data:image/", b"iVBORw0KGgo", b"/9j/", b"R0lGOD", b"UklGR", b"AAAA")

URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
SPACE = re.compile(r"\s+")

SWITCH = {"true": True, "1": True, "": True, "false": False, "0": False}


@dataclass(frozen=True)
class PictureRequest:
    """One encoded picture, and how to answer.

    Attributes:
        models: The models to use, if any is named; see `several`.
        explain: Whether to add an explanation.
    """

    picture: bytes
    models: str | None
    explain: bool


@dataclass(frozen=True)
class PicturesRequest:
    """Many pictures.

    Attributes:
        parts: The files of a form or the pictures in JSON; `None` if there is an archive.
        archive: An archive or a multi-page picture; empty if there are parts.
        models: The models to use, if any is named; see `several`.
    """

    parts: list[Part] | None
    archive: bytes
    models: str | None


@dataclass(frozen=True, eq=False)
class PixelsRequest:
    """Pictures sent as pixels: uint8 `[N, 28, 28]`, 255 is ink."""

    pixels: NDArray[np.uint8]
    model: str | None


def several(models: str | None) -> list[str] | None:
    """Return the distinct names of several models, separated by commas, or `ALL`; else `None`."""
    if models is None or (models != ALL and "," not in models):
        return None
    return list(dict.fromkeys(models.split(",")))


def is_form(request: Request) -> bool:
    """Whether the body is a form."""
    return _media_type(request) == forms.CONTENT_TYPE


def is_json(request: Request) -> bool:
    """Whether the body is JSON."""
    return _media_type(request) == "application/json"


def parse_picture(request: Request, body: bytes) -> PictureRequest:
    """Find the one picture in a request.

    A body that is neither a form nor JSON is the picture itself, whatever its content type.

    Raises:
        InvalidRequest: There is no picture, or the request is malformed.
    """
    query = request.query
    models, explain = query.get(MODEL), query.get(EXPLAIN)
    if not is_form(request):
        if not body:
            raise InvalidRequest(
                f"The request is empty. Send a picture as its body, or as the file {FILE!r} of a "
                "form."
            )
        if is_json(request):
            text, model, shown = _of_json(body, FILE, 1)
            explained = bool(shown) if explain is None else _switch(explain)
            return PictureRequest(_picture_of(text, FILE), models or model, explained)
        _check_text(body)
        return PictureRequest(body, models, _switch(explain))

    too_many = InvalidRequest(
        "Too many files in the form. Send one picture, or all of them to /predict_batch."
    )
    parts = forms.parse_form(request.headers["content-type"], body, 1, too_many)
    picture = _file(parts)
    _check_text(picture)
    if explain is None:
        explain = _text(parts, EXPLAIN)
    return PictureRequest(picture, models or _text(parts, MODEL), _switch(explain))


def parse_pictures(request: Request, body: bytes, max_batch: int) -> PicturesRequest:
    """Find the pictures in a request: files of a form, a list in JSON, or an archive.

    Raises:
        InvalidRequest: There are none, or the request is malformed.
        TooManyPictures: There are more than allowed.
    """
    models = request.query.get(MODEL)
    if not is_form(request):
        if not body:
            raise InvalidRequest(
                f"The request is empty. Send pictures as the files {FILES!r} of a form, as a zip "
                "or tar archive, or as a multi-page TIFF."
            )
        if not is_json(request):
            return PicturesRequest(None, body, models)
        texts, model, _ = _of_json(body, FILES, max_batch)
        if not isinstance(texts, list) or not texts:
            raise InvalidRequest(f"{FILES!r} must be a list of pictures in base64.")
        check_count(len(texts), max_batch)
        pictures = [
            Part(FILES, str(place), _picture_of(text, f"{FILES}[{place}]"))
            for place, text in enumerate(texts)
        ]
        return PicturesRequest(pictures, b"", models or model)

    too_many = TooManyPictures(
        f"The request has more than {max_batch:,} pictures. Send fewer at a time."
    )
    parts = forms.parse_form(request.headers["content-type"], body, max_batch, too_many)
    models = models or _text(parts, MODEL)
    pictures = [part for part in parts if part.name in (FILES, FILE)]
    if any(part.filename is None for part in pictures):
        raise InvalidRequest(f"{FILES!r} must be files, not text; a URL is not fetched.")
    pictures = pictures or _only_file(parts)
    if not pictures:
        raise InvalidRequest(f"The form has no file {FILES!r}; it has {_names(parts)}.")
    if len(pictures) == 1 and is_archive(pictures[0].content):
        return PicturesRequest(None, pictures[0].content, models)
    return PicturesRequest(pictures, b"", models)


def parse_pixels(request: Request, body: bytes, max_batch: int) -> PixelsRequest:
    """Find the pixels in a request: JSON, or raw bytes.

    Raises:
        InvalidRequest: They are not uint8 `[N, 28, 28]`.
        TooManyPictures: N is larger than allowed.
        UnsupportedBody: The content type is neither of the two.
    """
    model = request.query.get(MODEL)
    if is_json(request):
        pixels, named = _pixels_of_json(body, max_batch)
        model = model or named
    elif _media_type(request) == "application/octet-stream":
        pixels = _pixels_of_bytes(body, max_batch)
    else:
        raise UnsupportedBody(
            "Send pixels as application/json or application/octet-stream; send picture files to "
            "/predict_batch."
        )
    return PixelsRequest(pixels, model)


def check_count(count: int, max_batch: int) -> None:
    """Check the number of pictures.

    Raises:
        TooManyPictures: There are more than allowed.
    """
    if count > max_batch:
        raise TooManyPictures(
            f"The request has {count:,} pictures. Send at most {max_batch:,} at a time."
        )


def _media_type(request: Request) -> str:
    content_type = request.headers.get("content-type", "application/octet-stream")
    return content_type.partition(";")[0].strip().lower()


def _pixels_of_bytes(body: bytes, max_batch: int) -> NDArray[np.uint8]:
    if not body or len(body) % SIDE**2:
        raise InvalidRequest(
            f"The body has {len(body):,} bytes; it must have {SIDE**2} per picture: one per "
            "pixel, row by row, 255 for ink."
        )
    check_count(len(body) // SIDE**2, max_batch)
    return np.frombuffer(body, np.uint8).reshape(-1, SIDE, SIDE)


def _pixels_of_json(body: bytes, max_batch: int) -> tuple[NDArray[np.uint8], str | None]:
    sent = parse_json(body, max_batch)
    pixels, named = sent, None
    if isinstance(sent, dict):
        if PIXELS not in sent:
            raise InvalidRequest(f"The JSON has no {PIXELS!r}.")
        pixels, named = sent[PIXELS], sent.get(MODEL)
    if named is not None and not isinstance(named, str):
        raise InvalidRequest(f"{MODEL!r} must be text.")
    if not isinstance(pixels, list) or not pixels or not isinstance(pixels[0], list):
        raise InvalidRequest(
            f"{PIXELS!r} must be lists of whole numbers from 0 to {BYTE}, [N, {SIDE}, {SIDE}]."
        )
    check_count(len(pixels), max_batch)
    shape = (len(pixels), SIDE, SIDE)
    try:
        numbers = JSONContents(pixels).numbers(np.uint8, math.prod(shape))
    except ContentsError as error:
        raise InvalidRequest(f"{PIXELS!r} {error}.") from error
    return numbers.reshape(shape), named


def _of_json(body: bytes, name: str, pictures: int) -> tuple[Any, str | None, bool | None]:
    """Return the value of a name in JSON, the model to use, and whether to explain."""
    sent = parse_json(body, pictures)
    if not isinstance(sent, dict) or name not in sent:
        raise InvalidRequest(f"The JSON must be an object with {name!r}.")
    model, explain = sent.get(MODEL), sent.get(EXPLAIN)
    if model is not None and not isinstance(model, str):
        raise InvalidRequest(f"{MODEL!r} must be text.")
    if explain is not None and not isinstance(explain, bool):
        raise InvalidRequest(f"{EXPLAIN!r} must be true or false.")
    return sent[name], model, explain


def _picture_of(text: object, name: str) -> bytes:
    """Decode a picture from base64 or a data URL (RFC 2397)."""
    if not isinstance(text, str):
        raise InvalidRequest(f"{name!r} must be text: a picture in base64, or its data URL.")
    if URL.match(text):
        raise InvalidRequest(f"{name!r} must be a picture in base64; a URL is not fetched.")
    head, _, encoded = text.partition(",") if text.startswith("data:") else (";base64", "", text)
    if not head.endswith(";base64"):
        raise InvalidRequest(f"{name!r} is not base64.")
    try:
        picture = b64decode(SPACE.sub("", encoded), validate=True)
    except ValueError as error:
        raise InvalidRequest(f"{name!r} is not base64.") from error
    if not picture:
        raise InvalidRequest(f"{name!r} is empty.")
    return picture


def _file(parts: Sequence[Part]) -> bytes:
    named = [part for part in parts if part.name == FILE] or _only_file(parts)
    part = next(iter(named), None)
    if part is None:
        raise InvalidRequest(f"The form has no file {FILE!r}; it has {_names(parts)}.")
    if part.filename is None:
        raise InvalidRequest(f"{FILE!r} must be a file, not text; a URL is not fetched.")
    if not part.content:
        raise InvalidRequest(f"The file {FILE!r} is empty.")
    return part.content


def _only_file(parts: Sequence[Part]) -> list[Part]:
    """Return a form's only file, whatever its name; an empty list if there are several."""
    files = [part for part in parts if part.filename is not None]
    return files if len(files) == 1 else []


def _check_text(picture: bytes) -> None:
    """Check for pictures that were corrupted before they were sent.

    Raises:
        InvalidRequest: It has lost its line breaks, or is base64 text.
    """
    if picture.startswith(NO_LINE_BREAKS):
        raise InvalidRequest(
            "The picture has lost its line breaks. With curl, use --data-binary instead of -d."
        )
    if picture.startswith(IN_BASE64):
        raise InvalidRequest("The picture is base64 text. Decode it and send the bytes.")


def _names(parts: Iterable[Part]) -> str:
    return ", ".join(dict.fromkeys(repr(part.name) for part in parts)) or "nothing"


def _text(parts: Iterable[Part], name: str) -> str | None:
    return next((p.text for p in parts if p.name == name and p.filename is None), None)


def _switch(value: str | None) -> bool:
    if value is None:
        return False
    try:
        return SWITCH[value.lower()]
    except KeyError:
        raise InvalidRequest(f"{EXPLAIN!r} must be true or false, not {value!r}.") from None
