"""Extra pictures: some of your own, learned together with the training digits."""

from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from training import folders
from training.dataset import Digits
from training.recipes import ExtraRecipe


@dataclass(frozen=True)
class Extra:
    """Extra pictures as the networks see them; their writers and series are -1.

    Attributes:
        train: The pictures to learn from.
        validation: The pictures held out; there may be none.
    """

    train: Digits
    validation: Digits

    def splits(self) -> dict[str, Digits]:
        """Name both parts as a card does, without an empty one."""
        named = {"extra_train": self.train, "extra_validation": self.validation}
        return {name: digits for name, digits in named.items() if len(digits) > 0}


def load(path: Path, recipe: ExtraRecipe, console: Console) -> Extra:
    """Read a folder of pictures, or a zip file of one.

    The same share of each label is held out every time, whatever the seed of the training.

    Args:
        path: Contains folders named `0` to `9`, and in each the pictures of that digit.
        recipe: How much is held out.
        console: Shows the progress and the warnings.

    Raises:
        FolderError: There is nothing to learn from.
    """
    images, labels = folders.read(path, console)
    nobody = torch.full((len(labels),), -1)
    digits = Digits(images, labels, nobody, nobody)
    held_out = _held_out(digits, recipe.held_out)
    return Extra(digits[~held_out], digits[held_out])


def weighted(extra: Digits, digits: Digits, recipe: ExtraRecipe) -> Digits:
    """Repeat extra pictures until they have the recipe's share of each of their labels.

    Args:
        extra: The pictures.
        digits: The other pictures to learn from.
        recipe: Which share.
    """
    rows = []
    for label in extra.labels.unique():
        some = (extra.labels == label).nonzero().squeeze(1)
        others = int((digits.labels == label).sum())
        count = others * recipe.share / (1 - recipe.share)
        rows.append(some.repeat(max(1, round(count / len(some)))))
    return extra[torch.cat(rows)]


def _held_out(digits: Digits, share: float) -> torch.Tensor:
    held_out = torch.zeros(len(digits), dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    for label in digits.labels.unique():
        some = (digits.labels == label).nonzero().squeeze(1)
        order = torch.randperm(len(some), generator=generator)
        held_out[some[order[: round(share * len(some))]]] = True
    return held_out
