import re
import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from tests.conftest import ROOT
from tests.training.conftest import drawn_digits
from training import dataset, results
from training.dataset import Digits
from training.recipes import NetworkName
from training.report import ReportError, write_report

COMMITTED = ROOT / "results"


@pytest.fixture(scope="module")
def test_digits(qmnist_root: Path | None) -> Digits:
    """The digits of the committed results, or drawn ones that say they are what was predicted."""
    if qmnist_root:
        return dataset.load(qmnist_root, "test")
    predictions = results.load(COMMITTED, "strong", "baseline")[0].predictions
    images = drawn_digits(1_000, seed=2).images[torch.arange(len(predictions)) % 1_000]
    rows = torch.arange(len(predictions))
    return Digits(images, torch.from_numpy(predictions), writers=rows // 20, series=rows % 5)


@pytest.fixture(scope="module")
def docs(test_digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    write_report(COMMITTED, test_digits, folder)
    return folder


def test_the_committed_report_is_what_the_results_make(
    docs: Path, qmnist_root: Path | None
) -> None:
    made = (docs / "report.md").read_text(encoding="utf-8")
    committed = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    if qmnist_root:
        assert made == committed
    else:  # drawn digits have other labels; the accuracies are the results' own
        assert made.split("## Mistakes")[0] == committed.split("## Mistakes")[0]


def test_every_picture_of_the_report_is_there(docs: Path) -> None:
    pictures = re.findall(
        r"!\[[^]]+\]\((report/\w+\.png)\)", (docs / "report.md").read_text("utf-8")
    )
    assert len(pictures) == 4
    for picture in pictures:
        assert (docs / picture).read_bytes().startswith(b"\x89PNG")
        assert (ROOT / "docs" / picture).exists()


def test_the_goals_are_met() -> None:
    """The means over three seeds, of the committed results."""
    goals: dict[NetworkName, float] = {"baseline": 0.9925, "deeper": 0.9935, "dropout": 0.9920}
    for network, goal in goals.items():
        found = results.load(COMMITTED, "strong", network)
        assert [result.seed for result in found] == [0, 1, 2]
        assert np.mean([result.accuracy("test10k") for result in found]) >= goal


def test_the_promises_of_confidence_are_kept() -> None:
    """The calibration error is the mean over seeds; all else is of the models that are served."""
    for network in get_args(NetworkName):
        found = results.load(COMMITTED, "strong", network)
        errors = [r.card["evaluation"]["test10k"]["calibration_error"] for r in found]
        assert np.mean(errors) <= 0.002
        card = found[0].card
        test = card["evaluation"]["test10k"]
        assert test["accepted"] / test["total"] >= 0.95
        assert test["accepted_correct"] / test["accepted"] >= 0.999
        for kind in ("letters", "halves", "noise", "scribbles", "textures"):
            rejection = card["rejection"][kind]
            assert rejection["refused"] / rejection["total"] >= 0.95, (network, kind)


def test_missing_results_are_one_sentence(test_digits: Digits, tmp_path: Path) -> None:
    shutil.copytree(COMMITTED / "strong", tmp_path / "strong")
    with pytest.raises(ReportError, match="no results of baseline by notebook; make train"):
        write_report(tmp_path, test_digits, tmp_path)
