"""The simulation behind docs/scaling.md, against what theory says of queues."""

import numpy as np
import pytest

from benchmarks import capacity
from tests.conftest import ROOT
from tests.deploy.test_kubernetes import autoscaler

SERVICE = 0.001  # seconds
COUNT = 200_000


def arrivals(load: float) -> list[float]:
    """Of a Poisson process that keeps a worker busy for so much of the time."""
    gaps = np.random.default_rng(0).exponential(SERVICE / load, COUNT)
    times: list[float] = np.cumsum(gaps).tolist()
    return times


@pytest.mark.parametrize("load", [0.2, 0.5, 0.8])
def test_latency_is_that_of_a_queue_with_constant_service(load: float) -> None:
    """M/D/1, by Pollaczek and Khinchine."""
    latencies = capacity.Replica().serve(arrivals(load), [SERVICE] * COUNT, limit=10**9)
    expected = SERVICE * (1 + load / (2 * (1 - load)))
    assert np.mean(latencies) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("load", "limit"), [(0.8, 5), (2, 5), (10, 20)])
def test_as_many_are_refused_as_theory_says(load: float, limit: int) -> None:
    """M/M/1/K."""
    services = np.random.default_rng(1).exponential(SERVICE, COUNT).tolist()
    answered = capacity.Replica().serve(arrivals(load), services, limit)
    expected = (1 - load) * load**limit / (1 - load ** (limit + 1))
    assert 1 - len(answered) / COUNT == pytest.approx(expected, rel=0.03)


def test_a_worker_has_done_what_it_was_given_but_for_what_waits() -> None:
    replica = capacity.Replica()
    replica.serve([0.0, 0.0, 5.0], [2.0, 2.0, 1.0], limit=10)
    assert [replica.worked(at) for at in (5.0, 5.5, 6.0, 7.0)] == [4.0, 4.5, 5.0, 5.0]


def test_an_autoscaler_sees_late_and_at_most_what_its_replicas_can_do() -> None:
    scaler = capacity.Autoscaler(capacity.Case("", target=0.65, start=10))
    for _ in range(capacity.METRIC_AGE + capacity.METRIC_WINDOW - 1):
        scaler.see(2.0)
    assert scaler.wanted(2) == 2
    scaler.see(2.0)
    assert scaler.wanted(2) == 4
    assert scaler.wanted(4) == 4


def test_one_seed_gives_one_result() -> None:
    case = capacity.Case("", target=0.65, start=10)
    services = np.full(10, SERVICE)
    runs = [list(capacity.simulate(case, services, [1_000.0] * 5, seed=1)) for _ in range(2)]
    assert runs[0] == runs[1]


def test_the_simulated_autoscaler_is_the_one_in_deploy() -> None:
    by_cpu, in_flight = (autoscaler(overlay)["spec"] for overlay in ("cpu", "monitored"))
    (metric,) = by_cpu["metrics"]
    assert metric["resource"]["target"]["averageUtilization"] == 100 * capacity.TARGET
    least_and_most = (capacity.LEAST, capacity.MOST)
    assert (by_cpu["minReplicas"], by_cpu["maxReplicas"]) == least_and_most
    assert (in_flight["minReplicaCount"], in_flight["maxReplicaCount"]) == least_and_most


def test_the_replicas_are_those_in_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    capacity.replicas()
    printed = capsys.readouterr().out
    assert printed in (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
