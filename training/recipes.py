"""Every hyperparameter of training, and nothing else.

A recipe is looked up by its name and the network's: `RECIPES["notebook"]["baseline"]`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

NetworkName = Literal["baseline", "deeper", "dropout"]
RecipeName = Literal["notebook"]


@dataclass(frozen=True)
class Recipe:
    """How one network is trained."""

    name: RecipeName
    optimizer: Literal["adam", "rmsprop"]
    learning_rate: float = 1e-3
    epochs: int = 5
    batch_size: int = 64
    dropout: float = 0.0  # for the network that has dropout layers
    validation: float = 0.0  # the share of the training writers whose digits are held out


RECIPES: Mapping[RecipeName, Mapping[NetworkName, Recipe]] = {
    # The course notebook's own: five epochs on all training digits, nothing held out.
    "notebook": {
        "baseline": Recipe("notebook", "adam"),
        "deeper": Recipe("notebook", "adam"),
        "dropout": Recipe("notebook", "rmsprop", dropout=0.5),
    },
}
