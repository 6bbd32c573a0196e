"""OpenTelemetry's traces: a span for each request, with children for what takes its time.

There is no tracer, and nothing is done for a request, unless `OTEL_EXPORTER_OTLP_ENDPOINT` says
where the spans go. All other `OTEL_*` variables the SDK reads by itself. Names are those of the
semantic conventions (https://opentelemetry.io/docs/specs/semconv/), or begin with `qmnist`.
"""

import os
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from urllib.parse import urlsplit

from opentelemetry import propagate, trace
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

import serving

SERVICE = "qmnist-digits"

# In which the last spans are sent when the service shuts down. The SDK would try for half a minute.
FLUSH_SECONDS = 2

# Those that the conventions know; a client may send others.
METHODS = frozenset(
    ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "QUERY")
)

Attributes = dict[str, AttributeValue]

tracer: Tracer | None = None


class TracingError(Exception):
    """There can be no traces as the environment wants them; the message is one sentence."""


class RequestTrace(ABC):
    """The spans of one request, which have the parent that its headers name.

    Args:
        name: Of the request's span, until it ends.
        attributes: What the sampler may know.
        headers: By their names in lower case.

    Attributes:
        trace_id: 32 hexadecimal digits.
    """

    def __init__(self, name: str, attributes: Attributes, headers: Mapping[str, str]) -> None:
        assert tracer is not None  # noqa: S101  who makes one has looked
        self._tracer = tracer
        # Spans have the time of day, and what is measured has a clock that nobody sets.
        self._clock = time.time_ns() - round(1e9 * time.perf_counter())
        parent = propagate.extract(headers)
        self._span: Span = tracer.start_span(name, parent, SpanKind.SERVER, attributes)
        self.trace_id = trace.format_trace_id(self._span.get_span_context().trace_id)
        self._decoded: tuple[float, float, int] | None = None
        current.set((self,) if self._span.is_recording() else ())  # as the sampler wants it

    @abstractmethod
    def describe(self, route: str | None, status: int) -> tuple[str, Attributes]:
        """Return the name and the attributes of the span of a request that was answered."""

    def decoded(self, started: float, ended: float) -> None:
        """Add a picture that was decoded between two times of `perf_counter`.

        All pictures of a request have one span together; a thousand would show no more.
        """
        first, _, count = self._decoded or (started, ended, 0)
        self._decoded = (first, ended, count + 1)

    def add(self, name: str, started: float, ended: float, attributes: Attributes) -> None:
        """Add a child, between two times of `perf_counter`."""
        context = trace.set_span_in_context(self._span)
        span = self._tracer.start_span(
            name, context, attributes=attributes, start_time=self._time(started)
        )
        span.end(self._time(ended))

    def end(
        self,
        request_id: str,
        route: str | None,
        status: int,
        error: str | None,
        exception: BaseException | None,
    ) -> None:
        """End the request's span.

        Args:
            request_id: The request's.
            route: The template of its address, if there is something at it.
            status: As HTTP has it.
            error: The code of what was wrong.
            exception: What was raised, if that is our mistake.
        """
        if not self._span.is_recording():
            return
        if self._decoded is not None:
            started, ended, count = self._decoded
            self.add("decode", started, ended, {"qmnist.pictures": count})
        name, attributes = self.describe(route, status)
        self._span.update_name(name)
        self._span.set_attributes({"qmnist.request_id": request_id, **attributes})
        if error is not None:
            self._span.set_attribute("error.type", error)
        if exception is not None:
            self._span.record_exception(exception)
        if status >= 500:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()

    def _time(self, seconds: float) -> int:
        return self._clock + round(1e9 * seconds)


class HTTPTrace(RequestTrace):
    """The spans of a request by HTTP."""

    def __init__(self, method: str, path: str, headers: Mapping[str, str]) -> None:
        self._method = method if method in METHODS else "_OTHER"
        self._headers = headers
        asked = {"http.request.method": self._method, "url.path": path}
        super().__init__(self._name, {**asked, "url.scheme": self._scheme}, headers)

    def describe(self, route: str | None, status: int) -> tuple[str, Attributes]:
        """Return the name and attributes that the conventions for HTTP have."""
        attributes: Attributes = {"http.response.status_code": status, **self._server()}
        if route is None:
            return self._name, attributes
        return f"{self._name} {route}", {**attributes, "http.route": route}

    @property
    def _name(self) -> str:
        return "HTTP" if self._method == "_OTHER" else self._method

    @property
    def _scheme(self) -> str:
        return "https" if self._headers.get("x-forwarded-proto") == "https" else "http"

    def _server(self) -> Attributes:
        try:
            host = urlsplit(f"//{self._headers.get('host', '')}")
            named = {"server.address": host.hostname, "server.port": host.port}
        except ValueError:  # a client may send anything
            return {}
        return {name: value for name, value in named.items() if value is not None}


# The requests for which something is being done: one, or those that one call of a network answers.
current: ContextVar[Sequence[RequestTrace]] = ContextVar("current", default=())


def decoded(started: float, ended: float) -> None:
    """Add to the current request that a picture was decoded."""
    for request in current.get():
        request.decoded(started, ended)


def called(started: float, ended: float, attributes: Attributes) -> None:
    """Add a call of a network to the current requests."""
    for request in current.get():
        request.add("network", started, ended, attributes)


def check() -> None:
    """Check that there can be traces as the environment wants them, by trying.

    Raises:
        TracingError: There cannot.
    """
    try:
        with exporting():
            pass
    except ImportError as error:
        raise TracingError(
            "OTEL_EXPORTER_OTLP_ENDPOINT needs an extra: install qmnist-digits[tracing], or unset "
            f"the variable ({error})"
        ) from error
    except ValueError as error:
        raise TracingError(f"an OTEL_* variable is wrong: {error}") from error


@contextmanager
def exporting() -> Iterator[None]:
    """Have a tracer, whose spans are sent from a thread of its own.

    A collector that does not answer holds up nobody: spans that it does not take are thrown away,
    and at the end the last are tried for `FLUSH_SECONDS`.
    """
    global tracer  # noqa: PLW0603  one a process
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415  an extra
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    own: dict[str, AttributeValue] = {
        "service.name": SERVICE,
        "service.version": serving.__version__,
        "service.instance.id": str(uuid.uuid4()),  # each worker is one
        "process.pid": os.getpid(),
    }
    # What the environment says of the service counts for more.
    resource = Resource.create(own).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    tracer = provider.get_tracer("serving", serving.__version__)
    try:
        yield
    finally:
        tracer = None
        # It cannot be told to hurry; the process does not wait for this thread.
        flushing = threading.Thread(target=provider.shutdown, daemon=True)
        flushing.start()
        flushing.join(FLUSH_SECONDS)
