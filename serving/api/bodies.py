"""Reads and decompresses request bodies, within limits of time and memory."""

import asyncio
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol

from starlette.requests import ClientDisconnect

from serving.api.http import Request
from serving.errors import (
    InvalidRequest,
    Overloaded,
    Refusal,
    SlowRequest,
    UnsupportedBody,
)

# The supported encodings, and zlib's mode that detects which of them it is.
ENCODINGS = ("gzip", "x-gzip", "deflate")
EITHER = zlib.MAX_WBITS | 32

PIECE = 1_000_000  # bytes that are decompressed before other requests get a turn


class _Decompressor(Protocol):
    """The interface of zlib's decompression objects, which have no public type."""

    @property
    def eof(self) -> bool: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /, max_length: int) -> bytes: ...


class Bodies:
    """The bodies that a worker holds at once.

    Args:
        seconds: The time limit for a body to arrive.
        room: The limit of bytes for all bodies together.
    """

    def __init__(self, seconds: float, room: int) -> None:
        self.seconds = seconds
        self.room = room

    def read(self, request: Request, limit: int, too_large: Callable[[], Refusal]) -> "_Body":
        """Read a request's body, and hold it as long as the context lasts.

        Args:
            request: The request, of which nothing has been read.
            limit: The limit of bytes, decompressed.
            too_large: Makes the error to raise beyond the limit; the rest is not read.

        Raises:
            RequestError, PictureError: The error of `too_large`.
            SlowRequest: It did not arrive in time.
            UnsupportedBody: Its encoding is not supported.
            InvalidRequest: It is not encoded as its headers say.
            Overloaded: There is no room for it.
            ClientDisconnect: The client disconnected.
        """
        return _Body(self, request, limit, too_large)

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Count a body that was read elsewhere, as long as the context lasts.

        Raises:
            Overloaded: There is no room for it.
        """
        self.room -= size
        try:
            self.check()
            yield
        finally:
            self.room += size

    def check(self) -> None:
        """Check that there is room for all bodies held.

        Raises:
            Overloaded: There is not.
        """
        if self.room < 0:
            raise Overloaded("The service holds too much data already. Try again in a second.")


class _Body:
    def __init__(
        self, bodies: Bodies, request: Request, limit: int, too_large: Callable[[], Refusal]
    ) -> None:
        self.bodies = bodies
        self.request = request
        self.limit = limit
        self.too_large = too_large
        self.held = 0

    async def __aenter__(self) -> bytes:
        announced = self.request.headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > self.limit:
            raise self.too_large()
        try:
            async with asyncio.timeout(self.bodies.seconds):
                return await self._read()
        except TimeoutError:
            self._release()
            raise SlowRequest(
                f"The request's body did not arrive within {self.bodies.seconds:g} seconds."
            ) from None
        except BaseException:
            self._release()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._release()

    async def _read(self) -> bytes:
        decompressor = _decompressor(self.request.headers.get("content-encoding", "identity"))
        chunks: list[bytes] = []
        more = True
        while more:
            message = await self.request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk = message.get("body", b"")
            more = message.get("more_body", False)
            if decompressor is None:
                self._hold(len(chunk))
                chunks.append(chunk)
            else:
                await self._decompress(decompressor, chunk, chunks)
        if decompressor is not None and not decompressor.eof:
            raise InvalidRequest("The compressed body ends too early.")
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _decompress(
        self, decompressor: _Decompressor, chunk: bytes, chunks: list[bytes]
    ) -> None:
        while chunk:
            try:
                piece = decompressor.decompress(chunk, PIECE)
            except zlib.error as error:
                raise InvalidRequest("The body does not match its Content-Encoding.") from error
            chunk = decompressor.unconsumed_tail
            self._hold(len(piece))
            chunks.append(piece)
            if decompressor.unused_data:
                raise InvalidRequest("The compressed body has extra bytes after its end.")
            await asyncio.sleep(0)

    def _hold(self, size: int) -> None:
        self.held += size
        self.bodies.room -= size
        if self.held > self.limit:
            raise self.too_large()
        self.bodies.check()

    def _release(self) -> None:
        self.bodies.room += self.held
        self.held = 0


def _decompressor(encoding: str) -> _Decompressor | None:
    encoding = encoding.strip().lower()
    if encoding == "identity":
        return None
    if encoding not in ENCODINGS:
        raise UnsupportedBody("The content encoding must be gzip or deflate, or none at all.")
    return zlib.decompressobj(EITHER)
