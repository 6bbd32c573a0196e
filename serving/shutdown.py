"""Goes down without losing a request.

A server that closes its idle connections at once, as uvicorn does on SIGTERM, may close one in the
moment in which a client sends the next request on it. So for a while before that, requests are
answered as ever, but each answer tells its client that this was the last one on its connection,
and the readiness check tells load balancers to send no more.
"""

import asyncio
import signal
import threading
from collections.abc import Callable
from types import FrameType


def drain_first(seconds: float, begin: Callable[[], None]) -> None:
    """On SIGTERM, call `begin`, and let the signal do what it does now only `seconds` later."""
    if threading.current_thread() is not threading.main_thread():
        return  # a test's server in a thread, which gets no signals
    stop = signal.getsignal(signal.SIGTERM)
    if not callable(stop):
        return  # nothing would be shut down in order
    loop = asyncio.get_running_loop()

    def drain(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, stop)  # a second one stops at once
        loop.call_soon_threadsafe(begin)
        loop.call_soon_threadsafe(loop.call_later, seconds, stop, number, frame)

    signal.signal(signal.SIGTERM, drain)
