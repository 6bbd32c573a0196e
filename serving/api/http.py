"""Requests and responses of the APIs that BentoML's layers are not asked for.

Starlette's can do more, and search the headers anew each time they are asked for one.
"""

from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import orjson
from starlette.types import Message, Receive, Scope

Headers = list[tuple[bytes, bytes]]  # as ASGI has them


class Request:
    """A request.

    Attributes:
        headers: By their names in lower case; of several with one name the last.
        unread: Whether there is more of its body to be received.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[str, str] = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        length = self.headers.get("content-length", "0")
        self.unread = length != "0" or "transfer-encoding" in self.headers
        self._query: bytes = scope["query_string"]
        self._receive = receive

    @property
    def query(self) -> dict[str, str]:
        """The parameters in its address; of several with one name the last."""
        if not self._query:
            return {}
        return dict(parse_qsl(self._query.decode("latin-1"), keep_blank_values=True))

    async def receive(self) -> Message:
        """Receive more of the body, or that the client has disconnected."""
        message = await self._receive()
        if not message.get("more_body", False):
            self.unread = False
        return message


class Response(NamedTuple):
    """A response, whose length is added when it is sent."""

    body: bytes
    headers: Headers
    status: int = 200


def in_json(content: Any, status: int = 200, headers: Headers | None = None) -> Response:  # noqa: ANN401
    """Answer in JSON; numpy's arrays are lists in it."""
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, [(b"content-type", b"application/json"), *(headers or ())], status)
