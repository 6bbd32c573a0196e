"""uvicorn's connection class with two changes.

uvicorn writes a response's head and body separately, with two system calls and two packets, which
took a fifth of a request's time. And it waits for ever for a request whose headers never end or
never begin.

BentoML starts uvicorn without a setting for the connection class, so `install` registers this class
under the name "auto", which uvicorn looks up.
"""

import asyncio
from typing import Any

from uvicorn import config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


def install(seconds: float) -> None:
    """Make uvicorn use this class in this process.

    Args:
        seconds: The time limit for the headers of a request.
    """
    Connection.seconds = seconds
    config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{Connection.__name__}"


class Connection(HttpToolsProtocol):
    """A connection that writes a response at once, and closes if no request arrives in time."""

    seconds: float

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  uvicorn's
        super().__init__(*args, **kwargs)
        self.access_log = False  # `telemetry.logs` writes one
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer for the first request."""
        super().connection_made(_Joining(transport, self.loop))  # type: ignore[arg-type]  # in part
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        super().connection_lost(exc)
        self._arrived()

    def data_received(self, data: bytes) -> None:
        """Pass data on; keep the timer running until the headers are complete."""
        super().data_received(data)
        if self.cycle is not None and self.cycle.scope is self.scope:
            self._arrived()
        elif self._late is None:
            self._wait()

    def _wait(self) -> None:
        self._late = self.loop.call_later(self.seconds, self.transport.close)

    def _arrived(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class _Joining:
    """A transport that joins all writes of one turn of the event loop."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Queue data for the end of this turn."""
        if not self._waiting:
            self._loop.call_soon(self._write)
        self._waiting.append(data)

    def close(self) -> None:
        """Write queued data, and close."""
        self._write()
        self._transport.close()

    def _write(self) -> None:
        if self._waiting:
            self._transport.write(b"".join(self._waiting))
            self._waiting.clear()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """Delegate everything else to the transport."""
        return getattr(self._transport, name)
