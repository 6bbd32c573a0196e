"""Compare the time of one epoch of the notebook's training loop with ours.

    .venv-dev/bin/python benchmarks/training.py --data DIR

The notebook's loop is its own code: torchvision's data set with a transform per picture, a
`DataLoader`, and `loss.item()` after each batch. It runs with PyTorch's default number of threads
and with one, which is faster on a small or busy machine. Ours is `training.fit` with one thread.
Each trains the baseline network for one epoch, in turn, in its own process. The table compares the
medians.
"""

import multiprocessing
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn, optim
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import QMNIST

sys.path.insert(0, str(Path(__file__).parent.parent))

from training import dataset
from training.fit import Run, fit
from training.networks import Baseline
from training.recipes import recipe_for


class NotebookNetwork(Baseline):
    """The notebook's network, which flattens the pictures of its loader."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return super().forward(x.view(-1, 28 * 28))


def notebook_epoch(data: Path, threads: int | None) -> float:
    """Train for one epoch as the notebook does, and return the seconds."""
    if threads is not None:
        torch.set_num_threads(threads)
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
    train_dataset = QMNIST(root=data, train=True, transform=transform)
    train_loader = DataLoader(train_dataset, batch_size=64, shuffle=True)
    model = NotebookNetwork()
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=0.001)
    start = perf_counter()
    model.train()
    running_loss = 0.0
    for inputs, labels in train_loader:
        optimizer.zero_grad()
        outputs = model(inputs)
        loss = criterion(outputs, labels)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
    return perf_counter() - start


def our_epoch(data: Path) -> float:
    """Train for one epoch as `python -m training fit baseline` does, and return the seconds."""
    recipe = replace(recipe_for("baseline", "notebook"), epochs=1)
    digits = dataset.load(data, "train")
    run = Run(StringIO(), Console(file=StringIO()))
    start = perf_counter()
    with TemporaryDirectory() as scratch:
        fit(
            "baseline",
            recipe,
            digits,
            None,
            seed=0,
            device=torch.device("cpu"),
            run=run,
            checkpoint=Path(scratch) / "checkpoint.pt",
        )
    return perf_counter() - start


def main(
    data: Annotated[Path, typer.Option(help="A torchvision root with QMNIST.")] = Path("data"),
    rounds: Annotated[int, typer.Option(help="How often to time each loop.", min=1)] = 3,
) -> None:
    """Print the times, and their ratios to ours."""
    dataset.load(data, "train")  # fails here, once, if the data set is damaged
    contenders: dict[str, Callable[[], float]] = {
        f"the notebook's, {torch.get_num_threads()} threads": partial(notebook_epoch, data, None),
        "the notebook's, 1 thread": partial(notebook_epoch, data, 1),
        "ours": partial(our_epoch, data),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for _ in range(rounds):
            for name, epoch in contenders.items():
                seconds[name].append(pool.apply(epoch))
    table = Table("loop", "seconds", "times ours", title=f"One epoch, median of {rounds}")
    for name, times in seconds.items():
        ratio = median(times) / median(seconds["ours"])
        table.add_row(name, f"{median(times):.2f}", f"{ratio:.1f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
