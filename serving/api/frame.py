"""Counts, logs and traces every request, over HTTP and gRPC, and catches its errors."""

import itertools
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Self

from starlette.requests import ClientDisconnect

from serving.api.admission import Admission
from serving.errors import REFUSALS, STATUS, InternalError, Refusal
from serving.settings import Log, Settings
from serving.telemetry import logs, metrics, traces
from serving.telemetry.traces import RequestTrace

logger = logging.getLogger("bentoml.digits")  # BentoML shows loggers below "bentoml"

CLIENT_DISCONNECTED = 499  # never sent; nginx logs the same number

INTERNAL_ERROR = InternalError(
    "The service failed. Its log has the details, under this request's id."
)

ID_HEADER = "x-request-id"
GOOD_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")

# The id of the current request.
request_id: ContextVar[str] = ContextVar("request_id")


class RequestIds:
    """Makes request ids, unique among workers."""

    def __init__(self) -> None:
        worker = secrets.token_hex(4)
        self._new = (f"{worker}-{n:x}" for n in itertools.count(1))

    def take(self, sent: str) -> str:
        """Return the client's id for a request if it is well-formed, or a new one."""
        return sent if GOOD_ID.fullmatch(sent) else next(self._new)


class Frames:
    """Makes the frames of one transport's requests.

    Args:
        admission: Where requests in flight are counted.
        settings: Whether requests are logged.
        paths: The paths with metrics of their own.
        trace: Makes a request's trace from its method, path and headers.
    """

    def __init__(
        self,
        admission: Admission,
        settings: Settings,
        paths: Iterable[str],
        trace: Callable[[str, str, Mapping[str, str]], RequestTrace],
    ) -> None:
        self.admission = admission
        self.counter = metrics.RequestCounter(paths)
        self.logs = settings.log is Log.JSON
        self._ids = RequestIds()
        self._trace = trace

    def make(self, method: str, path: str, headers: Mapping[str, str]) -> "Frame":
        """Make a request's frame; its headers may contain an id and a parent span."""
        frame = Frame(self, method, path, self._ids.take(headers.get(ID_HEADER, "")))
        if traces.tracer is not None:
            frame.trace = self._trace(method, path, headers)
        return frame


class Frame:
    """The context in which a request is answered: counts, logs, traces, and catches its errors.

    Attributes:
        request_id: The client's id, or a new one.
        counted: The path under which it is counted.
        status: The answer's HTTP status, once it has begun.
        refused: The error to answer with, after the context.
        trace: Its trace, if tracing is on.
    """

    __slots__ = (
        "_frames",
        "_method",
        "_path",
        "_started",
        "counted",
        "refused",
        "request_id",
        "status",
        "trace",
    )

    def __init__(self, frames: Frames, method: str, path: str, own_id: str) -> None:
        self._frames = frames
        self._method = method
        self._path = self.counted = path
        self.request_id = own_id
        self.status: int | None = None
        self.refused: Refusal | None = None
        self.trace: RequestTrace | None = None

    def __enter__(self) -> Self:
        request_id.set(self.request_id)
        self._frames.admission.in_flight += 1
        self._frames.counter.begin()
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        if isinstance(error, ClientDisconnect):
            self.status = CLIENT_DISCONNECTED
        elif isinstance(error, REFUSALS):
            # The traceback would refer back to this object, a cycle for the garbage collector.
            self.refused = error.with_traceback(None)
        elif isinstance(error, Exception):
            logger.error("request %s failed", self.request_id, exc_info=error)
            self.refused = INTERNAL_ERROR
        status = self.status or (STATUS[self.refused.code] if self.refused else CLIENT_DISCONNECTED)
        seconds = time.perf_counter() - self._started
        self._frames.admission.in_flight -= 1
        self._frames.counter.end(self.counted, status, seconds)
        if self.trace is not None:
            self._end_trace(self.trace, status, error)
        if self._frames.logs:
            trace_id = None if self.trace is None else self.trace.trace_id
            logs.write(self.request_id, self._method, self._path, status, seconds, trace_id)
        return isinstance(error, Exception)

    def _end_trace(self, trace: RequestTrace, status: int, error: BaseException | None) -> None:
        route = self.counted if self.counted in self._frames.counter.paths else None
        # Without a refusal: the client disconnected, or BentoML answered with an error.
        code = str(status) if status >= 400 else None
        if self.refused is not None:
            code = self.refused.code
        mistake = error if self.refused is INTERNAL_ERROR else None
        trace.end(self.request_id, route, status, code, mistake)
