"""One epoch of the notebook's own training loop beside ours, in one run.

    python benchmarks/training.py --data DIR

The notebook's loop is its code: torchvision's data set with a transform for each picture, a
`DataLoader`, and `loss.item()` for each batch. It runs as written, on as many threads as PyTorch
takes by itself, and on one, which is faster where the machine is small or busy. Ours is
`training.fit`, on one. Each trains the baseline network for one epoch, in turn, in a process of its
own, and the medians are compared.
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
    """The notebook's, which flattens what its loader gives it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return super().forward(x.view(-1, 28 * 28))


def notebook_epoch(data: Path, threads: int | None) -> float:
    """Train for one epoch as the notebook does; return the seconds."""
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
    """Train for one epoch as `python -m training fit baseline` does; return the seconds."""
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
    rounds: Annotated[int, typer.Option(help="How often each is timed.", min=1)] = 3,
) -> None:
    """Print the times, and how many times ours the notebook's are."""
    dataset.load(data, "train")  # or say what is wrong with it, once
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
    table = Table("loop", "seconds", "times ours", title=f"one epoch, median of {rounds}")
    for name, times in seconds.items():
        ratio = median(times) / median(seconds["ours"])
        table.add_row(name, f"{median(times):.2f}", f"{ratio:.1f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
