"""The Open Inference Protocol's statistics, and how long they are reported."""

from types import SimpleNamespace
from typing import Any

import pytest

from serving.protocol import statistics
from serving.protocol.statistics import Phases
from serving.telemetry import metrics

PHASES = Phases(0.1, 0.2, 0.3, 0.4)


def model(version: str, name: str = "counted") -> Any:  # noqa: ANN401  a stand-in
    return SimpleNamespace(card=SimpleNamespace(name=name, version=version), provider="cpu")


@pytest.fixture(autouse=True)
def served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_served", set())


def test_many_sizes_are_few_series() -> None:
    each = model("sizes")
    metrics.show_models([], [each])
    for size in range(1, 1_025):
        statistics.count_inference(each.card, size, PHASES)
    told = metrics.exposition().decode()
    assert len([line for line in told.splitlines() if 'version="sizes"' in line]) < 150
    (found,) = statistics.collect([("counted", "sizes")])
    assert found["inference_count"] == sum(range(1, 1_025))
    assert found["execution_count"] == 1_024
    by_size = {batch["batch_size"]: batch for batch in found["batch_stats"]}
    assert list(by_size) == [2**power for power in range(11)]
    assert by_size[8]["compute_infer"] == {"count": 4, "ns": 1_200_000_000}
    assert by_size[1_024]["compute_input"]["count"] == 512


def test_of_a_version_that_is_gone_nothing_is_told() -> None:
    old, new, other = model("old"), model("new"), model("old", "other")
    metrics.show_models([], [old, other])
    for each in (old, other):
        statistics.count_inference(each.card, 1, PHASES)
        statistics.count_success(each.card, 1)
    assert b'model="counted",version="old"' in metrics.exposition()
    metrics.show_models([old, other], [new, other])
    told = metrics.exposition()
    assert b'model="counted",version="old"' not in told
    assert b'model="other",version="old"' in told
    (found,) = statistics.collect([("counted", "old")])
    assert found["inference_count"] == found["inference_stats"]["success"]["count"] == 0
