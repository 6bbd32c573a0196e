"""A client for a gateway in this process, and requests without a client."""

from typing import Any

import anyio
import httpx
from starlette.types import Message, Receive, Scope

from serving.api.gateway import Gateway
from serving.api.http import Headers, Request


def scope_of(
    path: str = "/", headers: Headers | None = None, query: bytes = b"", method: str = "POST"
) -> Scope:
    """Return a request's ASGI scope."""
    return {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query,
        "headers": headers or [],
    }


async def nothing() -> Message:
    """Receive nothing but the client's disconnect."""
    return {"type": "http.disconnect"}


def request(receive: Receive = nothing, **scope: Any) -> Request:  # noqa: ANN401  for `scope_of`
    """Return a request as an endpoint gets it."""
    return Request(scope_of(**scope), receive)


class Asker:
    """Starts a gateway and sends it requests."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        anyio.run(self._start)

    async def _start(self) -> None:
        messages = iter(["lifespan.startup", "lifespan.shutdown"])

        async def receive() -> Message:
            return {"type": next(messages)}

        async def send(_: Message) -> None:
            pass

        await self.gateway({"type": "lifespan", "state": {}}, receive, send)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401
        transport = httpx.ASGITransport(self.gateway, raise_app_exceptions=False)

        async def run() -> httpx.Response:
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, **options)

        return anyio.run(run)

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)

    def post(self, path: str, content: bytes = b"") -> httpx.Response:
        return self.request("POST", path, content=content)
