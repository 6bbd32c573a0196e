"""`benchmarks/gpu.py`, as far as it goes without a GPU."""

import os
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import gpu
from serving.inference import artifacts
from serving.inference.classifier import Classifier
from serving.settings import Provider
from tests.conftest import COMMITTED_MODELS, ROOT
from tests.pictures import drawn


@pytest.fixture
def classifier() -> Classifier:
    return Classifier(artifacts.load(COMMITTED_MODELS / "deeper"), Provider.CPU)


def test_it_says_that_cuda_cannot_be_used() -> None:
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "benchmarks/gpu.py"]
    done = subprocess.run(
        command, cwd=ROOT, env=hidden, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("CUDA cannot be used here: ")
    assert "CUDAExecutionProvider" in done.stderr
    assert not done.stdout


def test_a_difference_is_found(classifier: Classifier) -> None:
    other = Classifier(artifacts.load(COMMITTED_MODELS / "dropout"), Provider.CPU)
    images, _ = drawn.digits(20, seed=11)
    assert gpu.difference(classifier, classifier, images) == 0
    assert gpu.difference(classifier, other, images) > gpu.TOLERANCE


def test_both_are_measured(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "SECONDS", 0.001)
    monkeypatch.setattr(gpu, "BATCHES", (1, 300))
    images = np.zeros((300, 28, 28), np.uint8)
    found = gpu.measure(classifier, classifier, images, rounds=2)
    assert list(found) == [1, 300]
    for of in found.values():
        assert list(of) == ["cpu", "cuda"]
        assert all(len(speeds) == 2 and min(speeds) > 0 for speeds in of.values())
