"""The Open Inference Protocol over gRPC, through Triton's client and gRPC's health checks."""

import asyncio
import json
import signal
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from serving.inference import artifacts
from serving.inference.classifier import Classifier, Predictions
from serving.settings import Provider
from tests.conftest import (
    COMMITTED_MODELS,
    PATIENCE,
    STOP_SECONDS,
    RunServer,
    Server,
    free_port,
    in_flight,
    is_ready,
    until,
)
from tests.pictures import drawn

IMAGES, _ = drawn.digits(20, seed=3)
KEY = [("x-api-key", "key")]  # the key of `strict`
SERVICE = "inference.GRPCInferenceService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def address(grpc_server: Server) -> str:
    return grpc_server.grpc


@pytest.fixture(scope="module")
def strict(run_server: RunServer) -> Iterator[Server]:
    """A server that requires a key and refuses large or slow messages."""
    with run_server(
        grpc_port=free_port(), api_keys="key", timeout=2, max_batch_bytes=1_000_000
    ) as server:
        yield server


@pytest.fixture
def client(address: str) -> Iterator[Any]:
    with triton.InferenceServerClient(address) as client:
        yield client


@pytest.fixture
def stub(address: str) -> Iterator[Any]:
    with grpc.insecure_channel(address) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


@pytest.fixture(scope="module")
def expected() -> Predictions:
    classifier = Classifier(artifacts.load(COMMITTED_MODELS / "deeper"), Provider.CPU)
    return classifier.predict(IMAGES)


def in_bytes(found: Predictions) -> list[bytes]:
    """Return the reasons for not accepting answers as the output `reason` encodes them."""
    assert found.reasons is not None
    return [(reason or "").encode() for reason in found.reasons]


def tensor(name: str, datatype: str, values: Any) -> Any:  # noqa: ANN401
    return triton.InferInput(name, list(values.shape), datatype).set_data_from_numpy(values)


def images(count: int = 1) -> Any:  # noqa: ANN401
    return tensor("images", "UINT8", IMAGES[:count])


def typed(count: int = 1, **contents: Any) -> Any:  # noqa: ANN401
    """Return a request with its contents in typed fields."""
    request = service_pb2.ModelInferRequest(model_name="deeper")
    sent = request.inputs.add(name="images", datatype="UINT8", shape=[count, 28, 28])
    fields = contents or {"uint_contents": IMAGES[:count].ravel().tolist()}
    for field, values in fields.items():
        getattr(sent.contents, field).extend(values)
    return request


def refused(call: Any, *arguments: Any, **named: Any) -> tuple[str, str]:  # noqa: ANN401
    """Make a call that is refused; return its status and message."""
    with pytest.raises((grpc.RpcError, InferenceServerException)) as caught:
        call(*arguments, **named)
    error = caught.value
    if isinstance(error, InferenceServerException):
        return str(error.status()), str(error.message())
    return str(error.code()), str(error.details())


def test_the_server_and_its_models_are_described(client: Any) -> None:  # noqa: ANN401
    card = json.loads((COMMITTED_MODELS / "deeper" / "card.json").read_text(encoding="utf-8"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("deeper")
    assert client.is_model_ready("deeper", card["version"])
    assert not client.is_model_ready("deeper", "other")
    assert not client.is_model_ready("unknown")
    assert client.get_server_metadata().name == "qmnist-digits"
    model = client.get_model_metadata("deeper", as_json=True)
    assert model["versions"] == [card["version"]]
    assert [each["name"] for each in model["inputs"]] == ["images", "images_fp32", "pictures"]
    assert model["inputs"][0]["shape"] == ["-1", "28", "28"]


def test_every_input_has_the_same_answer(client: Any, expected: Predictions) -> None:  # noqa: ANN401
    unit = (IMAGES / 255).astype(np.float32)
    for sent in (images(20), tensor("images_fp32", "FP32", unit)):
        answer = client.infer("deeper", [sent])
        assert np.array_equal(answer.as_numpy("digit"), expected.digits)
        assert np.array_equal(answer.as_numpy("probabilities"), expected.probabilities)
        assert np.array_equal(answer.as_numpy("logits"), expected.logits)
        assert np.array_equal(answer.as_numpy("confidence"), expected.confidences)
        assert np.array_equal(answer.as_numpy("typicality"), expected.typicality)
        assert expected.accepted is not None
        assert np.array_equal(answer.as_numpy("accepted"), expected.accepted)
        assert answer.as_numpy("reason").tolist() == in_bytes(expected)


def test_pictures_are_answered(client: Any) -> None:  # noqa: ANN401
    files = np.array([drawn.encode(drawn.on_paper(d)) for d in (3, 7)], dtype=np.object_)
    answer = client.infer("deeper", [tensor("pictures", "BYTES", files)])
    assert answer.as_numpy("digit").tolist() == [3, 7]


def test_typed_contents_are_answered_in_kind(stub: Any, expected: Predictions) -> None:  # noqa: ANN401
    answer = stub.ModelInfer(typed(20))
    assert not answer.raw_output_contents
    outputs = {output.name: output.contents for output in answer.outputs}
    assert list(outputs["digit"].int64_contents) == expected.digits.tolist()
    assert np.array_equal(np.float32(outputs["logits"].fp32_contents), expected.logits.ravel())
    assert expected.accepted is not None
    assert list(outputs["accepted"].bool_contents) == expected.accepted.tolist()
    assert list(outputs["reason"].bytes_contents) == in_bytes(expected)

    request = service_pb2.ModelInferRequest(model_name="deeper")
    sent = request.inputs.add(name="images_fp32", datatype="FP32", shape=[1, 28, 28])
    sent.contents.fp32_contents.extend((IMAGES[0] / 255).ravel().tolist())
    assert stub.ModelInfer(request).outputs[0].contents.int64_contents == [expected.digits[0]]

    request = service_pb2.ModelInferRequest(model_name="deeper")
    sent = request.inputs.add(name="pictures", datatype="BYTES", shape=[1])
    sent.contents.bytes_contents.append(drawn.encode(drawn.on_paper(7)))
    assert stub.ModelInfer(request).outputs[0].contents.int64_contents == [7]


def test_outputs_id_and_parameters(client: Any, expected: Predictions) -> None:  # noqa: ANN401
    wanted = [
        triton.InferRequestedOutput("logits", class_count=3),
        triton.InferRequestedOutput("digit"),
    ]
    parameters = {"text": "a", "whole": 7, "truth": True, "fraction": 0.5}
    answer = client.infer(
        "deeper", [images()], outputs=wanted, request_id="mine", parameters=parameters
    )
    response = answer.get_response()
    assert response.id == "mine"
    assert response.parameters["text"].string_param == "a"
    assert response.parameters["whole"].int64_param == 7
    assert response.parameters["truth"].bool_param is True
    assert response.parameters["fraction"].double_param == 0.5
    assert [output.name for output in response.outputs] == ["logits", "digit"]
    best = np.argsort(-expected.logits[0])[:3]
    texts = [f"{expected.logits[0, j]:f}:{j}".encode() for j in best]
    assert answer.as_numpy("logits").tolist() == [texts]


def test_tritons_asyncio_client(address: str, expected: Predictions) -> None:
    async def run() -> None:
        async with triton_aio.InferenceServerClient(address) as client:
            assert await client.is_server_ready()
            answers = await asyncio.gather(
                *(client.infer("deeper", [images(n)]) for n in range(1, 20))
            )
            for n, answer in enumerate(answers, 1):
                assert np.array_equal(answer.as_numpy("digit"), expected.digits[:n])

    asyncio.run(run())


def test_what_is_wrong_is_said(client: Any, stub: Any) -> None:  # noqa: ANN401
    """Check the errors that only gRPC has, and a few that HTTP has, too."""
    invalid = "StatusCode.INVALID_ARGUMENT"
    status, sentence = refused(client.infer, "unknown", [images()])
    assert status == "StatusCode.NOT_FOUND"
    assert (
        sentence
        == "There is no model 'unknown'. Choose one of baseline, deeper, dropout, notebook."
    )
    status, _ = refused(client.infer, "deeper", [images()], model_version="other")
    assert status == "StatusCode.NOT_FOUND"
    assert refused(client.get_model_metadata, "unknown")[0] == "StatusCode.NOT_FOUND"

    wrong = [tensor("images", "FP32", np.zeros((1, 28, 28), np.float32))]
    status, sentence = refused(client.infer, "deeper", wrong)
    assert status == invalid
    assert "'images' must have the datatype UINT8" in sentence
    for request, words in (
        (typed(uint_contents=[0] * 783), "'images' has 783 uint_contents"),
        (typed(uint_contents=[256] * 784), "'images' has values above 255"),
        (typed(int_contents=[0] * 784), "'images' has 0 uint_contents"),
    ):
        assert words in refused(stub.ModelInfer, request)[1]
    request = typed()
    request.raw_input_contents.append(bytes(784))
    assert "'images' has contents" in refused(stub.ModelInfer, request)[1]
    request = typed()
    request.raw_input_contents.extend([bytes(784)] * 2)
    assert "1 inputs and 2 raw_input_contents" in refused(stub.ModelInfer, request)[1]
    request = service_pb2.ModelInferRequest(model_name="deeper")
    request.inputs.add(name="images", datatype="UINT8", shape=[1, 28, 28])
    request.raw_input_contents.append(bytes(783))
    assert refused(stub.ModelInfer, request) == (
        invalid,
        "The input 'images' has 783 values, but its shape needs 784.",
    )
    request = typed()
    for _ in range(1_001):
        request.inputs.add(name="images")
    assert "more than 1,000 inputs or outputs" in refused(stub.ModelInfer, request)[1]
    request = typed()
    for n in range(1_001):
        request.inputs[0].parameters[str(n)].bool_param = True
    assert "more than 1,000 parameters" in refused(stub.ModelInfer, request)[1]
    request = typed()
    request.parameters["empty"].SetInParent()
    assert "'empty' has no value" in refused(stub.ModelInfer, request)[1]
    assert client.infer("deeper", [images()]).as_numpy("digit").shape == (1,)


def test_bytes_that_are_no_message(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        status, sentence = refused(infer, b"\xff\xff\xff")
    assert status == "StatusCode.INVALID_ARGUMENT"
    assert sentence.startswith("This is not a valid ModelInferRequest")


def test_a_request_that_does_not_come_is_given_up(strict: Server) -> None:
    """A call without a key is refused at once, without waiting for its request."""
    ended = threading.Event()

    def silence() -> Iterator[bytes]:
        ended.wait()
        yield from ()

    with grpc.insecure_channel(strict.grpc) as channel:
        infer = channel.stream_unary(f"/{SERVICE}/ModelInfer")
        try:
            without = refused(infer, silence(), timeout=PATIENCE)
            slow = refused(infer, silence(), timeout=PATIENCE, metadata=KEY)
        finally:
            ended.set()
        none = refused(infer, iter(()), metadata=KEY)
    assert without[0] == "StatusCode.UNAUTHENTICATED"
    assert slow == (
        "StatusCode.DEADLINE_EXCEEDED",
        "The request did not arrive within 2 seconds.",
    )
    assert none == ("StatusCode.INVALID_ARGUMENT", "The call ended without a request.")


def test_a_request_in_flight_is_answered_after_sigterm(run_server: RunServer) -> None:
    port = free_port()
    going_down = threading.Event()

    def request() -> Iterator[bytes]:
        assert going_down.wait(PATIENCE)
        yield typed().SerializeToString()

    with (
        run_server(grpc_port=port) as server,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        call = channel.stream_unary(f"/{SERVICE}/ModelInfer").future(request())
        until(lambda: in_flight(server.url) == 1)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: not is_ready(server.url))
        going_down.set()
        answer = service_pb2.ModelInferResponse.FromString(call.result(PATIENCE))
        server.process.wait(STOP_SECONDS)
    assert answer.outputs[0].name == "digit"


def test_an_answer_has_the_requests_id(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        request, mine = typed().SerializeToString(), (("x-request-id", "mine"),)
        _, call = infer.with_call(request, metadata=mine)
        assert dict(call.trailing_metadata()) == dict(mine)
        with pytest.raises(grpc.RpcError) as caught:
            infer(b"\xff", metadata=mine)
        assert dict(caught.value.trailing_metadata()) == dict(mine)


def test_a_message_that_is_too_large_is_not_read(strict: Server) -> None:
    with grpc.insecure_channel(strict.grpc) as channel:
        infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        assert refused(infer, bytes(2_000_000), metadata=KEY)[0] == "StatusCode.RESOURCE_EXHAUSTED"


def test_keys_are_wanted(strict: Server) -> None:
    with triton.InferenceServerClient(strict.grpc) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert check(strict.grpc, "") == SERVING
        assert refused(client.infer, "deeper", [images()])[0] == "StatusCode.UNAUTHENTICATED"
        assert refused(client.get_server_metadata)[0] == "StatusCode.UNAUTHENTICATED"
        wrong = {"x-api-key": "other"}
        status, _ = refused(client.infer, "deeper", [images()], headers=wrong)
        assert status == "StatusCode.UNAUTHENTICATED"
        for headers in ({"x-api-key": "key"}, {"authorization": "Bearer key"}):
            answer = client.infer("deeper", [images()], headers=headers)
            assert answer.as_numpy("digit").shape == (1,)
    assert "failed" not in strict.log.read_text(encoding="utf-8")


def test_while_it_drains_it_is_not_serving_and_answers(run_server: RunServer) -> None:
    port = free_port()
    with run_server(grpc_port=port, drain=2) as server:
        address = f"127.0.0.1:{port}"
        with triton.InferenceServerClient(address) as client:
            assert check(address, SERVICE) == SERVING
            server.process.send_signal(signal.SIGTERM)
            until(lambda: check(address, SERVICE) == NOT_SERVING)
            assert check(address, "") == NOT_SERVING
            assert not client.is_server_ready()
            assert not client.is_model_ready("deeper")
            assert client.infer("deeper", [images()]).as_numpy("digit").shape == (1,)
        server.process.wait(STOP_SECONDS)


def test_a_port_that_is_taken_stops_the_start(run_server: RunServer, address: str) -> None:
    port = int(address.rpartition(":")[2])
    sentence = f"QMNIST_GRPC_PORT={port} cannot be opened"
    with (
        pytest.raises(pytest.fail.Exception, match=sentence),
        run_server(grpc_port=port),
    ):
        pass


def test_requests_are_logged(grpc_server: Server) -> None:
    with triton.InferenceServerClient(grpc_server.grpc) as client:
        client.infer("deeper", [images()], headers={"x-request-id": "mine-1"})
        refused(client.infer, "unknown", [images()], headers={"x-request-id": "mine-2"})

    def logged() -> dict[str, Any]:
        text = grpc_server.log.read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        ours = [line for line in lines if SERVICE in line["path"]]
        return {line["request_id"]: (line["status"], line["path"]) for line in ours}

    until(lambda: "mine-2" in logged())
    assert logged()["mine-1"] == (200, f"/{SERVICE}/ModelInfer")
    assert logged()["mine-2"] == (404, f"/{SERVICE}/ModelInfer")


def check(address: str, service: str) -> Any:  # noqa: ANN401
    """Return the status of a service in gRPC's health check."""
    with grpc.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        return health_pb2_grpc.HealthStub(channel).Check(request).status
