"""Parses forms: multipart/form-data (RFC 7578), as browsers, curl and HTTP libraries send it."""

import re
from base64 import b64decode
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import orjson

from serving.errors import InvalidRequest, Refusal

CONTENT_TYPE = "multipart/form-data"

OVERHEAD = 10_000  # bytes for a form's boundaries, headers and other fields
MAX_FIELDS = 100  # besides files
MAX_LINE = 1_000  # bytes of a text field, or of the content type

# A header parameter, whose value may be quoted (RFC 9110, 5.6.6).
PARAMETER = re.compile(rb';\s*([^\s=;]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))', re.DOTALL)
ESCAPED = re.compile(rb'\\(["\\])')
DISPOSITION = re.compile(rb"^content-disposition:([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
IN_LIST = re.compile(r"\[\d*\]$")
BASE64 = re.compile(
    rb"^content-transfer-encoding:[ \t]*base64[ \t]*\r?$", re.IGNORECASE | re.MULTILINE
)


class Part(NamedTuple):
    """One field of a form.

    Attributes:
        name: Without the `[]` or `[0]` that some clients append to the name of a list.
        filename: `None` if the field is text.
    """

    name: str
    filename: str | None
    content: bytes

    @property
    def text(self) -> str:
        """The text of a text field, which BentoML's client encodes as JSON."""
        text = self.content.decode("utf-8", "replace")
        if text.startswith('"'):
            try:
                return str(orjson.loads(text))
            except ValueError:
                return text
        return text


def parse_form(content_type: str, body: bytes, max_files: int, too_many: Refusal) -> list[Part]:
    """Parse a form.

    Raises:
        InvalidRequest: It is malformed, or has more fields than allowed.
        RequestError: `too_many`, if it has more files than allowed.
    """
    if len(content_type) > MAX_LINE:
        raise InvalidRequest("The form cannot be read: its content type is too long.")
    boundary = _parameters(content_type.encode("latin-1")).get(b"boundary")
    if not boundary:
        raise InvalidRequest("The form cannot be read: its content type has no boundary.")
    parts: list[Part] = []
    fields_left = MAX_FIELDS
    for head, start, end in _places(body, b"--" + boundary):
        name, filename = _names(head)
        nothing_chosen = filename == "" and start == end  # an empty file input of a browser
        if filename is None or nothing_chosen:
            fields_left -= 1
        else:
            max_files -= 1
        if max_files < 0:
            raise too_many
        if fields_left < 0:
            raise InvalidRequest(f"The form has too many fields: more than {MAX_FIELDS}.")
        if filename is None and end - start > MAX_LINE:
            raise InvalidRequest(
                f"The text in the form's field {name!r} is longer than {MAX_LINE:,} bytes. "
                "Send a picture as a file."
            )
        if nothing_chosen:
            continue
        content = body[start:end]
        parts.append(Part(name, filename, _decoded(content) if BASE64.search(head) else content))
    return parts


def _places(body: bytes, delimiter: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the headers of each part of a body, and where its content starts and ends.

    Parts are separated by delimiters at the start of a line; anything before the first is ignored
    (RFC 2046, 5.1.1).
    """
    broken = InvalidRequest("The form cannot be read: it is malformed.")
    too_early = InvalidRequest("The form cannot be read: it ends too early.")
    between = b"\r\n" + delimiter
    first = 0 if body.startswith(delimiter) else body.find(between)
    if first < 0:
        raise broken if body else too_early
    place = first + len(between if first else delimiter)
    while not body.startswith(b"--", place):
        if not body.startswith(b"\r\n", place):
            raise broken if len(body) > place else too_early
        end = body.find(between, place)
        if end < 0:
            raise too_early
        start = body.find(b"\r\n\r\n", place, min(end, place + OVERHEAD))
        if start < 0:
            raise broken
        yield body[place + 2 : start], start + 4, end
        place = end + len(between)


def _names(head: bytes) -> tuple[str, str | None]:
    """Return the names of a part's field and file, from its headers; `None` for no file."""
    disposition = DISPOSITION.search(head)
    parameters = _parameters(disposition[1]) if disposition else {}
    if b"name" not in parameters:
        raise InvalidRequest("The form cannot be read: one of its parts has no name.")
    filename = parameters.get(b"filename")
    if b"filename*" in parameters:  # charset'language'percent-encoded (RFC 8187)
        filename = unquote_to_bytes(parameters[b"filename*"].rpartition(b"'")[2])
    name = IN_LIST.sub("", parameters[b"name"].decode("utf-8", "replace"))
    return name, None if filename is None else filename.decode("utf-8", "replace")


def _decoded(content: bytes) -> bytes:
    try:
        return b64decode(content)
    except ValueError as error:
        raise InvalidRequest("The form cannot be read: one of its parts is not base64.") from error


def _parameters(header: bytes) -> dict[bytes, bytes]:
    return {
        name.lower(): ESCAPED.sub(rb"\1", quoted) if b"\\" in quoted else quoted or plain
        for name, quoted, plain in PARAMETER.findall(header)
    }
