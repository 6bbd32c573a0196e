"""The metrics of `/metrics`, for Prometheus.

Request metrics have the names and labels of BentoML's own, so that its dashboards show them.
BentoML's layer itself is not used: it looks up labels on each request, which costs more than the
network, and makes a series for every path that anyone requests.

Any worker reports for all of them (see `counts`).
"""

import asyncio
import functools
import gc
import resource
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CONTENT_TYPE_LATEST, Metric, generate_latest

from artifact import REASONS, Reason
from serving.inference import state
from serving.inference.classifier import Classifier, Prediction, Predictions
from serving.settings import Provider
from serving.telemetry import counts, traces
from serving.telemetry.counts import Counter, Distribution, Gathered, Gauge, Histogram, Value

MEDIA_TYPE = CONTENT_TYPE_LATEST

CLASSES = 10

MEASURE_SECONDS = 1  # between two measurements of CPU and memory

SERVICE = "qmnist-digits"
BENTOMLS_LABELS = {
    "service_name": SERVICE,
    "service_version": "not available",
    "runner_name": SERVICE,
}

FAST = (5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.5)  # seconds
SLOW = (5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)  # seconds
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024)

_requests = Counter(
    "bentoml_service_request",
    "Requests answered",
    ["endpoint", "http_response_code", *BENTOMLS_LABELS],
)
_request_seconds = Histogram(
    "bentoml_service_request_duration_seconds",
    "Seconds from a request's headers to the end of its response",
    ["endpoint", "http_response_code", *BENTOMLS_LABELS],
    bounds=SLOW,
)
_in_flight = Gauge(
    "bentoml_service_request_in_progress",
    "Requests in flight",
    BENTOMLS_LABELS,
)
_predictions = Counter(
    "qmnist_predictions",
    "Predictions; `reason` is why one was not accepted",
    ["model", "digit", "accepted", "reason"],
)
_models = Gauge(
    "qmnist_models",
    "Workers that serve a model",
    ["model", "version", "provider"],
)
_errors = Counter("qmnist_errors", "Error responses, by code", ["code"])
_decode_seconds = Histogram(
    "qmnist_decode_seconds", "Seconds from an image's bytes to pixels", bounds=FAST
)
_network_seconds = Histogram(
    "qmnist_network_seconds", "Seconds per call of a model", ["model", "provider"], bounds=FAST
)
_batch_size = Histogram(
    "qmnist_batch_size", "Pictures per call of a model", ["model", "provider"], bounds=SIZES
)
_cpu_seconds = Counter("process_cpu_seconds", "CPU time of the workers, in seconds")
_memory = Gauge("process_resident_memory_bytes", "Resident memory of the workers, in bytes")
_collector_seconds = Histogram(
    "qmnist_collector_pause_seconds",
    "Seconds per run of Python's garbage collector",
    bounds=FAST,
)

_decoding = _decode_seconds.labels()


class MeteredClassifier(Classifier):
    """A classifier whose calls are counted, timed and traced, by provider."""

    def predict(self, pixels: NDArray[np.uint8]) -> Predictions:
        """Classify pictures, as `Classifier.predict` does."""
        started = time.perf_counter()
        predictions = super().predict(pixels)
        ended = time.perf_counter()
        provider = self.network_for(len(pixels)).provider
        seconds, sizes = _calls(self.card.name, provider)
        seconds.observe(ended - started)
        sizes.observe(len(pixels))
        if traces.tracer is not None:
            traces.called(
                started,
                ended,
                {
                    "qmnist.model": self.card.name,
                    "qmnist.version": self.card.version,
                    "qmnist.provider": provider.value,
                    "qmnist.batch_size": len(pixels),
                },
            )
        return predictions


@functools.cache
def _calls(model: str, provider: Provider) -> tuple[Distribution, Distribution]:
    return _network_seconds.labels(model, provider), _batch_size.labels(model, provider)


_folder = state.shared()
shared = counts.Shared(None if _folder is None else _folder / "counts")

# Name and version of the models of this worker; others are not reported.
_served: set[tuple[str, str]] = set()


def show_models(before: Iterable[Classifier], now: Iterable[Classifier]) -> None:
    """Report the models that this worker serves now, instead of those before."""
    _served.clear()
    for count, models in ((0, before), (1, now)):
        for model in models:
            _models.labels(model.card.name, model.card.version, model.provider).set(count)
            if count:
                _served.add((model.card.name, model.card.version))


class RequestCounter:
    """Counts the requests of one worker.

    Args:
        paths: The paths with series of their own. All others count as "other"; otherwise clients
            could fill the memory with made-up paths.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = frozenset(paths)
        self._of = functools.cache(self._find)
        self._in_flight = _in_flight.labels(*BENTOMLS_LABELS.values())

    def begin(self) -> None:
        """Count a request that has arrived."""
        self._in_flight.inc()

    def end(self, path: str, status: int, seconds: float) -> None:
        """Count a request that has been answered."""
        self._in_flight.inc(-1)
        total, duration = self._of(path if path in self.paths else "other", status)
        total.inc()
        duration.observe(seconds)

    @staticmethod
    def _find(endpoint: str, status: int) -> tuple[Value, Distribution]:
        labels = (endpoint, status, *BENTOMLS_LABELS.values())
        return _requests.labels(*labels), _request_seconds.labels(*labels)


def count_decoding(seconds: float) -> None:
    """Record the time to decode a picture."""
    _decoding.observe(seconds)


def count_predictions(model: str, predictions: Iterable[Prediction]) -> None:
    """Count a model's predictions."""
    for each in predictions:
        _prediction(model, each.digit, each.accepted, each.reason).inc()


def count_many_predictions(model: str, predictions: Predictions) -> None:
    """Count many predictions of a model, in a fraction of the time."""
    digits, grades = predictions.digits, predictions.grades
    places = digits if grades is None else digits + CLASSES * grades
    for place, count in enumerate(np.bincount(places).tolist()):
        if count:
            accepted = reason = None
            if grades is not None:
                reason = REASONS[place // CLASSES]
                accepted = reason is None
            _prediction(model, place % CLASSES, accepted, reason).inc(count)


@functools.cache
def _prediction(model: str, digit: int, accepted: bool | None, reason: Reason | None) -> Value:
    return _predictions.labels(model, digit, str(accepted).lower(), reason or "")


def count_error(code: str) -> None:
    """Count an error response."""
    _errors.labels(code).inc()


def watch_collector() -> None:
    """Time every run of the garbage collector from now on."""
    started, pauses = 0.0, _collector_seconds.labels()

    def watch(phase: str, _: dict[str, int]) -> None:
        nonlocal started
        if phase == "start":
            started = time.perf_counter()
        else:
            pauses.observe(time.perf_counter() - started)

    gc.callbacks.append(watch)


async def watch_process() -> None:
    """Measure this worker's CPU time and memory, until cancelled."""
    cpu, statm = _cpu_seconds.labels(), Path("/proc/self/statm")
    memory = _memory.labels() if statm.exists() else None  # only on Linux
    while True:
        cpu.set(round(time.process_time(), 2))  # or an idle worker would write it each second
        if memory is not None:
            memory.set(int(statm.read_bytes().split()[1]) * resource.getpagesize())
        await asyncio.sleep(MEASURE_SECONDS)


def gather() -> Gathered:
    """Return the numbers of all workers, except those of versions no longer served."""
    return {
        name: {
            labels: numbers
            for labels, numbers in series.items()
            if "version" not in (names := counts.FAMILIES[name].label_names)
            or (labels[names.index("model")], labels[names.index("version")]) in _served
        }
        for name, series in shared.gather().items()
    }


class _Registry:
    """Passes the metrics to prometheus_client, like its `CollectorRegistry`."""

    def collect(self) -> Iterator[Metric]:
        for name, series in gather().items():
            yield counts.FAMILIES[name].metric(series)


def exposition() -> bytes:
    """Return the metrics of all workers in Prometheus' text format."""
    return generate_latest(_Registry())
