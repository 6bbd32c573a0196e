"""The simulation behind docs/scaling.md, against what theory says of queues; and its tables."""

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks import autoscaling, capacity
from benchmarks.autoscaling import Case, Replica, Second
from serving.settings import Settings
from tests.conftest import ROOT
from tests.deploy.manifests import AT_REST, autoscaler, container

SERVICE = 0.001  # seconds
COUNT = 200_000
CASE = Case("", target=0.65, start=10, limit=100)


def arrivals(load: float) -> list[float]:
    """Of a Poisson process that keeps a worker busy for so much of the time."""
    gaps = np.random.default_rng(0).exponential(SERVICE / load, COUNT)
    times: list[float] = np.cumsum(gaps).tolist()
    return times


def second(number: int, refused: int) -> Second:
    return Second("", number, 100, refused, replicas=2, ready=2, p50=1, p99=2)


def figures(name: str) -> Any:  # noqa: ANN401  it is JSON
    return json.loads((ROOT / "docs" / "scaling" / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("load", [0.2, 0.5, 0.8])
def test_latency_is_that_of_a_queue_with_constant_service(load: float) -> None:
    """M/D/1, by Pollaczek and Khinchine."""
    latencies = Replica(limit=10**9).serve(arrivals(load), [SERVICE] * COUNT)
    expected = SERVICE * (1 + load / (2 * (1 - load)))
    assert np.mean(latencies) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("load", "limit"), [(0.8, 5), (2, 5), (10, 20)])
def test_as_many_are_refused_as_theory_says(load: float, limit: int) -> None:
    """M/M/1/K."""
    services = np.random.default_rng(1).exponential(SERVICE, COUNT).tolist()
    answered = Replica(limit).serve(arrivals(load), services)
    expected = (1 - load) * load**limit / (1 - load ** (limit + 1))
    assert 1 - len(answered) / COUNT == pytest.approx(expected, rel=0.03)


def test_a_worker_has_done_what_it_was_given_but_for_what_waits() -> None:
    replica = Replica(limit=10)
    replica.serve([0.0, 0.0, 5.0], [2.0, 2.0, 1.0])
    assert [replica.worked(at) for at in (5.0, 5.5, 6.0, 7.0)] == [4.0, 4.5, 5.0, 5.0]


@pytest.mark.parametrize(
    ("limit", "seconds", "ready"),
    [
        (10**9, 9.0, [True, True, True, False, False, False, False, False, False, True]),
        (10**9, 2.5, [True] * 10),  # only one probe fails
        (128, 9.0, [True] * 10),
    ],
)
def test_a_replica_whose_queue_is_full_is_not_ready(
    limit: int, seconds: float, ready: list[bool]
) -> None:
    replica, found = Replica(limit), []
    replica.serve([0.0] * autoscaling.BACKLOG, [seconds] + [0.0] * (autoscaling.BACKLOG - 1))
    for now in range(10):
        replica.probe(now)
        found.append(replica.ready)
    assert found == ready


def test_an_autoscaler_sees_late_and_at_most_what_its_replicas_can_do() -> None:
    scaler = autoscaling.Autoscaler(CASE)
    for _ in range(autoscaling.METRIC_AGE + autoscaling.METRIC_WINDOW - 1):
        scaler.see(2.0)
    assert scaler.wanted(2) == 2
    scaler.see(2.0)
    assert scaler.wanted(2) == 4
    assert scaler.wanted(4) == 4


def test_one_seed_gives_one_result() -> None:
    services = np.full(10, SERVICE)
    runs = [list(autoscaling.simulate(CASE, services, [1_000.0] * 5, seed=1)) for _ in range(2)]
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    ("refused", "until"),
    [([0] * 5, 0), ([0, 50, 0, 0, 0], 2), ([50, 50, 50, 50, 2], None)],
)
def test_an_outcome_says_when_few_are_refused(refused: list[int], until: int | None) -> None:
    seconds = [second(autoscaling.BEFORE + at, count) for at, count in enumerate(refused)]
    found = autoscaling.outcome(CASE, seconds)
    assert found["seconds_until_few_are_refused"] == until


@pytest.mark.parametrize(("until", "shown"), [(0, "| 0 |"), (None, "| over 210 |")])
def test_nothing_refused_is_no_long_time(
    until: int | None, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {**autoscaling.outcome(CASE, [second(0, 0)]), "seconds_until_few_are_refused": until}
    capacity.show_jump({"outcomes": [found], "rows": []})
    assert re.sub(" +", " ", capsys.readouterr().out).endswith(f"{shown}\n")


def test_the_simulated_autoscaler_is_the_one_in_deploy() -> None:
    by_cpu, in_flight = (autoscaler(overlay)["spec"] for overlay in ("cpu", "monitored"))
    (metric,) = by_cpu["metrics"]
    assert metric["resource"]["target"]["averageUtilization"] == 100 * autoscaling.TARGET
    least_and_most = (autoscaling.LEAST, autoscaling.MOST)
    assert (by_cpu["minReplicas"], by_cpu["maxReplicas"]) == least_and_most
    assert (in_flight["minReplicaCount"], in_flight["maxReplicaCount"]) == least_and_most


def test_the_simulated_probe_is_the_one_in_deploy() -> None:
    probe = container("cpu")["readinessProbe"]
    assert probe["periodSeconds"] == probe["timeoutSeconds"] == autoscaling.PROBE_PERIOD
    assert probe["failureThreshold"] == autoscaling.PROBE_FAILURES


def test_the_simulated_limit_is_the_proxys() -> None:
    text = (ROOT / "deploy" / "Caddyfile").read_text(encoding="utf-8")
    assert re.findall(r"unhealthy_request_count (\d+)", text) == [str(autoscaling.LIMIT)]
    assert Settings().max_in_flight == autoscaling.LIMIT


def test_a_pods_memory_at_rest_is_no_more_than_its_limit_has_for_it() -> None:
    assert figures("measured")["mb_at_rest"] * 1e6 <= AT_REST


def test_the_threshold_is_the_measured_one() -> None:
    (trigger,) = autoscaler("monitored")["spec"]["triggers"]
    assert trigger["metadata"]["threshold"] == f"{capacity.threshold(figures('flood')):.2f}"


@pytest.mark.parametrize(
    ("name", "show"),
    [
        ("measured", capacity.show_measured),
        ("flood", capacity.show_flood),
        ("jump", capacity.show_jump),
    ],
)
def test_the_tables_in_the_document_are_those_of_the_figures(
    name: str, show: Callable[[dict[str, Any]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    show(figures(name))
    in_document = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    printed = capsys.readouterr().out
    for part in re.findall(r"(?:^\|.*\n)+|^.+\.$", printed, re.MULTILINE):
        assert part in in_document


def test_the_replicas_are_those_in_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    capacity.replicas()
    printed = capsys.readouterr().out
    assert printed in (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
