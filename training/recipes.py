"""Every hyperparameter of training, and nothing else.

`recipe_for("baseline", "strong")` looks up how a network is trained.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

RecipeName = Literal["notebook", "strong", "finetune"]


@dataclass(frozen=True)
class Augmentation:
    """How far each picture is distorted, differently in every epoch."""

    rotation: float = 14.0  # degrees, to either side
    scale: float = 0.14  # logarithm of the factor along each axis, up or down
    shear: float = 0.18  # in either direction
    shift: float = 1.7  # pixels, along each axis
    elastic: float = 0.5  # pixels, standard deviation of each grid point's displacement
    grid: int = 5  # points per side


@dataclass(frozen=True)
class Adam:
    """Kingma and Ba, Adam: A method for stochastic optimization, 2015."""

    name: Literal["adam"] = "adam"
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.0  # decoupled, as in AdamW


@dataclass(frozen=True)
class RMSprop:
    """Tieleman and Hinton, 2012."""

    name: Literal["rmsprop"] = "rmsprop"
    learning_rate: float = 1e-3
    alpha: float = 0.99
    epsilon: float = 1e-8


@dataclass(frozen=True)
class Muon:
    """Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024."""

    name: Literal["muon"] = "muon"
    learning_rate: float = 0.03
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 0.02
    newton_schulz_steps: int = 5
    newton_schulz_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315)
    epsilon: float = 1e-7
    adjustment: Literal["original", "match_rms_adamw"] = "original"  # of the learning rate
    # For everything but the hidden layers' matrices, as its authors advise.
    rest: Adam = Adam(learning_rate=2e-3, betas=(0.9, 0.99))


@dataclass(frozen=True)
class PicturesRecipe:
    """How many pictures an epoch has for each digit of the training split."""

    as_it_is: int = 4  # the digit itself, repeated
    sent: float = 1.4  # pictures of digits of the split
    written: float = 1.0  # pictures of digits written in other styles
    printed: float = 0.2  # pictures of printed digits
    seed: int = 0


@dataclass(frozen=True)
class Recipe:
    """How one network is trained."""

    name: RecipeName
    optimizer: Adam | RMSprop | Muon
    epochs: int = 5
    batch_size: int = 64
    dropout: float = 0.0  # the rate, for networks with dropout layers
    validation: float = 0.0  # share of the training writers whose digits are held out
    warmup: float | None = None  # share of all steps; then linear decay to zero. None: constant
    augmentation: Augmentation | None = None
    pictures: PicturesRecipe | None = None  # None: the training digits only
    made_together: int = 4  # batches whose random numbers are drawn at once
    fine_tune: bool = False  # from an existing model instead of fresh weights


STRONG = Recipe(
    "strong",
    Muon(),
    epochs=55,
    batch_size=512,
    validation=0.085,
    warmup=0.05,
    augmentation=Augmentation(),
    pictures=PicturesRecipe(),
)

FINETUNE = Recipe(
    "finetune",
    Adam(learning_rate=3e-4, betas=(0.9, 0.99)),
    epochs=4,
    batch_size=512,
    validation=0.085,  # the same writers as in the strong recipe
    warmup=0.05,
    augmentation=Augmentation(),
    fine_tune=True,
)

RECIPES: Mapping[RecipeName, Recipe] = {
    # The course notebook's recipe: five epochs on all training digits, none held out.
    "notebook": Recipe("notebook", Adam()),
    # docs/recipe.md measures the effect of each part.
    "strong": STRONG,
    # docs/own-digits.md explains what it is for.
    "finetune": FINETUNE,
}

# Recipes for networks that need their own version of one, by network and recipe.
OVERRIDES: Mapping[tuple[str, RecipeName], Recipe] = {
    ("dropout", "notebook"): Recipe("notebook", RMSprop(), dropout=0.5),
}


def recipe_for(network: str, name: RecipeName) -> Recipe:
    """Return the recipe of that name, in the network's own version if it has one."""
    return OVERRIDES.get((network, name), RECIPES[name])


@dataclass(frozen=True)
class ExtraRecipe:
    """How extra pictures are used, whatever the recipe."""

    held_out: float = 0.2  # share of each label's pictures
    share: float = 0.1  # share of an epoch's pictures of a label, for each label they have


EXTRA = ExtraRecipe()


@dataclass(frozen=True)
class LetterDistortion:
    """How far the typicality network's letters are distorted."""

    rotation: float = 0.3  # radians, to either side
    shear: float = 0.25  # in either direction
    scale: float = 0.2  # logarithm of the factor along each axis, up or down
    bend: float = 0.05  # standard deviation of a grid point's displacement; 1 is half the picture
    grid: int = 4  # points per side
    thicker: float = 0.3  # share of all letters whose strokes grow by two pixels or four
    thickest: float = 0.1  # share of all letters whose strokes grow by four pixels
    thinner: float = 0.25  # share of all letters whose strokes shrink by two pixels


@dataclass(frozen=True)
class TypicalityRecipe:
    """How to train the network that tells digits from other pictures."""

    maps: int = 20
    hidden: int = 40
    epochs: int = 80
    epoch: int = 55_000  # digits, and as many others; fewer if there are fewer digits
    batch_size: int = 512  # half digits, half others
    optimizer: Adam = Adam(learning_rate=3e-3, betas=(0.9, 0.99), weight_decay=0.02)
    warmup_steps: int = 200
    seed: int = 0
    sides: tuple[int, ...] = (40, 70, 140)  # pixels: digits are enlarged to these sizes
    made: int = 3  # others to make, as a multiple of those that an epoch uses
    # Shares of the others in an epoch.
    shares: Mapping[str, float] = field(
        default_factory=lambda: {
            "letters": 0.20,
            "halves": 0.45,
            "noise": 0.05,
            "scribbles": 0.13,
            "textures": 0.11,
            "charts": 0.06,
        }
    )
    upright: tuple[str, ...] = ("letters", "halves")  # other kinds are rotated and mirrored
    turned_together: int = 256
    letters: LetterDistortion = LetterDistortion()


TYPICALITY = TypicalityRecipe()


@dataclass(frozen=True)
class CalibrationRecipe:
    """How temperature and thresholds are fitted on the validation digits."""

    folds: int = 5  # of writers, to check that a temperature helps on other writers
    unsure: float = 0.03  # share refused for low confidence
    refused: float = 0.045  # share refused in all: for low confidence or low typicality


CALIBRATION = CalibrationRecipe()


@dataclass(frozen=True)
class RejectionRecipe:
    """Which pictures measure how much a model refuses."""

    # Of each kind except letters: each character is drawn once in each font.
    count: int = 5_000
    seed: int = 20_000  # no training uses it


REJECTION = RejectionRecipe()
