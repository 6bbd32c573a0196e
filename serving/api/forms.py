"""Forms, as browsers, curl and most HTTP libraries send them: multipart/form-data (RFC 7578)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from serving.errors import InvalidRequest, Refusal

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

CONTENT_TYPE = "multipart/form-data"

OVERHEAD = 10_000  # bytes for a form's boundaries, headers and other fields
MAX_FIELDS = 10  # beside the files
MAX_LINE = 1_000  # bytes of a text field, or of the content type


@dataclass(frozen=True)
class Part:
    """One field of a form.

    Attributes:
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
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise InvalidRequest("The form cannot be read: its content type names no boundary.")
    collector = _Collector(max_files, too_many)
    try:
        parser = MultipartParser(boundary, collector.callbacks())
        parser.write(body)
        parser.finalize()
    except MultipartParseError as error:
        raise InvalidRequest("The form cannot be read: it is broken.") from error
    if not collector.ended:
        raise InvalidRequest("The form cannot be read: it ends too early.")
    return collector.parts


class _Collector:
    """Puts the parts together from what the parser calls back with."""

    def __init__(self, max_files: int, too_many: Refusal) -> None:
        self.files_left = max_files
        self.fields_left = MAX_FIELDS
        self.too_many = too_many
        self.parts: list[Part] = []
        self.ended = False
        self._header: list[bytes] = []
        self._value: list[bytes] = []
        self._disposition = b""
        self._content: list[bytes] = []

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header.append(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.append(data[start:end]),
            "on_header_end": self._end_header,
            "on_part_data": lambda data, start, end: self._content.append(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._end_form,
        }

    def _begin(self) -> None:
        self._disposition = b""
        self._content = []

    def _end_header(self) -> None:
        if b"".join(self._header).lower() == b"content-disposition":
            self._disposition = b"".join(self._value)
        self._header.clear()
        self._value.clear()

    def _end(self) -> None:
        options = parse_options_header(self._disposition)[1]
        if b"name" not in options:
            raise InvalidRequest("The form cannot be read: a part of it has no name.")
        filename = options.get(b"filename")
        self._count(is_file=filename is not None)
        part = Part(
            name=options[b"name"].decode("utf-8", "replace"),
            filename=None if filename is None else filename.decode("utf-8", "replace"),
            content=b"".join(self._content),
        )
        if part.filename is None and len(part.content) > MAX_LINE:
            raise InvalidRequest(
                f"The text in the form's field {part.name!r} is longer than {MAX_LINE:,} bytes; "
                "send a picture as a file."
            )
        self.parts.append(part)

    def _count(self, *, is_file: bool) -> None:
        """Stop at the part that is too many, and not when all are taken apart."""
        if is_file:
            self.files_left -= 1
        else:
            self.fields_left -= 1
        if self.files_left < 0:
            raise self.too_many
        if self.fields_left < 0:
            raise InvalidRequest("The form has too many fields.")

    def _end_form(self) -> None:
        self.ended = True
