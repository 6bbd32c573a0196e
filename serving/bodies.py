"""Reads a request's body: in time, and no more of it than fits."""

import asyncio
from types import TracebackType

from starlette.requests import ClientDisconnect, Request

from serving.errors import Overloaded, RequestError, SlowRequest


class Bodies:
    """The bodies that a worker holds at once.

    Args:
        seconds: In which a body must arrive.
        room: Bytes of all bodies together.
    """

    def __init__(self, seconds: float, room: int) -> None:
        self.seconds = seconds
        self.room = room

    def read(self, request: Request, limit: int, too_large: RequestError) -> "_Body":
        """Read a request's body, and hold it for as long as the context lasts.

        Args:
            request: The request, of which nothing was read yet.
            limit: The most bytes that are read.
            too_large: What is raised when there are more; the rest is not read.

        Raises:
            RequestError: `too_large`.
            SlowRequest: It did not arrive in time.
            Overloaded: All bodies together have more bytes than there is room for.
            ClientDisconnect: The client went away.
        """
        return _Body(self, request, limit, too_large)


class _Body:
    def __init__(
        self, bodies: Bodies, request: Request, limit: int, too_large: RequestError
    ) -> None:
        self.bodies = bodies
        self.request = request
        self.limit = limit
        self.too_large = too_large
        self.held = 0

    async def __aenter__(self) -> bytes:
        announced = self.request.headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > self.limit:
            raise self.too_large
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
        chunks: list[bytes] = []
        more = True
        while more:
            message = await self.request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk = message.get("body", b"")
            more = message.get("more_body", False)
            self._hold(len(chunk))
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _hold(self, size: int) -> None:
        self.held += size
        self.bodies.room -= size
        if self.held > self.limit:
            raise self.too_large
        if self.bodies.room < 0:
            raise Overloaded("The service holds as many bytes as it can; try again in a second.")

    def _release(self) -> None:
        self.bodies.room += self.held
        self.held = 0
