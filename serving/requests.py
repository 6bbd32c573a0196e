"""Reads a picture out of an HTTP request: the raw body, or the file of a form.

BentoML's own parsing is not used: it would fetch a URL that a client puts in a picture's place,
and read a body of any length.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from serving.errors import InvalidRequest, PictureTooLarge

FILE = "image"
MODEL = "model"
EXPLAIN = "explain"

SWITCH = {"true": True, "1": True, "": True, "false": False, "0": False}

FORM_OVERHEAD = 10_000  # bytes for a form's boundaries, headers and other fields
MAX_FIELDS = 10


@dataclass(frozen=True)
class PictureRequest:
    """One encoded picture, and what is asked for.

    Attributes:
        model: The name of the model that is to answer, if one is named.
        explain: Whether the answer is to show what was seen.
    """

    picture: bytes
    model: str | None
    explain: bool


async def read_picture(request: Request, max_bytes: int) -> PictureRequest:
    """Read the one picture in a request.

    A body that is not a form is taken for the picture itself, whatever its content type says.

    Raises:
        InvalidRequest: There is no picture, or the form is broken.
        PictureTooLarge: It has more bytes than allowed; the rest was not read.
    """
    model = request.query_params.get(MODEL)
    explain = request.query_params.get(EXPLAIN)
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        body = await _read_body(request, max_bytes, max_bytes)
        if not body:
            raise InvalidRequest(
                f"The request is empty. Send a picture as its body, or as the file {FILE!r} of a "
                "form."
            )
        return PictureRequest(body, model, _switch(explain))

    body = await _read_body(request, max_bytes + FORM_OVERHEAD, max_bytes)
    form = await _parse_form(request, body)
    try:
        picture = await _file(form)
        if explain is None:
            explain = _text(form.get(EXPLAIN))
        return PictureRequest(picture, model or _text(form.get(MODEL)), _switch(explain))
    finally:
        await form.close()


async def _read_body(request: Request, limit: int, max_bytes: int) -> bytes:
    too_large = PictureTooLarge(f"The picture is too large; at most {max_bytes:,} bytes are read.")
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > limit:
        raise too_large
    chunks: list[bytes] = []
    length = 0
    async for chunk in request.stream():
        length += len(chunk)
        if length > limit:
            raise too_large
        chunks.append(chunk)
    return b"".join(chunks)


async def _parse_form(request: Request, body: bytes) -> FormData:
    async def stream() -> AsyncIterator[bytes]:
        yield body

    parser = MultiPartParser(request.headers, stream(), max_files=1, max_fields=MAX_FIELDS)  # type: ignore[arg-type]
    try:
        return await parser.parse()
    except (MultiPartException, KeyError) as error:  # KeyError: no boundary
        reason = str(error).rstrip(".")
        raise InvalidRequest(f"The form cannot be read: {reason}.") from error


async def _file(form: FormData) -> bytes:
    upload = form.get(FILE)
    if isinstance(upload, UploadFile):
        picture = await upload.read()
        if picture:
            return picture
        raise InvalidRequest(f"The file {FILE!r} is empty.")
    if upload is not None:
        raise InvalidRequest(f"{FILE!r} must be a file, not text; a URL is not fetched.")
    names = ", ".join(repr(name) for name in form) or "nothing"
    raise InvalidRequest(f"The form has no file {FILE!r}; it has {names}.")


def _switch(value: str | None) -> bool:
    if value is None:
        return False
    try:
        return SWITCH[value.lower()]
    except KeyError:
        raise InvalidRequest(f"{EXPLAIN!r} is true or false, not {value!r}.") from None


def _text(field: UploadFile | str | None) -> str | None:
    """Read a form's text field, which BentoML's client writes as JSON."""
    if not isinstance(field, str):
        return None
    if field.startswith('"'):
        try:
            return str(json.loads(field))
        except ValueError:
            return field
    return field
