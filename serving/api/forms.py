"""Forms, as browsers, curl and most HTTP libraries send them: multipart/form-data (RFC 7578)."""

import re
from base64 import b64decode
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import orjson

from serving.errors import InvalidRequest, Refusal

CONTENT_TYPE = "multipart/form-data"

OVERHEAD = 10_000  # bytes for a form's boundaries, headers and other fields
MAX_FIELDS = 100  # beside the files
MAX_LINE = 1_000  # bytes of a text field, or of the content type

# A header's parameter, whose value may be in quotes (RFC 9110, 5.6.6).
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
        name: Without what some clients put behind the name of a list: `[]`, or `[0]`.
        filename: `None` where the field is text and no file.
    """

    name: str
    filename: str | None
    content: bytes

    @property
    def text(self) -> str:
        """What a text field says; BentoML's client writes it as JSON."""
        text = self.content.decode("utf-8", "replace")
        if text.startswith('"'):
            try:
                return str(orjson.loads(text))
            except ValueError:
                return text
        return text


def parse_form(content_type: str, body: bytes, max_files: int, too_many: Refusal) -> list[Part]:
    """Take a form apart.

    Raises:
        InvalidRequest: It is broken, or has more fields than allowed.
        RequestError: `too_many`, if it has more files than allowed.
    """
    if len(content_type) > MAX_LINE:
        raise InvalidRequest("The form cannot be read: its content type is too long.")
    boundary = _parameters(content_type.encode("latin-1")).get(b"boundary")
    if not boundary:
        raise InvalidRequest("The form cannot be read: its content type names no boundary.")
    parts: list[Part] = []
    fields_left = MAX_FIELDS
    for head, start, end in _places(body, b"--" + boundary):
        name, filename = _names(head)
        nothing_chosen = filename == "" and start == end  # in a browser's input
        if filename is None or nothing_chosen:
            fields_left -= 1
        else:
            max_files -= 1
        if max_files < 0:
            raise too_many
        if fields_left < 0:
            raise InvalidRequest("The form has too many fields.")
        if filename is None and end - start > MAX_LINE:
            raise InvalidRequest(
                f"The text in the form's field {name!r} is longer than {MAX_LINE:,} bytes; "
                "send a picture as a file."
            )
        if nothing_chosen:
            continue
        content = body[start:end]
        parts.append(Part(name, filename, _decoded(content) if BASE64.search(head) else content))
    return parts


def _places(body: bytes, delimiter: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Find the parts of a body: the headers of each, and where its content starts and ends.

    A part is between two delimiters, each at the beginning of a line; what is before the first is
    passed over (RFC 2046, 5.1.1).
    """
    broken = InvalidRequest("The form cannot be read: it is broken.")
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
    """Return the name of the field that a part's headers name, and of the file, if it is one."""
    disposition = DISPOSITION.search(head)
    parameters = _parameters(disposition[1]) if disposition else {}
    if b"name" not in parameters:
        raise InvalidRequest("The form cannot be read: a part of it has no name.")
    filename = parameters.get(b"filename")
    if b"filename*" in parameters:  # charset'language'percent-encoded (RFC 8187)
        filename = unquote_to_bytes(parameters[b"filename*"].rpartition(b"'")[2])
    name = IN_LIST.sub("", parameters[b"name"].decode("utf-8", "replace"))
    return name, None if filename is None else filename.decode("utf-8", "replace")


def _decoded(content: bytes) -> bytes:
    try:
        return b64decode(content)
    except ValueError as error:
        raise InvalidRequest("The form cannot be read: a part of it is no base64.") from error


def _parameters(header: bytes) -> dict[bytes, bytes]:
    return {
        name.lower(): ESCAPED.sub(rb"\1", quoted) if b"\\" in quoted else quoted or plain
        for name, quoted, plain in PARAMETER.findall(header)
    }
