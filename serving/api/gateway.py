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
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import errors, shutdown
from serving.api import pages, request_ids, responses
from serving.api.admission import Admission
from serving.api.request_ids import RequestIds
from serving.api.responses import CLIENT_LEFT, MISTAKE
from serving.errors import REFUSALS, STATUS, Overloaded, Refusal
from serving.protocol import rest
from serving.settings import Log, Settings
from serving.telemetry import logs, metrics

logger = logging.getLogger("bentoml.digits")  # BentoML shows what is logged below "bentoml"

READY = "/readyz"
METRICS = "/metrics"
HEALTH = ("/livez", READY, "/healthz", rest.LIVE, rest.READY)

ID = request_ids.HEADER.encode("ascii")

# BentoML's answers without digits, in our words.
OF_STATUS: dict[int, Refusal] = {
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


@dataclass(frozen=True)
class Answered:
    """What is answered here.

    Attributes:
        apis: The APIs, by path; all take POST.
        protocol: Answers all below `/v2`.
        beside: Entered when the service has started, and left when it ends.
    """

    apis: Mapping[str, Endpoint]
    protocol: Endpoint
    beside: AbstractAsyncContextManager[None]


class Gateway:
    """An ASGI application in front of BentoML's.

    Args:
        app: BentoML's.
        answered: Says what is answered here, once the service has started.
        paths: All that are served, to be counted apart.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        answered: Callable[[Admission], Answered],
        paths: Collection[str],
    ) -> None:
        self.app = app
        self.settings = settings
        self.admission = Admission(settings)
        self._find_answered = answered
        self._answered: Answered
        self._counter = metrics.RequestCounter([*paths, *rest.Routes.TABLE, f"{pages.UI}/"])
        self._ids = RequestIds()
        self._logs = settings.log is Log.JSON

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        path = counted = scope["path"]
        exchange = _Exchange(scope, receive, send, self._ids, self.admission)
        responses.request_id.set(exchange.request_id)
        is_v2 = rest.is_under(path)
        refuse = rest.refuse if is_v2 else responses.refuse
        self.admission.in_flight += 1
        self._counter.begin()
        try:
            self._admit(scope)
            endpoint: Endpoint | None = None
            if is_v2:
                counted, _ = rest.template(path)
                endpoint = self._answered.protocol
            elif pages.is_page(path):
                counted = f"{pages.UI}/"
            elif scope["method"] == "POST":
                endpoint = self._answered.apis.get(path)
            if endpoint is None:
                await self.app(scope, exchange.receive, _InOurWords(exchange, scope))
            else:
                response = await endpoint(Request(scope, exchange.receive))
                await response(scope, exchange.receive, exchange.send)
        except REFUSALS as error:
            await refuse(error)(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            exchange.status = CLIENT_LEFT
        except Exception:
            logger.exception("request %s failed", exchange.request_id)
            if exchange.status is None:
                await refuse(MISTAKE)(scope, exchange.receive, exchange.send)
        finally:
            self.admission.in_flight -= 1
            seconds = time.perf_counter() - started
            status = exchange.status or CLIENT_LEFT
            self._counter.end(counted, status, seconds)
            if self._logs:
                logs.write(exchange.request_id, scope["method"], path, status, seconds)
        await exchange.end(self.settings.max_batch_bytes)

    def _admit(self, scope: Scope) -> None:
        path = scope["path"]
        if path in HEALTH:
            if path == READY and self.admission.draining.is_set():
                raise Overloaded("The service is going down; send no more requests here.")
        elif path == METRICS:  # it is looked at most when there is too much to do
            self.admission.check_key(scope["headers"])
        elif pages.is_page(path):  # it asks for a key, and so must be there without
            self.admission.check_room()
        else:
            self.admission.check(scope["headers"])

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start when BentoML's application has started, and end when it is about to."""
        async with AsyncExitStack() as beside:

            async def sending(message: Message) -> None:
                if message["type"] == "lifespan.startup.complete":
                    self._start()
                    await beside.enter_async_context(self._answered.beside)
                await send(message)

            async def receiving() -> Message:
                message = await receive()
                if message["type"] == "lifespan.shutdown":
                    await beside.aclose()
                return message

            await self.app(scope, receiving, sending)

    def _start(self) -> None:
        self._answered = self._find_answered(self.admission)
        if self._logs:
            logs.start()
        metrics.forget_dead_workers()
        shutdown.drain_first(self.settings.drain, self.admission.draining.set)
        # A full collection would look through all that the imports left, in a tenth of a second,
        # again and again. Nothing of that is garbage after this one.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT_AT)
        metrics.watch_collector()


class _Exchange:
    """A request's messages and its answer's, which has the request's id.

    A client that is answered before all of its body was read may go on sending it. So that answer
    is the last on its connection, which is closed once the client has had time to read it: closed
    at once, what is still on its way could make the client's system throw the answer away.

    Attributes:
        status: Of the answer, once it has begun.
    """

    __slots__ = ("_admission", "_lingers", "_receive", "_send", "_unread", "request_id", "status")

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, ids: RequestIds, admission: Admission
    ) -> None:
        sent, self._unread = None, False
        for name, value in scope["headers"]:
            if name == ID:
                sent = value
            elif name == b"content-length":
                self._unread = value != b"0"
            elif name == b"transfer-encoding":
                self._unread = True
        self.request_id = ids.take(sent)
        self._receive = receive
        self._send = send
        self._admission = admission
        self.status: int | None = None
        self._lingers = False

    async def receive(self) -> Message:
        """Receive what the client sends."""
        message = await self._receive()
        if not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        """Send the answer, or a part of it."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"].append((ID, self.request_id.encode("ascii")))
            if self._unread or self._admission.draining.is_set():
                message["headers"].append((b"connection", b"close"))
        elif self._unread and not message.get("more_body", False):
            self._lingers = True
            message["more_body"] = True
        await self._send(message)

    async def end(self, most: int) -> None:
        """Where the body was not read: read at most so many bytes more of it, and then close."""
        if not self._lingers:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while self._unread and most > 0:
                    message = await self.receive()
                    most -= len(message.get("body", b""))
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


class _InOurWords:
    """Sends an answer of BentoML's; an error that is not of ours already is said in our words."""

    __slots__ = ("exchange", "replaced", "scope")

    def __init__(self, exchange: _Exchange, scope: Scope) -> None:
        self.exchange = exchange
        self.scope = scope
        self.replaced = False

    async def __call__(self, message: Message) -> None:
        if self.replaced:
            return
        if message["type"] == "http.response.start" and message["status"] >= 400:
            headers = dict(message["headers"])
            if responses.OURS not in headers:
                self.replaced = True
                answer = responses.refuse(self._error(message["status"], headers))
                answer.status_code = message["status"]
                await answer(self.scope, self.exchange.receive, self.exchange.send)
                return
        await self.exchange.send(message)

    def _error(self, status: int, headers: Mapping[bytes, bytes]) -> Refusal:
        if status == STATUS[errors.MethodNotAllowed.code]:
            return errors.MethodNotAllowed(
                "This address takes another method; / describes which.",
                headers.get(b"allow", b"").decode("ascii"),
            )
        if status in OF_STATUS:
            return OF_STATUS[status]
        # What went wrong, if anything did, BentoML has logged without the request's id.
        logger.error("request %s failed: BentoML answered %d", self.exchange.request_id, status)
        return MISTAKE if status >= 500 else OF_STATUS[400]
