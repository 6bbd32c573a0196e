from pathlib import Path

import pytest

from tests.conftest import ROOT
from training.card import load_results, replacing, replacing_file

FILES = {"card.json", "model.onnx", "model.torchscript.pt"}


def write(folder: Path, content: str) -> None:
    for name in FILES:
        (folder / name).write_text(content, encoding="utf-8")


def contents(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}


def test_a_new_artifact_takes_the_old_ones_place(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with replacing(tmp_path / "baseline") as folder:
            write(folder, content)
    assert contents(tmp_path / "baseline") == dict.fromkeys(FILES, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["baseline"]


@pytest.mark.parametrize("step", ["writing", "flushing", "renaming"])
def test_an_interrupted_export_leaves_the_old_artifact_whole(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with replacing(tmp_path / "baseline") as folder:
        write(folder, "old")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    rename = Path.rename

    def rename_old_only(self: Path, target: Path) -> Path:
        if target.name == "baseline" and "old" not in self.name:
            raise KeyboardInterrupt
        return rename(self, target)

    def export_again() -> None:
        with replacing(tmp_path / "baseline") as folder:
            write(folder, "new")
            if step == "writing":
                raise KeyboardInterrupt

    if step == "flushing":
        monkeypatch.setattr("os.fsync", interrupt)
    if step == "renaming":
        monkeypatch.setattr(Path, "rename", rename_old_only)
    with pytest.raises(KeyboardInterrupt):
        export_again()
    assert contents(tmp_path / "baseline") == dict.fromkeys(FILES, "old")
    assert [path.name for path in tmp_path.iterdir()] == ["baseline"]


def test_an_interrupted_file_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    with replacing_file(path) as unfinished:
        unfinished.write_text("old", encoding="utf-8")

    def interrupted() -> None:
        with replacing_file(path) as unfinished:
            unfinished.write_text("ne", encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert contents(path.parent) == {"file.txt": "old"}


def test_a_result_that_is_read_and_saved_is_the_same(tmp_path: Path) -> None:
    for result in load_results(ROOT / "results", "strong", "deeper"):
        result.save(tmp_path)
    assert contents(tmp_path / "strong") == {
        path.name: path.read_text(encoding="utf-8")
        for path in (ROOT / "results" / "strong").glob("deeper-*.json")
    }
