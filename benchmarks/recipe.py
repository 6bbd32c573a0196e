"""Measure what each part of the strong recipe contributes.

    .venv-dev/bin/python benchmarks/recipe.py --data DIR [--wild DIR] [--only pictures]

Each row changes one thing of the recipe and trains the baseline network on fewer pictures than the
recipe has. The network is evaluated on the digits of the held-out writers, on digits printed in
held-out fonts and, with `--wild`, on other people's pictures. No test digit is used.
"""

import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from io import StringIO
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from rich.console import Console
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.wild import find_digits
from imaging import look, open_picture
from imaging.errors import PictureError
from training import dataset
from training.dataset import Digits
from training.evaluation import accuracy
from training.fit import Run, fit
from training.networks import normalise
from training.recipes import STRONG, Adam, Augmentation, Muon, PicturesRecipe, Recipe
from training.synthetic import negatives
from training.synthetic.arrival import arrive
from training.synthetic.pictures import learned_from

MAX_PIXELS = 40_000_000  # the service's default
AFFINE_ONLY = Augmentation(elastic=0)
ELASTIC_ONLY = Augmentation(rotation=0, scale=0, shear=0, shift=0)
PICTURES = STRONG.pictures or PicturesRecipe()
GENTLER = Augmentation(rotation=10, scale=0.1, shear=0.12, shift=1.2)

CHANGED_PICTURES: dict[str, Recipe] = {
    "the strong recipe": STRONG,
    "QMNIST's digits alone": replace(STRONG, pictures=None),
    "without *sent*": replace(STRONG, pictures=replace(PICTURES, sent=0)),
    "without *written*": replace(STRONG, pictures=replace(PICTURES, written=0)),
    "without *printed*": replace(STRONG, pictures=replace(PICTURES, printed=0)),
    "QMNIST's digits half as often": replace(STRONG, pictures=replace(PICTURES, as_it_is=2)),
    "gentler augmentation": replace(STRONG, augmentation=GENTLER),
}
CHANGED_TRAINING: dict[str, Recipe] = {
    "Adam instead of Muon": replace(STRONG, optimizer=Adam(learning_rate=2e-3)),
    "no weight decay": replace(STRONG, optimizer=Muon(weight_decay=0.0)),
    "no schedule: a constant learning rate": replace(STRONG, warmup=None),
    "no augmentation": replace(STRONG, augmentation=None),
    "no elastic distortion": replace(STRONG, augmentation=AFFINE_ONLY),
    "only elastic distortion": replace(STRONG, augmentation=ELASTIC_ONLY),
    "batches of 1,024": replace(STRONG, batch_size=1_024),
}


def main(
    data: Annotated[Path, typer.Option(help="A torchvision root with QMNIST.")] = Path("data"),
    wild: Annotated[
        Path | None,
        typer.Option(help="Other people's pictures, laid out as for benchmarks/wild.py."),
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Change only this part: pictures or training.")
    ] = None,
    millions: Annotated[float, typer.Option(help="Millions of pictures to learn from.")] = 4,
    seeds: Annotated[int, typer.Option(help="How many seeds to train.", min=1)] = 2,
    cache: Annotated[Path, typer.Option(help="The folder that keeps made pictures.")] = Path(
        "runs/checkpoints"
    ),
) -> None:
    """Print a table of accuracies: the mean over the seeds and half of their range."""
    console = Console(stderr=True)
    digits, validation = dataset.hold_out_writers(dataset.load(data, "train"), STRONG.validation)
    evaluated = {"validation": validation, "printed": printed()}
    if wild is not None:
        evaluated |= dict(others(wild))
    variants = {
        name: recipe
        for part, recipes in {"pictures": CHANGED_PICTURES, "training": CHANGED_TRAINING}.items()
        if only in (None, part)
        for name, recipe in recipes.items()
    }
    columns = [f"{millions:g} million pictures, {seeds} seeds", *evaluated, "cross-entropy"]
    print(f"| {' | '.join(columns)} |")
    print("| --- |" + " ---: |" * (len(evaluated) + 1))
    for name, recipe in variants.items():
        learned, _ = learned_from(recipe.pictures, digits, cache=cache, console=console)
        epochs = max(1, round(1e6 * millions / len(learned)))
        networks = [trained(replace(recipe, epochs=epochs), learned, seed) for seed in range(seeds)]
        cells = [spread([100 * accuracy(n, some) for n in networks]) for some in evaluated.values()]
        nats = mean(cross_entropy(n, validation) for n in networks)
        print(f"| {name} | {' | '.join(cells)} | {nats:.4f} |", flush=True)


def printed() -> Digits:
    """Return digits printed in the held-out fonts, as `imaging` shows them to the networks."""
    pixels, found = arrive(negatives.printed(negatives.DIGITS))
    return labelled(pixels, np.resize(np.arange(10), len(found))[found])


def others(folder: Path) -> Iterator[tuple[str, Digits]]:
    """Yield other people's pictures, group by group, without those in which no digit is found."""
    for group, pictures in find_digits(folder).items():
        pixels, labels = [], []
        for picture in pictures:
            with suppress(PictureError):
                pixels.append(look(open_picture(picture.path.read_bytes(), MAX_PIXELS)).pixels)
                labels.append(int(picture.label))
        yield group, labelled(np.stack(pixels), np.array(labels))


def labelled(pixels: np.ndarray, labels: np.ndarray) -> Digits:
    """Make a data set of pixels, uint8 `[N, 28, 28]`, and labels, int `[N]`."""
    nobody = torch.full((len(labels),), -1)
    return Digits(torch.from_numpy(pixels), torch.from_numpy(labels).long(), nobody, nobody)


def trained(recipe: Recipe, learned: Digits, seed: int) -> nn.Module:
    """Train the baseline network and return it."""
    with TemporaryDirectory() as scratch:
        network, _ = fit(
            "baseline",
            recipe,
            learned,
            None,
            seed=seed,
            device=torch.device("cpu"),
            run=Run(StringIO(), Console(file=StringIO())),
            checkpoint=Path(scratch) / "checkpoint.pt",
        )
    return network


@torch.inference_mode()
def cross_entropy(network: nn.Module, digits: Digits) -> float:
    """Return the mean cross-entropy over the digits, in nats."""
    return F.cross_entropy(network(normalise(digits.images)), digits.labels).item()


def spread(shares: list[float]) -> str:
    """Format the mean of percentages, and half of their range."""
    return f"{mean(shares):.2f} ± {(max(shares) - min(shares)) / 2:.2f} %"


if __name__ == "__main__":
    typer.run(main)
