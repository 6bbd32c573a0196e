"""Measures how many other pictures `imaging` and a model's thresholds refuse."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from artifact import Acceptance
from training.dataset import Digits
from training.evaluation import Outputs, Predict, auroc, predict_all
from training.recipes import REJECTION
from training.synthetic import fonts, negatives
from training.synthetic.arrival import Pictures, arrive
from training.synthetic.negatives import KINDS


def measure_rejection(
    predict: Predict, acceptance: Acceptance, digits: Digits, outputs: Outputs
) -> dict[str, dict[str, Any]]:
    """Count how many pictures of each kind of negatives the service would refuse.

    Args:
        predict: The model.
        acceptance: Its thresholds.
        digits: Test digits, from which the halves are made.
        outputs: The model's outputs for them.

    Returns:
        For each kind, for the letters that look like digits and for printed digits: the number of
        pictures (`total`), of refused ones (`refused`), and of those in which `imaging` finds no
        digit or several (`unseen`); and the areas under the ROC curves that separate them from the
        digits by typicality and by confidence. For letters, also the counts per family of fonts.
    """
    generator = Generator().manual_seed(REJECTION.seed)
    pictures: dict[str, Pictures] = {
        kind: negatives.to_measure(kind, REJECTION.count, digits, generator) for kind in KINDS
    }
    pictures["lookalikes"] = negatives.printed(negatives.LOOKALIKES)
    # Not negatives: they show how much of the refusal of letters is due to print.
    pictures["printed digits"] = negatives.printed(negatives.DIGITS)
    measured = {}
    for kind, some in pictures.items():
        measured[kind], refused = _rejection(some, predict, acceptance, outputs)
        if kind == "letters":
            measured[kind]["families"] = _by_family(refused)
    return measured


def _by_family(refused: NDArray[np.bool_]) -> dict[str, dict[str, int]]:
    """Count by family of fonts; the pictures are ordered by face, with as many for each."""
    faces = fonts.faces(held_out=True)
    families = np.repeat([face.family for face in faces], len(refused) // len(faces))
    return {
        family: {
            "total": int((families == family).sum()),
            "refused": int(refused[families == family].sum()),
        }
        for family in dict.fromkeys(families.tolist())
    }


def _rejection(
    pictures: Pictures, predict: Predict, acceptance: Acceptance, digits: Outputs
) -> tuple[dict[str, Any], NDArray[np.bool_]]:
    pixels, found = arrive(pictures)
    unseen = int((~found).sum())
    typicality = confidence = np.empty(0, np.float32)
    refused = ~found
    if len(pixels):
        others = predict_all(predict, torch.from_numpy(pixels))
        refused[found] = ~acceptance.accepts(others.confidence, others.typicality)
        typicality, confidence = others.typicality, others.confidence
    # Pictures that no network sees count as the least typical ones.
    typicality = np.append(typicality, np.full(unseen, -np.inf, np.float32))
    confidence = np.append(confidence, np.zeros(unseen, np.float32))
    counts = {
        "total": len(pictures),
        "refused": int(refused.sum()),
        "unseen": unseen,
        "auroc_typicality": auroc(digits.typicality, typicality),
        "auroc_confidence": auroc(digits.confidence, confidence),
    }
    return counts, refused
