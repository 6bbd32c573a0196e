"""Numbers and pictures as clients send them: in JSON, or as bytes.

Nothing is built of what a client sends before its type and its count are known. simdjson keeps JSON
in a form of its own, in proportion to the text. A list of numbers goes from there straight into an
array; however many brackets or strings there are, they become no Python objects.
"""

import re
from base64 import b64decode
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import simdjson
from numpy.typing import DTypeLike, NDArray

from imaging import SIDE
from serving.errors import InvalidRequest

BYTE = 255


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
    """A tensor's contents as JSON.

    Attributes:
        data: What was sent, of which nothing is built in Python but what is asked for.
        brackets: How many "[" there are in the whole text, but for the lists that any request has.
    """

    data: Any
    brackets: int

    def numbers(self, dtype: DTypeLike, count: int, /) -> NDArray[Any]:
        """Return the numbers; see `Contents`."""
        self._check_nesting()
        numbers = self._bytes() if dtype == np.uint8 else self._of_type("d", np.float64)
        check_count(len(numbers), count)
        return numbers

    def _bytes(self) -> NDArray[np.uint8]:
        try:
            whole = self._of_type("u", np.uint64)
        except ContentsError:
            # Some clients, that of the protocol's own project among them, write 7 as 7.0.
            whole = self._of_type("d", np.float64)
            if (whole != np.rint(whole)).any():
                raise ContentsError("has data that are no whole numbers") from None
        if whole.size and not (whole.min() >= 0 and whole.max() <= BYTE):
            raise ContentsError(f"has data that are not within 0…{BYTE}")
        return whole.astype(np.uint8)

    def strings(self, count: int) -> list[bytes]:
        """Return the elements, which are in base64: a picture is no text; see `Contents`."""
        check_count(len(self._list()), count)
        found = []
        for place, text in enumerate(self._list()):
            try:
                found.append(b64decode(text, validate=True))  # type: ignore[arg-type]
            except (ValueError, TypeError) as error:
                raise ContentsError(f"has an element {place} that is not base64") from error
        return found

    def _list(self) -> simdjson.Array:
        if not isinstance(self.data, simdjson.Array):
            raise ContentsError("has data that are no list")
        return self.data

    def _of_type(self, kind: Literal["d", "u"], dtype: DTypeLike) -> NDArray[Any]:
        try:
            return np.frombuffer(self._list().as_buffer(of_type=kind), dtype)
        except (TypeError, ValueError) as error:
            raise ContentsError("has data that are not all numbers of its datatype") from error

    def _check_nesting(self) -> None:
        """Check that the numbers are in one list, or nested as pictures are: they are read flat."""
        data = self._list()
        brackets = 1
        if len(data) and isinstance(data[0], simdjson.Array):
            if not all(map(_is_square, data)):
                raise ContentsError(f"has data that are not nested as [N, {SIDE}, {SIDE}]")
            brackets += len(data) * (1 + SIDE)
        # There may be no lists in the lists. To count those of the whole text takes a tenth of the
        # time; if it has more, in a name perhaps, the data's own are counted.
        if self.brackets != brackets and data.mini.count(b"[") != brackets:  # type: ignore[arg-type]
            raise ContentsError("has data with lists among its numbers")


class NoContents:
    """What stands in the place of contents that were not sent."""

    def numbers(self, _: DTypeLike, _count: int, /) -> NDArray[Any]:
        """Say that there are none; see `Contents`."""
        raise ContentsError("has neither data nor a binary_data_size")

    def strings(self, _: int) -> list[bytes]:
        """Say that there are none; see `Contents`."""
        raise ContentsError("has neither data nor a binary_data_size")


def _is_square(picture: Any) -> bool:  # noqa: ANN401
    return _is_row(picture) and all(map(_is_row, picture))


def _is_row(row: Any) -> bool:  # noqa: ANN401
    return isinstance(row, simdjson.Array) and len(row) == SIDE


def parse_json(text: bytes) -> Any:  # noqa: ANN401
    """Parse JSON, of which nothing is built in Python yet.

    Raises:
        InvalidRequest: It is none.
    """
    try:
        return simdjson.Parser().parse(text)
    except (RuntimeError, ValueError) as error:
        reason = re.sub(r".*\b[A-Z0-9_]+: ", "", str(error))  # without simdjson's name for it
        raise InvalidRequest(f"The request is no JSON that can be read: {reason}") from error


def check_count(found: int, count: int) -> None:
    """Check how many values a tensor has.

    Raises:
        ContentsError: Not so many as its shape says.
    """
    if found != count:
        raise ContentsError(f"has {found:,} values, and its shape says {count:,}")
