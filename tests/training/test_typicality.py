from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Generator

from tests.training.conftest import drawn_digits
from training import negatives
from training.recipes import TYPICALITY
from training.statistics import auroc
from training.typicality import Typicality, fit_typicality

QUICK = replace(TYPICALITY, epochs=6, batch_size=128, warmup_steps=10)


def fitted(cache: Path) -> Typicality:
    return fit_typicality(
        QUICK, drawn_digits(1_000, seed=1), cache=cache, console=Console(file=StringIO())
    )


def weights(network: Typicality) -> list[float]:
    return torch.cat([p.flatten() for p in network.parameters()]).tolist()


@torch.inference_mode()
def scores(network: Typicality, images: torch.Tensor) -> NDArray[np.float32]:
    typicality: NDArray[np.float32] = network(images.flatten(1).float()).numpy()
    return typicality


def test_it_tells_new_digits_from_other_pictures(tmp_path: Path) -> None:
    network = fitted(tmp_path)
    digits = drawn_digits(300, seed=5)
    typical = scores(network, digits.images)
    kinds: list[negatives.Kind] = ["noise", "scribbles", "textures"]
    for kind in kinds:
        made = negatives.to_measure(kind, 300, digits, Generator().manual_seed(9))
        assert auroc(typical, scores(network, made)) > 0.95, kind


def test_the_same_digits_make_the_same_network(tmp_path: Path) -> None:
    assert weights(fitted(tmp_path / "a")) == weights(fitted(tmp_path / "b"))


def test_what_was_trained_is_kept_for_the_next_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fitted(tmp_path)
    monkeypatch.setattr("training.typicality._train", pytest.fail)
    assert weights(fitted(tmp_path)) == weights(first)
