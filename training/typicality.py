"""How much a picture looks like a digit at all: a small network that has seen other pictures, too.

It learns to tell the training digits from pictures that the project makes (outlier exposure:
Hendrycks et al., Deep Anomaly Detection with Outlier Exposure, 2019). docs/recipe.md says what
else was tried.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from torch import Generator, Tensor, nn

from training import negatives
from training.dataset import Digits
from training.form import qmnist_form
from training.negatives import KINDS
from training.recipes import TypicalityRecipe


class Typicality(nn.Module):
    """A convolution and three dense layers, from pixels to one logit: high is a digit."""

    def __init__(self, maps: int, hidden: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, maps, kernel_size=5, stride=2)
        self.fc1 = nn.Linear(maps * 12 * 12, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return float32 `[N]` for pixels, float32 `[N, 784]` in 0…255."""
        x = torch.relu(self.conv(pixels.view(-1, 1, 28, 28) / 255))
        x = torch.relu(self.fc1(x.flatten(1)))
        x = torch.relu(self.fc2(x))
        logits: Tensor = self.fc3(x).squeeze(1)
        return logits


def fit_typicality(
    recipe: TypicalityRecipe, digits: Digits, *, cache: Path, console: Console
) -> Typicality:
    """Train it on digits; the same digits and recipe give the same bits.

    Args:
        recipe: How.
        digits: What is typical.
        cache: A folder that keeps what was trained, since three networks share it.
        console: Where the progress is shown.
    """
    torch.manual_seed(recipe.seed)
    network = Typicality(recipe.maps, recipe.hidden)
    identity = {"digits": digits.sha256(), **asdict(recipe)}
    path = cache / "typicality.pt"
    if path.exists():
        kept = torch.load(path, weights_only=True)
        if kept["identity"] == identity:
            network.load_state_dict(kept["state"])
            return network.eval()
    _train(network, recipe, digits, console)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"identity": identity, "state": network.state_dict()}, path)
    return network.eval()


def _train(network: Typicality, recipe: TypicalityRecipe, digits: Digits, console: Console) -> None:
    generator = Generator().manual_seed(recipe.seed)
    counts = {kind: int(recipe.shares[kind] * len(digits)) for kind in KINDS}
    made = {
        kind: negatives.to_learn_from(kind, recipe.made * count, digits, generator)
        for kind, count in counts.items()
    }
    # Half as they are and half as they arrive, of digits and of halves alike: or the network would
    # learn how QMNIST was resampled, and refuse what was resampled otherwise.
    made["halves"] = torch.cat([made["halves"][::2], _arrived(made["halves"][1::2], recipe.sides)])
    typical = torch.cat([digits.images, _arrived(digits.images, recipe.sides)])
    half = min(recipe.batch_size // 2, sum(counts.values()))
    steps = recipe.epochs * (sum(counts.values()) // half)
    optimizer = torch.optim.AdamW(
        network.parameters(),
        recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        betas=(0.9, 0.99),
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(step / recipe.warmup_steps, 1 - step / steps)
    )
    truth = torch.cat([torch.ones(half), torch.zeros(half)])
    for _ in track(range(recipe.epochs), "typicality", console=console, transient=True):
        atypical = []
        for kind, pictures in made.items():
            rows = torch.randint(len(pictures), (counts[kind],), generator=generator)
            chosen = pictures[rows]
            upright = kind in ("letters", "halves")
            atypical.append(chosen if upright else _turned(chosen, generator))
        others = torch.cat(atypical)
        others = others[torch.randperm(len(others), generator=generator)]
        for batch in others.split(half):
            if len(batch) < half:
                break
            rows = torch.randint(len(typical), (half,), generator=generator)
            logits = network(torch.cat([typical[rows], batch]).flatten(1).float())
            loss = F.binary_cross_entropy_with_logits(logits, truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def _arrived(images: Tensor, sides: Sequence[int]) -> Tensor:
    """Let pictures arrive in several sizes, an equal part of them in each."""
    parts = [as_they_arrive(images[i :: len(sides)], side) for i, side in enumerate(sides)]
    return torch.cat(parts)


def as_they_arrive(images: Tensor, side: int) -> Tensor:
    """Enlarge pictures and bring them into QMNIST's form again, as happens to users' pictures.

    Args:
        images: uint8 `[N, 28, 28]`.
        side: To how many pixels they are enlarged.
    """
    forms = []
    for chunk in images.split(500):
        enlarged = F.interpolate(
            chunk.float().unsqueeze(1), (side, side), mode="bicubic", align_corners=False
        )
        forms.append(qmnist_form(enlarged.squeeze(1).round().clamp(0, 255)))
    return torch.cat(forms)


def _turned(pictures: Tensor, generator: Generator) -> Tensor:
    """Turn pictures by quarters and mirror them, some hundreds at a time."""
    turned = []
    for chunk in pictures.split(256):
        turns, mirrored = torch.randint(4, (2,), generator=generator).tolist()
        rotated = chunk.rot90(turns, (1, 2))
        turned.append(rotated.flip(2) if mirrored % 2 else rotated)
    return torch.cat(turned)
