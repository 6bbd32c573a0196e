from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from tests.conftest import ROOT
from tests.training.conftest import drawn_digits
from training import figures
from training.card import load_results
from training.dataset import Digits
from training.evaluation import Bin, Outputs


@pytest.fixture
def digits() -> Digits:
    return drawn_digits(40, seed=9)


def row_of(axes: Axes, digits: Digits) -> int:
    """Return the row of the digit whose pixels are shown."""
    shown = np.asarray(axes.images[0].get_array())
    (row,) = np.flatnonzero((digits.images.numpy() == shown).all(axis=(1, 2)))
    return int(row)


def captions(figure: Figure, digits: Digits) -> dict[int, str]:
    """Return the title over each digit in a figure, by the digit's row."""
    return {row_of(axes, digits): axes.get_title() for axes in figure.axes if axes.images}


def test_samples_have_their_own_labels(digits: Digits, tmp_path: Path) -> None:
    path = tmp_path / "new" / "samples.png"
    drawn = captions(figures.draw_samples(digits, seed=0, path=path), digits)
    assert len(drawn) == 9
    assert drawn == {row: str(digits.labels[row].item()) for row in drawn}
    with Image.open(path) as picture:
        assert picture.width > 500
        assert np.asarray(picture.convert("L")).std() > 10  # not blank


def test_predictions_are_each_digits_own(digits: Digits, tmp_path: Path) -> None:
    """The notebook showed the prediction for one digit over the picture of another."""

    def brightest(images: Tensor) -> Outputs:
        # A stand-in for a model: its answer depends only on the picture.
        answers = images.sum(dim=(1, 2)).numpy() % 10
        return Outputs(np.eye(10, dtype=np.float32)[answers], np.zeros(len(images), np.float32))

    path = tmp_path / "predictions.png"
    drawn = captions(figures.draw_predictions(digits, brightest, seed=0, path=path), digits)
    assert len(drawn) == 9
    for row, title in drawn.items():
        guess, label = digits.images[row].sum().item() % 10, digits.labels[row].item()
        assert title == f"predicted {guess}, is {label}"


def test_mistakes_are_drawn_under_their_classes(digits: Digits, tmp_path: Path) -> None:
    labels = digits.labels.numpy()
    predicted = np.where(np.arange(40) < 14, (labels + 1) % 10, labels)
    wrong = np.flatnonzero(predicted != labels)
    figure = figures.draw_mistakes(digits, wrong, predicted, tmp_path / "mistakes.png")
    assert captions(figure, digits) == {
        row: f"{labels[row]} → {predicted[row]}" for row in range(14)
    }


def test_a_confusion_matrix_has_true_classes_in_rows(tmp_path: Path) -> None:
    labels, predicted = np.array([7, 7, 7, 1, 2]), np.array([1, 1, 7, 1, 3])
    path = tmp_path / "confusion.png"
    (axes,) = figures.draw_confusions({"deeper": predicted}, labels, path).axes
    counts = {text.get_position()[::-1]: text.get_text() for text in axes.texts}
    assert counts == {(7, 1): "2", (7, 7): "1", (1, 1): "1", (2, 3): "1"}
    mistakes = np.asarray(axes.images[0].get_array())
    assert mistakes[7, 1] == 2
    assert mistakes.sum() == 3
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true digit", "predicted digit")
    assert axes.get_title() == "deeper: 3 of 5 wrong"


def test_reliability_is_a_point_a_bin(tmp_path: Path) -> None:
    bins = [Bin(0, 0.0, 0.0), Bin(40, 0.6, 0.5), Bin(160, 0.9, 1.0)]
    (axes,) = figures.draw_reliability({"deeper": bins}, tmp_path / "reliability.png").axes
    (points,) = (line for line in axes.lines if line.get_marker() == "o")
    np.testing.assert_allclose(np.asarray(points.get_xydata()), [[60, 50], [90, 100]])
    assert [text.get_text() for text in axes.texts] == ["40", "160"]
    assert axes.get_title() == "deeper: calibration error 10.00 %"


def test_curves_are_the_first_seeds_losses_and_errors(tmp_path: Path) -> None:
    notebook = load_results(ROOT / "results", "notebook", "deeper")
    strong = load_results(ROOT / "results", "strong", "deeper")
    figure = figures.draw_curves(
        {"notebook": {"deeper": notebook}, "strong": {"deeper": strong}}, tmp_path / "curves.png"
    )
    losses, nothing, strong_losses, errors = (
        [np.asarray(line.get_ydata()).tolist() for line in axes.lines] for axes in figure.axes
    )
    assert losses == [notebook[0].history.losses]
    assert strong_losses == [strong[0].history.losses]
    assert nothing == []
    right = [[1 - error / 100 for error in line] for line in errors]
    np.testing.assert_allclose(right, [strong[0].history.validation_accuracies])
