"""The model artifact, `models/<name>/`: what training writes and serving reads.

`model.onnx` takes `INPUT`, uint8 `[N, 28, 28]` with 255 for ink, any N of at least 1, and returns
`OUTPUTS`: logits and probabilities, float32 `[N, 10]`, and typicality, float32 `[N]`.
`model.torchscript.pt` is the same function. `card.json` says how the model was made, how good it
is, and the SHA-256 of the other two.
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
    """How a model did on one split of the data."""

    model_config = ConfigDict(extra="allow")

    correct: int
    total: int
    accuracy: float


class Reason(StrEnum):
    """Why an answer is not accepted."""

    UNSURE = "unsure"
    """Its confidence is below the threshold."""
    ATYPICAL = "atypical"
    """Its typicality is: what is no digit is no digit, however sure the answer."""


# By grade: 0 where not even a sure answer would be accepted, 1 where one would, 2 where this is.
REASONS = (Reason.ATYPICAL, Reason.UNSURE, None)


class Acceptance(BaseModel):
    """The thresholds at and above which an answer is accepted."""

    confidence: float
    typicality: float

    @cached_property
    def _least(self) -> tuple[float, float]:
        """As float32, which outputs are: so a number compares alone as it does in an array."""
        return float(np.float32(self.confidence)), float(np.float32(self.typicality))

    @overload
    def accepts(self, confidence: float, typicality: float) -> bool: ...
    @overload
    def accepts(
        self, confidence: NDArray[np.float32], typicality: NDArray[np.float32]
    ) -> NDArray[np.bool_]: ...
    def accepts(self, confidence: Any, typicality: Any) -> Any:
        """Tell whether an answer is accepted: sure enough, of what is enough of a digit.

        Args:
            confidence: Its probability; or of N answers, float32 `[N]`.
            typicality: How much the picture looks like a digit at all; or float32 `[N]`.

        Returns:
            bool, or bool `[N]`.
        """
        least_confidence, least_typicality = self._least
        return (confidence >= least_confidence) & (typicality >= least_typicality)

    def reason(self, confidence: float, typicality: float) -> Reason | None:
        """Tell why an answer is not accepted: `None` if it is."""
        least_confidence, least_typicality = self._least
        if not typicality >= least_typicality:  # nor is what is no number
            return Reason.ATYPICAL
        return None if confidence >= least_confidence else Reason.UNSURE

    def grades(
        self, confidences: NDArray[np.float32], typicalities: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        """Tell why each of N answers is not accepted: their places in `REASONS`, uint8 `[N]`."""
        accepted = self.accepts(confidences, typicalities)
        _, least_typicality = self._least
        return np.add(accepted, typicalities >= least_typicality, dtype=np.uint8)


class Calibration(BaseModel):
    """What was fitted on validation digits."""

    temperature: float
    acceptance: Acceptance | None
    """`None` where no digits were held out to fit it on; then typicality is 0, too."""


class Card(BaseModel):
    """What `card.json` says; what is not used by name is kept and passed on."""

    model_config = ConfigDict(extra="allow")

    name: str
    version: str = "1"
    comparison: bool = False
    """Whether it is served to be compared with others, and not to be relied on."""
    calibration: Calibration
    evaluation: dict[str, SplitResult]
    files: dict[str, str]
    """SHA-256 in hexadecimal, by file name."""
