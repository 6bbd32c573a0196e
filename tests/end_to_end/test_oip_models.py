"""Models are replaced, loaded and unloaded while clients send requests."""

import json
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from serving.inference import artifacts
from serving.inference.classifier import Classifier
from serving.settings import Provider
from tests.conftest import COMMITTED_MODELS, PATIENCE, RunServer, until
from tests.pictures import drawn

IMAGES, _ = drawn.digits(3, seed=9)
PICTURE = drawn.encode(IMAGES[0])
CLIENTS = 16
SWAPS = 20

REQUEST = {
    "inputs": [
        {
            "name": "images",
            "datatype": "UINT8",
            "shape": [3, 28, 28],
            "data": IMAGES.ravel().tolist(),
        }
    ],
    "outputs": [{"name": "logits"}],
}


@pytest.fixture
def versions(tmp_path: Path) -> list[Path]:
    """Two artifacts of a model "deeper" that answer differently."""
    found = []
    for name in ("deeper", "baseline"):
        folder = tmp_path / name / "deeper"
        shutil.copytree(COMMITTED_MODELS / name, folder)
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        (folder / "card.json").write_text(json.dumps({**card, "name": "deeper"}), encoding="utf-8")
        found.append(folder)
    return found


@pytest.fixture
def models(tmp_path: Path, versions: list[Path]) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    put(folder, versions[0])
    return folder


def put(models: Path, artifact: Path) -> None:
    """Replace the model "deeper" with another artifact, atomically."""
    link = models / ".new"
    link.symlink_to(artifact)
    link.replace(models / "deeper")


def answers(artifact: Path) -> tuple[str, dict[str, Any]]:
    """Return an artifact's version, and its answers by the output that the clients compare."""
    classifier = Classifier(artifacts.load(artifact), Provider.CPU)
    predictions = classifier.predict(IMAGES)
    return classifier.card.version, {
        "logits": predictions.logits.ravel().tolist(),
        "probabilities": [round(float(p), 6) for p in predictions.probabilities[0].astype(float)],
    }


class Askers:
    """Clients that keep sending requests, each on its own connection, to two endpoints in turn."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.latest: dict[int, list[str]] = {client: [] for client in range(CLIENTS)}
        self.answers: set[tuple[str, str, tuple[float, ...]]] = set()
        self.errors: list[str] = []
        self._end = threading.Event()

    @contextmanager
    def asking(self) -> Iterator[None]:
        with ThreadPoolExecutor(CLIENTS) as threads:
            done = [threads.submit(self._ask, client) for client in range(CLIENTS)]
            try:
                yield
            finally:
                self._end.set()
            for each in done:
                each.result()

    def all_have(self, version: str) -> bool:
        """Return whether every client's last four answers came from a version."""
        return all(latest[-4:] == [version] * 4 for latest in self.latest.values())

    def _ask(self, client: int) -> None:
        with httpx.Client(base_url=self.url, timeout=PATIENCE) as http:
            while not self._end.wait(0.005):
                response = http.post("/v2/models/deeper/infer", json=REQUEST)
                self._note(client, response, "model_version", "logits")
                response = http.post("/predict?model=deeper", content=PICTURE)
                self._note(client, response, "version", "probabilities")

    def _note(self, client: int, response: httpx.Response, version: str, way: str) -> None:
        if response.status_code != 200:
            self.errors.append(response.text)
            return
        body = response.json()
        values = body["probabilities"] if way == "probabilities" else body["outputs"][0]["data"]
        self.answers.add((body[version], way, tuple(np.array(values, np.float32).tolist())))
        self.latest[client].append(body[version])


@pytest.mark.parametrize("workers", [1, 2])
def test_models_are_exchanged_with_nothing_lost(
    run_server: RunServer, models: Path, versions: list[Path], workers: int
) -> None:
    expected = dict(map(answers, versions))
    names = list(expected)
    with run_server(models, model="deeper", model_poll=0.05, workers=workers) as server:
        askers = Askers(server.url)
        with askers.asking():
            for swap in range(1, SWAPS + 1):
                put(models, versions[swap % 2])
                until(lambda now=names[swap % 2]: askers.all_have(now))  # type: ignore[misc]
    assert askers.errors == []
    assert {version for version, _, _ in askers.answers} == set(names)
    picture = IMAGES[0]
    assert picture.shape == (28, 28)
    for version, way, values in askers.answers:
        if way == "logits":
            assert list(values) == expected[version][way]
    ways = {(version, way) for version, way, _ in askers.answers}
    assert len(askers.answers) == len(ways) == 4, "each version always gives the same answers"


def test_a_bad_artifact_is_refused_and_the_old_one_serves_on(
    run_server: RunServer, models: Path, versions: list[Path]
) -> None:
    (good, _), (better, _) = map(answers, versions)
    bad = versions[0].parent / "bad"
    shutil.copytree(versions[1], bad)
    with (bad / "model.onnx").open("r+b") as file:
        file.truncate(1_000)
    with run_server(models, model="deeper", model_poll=0.05) as server:
        put(models, bad)
        until(lambda: "model.onnx is damaged" in server.log.read_text(encoding="utf-8"))
        described = httpx.get(f"{server.url}/v2/models/deeper").json()
        assert described["versions"] == [good]
        assert httpx.post(f"{server.url}/predict", content=PICTURE).json()["version"] == good
        put(models, versions[1])
        until(lambda: httpx.get(f"{server.url}/v2/models/deeper").json()["versions"] == [better])


def test_without_a_poll_nothing_is_exchanged_until_it_is_told(
    run_server: RunServer, models: Path, versions: list[Path]
) -> None:
    (good, _), (better, _) = map(answers, versions)
    key = {"X-API-Key": "key"}
    with run_server(models, model="deeper", workers=2, api_keys="key") as server:

        def served() -> set[str]:
            """Return what the workers serve; requests use new connections, so any may answer."""
            asked = [httpx.get(f"{server.url}/v2/models/deeper", headers=key) for _ in range(20)]
            return {str(each.json().get("versions")) for each in asked}

        put(models, versions[1])
        assert served() == {f"['{good}']"}
        load = f"{server.url}/v2/repository/models/deeper/load"
        assert httpx.post(load).status_code == 401
        assert httpx.post(load, headers=key).status_code == 200
        until(lambda: served() == {f"['{better}']"})
        unload = f"{server.url}/v2/repository/models/deeper/unload"
        assert httpx.post(unload, headers=key).status_code == 200
        until(lambda: served() == {"None"})
        os.kill(server.worker_pids()[0], 9)
        until(lambda: len(server.worker_pids()) == 2)
        until(lambda: all(answering(server.url, key)))
        assert served() == {"None"}, "a worker that comes back knows it, too"


def answering(url: str, key: dict[str, str]) -> Iterator[bool]:
    for _ in range(20):
        try:
            yield httpx.get(f"{url}/v2", headers=key).is_success
        except httpx.TransportError:
            yield False
