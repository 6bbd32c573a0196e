"""The pages in docs/reference name what there is, all of it and nothing else."""

import sys
from typing import Any

import pytest

from serving.api.frame import CLIENT_DISCONNECTED
from serving.errors import STATUS
from serving.protocol import statistics
from serving.telemetry import metrics
from serving.telemetry.counts import FAMILIES, Family, Histogram
from tests.documents import REFERENCE, rows, words

ERRORS = REFERENCE / "errors.md"
METRICS = REFERENCE / "metrics.md"


def test_the_error_codes_and_their_statuses() -> None:
    documented = {row["code"]: int(row["HTTP"]) for row in rows(ERRORS, "code")}
    assert documented == STATUS


@pytest.mark.full  # for grpc
def test_the_statuses_of_errors_over_grpc() -> None:
    from serving.protocol.grpc import CODES  # noqa: PLC0415

    documented = {row["code"]: words(row["gRPC"]) for row in rows(ERRORS, "code")}
    names = {code: [CODES[STATUS[code]].name] for code, name in documented.items() if name}
    assert names == {code: name for code, name in documented.items() if name}
    sent = CODES.keys() - {CLIENT_DISCONNECTED}
    assert {STATUS[code] for code in names} == sent


def test_the_metrics() -> None:
    assert statistics.__name__ in sys.modules, "all have been made"

    def shown(family: Family[Any]) -> tuple[str, str, list[str]]:
        kind = family.metric({}).type
        labels = [name for name in family.label_names if name not in metrics.BENTOMLS_LABELS]
        return family.name + "_total" * (kind == "counter"), kind, labels

    documented = [
        (row["metric"], row["type"], words(row["labels"])) for row in rows(METRICS, "metric")
    ]
    assert sorted(documented) == sorted(map(shown, FAMILIES.values()))


def test_the_labels_of_metrics() -> None:
    labels = [name for family in FAMILIES.values() for name in family.label_names]
    documented = [row["label"] for row in rows(METRICS, "label")]
    assert sorted(documented) == sorted(set(labels) - set(metrics.BENTOMLS_LABELS))


def test_the_buckets_of_histograms() -> None:
    documented = {
        row["histogram"]: [float(bound) for bound in row["bounds"].split(",")]
        for row in rows(METRICS, "histogram")
    }
    assert documented == {
        name: [float(bound) for bound, _ in family.told(family.new().numbers)[0][:-1]]
        for name, family in FAMILIES.items()
        if isinstance(family, Histogram)
    }
