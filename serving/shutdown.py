"""Shuts down without losing a request.

On SIGTERM, uvicorn closes idle connections at once, possibly while a client sends the next request
on one. So for a while before that, the service still answers requests, with `Connection: close`,
and its readiness check fails, so that load balancers send no more.
"""

import asyncio
import signal
import threading
from collections.abc import Callable
from types import FrameType


def drain_first(seconds: float, begin: Callable[[], None]) -> None:
    """On SIGTERM, call `begin`, and call the current handler only `seconds` later."""
    if threading.current_thread() is not threading.main_thread():
        return  # a server in a test's thread, which gets no signals
    stop = signal.getsignal(signal.SIGTERM)
    if not callable(stop):
        return  # there is no handler to delay
    loop = asyncio.get_running_loop()

    def drain(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, stop)  # a second SIGTERM stops at once
        loop.call_soon_threadsafe(begin)
        loop.call_soon_threadsafe(loop.call_later, seconds, stop, number, frame)

    signal.signal(signal.SIGTERM, drain)
