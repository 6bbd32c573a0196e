"""Numbers and pictures as clients send them: in JSON, or as bytes.

A value takes up to thirty times as much memory in Python as its text does in JSON. So JSON of more
values than the pictures of a request can have is refused before it is parsed.
"""

import struct
from base64 import b64decode
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import DTypeLike, NDArray

from imaging import SIDE
from serving.errors import InvalidRequest

BYTE = 255

PICTURE_VALUES = SIDE**2 + SIDE + 1  # of a picture in JSON: its pixels, its rows and itself
OTHER_VALUES = 10_000  # what else a request may have


class ContentsError(Exception):
    """A tensor's contents do not fit it; the message goes on after "The input 'images'"."""


class Contents(Protocol):
    """A tensor's contents as they were sent."""

    def numbers(self, dtype: DTypeLike, count: int, /) -> NDArray[Any]:
        """Return the numbers, row by row, one-dimensional; of floats, any precision.

        Raises:
            ContentsError: They are none of that type, or not so many.
        """

    def strings(self, count: int) -> list[bytes]:
        """Return the elements of a tensor of BYTES.

        Raises:
            ContentsError: They are none, or not so many.
        """


@dataclass(frozen=True)
class RawContents:
    """Contents as bytes, little-endian, row by row; each of BYTES after its length in four."""

    content: bytes | memoryview

    def numbers(self, dtype: DTypeLike, count: int, /) -> NDArray[Any]:
        """Return the numbers; see `Contents`."""
        size = np.dtype(dtype).itemsize
        if len(self.content) % size:
            raise ContentsError(f"has {len(self.content):,} bytes, which is no multiple of {size}")
        check_count(len(self.content) // size, count)
        return np.frombuffer(self.content, dtype)

    def strings(self, count: int) -> list[bytes]:
        """Return the elements; see `Contents`."""
        found: list[bytes] = []
        start, end = 0, len(self.content)
        while start < end:
            if len(found) == count:
                raise ContentsError(f"has more values than the {count:,} that its shape says")
            length = int.from_bytes(self.content[start : start + 4], "little")
            start += 4
            if start + length > end:
                raise ContentsError(f"ends within its element {len(found)}")
            found.append(bytes(self.content[start : start + length]))
            start += length
        check_count(len(found), count)
        return found


@dataclass(frozen=True)
class JSONContents:
    """A tensor's contents as JSON; among numbers, true counts as 1 and false as 0."""

    data: Any

    def numbers(self, dtype: DTypeLike, count: int, /) -> NDArray[Any]:
        """Return the numbers; see `Contents`."""
        sent = _flat(self.data)
        numbers = _bytes(sent) if dtype == np.uint8 else _floats(sent)
        check_count(len(numbers), count)
        return numbers

    def strings(self, count: int) -> list[bytes]:
        """Return the elements, which are in base64: a picture is no text; see `Contents`."""
        sent = _list(self.data)
        check_count(len(sent), count)
        found = []
        for place, text in enumerate(sent):
            try:
                found.append(b64decode(text, validate=True))
            except (ValueError, TypeError) as error:
                raise ContentsError(f"has an element {place} that is not base64") from error
        return found


class NoContents:
    """What stands in the place of contents that were not sent."""

    def numbers(self, _: DTypeLike, _count: int, /) -> NDArray[Any]:
        """Say that there are none; see `Contents`."""
        raise ContentsError("has neither data nor a binary_data_size")

    def strings(self, _: int) -> list[bytes]:
        """Say that there are none; see `Contents`."""
        raise ContentsError("has neither data nor a binary_data_size")


def parse_json(text: bytes, pictures: int) -> Any:  # noqa: ANN401
    """Parse JSON.

    Args:
        text: The JSON.
        pictures: The most that may be in it.

    Raises:
        InvalidRequest: It is none, or has more values than so many pictures.
    """
    most = OTHER_VALUES + PICTURE_VALUES * pictures
    # One of these is before each value, or before its key. A short text cannot have too many.
    if len(text) > most and sum(map(text.count, (b"[", b"{", b","))) > most:
        raise InvalidRequest(
            f"The JSON has more than {most:,} values, and the pictures of one request have no more."
        )
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The request is no JSON that can be read: {error}.") from error


def _list(data: object) -> list[Any]:
    if not isinstance(data, list):
        raise ContentsError("has data that are no list")
    return data


def _flat(data: object) -> list[Any]:
    """Return numbers that are in one list, or nested as pictures are, in one."""
    sent = _list(data)
    if not sent or not isinstance(sent[0], list):
        return sent
    flat: list[Any] = []
    for picture in sent:
        for row in _of_side(picture):
            flat += _of_side(row)
    return flat


def _of_side(data: object) -> list[Any]:
    if not isinstance(data, list) or len(data) != SIDE:
        raise ContentsError(f"has data that are not nested as [N, {SIDE}, {SIDE}]")
    return data


def _bytes(sent: list[Any]) -> NDArray[np.uint8]:
    try:
        return np.frombuffer(bytearray(sent), np.uint8)  # bytes() would take three times as long
    except (TypeError, ValueError):
        # Some clients, that of the protocol's own project among them, write 7 as 7.0.
        whole = _floats(sent)
    if (whole != np.rint(whole)).any():
        raise ContentsError("has data that are no whole numbers")
    if not (whole.min() >= 0 and whole.max() <= BYTE):
        raise ContentsError(f"has data that are not within 0…{BYTE}")
    return whole.astype(np.uint8)


def _floats(sent: list[Any]) -> NDArray[np.float64]:
    try:
        return np.frombuffer(struct.pack(f"<{len(sent)}d", *sent), "<f8")
    except struct.error as error:
        raise ContentsError("has data that are not all numbers of its datatype") from error


def check_count(found: int, count: int) -> None:
    """Check how many values a tensor has.

    Raises:
        ContentsError: Not so many as its shape says.
    """
    if found != count:
        raise ContentsError(f"has {found:,} values, and its shape says {count:,}")
