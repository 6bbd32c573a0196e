import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import COMMITTED_MODELS
from tests.training.conftest import drawn_digits
from training.base import BaseError, load
from training.evaluation import accuracy
from training.networks import build, normalise


def test_a_base_is_the_model_that_is_served() -> None:
    base = load(COMMITTED_MODELS / "deeper", "deeper")
    digits = drawn_digits(200, seed=1)
    evaluation = base.evaluate({"test": digits})["test"]
    network = build("deeper", 0.0)
    network.load_state_dict(base.weights)
    assert accuracy(network, digits) == evaluation.accuracy
    temperature = base.card.calibration.temperature
    with torch.inference_mode():
        probabilities = (network(normalise(digits.images)) / temperature).softmax(1)
        assert base.typicality is not None
        typicality = base.typicality(digits.images.flatten(1).float())
    np.testing.assert_allclose(probabilities, evaluation.outputs.probabilities, atol=1e-4)
    np.testing.assert_allclose(typicality, evaluation.outputs.typicality, atol=1e-3)


def test_what_is_no_whole_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BaseError, match="There is no readable model in"):
        load(tmp_path / "deeper", "deeper")
    shutil.copytree(COMMITTED_MODELS / "deeper", tmp_path / "deeper")
    with (tmp_path / "deeper" / "model.torchscript.pt").open("r+b") as file:
        file.truncate(1_000)
    with pytest.raises(BaseError, match=r"model\.torchscript\.pt is damaged"):
        load(tmp_path / "deeper", "deeper")
