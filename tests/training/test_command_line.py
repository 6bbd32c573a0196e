import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, replace
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from tests.conftest import ROOT
from tests.pictures import drawn, hand
from training import dataset, figures, torchscript
from training.__main__ import main
from training.export import onnx_predict
from training.recipes import CALIBRATION, REJECTION, STRONG, TYPICALITY
from training.synthetic import fonts, negatives, rejection


@dataclass
class Done:
    """The result of a command, and the folder that it ran in."""

    code: object
    output: str
    error: str
    folder: Path


def run(*arguments: str | Path, folder: Path = ROOT) -> Done:
    """Run a command in this process, which has already imported PyTorch."""
    output, error = StringIO(), StringIO()
    with (
        chdir(folder),
        redirect_stdout(output),
        redirect_stderr(error),
        patch.object(sys, "argv", ["training", *map(str, arguments)]),
        pytest.raises(SystemExit) as exited,
    ):
        main()
    return Done(exited.value.code, output.getvalue(), error.getvalue(), folder)


def share_typicality(runs: Path, folder: Path) -> None:
    """Copy the typicality network of other runs, because it takes longest to train."""
    (folder / "runs" / "checkpoints").mkdir(parents=True)
    for trained in (runs / "checkpoints").glob("typicality-*.pt"):
        shutil.copy(trained, folder / "runs" / "checkpoints")


@pytest.fixture(scope="module", autouse=True)
def _few_to_refuse() -> Iterator[None]:
    """Measure the refusal of 100 pictures per kind instead of thousands."""
    with patch.object(rejection, "REJECTION", replace(REJECTION, count=100)):
        yield


@pytest.fixture(scope="module")
def fitted(drawn_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The result of training one network with the notebook recipe."""
    folder = tmp_path_factory.mktemp("fitted")
    done = run("fit", "deeper", "--recipe", "notebook", "--data", drawn_root, folder=folder)
    assert done.code == 0, done.error
    return done


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A torchvision root with so few digits that the strong recipe takes seconds."""
    root = tmp_path_factory.mktemp("few")
    drawn.write_qmnist(root, train=400, test=200)
    return root


@pytest.fixture(scope="module")
def strong(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The result of training one network with the strong recipe."""
    folder = tmp_path_factory.mktemp("strong")
    done = run("fit", "baseline", "--data", few, folder=folder)
    assert done.code == 0, done.error
    return done


def test_fit_writes_below_runs_unless_told_otherwise(fitted: Done) -> None:
    assert [path.name for path in fitted.folder.iterdir()] == ["runs"]
    runs = {path.name for path in (fitted.folder / "runs").iterdir()}
    assert {"checkpoints", "models", "results"} < runs


def test_fit_writes_the_artifact_the_metrics_and_the_counts(fitted: Done) -> None:
    runs = fitted.folder / "runs"
    card = json.loads((runs / "models" / "deeper" / "card.json").read_text(encoding="utf-8"))
    test = card["evaluation"]["test"]
    assert f"{test['correct']:,}" in fitted.output
    assert f"{100 * test['accuracy']:.2f} %" in fitted.output

    (metrics,) = runs.glob("*-notebook-deeper-0/metrics.jsonl")
    events = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    counts = {e["split"]: e["correct"] for e in events if e["event"] == "evaluation"}
    assert counts == {name: split["correct"] for name, split in card["evaluation"].items()}

    path = runs / "results" / "notebook" / "deeper-0.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    labels = drawn.digits(1_000, seed=2)[1]
    predicted = np.array(list(result["predictions"]), int)
    assert (predicted == labels).sum() == test["correct"]


def test_the_same_training_makes_the_same_artifact(fitted: Done, drawn_models: Path) -> None:
    again, before = fitted.folder / "runs" / "models" / "deeper", drawn_models / "deeper"
    assert (again / "model.onnx").read_bytes() == (before / "model.onnx").read_bytes()
    # TorchScript's class numbers depend on what else the process has compiled.
    compiled, as_before = (torchscript.load(f / "model.torchscript.pt") for f in (again, before))
    for name, tensor in compiled.state_dict().items():
        assert torch.equal(tensor, as_before.state_dict()[name])
    cards = [json.loads((f / "card.json").read_text(encoding="utf-8")) for f in (again, before)]
    for card in cards:
        for of_files in ("files", "sizes"):
            del card[of_files]["model.torchscript.pt"]
    assert cards[0] == cards[1]


def test_the_strong_recipe_is_calibrated_and_refuses(strong: Done) -> None:
    card = json.loads((strong.folder / "runs" / "models" / "baseline" / "card.json").read_text())
    assert card["calibration"]["temperature"] > 0
    assert card["calibration"]["acceptance"].keys() == {"confidence", "typicality"}
    test = card["evaluation"]["test"]
    assert test["accuracy"] > 0.9
    assert f"{100 * test['accepted'] / test['total']:.2f} %" in strong.output
    kinds = ["letters", "halves", "noise", "scribbles", "textures", "charts"]
    assert list(card["rejection"]) == [*kinds, "lookalikes", "printed digits"]
    letters = card["rejection"]["letters"]
    assert letters["total"] == len(negatives.PLAIN_LETTERS) * len(fonts.faces(held_out=True))
    assert letters["families"].keys() == {family.name for family in fonts.TO_MEASURE}
    for count in ("total", "refused"):
        assert letters[count] == sum(family[count] for family in letters["families"].values())
    for kind in card["rejection"].values():
        assert 0.2 * kind["total"] < kind["refused"] <= kind["total"]
        assert 0.5 < kind["auroc_typicality"] <= 1


def test_a_card_has_every_constant_of_the_training(strong: Done) -> None:
    card = json.loads((strong.folder / "runs" / "models" / "baseline" / "card.json").read_text())
    recipes = {
        "recipe": asdict(STRONG),
        "typicality": asdict(TYPICALITY),
        "calibration": asdict(CALIBRATION),
    }
    for name, recipe in recipes.items():
        assert card["training"][name] == json.loads(json.dumps(recipe))


def test_a_training_that_is_killed_goes_on_as_if_it_had_not_been(
    strong: Done, few: Path, tmp_path: Path
) -> None:
    share_typicality(strong.folder / "runs", tmp_path)
    command = ["fit", "baseline", "--data", str(few)]
    process = subprocess.Popen(
        [sys.executable, "-m", "training", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    checkpoint = tmp_path / "runs" / "checkpoints" / "strong-baseline-0.pt"
    while not checkpoint.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (tmp_path / "runs" / "models").exists()

    done = run(*command, "--resume", folder=tmp_path)
    assert "baseline: continuing after epoch" in done.output
    resumed, whole = (
        folder / "runs" / "models" / "baseline" / "model.onnx"
        for folder in (tmp_path, strong.folder)
    )
    assert resumed.read_bytes() == whole.read_bytes()


def test_digits_are_drawn_as_asked_for(
    drawn_root: Path, drawn_models: Path, tmp_path: Path
) -> None:
    drawn_by_command, expected = tmp_path / "digits.png", tmp_path / "expected.png"

    def is_expected(*command: str | Path) -> bool:
        done = run(*command, "--data", drawn_root, "--output", drawn_by_command)
        assert done.code == 0, done.error
        return drawn_by_command.read_bytes() == expected.read_bytes()

    test = dataset.load(drawn_root, "test")
    figures.draw_samples(dataset.load(drawn_root, "train"), 0, expected)
    assert is_expected("samples")
    figures.draw_samples(test, 3, expected)
    assert is_expected("samples", "--split", "test", "--seed", "3")
    predict = onnx_predict(drawn_models / "deeper" / "model.onnx")
    figures.draw_predictions(test, predict, 0, expected)
    assert is_expected("predictions", "deeper", "--models", drawn_models)


def test_a_trained_model_is_evaluated_as_its_card_says(
    drawn_root: Path, drawn_models: Path
) -> None:
    done = run("evaluate", "deeper", "--data", drawn_root, "--models", drawn_models)
    assert done.code == 0, done.error
    card = json.loads((drawn_models / "deeper" / "card.json").read_text(encoding="utf-8"))
    for split, result in card["evaluation"].items():
        (row,) = [line for line in done.output.splitlines() if f" {split} " in line]
        assert [cell.strip() for cell in row.split("│")[2:4]] == [
            f"{result['correct']:,}",
            f"{result['total']:,}",
        ]


def test_a_committed_model_is_evaluated_on_all_of_an_own_data_set(tmp_path: Path) -> None:
    for split, count in (("train", 2), ("test", 1)):
        hand.write_folder(tmp_path / split, count, range(10))
    done = run("evaluate", "deeper", "--data", tmp_path)
    assert done.code == 0, done.error
    rows = [re.split(r" *│ *", line) for line in done.output.splitlines() if "│" in line]
    assert [(row[1], row[3]) for row in rows] == [("train", "20"), ("test", "10")]


def test_the_worked_example_is_printed() -> None:
    done = run("worked-example")
    assert done.code == 0, done.error
    for value in ("0.725580", "-0.054641", "0.603540"):
        assert value in done.output


def test_a_damaged_data_set_is_one_sentence_and_nothing_is_written(
    drawn_root: Path, tmp_path: Path
) -> None:
    raw = tmp_path / "QMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (drawn_root / "QMNIST" / "raw").iterdir():
        (raw / file.name).write_bytes(file.read_bytes()[:1_000])
    done = run("fit", "all", "--data", tmp_path, folder=tmp_path)
    assert done.code == 2
    assert done.error.startswith("error: QMNIST's train split in ")
    assert len(done.error.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        # No folder can be created below a file, so nothing is downloaded even with a network.
        ("fit all --data file/data", "error: QMNIST's train split is not in file/data"),
        ("report --data DATA --results .", "no results of baseline with the recipe notebook"),
        ("predictions deeper --data DATA", "There is no models/deeper/model.onnx"),
        ("fit baseline --device cuda --data DATA", "This machine has no CUDA device"),
        ("fit widest --data DATA", "There is no network 'widest'. Choose one of baseline, deeper,"),
        ("evaluate --models . --data DATA", "error: There is no model in ."),
        (
            "fit deeper --extra mine --data DATA",
            "error: mine is neither a folder nor a zip file of one",
        ),
        (
            "fit deeper --recipe finetune --data DATA",
            "error: There is no readable model in models/deeper",
        ),
    ],
)
def test_what_is_missing_is_said_with_exit_code_2(
    command: str,
    sentence: str,
    drawn_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "file").touch()
    done = run(*command.replace("DATA", str(drawn_root)).split(), folder=tmp_path)
    assert done.code == 2
    assert sentence in done.error
    assert "Traceback" not in done.error
