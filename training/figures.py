"""Pictures of digits, each with its own label and, where a model is asked, its own prediction."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from training.dataset import Digits
from training.fit import Predict

ROWS, COLUMNS = 3, 3


def draw(digits: Digits, rows: torch.Tensor, titles: list[str], path: Path) -> None:
    """Draw nine digits in a 3 x 3 grid, each under its own title, into a PNG file."""
    figure = Figure(figsize=(6, 6.6), layout="constrained")
    for axes, row, title in zip(
        np.ravel(figure.subplots(ROWS, COLUMNS)), rows.tolist(), titles, strict=True
    ):
        axes.imshow(digits.images[row].numpy(), cmap="gray_r", vmin=0, vmax=255)
        axes.set_title(title)
        axes.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def choose(digits: Digits, seed: int) -> torch.Tensor:
    """Pick nine different digits at random: their rows, int64 `[9]`."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(len(digits), generator=generator)[: ROWS * COLUMNS]


def draw_samples(digits: Digits, seed: int, path: Path) -> None:
    """Draw nine digits under their labels."""
    rows = choose(digits, seed)
    draw(digits, rows, [str(label) for label in digits.labels[rows].tolist()], path)


def draw_predictions(digits: Digits, predict: Predict, seed: int, path: Path) -> None:
    """Draw nine digits, each under what the model made of that very digit."""
    rows = choose(digits, seed)
    predicted = predict(digits.images[rows]).argmax(axis=1)
    titles = [
        f"predicted {guess}, is {label}"
        for guess, label in zip(predicted, digits.labels[rows].tolist(), strict=True)
    ]
    draw(digits, rows, titles, path)
