"""What a server tells of itself."""

import json

import httpx
import pytest

from tests.conftest import COMMITTED_MODELS


def test_models_lists_what_the_cards_say(server: str) -> None:
    listed = httpx.get(f"{server}/models").json()
    assert listed["default"] == "deeper"
    for model in listed["models"]:
        assert model.pop("provider") == "cpu"
        path = COMMITTED_MODELS / model["name"] / "card.json"
        assert model == json.loads(path.read_text(encoding="utf-8"))
    assert [model["name"] for model in listed["models"]] == ["baseline", "deeper", "dropout"]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
def test_health_checks(server: str, path: str) -> None:
    assert httpx.get(f"{server}{path}").status_code == 200


def test_metrics_count_requests(server: str) -> None:
    httpx.post(f"{server}/predict", content=b"")
    metrics = httpx.get(f"{server}/metrics").text
    assert 'endpoint="/predict"' in metrics
    assert 'http_response_code="400"' in metrics


def test_the_swagger_page_shows_the_endpoints(server: str) -> None:
    page = httpx.get(server)
    assert page.headers["content-type"].startswith("text/html")
    script = "static_content/swagger-initializer.js"
    assert script in page.text
    assert "docs.json" in httpx.get(f"{server}/{script}").text
    paths = httpx.get(f"{server}/docs.json").json()["paths"]
    assert paths.keys() >= {"/predict", "/read", "/models", "/livez", "/readyz", "/metrics"}


def test_the_openapi_document_describes_what_takes_pictures(server: str) -> None:
    document = httpx.get(f"{server}/docs.json").json()
    for path in ("/predict", "/read"):
        endpoint = document["paths"][path]["post"]
        assert endpoint["requestBody"]["content"].keys() == {"multipart/form-data", "image/*"}
        names = [parameter["name"] for parameter in endpoint["parameters"]]
        assert names == ["model", "explain"]
        assert endpoint["responses"].keys() == {"200", "400", "404", "413", "415", "422"}
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
