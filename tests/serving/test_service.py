"""Small requests are handled in the event loop's thread, large ones in another thread."""

import asyncio
import threading
from typing import Any

import httpx
import pytest
from starlette.types import Message

from serving import service
from serving.api import answers
from serving.api.requests import parse_picture
from serving.errors import TookTooLong, UnknownModel
from serving.inference.classifier import Classifier
from serving.service import INLINE_BYTES, DigitClassifier
from serving.settings import Settings
from tests.conftest import PATIENCE
from tests.pictures import drawn
from tests.serving.asker import request

SMALL = drawn.encode(drawn.on_paper(7))
MANY_PIXELS = drawn.encode(drawn.on_paper(7, side=400))
MANY_BYTES = SMALL + bytes(INLINE_BYTES)  # Pillow ignores bytes after the picture


def ask(api: str, picture: bytes) -> str:
    """Send a picture to a service in this process; return the body of its response."""
    sent: list[Message] = []

    async def receive() -> Message:
        if sent:
            await asyncio.Event().wait()  # the client stays connected
        sent.append({"type": "http.request", "body": picture, "more_body": False})
        return sent[0]

    async def run() -> str:
        digits: Any = DigitClassifier  # its decorators make it a bentoml.Service
        response = await getattr(digits.inner(), api)(request(receive))
        return str(response.body)

    return asyncio.run(run())


def thread_of(api: str, picture: bytes, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of the thread that answers a picture."""

    def answer(
        _: list[Classifier], open_picture: answers.Open, _explain: object
    ) -> list[dict[str, str]]:
        open_picture()
        return [{"thread": threading.current_thread().name}]

    monkeypatch.setattr(answers, api, answer)
    return ask(api, picture)


@pytest.mark.parametrize(
    ("picture", "threads"), [(SMALL, {"MainThread"}), (MANY_BYTES, {"ThreadPoolExecutor"})]
)
def test_a_large_request_is_read_in_a_thread(
    picture: bytes, threads: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = set()

    def parse(*arguments: Any) -> Any:  # noqa: ANN401  `parse_picture`'s own
        found.add(threading.current_thread().name.partition("-")[0])
        return parse_picture(*arguments)

    monkeypatch.setattr(service, "parse_picture", parse)
    ask("predict", picture)
    assert found == threads


def test_a_small_picture_is_answered_where_it_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    assert threading.current_thread().name in thread_of("predict", SMALL, monkeypatch)


LONG = pytest.mark.parametrize(
    ("api", "picture"),
    [("predict", MANY_PIXELS), ("predict", MANY_BYTES), ("read", SMALL)],
    ids=["many pixels", "many bytes", "several digits"],
)


@LONG
def test_what_takes_longer_is_answered_in_a_thread(
    api: str, picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert threading.current_thread().name not in thread_of(api, picture, monkeypatch)


@LONG
def test_an_answer_that_takes_too_long_is_given_up(
    api: str, picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up = threading.Event()

    def answer(_: Classifier, open_picture: answers.Open, _explain: object) -> dict[str, str]:
        open_picture()
        given_up.wait(PATIENCE)
        return {}

    monkeypatch.setattr(answers, api, answer)
    monkeypatch.setattr(service, "SETTINGS", Settings(timeout=0.05))
    try:
        with pytest.raises(TookTooLong):
            ask(api, picture)
    finally:
        given_up.set()


def test_a_request_that_names_no_model_is_told_why_there_is_none() -> None:
    digits: Any = DigitClassifier
    instance = digits.inner()
    instance.repository.unload("deeper")
    with pytest.raises(UnknownModel, match=r"default model, 'deeper', is not loaded.*baseline"):
        instance.classifier(None)
    with pytest.raises(UnknownModel, match="There is no model 'deeper'"):
        instance.classifier("deeper")


def test_with_a_star_pages_of_all_origins_may_read_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "SETTINGS", Settings(cors_origins=("*",)))
    digits: Any = DigitClassifier
    transport = httpx.ASGITransport(digits.to_asgi(is_main=False))

    async def preflight() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            asked = {"Origin": "https://any.example", "Access-Control-Request-Method": "POST"}
            return await client.options("/predict", headers=asked)

    assert asyncio.run(preflight()).headers["Access-Control-Allow-Origin"] == "*"
