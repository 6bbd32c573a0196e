"""The spans of a request as exported."""

import socket
import sys
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import StatusCode

from serving.api.admission import Admission
from serving.api.frame import Frames
from serving.errors import NotFound
from serving.settings import Settings
from serving.telemetry import traces
from serving.telemetry.traces import HTTPTrace, TracingError
from tests.conftest import PATIENCE

Exported = InMemorySpanExporter


def tracing(patch: pytest.MonkeyPatch, sampler: Sampler = ALWAYS_ON) -> Exported:
    """Install a tracer until the end of the test; return the exporter that collects its spans."""
    exported = InMemorySpanExporter()
    provider = TracerProvider(sampler, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    patch.setattr(traces, "tracer", provider.get_tracer("test"))
    return exported


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Exported:
    return tracing(monkeypatch)


@pytest.fixture
def frames() -> Frames:
    settings = Settings()
    return Frames(Admission(settings), settings, ["/predict"], HTTPTrace)


@pytest.fixture(autouse=True)
def none_current() -> Iterator[None]:
    token = traces.current.set(())
    yield
    traces.current.reset(token)


def attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def names(exported: Exported) -> Sequence[str]:
    return [span.name for span in exported.get_finished_spans()]


def test_without_a_tracer_there_is_nothing(frames: Frames) -> None:
    frame = frames.make("POST", "/predict", {})
    with frame:
        frame.status = 200
    assert frame.trace is None
    assert traces.current.get() == ()


def test_decoding_is_one_span_from_the_first_picture_to_the_last(exported: Exported) -> None:
    request = HTTPTrace("POST", "/predict_batch", {})
    for place in range(3):
        traces.decoded(place, place + 0.5)
    traces.called(4, 5, {"qmnist.model": "deeper"})
    request.end("mine", "/predict_batch", 200, None, None)
    network, decode, whole = exported.get_finished_spans()
    assert [network.name, decode.name, whole.name] == ["network", "decode", "POST /predict_batch"]
    assert attributes(decode) == {"qmnist.pictures": 3}
    assert decode.start_time is not None
    assert network.start_time is not None
    assert decode.end_time == decode.start_time + 2_500_000_000
    assert network.start_time == decode.start_time + 4_000_000_000
    assert whole.context is not None
    for child in (network, decode):
        assert child.parent is not None
        assert child.parent.span_id == whole.context.span_id


def test_a_call_for_several_requests_is_in_each(exported: Exported) -> None:
    requests = [HTTPTrace("POST", "/classify", {}) for _ in range(2)]
    traces.current.set(requests)
    traces.called(1, 2, {"qmnist.batch_size": 2})
    parents = [span.parent.span_id for span in exported.get_finished_spans() if span.parent]
    for request in requests:
        request.end("", "/classify", 200, None, None)
    spans = {span.context.span_id for span in exported.get_finished_spans()[2:] if span.context}
    assert set(parents) == spans
    assert len(spans) == 2


def test_a_mistake_of_ours_is_an_error_with_its_traceback(
    exported: Exported, frames: Frames
) -> None:
    with frames.make("POST", "/predict", {}):
        raise ZeroDivisionError("what only the operator sees")
    (span,) = exported.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(span)["http.response.status_code"] == 500
    assert attributes(span)["error.type"] == "internal_error"
    (event,) = span.events
    assert event.attributes is not None
    assert event.attributes["exception.type"] == "ZeroDivisionError"


def test_what_a_client_did_wrong_is_no_error_of_ours(exported: Exported, frames: Frames) -> None:
    with frames.make("POST", "/nowhere", {}):
        raise NotFound("There is nothing.")
    (span,) = exported.get_finished_spans()
    assert span.status.status_code is StatusCode.UNSET
    assert (span.name, span.events) == ("POST", ())
    assert attributes(span)["error.type"] == "not_found"
    assert "http.route" not in attributes(span)


@pytest.mark.parametrize("host", ["[", "x:y", "x:99999", "", "\xff:1"])
def test_whatever_a_client_sends_there_is_a_span(exported: Exported, host: str) -> None:
    headers = {"host": host, "traceparent": "00-zz-zz-01", "x-forwarded-proto": "gopher"}
    HTTPTrace("BREW", "/pot", headers).end("mine", None, 404, "not_found", None)
    (span,) = exported.get_finished_spans()
    assert (span.name, span.parent) == ("HTTP", None)
    assert attributes(span)["http.request.method"] == "_OTHER"
    assert attributes(span)["url.scheme"] == "http"


def test_a_request_that_the_sampler_leaves_out_has_an_id_alone(
    monkeypatch: pytest.MonkeyPatch, frames: Frames
) -> None:
    exported = tracing(monkeypatch, ALWAYS_OFF)
    traces.current.set((HTTPTrace("POST", "/predict", {}),))
    frame = frames.make("POST", "/predict", {})
    with frame:
        assert traces.current.get() == ()
        frame.status = 200
    assert exported.get_finished_spans() == ()
    assert frame.trace is not None
    assert int(frame.trace.trace_id, 16) > 0


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    with pytest.raises(
        TracingError, match=r"ENDPOINT needs an extra: install qmnist-digits\[tracing\]"
    ):
        traces.check()


@pytest.mark.full
def test_a_variable_that_cannot_be_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    traces.check()
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "0")
    with pytest.raises(TracingError, match=r"an OTEL_\* variable is wrong: max_queue_size must be"):
        traces.check()


@pytest.mark.full
def test_a_collector_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "FLUSH_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as collector:
        collector.settimeout(PATIENCE)
        host, port = collector.getsockname()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{host}:{port}")
        with traces.exporting():
            HTTPTrace("POST", "/predict", {}).end("mine", "/predict", 200, None, None)
        assert traces.tracer is None
        connection, _ = collector.accept()  # connected, and gets no answer
        connection.close()
