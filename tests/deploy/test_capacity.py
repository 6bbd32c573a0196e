"""`deploy/` and the tables in docs/scaling.md agree with the measured figures."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import capacity
from serving.settings import Settings
from tests.conftest import ROOT
from tests.deploy.manifests import AT_REST, autoscaler


def figures(name: str) -> Any:  # noqa: ANN401  JSON
    return json.loads((ROOT / "docs" / "scaling" / f"{name}.json").read_text(encoding="utf-8"))


def test_the_proxys_limit_is_the_workers() -> None:
    text = (ROOT / "deploy" / "Caddyfile").read_text(encoding="utf-8")
    limits = re.findall(r"unhealthy_request_count (\d+)", text)
    assert limits == [str(Settings().max_in_flight)]


def test_both_autoscalers_keep_a_pod_as_busy() -> None:
    (metric,) = autoscaler("cpu")["spec"]["metrics"]
    assert metric["resource"]["target"]["averageUtilization"] == 100 * capacity.TARGET


def test_a_pods_memory_at_rest_is_no_more_than_its_limit_has_for_it() -> None:
    assert figures("measured")["mb_at_rest"] * 1e6 <= AT_REST


def test_the_threshold_is_the_measured_one() -> None:
    (trigger,) = autoscaler("monitored")["spec"]["triggers"]
    assert trigger["metadata"]["threshold"] == f"{capacity.threshold(figures('flood')):.2f}"


@pytest.mark.parametrize(
    ("name", "show"),
    [("measured", capacity.show_measured), ("flood", capacity.show_flood)],
)
def test_the_tables_in_the_document_are_those_of_the_figures(
    name: str, show: Callable[[dict[str, Any]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    show(figures(name))
    in_document = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    printed = capsys.readouterr().out
    for part in re.findall(r"(?:^\|.*\n)+|^.+\.$", printed, re.MULTILINE):
        assert part in in_document
