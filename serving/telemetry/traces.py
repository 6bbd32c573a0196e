"""OpenTelemetry traces: a span per request, with child spans for decoding and the network.

Tracing is off unless `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is set.
The SDK reads the other `OTEL_*` variables. Names follow the semantic conventions
(https://opentelemetry.io/docs/specs/semconv/), or begin with `qmnist`.
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

# The time limit to send the last spans at shutdown; the SDK would try for half a minute.
FLUSH_SECONDS = 2

# The methods that the conventions name; clients may send others.
METHODS = frozenset(
    ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "QUERY")
)

Attributes = dict[str, AttributeValue]

tracer: Tracer | None = None


class TracingError(Exception):
    """Tracing cannot be set up as the environment requests; the message is the reason."""


class RequestTrace(ABC):
    """The spans of one request; their parent is named in its headers.

    Args:
        name: The name of the request's span until it ends.
        attributes: The attributes available to the sampler.
        headers: By lower-case name.

    Attributes:
        trace_id: 32 hexadecimal digits.
    """

    def __init__(self, name: str, attributes: Attributes, headers: Mapping[str, str]) -> None:
        assert tracer is not None  # noqa: S101  callers check it
        self._tracer = tracer
        # Spans need the time of day, but times are measured with a monotonic clock.
        self._clock = time.time_ns() - round(1e9 * time.perf_counter())
        parent = propagate.extract(headers)
        self._span: Span = tracer.start_span(name, parent, SpanKind.SERVER, attributes)
        self.trace_id = trace.format_trace_id(self._span.get_span_context().trace_id)
        self._decoded: tuple[float, float, int] | None = None
        current.set((self,) if self._span.is_recording() else ())  # the sampler decides

    @abstractmethod
    def describe(self, route: str | None, status: int) -> tuple[str, Attributes]:
        """Return the span's final name and attributes, once the request is answered."""

    def decoded(self, started: float, ended: float) -> None:
        """Add a picture decoded between two times of `perf_counter`.

        All pictures of a request share one span; a thousand spans would show no more.
        """
        first, _, count = self._decoded or (started, ended, 0)
        self._decoded = (first, ended, count + 1)

    def add(self, name: str, started: float, ended: float, attributes: Attributes) -> None:
        """Add a child span between two times of `perf_counter`."""
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
            request_id: The request's id.
            route: The template of its address, if known.
            status: The HTTP status.
            error: The error's code, if there is one.
            exception: The exception, if it is a bug.
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
    """The spans of an HTTP request."""

    def __init__(self, method: str, path: str, headers: Mapping[str, str]) -> None:
        self._method = method if method in METHODS else "_OTHER"
        self._headers = headers
        asked = {"http.request.method": self._method, "url.path": path}
        super().__init__(self._name, {**asked, "url.scheme": self._scheme}, headers)

    def describe(self, route: str | None, status: int) -> tuple[str, Attributes]:
        """Return the name and attributes of the conventions for HTTP."""
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


# The requests being worked on: one, or all that one call of a network answers.
current: ContextVar[Sequence[RequestTrace]] = ContextVar("current", default=())


def decoded(started: float, ended: float) -> None:
    """Add a decoded picture to the current request's trace."""
    for request in current.get():
        request.decoded(started, ended)


def called(started: float, ended: float, attributes: Attributes) -> None:
    """Add a call of a network to the current requests' traces."""
    for request in current.get():
        request.add("network", started, ended, attributes)


def check() -> None:
    """Check that tracing can be set up, by trying.

    Raises:
        TracingError: It cannot.
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
    """Set up the tracer, which sends spans from a thread of its own.

    An unreachable collector delays no request: its spans are dropped. At the end, the last spans
    are tried for `FLUSH_SECONDS`.
    """
    global tracer  # noqa: PLW0603  one per process
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
    # The environment's attributes take precedence.
    resource = Resource.create(own).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    tracer = provider.get_tracer("serving", serving.__version__)
    try:
        yield
    finally:
        tracer = None
        # This may take long, and the process does not wait for a daemon thread.
        flushing = threading.Thread(target=provider.shutdown, daemon=True)
        flushing.start()
        flushing.join(FLUSH_SECONDS)
