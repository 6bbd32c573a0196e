"""What every request passes first, before BentoML's server does anything with it.

It gives the request an id, keeps out whom it must, counts and logs, and sees to it that every
error has one shape, BentoML's own among them. What an API of ours answers it hands to that API
straight away: BentoML's layers for tracing, access log, timeouts and serialisation cost several
times what the digit costs. All else (health checks, `/classify` with its batches, the pages) goes
on to BentoML.
"""

import gc
import itertools
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Mapping

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import errors, logs, metrics, responses, shutdown
from serving.access import Keys
from serving.errors import InternalError, Overloaded, RequestError
from serving.settings import Log, Settings

logger = logging.getLogger("bentoml.digits")  # BentoML shows what is logged below "bentoml"

READY = "/readyz"
HEALTH = ("/livez", READY, "/healthz")

ID = b"x-request-id"
GOOD_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")

CLIENT_LEFT = 499  # nobody gets it; so nginx logs a client that did not wait

# BentoML's answers without digits, in our words.
OF_STATUS: dict[int, RequestError] = {
    400: errors.InvalidRequest("The request is not one that this address takes."),
    404: errors.NotFound("There is nothing at this address; / describes what there is."),
    405: errors.MethodNotAllowed("This address takes another method; / describes which."),
    415: errors.UnsupportedBody("This address takes no body of this type; / describes which."),
    503: Overloaded("The service is not ready, or has too much to do; try again in a second."),
    504: errors.TookTooLong("The answer was not found in time."),
}
OURS = InternalError("The service made a mistake; its log says which, beside this request's id.")

# Allocations until Python's garbage collector looks at what is young, middle-aged and old. The
# models and modules are frozen before, so that there is little that is old; see `Front._start`.
COLLECT_AT = (10_000, 20, 20)

Endpoint = Callable[[Request], Awaitable[Response]]


class Front:
    """An ASGI application in front of BentoML's.

    Args:
        app: BentoML's.
        endpoints: Gives the APIs that are answered here, by path, once the service has started.
        paths: All that are served, to be counted apart.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        endpoints: Callable[[], Mapping[str, Endpoint]],
        paths: Collection[str],
    ) -> None:
        self.app = app
        self.settings = settings
        self.keys = Keys(keys) if (keys := settings.all_api_keys()) else None
        self.in_flight = 0
        self.draining = False
        self._find_endpoints = endpoints
        self._endpoints: Mapping[str, Endpoint] = {}
        self._counter = metrics.RequestCounter(paths)
        self._ids = (f"{secrets.token_hex(4)}-{n:x}" for n in itertools.count(1))
        self._logs = settings.log is Log.JSON

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, self._starting(send))
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        path = scope["path"]
        request_id = self._id(scope)
        responses.request_id.set(request_id)
        outgoing = _Outgoing(send, request_id, self)
        self.in_flight += 1
        self._counter.begin()
        try:
            self._admit(scope)
            endpoint = self._endpoints.get(path)
            if endpoint is not None and scope["method"] == "POST":
                response = await endpoint(Request(scope, receive))
                await response(scope, receive, outgoing)
            else:
                await self.app(scope, receive, _InOurWords(outgoing, scope, receive))
        except RequestError as error:
            await responses.refuse(error)(scope, receive, outgoing)
        except ClientDisconnect:
            outgoing.status = CLIENT_LEFT
        except Exception:
            logger.exception("request %s failed", request_id)
            if outgoing.status is None:
                await responses.refuse(OURS)(scope, receive, outgoing)
        finally:
            self.in_flight -= 1
            seconds = time.perf_counter() - started
            status = outgoing.status or CLIENT_LEFT
            self._counter.end(path, status, seconds)
            if self._logs:
                logs.write(request_id, scope["method"], path, status, seconds)

    def _admit(self, scope: Scope) -> None:
        if scope["path"] in HEALTH:
            if self.draining and scope["path"] == READY:
                raise Overloaded("The service is going down; send no more requests here.")
            return
        if self.in_flight > self.settings.max_in_flight:
            raise Overloaded("The service has too much to do; try again in a second.")
        if self.keys is not None:
            self.keys.check(scope["headers"])

    def _id(self, scope: Scope) -> str:
        """Take the client's own id for the request, or else a new one."""
        for name, value in scope["headers"]:
            if name == ID and GOOD_ID.fullmatch(value):
                return str(value, "ascii")
        return next(self._ids)

    def _starting(self, send: Send) -> Send:
        async def wrapped(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._start()
            await send(message)

        return wrapped

    def _start(self) -> None:
        self._endpoints = self._find_endpoints()
        if self._logs:
            logs.start()
        metrics.forget_dead_workers()
        shutdown.drain_first(self.settings.drain, self._drain)
        # A full collection would look through all that the imports left, in a tenth of a second,
        # again and again. Nothing of that is garbage after this one.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT_AT)
        metrics.watch_collector()

    def _drain(self) -> None:
        self.draining = True


class _Outgoing:
    """Sends an answer, with the request's id."""

    __slots__ = ("front", "request_id", "send", "status")

    def __init__(self, send: Send, request_id: str, front: Front) -> None:
        self.send = send
        self.request_id = request_id
        self.front = front
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"].append((ID, self.request_id.encode("ascii")))
            if self.front.draining:
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
                answer = responses.refuse(OF_STATUS.get(message["status"], OURS))
                if b"allow" in headers:
                    answer.raw_headers.append((b"allow", headers[b"allow"]))
                await answer(self.scope, self.receive, self.outgoing)
                return
        await self.outgoing(message)
