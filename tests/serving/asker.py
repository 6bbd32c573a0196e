"""A client of a gateway in this process."""

from typing import Any

import anyio
import httpx
from starlette.types import Message

from serving.api.gateway import Gateway


class Asker:
    """Starts a gateway, and asks it."""

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
