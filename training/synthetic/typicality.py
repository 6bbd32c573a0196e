"""A small network for typicality: how much a picture looks like a digit at all.

It learns to tell the training digits from generated pictures of other things (outlier exposure:
Hendrycks et al., Deep Anomaly Detection with Outlier Exposure, 2019). docs/recipe.md lists the
alternatives that were tried.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from torch import Generator, Tensor, nn

from training.card import replacing_file
from training.dataset import Digits
from training.fit import adam, reproducible
from training.recipes import TypicalityRecipe
from training.synthetic import negatives
from training.synthetic.arrival import arrive
from training.synthetic.negatives import Kind


class Typicality(nn.Module):
    """A convolution and three dense layers, from pixels to one logit, which is high for digits."""

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


@reproducible()
def fit_typicality(
    recipe: TypicalityRecipe, digits: Digits, *, cache: Path, console: Console
) -> Typicality:
    """Train the network; the same digits and recipe give the same bits.

    Args:
        recipe: How to train it.
        digits: The typical pictures: the training digits, then generated ones, kind by kind.
        cache: A folder that keeps the trained network, since all models share it.
        console: Shows the progress.
    """
    torch.manual_seed(recipe.seed)
    network = Typicality(recipe.maps, recipe.hidden)
    identity = json.dumps({"digits": digits.sha256(), **asdict(recipe)}).encode()
    path = cache / f"typicality-{hashlib.sha256(identity).hexdigest()[:12]}.pt"
    if path.exists():
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return network.eval()
    _train(network, recipe, digits, console)
    with replacing_file(path) as unfinished:
        torch.save(network.state_dict(), unfinished)
    return network.eval()


def _train(network: Typicality, recipe: TypicalityRecipe, digits: Digits, console: Console) -> None:
    generator = Generator().manual_seed(recipe.seed)
    epoch = min(recipe.epoch, len(digits))
    counts = {kind: int(recipe.shares[kind] * epoch) for kind in negatives.KINDS}
    typical, atypical = _pictures(recipe, digits, counts, generator)
    half = min(recipe.batch_size // 2, sum(counts.values()))
    steps = recipe.epochs * (sum(counts.values()) // half)
    optimizer = adam(network.parameters(), recipe.optimizer)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(step / recipe.warmup_steps, 1 - step / steps)
    )
    truth = torch.cat([torch.ones(half), torch.zeros(half)])
    for _ in track(range(recipe.epochs), "typicality", console=console, transient=True):
        others = torch.cat(
            [
                _chosen(recipe, kind, some, counts[kind], generator)
                for kind, some in atypical.items()
                if len(some)
            ]
        )
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


def _pictures(
    recipe: TypicalityRecipe,
    digits: Digits,
    counts: Mapping[Kind, int],
    generator: Generator,
) -> tuple[Tensor, dict[Kind, Tensor]]:
    """Make the pictures to learn from: the typical ones, and the others by kind.

    The typical ones include an epoch's digits, enlarged and read through `imaging`. Without these,
    the network would learn how QMNIST was resampled, and refuse anything resampled differently.
    """
    made = {
        kind: negatives.to_learn_from(kind, recipe.made * count, digits, generator)
        for kind, count in counts.items()
    }
    some = torch.randperm(len(digits), generator=generator)[: recipe.epoch]
    enlarged = _arrived(digits.images[some], recipe.sides)
    return torch.cat([digits.images, enlarged]), made


def _chosen(
    recipe: TypicalityRecipe, kind: Kind, pictures: Tensor, count: int, generator: Generator
) -> Tensor:
    """Choose an epoch's pictures of one kind, and turn them unless they have to be upright."""
    chosen = pictures[torch.randint(len(pictures), (count,), generator=generator)]
    if kind in recipe.upright:
        return chosen
    return _turned(chosen, recipe.turned_together, generator)


def _arrived(images: Tensor, sides: Sequence[int]) -> Tensor:
    """Enlarge pictures to several sizes, an equal part of them to each, and read them."""
    parts = [as_they_arrive(images[i :: len(sides)], side) for i, side in enumerate(sides)]
    return torch.cat(parts)


def as_they_arrive(images: Tensor, side: int) -> Tensor:
    """Enlarge pictures and read them through `imaging`, like users' pictures.

    Args:
        images: uint8 `[N, 28, 28]`.
        side: The size to enlarge them to, in pixels.

    Returns:
        Those in which `imaging` finds one digit, uint8 `[M, 28, 28]`.
    """
    enlarged = [
        negatives.in_bytes(F.interpolate(chunk.float(), (side, side), mode="bicubic"))
        for chunk in images.unsqueeze(1).split(500)
    ]
    pixels, _ = arrive(torch.cat(enlarged).squeeze(1).numpy())
    return torch.from_numpy(pixels)


def _turned(pictures: Tensor, together: int, generator: Generator) -> Tensor:
    """Rotate pictures by quarter turns and mirror them, in groups that share both."""
    turned = []
    for chunk in pictures.split(together):
        turns, mirrored = torch.randint(4, (2,), generator=generator).tolist()
        rotated = chunk.rot90(turns, (1, 2))
        turned.append(rotated.flip(2) if mirrored % 2 else rotated)
    return torch.cat(turned)
