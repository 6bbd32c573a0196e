"""What every request passes first, before BentoML's server does anything with it.

It gives the request an id, keeps out whom it must, counts and logs, and sees to it that every
error has one shape, BentoML's own among them. What an API of ours answers it hands to that API
straight away: BentoML's layers for tracing, access log, timeouts and serialisation cost several
times what the digit costs. All else (health checks, `/classify` with its batches, the pages) goes
on to BentoML.
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

logger = logging.getLogger("bentoml.digits")  # BentoML shows what is logged below "bentoml"

READY = "/readyz"
HEALTH = ("/livez", READY, "/healthz")

ID = ID_HEADER.encode("ascii")

# What BentoML's errors are answered as, by its status.
ERROR_BY_STATUS: dict[int, Refusal] = {
    400: errors.InvalidRequest("The request is not one that this address takes."),
    404: errors.NotFound("There is nothing at this address; / describes what there is."),
    415: errors.UnsupportedBody("This address takes no body of this type; / describes which."),
    503: Overloaded("The service is not ready, or has too much to do; try again in a second."),
    504: errors.TookTooLong("The answer was not found in time."),
}

# Allocations until Python's garbage collector looks at what is young, middle-aged and old. The
# models and modules are frozen before, so that there is little that is old; see `Gateway._start`.
COLLECT_AT = (10_000, 20, 20)

# How long a client that was answered before its body was read may take to notice.
LINGER_SECONDS = 2

Endpoint = Callable[[Request], Awaitable[Response]]


class Route(NamedTuple):
    """How an address is answered.

    Attributes:
        endpoint: Answers requests; `None` leaves all to BentoML's application.
        methods: Those that it takes; none leave that to the endpoint.
        wants_key: Whether only those with a key are let in, where there are keys.
        wants_room: Whether it is refused when there is too much to do.
    """

    endpoint: Endpoint | None = None
    methods: tuple[str, ...] = ()
    wants_key: bool = True
    wants_room: bool = True


@dataclass(frozen=True)
class Started:
    """What there is once the service has started.

    Attributes:
        routes: The APIs' and what describes them, by path.
        protocol: Answers all below `/v2`, by an address' template and what stands in its places.
        lifespan: A context for what else runs as long as the service does.
    """

    routes: Mapping[str, Route]
    protocol: Callable[[str, dict[str, str], Request], Awaitable[Response]]
    lifespan: AbstractAsyncContextManager[None]


class Gateway:
    """The application of a worker, which leaves to BentoML's what is not answered here.

    Args:
        app: BentoML's.
        settings: The limits.
        start: Called once BentoML's application has started.
        paths: All that are served, to be counted apart.
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
        """Find out who answers a request, and let it in.

        Raises:
            RequestError: It is not let in, or there is nothing at its address.
        """
        path = exchange.path
        route = self._routes.get(path)
        if route is None:
            if rest.is_under(path):
                exchange.frame.counted, names = rest.template(path)
                route = Route(partial(self._started.protocol, exchange.frame.counted, names))
            elif pages.is_page(path):  # it asks for a key, and so must be there without
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
                f"This address takes {route.methods[0]} alone.", ", ".join(route.methods)
            )
        if path == READY and self.admission.draining.is_set():
            raise Overloaded("The service is shutting down; send no more requests here.")
        return route.endpoint

    @asynccontextmanager
    async def _running(self, _: Starlette) -> AsyncIterator[None]:
        """Run BentoML's application, and what is ours within it."""
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
        # A full collection would look through all that the imports left, in a tenth of a second,
        # again and again. Nothing of that is garbage after this one.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT_AT)
        metrics.watch_collector()


class _Exchange(Request):
    """A request, and its answer, which has the request's id.

    A client that is answered before all of its body was read may go on sending it. So that answer
    is the last on its connection, which is closed once the client has had time to read it: closed
    at once, what is still on its way could make the client's system throw the answer away.
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
        """Send a response of ours."""
        length = (b"content-length", str(len(response.body)).encode())
        start = {"type": "http.response.start", "status": response.status}
        await self.send({**start, "headers": [length, *response.headers]})
        await self.send({"type": "http.response.body", "body": response.body})

    async def send(self, message: Message) -> None:
        """Send the answer, or a part of it."""
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
        """Read at most so many bytes more of a body that was not read, and then close."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while self.unread and most > 0:
                    message = await self.receive()
                    most -= len(message.get("body", b""))
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


class _RewriteErrors:
    """Sends an answer of BentoML's; an error that has none of our codes yet gets our shape."""

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
                "This address takes another method; / describes which.",
                headers.get(b"allow", b"").decode("ascii"),
            )
        if status in ERROR_BY_STATUS:
            return ERROR_BY_STATUS[status]
        # What went wrong, if anything did, BentoML has logged without the request's id.
        logger.error(
            "request %s failed: BentoML answered %d", self.exchange.frame.request_id, status
        )
        return INTERNAL_ERROR if status >= 500 else ERROR_BY_STATUS[400]
