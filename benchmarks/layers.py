"""Break down the time of one request with a 28 x 28 PNG, layer by layer.

    .venv-dev/bin/python benchmarks/layers.py

The first rows come from calls in this process: a layer's time is the time with it minus the time
without it. The last two rows are processor time per request of running servers: uvicorn with an
application that only reads the body and responds, and our service.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import bentoml
import uvloop
from starlette.types import ASGIApp, Message

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.servers import HOST, PEERS, Server, load, ours, running  # noqa: E402
from benchmarks.tables import table  # noqa: E402
from benchmarks.targets import picture, raw  # noqa: E402
from imaging import look, open_picture  # noqa: E402
from serving.api import answers  # noqa: E402
from serving.api.http import in_json  # noqa: E402
from serving.service import DigitClassifier  # noqa: E402
from serving.telemetry import metrics  # noqa: E402

TIMES = 5_000
SECONDS = 4


async def main() -> None:
    """Measure each layer and print the table."""
    service: Any = DigitClassifier  # a bentoml.Service, because it is decorated
    gateway: Any = service.to_asgi()
    async with started(gateway):
        png = picture()
        instance = bentoml.get_current_service()
        classifier = instance.classifier(None)
        pixels = look(open_picture(png, 10**6)).pixels[None]

        opened = timed(lambda: open_picture(png, 10**6))
        looked = timed(lambda: look(open_picture(png, 10**6)))
        network = timed(lambda: super(metrics.MeteredClassifier, classifier).predict(pixels))
        answered = timed(
            lambda: in_json(answers.predict([classifier], lambda: open_picture(png, 10**6), False))
        )
        whole = await timed_async(lambda: ask(gateway, png))
    layers = {
        "open and decode the picture": opened,
        "find the digit (`imaging`)": looked - opened,
        "run the network (ONNX Runtime)": network,
        "count and serialise the answer": answered - looked - network,
        "gateway, limits, request and response": whole - answered,
        "all of the above": whole,
    }
    layers |= {
        f"{server.name}, served": served(server, path)
        for server, path in ((uvicorn(), "/"), (ours(), "/predict"))
    }
    rows = [{"layer": layer, "us": 1e6 * seconds} for layer, seconds in layers.items()]
    table({"layer": "{layer}", "µs": "{us:.0f}"}, rows)


def uvicorn() -> Server:
    """Return uvicorn with an application that does nothing, on uvloop and httptools."""
    program = str(ROOT / ".venv" / "bin" / "uvicorn")
    command = [program, "floor:app", "--host", HOST, "--port", "{port}", "--no-access-log"]
    return Server("uvicorn alone", command, "/", PEERS)


def served(server: Server, path: str) -> float:
    """Return a server's processor seconds per request, with 16 clients."""
    with running(server) as up:
        load(up, path, raw(), 16, 1)
        measured = load(up, path, raw(), 16, SECONDS)
    return measured.cores / measured.per_second


class started:  # noqa: N801  it is used as a function
    """Run an application's startup, and its shutdown at the end."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.sent: asyncio.Queue[Message] = asyncio.Queue()
        self.received: asyncio.Queue[Message] = asyncio.Queue()

    async def __aenter__(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        self.task = asyncio.ensure_future(self.app(scope, self.sent.get, self.received.put))
        await self.sent.put({"type": "lifespan.startup"})
        await self.received.get()

    async def __aexit__(self, *_: object) -> None:
        await self.sent.put({"type": "lifespan.shutdown"})
        await self.task


async def ask(app: ASGIApp, body: bytes) -> None:
    """Send a request to an application as uvicorn does."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    statuses = []

    async def send(message: Message) -> None:
        statuses.append(message.get("status"))

    headers = [(b"host", b"a"), (b"content-length", str(len(body)).encode())]
    headers.append((b"content-type", b"image/png"))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/predict",
        "raw_path": b"/predict",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {},
    }
    await app(scope, receive, send)
    if statuses[0] != 200:
        sys.exit(f"The service returned {statuses[0]} instead of 200.")


def timed(function: Callable[[], object]) -> float:
    """Return the median duration of a call in seconds."""
    times = []
    for _ in range(TIMES):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


async def timed_async(function: Callable[[], Awaitable[None]]) -> float:
    """Return the median duration of an awaited call in seconds."""
    times = []
    for _ in range(TIMES):
        began = time.perf_counter()
        await function()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


if __name__ == "__main__":
    uvloop.run(main())
