"""The ASGI application in front of BentoML's, which every request passes first.

It gives requests an id, checks keys and limits, counts and logs, and gives all errors one shape,
BentoML's included. It answers our APIs directly, because BentoML's layers for tracing, access log,
timeouts and serialisation cost several times as much as the digit. BentoML answers the rest: health
checks, `/classify` with its batches, and the pages.
"""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from starlette.applications import Starlette
from starlette.routing import Router
from starlette.types import Message, Receive, Scope, Send

from serving import errors, shutdown
from serving.api import pages, responses
from serving.api.admission import Admission
from serving.api.frame import ID_HEADER, INTERNAL_ERROR, Frames
from serving.api.http import Headers, Request, Response
from serving.errors import STATUS, Overloaded, Refusal
from serving.protocol import rest
from serving.settings import Log, Settings
from serving.telemetry import logs, metrics
from serving.telemetry.traces import HTTPTrace

logger = logging.getLogger("bentoml.digits")  # BentoML shows loggers below "bentoml"

READY = "/readyz"
HEALTH = ("/livez", READY, "/healthz")

ID = ID_HEADER.encode("ascii")

# Our errors for BentoML's, by HTTP status.
ERROR_BY_STATUS: dict[int, Refusal] = {
    400: errors.InvalidRequest("This address cannot take such a request. See / for details."),
    404: errors.NotFound("There is nothing at this address. See / for all addresses."),
    415: errors.UnsupportedBody("This address takes no body of this type. See / for details."),
    503: Overloaded("The service is busy, or not ready. Try again in a second."),
    504: errors.TookTooLong("The answer took too long. Send less at a time."),
}

# Thresholds of Python's garbage collector for its three generations. Models and modules are frozen
# first, so that little is in the oldest; see `Gateway._start`.
COLLECT_AT = (10_000, 20, 20)

# Seconds for a client to notice an answer that was sent before its body was read.
LINGER_SECONDS = 2

Endpoint = Callable[[Request], Awaitable[Response]]


class Route(NamedTuple):
    """How an address is answered.

    Attributes:
        endpoint: Answers requests; `None` leaves them to BentoML.
        methods: The methods allowed; empty leaves the check to the endpoint.
        wants_key: Whether it requires an API key, if there are any.
        wants_room: Whether it is refused under overload.
    """

    endpoint: Endpoint | None = None
    methods: tuple[str, ...] = ()
    wants_key: bool = True
    wants_room: bool = True


@dataclass(frozen=True)
class Started:
    """The parts of a started service.

    Attributes:
        routes: The routes of the APIs and their descriptions, by path.
        protocol: Answers everything below `/v2`, given an address's template and its parameters.
        lifespan: A context that runs as long as the service.
    """

    routes: Mapping[str, Route]
    protocol: Callable[[str, dict[str, str], Request], Awaitable[Response]]
    lifespan: AbstractAsyncContextManager[None]


class Gateway:
    """A worker's ASGI application; it passes on to BentoML what it does not answer.

    Args:
        app: BentoML's application.
        settings: The limits.
        start: Called once BentoML's application has started.
        paths: The paths with metrics of their own.
    """

    def __init__(
        self,
        app: Starlette,
        settings: Settings,
        start: Callable[[Admission], Started],
        paths: Collection[str],
    ) -> None:
        self.app = app
        self.settings = settings
        self.admission = Admission(settings)
        self._start_service = start
        self._started: Started
        self._routes: dict[str, Route] = dict.fromkeys(
            HEALTH, Route(wants_key=False, wants_room=False)
        )
        paths = [*paths, *rest.Routes.TABLE, f"{pages.UI}/"]
        self._frames = Frames(self.admission, settings, paths, HTTPTrace)
        self._lifespan = Router(lifespan=self._running).lifespan

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = _Exchange(scope, receive, send, self._frames, self.admission)
        frame = exchange.frame
        with frame:
            endpoint = self._find(exchange, scope["headers"])
            if endpoint is None:
                await self.app(scope, exchange.receive, _RewriteErrors(exchange))
            else:
                await exchange.answer(await endpoint(exchange))
        if frame.refused is not None and frame.status is None:
            refuse = rest.refuse if rest.is_under(exchange.path) else responses.refuse
            await exchange.answer(refuse(frame.refused))
        if exchange.lingers:
            await exchange.end(self.settings.max_batch_bytes)

    def _find(self, exchange: "_Exchange", headers: Headers) -> Endpoint | None:
        """Find the endpoint of a request, and admit it; `None` is BentoML.

        Raises:
            RequestError: It is not admitted.
        """
        path = exchange.path
        route = self._routes.get(path)
        if route is None:
            if rest.is_under(path):
                exchange.frame.counted, names = rest.template(path)
                route = Route(partial(self._started.protocol, exchange.frame.counted, names))
            elif pages.is_page(path):  # the page asks for the key, so it needs none
                exchange.frame.counted = f"{pages.UI}/"
                route = Route(wants_key=False)
            else:
                route = Route()
        if route.wants_room:
            self.admission.check_room()
        if route.wants_key:
            self.admission.check_key(headers)
        if route.methods and exchange.method not in route.methods:
            raise errors.MethodNotAllowed(
                f"This address accepts only {route.methods[0]}.", ", ".join(route.methods)
            )
        if path == READY and self.admission.draining.is_set():
            raise Overloaded("The service is shutting down. Send requests elsewhere.")
        return route.endpoint

    @asynccontextmanager
    async def _running(self, _: Starlette) -> AsyncIterator[None]:
        """Run BentoML's application, and our own parts within it."""
        async with self.app.router.lifespan_context(self.app):
            self._started = started = self._start_service(self.admission)
            self._routes |= started.routes
            for path in (rest.LIVE, rest.READY):
                endpoint = partial(started.protocol, path, {})
                self._routes[path] = Route(endpoint, wants_key=False, wants_room=False)
            self._start()
            async with started.lifespan:
                yield

    def _start(self) -> None:
        if self.settings.log is Log.JSON:
            logs.start()
        shutdown.drain_first(self.settings.drain, self.admission.draining.set)
        # Otherwise every full collection would scan all imported objects, for a tenth of a second.
        # After this one, none of them is garbage.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT_AT)
        metrics.watch_collector()


class _Exchange(Request):
    """A request and its answer, which carries the request's id.

    A client that is answered before its body was read may continue to send it. So this is the last
    answer on the connection, which is closed only after the client has had time to read it: if it
    were closed at once, data still in transit could make the client's system discard the answer.
    """

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, frames: Frames, admission: Admission
    ) -> None:
        super().__init__(scope, receive)
        self.frame = frames.make(self.method, self.path, self.headers)
        self.lingers = False
        self._send = send
        self._draining = admission.draining

    async def answer(self, response: Response) -> None:
        """Send a complete response."""
        length = (b"content-length", str(len(response.body)).encode())
        start = {"type": "http.response.start", "status": response.status}
        await self.send({**start, "headers": [length, *response.headers]})
        await self.send({"type": "http.response.body", "body": response.body})

    async def send(self, message: Message) -> None:
        """Send an ASGI message of the answer."""
        if message["type"] == "http.response.start":
            self.frame.status = message["status"]
            message["headers"].append((ID, self.frame.request_id.encode("ascii")))
            if self.unread or self._draining.is_set():
                message["headers"].append((b"connection", b"close"))
        elif self.unread and not message.get("more_body", False):
            self.lingers = True
            message["more_body"] = True
        await self._send(message)

    async def end(self, most: int) -> None:
        """Read up to `most` bytes of the unread body, then close."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while self.unread and most > 0:
                    message = await self.receive()
                    most -= len(message.get("body", b""))
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


class _RewriteErrors:
    """Sends BentoML's answers, and gives our shape to errors that lack one of our codes."""

    __slots__ = ("exchange", "replaced")

    def __init__(self, exchange: _Exchange) -> None:
        self.exchange = exchange
        self.replaced = False

    async def __call__(self, message: Message) -> None:
        if self.replaced:
            return
        if message["type"] == "http.response.start" and message["status"] >= 400:
            headers = dict(message["headers"])
            if responses.ERROR_CODE not in headers:
                self.replaced = True
                error = self._error(message["status"], headers)
                await self.exchange.answer(
                    responses.refuse(error)._replace(status=message["status"])
                )
                return
        await self.exchange.send(message)

    def _error(self, status: int, headers: Mapping[bytes, bytes]) -> Refusal:
        if status == STATUS[errors.MethodNotAllowed.code]:
            return errors.MethodNotAllowed(
                "This address does not accept this method. See / for details.",
                headers.get(b"allow", b"").decode("ascii"),
            )
        if status in ERROR_BY_STATUS:
            return ERROR_BY_STATUS[status]
        # BentoML has logged the error without the request's id.
        logger.error(
            "request %s failed: BentoML answered %d", self.exchange.frame.request_id, status
        )
        return INTERNAL_ERROR if status >= 500 else ERROR_BY_STATUS[400]
