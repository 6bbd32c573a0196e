"""A server that cannot serve as configured does not start, and prints a one-line reason."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from serving import service
from serving.inference import state
from serving.settings import Provider, Settings
from tests.conftest import COMMITTED_MODELS, START_SECONDS, bentoml_serve, free_port


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return Path(shutil.copytree(COMMITTED_MODELS, tmp_path / "models"))


def refused(models: Path, **settings: str) -> str:
    """Start a server that must fail to start; return its output."""
    home = models.parent / "home"
    home.mkdir()
    log = home / "log"
    with log.open("w", encoding="utf-8") as stream:
        settings |= {"QMNIST_MODELS": str(models), "CUDA_VISIBLE_DEVICES": ""}
        server = bentoml_serve(free_port(), settings, home, stream)
        try:
            assert server.wait(START_SECONDS) == 1
        finally:
            server.kill()
    return log.read_text(encoding="utf-8")


def test_a_missing_file(models: Path) -> None:
    (models / "dropout" / "card.json").unlink()
    said = refused(models)
    assert said.startswith("qmnist-digits cannot start: ")
    assert "dropout/card.json cannot be read: No such file" in said
    assert len(said.splitlines()) == 1


def test_a_setting_that_cannot_be(models: Path) -> None:
    assert "QMNIST_PROVIDER='tpu'" in refused(models, QMNIST_PROVIDER="tpu")


def sentence(models: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> str:  # noqa: ANN401
    """Return the message of the check that runs before the workers start, without a server."""
    monkeypatch.setattr(service, "SETTINGS", Settings(models=models, **changes))
    monkeypatch.setattr(state, "share", lambda: None)
    made: Any = service.DigitClassifier  # its decorators make it a bentoml.Service
    with pytest.raises(SystemExit) as ended:
        made.inner.check_models()
    said = str(ended.value)
    assert said.startswith("qmnist-digits cannot start: ")
    assert len(said.splitlines()) == 1
    return said


@pytest.mark.parametrize("file", ["model.onnx", "model.torchscript.pt"])
def test_another_missing_file(models: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (models / "dropout" / file).unlink()
    said = sentence(models, monkeypatch)
    assert f"dropout/{file} cannot be read: No such file" in said


def test_a_damaged_file(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = models / "baseline" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    said = sentence(models, monkeypatch)
    assert "baseline/model.onnx is damaged: its SHA-256 is" in said


def test_cuda_that_cannot_be_had(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDAExecutionProvider" in sentence(models, monkeypatch, provider=Provider.CUDA)


def test_a_default_model_that_is_not_there(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = sentence(models, monkeypatch, model="other")
    assert "QMNIST_MODEL='other' is not in" in said
    assert "choose one of baseline, deeper, dropout, notebook" in said


def test_a_default_model_for_comparison(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = sentence(models, monkeypatch, model="notebook")
    assert "QMNIST_MODEL='notebook' is only for comparison" in said
