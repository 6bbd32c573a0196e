"""The gateway in front of a tiny application instead of BentoML's."""

import gc
import logging
from contextlib import nullcontext
from typing import Any

import anyio
import httpx
import pytest
from starlette import routing
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as StarlettesRequest
from starlette.responses import PlainTextResponse
from starlette.types import Message

from imaging.errors import DamagedPicture, SeveralDigits
from serving.api import responses
from serving.api.gateway import Gateway, Route, Started
from serving.api.http import Request, Response, in_json
from serving.settings import Settings
from tests.serving.asker import Asker, nothing, scope_of


async def hello(_: StarlettesRequest) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def status(request: StarlettesRequest) -> PlainTextResponse:
    raise HTTPException(request.path_params["status"], "a library's own words")


async def broken(_: StarlettesRequest) -> PlainTextResponse:
    raise RuntimeError("/a/path of ours")


async def crashing(_: Request) -> Response:
    raise RuntimeError("/a/path of ours")


async def ours(request: Request) -> Response:
    received = 0
    while True:
        message = await request.receive()
        received += len(message["body"])
        if not message["more_body"]:
            return in_json({"received": received})


async def counted(_: Request) -> Response:
    return in_json([])


async def leaving(_: Request) -> Response:
    raise ClientDisconnect


async def refusing(_: Request) -> Response:
    raise DamagedPicture("The picture is damaged.")


async def protocol(_address: str, _names: dict[str, str], request: Request) -> Response:
    return await refusing(request)


OTHERS = Starlette(
    routes=[
        routing.Route("/hello", hello),
        routing.Route("/ui/hello", hello),
        routing.Route("/livez", hello),
        routing.Route("/readyz", hello),
        routing.Route("/status/{status:int}", status),
        routing.Route("/broken", broken),
    ]
)
ROUTES = {
    "/ours": Route(ours, ("POST",)),
    "/refusing": Route(refusing),
    "/crashing": Route(crashing),
    "/leaving": Route(leaving),
    "/counted": Route(counted, ("GET", "HEAD"), wants_room=False),
}


def asker(**settings: Any) -> Asker:  # noqa: ANN401
    gateway = Gateway(
        OTHERS,
        Settings(**settings),
        start=lambda _: Started(ROUTES, protocol, nullcontext()),
        paths=["/hello", *ROUTES],
    )
    return Asker(gateway)


@pytest.fixture
def asked() -> Asker:
    return asker()


def error(response: httpx.Response) -> tuple[int, str, str]:
    """Return an error's status, code and message; check the shape and header of every error."""
    body = response.json()
    assert body.keys() == {"error"}
    found = body["error"]
    assert found.keys() == {"code", "message", "request_id"}
    assert found["request_id"] == response.headers["X-Request-ID"]
    return response.status_code, found["code"], found["message"]


def test_our_endpoints_are_answered_here(asked: Asker) -> None:
    assert asked.post("/ours", content=b"abc").json() == {"received": 3}


def test_all_else_goes_on(asked: Asker) -> None:
    response = asked.get("/hello")
    assert response.text == "hello"
    assert response.headers["X-Request-ID"]


def test_what_an_endpoint_refuses_is_said(asked: Asker) -> None:
    expected = (422, "damaged_image", "The picture is damaged.")
    assert error(asked.post("/refusing")) == expected


def test_what_the_protocol_refuses_is_said_in_its_shape(asked: Asker) -> None:
    response = asked.get("/v2/anything")
    assert response.status_code == 422
    assert response.json() == {"error": "The picture is damaged."}
    assert response.headers["X-Request-ID"]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/nothing", 404, "not_found"),
        ("/status/400", 400, "invalid_request"),
        ("/status/503", 503, "overloaded"),
        ("/status/504", 504, "timeout"),
        ("/status/413", 413, "invalid_request"),
        ("/status/418", 418, "invalid_request"),
        ("/status/500", 500, "internal_error"),
        ("/status/501", 501, "internal_error"),
        ("/broken", 500, "internal_error"),
    ],
)
def test_others_errors_are_said_in_our_words(
    asked: Asker, path: str, status: int, code: str
) -> None:
    response = asked.get(path)
    assert error(response)[:2] == (status, code)
    assert "own words" not in response.text
    assert "of ours" not in response.text


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/hello", {"GET", "HEAD"}),
        ("POST", "/counted", {"GET", "HEAD"}),
        ("GET", "/ours", {"POST"}),
        ("HEAD", "/ours", {"POST"}),
    ],
)
def test_a_method_that_is_not_taken_is_said_with_those_that_are(
    asked: Asker, method: str, path: str, allowed: set[str]
) -> None:
    response = asked.request(method, path)
    assert response.status_code == 405
    assert set(response.headers["Allow"].split(", ")) == allowed
    assert asked.request("GET" if method == "POST" else "POST", path).status_code == 200


@pytest.mark.parametrize(("method", "path"), [("GET", "/broken"), ("POST", "/crashing")])
def test_our_mistakes_are_in_the_log_with_the_requests_id(
    asked: Asker, method: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("bentoml").propagate = True
    response = asked.request(method, path, headers={"X-Request-ID": "mine"})
    assert error(response)[:2] == (500, "internal_error")
    assert "request mine failed" in caplog.text
    assert "RuntimeError: /a/path of ours" in caplog.text


def test_over_its_limit_it_refuses_all_but_health_checks_and_metrics() -> None:
    asked = asker(max_in_flight=1)
    asked.gateway.admission.in_flight = 1
    response = asked.post("/ours")
    assert error(response)[:2] == (503, "overloaded")
    assert response.headers["Retry-After"] == "1"
    assert error(asked.get("/ui/"))[:2] == (503, "overloaded")
    assert asked.get("/counted").json() == []
    assert asked.get("/livez").text == "hello"
    asked.gateway.admission.in_flight = 0
    assert asked.post("/ours").status_code == 200
    assert asked.gateway.admission.in_flight == 0


def test_the_pages_need_no_key() -> None:
    asked = asker(api_keys="first")
    assert asked.get("/ui/hello").text == "hello"
    assert error(asked.get("/hello"))[:2] == (401, "unauthorized")
    assert error(asked.get("/counted"))[:2] == (401, "unauthorized")
    assert error(asked.get("/uihello"))[:2] == (401, "unauthorized")


def test_while_it_drains_it_is_alive_and_not_ready(asked: Asker) -> None:
    assert asked.get("/readyz").text == "hello"
    asked.gateway.admission.draining.set()
    assert error(asked.get("/readyz"))[:2] == (503, "overloaded")
    assert asked.get("/livez").text == "hello"


def test_while_it_drains_every_answer_is_the_last_on_its_connection(asked: Asker) -> None:
    assert asked.get("/hello").headers.get("Connection") is None
    asked.gateway.admission.draining.set()
    for response in (asked.get("/hello"), asked.post("/ours"), asked.get("/nothing")):
        assert response.headers["Connection"] == "close"


def test_a_client_that_leaves_is_no_error(asked: Asker, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(AssertionError):  # httpx requires an answer
        asked.post("/leaving")
    assert caplog.text == ""
    assert asked.gateway.admission.in_flight == 0


def test_an_answer_before_the_body_is_read_is_the_last_on_its_connection(asked: Asker) -> None:
    for path in ("/refusing", "/crashing", "/nothing", "/hello", "/v2/anything"):
        assert asked.post(path, b"abc").headers["Connection"] == "close"
        assert "Connection" not in asked.post(path).headers, "there was no body"
    assert "Connection" not in asked.post("/ours", b"abc").headers
    full = asker(max_in_flight=1)
    full.gateway.admission.in_flight = 1
    assert full.post("/ours", b"abc").headers["Connection"] == "close"
    assert asker(api_keys="secret").post("/ours", b"abc").headers["Connection"] == "close"


class Endless:
    """Sends a body forever, and records the answer with the bytes sent before it."""

    def __init__(self) -> None:
        self.sent = 0
        self.heard: list[Message] = []

    async def receive(self) -> Message:
        await anyio.sleep(0)
        self.sent += 1_000
        return {"type": "http.request", "body": bytes(1_000), "more_body": True}

    async def send(self, message: Message) -> None:
        self.heard.append({**message, "sent": self.sent})


def test_what_is_sent_after_the_answer_is_read_for_a_while_and_no_longer() -> None:
    asked, client = asker(max_batch_bytes=50_000), Endless()
    scope = scope_of("/refusing", [(b"transfer-encoding", b"chunked")])
    anyio.run(asked.gateway, scope, client.receive, client.send)
    start, body, end = client.heard
    assert (b"connection", b"close") in start["headers"]
    assert (start["sent"], body["sent"]) == (0, 0), "the answer comes before the body is read"
    assert body["more_body"]
    assert end["sent"] == 50_000
    assert not end["more_body"]
    assert asked.gateway.admission.in_flight == 0


def test_what_is_refused_leaves_nothing_to_the_garbage_collector(asked: Asker) -> None:
    async def send(_: Message) -> None:
        pass

    async def ask() -> int:
        gc.collect()
        for _ in range(10):
            await asked.gateway(scope_of("/refusing"), nothing, send)
        return gc.collect()

    assert anyio.run(ask) == 0


def test_a_method_is_refused_also_by_who_does_not_say_which_it_takes(asked: Asker) -> None:
    response = asked.get("/status/405")
    assert error(response)[:2] == (405, "method_not_allowed")
    assert "Allow" not in response.headers


def test_an_error_of_another_kind_is_in_the_log_with_the_requests_id(
    asked: Asker, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("bentoml").propagate = True
    for status in (413, 500):
        asked.request("GET", f"/status/{status}", headers={"X-Request-ID": f"id-{status}"})
        assert f"request id-{status} failed: BentoML answered {status}" in caplog.text


def test_who_sends_several_digits_is_told_where_they_are_read() -> None:
    described = responses.describe(SeveralDigits("There are about 2 digits in the picture."))
    assert described["message"].endswith("picture. POST it to /read, which reads them all.")
