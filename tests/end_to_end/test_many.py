"""Many pictures in one request: `/predict_batch` and `/classify`."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import bentoml
import httpx
import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from imaging import look, open_picture
from serving.inference import artifacts
from serving.inference.classifier import Classifier
from serving.offline.labelling import Count, Job, Labeller
from serving.offline.sources import find_shards
from serving.settings import Provider
from tests.archives import tarred, zipped
from tests.conftest import COMMITTED_MODELS, PATIENCE, RunServer
from tests.pictures import drawn

DIGITS = [3, 1, 4, 1, 5]
PICTURES = [drawn.encode(drawn.on_paper(digit)) for digit in DIGITS]
IMAGES = np.stack([look(open_picture(picture, 10**9)).pixels for picture in PICTURES])
RAW = {"Content-Type": "application/octet-stream"}
ROWS = {**RAW, "Accept": "application/octet-stream"}


@pytest.fixture(scope="module")
def small(run_server: RunServer) -> Iterator[str]:
    """The URL of a server that accepts at most five pictures per request."""
    with run_server(max_batch=len(DIGITS), max_batch_bytes=200_000) as server:
        yield server.url


def single(server: str, picture: bytes) -> dict[str, object]:
    answer: dict[str, object] = httpx.post(f"{server}/predict", content=picture).json()
    return {key: answer[key] for key in answer if key not in ("model", "version")}


def test_a_form_of_pictures_is_answered_as_each_alone(server: str) -> None:
    files = [("images", (f"{i}.png", picture)) for i, picture in enumerate(PICTURES)]
    answer = httpx.post(f"{server}/predict_batch", files=files).json()
    assert answer["model"] == "deeper"
    assert [p.pop("name") for p in answer["predictions"]] == [f"{i}.png" for i in range(5)]
    for prediction, picture in zip(answer["predictions"], PICTURES, strict=True):
        alone = single(server, picture)
        for name in ("probabilities", "confidence"):
            assert prediction.pop(name) == pytest.approx(alone.pop(name), abs=2e-6)
        assert prediction.pop("typicality") == pytest.approx(alone.pop("typicality"), rel=1e-4)
        assert prediction == alone


NAMED = {f"{i}.png": picture for i, picture in enumerate(PICTURES)}
PAGES = drawn.encode_all([drawn.on_paper(digit) for digit in DIGITS], "TIFF")


@pytest.mark.parametrize(
    "body", [zipped(NAMED), tarred(NAMED), PAGES], ids=["a zip", "a tar", "pages"]
)
def test_archives_and_pages_are_answered_in_order(server: str, body: bytes) -> None:
    answer = httpx.post(f"{server}/predict_batch?model=dropout", content=body).json()
    assert [prediction["digit"] for prediction in answer["predictions"]] == DIGITS
    assert answer["model"] == "dropout"


def test_a_bad_picture_has_its_error_in_its_place(server: str) -> None:
    bad = [b"text", b"", PICTURES[0][:60], drawn.encode(Image.new("L", (50, 50), 255))]
    files = [("images", body) for pair in zip(PICTURES, bad, strict=False) for body in pair]
    predictions = httpx.post(f"{server}/predict_batch", files=files).json()["predictions"]
    assert [prediction.get("digit") for prediction in predictions[::2]] == DIGITS[:4]
    codes = [prediction["error"]["code"] for prediction in predictions[1::2]]
    assert codes == ["not_an_image", "not_an_image", "damaged_image", "no_digit"]


def test_all_bad_is_an_answer_too(server: str) -> None:
    answer = httpx.post(f"{server}/predict_batch", files=[("images", b"text")])
    assert answer.status_code == 200
    assert "error" in answer.json()["predictions"][0]


def test_the_most_pictures_and_one_more(small: str) -> None:
    files = [("images", PICTURES[0])] * 6
    assert httpx.post(f"{small}/predict_batch", files=files[:5]).status_code == 200
    refused = httpx.post(f"{small}/predict_batch", files=files)
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "too_many_images")
    assert httpx.post(f"{small}/classify", content=bytes(5 * 784)).status_code == 200
    refused = httpx.post(f"{small}/classify", content=bytes(6 * 784))
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "too_many_images")


def test_a_body_that_is_too_large(small: str) -> None:
    refused = httpx.post(f"{small}/predict_batch", content=bytes(200_001))
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_request"),
        (b"hello", 415, "unsupported_media_type"),
        (PICTURES[0], 415, "unsupported_media_type"),
        (b"PK\x03\x04 and no more", 422, "damaged_archive"),
        (b"II*\0", 415, "not_an_image"),
    ],
)
def test_what_is_no_batch_is_said(server: str, body: bytes, status: int, code: str) -> None:
    response = httpx.post(f"{server}/predict_batch", content=body)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def classified(response: httpx.Response) -> list[int]:
    assert response.status_code == 200, response.text
    answer = response.json()
    lists = ("confidences", "typicalities", "accepted", "reasons")
    assert {len(answer[name]) for name in lists} == {len(answer["digits"])}
    for digit, confidence, probabilities in zip(
        answer["digits"], answer["confidences"], answer["probabilities"], strict=True
    ):
        assert probabilities[digit] == confidence == max(probabilities)
    digits: list[int] = answer["digits"]
    return digits


def test_bentoml_traces_nothing(server: str) -> None:
    """BentoML's tracing would add a header with an id, so its absence shows that it is off."""
    headers = httpx.post(f"{server}/classify", content=IMAGES.tobytes(), headers=RAW).headers
    assert headers["Server"] == "BentoML Service/qmnist-digits"
    assert "X-BentoML-Request-ID" not in headers


def test_pixels_as_bytes_and_as_json(server: str) -> None:
    url = f"{server}/classify"
    assert classified(httpx.post(url, content=IMAGES.tobytes(), headers=RAW)) == DIGITS
    assert classified(httpx.post(url, json=IMAGES.tolist())) == DIGITS
    named = httpx.post(url, json={"pixels": IMAGES.tolist(), "model": "baseline"})
    assert classified(named) == DIGITS
    assert named.json()["model"] == "baseline"


def test_rows_say_what_json_says(server: str) -> None:
    images = np.concatenate([IMAGES, drawn.digits(500, seed=11)[0]])
    for model in ("baseline", "deeper"):
        url = f"{server}/classify?model={model}"
        in_json = httpx.post(url, content=images.tobytes(), headers=RAW).json()
        for answer in (
            httpx.post(url, content=images.tobytes(), headers=ROWS),
            httpx.post(url, json=images.tolist(), headers={"Accept": ROWS["Accept"]}),
        ):
            assert answer.headers["Content-Type"] == "application/octet-stream"
            assert answer.headers["X-Model"] == in_json["model"] == model
            assert answer.headers["X-Model-Version"] == in_json["version"]
            rows = np.load(BytesIO(answer.content))
            assert rows["digit"].tolist() == in_json["digits"]
            for name, names in (
                ("confidence", "confidences"),
                ("typicality", "typicalities"),
                ("probabilities", "probabilities"),
            ):
                assert np.array_equal(rows[name].round(6), np.float32(in_json[names])), name
            assert rows["accepted"].tolist() == in_json["accepted"]
            assert [each.decode() or None for each in rows["reason"]] == in_json["reasons"]
            assert set(in_json["reasons"]) == {None, "unsure", "atypical"}


def test_who_asks_for_rows_gets_errors_in_json(server: str) -> None:
    response = httpx.post(f"{server}/classify", content=bytes(783), headers=ROWS)
    assert response.status_code == 400
    assert response.headers["Content-Type"] == "application/json"
    assert response.json()["error"]["code"] == "invalid_request"


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"content": b"", "headers": RAW}, 400, "invalid_request"),
        ({"content": bytes(783), "headers": RAW}, 400, "invalid_request"),
        ({"json": [[[0] * 27] * 28]}, 400, "invalid_request"),
        ({"json": {"pixels": "http://localhost/7.png"}}, 400, "invalid_request"),
        (
            {"content": b"{", "headers": {"Content-Type": "application/json"}},
            400,
            "invalid_request",
        ),
        ({"content": PICTURES[0], "headers": {"Content-Type": "image/png"}}, 415, None),
        ({"content": bytes(784), "params": {"model": "other"}}, 404, "unknown_model"),
        ({"content": bytes(20_000_000)}, 413, "body_too_large"),
    ],
)
def test_what_is_wrong_with_pixels_is_said(
    server: str, options: dict[str, object], status: int, code: str | None
) -> None:
    response = httpx.post(f"{server}/classify", **options)  # type: ignore[arg-type]
    assert response.status_code == status
    assert response.json()["error"]["code"] == (code or "unsupported_media_type")


def batches(client: httpx.Client) -> tuple[float, float]:
    """Return how many batches the networks have processed so far, and how many pictures in them."""
    samples = [
        (sample.name, sample.value)
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
    ]
    count, total = (
        sum(value for name, value in samples if name == f"qmnist_batch_size_{kind}")
        for kind in ("count", "sum")
    )
    return count, total


def test_every_way_in_says_the_same_of_why_not(server: str, tmp_path: Path) -> None:
    """Compare an accepted, an unsure and an atypical answer on every endpoint."""
    artifact = artifacts.load(COMMITTED_MODELS / "deeper")
    candidates, _ = drawn.digits(500, seed=11)
    predictions = Classifier(artifact, Provider.CPU).predict(candidates)
    assert predictions.reasons is not None
    reasons = [None, "unsure", "atypical"]
    chosen = [predictions.reasons.index(reason) for reason in reasons]  # type: ignore[arg-type]
    images, typicalities = candidates[chosen], predictions.typicality[chosen]
    files = {f"{i}.png": drawn.encode(image) for i, image in enumerate(images)}

    singles = [httpx.post(f"{server}/predict", content=file).json() for file in files.values()]
    read = [httpx.post(f"{server}/read", content=file).json() for file in files.values()]
    batch = httpx.post(f"{server}/predict_batch", content=zipped(files)).json()
    for answers in (singles, batch["predictions"], [each["digits"][0] for each in read]):
        found = [(each["accepted"], each["reason"]) for each in answers]
        assert found == [(True, None), (False, "unsure"), (False, "atypical")]
        scores = [each["typicality"] for each in answers]
        assert scores == pytest.approx(typicalities, rel=1e-4)

    classified = httpx.post(f"{server}/classify", content=images.tobytes(), headers=RAW).json()
    assert classified["reasons"] == reasons
    assert classified["typicalities"] == pytest.approx(typicalities, rel=1e-4)

    tensor = {"name": "images", "datatype": "UINT8", "shape": [3, 28, 28]}
    inputs = [{**tensor, "data": images.ravel().tolist()}]
    answer = httpx.post(f"{server}/v2/models/deeper/infer", json={"inputs": inputs}).json()
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    assert outputs["reason"] == ["", "unsure", "atypical"]
    assert outputs["typicality"] == pytest.approx(typicalities, rel=1e-4)

    for name, file in files.items():
        (tmp_path / name).write_bytes(file)
    job = Job(artifact, Provider.CPU, max_image_bytes=10**6, max_image_pixels=10**6)
    (shard,) = find_shards(str(tmp_path))
    (rows,) = Labeller(job).label(shard, Count())
    assert rows.predictions.reasons == reasons


def test_requests_that_are_batched_get_their_own_answers_and_errors(server: str) -> None:
    """Send 64 at a time, with different sizes, models and formats; some are invalid."""

    def ask(number: int) -> int:
        """Send a request and return how many pictures were classified."""
        if number % 8 == 7:
            response = client.post("/classify", content=bytes(100), headers=RAW)
            assert response.status_code == 400, response.text
            return 0
        size = 1 + number % 5
        model = ("baseline", "deeper", "dropout")[number % 3]
        in_rows = number % 4 == 2
        response = client.post(
            f"/classify?model={model}",
            content=IMAGES[:size].tobytes(),
            headers=ROWS if in_rows else RAW,
        )
        if in_rows:
            assert np.load(BytesIO(response.content))["digit"].tolist() == DIGITS[:size]
            assert response.headers["X-Model"] == model
        else:
            assert classified(response) == DIGITS[:size]
            assert response.json()["model"] == model
        return size

    limits = httpx.Limits(max_connections=64)
    with (
        httpx.Client(base_url=server, limits=limits, timeout=PATIENCE) as client,
        ThreadPoolExecutor(64) as pool,
    ):
        batches_before, pictures_before = batches(client)
        sizes = list(pool.map(ask, range(512)))
        batches_after, pictures_after = batches(client)
    assert pictures_after - pictures_before == sum(sizes)
    right = len([size for size in sizes if size])
    assert batches_after - batches_before < 0.9 * right  # at least some requests shared a batch


def test_bentomls_own_client(server: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(len(PICTURES))]
    for path, picture in zip(paths, PICTURES, strict=True):
        path.write_bytes(picture)
    with bentoml.SyncHTTPClient(server) as client:
        answer = client.predict_batch(images=paths, model="baseline")
        assert [prediction["digit"] for prediction in answer["predictions"]] == DIGITS
        assert client.classify(pixels=IMAGES.tolist())["digits"] == DIGITS
