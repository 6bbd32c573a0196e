"""What Triton's statistics extension reports, of all workers together.

The counts are Prometheus', because these are shared by the workers already; so `/metrics` has
them, too.
"""

import functools
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from prometheus_client import Counter, Gauge, Summary

from artifact import Card
from serving.telemetry import metrics

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
_last = Gauge(
    "qmnist_v2_last_inference_timestamp_seconds",
    "The last inference of the Open Inference Protocol",
    ["model", "version"],
    multiprocess_mode="max",
)


class Phases(NamedTuple):
    """The seconds of one inference.

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
    """Count a request that was answered."""
    _request(card.name, card.version, "success").observe(seconds)


def count_failure(card: Card, seconds: float) -> None:
    """Count a request that was refused."""
    _request(card.name, card.version, "fail").observe(seconds)


def count_inference(card: Card, batch_size: int, phases: Phases) -> None:
    """Count a call of a network, under the power of two that its pictures do not exceed."""
    # Clients choose the sizes: a series for each would be a thousand.
    size = 1 << (batch_size - 1).bit_length()
    for counter, seconds in zip(_inference(card.name, card.version, size), phases, strict=True):
        counter.observe(seconds)
    pictures, last = _totals(card.name, card.version)
    pictures.inc(batch_size)
    last.set(time.time())


@functools.cache
def _request(model: str, version: str, outcome: str) -> Any:  # noqa: ANN401  as in `metrics`
    return _requests.labels(model, version, outcome)


@functools.cache
def _inference(model: str, version: str, batch_size: int) -> list[Any]:
    return [_phases.labels(model, version, batch_size, phase) for phase in PHASES]


@functools.cache
def _totals(model: str, version: str) -> tuple[Any, Any]:
    return _pictures.labels(model, version), _last.labels(model, version)


class _Duration:
    """A count, and the seconds of all."""

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0

    def add(self, sample: str, value: float) -> None:
        """Add a sample of a summary."""
        if sample.endswith("_count"):
            self.count += int(value)
        elif sample.endswith("_sum"):
            self.seconds += value

    def describe(self) -> dict[str, int]:
        """Return the statistic as the extension has it."""
        return {"count": self.count, "ns": round(self.seconds * 1e9)}


def collect(models: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return the statistics of models, by name and version; reads the files of all workers."""
    requests: dict[tuple[str, ...], _Duration] = defaultdict(_Duration)
    phases: dict[tuple[str, ...], _Duration] = defaultdict(_Duration)
    batches: dict[tuple[str, str], dict[int, dict[str, _Duration]]] = defaultdict(dict)
    pictures: dict[tuple[str, str], int] = {}
    last: dict[tuple[str, str], float] = {}
    for family in metrics.Registry().collect():
        for sample in family.samples:
            labels = sample.labels
            if not sample.name.startswith("qmnist_v2_"):
                continue
            model = (labels["model"], labels["version"])
            if "outcome" in labels:
                requests[*model, labels["outcome"]].add(sample.name, sample.value)
            elif "phase" in labels:
                phases[*model, labels["phase"]].add(sample.name, sample.value)
                size = batches[model].setdefault(int(labels["batch_size"]), defaultdict(_Duration))
                size[labels["phase"]].add(sample.name, sample.value)
            elif sample.name == "qmnist_v2_pictures_total":
                pictures[model] = int(sample.value)
            elif sample.name == "qmnist_v2_last_inference_timestamp_seconds":
                last[model] = sample.value
    found = []
    for model in models:
        sizes = sorted(batches[model].items())
        found.append(
            {
                "name": model[0],
                "version": model[1],
                "last_inference": round(last.get(model, 0) * 1e3),
                "inference_count": pictures.get(model, 0),
                "execution_count": phases[*model, "compute_infer"].count,
                "inference_stats": {
                    **{outcome: requests[*model, outcome].describe() for outcome in OUTCOMES},
                    **{phase: phases[*model, phase].describe() for phase in PHASES},
                    "cache_hit": _Duration().describe(),  # there is no cache
                    "cache_miss": _Duration().describe(),
                },
                "batch_stats": [
                    {"batch_size": n, **{phase: size[phase].describe() for phase in PHASES[1:]}}
                    for n, size in sizes
                ],
            }
        )
    return found
