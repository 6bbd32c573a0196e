"""`benchmarks/gpu.py`, as far as it can be tested without a GPU."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import gpu
from serving.inference import artifacts
from serving.inference.classifier import Network
from serving.settings import Provider
from tests.conftest import COMMITTED_MODELS, ROOT
from tests.pictures import drawn


@pytest.fixture
def network() -> Network:
    return Network(artifacts.load(COMMITTED_MODELS / "deeper"), Provider.CPU)


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


def test_a_difference_is_found(network: Network) -> None:
    other = Network(artifacts.load(COMMITTED_MODELS / "dropout"), Provider.CPU)
    images, _ = drawn.digits(20, seed=11)
    assert gpu.difference(network, network, images) == 0
    assert gpu.difference(network, other, images) > gpu.TOLERANCE


def test_both_are_measured(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "SECONDS", 0.001)
    monkeypatch.setattr(gpu, "BATCHES", (1, 300))
    images = np.zeros((300, 28, 28), np.uint8)
    found = gpu.measure(network, network, images, rounds=2)
    assert list(found) == [1, 300]
    for of in found.values():
        assert list(of) == ["cpu", "cuda"]
        assert all(len(speeds) == 2 and min(speeds) > 0 for speeds in of.values())


def test_where_both_take_equally_long() -> None:
    def rows(*speeds: tuple[int, float, float]) -> list[dict[str, float]]:
        return [{"batch": batch, "cpu": cpu, "cuda": cuda} for batch, cpu, cuda in speeds]

    # The CPU does ten per second; on CUDA, a call of any size takes two seconds.
    slow_start = rows((10, 10, 5), (30, 10, 15), (50, 10, 25))
    assert gpu.crossing(slow_start) == pytest.approx(20)
    assert gpu.crossing(slow_start[1:]) == 30  # CUDA is faster from the first row on
    assert gpu.crossing(slow_start[:1]) == math.inf


def test_the_figures_say_where() -> None:
    figures = json.loads((ROOT / "docs" / "performance" / "gpu.json").read_text())
    assert figures["crossing"] == gpu.crossing(figures["rows"])
