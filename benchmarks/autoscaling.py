"""Simulates replicas, each a worker and the queue before it, and the autoscaler that adds more.

Requests arrive as a Poisson process, each over a connection of its own, at a replica that is chosen
at random among those that are ready. One seed gives one result.
"""

import math
import statistics
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

# As in deploy/kubernetes.
TARGET = 0.65  # of a core, which the autoscaler keeps a replica at
LEAST = 2  # replicas, so that one may fail
MOST = 40
PROBE_PERIOD = 2  # seconds, and so long it waits for an answer
PROBE_FAILURES = 2  # in a row, and the replica gets no more requests

# Requests at a replica, the one that is answered among them.
BACKLOG = 2_048  # BentoML's: so many connections wait to be accepted, and the kernel drops the rest
LIMIT = 128  # what a proxy in front lets through, as in deploy/Caddyfile

SYNC = 15  # seconds from one look of the autoscaler to the next
METRIC_AGE = 15  # seconds since the end of the time that the CPU's use is of
METRIC_WINDOW = 15  # seconds over which it is taken
TOLERANCE = 0.1  # so little too much does not make it add replicas

BEFORE, AFTER = 30, 210  # seconds of each load
REPORTED = 30  # seconds in a row of the table


@dataclass(frozen=True)
class Case:
    """What differs from one simulation to the other.

    Attributes:
        start: Seconds from the autoscaler's decision until a replica answers.
        limit: The most requests at a replica; what comes on top is refused, at no cost.
    """

    name: str
    target: float
    start: float
    limit: int
    least: int = LEAST


@dataclass(frozen=True)
class Second:
    """What happened in one second; latencies in milliseconds, of those that were answered."""

    case: str
    second: int
    offered: int
    refused: int
    replicas: int
    ready: int
    p50: float | None
    p99: float | None


class Replica:
    """One worker and the queue before it.

    Attributes:
        ready: Whether it gets requests.
    """

    def __init__(self, limit: int) -> None:
        self.ready = True
        self._limit = limit
        self._free = 0.0
        self._given = 0.0
        self._ends: deque[float] = deque()
        self._was_full = False
        self._failures = 0

    def serve(self, arrivals: list[float], services: list[float]) -> list[float]:
        """Answer requests in their order.

        Args:
            arrivals: When they come, in seconds, ascending.
            services: The seconds that each takes.

        Returns:
            The seconds from arrival to answer, of those that were not refused.
        """
        free, latencies = self._free, []
        for arrival, service in zip(arrivals, services, strict=True):
            if not self._full(arrival, self._limit):
                free = max(free, arrival) + service
                self._ends.append(free)
                latencies.append(free - arrival)
                self._given += service
        self._free = free
        return latencies

    def probe(self, now: int) -> None:
        """Ask whether it is ready, in each second.

        A probe begins every second second. It does not come through a proxy. Where the kernel's
        queue is full its connection is dropped, and tried once more, a second later.
        """
        full = self._full(now, BACKLOG)
        if now % PROBE_PERIOD == 1:
            self._failures = self._failures + 1 if full and self._was_full else 0
            self.ready = self._failures < PROBE_FAILURES
        self._was_full = full

    def worked(self, now: float) -> float:
        """Seconds that the worker has computed so far, if it was given nothing after `now`."""
        return self._given - max(0.0, self._free - now)

    def _full(self, now: float, limit: int) -> bool:
        while self._ends and self._ends[0] <= now:
            self._ends.popleft()
        return len(self._ends) >= limit


class Autoscaler:
    """Kubernetes' HorizontalPodAutoscaler on the CPU's use.

    It only adds: what it would take away waits for five minutes, which is longer than what is
    simulated.
    """

    def __init__(self, case: Case) -> None:
        self._case = case
        self._used: list[float] = []

    def see(self, used: float) -> None:
        """Note the cores that all replicas used together in the last second."""
        self._used.append(used)

    def wanted(self, replicas: int) -> int:
        """Say how many replicas there should be, of which there are so many, ready or not."""
        end = len(self._used) - METRIC_AGE
        if end < METRIC_WINDOW:
            return replicas
        used = statistics.mean(self._used[end - METRIC_WINDOW : end])
        if used / (replicas * self._case.target) <= 1 + TOLERANCE:
            return replicas
        # Kubernetes doubles at most, or adds four, in one step.
        step = max(2 * replicas, replicas + 4)
        return max(replicas, min(math.ceil(used / self._case.target), step, MOST))


def simulate(
    case: Case, services: NDArray[np.float64], rates: list[float], seed: int
) -> Iterator[Second]:
    """Simulate one second after the other.

    Args:
        case: What is simulated.
        services: Seconds that a request takes, to draw from.
        rates: Requests a second, of each second.
        seed: Of all that is random.
    """
    random = np.random.default_rng(seed)
    used_at_first = rates[0] * float(services.mean())
    at_first = max(case.least, math.ceil(used_at_first / case.target))
    replicas = [Replica(case.limit) for _ in range(at_first)]
    starting: deque[float] = deque()
    autoscaler = Autoscaler(case)
    for second, rate in enumerate(rates):
        while starting and starting[0] <= second:
            starting.popleft()
            replicas.append(Replica(case.limit))
        for replica in replicas:
            replica.probe(second)
        ready = [replica for replica in replicas if replica.ready]
        # The autoscaler takes a pod of the last five minutes that is not ready for an idle one.
        seen = [r for i, r in enumerate(replicas) if r.ready or i < at_first]
        before = sum(replica.worked(second) for replica in seen)
        count = int(random.poisson(rate))
        arrivals = second + np.sort(random.random(count))
        taken = random.choice(services, count)
        chosen = random.integers(max(1, len(ready)), size=count)
        latencies = list(
            chain.from_iterable(
                replica.serve(arrivals[mine].tolist(), taken[mine].tolist())
                for replica, mine in ((r, chosen == i) for i, r in enumerate(ready))
            )
        )
        autoscaler.see(sum(replica.worked(second + 1) for replica in seen) - before)
        if (second + 1) % SYNC == 0:
            total = len(replicas) + len(starting)
            more = autoscaler.wanted(total) - total
            starting.extend([second + 1 + case.start] * more)
        percentiles = 1_000 * np.percentile(latencies, (50, 99)) if latencies else None
        p50, p99 = (None, None) if percentiles is None else map(float, percentiles)
        refused = count - len(latencies)
        yield Second(case.name, second, count, refused, len(replicas), len(ready), p50, p99)


def row(seconds: list[Second]) -> dict[str, Any]:
    """Sum up some seconds of one case."""
    offered = sum(second.offered for second in seconds)
    return {
        "case": seconds[0].case,
        "since_jump": seconds[0].second - BEFORE,
        "per_second": offered / len(seconds),
        "replicas": seconds[-1].replicas,
        "ready": statistics.mean(second.ready for second in seconds),
        "p50": _median([second.p50 for second in seconds]),
        "p99": _median([second.p99 for second in seconds]),
        "refused": sum(second.refused for second in seconds) / offered,
    }


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def outcome(case: Case, seconds: list[Second]) -> dict[str, Any]:
    """Sum up a case.

    Returns:
        Its fields, and what came of it; `seconds_until_few_are_refused` since the jump is None if
        more than 1 % were refused to the end.
    """
    many = [s.second for s in seconds if s.refused > 0.01 * s.offered]
    last = many[-1] if many else BEFORE - 1
    return {
        **asdict(case),
        "replicas_at_first": seconds[0].replicas,
        "replicas_in_the_end": seconds[-1].replicas,
        "refused": sum(s.refused for s in seconds) / sum(s.offered for s in seconds),
        "seconds_until_few_are_refused": last + 1 - BEFORE if last < seconds[-1].second else None,
    }


def draw(cases: list[Case], seconds: list[Second], carried: float, path: Path) -> None:
    """Draw what is asked and what can be carried, how long it took, and what was refused."""
    figure = Figure(figsize=(9, 9), layout="constrained")
    load_axes, latency_axes, refused_axes = figure.subplots(3, 1, sharex=True)
    at = range(-BEFORE, AFTER)
    asked = [second.offered / 1_000 for second in seconds if second.case == cases[0].name]
    load_axes.plot(at, asked, color="black", linewidth=1, label="asked")
    for number, case in enumerate(cases):
        its = [second for second in seconds if second.case == case.name]
        style = {"color": f"C{number}", "linewidth": 2 if number < 2 else 1.2}
        carries = [s.ready * carried / 1_000 for s in its]
        load_axes.step(at, carries, where="post", label=case.name, **style)
        refused_axes.plot(at, [100 * s.refused / s.offered for s in its], **style)
        p99 = [math.nan if s.p99 is None else s.p99 for s in its]
        latency_axes.plot(at, p99, **style)
    load_axes.set_title("Asked, and what the ready replicas carry", loc="left")
    load_axes.set_ylabel("thousand requests/s")
    latency_axes.set_title("99th percentile of the latency of what is answered", loc="left")
    latency_axes.set_ylabel("milliseconds")
    latency_axes.set_yscale("log")
    refused_axes.set_title("Refused", loc="left")
    refused_axes.set_ylabel("% of the requests")
    refused_axes.set_xlabel("seconds since the jump")
    figure.legend(
        *load_axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
    )
    for axes in (load_axes, latency_axes, refused_axes):
        axes.grid(alpha=0.3)
        axes.set_xlim(-BEFORE, AFTER)
    figure.savefig(path, dpi=100)
