"""A network that learns: its optimizers, their schedule, and its state in a file."""

from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from training.networks import Baseline, Deeper, Dropout
from training.recipes import NetworkName, Recipe


class CheckpointError(Exception):
    """A checkpoint is of another training than the one that is to go on."""


@dataclass
class History:
    """What a training has come through so far: an entry an epoch, and the time it took."""

    losses: list[float] = field(default_factory=list)
    validation_accuracies: list[float] = field(default_factory=list)
    seconds: float = 0.0


def build(name: NetworkName, recipe: Recipe) -> nn.Module:
    """Make the named network, with fresh weights from torch's global generator."""
    match name:
        case "baseline":
            return Baseline()
        case "deeper":
            return Deeper()
        case "dropout":
            return Dropout(recipe.dropout)


class Learner:
    """One network with all that its training changes.

    Args:
        name: Which network.
        recipe: How it learns.
        steps: How many batches it will learn from in all, which its schedule spans.
        seed: Of its first weights.
        device: Where it is.
    """

    def __init__(
        self, name: NetworkName, recipe: Recipe, steps: int, *, seed: int, device: torch.device
    ) -> None:
        torch.manual_seed(seed)
        self.network = build(name, recipe).to(device)
        self.steps = steps
        self._loss = nn.CrossEntropyLoss()
        self._optimizers = _optimizers(self.network, recipe, device)
        self._schedules: list[LambdaLR] = []
        if recipe.warmup is not None:
            factor = partial(_factor, recipe.warmup, steps)
            self._schedules = [LambdaLR(optimizer, factor) for optimizer in self._optimizers]

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        """Learn from one batch.

        Args:
            x: Normalised pixels, float32 `[B, 784]`.
            y: Labels, int64 `[B]`.

        Returns:
            The batch's mean loss before the step, float32 `[]`.
        """
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        loss: Tensor = self._loss(self.network(x), y)
        loss.backward()
        for optimizer in self._optimizers:
            optimizer.step()
        for schedule in self._schedules:
            schedule.step()
        return loss.detach()

    def save(self, path: Path, identity: dict[str, Any], history: History) -> None:
        """Keep the state after an epoch; a file that is there is replaced as a whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".tmp")
        torch.save(
            {
                "identity": identity,
                "history": asdict(history),
                "state": [part.state_dict() for part in self._parts()],
            },
            unfinished,
        )
        unfinished.replace(path)

    def load(self, path: Path, identity: dict[str, Any]) -> History:
        """Take up the state that `save` kept.

        Raises:
            CheckpointError: It is of another training.
        """
        kept = torch.load(path, weights_only=True)
        if kept["identity"] != identity:
            raise CheckpointError(
                f"{path} is of another training, by another recipe or on other digits; "
                "delete it, or do not resume"
            )
        for part, state in zip(self._parts(), kept["state"], strict=True):
            part.load_state_dict(state)
        return History(**kept["history"])

    def _parts(self) -> list[nn.Module | torch.optim.Optimizer | LambdaLR]:
        return [self.network, *self._optimizers, *self._schedules]


def _factor(warmup: float, steps: int, step: int) -> float:
    """What the learning rates are multiplied by at a step: up for a while, then down to zero."""
    done = step / steps
    return done / warmup if done < warmup else (1 - done) / (1 - warmup)


def _optimizers(
    network: nn.Module, recipe: Recipe, device: torch.device
) -> list[torch.optim.Optimizer]:
    match recipe.optimizer:
        case "adam":
            return [torch.optim.Adam(network.parameters(), recipe.learning_rate, fused=True)]
        case "rmsprop":
            # Several tensors at once pays on a GPU only.
            foreach = device.type == "cuda"
            return [
                torch.optim.RMSprop(network.parameters(), recipe.learning_rate, foreach=foreach)
            ]
        case "muon":
            # Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024. The
            # last layer and the biases are Adam's, as its authors advise.
            *hidden, last = (p for p in network.parameters() if p.ndim == 2)
            rest = [p for p in network.parameters() if p.ndim == 1]
            muon = torch.optim.Muon(
                hidden,
                recipe.learning_rate,
                weight_decay=recipe.weight_decay,
                momentum=recipe.momentum,
            )
            adam = torch.optim.AdamW(
                [*rest, last],
                recipe.adam_learning_rate,
                betas=(0.9, 0.99),
                weight_decay=0.0,
                fused=True,
            )
            return [muon, adam]
