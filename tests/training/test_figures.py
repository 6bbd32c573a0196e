from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from tests.training.conftest import drawn_digits
from training import figures
from training.dataset import Digits
from training.evaluation import Outputs


@pytest.fixture
def digits() -> Digits:
    return drawn_digits(40, seed=9)


@pytest.fixture
def drawn_titles(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """What is drawn: the row of each digit and the title over it."""
    seen: list[tuple[int, str]] = []
    draw = figures.draw

    def spy(digits: Digits, rows: Tensor, titles: list[str], path: Path) -> None:
        seen.extend(zip(rows.tolist(), titles, strict=True))
        draw(digits, rows, titles, path)

    monkeypatch.setattr(figures, "draw", spy)
    return seen


def test_samples_have_their_own_labels(
    digits: Digits, drawn_titles: list[tuple[int, str]], tmp_path: Path
) -> None:
    figures.draw_samples(digits, seed=0, path=tmp_path / "new" / "samples.png")
    assert len({row for row, _ in drawn_titles}) == 9
    assert all(title == str(digits.labels[row].item()) for row, title in drawn_titles)
    with Image.open(tmp_path / "new" / "samples.png") as picture:
        assert picture.width > 500


def test_predictions_are_each_digits_own(
    digits: Digits, drawn_titles: list[tuple[int, str]], tmp_path: Path
) -> None:
    """The notebook's mistake: a prediction of one digit over the picture of another."""

    def brightest(images: Tensor) -> Outputs:
        # A stand-in for a model, whose answer depends on the picture alone.
        answers = images.sum(dim=(1, 2)).numpy() % 10
        return Outputs(np.eye(10, dtype=np.float32)[answers], np.zeros(len(images), np.float32))

    figures.draw_predictions(digits, brightest, seed=0, path=tmp_path / "predictions.png")
    for row, title in drawn_titles:
        guess, label = digits.images[row].sum().item() % 10, digits.labels[row].item()
        assert title == f"predicted {guess}, is {label}"
