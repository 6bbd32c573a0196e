"""The Open Inference Protocol over HTTP, in this process: answers and errors."""

import gzip
import json
import random
import struct
import zlib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies
from starlette.applications import Starlette
from starlette.types import Message

from artifact import Reason
from serving.api.bodies import Bodies
from serving.api.gateway import Gateway, Started
from serving.inference.repository import Repository
from serving.protocol import inference, rest
from serving.settings import Settings
from tests.pictures import drawn
from tests.serving.asker import Asker, scope_of

IMAGES, LABELS = drawn.digits(70, seed=5)
INFER = "/v2/models/deeper/infer"
HEADER = "Inference-Header-Content-Length"


class Client(Asker):
    """Sends requests to the protocol's routes behind a gateway."""

    def __init__(self, **chosen: Any) -> None:  # noqa: ANN401
        settings = Settings(**chosen)
        self.repository = Repository(settings)

        async def run(function: Any, *arguments: object) -> Any:  # noqa: ANN401
            return await anyio.to_thread.run_sync(function, *arguments)

        def start(admission: Any) -> Started:  # noqa: ANN401
            server = inference.Server(self.repository, settings, run)
            routes = rest.Routes(server, admission, Bodies(10, 10**9), settings, run)
            return Started({}, routes.answer, nullcontext())

        super().__init__(Gateway(Starlette(), settings, start, paths=[]))

    def infer(self, body: bytes | dict[str, Any], **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("POST", INFER, content=content, headers=named)

    def error(self, body: bytes | dict[str, Any], **headers: str) -> str:
        """Send a request that is refused with status 400; return the message."""
        response = self.infer(body, **headers)
        assert response.status_code == 400, response.text
        assert response.json().keys() == {"error"}
        sentence = response.json()["error"]
        assert len(sentence) < 400, "the message stays short whatever was sent"
        return str(sentence)


@pytest.fixture(scope="module")
def asked() -> Client:
    return Client(max_batch=64)


@pytest.fixture(scope="module")
def example() -> bytes:
    return binary(images(2))[0]


def images(count: int = 1, **changes: object) -> dict[str, Any]:
    """Return an input with pixels in JSON."""
    shape = [count, 28, 28]
    tensor = {"name": "images", "datatype": "UINT8", "shape": shape}
    return {**tensor, "data": IMAGES[:count].ravel().tolist(), **changes}


def request(*inputs: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"inputs": list(inputs), **more}


def binary(tensor: dict[str, Any], size: int | None = None, **more: object) -> tuple[bytes, str]:
    """Return a request with a binary tensor, and the length of its JSON."""
    data = np.array(tensor["data"], np.uint8).tobytes()
    head = {name: value for name, value in tensor.items() if name != "data"}
    parameters = {"binary_data_size": len(data) if size is None else size}
    text = json.dumps(request({**head, "parameters": parameters}, **more)).encode()
    return text + data, str(len(text))


def outputs(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return {output["name"]: output for output in response.json()["outputs"]}


def test_every_way_in_has_the_same_answer(asked: Client) -> None:
    expected = asked.repository.get("deeper").predict(IMAGES[:5])
    nested = images(5, data=IMAGES[:5].tolist())
    unit = (IMAGES[:5] / 255).astype(np.float32)
    fp32 = {"name": "images_fp32", "datatype": "FP32", "shape": [5, 28, 28]}
    body, length = binary(images(5))
    brackets = request(images(5), id="[[[", parameters={"[": "[[["})
    for response in (
        asked.infer(brackets),
        asked.infer(request(images(5))),
        asked.infer(request(nested)),
        asked.infer(body, **{HEADER: length}),
        asked.infer(request(images(5, data=IMAGES[:5].ravel().astype(float).tolist()))),
        asked.infer(request({**fp32, "data": unit.ravel().tolist()})),
        asked.infer(request({**fp32, "data": unit.tolist()})),
    ):
        found = outputs(response)
        assert found["digit"]["data"] == expected.digits.tolist()
        assert found["digit"]["shape"] == [5]
        assert found["probabilities"]["shape"] == [5, 10]
        for name, values in (
            ("probabilities", expected.probabilities),
            ("logits", expected.logits),
            ("confidence", expected.confidences),
            ("typicality", expected.typicality),
        ):
            assert np.array_equal(np.float32(found[name]["data"]), values.ravel()), name
        assert expected.accepted is not None
        assert found["accepted"]["data"] == expected.accepted.tolist()
        assert expected.reasons is not None
        assert found["reason"]["data"] == [reason or "" for reason in expected.reasons]
        assert found["reason"]["shape"] == [5]


def test_pictures_are_answered(asked: Client) -> None:
    files = [drawn.encode(drawn.on_paper(digit)) for digit in (3, 7)]
    tensor = {"name": "pictures", "datatype": "BYTES", "shape": [2]}
    in_json = {**tensor, "data": [b64encode(file).decode() for file in files]}
    assert outputs(asked.infer(request(in_json)))["digit"]["data"] == [3, 7]
    raw = b"".join(struct.pack("<I", len(file)) + file for file in files)
    head = json.dumps(request({**tensor, "parameters": {"binary_data_size": len(raw)}})).encode()
    response = asked.infer(head + raw, **{HEADER: str(len(head))})
    assert outputs(response)["digit"]["data"] == [3, 7]


def test_id_and_parameters_come_back(asked: Client) -> None:
    sent = request(images(), id="mine", parameters={"a": 1, "b": "c", "d": True, "e": 0.5})
    answer = asked.infer(sent).json()
    assert answer["id"] == "mine"
    assert answer["parameters"] == {"a": 1, "b": "c", "d": True, "e": 0.5}
    strange = {"\0": "\0", "": "\U0001f642", 'quote"': "\\"}
    answer = asked.infer(request(images(), id="\0", parameters=strange, **strange)).json()
    assert answer["id"] == "\0"
    assert answer["parameters"] == strange
    assert "id" not in asked.infer(request(images())).json()
    assert "parameters" not in asked.infer(request(images())).json()


def test_outputs_come_as_they_are_asked_for(asked: Client) -> None:
    sent = request(
        images(2),
        outputs=[
            {"name": "logits", "parameters": {"classification": 3}},
            {"name": "digit"},
            {"name": "accepted", "parameters": {"binary_data": True}},
        ],
    )
    response = asked.infer(sent)
    length = int(response.headers[HEADER])
    answer = json.loads(response.content[:length])
    assert [output["name"] for output in answer["outputs"]] == ["logits", "digit", "accepted"]
    best, digit, accepted = answer["outputs"]
    logits = asked.repository.get("deeper").predict(IMAGES[:2]).logits
    ranked = np.argsort(-logits, axis=1)[:, :3]
    expected = [f"{logits[i, j]:f}:{j}" for i in range(2) for j in ranked[i]]
    assert best == {"name": "logits", "datatype": "BYTES", "shape": [2, 3], "data": expected}
    assert digit["data"] == ranked[:, 0].tolist()
    assert accepted["parameters"] == {"binary_data_size": 2}
    assert len(response.content) == length + 2


def test_in_binary_all_outputs_are_what_they_are_in_json(asked: Client) -> None:
    candidates, _ = drawn.digits(500, seed=11)
    reasons = asked.repository.get("deeper").predict(candidates).reasons
    assert reasons is not None
    chosen = [reasons.index(Reason.UNSURE), reasons.index(None), reasons.index(Reason.ATYPICAL)]
    tensor = images(3, data=candidates[chosen].ravel().tolist())
    expected = outputs(asked.infer(request(tensor)))
    assert expected["reason"]["data"] == ["unsure", "", "atypical"]
    response = asked.infer(request(tensor, parameters={"binary_data_output": True}))
    length = int(response.headers[HEADER])
    found, rest = json.loads(response.content[:length])["outputs"], response.content[length:]
    assert [output["name"] for output in found] == list(expected)
    dtypes = {"INT64": "<i8", "FP32": "<f4", "BOOL": "?"}
    for output in found:
        size = output["parameters"]["binary_data_size"]
        raw, rest = rest[:size], rest[size:]
        data = expected[output["name"]]["data"]
        if output["datatype"] == "BYTES":
            assert raw == b"".join(struct.pack("<I", len(text)) + text.encode() for text in data)
        else:
            dtype = dtypes[output["datatype"]]
            assert np.array_equal(np.frombuffer(raw, dtype), np.array(data, dtype))
    assert rest == b""


def test_as_many_classes_as_there_are(asked: Client) -> None:
    wanted = [{"name": "probabilities", "parameters": {"classification": 99}}]
    assert outputs(asked.infer(request(images(), outputs=wanted)))["probabilities"]["shape"] == [
        1,
        10,
    ]


def test_compressed_requests_are_read(asked: Client) -> None:
    sent = json.dumps(request(images())).encode()
    for encoding, packed in (("gzip", gzip.compress(sent)), ("deflate", zlib.compress(sent))):
        assert asked.infer(packed, Content_Encoding=encoding).status_code == 200


FP32 = {"name": "images_fp32", "datatype": "FP32", "shape": [1, 28, 28]}
PICTURES = {"name": "pictures", "datatype": "BYTES", "shape": [1]}

WRONG: list[tuple[str, bytes | dict[str, Any], str]] = [
    ("no JSON", b"{", "is not valid JSON"),
    ("not UTF-8", b'{"id": "\xff"}', "JSON"),
    ("empty", b"", "is not valid JSON"),
    ("a list", b"[]", "should be a valid dictionary"),
    ("deep lists", b"[" * 2_000 + b"]" * 2_000, "depth limit exceeded"),
    ("deep brackets", b"[" * 100_000 + b"]" * 100_000, "more than 62,032 values"),
    (
        "deep data",
        json.dumps(request(images(data=0))).encode()[:-4] + b"[" * 10**4,
        "not valid JSON",
    ),
    ("no inputs", {}, ": inputs: Field required"),
    ("empty inputs", request(), "Send one of the inputs images"),
    ("two inputs", request(images(), {**PICTURES, "data": []}), "'images' and 'pictures'"),
    ("the same twice", request(images(), images()), "'images' is sent more than once"),
    ("unknown", request(images(name="x")), "no input 'x'"),
    ("a long name", request(images(name="x" * 10**6)), "no input 'xxx"),
    ("datatype", request(images(datatype="FP32")), "'images' must have the datatype UINT8"),
    ("negative", request(images(shape=[-1, 28, 28])), "'images' must have the shape [N, 28, 28]"),
    ("zero", request(images(shape=[0, 28, 28], data=[])), "'images' must have the shape"),
    ("huge", request(images(shape=[10**18, 28, 28])), "'images' has 1000000000000000000 pictures"),
    ("beyond 64 bits", request(images(shape=[10**30, 28, 28])), ": inputs.0.shape.0: Input should"),
    ("too many", request(images(65)), "'images' has 65 pictures. Send at most 64"),
    ("other sides", request(images(shape=[28, 28, 1])), "'images' must have the shape"),
    ("many dimensions", request(images(shape=[1] * 999)), "'images' must have the shape"),
    (
        "too many dimensions",
        request(images(shape=[1] * 1_001)),
        ": inputs.0.shape: List should have at most 1000 items",
    ),
    ("too many inputs", request(*[{"name": "x"}] * 1_001), ": inputs: List should have at most"),
    (
        "lists among numbers",
        request(images(data=[0, [], [0, 0], *[0] * 781])),
        "'images' has values",
    ),
    ("lists in rows", request(images(data=[[[[0]] * 28] * 28])), "'images' has values"),
    ("a shape of text", request(images(shape="x")), "inputs.0.shape: Input should be a valid list"),
    (
        "a side of text",
        request(images(shape=[1, 28, "28"])),
        "shape.2: Input should be a valid int",
    ),
    ("an input without a name", request({"datatype": "UINT8"}), ": inputs.0.name: Field required"),
    ("too few", request(images(data=[0] * 783)), "'images' has 783 values"),
    ("too much", request(images(data=[0] * 785)), "'images' has 785 values"),
    ("beyond a byte", request(images(data=[256] + [0] * 783)), "'images' has values"),
    ("below zero", request(images(data=[-1] + [0] * 783)), "'images' has values"),
    (
        "a fraction",
        request(images(data=[0.5] + [0] * 783)),
        "'images' has values that are not whole",
    ),
    ("null", request(images(data=[None])), "'images' has values"),
    ("text", request(images(data=["0"] * 784)), "'images' has values"),
    ("ragged", request(images(data=[[[0] * 28] * 27 + [[0] * 27]])), "'images' has data"),
    ("hollow", request(images(data=[[[]] * 28])), "'images' has data"),
    ("too many values", request(images(data=[[[]] * 10**5])), "more than 62,032 values"),
    ("two deep", request(images(data=[[0] * 28] * 28)), "'images' has data"),
    ("no data", request({k: v for k, v in images().items() if k != "data"}), "'images' has nei"),
    ("beyond one", request({**FP32, "data": [1.5] * 784}), "'images_fp32' has values"),
    ("beyond FP32", request({**FP32, "data": [1e300] * 784}), "'images_fp32' has values"),
    (
        "not base64",
        request({**PICTURES, "data": ["?"]}),
        "'pictures' has no valid base64 in element 0",
    ),
    ("no picture", request({**PICTURES, "data": ["AAAA"]}), "Element 0 of the input 'pictures'"),
    ("no element", request({**PICTURES, "data": []}), "'pictures' has 0 values"),
    ("unknown output", request(images(), outputs=[{"name": "x"}]), "no output 'x'"),
    ("output twice", request(images(), outputs=[{"name": "digit"}] * 2), "'digit' is asked"),
    ("an id of numbers", request(images(), id=5), ": id: Input should be a valid string"),
    ("shapes of objects", request(images(shape=[{}, 28, 28])), "does not follow the protocol"),
    ("inputs of lists", request(inputs=[[]]), "does not follow the protocol"),
    ("too many parameters", request(parameters=dict.fromkeys(map(str, range(1_001)), 1)), "1000"),
    (
        "parameters of lists",
        request(images(), parameters={"a": []}),
        "The parameter 'a' must be text",
    ),
    (
        "no classes",
        request(images(), outputs=[{"name": "digit", "parameters": {"classification": 1}}]),
        "'digit' has no classes",
    ),
    (
        "none of the classes",
        request(images(), outputs=[{"name": "logits", "parameters": {"classification": 0}}]),
        "'logits'",
    ),
    (
        "shared memory",
        request(images(parameters={"shared_memory_region": "r"})),
        "'images' is in shared memory",
    ),
    (
        "to shared memory",
        request(images(), outputs=[{"name": "digit", "parameters": {"shared_memory_region": "r"}}]),
        "'digit' cannot be written to shared memory",
    ),
    (
        "data twice",
        request(images(parameters={"binary_data_size": 784})),
        "'images' has both data and a binary_data_size",
    ),
]


@pytest.mark.parametrize(("body", "sentence"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_what_is_wrong_is_said(asked: Client, body: bytes | dict[str, Any], sentence: str) -> None:
    assert sentence in asked.error(body)


@pytest.mark.parametrize(
    ("size", "cut", "more", "sentence"),
    [
        (784, 1, b"", "'images' announces 784 bytes of binary data, but the body has only 783"),
        (784, 0, b"x", "1 bytes more"),
        (10**18, 0, b"", "'images' announces 1000000000000000000 bytes"),
        (10**30, 0, b"", "must be a number of bytes, not 1e+30"),
        (-1, 0, b"", "binary_data_size of the input 'images'"),
        (783, 1, b"", "'images' has 783 values"),
    ],
)
def test_binary_data_that_do_not_fit_are_refused(
    asked: Client, size: int, cut: int, more: bytes, sentence: str
) -> None:
    body, length = binary(images(), size)
    body = body[: len(body) - cut] + more
    assert sentence in asked.error(body, **{HEADER: length})


@pytest.mark.parametrize("length", ["-1", "x", "", "1.5", "9" * 5_000, "1000000000", "²"])
def test_a_length_of_json_that_cannot_be(asked: Client, length: str) -> None:
    body, _ = binary(images())
    headers = {HEADER.encode(): length.encode()}
    response = asked.request("POST", INFER, content=body, headers=headers)
    assert response.status_code == 400
    assert "Inference-Header-Content-Length" in response.json()["error"]


def test_elements_that_end_in_the_middle(asked: Client) -> None:
    for raw in (b"\xff\xff\xff\xff", b"\x05\x00\x00\x00abc", b"\x01", bytes(8), b""):
        tensor = {**PICTURES, "parameters": {"binary_data_size": len(raw)}}
        head = json.dumps(request(tensor)).encode()
        sentence = asked.error(head + raw, **{HEADER: str(len(head))})
        assert "'pictures'" in sentence
    nan = np.full(784, np.nan, "<f4").tobytes()
    head = json.dumps(request({**FP32, "parameters": {"binary_data_size": len(nan)}})).encode()
    assert "'images_fp32'" in asked.error(head + nan, **{HEADER: str(len(head))})
    head = json.dumps(request({**FP32, "parameters": {"binary_data_size": 3}})).encode()
    assert "not a multiple of 4" in asked.error(head + b"abc", **{HEADER: str(len(head))})


def test_a_body_that_ends_too_early(asked: Client) -> None:
    assert "too early" in asked.error(gzip.compress(b"{}")[:-4], Content_Encoding="gzip")
    assert "does not match" in asked.error(b"{}", Content_Encoding="gzip")
    sent: list[Message] = []

    async def run() -> None:
        messages: Iterator[Message] = iter(
            [
                {"type": "http.request", "body": b'{"inputs', "more_body": True},
                {"type": "http.disconnect"},
            ]
        )

        async def receive() -> Message:
            return next(messages)

        async def send(message: Message) -> None:
            sent.append(message)

        await asked.gateway(scope_of(INFER), receive, send)

    anyio.run(run)
    assert sent == [], "no answer is sent once the client has left"


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_no_more_is_read_than_fits(asked: Client, encoding: str) -> None:
    zeros = bytes(100_000_000)
    body = gzip.compress(zeros, 1) if encoding == "gzip" else zeros
    response = asked.infer(body, Content_Encoding=encoding)
    assert response.status_code == 413
    assert "too large" in response.json()["error"]


def test_an_encoding_that_is_not_known(asked: Client) -> None:
    response = asked.infer(b"{}", Content_Encoding="br")
    assert response.status_code == 415
    assert "gzip or deflate" in response.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/models/", 404),
        ("GET", "/v2/models/nothing", 404),
        ("GET", "/v2/models/nothing/ready", 404),
        ("GET", "/v2/models/deeper/versions/7", 404),
        ("POST", "/v2/models/deeper/versions/7/infer", 404),
        ("POST", "/v2/models/nothing/infer", 404),
        ("GET", "/v2/models/nothing/stats", 404),
        ("GET", "/v2/models/deeper/infer", 405),
        ("POST", "/v2", 405),
        ("POST", "/v2/repository/models/deeper/load", 403),
        ("POST", "/v2/repository/models/deeper/unload", 403),
    ],
)
def test_what_is_not_there(asked: Client, method: str, path: str, status: int) -> None:
    response = asked.request(method, path)
    assert response.status_code == status
    assert response.json().keys() == {"error"}
    assert ("Allow" in response.headers) == (status == 405)


def test_while_it_drains_it_is_not_ready() -> None:
    asked = Client()
    assert asked.request("GET", "/v2/health/ready").json() == {"live": True, "ready": True}
    asked.gateway.admission.draining.set()
    assert asked.request("GET", "/v2/health/ready").status_code == 503
    assert asked.request("GET", "/v2/health/live").json() == {"live": True}


@pytest.mark.parametrize("name", ["accepted", "reason"])
def test_a_model_without_thresholds_does_not_say_what_it_accepts(asked: Client, name: str) -> None:
    card = asked.repository.get("baseline").card
    card.calibration.acceptance, kept = None, card.calibration.acceptance
    try:
        described = asked.request("GET", "/v2/models/baseline").json()
        assert name not in [output["name"] for output in described["outputs"]]
        wanted = [{"name": name}]
        response = asked.request(
            "POST", "/v2/models/baseline/infer", json=request(images(), outputs=wanted)
        )
        assert response.status_code == 400
    finally:
        card.calibration.acceptance = kept


def test_the_description_has_every_address() -> None:
    described = Client().request("GET", "/v2/openapi.json").json()["paths"]
    assert {path: {m.upper() for m in methods} for path, methods in described.items()} == {
        path: set(methods) for path, methods in rest.Routes.TABLE.items()
    }


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=strategies.integers(0, 2**32), length=strategies.integers(0, 400))
def test_whatever_is_sent_is_answered(
    asked: Client, example: bytes, seed: int, length: int
) -> None:
    """Send requests with some bytes changed, removed or inserted."""
    chance = random.Random(seed)
    body = bytearray(example)
    for _ in range(chance.randrange(1, 6)):
        place = chance.randrange(200)
        body[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
    response = asked.infer(bytes(body), **{HEADER: str(length)})
    assert response.status_code in {200, 400}
    if response.status_code == 400:
        assert response.json().keys() == {"error"}
