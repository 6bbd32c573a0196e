"""What `/metrics` counts, for Prometheus.

The counts of requests have the names and labels that BentoML's own have, so that its dashboards
show them. They are not BentoML's, because that layer looks each label up anew, which costs more
than the network does, and has a series for every path that anyone ever asks for.

A worker's process writes to files in the service's folder (`state`), and any of them answers for
all.
"""

import functools
import gc
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    generate_latest,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from serving.inference import state
from serving.inference.classifier import Classifier, Predictions

MEDIA_TYPE = CONTENT_TYPE_LATEST

FOLDER = "PROMETHEUS_MULTIPROC_DIR"

if state.VARIABLE in os.environ:
    os.environ[FOLDER] = os.environ[state.VARIABLE]  # in place of BentoML's
if FOLDER in os.environ:
    # The client asks the system for the process' id at each count, lest it was forked meanwhile. A
    # worker never is, and has some thirty counts a request.
    values.ValueClass = values.MultiProcessValue(functools.partial(int, os.getpid()))

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
    buckets=SLOW,
)
_in_flight = Gauge(
    "bentoml_service_request_in_progress",
    "Requests in flight",
    list(BENTOMLS_LABELS),
    multiprocess_mode="livesum",
)
_predictions = Counter("qmnist_predictions", "Predictions", ["model", "digit", "accepted"])
_models = Gauge(
    "qmnist_models",
    "Workers that serve a model",
    ["model", "version", "provider"],
    multiprocess_mode="livesum",
)
_errors = Counter("qmnist_errors", "Error responses, by code", ["code"])
_decode_seconds = Histogram(
    "qmnist_decode_seconds", "Seconds from an image's bytes to pixels", buckets=FAST
)
_network_seconds = Histogram(
    "qmnist_network_seconds", "Seconds of one call of a model", ["model"], buckets=FAST
)
_batch_size = Histogram(
    "qmnist_batch_size", "Batch size of one call of a model", ["model"], buckets=SIZES
)
_collector_seconds = Histogram(
    "qmnist_collector_pause_seconds",
    "Seconds of one run of Python's garbage collector",
    buckets=FAST,
)


class MeteredClassifier(Classifier):
    """A classifier whose calls are counted and timed."""

    def predict(self, pixels: NDArray[np.uint8]) -> Predictions:
        """Classify pictures, as `Classifier.predict` does."""
        started = time.perf_counter()
        predictions = super().predict(pixels)
        self._seconds.observe(time.perf_counter() - started)
        self._sizes.observe(len(pixels))
        return predictions

    @functools.cached_property
    def _seconds(self) -> Any:  # noqa: ANN401  a histogram with its labels has no type of its own
        return _network_seconds.labels(self.card.name)

    @functools.cached_property
    def _sizes(self) -> Any:  # noqa: ANN401
        return _batch_size.labels(self.card.name)


# Name and version of what this worker serves; of no other version is anything told.
_served: set[tuple[str, str]] = set()


def show_models(before: Iterable[Classifier], now: Iterable[Classifier]) -> None:
    """Tell which models this worker serves, and no longer those that it did."""
    _served.clear()
    for count, models in ((0, before), (1, now)):
        for model in models:
            _models.labels(model.card.name, model.card.version, model.provider).set(count)
            if count:
                _served.add((model.card.name, model.card.version))


class RequestCounter:
    """Counts the requests of one worker.

    Args:
        paths: Those that are told apart. All others are "other", or a client that asks for ever
            new ones would fill the memory.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = frozenset(paths)
        self._of = functools.cache(self._find)
        self._in_flight = _in_flight.labels(**BENTOMLS_LABELS)

    def begin(self) -> None:
        """Count a request that came."""
        self._in_flight.inc()

    def end(self, path: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._in_flight.dec()
        total, duration = self._of(path if path in self._paths else "other", status)
        total.inc()
        duration.observe(seconds)

    @staticmethod
    def _find(endpoint: str, status: int) -> tuple[Any, Any]:
        labels = {"endpoint": endpoint, "http_response_code": status, **BENTOMLS_LABELS}
        return _requests.labels(**labels), _request_seconds.labels(**labels)


def count_decoding(seconds: float) -> None:
    """Count a picture that became pixels."""
    _decode_seconds.observe(seconds)


def count_predictions(model: str, answers: Iterable[tuple[int, bool | None]]) -> None:
    """Count answers: the digit, and whether it was accepted."""
    for digit, accepted in answers:
        _prediction(model, digit, accepted).inc()


def count_many_predictions(
    model: str, digits: NDArray[np.int64], accepted: NDArray[np.bool_] | None
) -> None:
    """Count answers that are in arrays: int64 `[N]` and bool `[N]`."""
    kinds = [(None, slice(None))] if accepted is None else [(True, accepted), (False, ~accepted)]
    for kind, chosen in kinds:
        for digit, count in enumerate(np.bincount(digits[chosen])):
            if count:
                _prediction(model, digit, kind).inc(int(count))


@functools.cache
def _prediction(model: str, digit: int, accepted: bool | None) -> Any:  # noqa: ANN401
    return _predictions.labels(model, digit, str(accepted).lower())


def count_error(code: str) -> None:
    """Count an error that is answered."""
    _errors.labels(code).inc()


def watch_collector() -> None:
    """Time every run of the garbage collector from now on."""
    started = 0.0

    def watch(phase: str, _: dict[str, int]) -> None:
        nonlocal started
        if phase == "start":
            started = time.perf_counter()
        else:
            _collector_seconds.observe(time.perf_counter() - started)

    gc.callbacks.append(watch)


def forget_dead_workers() -> None:
    """Drop what workers that were killed had in progress."""
    folder = os.environ.get(FOLDER)
    if folder is None:
        return
    for path in Path(folder).glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        if not _is_alive(pid):
            mark_process_dead(pid, folder)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is there, and another user's
        return True
    return True


class Registry:
    """The counts of all workers together, without those of versions that are served no more."""

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, as `CollectorRegistry.collect` does."""
        registry = REGISTRY
        if FOLDER in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        for metric in registry.collect():
            metric.samples = [each for each in metric.samples if _is_served(each.labels)]
            yield metric


def _is_served(labels: Mapping[str, str]) -> bool:
    if "model" not in labels or "version" not in labels:
        return True
    return (labels["model"], labels["version"]) in _served


def exposition() -> bytes:
    """Return all counts, of all workers, in Prometheus' text format."""
    return generate_latest(Registry())
