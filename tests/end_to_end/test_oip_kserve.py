"""KServe's clients, in their own environment, over HTTP and gRPC."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.inference import artifacts
from serving.inference.classifier import Classifier
from serving.settings import Provider
from tests.conftest import COMMITTED_MODELS, ROOT, Server
from tests.pictures import drawn

PYTHON = ROOT / ".venv-kserve" / "bin" / "python"
SCRIPT = Path(__file__).parent / "kserve_client.py"
SECONDS = 120
IMAGES, LABELS = drawn.digits(64, seed=22)


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    """The model's outputs for the digits, computed without a server."""
    found = Classifier(artifacts.load(COMMITTED_MODELS / "deeper"), Provider.CPU).predict(IMAGES)
    assert found.accepted is not None
    assert found.reasons is not None
    return {
        "digit": found.digits,
        "probabilities": found.probabilities,
        "logits": found.logits,
        "confidence": found.confidences,
        "typicality": found.typicality,
        "accepted": found.accepted,
        "reason": np.array([reason or "" for reason in found.reasons]),
    }


def ask(folder: Path, url: str, *grpc_address: str) -> dict[str, Any]:
    """Run kserve_client.py and return its findings."""
    assert PYTHON.exists(), "KServe's client is not installed. Run `make .venv-kserve/installed`."
    images = folder / "images.npy"
    np.save(images, IMAGES)
    command = [str(PYTHON), str(SCRIPT), url, str(images), *grpc_address]
    run = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def check(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found["live"] is True
    assert found["ready"] is True
    assert found["model_ready"] is True
    assert found["unknown_ready"] is False
    for way, outputs in found["answers"].items():
        assert list(outputs) == list(expected), way
        assert outputs["digit"] == LABELS.tolist(), way
        for name, values in outputs.items():
            assert np.array_equal(np.array(values, expected[name].dtype), expected[name]), way
    assert list(found["chosen"]) == ["logits", "digit"]
    assert found["chosen"] == {name: expected[name].tolist() for name in ("logits", "digit")}


def test_kserves_client_over_http(server: str, expected: dict[str, Any], tmp_path: Path) -> None:
    found = ask(tmp_path, server)["rest"]
    check(found, expected)
    assert len(found["answers"]) == 8
    (no_model, unknown), (no_input, pixels) = found["errors"]
    assert (no_model, no_input) == (404, 400)
    assert "unknown" in unknown
    assert "There is no input 'pixels'" in pixels


def test_kserves_client_over_grpc(
    grpc_server: Server, expected: dict[str, Any], tmp_path: Path
) -> None:
    found = ask(tmp_path, grpc_server.url, grpc_server.grpc)["grpc"]
    check(found, expected)
    assert len(found["answers"]) == 4
    (no_model, unknown), (no_input, pixels) = found["errors"]
    assert (no_model, no_input) == ("NOT_FOUND", "INVALID_ARGUMENT")
    assert "unknown" in unknown
    assert "There is no input 'pixels'" in pixels
