"""A running server, queried as people's clients do."""

import base64
import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import bentoml
import httpx
import numpy as np
import pytest
from PIL import Image

from serving.offline.shards import Pixels
from serving.offline.sources import find_shards
from tests.conftest import COMMITTED_MODELS, StartServer
from tests.pictures import drawn

NAMES = ("baseline", "deeper", "dropout")
SEVEN = drawn.encode(drawn.on_paper(7))


def card(models: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((models / name / "card.json").read_text(encoding="utf-8"))
    return content


def test_every_test_digit_over_http_counts_as_the_card_does(
    start_server: StartServer, models: Path, data_root: Path
) -> None:
    """POST each digit as PNG (10,000 with QMNIST). `evaluate` checks the other models' counts."""
    counts: dict[str, dict[str, int]] = {}
    with start_server(models) as url:
        # Use one connection: this test isn't about opening thousands.
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        for shard in find_shards(str(data_root)):
            count = counts.setdefault(shard.group, {"correct": 0, "accepted": 0})
            batches = [batch for batch in shard.read(largest=0) if isinstance(batch, Pixels)]
            for batch in batches:
                for image, label in zip(batch.images, batch.labels, strict=True):
                    connection.request("POST", "/predict", drawn.encode(image))
                    response = connection.getresponse()
                    answer = json.load(response)
                    assert response.status == 200, answer
                    count["correct"] += answer["digit"] == int(label)
                    count["accepted"] += bool(answer["accepted"])
        connection.close()
    evaluation = card(models, "deeper")["evaluation"]
    assert counts == {
        split: {
            "correct": evaluation[split]["correct"],
            "accepted": evaluation[split].get("accepted", 0),
        }
        for split in counts
    }


def test_the_raw_body_and_the_form_are_answered_alike(server: str) -> None:
    raw = httpx.post(
        f"{server}/predict", content=SEVEN, headers={"Content-Type": "image/png"}
    ).json()
    form = httpx.post(f"{server}/predict", files={"image": ("7.png", SEVEN, "image/png")}).json()
    assert raw == form
    assert list(raw) == [
        *("digit", "confidence", "typicality", "accepted", "reason", "probabilities"),
        *("model", "version"),
    ]
    assert raw["digit"] == 7
    assert raw["confidence"] == max(raw["probabilities"]) == raw["probabilities"][7]
    assert sum(raw["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert raw["model"] == "deeper"
    assert raw["version"] == card(COMMITTED_MODELS, "deeper")["version"]


@pytest.mark.parametrize("path", ["/predict", "/predict_batch", "/read"])
@pytest.mark.parametrize(
    ("models", "named"),
    [("*", (*NAMES, "notebook")), ("dropout,baseline", ("dropout", "baseline"))],
)
def test_several_models_answer_as_each_does_alone(
    server: str, path: str, models: str, named: tuple[str, ...]
) -> None:
    files = {"images" if path == "/predict_batch" else "image": ("7.png", SEVEN, "image/png")}

    def ask(models: str) -> Any:  # noqa: ANN401  JSON
        return httpx.post(f"{server}{path}", params={"model": models}, files=files).json()

    alone = [ask(name) for name in named]
    assert [answer["model"] for answer in alone] == list(named)
    assert ask(models) == {"answers": alone}
    in_form = httpx.post(f"{server}{path}", data={"model": models}, files=files)
    assert in_form.json() == {"answers": alone}
    assert ask("baseline,largest")["error"]["code"] == "unknown_model"


def test_a_picture_in_json_is_answered_as_its_bytes_are(server: str) -> None:
    text = f"data:image/png;base64,{base64.b64encode(SEVEN).decode()}"
    alone = httpx.post(f"{server}/predict", content=SEVEN).json()
    assert httpx.post(f"{server}/predict", json={"image": text}).json() == alone
    read = httpx.post(f"{server}/read", json={"image": text, "explain": True}).json()
    assert read["text"] == "7"
    assert read["digits"][0]["explanation"]
    batch = httpx.post(f"{server}/predict_batch", json={"images": [text, text[:62]]}).json()
    assert [each.get("digit") for each in batch["predictions"]] == [7, None]
    refused = httpx.post(f"{server}/predict", json={"image": "http://localhost/7.png"})
    assert refused.status_code == 400


def test_a_model_that_is_named_again_and_again_answers_once(server: str) -> None:
    models = ",".join(["deeper"] * 5_000)
    answer = httpx.post(f"{server}/predict", params={"model": models}, content=SEVEN).json()
    assert [each["model"] for each in answer["answers"]] == ["deeper"]


@pytest.mark.parametrize("digit", range(10))
def test_a_drawing_is_read(server: str, digit: int) -> None:
    picture = drawn.encode(drawn.on_paper(digit, side=600), "JPEG")
    assert httpx.post(f"{server}/predict", content=picture).json()["digit"] == digit


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_digit_is_not_accepted(server: str, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)
    noise[:, [0, -1]] = noise[:, :, [0, -1]] = 0
    for picture in noise:
        response = httpx.post(f"{server}/predict?model={name}", content=drawn.encode(picture))
        assert response.status_code == 422 or not response.json()["accepted"]


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_picked_by_name(server: str, name: str) -> None:
    by_query = httpx.post(f"{server}/predict?model={name}", content=SEVEN).json()
    by_form = httpx.post(f"{server}/predict", files={"image": SEVEN}, data={"model": name}).json()
    assert by_query == by_form
    assert by_query["model"] == name
    assert by_query["version"] == card(COMMITTED_MODELS, name)["version"]


def test_bentomls_own_client(server: str, tmp_path: Path) -> None:
    path = tmp_path / "seven.png"
    path.write_bytes(SEVEN)
    expected = httpx.post(f"{server}/predict?model=baseline", content=SEVEN).json()
    with bentoml.SyncHTTPClient(server) as client:
        assert client.predict(image=path, model="baseline") == expected
        assert client.predict(path)["digit"] == 7
        with pytest.raises(bentoml.exceptions.NotFound, match="There is no model 'other'"):
            client.predict(image=path, model="other")


def test_an_unknown_model_is_404_and_lists_the_names(server: str) -> None:
    response = httpx.post(f"{server}/predict?model=other", content=SEVEN)
    assert response.status_code == 404
    assert response.json() == {
        "error": {
            "code": "unknown_model",
            "message": "There is no model 'other'. "
            "Choose one of baseline, deeper, dropout, notebook.",
            "request_id": response.headers["X-Request-ID"],
        }
    }


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_request"),
        (b"{}", 415, "not_an_image"),
        (b"hello", 415, "not_an_image"),
        (b'"http://localhost/7.png"', 415, "not_an_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "not_an_image"),
        (SEVEN[: len(SEVEN) // 2], 422, "damaged_image"),
        (SEVEN[:20], 422, "damaged_image"),
        (drawn.encode(Image.new("L", (100, 100), 255)), 422, "no_digit"),
        (drawn.encode(Image.new("1", (10_000, 5_000))), 413, "image_too_large"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 10_000_000, 413, "image_too_large"),
    ],
    ids=["empty", "json", "text", "url", "svg", "half", "header", "blank", "bomb", "too long"],
)
def test_what_is_wrong_is_said_and_hurts_nobody(
    server: str, body: bytes, status: int, code: str
) -> None:
    response = httpx.post(f"{server}/predict", content=body)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response.json()["error"]["message"].endswith(".")
    assert httpx.post(f"{server}/predict", content=SEVEN).json()["digit"] == 7


@pytest.mark.parametrize("content_type", ["application/json", "application/vnd.bentoml+pickle"])
def test_the_content_type_does_not_choose_a_parser(server: str, content_type: str) -> None:
    response = httpx.post(
        f"{server}/predict", content=b"{}", headers={"Content-Type": content_type}
    )
    assert 400 <= response.status_code < 500


def test_a_large_picture_holds_up_nobody(server: str) -> None:
    """Large and small pictures are sent together, and all are answered."""
    large = drawn.encode(drawn.on_paper(7).resize((4_200, 4_200)))
    with ThreadPoolExecutor(8) as pool:
        bodies = [large, SEVEN] * 10
        digits = pool.map(
            lambda body: httpx.post(f"{server}/predict", content=body, timeout=60).json()["digit"],
            bodies,
        )
        assert list(digits) == [7] * len(bodies)


def test_an_explanation_shows_what_was_seen(server: str) -> None:
    sheet = Image.new("L", (600, 400), 255)
    sheet.paste(drawn.on_paper(7), (280, 60))
    sheet.paste(0, (10, 10, 14, 14))  # a speck
    answer = httpx.post(f"{server}/predict?explain=true", content=drawn.encode(sheet)).json()
    explanation = answer["explanation"]
    seen = Image.open(BytesIO(base64.b64decode(explanation["pixels"])))
    assert (seen.size, seen.mode) == ((28, 28), "L")
    again = httpx.post(f"{server}/predict", content=drawn.encode(seen)).json()
    assert again["probabilities"] == answer["probabilities"]
    left, top, width, height = explanation["box"]
    assert 280 < left < left + width < 560
    assert 60 < top < top + height < 340
    assert explanation["polarity"] == "dark on light"
    assert explanation["removed"] == ["specks"]
    steps = [
        Image.open(BytesIO(base64.b64decode(explanation[step])))
        for step in ("decoded", "ink", "strokes")
    ]
    assert {(max(step.size), step.mode) for step in steps} == {(112, "L")}


def test_no_explanation_is_given_unasked(server: str) -> None:
    assert "explanation" not in httpx.post(f"{server}/predict", content=SEVEN).json()
