"""The numbers of Triton's statistics extension, for all workers together.

They are also in `/metrics`.
"""

import functools
import time
from collections import defaultdict
from collections.abc import Iterable
from operator import add
from typing import Any, NamedTuple

from artifact import Card
from serving.telemetry import metrics
from serving.telemetry.counts import (
    Counter,
    Distribution,
    LargestGauge,
    Numbers,
    Summary,
    Value,
)

OUTCOMES = ("success", "fail")

_requests = Summary(
    "qmnist_v2_request_seconds",
    "Inference requests of the Open Inference Protocol",
    ["model", "version", "outcome"],
)
_phases = Summary(
    "qmnist_v2_inference_seconds",
    "Inferences of the Open Inference Protocol, by phase",
    ["model", "version", "batch_size", "phase"],
)
_pictures = Counter(
    "qmnist_v2_pictures",
    "Pictures in inferences of the Open Inference Protocol",
    ["model", "version"],
)
_last = LargestGauge(
    "qmnist_v2_last_inference_timestamp_seconds",
    "The last inference of the Open Inference Protocol",
    ["model", "version"],
)


class Phases(NamedTuple):
    """The times of one inference, in seconds.

    Attributes:
        queue: Waiting for a thread.
        compute_input: From contents to the network's pixels.
        compute_infer: The network.
        compute_output: From its outputs to an answer that can be sent.
    """

    queue: float
    compute_input: float
    compute_infer: float
    compute_output: float


PHASES = Phases._fields


def count_success(card: Card, seconds: float) -> None:
    """Count an answered request."""
    _request(card.name, card.version, "success").observe(seconds)


def count_failure(card: Card, seconds: float) -> None:
    """Count a refused request."""
    _request(card.name, card.version, "fail").observe(seconds)


def count_inference(card: Card, batch_size: int, phases: Phases) -> None:
    """Count an inference, under its batch size rounded up to a power of two."""
    # Clients choose batch sizes; one series for each could be a thousand.
    size = 1 << (batch_size - 1).bit_length()
    for counter, seconds in zip(_inference(card.name, card.version, size), phases, strict=True):
        counter.observe(seconds)
    pictures, last = _totals(card.name, card.version)
    pictures.inc(batch_size)
    last.set(time.time())


@functools.cache
def _request(model: str, version: str, outcome: str) -> Distribution:
    return _requests.labels(model, version, outcome)


@functools.cache
def _inference(model: str, version: str, batch_size: int) -> list[Distribution]:
    return [_phases.labels(model, version, batch_size, phase) for phase in PHASES]


@functools.cache
def _totals(model: str, version: str) -> tuple[Value, Value]:
    return _pictures.labels(model, version), _last.labels(model, version)


def _duration(numbers: Numbers) -> dict[str, int]:
    """Return a count and its seconds in the extension's form."""
    count, seconds = numbers
    return {"count": int(count), "ns": round(seconds * 1e9)}


def collect(models: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return statistics of models, given by name and version; reads all workers' files."""
    gathered = metrics.gather()
    requests, phases, pictures, last = (
        gathered[family.name] for family in (_requests, _phases, _pictures, _last)
    )
    found = []
    for model in models:
        none: Numbers = [0, 0]
        sizes: dict[int, dict[str, Numbers]] = defaultdict(dict)
        totals = dict.fromkeys(PHASES, none)
        for (*of, size, phase), numbers in phases.items():
            if tuple(of) == model:
                sizes[int(size)][phase] = numbers
                totals[phase] = list(map(add, totals[phase], numbers))
        outcomes = {outcome: requests.get((*model, outcome), none) for outcome in OUTCOMES}
        # There is no cache.
        stats = {**outcomes, **totals, "cache_hit": none, "cache_miss": none}
        found.append(
            {
                "name": model[0],
                "version": model[1],
                "last_inference": round(last.get(model, none)[0] * 1e3),
                "inference_count": int(pictures.get(model, none)[0]),
                "execution_count": int(totals["compute_infer"][0]),
                "inference_stats": {name: _duration(each) for name, each in stats.items()},
                "batch_stats": [
                    {"batch_size": size, **{name: _duration(of[name]) for name in PHASES[1:]}}
                    for size, of in sorted(sizes.items())
                ],
            }
        )
    return found
