"""A client's connection: uvicorn's, in two respects otherwise.

uvicorn writes the head of a response and its body one after the other, which are then two calls of
the system and two packets; that took a fifth of a request's time. And it waits for ever for a
request that never ends its headers, or never begins.

BentoML starts uvicorn, and has no setting for the class of its connections: so `install` names this
one where uvicorn looks for what is called "auto".
"""

import asyncio
from typing import Any

from uvicorn import config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


def install(seconds: float) -> None:
    """Have uvicorn take connections of this kind, from now on, in this process.

    Args:
        seconds: In which the headers of a request must arrive.
    """
    Connection.seconds = seconds
    config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{Connection.__name__}"


class Connection(HttpToolsProtocol):
    """A connection that writes a response in one go, and closes if no request arrives."""

    seconds: float

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  uvicorn's
        super().__init__(*args, **kwargs)
        self.access_log = False  # `telemetry.logs` has one
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(_Joining(transport, self.loop))  # type: ignore[arg-type]  # in part
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        super().connection_lost(exc)
        self._arrived()

    def data_received(self, data: bytes) -> None:
        """Take what the client sends, and wait for the rest of the headers."""
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
    """A transport that joins what is written until the event loop has its next turn."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Write soon."""
        if not self._waiting:
            self._loop.call_soon(self._write)
        self._waiting.append(data)

    def close(self) -> None:
        """Write what waits, and close."""
        self._write()
        self._transport.close()

    def _write(self) -> None:
        if self._waiting:
            self._transport.write(b"".join(self._waiting))
            self._waiting.clear()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """All else is the transport's."""
        return getattr(self._transport, name)
