"""Work that would hold up others: in threads, and for no longer than somebody waits for it."""

import asyncio
import math
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from types import TracebackType
from typing import Any, Self, TypeVar

from starlette.requests import ClientDisconnect

from imaging import Opened
from imaging.errors import PictureTooLarge
from serving.api.http import Request
from serving.errors import TookTooLong

T = TypeVar("T")


class Threads:
    """Threads of one kind of work.

    Args:
        count: How many there are; what comes on top waits.
        seconds: In which an answer must be found, the wait for a thread included.
    """

    def __init__(self, count: int, seconds: float) -> None:
        self._threads = ThreadPoolExecutor(count)
        self._seconds = seconds

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Call a function in a thread; not at all if nobody waits for it once its turn comes.

        Raises:
            TookTooLong: It has not returned in time. A thread cannot be stopped: long work looks
                for itself whether its `Allowance` has ended.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._seconds):
                run = copy_context().run  # the thread knows whose work it does
                return await loop.run_in_executor(self._threads, run, function, *arguments)
        except TimeoutError:
            raise TookTooLong(
                f"The answer was not found within {self._seconds:g} seconds."
            ) from None


class AllowanceEnded(Exception):
    """Nobody waits any more for what is being done."""


class Allowance:
    """What the pictures of one request may take; a context that ends when nobody waits any more.

    Args:
        pixels: Of all pictures together.
    """

    def __init__(self, pixels: int) -> None:
        self._pixels = self._left = pixels
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._ended = True

    def open(self, open_picture: Callable[[], Opened]) -> Opened:
        """Open the next picture, if there is still enough for it.

        Raises:
            AllowanceEnded: The answer has been given up, because it took too long or because the
                client disconnected.
            PictureTooLarge: There are not so many pixels left.
            PictureError: What opening it raises.
        """
        if self._ended:
            raise AllowanceEnded
        picture = open_picture()
        pixels = math.prod(picture.size)
        if pixels > self._left:
            raise PictureTooLarge(
                f"The pictures of one request may have {self._pixels:,} pixels together, and this "
                "one exceeds them; send it in another request."
            )
        self._left -= pixels
        return picture


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await work, and cancel it if the client disconnects.

    Args:
        request: The request, whose body was read to its end.
        work: What is done for it.

    Raises:
        ClientDisconnect: The client disconnected.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
