"""Requests and responses of the APIs that are answered without BentoML's layers.

Starlette's do more, and search all headers each time one is read.
"""

from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import orjson
from starlette.types import Message, Receive, Scope

Headers = list[tuple[bytes, bytes]]  # as in ASGI


class Request:
    """A request.

    Attributes:
        headers: By lower-case name; the last of several with one name.
        unread: Whether some of its body has not been received.
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
        """The query parameters; the last of several with one name."""
        if not self._query:
            return {}
        return dict(parse_qsl(self._query.decode("latin-1"), keep_blank_values=True))

    async def receive(self) -> Message:
        """Receive an ASGI message: more of the body, or that the client disconnected."""
        message = await self._receive()
        if not message.get("more_body", False):
            self.unread = False
        return message


class Response(NamedTuple):
    """A response; its Content-Length is added when it is sent."""

    body: bytes
    headers: Headers
    status: int = 200


def in_json(content: Any, status: int = 200, headers: Headers | None = None) -> Response:  # noqa: ANN401
    """Return a JSON response, with numpy arrays as lists."""
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, [(b"content-type", b"application/json"), *(headers or ())], status)
