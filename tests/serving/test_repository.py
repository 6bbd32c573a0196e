"""Models that come and go, in the workers of one service."""

import hashlib
import json
import shutil
from pathlib import Path

import anyio
import numpy as np
import pytest

from serving.errors import UnknownModel
from serving.repository import LoadError, Repository
from serving.settings import Settings
from tests.conftest import COMMITTED_MODELS

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 28, 28)).astype(np.uint8)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    shutil.copytree(COMMITTED_MODELS, folder)
    return folder


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder


def opened(models: Path, shared: Path | None = None, **more: float) -> Repository:
    return Repository(Settings(models=models, **more), shared)  # type: ignore[arg-type]


def exchange(models: Path, name: str, other: str) -> None:
    """Put another model's artifact in a model's place."""
    card = json.loads((COMMITTED_MODELS / other / "card.json").read_text(encoding="utf-8"))
    shutil.rmtree(models / name)
    shutil.copytree(COMMITTED_MODELS / other, models / name)
    (models / name / "card.json").write_text(json.dumps({**card, "name": name}), encoding="utf-8")


def damage(models: Path, name: str) -> None:
    with (models / name / "model.onnx").open("ab") as file:
        file.write(b"x")


def answers(repository: Repository, name: str) -> list[list[float]]:
    logits: list[list[float]] = repository.get(name).predict(IMAGES).logits.tolist()
    return logits


def watch_until_versions(repositories: list[Repository], name: str, version: str | None) -> None:
    """Let workers watch until all serve a model in a version, or not at all."""

    async def run() -> None:
        async with anyio.create_task_group() as group:
            for repository in repositories:
                group.start_soon(repository.watch)
            with anyio.fail_after(20):
                while any(version_of(each, name) != version for each in repositories):
                    await anyio.sleep(0.01)
            group.cancel_scope.cancel()

    anyio.run(run)


def version_of(repository: Repository, name: str) -> str | None:
    model = repository.models.get(name)
    return None if model is None else model.card.version


def test_models_are_found_by_name_and_version(models: Path) -> None:
    repository = opened(models)
    model = repository.get("deeper")
    assert repository.get("deeper", model.card.version) is model
    with pytest.raises(UnknownModel, match="no model 'other'; there are baseline, deeper, dropout"):
        repository.get("other")
    with pytest.raises(UnknownModel, match="'deeper' has no version '7'"):
        repository.get("deeper", "7")


def test_a_card_without_a_version_is_version_1(models: Path) -> None:
    path = models / "deeper" / "card.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    del card["version"]
    path.write_text(json.dumps(card), encoding="utf-8")
    assert opened(models).get("deeper", "1").card.version == "1"


def test_a_model_is_loaded_anew(models: Path) -> None:
    repository = opened(models)
    expected = answers(repository, "baseline")
    held = repository.get("deeper")
    exchange(models, "deeper", "baseline")
    repository.load("deeper")
    assert answers(repository, "deeper") == expected
    assert held.predict(IMAGES).logits.tolist() != expected, "who has the old one goes on with it"


def test_a_damaged_model_is_refused_and_the_old_one_serves_on(models: Path) -> None:
    repository = opened(models)
    before = repository.get("deeper")
    damage(models, "deeper")
    with pytest.raises(LoadError, match="is damaged"):
        repository.load("deeper")
    assert repository.get("deeper") is before
    (entry,) = (entry for entry in repository.index() if entry.name == "deeper")
    assert entry.ready
    assert "is damaged" in entry.reason


def test_an_artifact_that_is_no_model_is_refused_though_its_card_vouches_for_it(
    models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    repository = opened(models, model_poll=0.01)
    version = version_of(repository, "baseline")
    exchange(models, "deeper", "baseline")
    vouch_for(models / "deeper", b"no model")
    with pytest.raises(LoadError, match="ONNX Runtime cannot load the ONNX file of 'deeper'"):
        repository.load("deeper")
    exchange(models, "dropout", "baseline")
    watch_until_versions([repository], "dropout", version)
    vouch_for(models / "deeper", b"nor this")
    exchange(models, "dropout", "deeper")
    watch_until_versions([repository], "dropout", version_of(repository, "deeper"))
    assert "the old one is served on" in caplog.text
    assert "looking for new models failed" not in caplog.text


def vouch_for(folder: Path, content: bytes) -> None:
    """Put something in the place of an ONNX file, with the card's word for it."""
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    card["files"]["model.onnx"] = hashlib.sha256(content).hexdigest()
    (folder / "model.onnx").write_bytes(content)
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")


def test_what_others_were_told_is_not_lost_when_an_artifact_is_noticed(
    models: Path, shared: Path
) -> None:
    told, polling = opened(models, shared), opened(models, shared, model_poll=0.01)
    told.unload("deeper")
    polling._notice()  # noqa: SLF001  which reads the orders, too
    watch_until_versions([polling], "deeper", None)


def test_an_unloaded_model_is_not_served_until_it_is_loaded(models: Path) -> None:
    repository = opened(models)
    repository.unload("deeper")
    with pytest.raises(UnknownModel):
        repository.get("deeper")
    with pytest.raises(UnknownModel):
        repository.unload("deeper")
    assert [(e.name, e.ready) for e in repository.index()] == [
        ("baseline", True),
        ("deeper", False),
        ("dropout", True),
    ]
    repository.load("deeper")
    assert repository.get("deeper")


def test_a_new_folder_can_be_loaded_and_a_missing_one_not(models: Path) -> None:
    repository = opened(models)
    (models / "new").mkdir()
    exchange(models, "new", "dropout")
    repository.load("new")
    assert answers(repository, "new") == answers(repository, "dropout")
    with pytest.raises(UnknownModel, match="no model 'nothing'"):
        repository.load("nothing")


def test_what_one_worker_is_told_all_do(models: Path, shared: Path) -> None:
    workers = [opened(models, shared) for _ in range(3)]
    version = version_of(workers[0], "baseline")
    workers[0].unload("deeper")
    watch_until_versions(workers, "deeper", None)
    exchange(models, "deeper", "baseline")
    workers[1].load("deeper")
    watch_until_versions(workers, "deeper", version)
    workers[2].unload("dropout")
    watch_until_versions(workers, "dropout", None)
    assert [version_of(each, "deeper") for each in workers] == [version] * 3


def test_a_worker_that_comes_back_knows_what_the_others_were_told(
    models: Path, shared: Path
) -> None:
    opened(models, shared).unload("deeper")
    assert version_of(opened(models, shared), "deeper") is None


def test_a_new_artifact_is_noticed(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    repository = opened(models, model_poll=0.01)
    versions = {name: version_of(repository, name) for name in repository.models}
    damage(models, "deeper")
    exchange(models, "dropout", "baseline")
    watch_until_versions([repository], "dropout", versions["baseline"])
    assert version_of(repository, "deeper") == versions["deeper"]
    assert caplog.text.count("is damaged") == 1, "a bad one is refused once"
    exchange(models, "deeper", "baseline")
    watch_until_versions([repository], "deeper", versions["baseline"])


def test_what_goes_away_is_served_on(models: Path) -> None:
    repository = opened(models, model_poll=0.01)
    version = version_of(repository, "baseline")
    shutil.rmtree(models / "deeper")
    exchange(models, "dropout", "baseline")
    watch_until_versions([repository], "dropout", version)
    assert repository.get("deeper").predict(IMAGES).digits.shape == (3,)


def test_what_is_unloaded_stays_so_whatever_comes_into_its_place(models: Path) -> None:
    repository = opened(models, model_poll=0.01)
    version = version_of(repository, "baseline")
    repository.unload("deeper")
    exchange(models, "deeper", "baseline")
    exchange(models, "dropout", "baseline")
    watch_until_versions([repository], "dropout", version)
    assert version_of(repository, "deeper") is None
