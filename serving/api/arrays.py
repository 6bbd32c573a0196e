"""`/classify` answers as NumPy arrays, for clients that prefer bytes to JSON."""

import re
from io import BytesIO
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from artifact import REASONS, Card
from serving.api.http import Request, Response
from serving.api.openapi import BYTES, JSON
from serving.inference.classifier import Predictions

# A row's fields; the middle ones only for models with thresholds.
_DIGIT = [("digit", "u1"), ("confidence", "<f4"), ("typicality", "<f4")]
_ACCEPTANCE = [("accepted", "?"), ("reason", "S8")]
_PROBABILITIES = [("probabilities", "<f4", (10,))]

_REASONS = np.array([(reason or "").encode() for reason in REASONS], "S8")

_QUALITY = re.compile(r";\s*q=([01](?:\.\d*)?)\s*(?:;|$)")


def rows_of(predictions: Predictions) -> NDArray[np.void]:
    """Return a structured array with one row per picture, `[N]`.

    Its fields are `digit` (uint8), `confidence` and `typicality` (float32), `probabilities`
    (float32 `[10]`); and, if the model has thresholds, `accepted` (bool) and `reason` (bytes,
    empty for accepted answers).
    """
    has_thresholds = predictions.grades is not None
    fields = [*_DIGIT, *(_ACCEPTANCE if has_thresholds else ()), *_PROBABILITIES]
    rows = np.empty(len(predictions.digits), np.dtype(fields))
    rows["digit"] = predictions.digits
    rows["confidence"] = predictions.confidences
    rows["typicality"] = predictions.typicality
    rows["probabilities"] = predictions.probabilities
    if has_thresholds:
        rows["accepted"] = predictions.accepted
        rows["reason"] = _REASONS[predictions.grades]
    return rows


def respond(rows: NDArray[np.void], card: Card) -> Response:
    """Return rows as a NumPy file (.npy), with the model's name and version in the headers."""
    file = BytesIO()
    np.lib.format.write_array(file, rows, allow_pickle=False)
    # Header values must be ASCII.
    model, version = quote(card.name).encode(), quote(card.version).encode()
    headers = [(b"x-model", model), (b"x-model-version", version)]
    return Response(file.getvalue(), [(b"content-type", BYTES.encode()), *headers])


def are_wanted(request: Request) -> bool:
    """Whether a client prefers bytes to JSON, by its header `Accept` (RFC 9110)."""
    qualities = {}
    for each in request.headers.get("accept", "").lower().split(","):
        found = _QUALITY.search(each)
        qualities[each.partition(";")[0].strip()] = float(found[1]) if found else 1.0
    wanted = _preference(BYTES, qualities)
    return wanted[0] > 0 and wanted > _preference(JSON, qualities)


def _preference(media_type: str, qualities: dict[str, float]) -> tuple[float, int]:
    """Return a type's quality, and how specific the range is that matches it."""
    ranges = ("*/*", f"{media_type.partition('/')[0]}/*", media_type)
    clarity = max((place for place, name in enumerate(ranges) if name in qualities), default=0)
    return qualities.get(ranges[clarity], 0.0), clarity
