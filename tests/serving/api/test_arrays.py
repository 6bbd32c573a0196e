from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest

from serving.api.arrays import are_wanted, respond, rows_of
from serving.inference import artifacts
from serving.inference.classifier import Classifier, Predictions
from serving.settings import Provider
from tests.conftest import COMMITTED_MODELS
from tests.pictures import drawn
from tests.serving.asker import request


@pytest.fixture(scope="module")
def predictions() -> Predictions:
    classifier = Classifier(artifacts.load(COMMITTED_MODELS / "deeper"), Provider.CPU)
    return classifier.predict(drawn.digits(500, seed=11)[0])


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("application/*", False),
        ("application/json", False),
        ("text/html", False),
        ("application/octet-stream", True),
        ("Application/Octet-Stream ; charset=x", True),
        ("text/html, application/octet-stream", True),
        ("application/octet-stream, */*", True),
        ("application/octet-stream, */*;q=0.1", True),
        ("application/octet-stream;q=0.5, text/html", True),
        ("application/octet-stream;q=0.5, */*", False),
        ("application/octet-stream;q=0.5, */*;q=0.4", True),
        ("application/octet-stream, application/json", False),
        ("application/octet-stream, application/json;q=0.9", True),
        ("application/json; q=0.8, application/octet-stream; q=0.9", True),
        ("application/octet-stream;q=0", False),
        ("application/octet-stream;q=0.0, text/html", False),
        ("application/json;q=0, */*", True),
        ("application/octet-stream-x", False),
        ("x-application/octet-stream", False),
        ("text/html;x=application/octet-stream", False),
        (";;,,;q=,q=x", False),
    ],
)
def test_who_gets_rows(accept: str, wanted: bool) -> None:
    headers = [(b"accept", accept.encode())] if accept else []
    assert are_wanted(request(headers=headers)) is wanted


def test_rows_hold_what_was_found(predictions: Predictions) -> None:
    rows = rows_of(predictions)
    for row, found in zip(rows.tolist(), predictions.rows(), strict=True):
        digit, confidence, typicality, accepted, reason, probabilities = row
        assert (digit, confidence, typicality) == found[:3]
        assert (accepted, reason) == (found.accepted, (found.reason or "").encode())
        assert probabilities.tolist() == found.probabilities
    assert set(rows["reason"]) == {b"", b"unsure", b"atypical"}


def test_without_thresholds_rows_say_nothing_of_acceptance(predictions: Predictions) -> None:
    rows = rows_of(replace(predictions, acceptance=None))
    assert rows.dtype.names == ("digit", "confidence", "typicality", "probabilities")
    assert np.array_equal(rows["probabilities"], predictions.probabilities)


def test_rows_are_sent_as_a_file_of_numpys(predictions: Predictions) -> None:
    card = artifacts.load(COMMITTED_MODELS / "deeper").card.model_copy(update={"name": "größer"})
    rows = rows_of(predictions)[10:20]
    response = respond(rows, card)
    assert dict(response.headers) == {
        b"content-type": b"application/octet-stream",
        b"x-model": b"gr%C3%B6%C3%9Fer",
        b"x-model-version": card.version.encode(),
    }
    found = np.load(BytesIO(response.body), allow_pickle=False)
    assert found.dtype == rows.dtype
    assert np.array_equal(found, rows)
