"""A model that is there already: what goes on learning from it, or is compared with it."""

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
from training.export import onnx_predict, unfold_normalisation
from training.networks import build
from training.recipes import TYPICALITY, NetworkName
from training.synthetic.typicality import Typicality


class BaseError(Exception):
    """A model cannot be gone on from; the message says why and what to do."""


@dataclass(frozen=True)
class Base:
    """A model that is there.

    Attributes:
        card: Its card.
        weights: Of its network, as `networks.build` has them.
        typicality: Its network for typicality; `None` if it has none.
        predict: What is served of it.
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


def load(folder: Path, name: NetworkName) -> Base:
    """Read an artifact.

    Raises:
        BaseError: It is not there, or not what its card says.
    """
    try:
        card = Card.model_validate_json((folder / CARD_FILE).read_bytes())
        for file in (ONNX_FILE, TORCHSCRIPT_FILE):
            if hashlib.sha256((folder / file).read_bytes()).hexdigest() != card.files.get(file):
                raise BaseError(f"{folder / file} is damaged: its hash is not its card's")
    except (OSError, ValidationError) as error:
        raise BaseError(f"{folder} has no model that can be read: {error}") from error
    state = torchscript.load(folder / TORCHSCRIPT_FILE).state_dict()
    network = build(name, dropout=0.0)
    network.load_state_dict(_below("network.", state))
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
