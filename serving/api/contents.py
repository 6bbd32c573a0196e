"""Reads numbers and pictures as clients send them: in JSON, or as bytes.

A value takes up to thirty times as much memory in Python as its text in JSON. So JSON with more
values than the pictures of one request can have is refused before it is parsed.
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

PICTURE_VALUES = SIDE**2 + SIDE + 1  # per picture in JSON: its pixels, its rows and itself
OTHER_VALUES = 10_000  # other values in a request


class ContentsError(Exception):
    """A tensor's contents do not fit it; the message continues "The input 'images'"."""


class Contents(Protocol):
    """A tensor's contents as they were sent."""

    def numbers(self, dtype: DTypeLike, count: int, /) -> NDArray[Any]:
        """Return `count` numbers, row by row, as a flat array; floats may have any precision.

        Raises:
            ContentsError: They have another type or count.
        """

    def strings(self, count: int) -> list[bytes]:
        """Return the `count` elements of a BYTES tensor.

        Raises:
            ContentsError: They have another type or count.
        """


@dataclass(frozen=True)
class RawContents:
    """Contents as little-endian bytes, row by row; BYTES elements follow their 4-byte length."""

    content: bytes | memoryview

    def numbers(self, dtype: DTypeLike, count: int, /) -> NDArray[Any]:
        """Return the numbers; see `Contents`."""
        size = np.dtype(dtype).itemsize
        if len(self.content) % size:
            raise ContentsError(f"has {len(self.content):,} bytes, not a multiple of {size}")
        check_count(len(self.content) // size, count)
        return np.frombuffer(self.content, dtype)

    def strings(self, count: int) -> list[bytes]:
        """Return the elements; see `Contents`."""
        found: list[bytes] = []
        start, end = 0, len(self.content)
        while start < end:
            if len(found) == count:
                raise ContentsError(f"has more values than the {count:,} of its shape")
            length = int.from_bytes(self.content[start : start + 4], "little")
            start += 4
            if start + length > end:
                raise ContentsError(f"ends in the middle of element {len(found)}")
            found.append(bytes(self.content[start : start + length]))
            start += length
        check_count(len(found), count)
        return found


@dataclass(frozen=True)
class JSONContents:
    """A tensor's contents as JSON; true and false count as 1 and 0."""

    data: Any

    def numbers(self, dtype: DTypeLike, count: int, /) -> NDArray[Any]:
        """Return the numbers; see `Contents`."""
        sent = _flat(self.data)
        numbers = _bytes(sent) if dtype == np.uint8 else _floats(sent)
        check_count(len(numbers), count)
        return numbers

    def strings(self, count: int) -> list[bytes]:
        """Return the elements, decoded from base64; see `Contents`."""
        sent = _list(self.data)
        check_count(len(sent), count)
        found = []
        for place, text in enumerate(sent):
            try:
                found.append(b64decode(text, validate=True))
            except (ValueError, TypeError) as error:
                raise ContentsError(f"has no valid base64 in element {place}") from error
        return found


class NoContents:
    """Contents that were not sent; reading them raises `ContentsError`."""

    def numbers(self, _: DTypeLike, _count: int, /) -> NDArray[Any]:
        """Raise `ContentsError`."""
        raise ContentsError("has neither data nor a binary_data_size")

    def strings(self, _: int) -> list[bytes]:
        """Raise `ContentsError`."""
        raise ContentsError("has neither data nor a binary_data_size")


def parse_json(text: bytes, pictures: int) -> Any:  # noqa: ANN401
    """Parse JSON.

    Args:
        text: The JSON.
        pictures: The most pictures that it may hold.

    Raises:
        InvalidRequest: It is not JSON, or has more values than that many pictures.
    """
    most = OTHER_VALUES + PICTURE_VALUES * pictures
    # Each value, or its key, follows one of these characters. A short text cannot have too many.
    if len(text) > most and sum(map(text.count, (b"[", b"{", b","))) > most:
        raise InvalidRequest(
            f"The JSON has more than {most:,} values. Send fewer pictures at a time."
        )
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The request is not valid JSON: {error}.") from error


def _list(data: object) -> list[Any]:
    if not isinstance(data, list):
        raise ContentsError("has data that is not a list")
    return data


def _flat(data: object) -> list[Any]:
    """Return numbers, sent as one list or nested as [N, 28, 28], as one list."""
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
        raise ContentsError(f"has data that is not nested as [N, {SIDE}, {SIDE}]")
    return data


def _bytes(sent: list[Any]) -> NDArray[np.uint8]:
    try:
        return np.frombuffer(bytearray(sent), np.uint8)  # three times as fast as bytes()
    except (TypeError, ValueError):
        # Some clients, the protocol's own among them, write 7 as 7.0.
        whole = _floats(sent)
    if (whole != np.rint(whole)).any():
        raise ContentsError("has values that are not whole numbers")
    if not (whole.min() >= 0 and whole.max() <= BYTE):
        raise ContentsError(f"has values outside 0…{BYTE}")
    return whole.astype(np.uint8)


def _floats(sent: list[Any]) -> NDArray[np.float64]:
    try:
        return np.frombuffer(struct.pack(f"<{len(sent)}d", *sent), "<f8")
    except struct.error as error:
        raise ContentsError("has values that are not numbers of its datatype") from error


def check_count(found: int, count: int) -> None:
    """Check the number of a tensor's values.

    Raises:
        ContentsError: It is not the count of its shape.
    """
    if found != count:
        raise ContentsError(f"has {found:,} values, but its shape needs {count:,}")
