"""Pictures with several digits, POSTed to a running server."""

from pathlib import Path

import bentoml
import httpx
import numpy as np
import pytest
from PIL import Image

from tests.pictures import drawn
from tests.pictures.drawn import page


def test_digits_are_read_with_their_boxes(server: str) -> None:
    answer = httpx.post(f"{server}/read", content=drawn.encode(page("902", "10"))).json()
    assert answer["text"] == "902\n10"
    assert [digit["digit"] for digit in answer["digits"]] == [9, 0, 2, 1, 0]
    assert answer["model"] == "deeper"
    boxes = np.array([digit["box"] for digit in answer["digits"]])
    assert boxes.shape == (5, 4)
    assert (np.diff(boxes[:3, 0]) > 80).all()
    assert (boxes[3:, 1] > boxes[:3, 1].max() + 80).all()
    for digit in answer["digits"]:
        assert 0 < digit["confidence"] <= 1
        assert digit["accepted"] is (digit["reason"] is None)
        assert "explanation" not in digit


def test_each_digit_can_be_explained(server: str) -> None:
    url = f"{server}/read?explain=true&model=baseline"
    answer = httpx.post(url, content=drawn.encode(page("42"))).json()
    assert answer["model"] == "baseline"
    for digit in answer["digits"]:
        assert digit["explanation"]["box"] == digit["box"]


def test_bentomls_client_reads(server: str, tmp_path: Path) -> None:
    path = tmp_path / "page.png"
    page("31").save(path)
    with bentoml.SyncHTTPClient(server) as client:
        assert client.read(image=path, explain=True)["text"] == "31"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_request"),
        (b"text", 415, "not_an_image"),
        (drawn.encode(Image.new("L", (90, 40), 255)), 422, "no_digit"),
    ],
)
def test_errors_are_predicts(server: str, body: bytes, status: int, code: str) -> None:
    response = httpx.post(f"{server}/read", content=body)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def test_predict_says_that_there_are_several(server: str) -> None:
    response = httpx.post(f"{server}/predict", content=drawn.encode(page("902")))
    assert (response.status_code, response.json()["error"]["code"]) == (422, "several_digits")
    assert "/read" in response.json()["error"]["message"]
