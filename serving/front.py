"""What every request passes first, before BentoML's server does anything with it.

It gives the request an id, keeps out whom it must, counts and logs, and sees to it that every
error has one shape, BentoML's own among them. What an API of ours answers it hands to that API
straight away: BentoML's layers for tracing, access log, timeouts and serialisation cost several
times what the digit costs. All else (health checks, `/classify` with its batches, the pages) goes
on to BentoML.
"""

import gc
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import errors, logs, metrics, pages, request_ids, responses, shutdown
from serving.admission import Admission
from serving.errors import Overloaded, RequestError
from serving.oip import rest
from serving.request_ids import RequestIds
from serving.responses import CLIENT_LEFT, MISTAKE
from serving.settings import Log, Settings

logger = logging.getLogger("bentoml.digits")  # BentoML shows what is logged below "bentoml"

READY = "/readyz"
METRICS = "/metrics"
HEALTH = ("/livez", READY, "/healthz", rest.LIVE, rest.READY)

ID = request_ids.HEADER.encode("ascii")

# BentoML's answers without digits, in our words.
OF_STATUS: dict[int, RequestError] = {
    400: errors.InvalidRequest("The request is not one that this address takes."),
    404: errors.NotFound("There is nothing at this address; / describes what there is."),
    415: errors.UnsupportedBody("This address takes no body of this type; / describes which."),
    503: Overloaded("The service is not ready, or has too much to do; try again in a second."),
    504: errors.TookTooLong("The answer was not found in time."),
}

# Allocations until Python's garbage collector looks at what is young, middle-aged and old. The
# models and modules are frozen before, so that there is little that is old; see `Front._start`.
COLLECT_AT = (10_000, 20, 20)

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


class Front:
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
        request_id = self._id(scope)
        responses.request_id.set(request_id)
        outgoing = _Outgoing(send, request_id, self.admission)
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
                await self.app(scope, receive, _InOurWords(outgoing, scope, receive))
            else:
                response = await endpoint(Request(scope, receive))
                await response(scope, receive, outgoing)
        except RequestError as error:
            await refuse(error)(scope, receive, outgoing)
        except ClientDisconnect:
            outgoing.status = CLIENT_LEFT
        except Exception:
            logger.exception("request %s failed", request_id)
            if outgoing.status is None:
                await refuse(MISTAKE)(scope, receive, outgoing)
        finally:
            self.admission.in_flight -= 1
            seconds = time.perf_counter() - started
            status = outgoing.status or CLIENT_LEFT
            self._counter.end(counted, status, seconds)
            if self._logs:
                logs.write(request_id, scope["method"], path, status, seconds)

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

    def _id(self, scope: Scope) -> str:
        sent = next((value for name, value in scope["headers"] if name == ID), None)
        return self._ids.take(sent)

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


class _Outgoing:
    """Sends an answer, with the request's id."""

    __slots__ = ("admission", "request_id", "send", "status")

    def __init__(self, send: Send, request_id: str, admission: Admission) -> None:
        self.send = send
        self.request_id = request_id
        self.admission = admission
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"].append((ID, self.request_id.encode("ascii")))
            if self.admission.draining.is_set():
                message["headers"].append((b"connection", b"close"))
        await self.send(message)


class _InOurWords:
    """Sends an answer of BentoML's; an error that is not of ours already is said in our words."""

    __slots__ = ("outgoing", "receive", "replaced", "scope")

    def __init__(self, outgoing: _Outgoing, scope: Scope, receive: Receive) -> None:
        self.outgoing = outgoing
        self.scope = scope
        self.receive = receive
        self.replaced = False

    async def __call__(self, message: Message) -> None:
        if self.replaced:
            return
        if message["type"] == "http.response.start" and message["status"] >= 400:
            headers = dict(message["headers"])
            if responses.OURS not in headers:
                self.replaced = True
                if message["status"] == errors.MethodNotAllowed.status:
                    error: RequestError = errors.MethodNotAllowed(
                        "This address takes another method; / describes which.",
                        allow=headers[b"allow"].decode("ascii"),
                    )
                else:
                    error = OF_STATUS.get(message["status"], MISTAKE)
                answer = responses.refuse(error)
                await answer(self.scope, self.receive, self.outgoing)
                return
        await self.outgoing(message)
