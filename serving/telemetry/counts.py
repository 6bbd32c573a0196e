"""Metrics that each process counts in memory, and any process reports for the whole service.

A few times per second, each process writes its changed numbers to a file of its own in a shared
folder. prometheus_client's multiprocess mode is slower: it packs and unpacks each number in a
memory-mapped file whenever it is counted.

The metric types are those of Prometheus (https://prometheus.io/docs/concepts/metric_types/).
"""

import asyncio
import logging
import os
import secrets
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from operator import add
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

import orjson
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.utils import floatToGoString

logger = logging.getLogger("bentoml.digits")  # BentoML shows loggers below "bentoml"

SHARE_SECONDS = 0.2  # until other processes can report what one has counted

Labels = tuple[str, ...]
Numbers = list[float]
# By family name.
Snapshot = dict[str, list[tuple[Sequence[str], Numbers]]]
Gathered = dict[str, dict[Labels, Numbers]]

# Threads count, too, and adding is not atomic. Reentrant, because the garbage collector may run,
# and be counted, while this thread holds the lock.
_lock = threading.RLock()


class Value:
    """A number."""

    __slots__ = ("numbers",)

    def __init__(self) -> None:
        self.numbers: Numbers = [0]

    def inc(self, amount: float = 1) -> None:
        """Add to the number."""
        with _lock:
            self.numbers[0] += amount

    def set(self, value: float) -> None:
        """Replace the number."""
        self.numbers[0] = value


class Distribution:
    """Observations counted between bounds and beyond the last, and their sum."""

    __slots__ = ("_bounds", "numbers")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.numbers: Numbers = [0] * (len(bounds) + 2)

    def observe(self, amount: float) -> None:
        """Add an observation."""
        with _lock:
            self.numbers[bisect_left(self._bounds, amount)] += 1
            self.numbers[-1] += amount


S = TypeVar("S", Value, Distribution)


class Family(Generic[S]):
    """All series of one metric.

    Args:
        name: The metric's name.
        documentation: One line of help text.
        labels: The names of the labels.
    """

    kind: ClassVar[type[Metric]]
    only_living: ClassVar[bool] = False  # whether a dead process's numbers are dropped
    new: Callable[[], S]

    def __init__(self, name: str, documentation: str, labels: Iterable[str] = ()) -> None:
        self.name = name
        self.documentation = documentation
        self.label_names = tuple(labels)
        self.series: dict[Labels, S] = {}
        FAMILIES[name] = self

    def labels(self, *values: object) -> S:
        """Return the series with these label values."""
        key = tuple(map(str, values))
        with _lock:
            return self.series.setdefault(key, self.new())

    def merge(self, numbers: Numbers, others: Numbers) -> Numbers:
        """Merge a series' numbers from two processes."""
        return list(map(add, numbers, others))

    def metric(self, series: dict[Labels, Numbers]) -> Metric:
        """Return the metric for prometheus_client to write."""
        metric: Any = self.kind(self.name, self.documentation, labels=self.label_names)  # type: ignore[call-arg]  # every kind accepts labels
        for labels, numbers in series.items():
            metric.add_metric(labels, *self.arguments(numbers))
        return cast("Metric", metric)

    def arguments(self, numbers: Numbers) -> Sequence[Any]:
        """Return the arguments of prometheus_client's `add_metric` for a series."""
        return numbers


FAMILIES: dict[str, Family[Any]] = {}


class Counter(Family[Value]):
    """Numbers that only increase."""

    kind = CounterMetricFamily
    new = Value


class Gauge(Family[Value]):
    """Current numbers: the sum over all living processes."""

    kind = GaugeMetricFamily
    new = Value
    only_living = True


class LargestGauge(Gauge):
    """Numbers whose maximum over all processes counts, such as a time."""

    only_living = False

    def merge(self, numbers: Numbers, others: Numbers) -> Numbers:
        """Return the larger number."""
        return max(numbers, others)


class Histogram(Family[Distribution]):
    """Distributions; `bounds` are the largest values of the buckets."""

    kind = HistogramMetricFamily

    def __init__(
        self, name: str, documentation: str, labels: Iterable[str] = (), *, bounds: Sequence[float]
    ) -> None:
        self.new = partial(Distribution, bounds)
        self._buckets = [*map(floatToGoString, bounds), "+Inf"]
        super().__init__(name, documentation, labels)

    def arguments(self, numbers: Numbers) -> Sequence[Any]:
        """Return the cumulative buckets, and the sum."""
        *counts, total = numbers
        return list(zip(self._buckets, accumulate(counts), strict=True)), total


class Summary(Family[Distribution]):
    """Distributions reported as count and sum."""

    kind = SummaryMetricFamily
    new = staticmethod(partial(Distribution, ()))


class Shared:
    """The numbers of all processes of a service, in files in its folder.

    Args:
        folder: The folder; `None` if there are no other processes.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        # A process id may be reused, and the counts of the dead process stay.
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._written = b""
        self._failed = False  # whether the last write failed

    async def write_on(self) -> None:
        """Write this process's numbers whenever they have changed, until cancelled."""
        try:
            while True:
                self._try_to_write()
                await asyncio.sleep(SHARE_SECONDS)
        finally:
            self._try_to_write()

    def gather(self) -> Gathered:
        """Return the merged numbers of all processes, with this one's current ones."""
        gathered: Gathered = {name: {} for name in FAMILIES}
        for is_alive, snapshot in [(True, _snapshot()), *self._others()]:
            for name, series in snapshot.items():
                family, merged = FAMILIES[name], gathered[name]
                if family.only_living and not is_alive:
                    continue
                for values, numbers in series:
                    labels = tuple(values)
                    before = merged.get(labels)
                    merged[labels] = numbers if before is None else family.merge(before, numbers)
        return gathered

    def _try_to_write(self) -> None:
        content = orjson.dumps(_snapshot())
        if self._folder is None or content == self._written:
            return
        new = self._folder / f".{self._name}"
        try:
            self._folder.mkdir(exist_ok=True)
            new.write_bytes(content)
            new.replace(self._folder / f"{self._name}.json")
        except OSError:
            if not self._failed:
                logger.exception("the counts cannot be written; other workers report too few")
            self._failed = True
        else:
            self._written, self._failed = content, False

    def _others(self) -> Iterator[tuple[bool, Snapshot]]:
        """Yield for each other process whether it is alive, and its last snapshot."""
        if self._folder is None:
            return
        for path in sorted(self._folder.glob("[!.]*.json")):
            if path.stem != self._name:
                yield _is_alive(int(path.stem.partition("-")[0])), orjson.loads(path.read_bytes())


def _snapshot() -> Snapshot:
    with _lock:
        return {
            family.name: [
                (labels, series.numbers.copy()) for labels, series in family.series.items()
            ]
            for family in FAMILIES.values()
        }


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it exists, with another user
        return True
    return True
