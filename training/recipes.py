"""Every hyperparameter of training, and nothing else.

A recipe is looked up by its name and the network's: `RECIPES["strong"]["baseline"]`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

NetworkName = Literal["baseline", "deeper", "dropout"]
RecipeName = Literal["notebook", "strong", "finetune"]


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
    # Of the biases and the last layer, as its authors advise.
    rest: Adam = Adam(learning_rate=2e-3, betas=(0.9, 0.99))


@dataclass(frozen=True)
class PicturesRecipe:
    """What is learned from in an epoch, for each digit of QMNIST's training split."""

    as_it_is: int = 4  # times
    sent: float = 1.4  # pictures of one of QMNIST's digits
    written: float = 1.0  # of one written in another way
    printed: float = 0.2
    seed: int = 0


@dataclass(frozen=True)
class Recipe:
    """How one network is trained."""

    name: RecipeName
    optimizer: Adam | RMSprop | Muon
    epochs: int = 5
    batch_size: int = 64
    dropout: float = 0.0  # for the network that has dropout layers
    validation: float = 0.0  # the share of the training writers whose digits are held out
    warmup: float | None = None  # share of all steps; then linearly to zero. None: constant
    augmentation: Augmentation | None = None
    pictures: PicturesRecipe | None = None  # None: QMNIST's digits alone
    made_together: int = 4  # batches, whose random numbers are drawn at once
    goes_on: bool = False  # from the weights of a model that is there; or from fresh ones


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
    validation=0.085,  # the writers that the strong recipe holds out, too
    warmup=0.05,
    augmentation=Augmentation(),
    goes_on=True,
)

RECIPES: Mapping[RecipeName, Mapping[NetworkName, Recipe]] = {
    # The course notebook's own: five epochs on all training digits, nothing held out.
    "notebook": {
        "baseline": Recipe("notebook", Adam()),
        "deeper": Recipe("notebook", Adam()),
        "dropout": Recipe("notebook", RMSprop(), dropout=0.5),
    },
    # docs/recipe.md says what each piece of it brings.
    "strong": {"baseline": STRONG, "deeper": STRONG, "dropout": STRONG},
    # docs/own-digits.md says what it is for.
    "finetune": {"baseline": FINETUNE, "deeper": FINETUNE, "dropout": FINETUNE},
}


@dataclass(frozen=True)
class ExtraRecipe:
    """What is made of extra pictures, whatever the recipe."""

    held_out: float = 0.2  # of each label's
    share: float = 0.1  # that they are of what is learned from, of each label that they have


EXTRA = ExtraRecipe()


@dataclass(frozen=True)
class LetterDistortion:
    """How far the letters are distorted that the typicality network learns from."""

    rotation: float = 0.3  # radians, to either side
    shear: float = 0.25  # either way
    scale: float = 0.2  # the logarithm of either axis's factor, up or down
    bend: float = 0.05  # of half the picture, the standard deviation of a grid point's displacement
    grid: int = 4  # points along a side
    thicker: float = 0.3  # the share whose strokes grow by two pixels
    thickest: float = 0.1  # the share, of all, whose strokes grow by four
    thinner: float = 0.25  # the share whose strokes shrink by two


@dataclass(frozen=True)
class TypicalityRecipe:
    """How the network is trained that tells digits from other pictures."""

    maps: int = 20
    hidden: int = 40
    epochs: int = 80
    epoch: int = 55_000  # of digits and of others each; as many as there are digits, if fewer
    batch_size: int = 512  # half digits, half others
    optimizer: Adam = Adam(learning_rate=3e-3, betas=(0.9, 0.99), weight_decay=0.02)
    warmup_steps: int = 200
    seed: int = 0
    sides: tuple[int, ...] = (40, 70, 140)  # pixels to which digits are enlarged on their way
    made: int = 3  # of the others, times as many as an epoch takes
    # Of the others in an epoch.
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
    upright: tuple[str, ...] = ("letters", "halves")  # the others are turned and mirrored
    turned_together: int = 256
    letters: LetterDistortion = LetterDistortion()


TYPICALITY = TypicalityRecipe()


@dataclass(frozen=True)
class CalibrationRecipe:
    """How temperature and thresholds are fitted on the validation digits."""

    folds: int = 5  # of writers, to tell whether a temperature helps on others
    unsure: float = 0.03  # the share that is refused as the least sure
    refused: float = 0.045  # in all, with the least typical of the others


CALIBRATION = CalibrationRecipe()


@dataclass(frozen=True)
class RejectionRecipe:
    """What the refusal of other pictures is measured on."""

    # Of each kind but letters, which are as many as there are characters and fonts.
    count: int = 5_000
    seed: int = 20_000  # of no training


REJECTION = RejectionRecipe()
