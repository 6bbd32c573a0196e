"""How well a model refuses what is not a digit."""

from typing import Any

from torch import Generator, Tensor

from training.dataset import Digits
from training.evaluation import Acceptance, Outputs, Predict, auroc, predict_all
from training.synthetic import negatives
from training.synthetic.negatives import KINDS

COUNT = 5_000  # of each kind but letters, which are as many as there are characters and fonts
SEED = 20_000  # of no training


def measure_rejection(
    predict: Predict, acceptance: Acceptance, digits: Digits, outputs: Outputs
) -> dict[str, dict[str, Any]]:
    """Count what is refused of each kind of negatives.

    Args:
        predict: The model.
        acceptance: Its thresholds.
        digits: Test digits, which the halves are made of.
        outputs: What the model made of them.

    Returns:
        For each kind how many there were and how many were refused, and the areas under the ROC
        curves between them and the digits, by typicality and by confidence.
    """
    generator = Generator().manual_seed(SEED)
    pictures: dict[str, Tensor] = {
        kind: negatives.to_measure(kind, COUNT, digits, generator) for kind in KINDS
    }
    pictures["lookalikes"] = negatives.printed(negatives.LOOKALIKES)
    # No negatives, these: how much of the refusal of letters is of print.
    pictures["printed digits"] = negatives.printed(negatives.DIGITS)
    return {
        kind: _rejection(predict_all(predict, some), acceptance, outputs)
        for kind, some in pictures.items()
    }


def _rejection(others: Outputs, acceptance: Acceptance, digits: Outputs) -> dict[str, Any]:
    refused = ~acceptance.accepts(others)
    return {
        "total": len(refused),
        "refused": int(refused.sum()),
        "auroc_typicality": auroc(digits.typicality, others.typicality),
        "auroc_confidence": auroc(digits.confidence, others.confidence),
    }
