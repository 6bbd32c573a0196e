"""Models are added, replaced and removed in the workers of one service."""

import hashlib
import json
import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from serving.errors import UnknownModel
from serving.inference import artifacts
from serving.inference.artifacts import Artifact
from serving.inference.repository import LoadError, Repository
from serving.service import DigitClassifier
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
    """Replace a model with another model's artifact."""
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
    """Run the workers' watch loops until all serve a version of a model; None: not at all."""

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
    with pytest.raises(
        UnknownModel, match=r"no model 'other'\. Choose one of baseline, deeper, dropout, notebook"
    ):
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
    assert held.predict(IMAGES).logits.tolist() != expected, "the old model still works"


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
    assert "the old version is still served" in caplog.text
    assert "looking for new models failed" not in caplog.text


def vouch_for(folder: Path, content: bytes) -> None:
    """Replace an ONNX file and write the new file's SHA-256 to the card."""
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    card["files"]["model.onnx"] = hashlib.sha256(content).hexdigest()
    (folder / "model.onnx").write_bytes(content)
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")


def test_what_others_were_told_is_not_lost_when_an_artifact_is_noticed(
    models: Path, shared: Path
) -> None:
    told, polling = opened(models, shared), opened(models, shared, model_poll=0.01)
    told.unload("deeper")
    version = version_of(told, "baseline")
    exchange(models, "dropout", "baseline")
    watch_until_versions([polling], "dropout", version)
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
        ("notebook", True),
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


def test_a_worker_that_comes_back_serves_what_the_others_do(models: Path, shared: Path) -> None:
    first = opened(models, shared)
    expected = {name: answers(first, name) for name in first.models}
    damage(models, "baseline")
    exchange(models, "deeper", "baseline")
    shutil.rmtree(models / "dropout")
    back = opened(models, shared)
    assert {name: answers(back, name) for name in back.models} == expected
    assert [entry.reason for entry in back.index()] == ["", "", "", ""]


def test_a_worker_that_comes_back_says_what_is_wrong_with_an_artifact_that_it_does_not_serve(
    models: Path, shared: Path
) -> None:
    version = version_of(opened(models, shared), "baseline")
    damage(models, "baseline")
    exchange(models, "dropout", "baseline")
    back = opened(models, shared, model_poll=0.01)
    watch_until_versions([back], "dropout", version)
    assert ["is damaged" in entry.reason for entry in back.index()] == [True, False, False, False]


def test_a_damaged_copy_costs_that_model_alone_until_it_is_loaded(
    models: Path, shared: Path
) -> None:
    first = opened(models, shared)
    (copy,) = (path for path in shared.rglob("*") if path.name == "deeper")
    copy.write_bytes(copy.read_bytes()[:-1])
    back = opened(models, shared)
    assert list(back.models) == ["baseline", "dropout", "notebook"]
    assert ["is damaged" in entry.reason for entry in back.index()] == [False, True, False, False]
    back.load("deeper")
    assert answers(back, "deeper") == answers(first, "deeper")
    assert answers(opened(models, shared), "deeper") == answers(first, "deeper")


def test_a_worker_that_could_not_follow_puts_right_what_others_serve(
    models: Path, shared: Path
) -> None:
    first, second = opened(models, shared), opened(models, shared)
    version = version_of(first, "deeper")
    exchange(models, "deeper", "baseline")
    first.load("deeper")
    (copy,) = (path for path in shared.rglob("*") if path.name == "deeper")
    copy.write_bytes(copy.read_bytes()[:-1])
    exchange(models, "deeper", "deeper")
    second.load("deeper")
    watch_until_versions([first, second], "deeper", version)


def test_a_worker_that_can_load_nothing_does_not_start(models: Path, shared: Path) -> None:
    opened(models, shared)
    for name in ("baseline", "deeper", "dropout", "notebook"):
        (copy,) = (path for path in shared.rglob("*") if path.name == name)
        copy.write_bytes(b"x")
    with pytest.raises(LoadError, match="none of the models"):
        opened(models, shared)


def test_a_worker_starts_where_all_is_unloaded(models: Path, shared: Path) -> None:
    first = opened(models, shared)
    for name in list(first.models):
        first.unload(name)
    back = opened(models, shared)
    assert not back.models
    back.load("deeper")
    assert answers(back, "deeper")


def test_workers_that_load_at_once_end_with_one_version(
    models: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = [opened(models, shared) for _ in range(2)]
    version = version_of(workers[0], "dropout")
    load, has_read, may_go_on = artifacts.load, threading.Event(), threading.Event()

    def load_slowly(folder: Path) -> Artifact:
        artifact = load(folder)
        if not has_read.is_set():
            has_read.set()
            assert may_go_on.wait(20)
        return artifact

    monkeypatch.setattr(artifacts, "load", load_slowly)
    exchange(models, "deeper", "baseline")
    with ThreadPoolExecutor(2) as threads:
        early = threads.submit(workers[0].load, "deeper")
        assert has_read.wait(20)
        exchange(models, "deeper", "dropout")
        late = threads.submit(workers[1].load, "deeper")
        wait([late], timeout=0.2)  # time for `late` to overtake `early` if nothing stops it
        may_go_on.set()
        early.result()
        late.result()
    watch_until_versions(workers, "deeper", version)


def test_workers_that_notice_the_same_artifact_put_it_in_place_once(
    models: Path, shared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "bentoml.digits")
    workers = [opened(models, shared, model_poll=0.01) for _ in range(3)]
    version = version_of(workers[0], "baseline")
    exchange(models, "deeper", "baseline")
    watch_until_versions(workers, "deeper", version)
    served = [worker.get("deeper") for worker in workers]
    exchange(models, "dropout", "baseline")
    watch_until_versions(workers, "dropout", version)
    assert [worker.get("deeper") for worker in workers] == served
    assert caplog.text.count("model 'deeper'") == 1


def test_a_model_that_has_not_changed_stays_in_place(models: Path) -> None:
    repository = opened(models)
    before = repository.get("deeper")
    repository.load("deeper")
    assert repository.get("deeper") is before


def test_repositories_that_share_no_folder_are_several(models: Path) -> None:
    told, other = opened(models), opened(models)
    told.unload("deeper")
    other.unload("dropout")  # makes it read what others were told
    assert version_of(other, "deeper")
    assert version_of(told, "dropout")


def test_where_there_is_no_room_for_a_new_model_the_old_one_serves_on(
    models: Path, shared: Path
) -> None:
    repository = opened(models, shared)
    before = repository.get("deeper")
    (copy,) = (path for path in shared.rglob("*") if path.name == "deeper")
    copy.with_name(".new").symlink_to("/dev/full")
    exchange(models, "deeper", "baseline")
    with pytest.raises(LoadError, match="cannot be written: No space left on device"):
        repository.load("deeper")
    assert repository.get("deeper") is before
    assert answers(opened(models, shared), "deeper") == answers(repository, "deeper")


def test_a_service_without_room_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nothing"))
    service: Any = DigitClassifier  # its decorators make it a bentoml.Service
    with pytest.raises(SystemExit, match=r"cannot start: .*No such file or directory: .*nothing"):
        service.inner.check_models()


def test_a_new_artifact_is_noticed(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    repository = opened(models, model_poll=0.01)
    versions = {name: version_of(repository, name) for name in repository.models}
    damage(models, "deeper")
    exchange(models, "dropout", "baseline")
    watch_until_versions([repository], "dropout", versions["baseline"])
    assert version_of(repository, "deeper") == versions["deeper"]
    assert caplog.text.count("is damaged") == 1, "a bad artifact is reported once"
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
