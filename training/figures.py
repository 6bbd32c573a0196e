"""Draw digits with their own labels and predictions, and the report's plots.

Each function writes a PNG file and returns the figure or picture.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image, ImageOps

from training.card import Result, replacing_file
from training.dataset import Digits
from training.evaluation import Bin, Predict, calibration_error, confusion
from training.networks import CLASSES
from training.recipes import RecipeName
from training.synthetic.pictures import Kind, make_picture

ROWS = 3
COLUMNS = 3
MISTAKES_A_ROW = 12
SHEET_COLUMNS = 8
SHEET_CELL, SHEET_GAP = 56, 4  # pixels


def draw(digits: Digits, rows: torch.Tensor, titles: list[str], path: Path) -> Figure:
    """Draw nine digits in a 3 x 3 grid, each below its own title."""
    figure = Figure(figsize=(6, 6.6), layout="constrained")
    for axes, row, title in zip(
        np.ravel(figure.subplots(ROWS, COLUMNS)), rows.tolist(), titles, strict=True
    ):
        _show(axes, digits.images[row])
        axes.set_title(title)
    return _save(figure, path)


def choose(digits: Digits, seed: int) -> torch.Tensor:
    """Return the rows of nine different random digits, int64 `[9]`."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(len(digits), generator=generator)[: ROWS * COLUMNS]


def draw_samples(digits: Digits, seed: int, path: Path) -> Figure:
    """Draw nine random digits below their labels."""
    rows = choose(digits, seed)
    return draw(digits, rows, [str(label) for label in digits.labels[rows].tolist()], path)


def draw_predictions(digits: Digits, predict: Predict, seed: int, path: Path) -> Figure:
    """Draw nine random digits, each below the model's prediction for that same digit."""
    rows = choose(digits, seed)
    predicted = predict(digits.images[rows]).digits
    titles = [
        f"predicted {guess}, is {label}"
        for guess, label in zip(predicted, digits.labels[rows].tolist(), strict=True)
    ]
    return draw(digits, rows, titles, path)


def draw_sheet(kind: Kind, digits: Digits, seed: int, path: Path) -> Image.Image:
    """Draw made pictures, one row per digit, each next to the pixels that the networks see."""
    rng = np.random.default_rng(seed)
    step = SHEET_CELL + SHEET_GAP
    sheet = Image.new("L", (2 * SHEET_COLUMNS * step, CLASSES * step), 128)
    for digit in range(CLASSES):
        rows = torch.nonzero(digits.labels == digit)[:, 0]
        for column in range(SHEET_COLUMNS):
            copied = digits.images[rows[rng.integers(len(rows))]].numpy()
            picture, pixels = make_picture(kind, digit, copied, rng)
            cells = [picture] if pixels is None else [picture, 255 - pixels]
            for place, cell in enumerate(cells):
                fitted = ImageOps.pad(Image.fromarray(cell), (SHEET_CELL, SHEET_CELL), color=128)
                sheet.paste(fitted, ((2 * column + place) * step, digit * step))
    with replacing_file(path) as file:
        sheet.save(file, "PNG", optimize=True)
    return sheet


def draw_curves(results: Mapping[RecipeName, Mapping[str, Sequence[Result]]], path: Path) -> Figure:
    """Draw each recipe's training loss and, if it has any, validation errors, by epoch."""
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    axes = figure.subplots(2, 2)
    for row, (recipe, networks) in zip(axes, results.items(), strict=True):
        for network, found in networks.items():
            history = found[0].history
            epochs = range(1, len(history.losses) + 1)
            row[0].plot(epochs, history.losses, label=network, linewidth=1.5)
            if history.validation_accuracies:
                errors = [100 * (1 - a) for a in history.validation_accuracies]
                row[1].plot(epochs, errors, label=network, linewidth=1)
        row[0].set(
            title=f"{recipe}: loss on the training digits",
            xlabel="epoch",
            ylabel="cross-entropy (nats)",
            yscale="log",
        )
        row[0].xaxis.set_major_locator(MaxNLocator(integer=True))
        row[0].legend()
        if history.validation_accuracies:
            row[1].set(
                title=f"{recipe}: errors on the validation digits",
                xlabel="epoch",
                ylabel="error rate (%)",
                yscale="log",
            )
            row[1].legend()
        else:
            row[1].set_axis_off()
            row[1].text(0.5, 0.5, "no validation digits", ha="center", transform=row[1].transAxes)
    return _save(figure, path)


def draw_confusions(
    predictions: Mapping[str, NDArray[np.int64]], labels: NDArray[np.int64], path: Path
) -> Figure:
    """Draw one confusion matrix per network: mistakes coloured, correct answers in grey."""
    figure = Figure(figsize=(14, 5), layout="constrained")
    for axes, (network, predicted) in zip(
        np.ravel(figure.subplots(1, len(predictions))), predictions.items(), strict=True
    ):
        counts = confusion(labels[: len(predicted)], predicted)
        mistakes = np.where(np.eye(10, dtype=bool), 0, counts)
        axes.imshow(mistakes, cmap="Oranges", vmax=max(8, mistakes.max()))
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "grey" if row == column else "black"
                axes.text(column, row, str(count), ha="center", va="center", size=8, color=colour)
        wrong = int(mistakes.sum())
        axes.set(
            title=f"{network}: {wrong} of {len(predicted):,} wrong",
            xlabel="predicted digit",
            ylabel="true digit",
            xticks=range(10),
            yticks=range(10),
        )
    return _save(figure, path)


def draw_mistakes(
    digits: Digits, rows: NDArray[np.int64], predicted: NDArray[np.int64], path: Path
) -> Figure:
    """Draw the digits of `rows`, each below its true and its predicted class."""
    height = max(1, math.ceil(len(rows) / MISTAKES_A_ROW))
    figure = Figure(figsize=(MISTAKES_A_ROW, 1.3 * height + 0.6), layout="constrained")
    figure.suptitle("true → predicted")
    for axes in np.ravel(figure.subplots(height, MISTAKES_A_ROW, squeeze=False)):
        axes.set_axis_off()
    for axes, row in zip(figure.axes, rows, strict=False):
        _show(axes, digits.images[row])
        axes.set_title(f"{digits.labels[row]} → {predicted[row]}", size=10)
    return _save(figure, path)


def draw_reliability(reliability: Mapping[str, Sequence[Bin]], path: Path) -> Figure:
    """Draw accuracy against confidence, one point per bin, labelled with its answers' count."""
    figure = Figure(figsize=(14, 5), layout="constrained")
    for axes, (network, bins) in zip(
        np.ravel(figure.subplots(1, len(reliability))), reliability.items(), strict=True
    ):
        axes.plot([0, 100], [0, 100], color="grey", linestyle="--", linewidth=1)
        filled = [b for b in bins if b.count]
        confidence = [100 * b.confidence for b in filled]
        accuracy = [100 * b.accuracy for b in filled]
        # One standard deviation of the share of correct answers, if the confidence is right.
        spread = [100 * np.sqrt(b.confidence * (1 - b.confidence) / b.count) for b in filled]
        axes.errorbar(confidence, accuracy, yerr=spread, fmt="o", markersize=4, capsize=3)
        for x, y, b in zip(confidence, accuracy, filled, strict=True):
            axes.annotate(
                f"{b.count:,}", (x, y), xytext=(6, -9), textcoords="offset points", size=8
            )
        axes.set(
            title=f"{network}: calibration error {100 * calibration_error(list(bins)):.2f} %",
            xlabel="confidence (%)",
            ylabel="accuracy (%)",
            xlim=(0, 114),  # room for the last bin's label
            ylim=(-8, 108),
            xticks=range(0, 101, 20),
            yticks=range(0, 101, 20),
        )
    return _save(figure, path)


def _show(axes: Axes, image: torch.Tensor) -> None:
    axes.imshow(image.numpy(), cmap="gray_r", vmin=0, vmax=255)
    axes.set_axis_off()


def _save(figure: Figure, path: Path) -> Figure:
    with replacing_file(path) as file:
        # Without matplotlib's version, which would change the file with every release.
        figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return figure
