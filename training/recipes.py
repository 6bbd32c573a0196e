"""Every hyperparameter of training, and nothing else.

A recipe is looked up by its name and the network's: `RECIPES["strong"]["baseline"]`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

NetworkName = Literal["baseline", "deeper", "dropout"]
RecipeName = Literal["notebook", "strong"]


@dataclass(frozen=True)
class Augmentation:
    """How far each picture is distorted, anew in every epoch."""

    rotation: float = 14.0  # degrees, to either side
    scale: float = 0.14  # the logarithm of either axis's factor, up or down
    shear: float = 0.18  # either way
    shift: float = 1.7  # pixels, in any direction
    elastic: float = 0.5  # pixels, the standard deviation of a grid point's displacement
    grid: int = 5  # points along a side


@dataclass(frozen=True)
class Recipe:
    """How one network is trained."""

    name: RecipeName
    optimizer: Literal["adam", "rmsprop", "muon"]
    learning_rate: float = 1e-3
    epochs: int = 5
    batch_size: int = 64
    dropout: float = 0.0  # for the network that has dropout layers
    validation: float = 0.0  # the share of the training writers whose digits are held out
    momentum: float = 0.9  # Muon's
    weight_decay: float = 0.0  # Muon's
    adam_learning_rate: float = 2e-3  # beside Muon, for the biases and the last layer
    warmup: float | None = None  # share of all steps; then linearly to zero. None: constant
    augmentation: Augmentation | None = None


STRONG = Recipe(
    "strong",
    "muon",
    learning_rate=0.03,
    epochs=300,
    batch_size=512,
    validation=0.085,
    weight_decay=0.02,
    warmup=0.05,
    augmentation=Augmentation(),
)

RECIPES: Mapping[RecipeName, Mapping[NetworkName, Recipe]] = {
    # The course notebook's own: five epochs on all training digits, nothing held out.
    "notebook": {
        "baseline": Recipe("notebook", "adam"),
        "deeper": Recipe("notebook", "adam"),
        "dropout": Recipe("notebook", "rmsprop", dropout=0.5),
    },
    # docs/recipe.md says what each piece of it brings.
    "strong": {"baseline": STRONG, "deeper": STRONG, "dropout": STRONG},
}


@dataclass(frozen=True)
class TypicalityRecipe:
    """How the network is trained that tells digits from other pictures."""

    maps: int = 16
    hidden: int = 40
    epochs: int = 40
    batch_size: int = 512  # half digits, half others
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    warmup_steps: int = 200
    seed: int = 0
    sides: tuple[int, ...] = (40, 70, 140)  # pixels to which digits are enlarged on their way
    made: int = 4  # of the others, times as many as an epoch takes
    # Of the others; as many of them in an epoch as there are digits.
    shares: Mapping[str, float] = field(
        default_factory=lambda: {
            "letters": 0.20,
            "halves": 0.50,
            "noise": 0.05,
            "scribbles": 0.14,
            "textures": 0.11,
        }
    )


TYPICALITY = TypicalityRecipe()


@dataclass(frozen=True)
class AcceptanceRecipe:
    """How much of the validation digits the thresholds refuse."""

    unsure: float = 0.025  # the least sure
    refused: float = 0.04  # in all, with the least typical of the others


ACCEPTANCE = AcceptanceRecipe()
