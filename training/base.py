"""An existing model, to fine-tune, to evaluate or to compare with."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from torch import Tensor

from artifact import CARD_FILE, ONNX_FILE, TORCHSCRIPT_FILE, Card
from training import torchscript
from training.dataset import Digits
from training.evaluation import Evaluation, Predict, evaluate_splits
from training.export import fold_normalisation, onnx_predict, unfold_normalisation
from training.networks import build
from training.recipes import TYPICALITY
from training.synthetic.typicality import Typicality


class BaseError(Exception):
    """A model cannot be read or fine-tuned; the message says why and what to do."""


@dataclass(frozen=True)
class Base:
    """An existing model.

    Attributes:
        card: Its card.
        weights: Its network's weights, by their names in the network that `networks.build` makes.
        typicality: Its network for typicality; `None` if it has none.
        predict: Its ONNX file, which is what is served.
    """

    card: Card
    weights: Mapping[str, Tensor]
    typicality: Typicality | None
    predict: Predict

    def evaluate(self, splits: Mapping[str, Digits]) -> dict[str, Evaluation]:
        """Evaluate it on several splits, by name."""
        calibration = self.card.calibration
        return evaluate_splits(
            self.predict, splits, calibration.acceptance, calibration.temperature
        )


def load(folder: Path, name: str) -> Base:
    """Read an artifact.

    Args:
        folder: The artifact's folder.
        name: Its network.

    Raises:
        BaseError: The artifact is missing or damaged, or its network has changed since.
    """
    try:
        card = Card.model_validate_json((folder / CARD_FILE).read_bytes())
        for file in (ONNX_FILE, TORCHSCRIPT_FILE):
            if hashlib.sha256((folder / file).read_bytes()).hexdigest() != card.files.get(file):
                raise BaseError(
                    f"{folder / file} is damaged: its SHA-256 differs from its card's. "
                    "Restore it, or train the model again."
                )
    except (OSError, ValidationError) as error:
        raise BaseError(f"There is no readable model in {folder}: {error}") from error
    state = torchscript.load(folder / TORCHSCRIPT_FILE).state_dict()
    network = fold_normalisation(build(name, dropout=0.0))
    try:
        network.load_state_dict(_below("network.", state))
    except RuntimeError as error:
        raise BaseError(
            f"The weights in {folder} do not fit the network {name}. If you have changed its class "
            f"since, train it again. {error}"
        ) from error
    typicality = None
    if card.calibration.acceptance is not None:
        typicality = Typicality(TYPICALITY.maps, TYPICALITY.hidden).eval()
        typicality.load_state_dict(_below("typicality.", state))
    return Base(
        card,
        unfold_normalisation(network).state_dict(),
        typicality,
        onnx_predict(folder / ONNX_FILE),
    )


def _below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): tensor for n, tensor in state.items() if n.startswith(prefix)}
