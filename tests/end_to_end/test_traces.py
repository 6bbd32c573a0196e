"""The real server's OpenTelemetry traces, as a collector receives them."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from tritonclient import grpc as triton

from tests.archives import zipped
from tests.conftest import RunServer, Server, free_port, until
from tests.pictures import drawn

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


class Collector:
    """Collects spans that are exported over HTTP; answers nobody while `well` is not set."""

    def __init__(self) -> None:
        self.url = ""
        self.well = threading.Event()
        self.well.set()
        self.asked = threading.Event()
        self._taken: list[tuple[Resource, Span]] = []

    def take(self, body: bytes) -> None:
        self.asked.set()
        self.well.wait()
        for of in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in of.scope_spans:
                self._taken += [(of.resource, span) for span in scope.spans]

    def request(self, request_id: str) -> tuple[Resource, Span]:
        """Return the resource and the span of a request, once exported."""

        def those() -> list[tuple[Resource, Span]]:
            return [
                (resource, span)
                for resource, span in self._taken
                if attributes(span).get("qmnist.request_id") == request_id
            ]

        until(lambda: bool(those()))
        (only,) = those()
        return only

    def children(self, parent: Span) -> list[Span]:
        found = [span for _, span in self._taken if span.parent_span_id == parent.span_id]
        return sorted(found, key=lambda span: span.start_time_unix_nano)


@dataclass(frozen=True)
class Traced:
    server: Server
    collector: Collector


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """A running collector."""
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            found.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", free_port()), Handler) as server:
        server.daemon_threads = True
        found.url = f"http://127.0.0.1:{server.server_port}"
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        yield found
        found.well.set()
        server.shutdown()
        serving.join()


@pytest.fixture(scope="module")
def traced(run_server: RunServer, collector: Collector) -> Iterator[Traced]:
    """A server that exports to `collector`; it must stop even if the collector hangs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        patch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        with run_server(grpc_port=free_port(), log="json") as server:
            yield Traced(server, collector)
            collector.well.clear()
            assert httpx.get(f"{server.url}/models").is_success


def attributes(of: Span | Resource) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in of.attributes
    }


def png(digit: int) -> bytes:
    return drawn.encode(drawn.on_paper(digit))


def ask(traced: Traced, path: str, content: bytes, request_id: str, **headers: str) -> int:
    sent = {"X-Request-ID": request_id, **headers}
    return httpx.post(f"{traced.server.url}{path}", content=content, headers=sent).status_code


def test_a_request_is_a_span_of_its_callers_trace_with_decoding_and_network(
    traced: Traced,
) -> None:
    assert ask(traced, "/predict?model=dropout", png(7), "one", traceparent=TRACEPARENT) == 200
    resource, span = traced.collector.request("one")
    assert (span.name, span.kind) == ("POST /predict", Span.SPAN_KIND_SERVER)
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    port = int(traced.server.url.rpartition(":")[2])
    assert attributes(span) == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/predict",
        "qmnist.request_id": "one",
        "server.address": "127.0.0.1",
        "server.port": port,
        "url.path": "/predict",
        "url.scheme": "http",
    }
    decode, network = traced.collector.children(span)
    assert (decode.name, attributes(decode)) == ("decode", {"qmnist.pictures": 1})
    assert network.name == "network"
    called = attributes(network)
    assert len(called.pop("qmnist.version")) == 12
    assert called == {
        "qmnist.model": "dropout",
        "qmnist.provider": "cpu",
        "qmnist.batch_size": 1,
    }
    ends = [
        span.start_time_unix_nano,
        *(decode.start_time_unix_nano, decode.end_time_unix_nano),
        *(network.start_time_unix_nano, network.end_time_unix_nano),
        span.end_time_unix_nano,
    ]
    assert ends == sorted(ends), "one after the other, within the request"
    assert {decode.trace_id, network.trace_id} == {span.trace_id}
    service = attributes(resource)
    assert service["service.name"] == "qmnist-digits"
    assert service["deployment.environment.name"] == "test"
    assert len(service["service.instance.id"]) == 36


def test_a_batch_in_a_thread_has_one_span_of_each(traced: Traced) -> None:
    archive = zipped({f"{n}.png": png(n) for n in range(10)})
    assert ask(traced, "/predict_batch?model=*", archive, "many") == 200
    _, span = traced.collector.request("many")
    decode, *networks = traced.collector.children(span)
    assert (decode.name, attributes(decode)) == ("decode", {"qmnist.pictures": 10})
    assert [attributes(each)["qmnist.batch_size"] for each in networks] == [10] * 4
    assert {attributes(each)["qmnist.model"] for each in networks} == {
        "baseline",
        "deeper",
        "dropout",
        "notebook",
    }


def test_requests_that_bentoml_batches_have_each_their_network(traced: Traced) -> None:
    pixels = json.dumps({"pixels": np.zeros((2, 28, 28), int).tolist()}).encode()
    for name in ("first", "second"):  # the first request starts the task that makes batches
        headers = {"Content-Type": "application/json"}
        assert ask(traced, "/classify", pixels, name, **headers) == 200
    for name in ("first", "second"):
        _, span = traced.collector.request(name)
        (network,) = traced.collector.children(span)
        assert (network.name, attributes(network)["qmnist.batch_size"]) == ("network", 2)


@pytest.mark.parametrize(
    ("path", "content", "name", "status", "code"),
    [
        ("/predict", b"no picture", "POST /predict", 415, "not_an_image"),
        ("/nowhere", b"", "POST", 404, "404"),
        ("/v2/models/x/infer", b"{}", "POST /v2/models/{model}/infer", 404, "unknown_model"),
    ],
)
def test_a_refused_request_says_why(
    traced: Traced, path: str, content: bytes, name: str, status: int, code: str
) -> None:
    assert ask(traced, path, content, f"refused-{status}-{code}") == status
    _, span = traced.collector.request(f"refused-{status}-{code}")
    found = attributes(span)
    assert (span.name, span.status.code) == (name, Status.STATUS_CODE_UNSET)
    assert (found["http.response.status_code"], found["error.type"]) == (status, code)
    assert traced.collector.children(span) == []


def test_a_call_by_grpc_is_one_too(traced: Traced) -> None:
    client = triton.InferenceServerClient(traced.server.grpc)
    sent = triton.InferInput("images", [3, 28, 28], "UINT8")
    sent.set_data_from_numpy(np.zeros((3, 28, 28), np.uint8))
    headers = {"x-request-id": "call", "traceparent": TRACEPARENT}
    client.infer("deeper", [sent], headers=headers)
    with pytest.raises(triton.InferenceServerException):
        client.infer("nobody", [sent], headers={"x-request-id": "wrong"})
    client.close()
    _, span = traced.collector.request("call")
    assert (span.name, span.kind) == (
        "inference.GRPCInferenceService/ModelInfer",
        Span.SPAN_KIND_SERVER,
    )
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert attributes(span) == {
        "rpc.system.name": "grpc",
        "rpc.method": "inference.GRPCInferenceService/ModelInfer",
        "rpc.response.status_code": grpc.StatusCode.OK.name,
        "qmnist.request_id": "call",
    }
    (network,) = traced.collector.children(span)
    assert attributes(network)["qmnist.batch_size"] == 3
    _, span = traced.collector.request("wrong")
    assert attributes(span)["rpc.response.status_code"] == grpc.StatusCode.NOT_FOUND.name
    assert attributes(span)["error.type"] == "unknown_model"


def test_the_log_names_the_trace(traced: Traced) -> None:
    assert ask(traced, "/predict", png(1), "logged", traceparent=TRACEPARENT) == 200

    def lines() -> list[str]:
        written = traced.server.log.read_text(encoding="utf-8").splitlines()
        return [line for line in written if '"request_id":"logged"' in line]

    until(lambda: bool(lines()))
    assert [json.loads(line)["trace_id"] for line in lines()] == [TRACE]


def test_a_collector_that_does_not_answer_holds_up_nobody(traced: Traced) -> None:
    traced.collector.well.clear()
    traced.collector.asked.clear()
    assert ask(traced, "/predict", png(2), "before") == 200
    assert traced.collector.asked.wait(30)
    assert ask(traced, "/predict", png(3), "meanwhile") == 200
    traced.collector.well.set()
    assert traced.collector.request("meanwhile")
