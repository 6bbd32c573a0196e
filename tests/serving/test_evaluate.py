import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from serving import artifacts
from serving.classifier import Classifier
from serving.evaluate import SourceError, evaluate, open_sources
from serving.settings import Provider
from tests import drawn
from tests.conftest import COMMITTED_MODELS, ROOT

MAX_PIXELS = 40_000_000


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(artifacts.load(COMMITTED_MODELS / "deeper"), Provider.CPU)


@pytest.mark.parametrize("name", ["baseline", "deeper", "dropout"])
def test_the_counts_equal_the_cards(name: str, models: Path, data_root: Path) -> None:
    artifact = artifacts.load(models / name)
    for source in open_sources(data_root, MAX_PIXELS):
        result = evaluate(Classifier(artifact, Provider.CPU), source)
        card = artifact.card.evaluation[source.name]
        assert (result.correct, result.total) == (card.correct, card.total)


def test_a_result_counts_what_was_predicted(classifier: Classifier, drawn_root: Path) -> None:
    (source,) = open_sources(drawn_root, MAX_PIXELS)
    done: list[int] = []
    result = evaluate(classifier, source, done.append)
    images, labels = drawn.digits(1_000, seed=2)
    predicted = classifier.predict(images).digits
    assert sum(done) == source.total == result.total == 1_000
    assert result.correct == (predicted == labels).sum()
    assert result.confusion[3, 5] == ((labels == 3) & (predicted == 5)).sum()

    written = json.loads(json.dumps(result.to_json()))
    assert written["source"] == "test"
    assert written["accuracy"] == result.correct / 1_000
    assert written["confusion"] == result.confusion.tolist()
    assert written["by_class"][4] == {
        "digit": 4,
        "correct": int(((labels == 4) & (predicted == 4)).sum()),
        "total": 100,
    }
    assert written["images_per_second"] > 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures in folders named for their digit, as people keep them."""
    for digit in (2, 7):
        (tmp_path / str(digit)).mkdir()
        drawn.on_paper(digit).save(tmp_path / str(digit) / "drawing.png")
        drawn.on_paper(digit, side=100).save(tmp_path / str(digit) / "small.jpg")
        (tmp_path / str(digit) / ".DS_Store").touch()
    return tmp_path


def test_a_folder_of_pictures_is_evaluated(classifier: Classifier, folder: Path) -> None:
    (source,) = open_sources(folder, MAX_PIXELS)
    result = evaluate(classifier, source)
    assert source.total == 4
    assert result.confusion[2, 2] == result.confusion[7, 7] == 2


def test_a_bad_picture_in_a_folder_is_named(classifier: Classifier, folder: Path) -> None:
    (folder / "7" / "notes.txt").write_text("not a picture", encoding="utf-8")
    (source,) = open_sources(folder, MAX_PIXELS)
    with pytest.raises(SourceError, match=r"7/notes\.txt: This is not a picture"):
        evaluate(classifier, source)


def test_a_folder_with_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nor folders of pictures named 0 to 9"):
        open_sources(tmp_path, MAX_PIXELS)
    (tmp_path / "0").mkdir()
    with pytest.raises(SourceError, match="have no files"):
        open_sources(tmp_path, MAX_PIXELS)


@pytest.mark.parametrize("length", [0, 3, 10, 20, 500])
@pytest.mark.parametrize("name", ["qmnist-test-images-idx3-ubyte", "qmnist-test-labels-idx2-int"])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str, length: int) -> None:
    drawn.write_qmnist(tmp_path, train=20, test=20)
    file = tmp_path / "QMNIST" / "raw" / name
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(SourceError, match=f"{name} is not a"):
        open_sources(tmp_path, MAX_PIXELS)


def test_the_official_files_two_parts_are_told_apart(tmp_path: Path) -> None:
    raw = tmp_path / "QMNIST" / "raw"
    raw.mkdir(parents=True)
    drawn.write_idx(
        raw / "qmnist-test-images-idx3-ubyte", 0x08, np.zeros((60_000, 28, 28), np.uint8)
    )
    drawn.write_idx(raw / "qmnist-test-labels-idx2-int", 0x0C, np.zeros((60_000, 8), ">i4"))
    sources = open_sources(tmp_path, MAX_PIXELS)
    assert {source.name: source.total for source in sources} == {
        "test10k": 10_000,
        "test50k": 50_000,
    }


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *code.split(maxsplit=1), *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_prints_a_table_and_writes_json(drawn_root: Path, tmp_path: Path) -> None:
    output = tmp_path / "result.json"
    command = ["evaluate", "baseline", "--data", str(drawn_root), "--json", str(output)]
    done = run("-m serving", *command)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(output.read_text(encoding="utf-8"))
    assert f"{result['correct']:,} of 1,000 right" in done.stdout
    assert "images a second" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nameless"], "there is no model 'nameless'"),
        (["baseline", "--data", "serving"], "serving has neither"),
    ],
)
def test_what_a_person_can_mend_is_one_sentence(arguments: list[str], message: str) -> None:
    done = run("-m serving", "evaluate", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("module", ["serving.service", "serving.evaluate", "serving.__main__"])
def test_serving_imports_no_torch_and_no_training(module: str) -> None:
    code = f"import sys, {module}; print(sorted(sys.modules.keys() & {{'torch', 'training'}}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_training_imports_no_serving() -> None:
    code = "import sys, training.__main__; print([m for m in sys.modules if 'serving' in m])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
