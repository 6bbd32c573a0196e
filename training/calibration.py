"""What is fitted on validation digits once a network is trained: temperature and thresholds."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from training.evaluation import Acceptance, Outputs
from training.recipes import AcceptanceRecipe

FOLDS = 5


def fit_temperature(logits: Tensor, labels: Tensor, writers: Tensor) -> float:
    """Find the number to divide logits by, so that probabilities are what they say.

    Guo et al., On Calibration of Modern Neural Networks, 2017. It is kept only if it improves the
    likelihood of digits of other writers than those it was fitted on; otherwise it is 1.

    Args:
        logits: float32 `[N, 10]`, of validation digits.
        labels: int64 `[N]`.
        writers: int64 `[N]`.
    """
    _, fold_of_writer = writers.unique(return_inverse=True)
    folds = fold_of_writer % FOLDS
    change = 0.0
    for fold in range(FOLDS):
        held_out = folds == fold
        temperature = _likeliest_temperature(logits[~held_out], labels[~held_out])
        x, y = logits[held_out], labels[held_out]
        change += (
            F.cross_entropy(x / temperature, y, reduction="sum")
            - F.cross_entropy(x, y, reduction="sum")
        ).item()
    return _likeliest_temperature(logits, labels) if change < 0 else 1.0


def _likeliest_temperature(logits: Tensor, labels: Tensor) -> float:
    logarithm = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([logarithm], line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(logits / logarithm.exp(), labels)
        value.backward()
        return value

    optimizer.step(loss)
    return logarithm.exp().item()


def fit_acceptance(recipe: AcceptanceRecipe, outputs: Outputs) -> Acceptance:
    """Set the thresholds so that fixed small shares of the validation digits are refused.

    Args:
        recipe: Which shares.
        outputs: A model's, of validation digits.
    """
    confidence = float(np.quantile(outputs.confidence, recipe.unsure))
    sure: NDArray[np.bool_] = outputs.confidence >= confidence
    atypical = (recipe.refused - (1 - sure.mean())) / sure.mean()
    return Acceptance(confidence, float(np.quantile(outputs.typicality[sure], atypical)))
