"""The metrics of an answer."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.typing import NDArray

from imaging import Opened, open_picture
from serving.api import answers
from serving.inference import artifacts
from serving.inference.classifier import Classifier, Predictions
from serving.settings import Provider
from serving.telemetry import metrics
from tests.conftest import COMMITTED_MODELS
from tests.pictures import drawn

SLOW = 0.05  # seconds
SEVEN = drawn.encode(drawn.on_paper(7))


class SlowClassifier(Classifier):
    def predict(self, images: NDArray[np.uint8]) -> Predictions:
        time.sleep(SLOW)
        return super().predict(images)


def slowly() -> Opened:
    time.sleep(SLOW)
    return open_picture(SEVEN, 10**6)


def at_once() -> Opened:
    return open_picture(SEVEN, 10**6)


@contextmanager
def decode_seconds() -> Iterator[list[float]]:
    """Yield a list that gets the pictures decoded in the context, and the seconds counted."""

    def now() -> list[float]:
        *counts, seconds = metrics.gather()["qmnist_decode_seconds"][()]
        return [sum(counts), seconds]

    before = now()
    found: list[float] = []
    yield found
    found += [after - earlier for after, earlier in zip(now(), before, strict=True)]


@pytest.mark.parametrize("answer", [answers.predict, answers.read])
def test_decoding_is_counted_with_the_opening_and_without_the_network(
    answer: answers.Answer,
) -> None:
    artifact = artifacts.load(COMMITTED_MODELS / "deeper")
    with decode_seconds() as counted:
        answer([Classifier(artifact, Provider.CPU)] * 2, slowly, False)
    assert counted[0] == 1, "decoded once for both models"
    assert counted[1] >= SLOW
    slow = [SlowClassifier(artifact, Provider.CPU)]
    started = time.perf_counter()
    with decode_seconds() as counted:
        answer(slow, at_once, False)
    assert counted[0] == 1
    assert counted[1] <= time.perf_counter() - started - SLOW
