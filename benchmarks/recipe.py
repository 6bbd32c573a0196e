"""What each piece of the strong recipe brings, on validation digits.

    python benchmarks/recipe.py --data DIR

Each row trains the baseline network with one thing changed, for fewer epochs than the recipe has,
and evaluates it on the digits of the held-out writers. No test digit is read.
"""

import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
import torch.nn.functional as F
import typer
from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).parent.parent))

from training import dataset
from training.evaluation import accuracy
from training.fit import Run, fit
from training.networks import normalise
from training.recipes import STRONG, Adam, Augmentation, Muon, Recipe

AFFINE_ONLY = Augmentation(elastic=0)
ELASTIC_ONLY = Augmentation(rotation=0, scale=0, shear=0, shift=0)


def variants(epochs: int) -> dict[str, Recipe]:
    """Make the recipes to compare, by what is changed."""
    base = replace(STRONG, epochs=epochs)
    return {
        "the strong recipe": base,
        "Adam in the place of Muon": replace(base, optimizer=Adam(learning_rate=2e-3)),
        "no weight decay": replace(base, optimizer=Muon(weight_decay=0.0)),
        "no schedule: a constant learning rate": replace(base, warmup=None),
        "no augmentation": replace(base, augmentation=None),
        "no elastic distortion": replace(base, augmentation=AFFINE_ONLY),
        "elastic distortion only": replace(base, augmentation=ELASTIC_ONLY),
        "half as many epochs": replace(base, epochs=epochs // 2),
        "twice as many epochs": replace(base, epochs=2 * epochs),
    }


def main(
    data: Annotated[Path, typer.Option(help="A torchvision root with QMNIST.")] = Path("data"),
    epochs: Annotated[int, typer.Option(help="Of each training.", min=2)] = 40,
    seeds: Annotated[int, typer.Option(help="How many of each.", min=1)] = 2,
) -> None:
    """Print a table: accuracy and loss on validation digits, the mean over the seeds."""
    digits, validation = dataset.hold_out_writers(dataset.load(data, "train"), STRONG.validation)
    print(f"| {epochs} epochs, {seeds} seeds | right | cross-entropy |")
    print("| --- | ---: | ---: |")
    recipes = variants(epochs)
    for name in track(recipes, "recipes", console=Console(stderr=True), transient=True):
        accuracies, losses = [], []
        for seed in range(seeds):
            with TemporaryDirectory() as scratch:
                network, _ = fit(
                    "baseline",
                    recipes[name],
                    digits,
                    None,
                    seed=seed,
                    device=torch.device("cpu"),
                    run=Run(StringIO(), Console(file=StringIO())),
                    checkpoint=Path(scratch) / "checkpoint.pt",
                )
            accuracies.append(accuracy(network, validation))
            with torch.inference_mode():
                logits = network(normalise(validation.images))
                losses.append(F.cross_entropy(logits, validation.labels).item())
        print(f"| {name} | {100 * mean(accuracies):.2f} % | {mean(losses):.4f} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
