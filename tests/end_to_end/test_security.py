"""API keys, web origins, and what no input can make the service do."""

import json
import os
import pickle
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bentoml
import httpx
import pytest

from tests.conftest import KEYS, ROOT, Server, until
from tests.pictures import drawn

SEVEN = drawn.encode(drawn.on_paper(7))
POSTS = ("/predict", "/predict_batch", "/read", "/classify")


@pytest.fixture
def closed(closed_server: Server) -> str:
    """The URL of a server that requires a key."""
    return closed_server.url


def test_all_but_the_health_checks_want_a_key(closed: str) -> None:
    for path in ("/livez", "/readyz", "/healthz"):
        assert httpx.get(closed + path).status_code == 200
    for path in ("/", "/models", "/docs.json", "/metrics", "/schema.json", "/nothing", *POSTS):
        method = "POST" if path in POSTS else "GET"
        for headers in ({}, {"X-API-Key": "third"}, {"Authorization": f"Bearer {','.join(KEYS)}"}):
            response = httpx.request(method, closed + path, headers=headers)
            assert response.status_code == 401, path
            assert response.json()["error"]["code"] == "unauthorized"
            assert response.headers["WWW-Authenticate"] == "Bearer"


def test_the_page_that_asks_for_a_key_is_there_without(closed: str) -> None:
    for path in ("/ui/", "/ui/main.js", "/ui/models", "/ui/report"):
        assert httpx.get(closed + path).status_code == 200
    for path in ("/ui/../models", "/ui/../predict", "/ui/%2e%2e/models", "//ui/"):
        url = httpx.URL(closed).copy_with(raw_path=path.encode())
        assert httpx.get(url).status_code in {401, 404}, path


@pytest.mark.parametrize(
    "headers", [{"X-API-Key": KEYS[0]}, {"Authorization": f"Bearer {KEYS[1]}"}]
)
def test_a_key_opens_everything(closed: str, headers: dict[str, str]) -> None:
    assert httpx.get(f"{closed}/models", headers=headers).status_code == 200
    answer = httpx.post(f"{closed}/predict", content=SEVEN, headers=headers).json()
    assert answer["digit"] == 7


def test_bentomls_own_client_has_a_place_for_a_key(closed: str, tmp_path: Path) -> None:
    path = tmp_path / "seven.png"
    path.write_bytes(SEVEN)
    with bentoml.SyncHTTPClient(closed, token=KEYS[0]) as client:
        assert client.predict(image=path)["digit"] == 7


def test_the_log_says_once_that_there_is_no_key(grpc_server: Server, closed_server: Server) -> None:
    """Two workers log it no more often than one."""
    assert grpc_server.log.read_text(encoding="utf-8").count("No API key is set") == 1
    log = closed_server.log.read_text(encoding="utf-8")
    assert "No API key is set" not in log
    assert not [key for key in KEYS if key in log]


def test_only_pages_of_the_named_origins_may_read_answers(closed: str, server: str) -> None:
    def preflight(url: str, origin: str) -> httpx.Response:
        return httpx.options(
            f"{url}/predict",
            headers={"Origin": origin, "Access-Control-Request-Method": "POST"},
        )

    allowed = preflight(closed, "https://page.example")
    assert allowed.status_code == 200
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://page.example"
    assert "Access-Control-Allow-Origin" not in preflight(closed, "https://other.example").headers
    assert "Access-Control-Allow-Origin" not in preflight(server, "https://page.example").headers
    headers = {"Origin": "https://page.example"}
    refused = httpx.post(f"{closed}/predict", content=SEVEN, headers=headers)
    assert refused.status_code == 401
    assert refused.headers["Access-Control-Allow-Origin"] == "https://page.example"
    exposed = set(refused.headers["Access-Control-Expose-Headers"].split(", "))
    assert exposed == {"X-Request-ID", "Retry-After", "X-Model", "X-Model-Version"}


@contextmanager
def nobody_comes() -> Iterator[str]:
    """Yield the URL of a picture on a listening socket; fail if anybody connects."""
    connections: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            try:
                connections.append(listener.accept())
            except OSError:  # the socket was shut down: nobody connected
                return

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/7.png"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert connections == []


@pytest.mark.parametrize(
    ("path", "name"), list(zip(POSTS, ("image", "images", "url", "pixels"), strict=True))
)
def test_no_url_is_fetched(server: str, path: str, name: str) -> None:
    """A URL is not fetched wherever it is in a request, whatever its field is called."""
    with nobody_comes() as url:
        endpoint = server + path
        for response in (
            httpx.post(endpoint, content=url.encode()),
            httpx.post(endpoint, json=url),
            httpx.post(endpoint, json={name: url}),
            httpx.post(endpoint, json={name: [url]}),
            httpx.post(endpoint, data={name: url}),
            httpx.post(endpoint, files={name: (None, url)}),
        ):
            assert 400 <= response.status_code < 500, response.text
        # In a batch, the error is in the file's place.
        response = httpx.post(endpoint, files={name: ("7.png", url.encode())})
        (error,) = re.findall(r'"error":\{"code":"(\w+)"', response.text)
        assert error in ("not_an_image", "invalid_request", "unsupported_media_type")
        # An unknown parameter is ignored, and the picture is answered.
        assert httpx.post(endpoint, params={name: url}, content=SEVEN).status_code < 500


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.write_text, (self.path, "sprung")


@pytest.mark.parametrize("path", POSTS)
def test_nothing_is_unpickled(server: str, path: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    trap = pickle.dumps(Trap(mark))
    for content_type in (
        "application/vnd.bentoml+pickle",
        "application/vnd.bentoml.pickled",
        "application/python-pickle",
        "application/octet-stream",
        "application/json",
    ):
        headers = {"Content-Type": content_type, "Bentoml-Payload-Container": "DefaultContainer"}
        response = httpx.post(server + path, content=trap, headers=headers)
        assert 400 <= response.status_code < 500, response.text
    for name in ("image", "images"):
        file = ("7.png", trap, "application/vnd.bentoml+pickle")
        response = httpx.post(server + path, files={name: file})
        assert response.status_code < 500, response.text
    assert not mark.exists()
    pickle.loads(trap)  # noqa: S301  the trap works
    assert mark.exists()


def test_one_shape_for_every_error(server: str) -> None:
    for response, status, code in (
        (httpx.get(f"{server}/nothing"), 404, "not_found"),
        (httpx.get(f"{server}/predict"), 405, "method_not_allowed"),
        (httpx.get(f"{server}/classify"), 405, "method_not_allowed"),
        (httpx.post(f"{server}/models"), 405, "method_not_allowed"),
        (httpx.delete(f"{server}/livez"), 405, "method_not_allowed"),
        (httpx.post(f"{server}/predict", content=b"x"), 415, "not_an_image"),
        (httpx.get(f"{server}/static_content/../../serving/service.py"), 404, "not_found"),
        (httpx.get(f"{server}/static_content/%2e%2e/app.py"), 404, "not_found"),
    ):
        assert response.status_code == status, response.text
        body = response.json()
        assert body.keys() == {"error"}
        assert body["error"].keys() == {"code", "message", "request_id"}
        assert body["error"]["code"] == code
        assert body["error"]["request_id"] == response.headers["X-Request-ID"]
        for word in ("bentoml", "starlette", "python", "traceback", str(ROOT).lower(), "serving."):
            assert word not in response.text.lower()


def test_a_request_keeps_the_id_that_it_has(server: str) -> None:
    named = httpx.get(f"{server}/models", headers={"X-Request-ID": "mine-1"})
    assert named.headers["X-Request-ID"] == "mine-1"
    for bad in ("", "x" * 65, 'a"b', "a b"):
        own = httpx.get(f"{server}/models", headers={"X-Request-ID": bad}).headers["X-Request-ID"]
        assert own != bad
    ids = {httpx.get(f"{server}/livez").headers["X-Request-ID"] for _ in range(5)}
    assert len(ids) == 5


def test_each_request_is_a_line_of_json_where_that_is_asked_for(grpc_server: Server) -> None:
    url, log = grpc_server.url, grpc_server.log
    httpx.post(f"{url}/predict", content=SEVEN, headers={"X-Request-ID": "mine-1"})
    httpx.post(f"{url}/predict", content=b"x", headers={"X-Request-ID": "mine-2"})
    httpx.get(f"{url}/nothing%0A", headers={"X-Request-ID": "mine-3"})
    until(lambda: "mine-3" in log.read_text(encoding="utf-8"))
    text = log.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    logged = {line["request_id"]: line for line in lines}
    assert logged["mine-1"].keys() == {"time", "request_id", "method", "path", "status", "ms"}
    assert (logged["mine-1"]["path"], logged["mine-1"]["status"]) == ("/predict", 200)
    assert logged["mine-2"]["status"] == 415
    assert logged["mine-3"]["status"] == 404


def test_no_request_is_logged_unasked(open_server: Server) -> None:
    before = len(open_server.log.read_text(encoding="utf-8"))
    httpx.post(f"{open_server.url}/predict", content=SEVEN)
    httpx.post(f"{open_server.url}/predict", content=b"x")
    httpx.get(f"{open_server.url}/metrics")  # afterwards, everything is in the log
    assert open_server.log.read_text(encoding="utf-8")[before:] == ""


def test_onnx_runtime_does_not_report_to_its_makers(tmp_path: Path) -> None:
    # ONNX Runtime writes an id to HOME before it reports. With the variable CI it would not
    # report anyway, so the environment here is without it.
    program = "from serving import settings; from serving.inference.repository import Repository;"
    program += "Repository(settings.load())"
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=True)
    assert not list(tmp_path.iterdir())


def test_the_document_names_tests_that_are_there() -> None:
    document = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(?:tests/)?([\w/]*test_\w+\.py)(?:::(test_\w+))?`", document))
    assert len(named) > 30
    for file, name in named:
        path = ROOT / "tests" / (file if "/" in file else f"end_to_end/{file}")
        assert not name or f"def {name}(" in path.read_text(encoding="utf-8"), name
        assert path.exists()
