"""The training loop, then its parts: determinism, optimizers, checkpoints and the log."""

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, TextIO

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR

from training.batches import Batch, seed_of, stream
from training.card import replacing_file
from training.dataset import Digits
from training.evaluation import History, accuracy
from training.networks import build, fingerprint
from training.recipes import Adam, Muon, Recipe, RMSprop

LOG_EVERY = 100  # batches
METRICS_FILE = "metrics.jsonl"


def _train(
    learner: "Learner",
    batches: Iterator[Batch],
    epochs: Iterable[int],
    *,
    seed: int,
    log: Callable[[int, int, float], None],
) -> Iterator[tuple[int, float]]:
    """Run the notebook's loop; after each epoch, yield its number and its mean loss."""
    for epoch in epochs:
        torch.manual_seed(seed_of(seed, epoch))  # for dropout
        learner.network.train()
        running_loss, epoch_loss = torch.zeros(2, device=learner.device)
        for batch, (x, y) in enumerate(islice(batches, learner.steps), start=1):
            learner.zero_grad()
            loss = cross_entropy(learner.network(x), y)
            loss.backward()
            learner.step()
            running_loss += loss.detach()
            epoch_loss += loss.detach()
            if batch % LOG_EVERY == 0:
                log(epoch, batch, running_loss.item() / LOG_EVERY)
                running_loss.zero_()
        yield epoch, epoch_loss.item() / learner.steps


@contextmanager
def reproducible() -> Iterator[None]:
    """Have PyTorch compute the same bits every time; restore its settings afterwards."""
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    flushed = not torch.tensor(1e-40).mul(1).is_nonzero()  # PyTorch has no getter
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            torch.use_deterministic_algorithms(True)
            # Without a workspace of its own, cuBLAS is not deterministic.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            # Small batches gain little from a second thread, and wait for the slower one.
            torch.set_num_threads(1)
            # The averages of the gradients of dead units decay to denormals, which are slow.
            torch.set_flush_denormal(True)
            yield
    finally:
        torch.set_flush_denormal(flushed)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        if workspace is None:
            os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


@reproducible()
def fit(
    name: str,
    recipe: Recipe,
    digits: Digits,
    validation: Digits | None,
    *,
    seed: int,
    device: torch.device,
    run: "Run",
    checkpoint: Path,
    start: Mapping[str, Tensor] | None = None,
    resume: bool = False,
) -> tuple[nn.Module, History]:
    """Train one network; the same seed on the same machine gives the same bits.

    Args:
        name: The network.
        recipe: How to train it.
        digits: What it learns from.
        validation: Digits to evaluate it on after every epoch, only for the curves.
        seed: Seeds the weights, the shuffling, the augmentation and the dropout.
        device: Where to train.
        run: Records the metrics.
        checkpoint: The file that keeps the training's state after every epoch.
        start: The weights to begin with, instead of fresh ones.
        resume: Continue from the checkpoint, if it exists. It may be of a finished training.

    Returns:
        The trained network, in evaluation mode, on the CPU; and the history of its training.

    Raises:
        CheckpointError: The checkpoint is from another training.
    """
    run.record("recipe", network=name, seed=seed, device=device.type, **asdict(recipe))
    steps = math.ceil(len(digits) / recipe.batch_size)
    learner = Learner(name, recipe, steps, seed=seed, device=device)
    if start is not None:
        learner.network.load_state_dict(start)
    identity = {
        "network": name,
        "seed": seed,
        "digits": digits.sha256(),
        "start": None if start is None else fingerprint(start),
        **asdict(recipe),
    }
    history = History()
    if resume and checkpoint.exists():
        history = learner.load(checkpoint, identity)
        run.say(f"{name}: continuing after epoch {len(history.losses)}")

    done = len(history.losses)
    began = perf_counter() - history.seconds
    batches = stream(digits, recipe, seed=seed, device=device, first=done + 1)
    with closing(batches), run.progress(name, recipe.epochs, steps) as log:
        log(done + 1, 0, None)
        remaining = range(done + 1, recipe.epochs + 1)
        for epoch, loss in _train(learner, batches, remaining, seed=seed, log=log):
            metrics = {"loss": loss}
            history.losses.append(loss)
            if validation is not None:
                metrics["validation_accuracy"] = accuracy(learner.network, validation)
                history.validation_accuracies.append(metrics["validation_accuracy"])
            history.seconds = perf_counter() - began
            run.record("epoch", epoch=epoch, **metrics)
            log(epoch + 1, 0, None)
            learner.save(checkpoint, identity, history)
    run.record("fitted", seconds=history.seconds)
    run.say(f"{name}: trained in {history.seconds:.1f} s")
    return learner.network.cpu().eval(), history


class CheckpointError(Exception):
    """A checkpoint is from another training than the one to resume."""


class Learner:
    """One network with everything that its training changes.

    Args:
        name: The network.
        recipe: How it learns.
        steps: The number of batches in an epoch.
        seed: Seeds its first weights.
        device: Where it is.
    """

    def __init__(
        self, name: str, recipe: Recipe, steps: int, *, seed: int, device: torch.device
    ) -> None:
        torch.manual_seed(seed)
        self.network = build(name, recipe.dropout).to(device)
        self.device = device
        self.steps = steps
        self._optimizers = _optimizers(self.network, recipe.optimizer, device)
        self._rates: list[LambdaLR] = []
        if recipe.warmup is not None:
            factor = partial(schedule, recipe.warmup, recipe.epochs * steps)
            self._rates = [LambdaLR(optimizer, factor) for optimizer in self._optimizers]

    def zero_grad(self) -> None:
        """Clear the last batch's gradients."""
        for optimizer in self._optimizers:
            optimizer.zero_grad()

    def step(self) -> None:
        """Update the weights by the gradients, and the learning rates by their schedule."""
        for optimizer in self._optimizers:
            optimizer.step()
        for rate in self._rates:
            rate.step()

    def save(self, path: Path, identity: dict[str, Any], history: History) -> None:
        """Save the state after an epoch; an older file is replaced as a whole."""
        with replacing_file(path) as unfinished:
            torch.save(
                {
                    "identity": identity,
                    "history": asdict(history),
                    "state": [part.state_dict() for part in self._parts()],
                },
                unfinished,
            )

    def load(self, path: Path, identity: dict[str, Any]) -> History:
        """Restore the state that `save` wrote, on any device.

        Returns:
            The history of the training so far.

        Raises:
            CheckpointError: It is from another training, or its network has changed since.
        """
        kept = torch.load(path, map_location="cpu", weights_only=True)
        if kept["identity"] != identity:
            raise CheckpointError(
                f"{path} is from another training, with another recipe or other digits. "
                "Delete it, or leave --resume away."
            )
        try:
            for part, state in zip(self._parts(), kept["state"], strict=True):
                part.load_state_dict(state)
        except (RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"{path} does not fit the network. If you have changed its layers, delete the "
                f"file, or leave --resume away. {error}"
            ) from error
        return History(**kept["history"])

    def _parts(self) -> list[nn.Module | torch.optim.Optimizer | LambdaLR]:
        return [self.network, *self._optimizers, *self._rates]


def schedule(warmup: float, steps: int, step: int) -> float:
    """Return a learning rate's factor at a step, from 0 on: it rises to 1, then falls to 0."""
    done = step / steps
    return done / warmup if done < warmup else (1 - done) / (1 - warmup)


def _optimizers(
    network: nn.Module, recipe: Adam | RMSprop | Muon, device: torch.device
) -> list[torch.optim.Optimizer]:
    match recipe:
        case Adam():
            return [adam(network.parameters(), recipe)]
        case RMSprop():
            return [
                torch.optim.RMSprop(
                    network.parameters(),
                    recipe.learning_rate,
                    alpha=recipe.alpha,
                    eps=recipe.epsilon,
                    foreach=device.type
                    == "cuda",  # updating several tensors at once is faster only there
                )
            ]
        case Muon():
            parameters = list(network.parameters())
            matrices = [p for p in parameters if p.ndim == 2]
            hidden, last = matrices[:-1], matrices[-1:]
            rest = adam([*(p for p in parameters if p.ndim != 2), *last], recipe.rest)
            if not hidden:
                return [rest]
            muon = torch.optim.Muon(
                hidden,
                recipe.learning_rate,
                momentum=recipe.momentum,
                nesterov=recipe.nesterov,
                weight_decay=recipe.weight_decay,
                ns_steps=recipe.newton_schulz_steps,
                ns_coefficients=recipe.newton_schulz_coefficients,
                eps=recipe.epsilon,
                adjust_lr_fn=recipe.adjustment,
            )
            return [muon, rest]


def adam(parameters: Iterable[Tensor], recipe: Adam) -> torch.optim.AdamW:
    """Return the optimizer, which without weight decay is Adam itself."""
    return torch.optim.AdamW(
        parameters,
        recipe.learning_rate,
        betas=recipe.betas,
        eps=recipe.epsilon,
        weight_decay=recipe.weight_decay,
        fused=True,
    )


class Run:
    """Records a training's metrics, and shows its progress on a console."""

    def __init__(self, metrics: TextIO, console: Console) -> None:
        self.console = console
        self._metrics = metrics

    def record(self, event: str, **metrics: object) -> None:
        """Write the metrics of one event as a line of JSON, and flush it."""
        self._metrics.write(json.dumps({"event": event, **metrics}) + "\n")
        self._metrics.flush()

    def say(self, sentence: str) -> None:
        """Show a message."""
        self.console.print(sentence, highlight=False)

    @contextmanager
    def progress(
        self, name: str, epochs: int, steps: int
    ) -> Iterator[Callable[[int, int, float | None], None]]:
        """Show a progress bar; yield a function that takes the epoch, the batch and the loss."""
        bar = Progress(
            TextColumn(f"{name}, epoch {{task.fields[epoch]}}/{epochs}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        with bar:
            task = bar.add_task("", total=epochs * steps, epoch=1)

            def log(epoch: int, batch: int, loss: float | None) -> None:
                done = (epoch - 1) * steps + batch
                bar.update(task, completed=done, epoch=min(epoch, epochs))
                if loss is not None:
                    self.record("loss", epoch=epoch, batch=batch, loss=loss)
                    self.say(f"{name}: epoch {epoch}, batch {batch}, loss {loss:.4f}")

            yield log


@contextmanager
def start_run(runs: Path, name: str, console: Console) -> Iterator[Run]:
    """Make a new run's folder, `runs/<time>-<name>/`, with its metrics as JSON lines."""
    time = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S-%f")
    folder = runs / f"{time}-{name}"
    folder.mkdir(parents=True)
    with (folder / METRICS_FILE).open("w", encoding="utf-8") as metrics:
        yield Run(metrics, console)
