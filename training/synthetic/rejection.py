"""How well the service refuses what is not a digit: by its imaging, and by what a model accepts."""

from typing import Any

import numpy as np
import torch
from torch import Generator

from artifact import Acceptance
from training.dataset import Digits
from training.evaluation import Outputs, Predict, auroc, predict_all
from training.recipes import REJECTION
from training.synthetic import negatives
from training.synthetic.arrival import Pictures, arrive
from training.synthetic.negatives import KINDS


def measure_rejection(
    predict: Predict, acceptance: Acceptance, digits: Digits, outputs: Outputs
) -> dict[str, dict[str, Any]]:
    """Count what is refused of each kind of negatives, as the service would.

    Args:
        predict: The model.
        acceptance: Its thresholds.
        digits: Test digits, which the halves are made of.
        outputs: What the model made of them.

    Returns:
        For each kind, for the letters that are digits in shape and for printed digits: how many
        pictures there were; how many were refused, and of these in how many already no digit, or
        several, were found; and the areas under the ROC curves between them and the digits, by
        typicality and by confidence.
    """
    generator = Generator().manual_seed(REJECTION.seed)
    pictures: dict[str, Pictures] = {
        kind: negatives.to_measure(kind, REJECTION.count, digits, generator) for kind in KINDS
    }
    pictures["lookalikes"] = negatives.printed(negatives.LOOKALIKES)
    # No negatives, these: how much of the refusal of letters is of print.
    pictures["printed digits"] = negatives.printed(negatives.DIGITS)
    return {kind: _rejection(some, predict, acceptance, outputs) for kind, some in pictures.items()}


def _rejection(
    pictures: Pictures, predict: Predict, acceptance: Acceptance, digits: Outputs
) -> dict[str, Any]:
    pixels, found = arrive(pictures)
    unseen = int((~found).sum())
    typicality = confidence = np.empty(0, np.float32)
    refused = unseen
    if len(pixels):
        others = predict_all(predict, torch.from_numpy(pixels))
        refused += int((~acceptance.accepts(others.confidence, others.typicality)).sum())
        typicality, confidence = others.typicality, others.confidence
    # What no network sees is as little of a digit as can be.
    typicality = np.append(typicality, np.full(unseen, -np.inf, np.float32))
    confidence = np.append(confidence, np.zeros(unseen, np.float32))
    return {
        "total": len(pictures),
        "refused": refused,
        "unseen": unseen,
        "auroc_typicality": auroc(digits.typicality, typicality),
        "auroc_confidence": auroc(digits.confidence, confidence),
    }
