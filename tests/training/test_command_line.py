import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import drawn
from tests.conftest import ROOT


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "training", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_fit_writes_the_artifact_the_metrics_and_the_counts(
    drawn_root: Path, tmp_path: Path
) -> None:
    models, runs, results = tmp_path / "models", tmp_path / "runs", tmp_path / "results"
    where = ("--data", drawn_root, "--models", models, "--runs", runs, "--results", results)
    done = run("fit", "baseline", "--recipe", "notebook", "--seed", "4", *where)
    assert done.returncode == 0, done.stderr
    card = json.loads((models / "baseline" / "card.json").read_text(encoding="utf-8"))
    test = card["evaluation"]["test"]
    assert f"{test['correct']:,}" in done.stdout
    assert f"{100 * test['accuracy']:.2f} %" in done.stdout

    (metrics,) = runs.glob("*-notebook-baseline-4/metrics.jsonl")
    events = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    counts = {e["split"]: e["correct"] for e in events if e["event"] == "evaluation"}
    assert counts == {name: split["correct"] for name, split in card["evaluation"].items()}

    result = json.loads((results / "notebook" / "baseline-4.json").read_text(encoding="utf-8"))
    labels = drawn.digits(1_000, seed=2)[1]
    predicted = np.array(list(result["predictions"]), int)
    assert (predicted == labels).sum() == test["correct"]


@pytest.mark.parametrize("split", ["train", "test"])
def test_samples_are_drawn(split: str, drawn_root: Path, tmp_path: Path) -> None:
    output = tmp_path / "samples.png"
    done = run("samples", "--split", split, "--data", drawn_root, "--output", output)
    assert done.returncode == 0, done.stderr
    with Image.open(output) as picture:
        picture.load()


def test_predictions_are_drawn(drawn_root: Path, drawn_models: Path, tmp_path: Path) -> None:
    output = tmp_path / "predictions.png"
    done = run(
        "predictions", "deeper", "--data", drawn_root, "--models", drawn_models, "--output", output
    )
    assert done.returncode == 0, done.stderr
    with Image.open(output) as picture:
        picture.load()


def test_a_damaged_data_set_is_one_sentence_and_exit_code_2(
    drawn_root: Path, tmp_path: Path
) -> None:
    raw = tmp_path / "QMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (drawn_root / "QMNIST" / "raw").iterdir():
        (raw / file.name).write_bytes(file.read_bytes()[:1_000])
    done = run("fit", "all", "--data", tmp_path, "--models", tmp_path / "models")
    assert done.returncode == 2
    assert done.stderr.startswith("error: QMNIST's train split in ")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "models").exists()


def test_a_missing_data_set_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    # A folder below a file cannot be made, so nothing is downloaded where there is a network.
    (tmp_path / "file").touch()
    done = run("fit", "all", "--data", tmp_path / "file" / "data")
    assert done.returncode == 2
    assert done.stderr.startswith("error: QMNIST's train split is not in ")
    assert len(done.stderr.splitlines()) == 1


def test_a_report_without_results_is_one_sentence_and_exit_code_2(
    drawn_root: Path, tmp_path: Path
) -> None:
    done = run("report", "--data", drawn_root, "--results", tmp_path, "--docs", tmp_path)
    assert done.returncode == 2
    assert "has no results of baseline by notebook; make train" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_predictions_of_a_model_that_is_not_there_are_an_error(
    drawn_root: Path, tmp_path: Path
) -> None:
    done = run("predictions", "deeper", "--data", drawn_root, "--models", tmp_path)
    assert done.returncode == 2
    assert "there is no" in done.stderr
    assert "Traceback" not in done.stderr


def test_cuda_that_is_absent_is_an_error(drawn_root: Path) -> None:
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "training", "fit", "baseline", "--device", "cuda"]
    command += ["--data", str(drawn_root)]
    done = subprocess.run(
        command, cwd=ROOT, env=hidden, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "there is no CUDA device here" in done.stderr
