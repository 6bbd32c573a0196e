"""The ways in which our connections differ from uvicorn's."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import ClassVar

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn import config

from serving.api import connection

PATIENCE = 5  # seconds
SOON = 0.05  # seconds, the time limit for headers in these tests

REQUEST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the request's body; at /slow, in two parts with a pause between them."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope["path"] == "/slow":
        await send({"type": "http.response.body", "body": body[:1], "more_body": True})
        await asyncio.sleep(2 * SOON)
        body = body[1:]
    await send({"type": "http.response.body", "body": body})


class Written(connection._Joining):  # noqa: SLF001
    """Records each piece that is written at once."""

    pieces: ClassVar[list[bytes]] = []

    def _write(self) -> None:
        if self._waiting:
            self.pieces.append(b"".join(self._waiting))
        super()._write()


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    """Run uvicorn as BentoML does; yield its port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.001)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await running


@pytest.fixture(autouse=True)
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(config.HTTP_PROTOCOLS, "auto", "")
    monkeypatch.setattr(connection, "_Joining", Written)
    Written.pieces.clear()
    connection.install(SOON)


def run(client: Callable[[StreamReader, StreamWriter], Awaitable[None]]) -> None:
    """Run a server and connect a client to it."""

    async def both() -> None:
        async with asyncio.timeout(PATIENCE), serving() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                await client(reader, writer)
            finally:
                writer.close()
                with suppress(ConnectionError):  # the server has closed the connection
                    await writer.wait_closed()

    asyncio.run(both())


def test_a_response_is_written_in_one_go() -> None:
    async def client(reader: StreamReader, writer: StreamWriter) -> None:
        for _ in range(3):
            writer.write(REQUEST)
            assert (await reader.readuntil(b"abc")).startswith(b"HTTP/1.1 200")

    run(client)
    assert [piece[-7:] for piece in Written.pieces] == [b"\r\n\r\nabc"] * 3


def test_what_there_is_of_a_response_is_written_before_the_rest() -> None:
    async def client(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(REQUEST.replace(b"/ ", b"/slow "))
        assert (await reader.readuntil(b"\r\n\r\na")).startswith(b"HTTP/1.1 200")
        assert len(Written.pieces) == 1
        assert await reader.readexactly(2) == b"bc"

    run(client)


def test_the_last_response_of_a_connection_is_written_before_it_is_closed() -> None:
    async def client(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(REQUEST.replace(b"Host: a", b"Connection: close"))
        assert (await reader.read()).endswith(b"abc")

    run(client)


@pytest.mark.parametrize("sent", [b"", b"P", REQUEST[:30], REQUEST + REQUEST[:30]])
def test_headers_that_do_not_end_end_the_connection(sent: bytes) -> None:
    async def client(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(sent)
        answers = await reader.read()
        assert answers.count(b"HTTP/1.1 200") == sent.count(b"abc")

    run(client)


def test_headers_that_never_end_end_the_connection_though_more_of_them_come() -> None:
    async def client(reader: StreamReader, writer: StreamWriter) -> None:
        closed = asyncio.create_task(reader.read())
        writer.write(REQUEST[:30])
        while not closed.done():
            writer.write(b"a: b\r\n")
            await asyncio.sleep(0.001)
        with suppress(ConnectionResetError):  # it was closed during a write
            assert await closed == b""

    run(client)


def test_what_arrived_in_time_may_take_its_time() -> None:
    async def client(reader: StreamReader, writer: StreamWriter) -> None:
        for half in (REQUEST[:30], REQUEST[30:-1]):
            writer.write(half)
            await writer.drain()
        await asyncio.sleep(2 * SOON)  # another limit applies to the body
        writer.write(REQUEST[-1:])
        assert (await reader.readuntil(b"abc")).startswith(b"HTTP/1.1 200")

    run(client)
