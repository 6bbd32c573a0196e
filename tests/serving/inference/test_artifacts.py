import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.inference import artifacts
from serving.inference.artifacts import ArtifactError
from tests.conftest import COMMITTED_MODELS


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A copy of the committed models that tests may damage."""
    return Path(shutil.copytree(COMMITTED_MODELS, tmp_path / "models"))


def test_load_all_reads_every_model(models: Path) -> None:
    (models / ".deeper-old").mkdir()  # a killed export may leave this behind
    loaded = artifacts.load_all(models)
    assert list(loaded) == ["baseline", "deeper", "dropout", "notebook"]
    for name, artifact in loaded.items():
        assert artifact.name == name
        assert artifact.onnx == (models / name / "model.onnx").read_bytes()
        assert artifact.card.evaluation["train"].total > 0


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["model.onnx", "model.torchscript.pt"])
@pytest.mark.parametrize("damage", [append, flip])
def test_a_damaged_file_is_refused_by_name(
    models: Path, file: str, damage: Callable[[Path], None]
) -> None:
    damage(models / "deeper" / file)
    with pytest.raises(ArtifactError, match=f"deeper/{file} is damaged: its SHA-256 is"):
        artifacts.load_all(models)


@pytest.mark.parametrize("file", ["model.onnx", "model.torchscript.pt", "card.json"])
def test_a_missing_file_is_refused_by_name(models: Path, file: str) -> None:
    (models / "deeper" / file).unlink()
    with pytest.raises(ArtifactError, match=f"deeper/{file} cannot be read: No such file"):
        artifacts.load_all(models)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "card.json is not a model card: Invalid JSON"),
        ("[]", "card.json is not a model card"),
        ('{"name": "deeper"}', "card.json is not a model card: calibration: Field required"),
    ],
)
def test_a_card_that_is_none_is_refused(models: Path, content: str, message: str) -> None:
    (models / "deeper" / "card.json").write_text(content, encoding="utf-8")
    with pytest.raises(ArtifactError, match=message):
        artifacts.load(models / "deeper")


def test_another_models_card_is_refused(models: Path) -> None:
    (models / "deeper").rename(models / "other")
    with pytest.raises(ArtifactError, match=r"other/card.json is the card of 'deeper'"):
        artifacts.load(models / "other")


def test_a_card_without_the_onnx_files_hash_is_refused(models: Path) -> None:
    path = models / "deeper" / "card.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    del card["files"]["model.onnx"]
    path.write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"lists no model\.onnx"):
        artifacts.load(models / "deeper")


def test_an_unknown_name_is_told_the_known_ones(models: Path) -> None:
    with pytest.raises(ArtifactError, match="which has baseline, deeper, dropout, notebook"):
        artifacts.load(models / "other")


def test_no_models_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="there are no models in"):
        artifacts.load_all(tmp_path)
