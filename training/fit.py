"""The training loop, and evaluation."""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from training.dataset import Digits
from training.networks import CLASSES, Baseline, Deeper, Dropout, normalise
from training.recipes import NetworkName, Recipe
from training.runs import Run

LOG_EVERY = 100  # batches
EVALUATION_BATCH = 1_000

# uint8 [N, 28, 28] -> probabilities, float32 [N, 10]
Predict = Callable[[Tensor], NDArray[np.float32]]


def build(name: NetworkName, recipe: Recipe) -> nn.Module:
    """Make the named network, with fresh weights from torch's global generator."""
    match name:
        case "baseline":
            return Baseline()
        case "deeper":
            return Deeper()
        case "dropout":
            return Dropout(recipe.dropout)


def fit(
    name: NetworkName, recipe: Recipe, digits: Digits, *, seed: int, device: torch.device, run: Run
) -> nn.Module:
    """Train one network; the same seed on the same machine gives the same bits.

    All pictures stay in the device's memory as bytes; a batch is gathered by a slice of the
    epoch's shuffled row numbers, and normalised when its turn comes.

    Returns:
        The trained network, in evaluation mode, on the CPU.
    """
    run.record("recipe", network=name, seed=seed, device=device.type, **asdict(recipe))
    _make_deterministic(seed)
    shuffle = torch.Generator().manual_seed(seed)

    network = build(name, recipe).to(device)
    optimizer = _optimizer(network, recipe, device)
    loss_function = nn.CrossEntropyLoss()
    images, labels = digits.images.to(device), digits.labels.to(device)
    batches = -(-len(digits) // recipe.batch_size)

    network.train()
    start = perf_counter()
    progress = Progress(
        TextColumn(f"{name}, epoch {{task.fields[epoch]}}/{recipe.epochs}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=run.console,
        transient=True,
    )
    with progress:
        task = progress.add_task("", total=recipe.epochs * batches, epoch=1)
        for epoch in range(1, recipe.epochs + 1):
            progress.update(task, epoch=epoch)
            order = torch.randperm(len(digits), generator=shuffle).to(device)
            running_loss = torch.zeros((), device=device)
            for batch, rows in enumerate(order.split(recipe.batch_size), start=1):
                optimizer.zero_grad()
                loss = loss_function(network(normalise(images[rows])), labels[rows])
                loss.backward()
                optimizer.step()
                running_loss += loss.detach()
                if batch % LOG_EVERY == 0:
                    mean_loss = running_loss.item() / LOG_EVERY
                    running_loss.zero_()
                    run.record("loss", epoch=epoch, batch=batch, loss=mean_loss)
                    run.console.print(
                        f"{name}: epoch {epoch}, batch {batch}, loss {mean_loss:.4f}",
                        highlight=False,
                    )
                    progress.update(task, completed=(epoch - 1) * batches + batch)
            progress.update(task, completed=epoch * batches)
    seconds = perf_counter() - start
    run.record("fitted", seconds=seconds)
    run.console.print(f"{name}: trained in {seconds:.1f} s", highlight=False)
    return network.cpu().eval()


def _make_deterministic(seed: int) -> None:
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    # cuBLAS is deterministic with a workspace of its own only.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # So small batches gain little from a second thread, and where one is held up, all wait.
    torch.set_num_threads(1)
    # Adam's averages of the gradients of dead units decay to denormals, which are slow.
    torch.set_flush_denormal(True)


def _optimizer(
    network: nn.Module, recipe: Recipe, device: torch.device
) -> torch.optim.Adam | torch.optim.RMSprop:
    match recipe.optimizer:
        case "adam":
            return torch.optim.Adam(network.parameters(), recipe.learning_rate, fused=True)
        case "rmsprop":
            # Several tensors at once pays on a GPU only.
            foreach = device.type == "cuda"
            return torch.optim.RMSprop(network.parameters(), recipe.learning_rate, foreach=foreach)


@dataclass(frozen=True)
class Evaluation:
    """How right, and how sure, a model was on some digits.

    Attributes:
        confusion: int64 `[10, 10]`, rows are the true classes, columns the predicted ones.
        calibration_error: The expected calibration error in 15 bins, 0…1.
    """

    confusion: NDArray[np.int64]
    calibration_error: float

    @property
    def correct(self) -> int:
        """How many digits were right."""
        return int(np.trace(self.confusion))

    @property
    def total(self) -> int:
        """How many digits there were."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """The share that was right, 0…1."""
        return self.correct / self.total


def evaluate(predict: Predict, digits: Digits) -> Evaluation:
    """Compare predictions with the labels, in batches."""
    probabilities = np.concatenate([predict(x) for x in digits.images.split(EVALUATION_BATCH)])
    labels = digits.labels.numpy()
    predicted = probabilities.argmax(axis=1)
    confusion = np.zeros((CLASSES, CLASSES), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    return Evaluation(
        confusion,
        expected_calibration_error(probabilities.max(axis=1), predicted == labels),
    )


def evaluate_splits(predict: Predict, splits: Mapping[str, Digits]) -> dict[str, Evaluation]:
    """Evaluate on several splits, by name."""
    return {name: evaluate(predict, digits) for name, digits in splits.items()}


def expected_calibration_error(
    confidence: NDArray[np.float32], correct: NDArray[np.bool_], bins: int = 15
) -> float:
    """How far confidence is from accuracy, on average over equally wide bins of confidence.

    Guo et al., On Calibration of Modern Neural Networks, 2017, equation 3.

    Args:
        confidence: The winning class's probability, float32 `[N]`, 0…1.
        correct: Whether that class was the right one, bool `[N]`.
        bins: How many; each is open on its left and closed on its right.
    """
    index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(index, weights=correct - confidence.astype(np.float64), minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def torch_predict(network: nn.Module) -> Predict:
    """Make a `Predict` of a trained network."""

    @torch.inference_mode()
    def predict(images: Tensor) -> NDArray[np.float32]:
        probabilities: NDArray[np.float32] = network(normalise(images)).softmax(1).numpy()
        return probabilities

    return predict
