"""A server that cannot serve as it was told does not start, and says why in one sentence."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import COMMITTED_MODELS, START_SECONDS, bentoml_serve, free_port


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return Path(shutil.copytree(COMMITTED_MODELS, tmp_path / "models"))


def refused(models: Path, **settings: str) -> str:
    """Start a server that should stop by itself; return what it said."""
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


@pytest.mark.parametrize("file", ["card.json", "model.onnx", "model.torchscript.pt"])
def test_a_missing_file(models: Path, file: str) -> None:
    (models / "dropout" / file).unlink()
    said = refused(models)
    assert said.startswith("qmnist-digits cannot start: ")
    assert f"dropout/{file} cannot be read: No such file" in said
    assert len(said.splitlines()) == 1


def test_a_damaged_file(models: Path) -> None:
    path = models / "baseline" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    said = refused(models)
    assert "baseline/model.onnx is damaged: its SHA-256 is" in said
    assert len(said.splitlines()) == 1


def test_cuda_that_cannot_be_had(models: Path) -> None:
    said = refused(models, QMNIST_PROVIDER="cuda")
    assert "CUDAExecutionProvider" in said
    assert len(said.splitlines()) == 1


def test_a_default_model_that_is_not_there(models: Path) -> None:
    said = refused(models, QMNIST_MODEL="other")
    assert "QMNIST_MODEL='other' is not in" in said
    assert "which has baseline, deeper, dropout" in said
    assert len(said.splitlines()) == 1


def test_a_setting_that_cannot_be(models: Path) -> None:
    assert "QMNIST_PROVIDER='tpu'" in refused(models, QMNIST_PROVIDER="tpu")
