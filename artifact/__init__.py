"""The model artifact, `models/<name>/`: what training writes and serving reads.

`model.onnx` takes `INPUT`, uint8 `[N, 28, 28]` with 255 for ink and N of at least 1, and returns
`OUTPUTS`: logits and probabilities, float32 `[N, 10]`, and typicality, float32 `[N]`.
`model.torchscript.pt` is the same function. `card.json` records how the model was made, how good it
is, and the SHA-256 of the other two files.
"""

from enum import StrEnum
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

ONNX_FILE = "model.onnx"
TORCHSCRIPT_FILE = "model.torchscript.pt"
CARD_FILE = "card.json"

INPUT = "images"
OUTPUTS = ("logits", "probabilities", "typicality")


class SplitResult(BaseModel):
    """A model's result on one split of the data."""

    model_config = ConfigDict(extra="allow")

    correct: int
    total: int
    accuracy: float


class Reason(StrEnum):
    """Why an answer is not accepted."""

    UNSURE = "unsure"
    """Its confidence is below the threshold."""
    ATYPICAL = "atypical"
    """Its typicality is below the threshold, whatever the confidence."""


# By grade: 0 if the typicality is too low, 1 if only the confidence is, 2 for accepted answers.
REASONS = (Reason.ATYPICAL, Reason.UNSURE, None)


class Acceptance(BaseModel):
    """The minimum confidence and typicality of an accepted answer."""

    confidence: float
    typicality: float

    @cached_property
    def _least(self) -> tuple[float, float]:
        """The thresholds rounded to float32, so that scalars compare like the float32 outputs."""
        return float(np.float32(self.confidence)), float(np.float32(self.typicality))

    @overload
    def accepts(self, confidence: float, typicality: float) -> bool: ...
    @overload
    def accepts(
        self, confidence: NDArray[np.float32], typicality: NDArray[np.float32]
    ) -> NDArray[np.bool_]: ...
    def accepts(self, confidence: Any, typicality: Any) -> Any:
        """Return whether an answer reaches both thresholds.

        Args:
            confidence: The probability of the digit; or float32 `[N]` for N answers.
            typicality: How much the picture looks like a digit at all; or float32 `[N]`.

        Returns:
            bool, or bool `[N]`.
        """
        least_confidence, least_typicality = self._least
        return (confidence >= least_confidence) & (typicality >= least_typicality)

    def reason(self, confidence: float, typicality: float) -> Reason | None:
        """Return why an answer is not accepted, or `None` if it is."""
        least_confidence, least_typicality = self._least
        if not typicality >= least_typicality:  # `not >=`, so that NaN is refused
            return Reason.ATYPICAL
        return None if confidence >= least_confidence else Reason.UNSURE

    def grades(
        self, confidences: NDArray[np.float32], typicalities: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        """Return for each of N answers the index into `REASONS`: uint8 `[N]`."""
        accepted = self.accepts(confidences, typicalities)
        _, least_typicality = self._least
        return np.add(accepted, typicalities >= least_typicality, dtype=np.uint8)


class Calibration(BaseModel):
    """What was fitted on validation digits."""

    temperature: float
    acceptance: Acceptance | None
    """`None` if no digits were held out to fit it; then typicality is always 0, too."""


class Card(BaseModel):
    """The contents of `card.json`; fields not named here are kept and passed on."""

    model_config = ConfigDict(extra="allow")

    name: str
    version: str = "1"
    comparison: bool = False
    """Whether the model is only there to be compared with others."""
    calibration: Calibration
    evaluation: dict[str, SplitResult]
    files: dict[str, str]
    """SHA-256 in hexadecimal, by file name."""
