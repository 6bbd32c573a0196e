"""Runs blocking work in threads, only as long as a client waits for it."""

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
    """A pool of threads for one kind of work.

    Args:
        count: The number of threads; more work waits.
        seconds: The time limit for each call, including the wait for a thread.
    """

    def __init__(self, count: int, seconds: float) -> None:
        self._threads = ThreadPoolExecutor(count)
        self._seconds = seconds

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Call a function in a thread, unless the call was cancelled before a thread is free.

        Raises:
            TookTooLong: It did not return in time. Threads cannot be stopped, so long work checks
                whether its `Allowance` has ended.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._seconds):
                run = copy_context().run  # so that the thread knows the request
                return await loop.run_in_executor(self._threads, run, function, *arguments)
        except TimeoutError:
            raise TookTooLong(
                f"The answer took longer than {self._seconds:g} seconds. Send less at a time."
            ) from None


class AllowanceEnded(Exception):
    """No client waits for the result any more."""


class Allowance:
    """The pixel budget of one request; a context that ends when no client waits any more.

    Args:
        pixels: The budget for all pictures of the request.
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
        """Open the next picture, if the budget allows it.

        Raises:
            AllowanceEnded: The request timed out or its client disconnected.
            PictureTooLarge: The budget has too few pixels left.
            PictureError: The picture cannot be opened.
        """
        if self._ended:
            raise AllowanceEnded
        picture = open_picture()
        pixels = math.prod(picture.size)
        if pixels > self._left:
            raise PictureTooLarge(
                f"The pictures of one request may have {self._pixels:,} pixels in total, and this "
                "one exceeds that. Send it in another request."
            )
        self._left -= pixels
        return picture


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await work, and cancel it if the client disconnects.

    Args:
        request: The request, whose body has been read completely.
        work: The work for it.

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
