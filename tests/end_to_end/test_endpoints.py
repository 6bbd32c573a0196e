"""The endpoints that describe the service: models, pages, metrics, OpenAPI."""

import hashlib
import json
import re

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import COMMITTED_MODELS, RunServer, Server, until
from tests.pictures import drawn


def test_models_lists_what_the_cards_say(server: str) -> None:
    listed = httpx.get(f"{server}/models").json()
    assert listed["default"] == "deeper"
    for model in listed["models"]:
        assert model.pop("provider") == "cpu"
        path = COMMITTED_MODELS / model["name"] / "card.json"
        assert model == {"comparison": False, **json.loads(path.read_text(encoding="utf-8"))}
    marks = {model["name"]: model["comparison"] for model in listed["models"]}
    assert marks == {"baseline": False, "deeper": False, "dropout": False, "notebook": True}


def test_a_models_file_can_be_downloaded(server: str) -> None:
    card = json.loads((COMMITTED_MODELS / "notebook" / "card.json").read_text(encoding="utf-8"))
    params = {"model": "notebook", "version": card["version"]}
    downloaded = httpx.get(f"{server}/model.onnx", params=params)
    assert hashlib.sha256(downloaded.content).hexdigest() == card["files"]["model.onnx"]
    assert downloaded.headers["content-type"] == "application/octet-stream"
    assert downloaded.headers["cache-control"] == "private, max-age=31536000, immutable"
    default = httpx.get(f"{server}/model.onnx")
    assert default.content == (COMMITTED_MODELS / "deeper" / "model.onnx").read_bytes()
    assert default.headers["cache-control"] == "no-cache"
    for unknown in ({"model": "other"}, {"version": "other"}):
        refused = httpx.get(f"{server}/model.onnx", params=unknown)
        assert refused.status_code == 404
        assert refused.json()["error"]["code"] == "unknown_model"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
def test_health_checks(server: str, path: str) -> None:
    assert httpx.get(f"{server}{path}").status_code == 200


def test_the_swagger_page_shows_the_endpoints(server: str) -> None:
    page = httpx.get(server)
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "://" not in page.text  # nothing from another host
    linked = re.findall(r'(?:src|href)="([^":]+)"', page.text)
    assert len(linked) == 4
    assert all(httpx.get(f"{server}/{path}").status_code == 200 for path in linked)
    assert "docs.json" in httpx.get(f"{server}/static_content/swagger-initializer.js").text
    paths = httpx.get(f"{server}/docs.json").json()["paths"]
    assert paths.keys() == {
        *("/predict", "/predict_batch", "/read", "/classify", "/models", "/model.onnx"),
        *("/livez", "/healthz", "/readyz", "/metrics"),
    }


def test_the_log_says_where_the_page_is(grpc_server: Server) -> None:
    """The line appears once, whichever of the two workers is ready first."""
    until(lambda: "Draw a digit" in grpc_server.log.read_text(encoding="utf-8"))
    log = grpc_server.log.read_text(encoding="utf-8")
    assert log.count(f"Draw a digit: {grpc_server.url}/ui/\n") == 1


@pytest.mark.parametrize("path", ["/ui/", "/ui/models", "/ui/report", "/ui/main.js"])
def test_the_pages_take_nothing_from_elsewhere(server: str, path: str) -> None:
    page = httpx.get(server + path)
    assert page.is_success
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["cache-control"] == "no-cache"


def test_the_pages_files_are_sent_once(server: str) -> None:
    first = httpx.get(f"{server}/ui/main.js")
    again = httpx.get(f"{server}/ui/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304


def test_addresses_beside_the_pages(server: str) -> None:
    assert httpx.get(f"{server}/ui").headers["location"] == "ui/"
    for path in ("/ui/nothing", "/ui/..%2fendpoints.html", "/ui/report/nothing.png", "/uist"):
        missing = httpx.get(server + path)
        assert missing.status_code == 404, path
        assert missing.json()["error"]["code"] == "not_found"


def test_metrics_count_what_was_answered(run_server: RunServer) -> None:
    seven = drawn.encode(drawn.on_paper(7))
    with run_server() as server, httpx.Client(base_url=server.url) as client:
        for _ in range(3):
            answer = client.post("/predict?model=baseline", content=seven).json()
        client.post("/predict_batch", files=[("images", seven), ("images", b"text")])
        client.post("/classify", content=bytes(5 * 784))
        client.post("/predict", content=b"text")
        for name in ("", "main.js"):
            client.get(f"/ui/{name}")
        for number in range(5):
            client.get(f"/no-page-{number}")
        metrics = client.get("/metrics").text
    accepted = str(answer["accepted"]).lower()
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
    }

    def count(name: str, **labels: str) -> float:
        wanted = set(labels.items())
        return sum(v for key, v in samples.items() if key[0] == name and wanted <= set(key[1:]))

    found = {"accepted": accepted, "reason": answer["reason"] or ""}
    assert count("qmnist_predictions_total", model="baseline", digit="7", **found) == 3
    assert count("qmnist_predictions_total", model="deeper") == 1 + 5
    assert count("qmnist_errors_total", code="not_an_image") == 2
    assert count("qmnist_errors_total", code="not_found") == 5
    assert count("qmnist_decode_seconds_count") == 4
    assert count("qmnist_network_seconds_count", model="baseline") == 3
    assert count("qmnist_batch_size_sum", model="deeper") == 1 + 5
    total = "bentoml_service_request_total"
    assert count(total, endpoint="/predict", http_response_code="200") == 3
    assert count(total, endpoint="/predict", http_response_code="415") == 1
    assert count(total, endpoint="/classify", http_response_code="200") == 1
    assert count(total, endpoint="/ui/", http_response_code="200") == 2
    assert count(total, endpoint="other", http_response_code="404") == 5
    assert count("qmnist_models", model="deeper", provider="cpu") == 1
    assert count("qmnist_models") == 4
    assert count("process_cpu_seconds_total") > 0
    assert count("process_resident_memory_bytes") > 1e7
    assert count("bentoml_service_request_in_progress") == 1  # the request for the metrics


def test_the_openapi_document_describes_what_takes_pictures(server: str) -> None:
    document = httpx.get(f"{server}/docs.json").json()
    for path in ("/predict", "/read"):
        endpoint = document["paths"][path]["post"]
        kinds = {"multipart/form-data", "application/json", "image/*"}
        assert endpoint["requestBody"]["content"].keys() == kinds
        names = [parameter["name"] for parameter in endpoint["parameters"]]
        assert names == ["model", "explain"]
        documented = {"200", "400", "404", "413", "415", "422"}
        documented |= {"401", "408", "500", "503", "504"}  # possible for any request
        assert endpoint["responses"].keys() == documented
    answers = document["paths"]["/classify"]["post"]["responses"]
    assert answers["200"]["content"].keys() == {"application/json", "application/octet-stream"}
    assert answers["400"]["content"].keys() == {"application/json"}
    assert "BentoML Team" not in json.dumps(document)
    for reference in _references(document):
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]


def _references(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [found for value in node.values() for found in _references(value)]
    if isinstance(node, list):
        return [found for value in node for found in _references(value)]
    return []
