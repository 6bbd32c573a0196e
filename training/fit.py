"""The training loop."""

import os
from contextlib import closing
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from time import perf_counter

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from training.batches import ahead, epochs
from training.dataset import Digits
from training.learner import History, Learner
from training.networks import normalise
from training.recipes import NetworkName, Recipe
from training.runs import Run

LOG_EVERY = 100  # batches


def fit(
    name: NetworkName,
    recipe: Recipe,
    digits: Digits,
    validation: Digits | None,
    *,
    seed: int,
    device: torch.device,
    run: Run,
    checkpoint: Path,
    resume: bool = False,
) -> tuple[nn.Module, History]:
    """Train one network; the same seed on the same machine gives the same bits.

    Args:
        name: Which network.
        recipe: How.
        digits: What it learns from.
        validation: Digits to evaluate it on after every epoch, for the curves alone.
        seed: Of the weights, the shuffling, the augmentation and the dropout.
        device: Where.
        run: Where the metrics go.
        checkpoint: The file that keeps the training's state after every epoch.
        resume: Go on from that file, if it is there; there may be nothing left to do.

    Returns:
        The trained network, in evaluation mode, on the CPU; and what it came through.

    Raises:
        CheckpointError: The file is another training's.
    """
    run.record("recipe", network=name, seed=seed, device=device.type, **asdict(recipe))
    _make_deterministic()
    steps = -(-len(digits) // recipe.batch_size)
    learner = Learner(name, recipe, recipe.epochs * steps, seed=seed, device=device)
    identity = {"network": name, "seed": seed, "digits": digits.sha256(), **asdict(recipe)}
    history = History()
    if resume and checkpoint.exists():
        history = learner.load(checkpoint, identity)
        run.console.print(f"{name}: going on after epoch {len(history.losses)}", highlight=False)

    done = len(history.losses)
    start = perf_counter() - history.seconds
    stream = epochs(digits, recipe, seed=seed, device=device, first=done + 1)
    if recipe.augmentation is not None:  # or there is too little to do for a second thread
        stream = ahead(stream)
    progress = Progress(
        TextColumn(f"{name}, epoch {{task.fields[epoch]}}/{recipe.epochs}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=run.console,
        transient=True,
    )
    with progress, closing(stream):
        task = progress.add_task("", total=learner.steps, completed=done * steps, epoch=done + 1)
        for epoch in range(done + 1, recipe.epochs + 1):
            progress.update(task, epoch=epoch)
            torch.manual_seed(1_000_003 * seed + epoch)  # for dropout
            learner.network.train()
            running_loss = torch.zeros((), device=device)
            epoch_loss = torch.zeros((), device=device)
            for batch, (x, y) in enumerate(islice(stream, steps), start=1):
                loss = learner.step(x, y)
                running_loss += loss
                epoch_loss += loss
                if batch % LOG_EVERY == 0:
                    mean_loss = running_loss.item() / LOG_EVERY
                    running_loss.zero_()
                    run.record("loss", epoch=epoch, batch=batch, loss=mean_loss)
                    run.console.print(
                        f"{name}: epoch {epoch}, batch {batch}, loss {mean_loss:.4f}",
                        highlight=False,
                    )
                    progress.update(task, completed=(epoch - 1) * steps + batch)
            progress.update(task, completed=epoch * steps)
            history.losses.append(epoch_loss.item() / steps)
            if validation is not None:
                history.validation_accuracies.append(accuracy(learner.network, validation))
            history.seconds = perf_counter() - start
            run.record("epoch", epoch=epoch, **{k: v[-1] for k, v in _curves(history).items()})
            learner.save(checkpoint, identity, history)
    run.record("fitted", seconds=history.seconds)
    run.console.print(f"{name}: trained in {history.seconds:.1f} s", highlight=False)
    return learner.network.cpu().eval(), history


def _curves(history: History) -> dict[str, list[float]]:
    curves = {"loss": history.losses, "validation_accuracy": history.validation_accuracies}
    return {name: values for name, values in curves.items() if values}


@torch.inference_mode()
def accuracy(network: nn.Module, digits: Digits) -> float:
    """Return the share of the digits that a network gets right, 0…1."""
    device = next(network.parameters()).device
    network.eval()
    logits = network(normalise(digits.images.to(device)))
    return int((logits.argmax(1).cpu() == digits.labels).sum()) / len(digits)


def _make_deterministic() -> None:
    torch.use_deterministic_algorithms(True)
    # cuBLAS is deterministic with a workspace of its own only.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # So small batches gain little from a second thread, and where one is held up, all wait.
    torch.set_num_threads(1)
    # The optimizers' averages of the gradients of dead units decay to denormals, which are slow.
    torch.set_flush_denormal(True)
