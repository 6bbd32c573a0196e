"""The dashboard and the alerts in `deploy/monitoring`, against their schemas and a real server."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import promql_parser
import pytest
import yaml
from cloudcoil.models.prometheus_operator import v1
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import ROOT
from tests.pictures import drawn

MONITORING = ROOT / "deploy" / "monitoring"
DOCUMENT = ROOT / "docs" / "monitoring.md"

Labels = dict[str, set[str]]  # the values of each label

# The labels that Prometheus adds to every series, and its own series.
ADDED: Labels = {"job": {"qmnist-digits"}, "instance": set()}
OF_PROMETHEUS = {"up": ADDED}

# Grafana's variables, with values for the tests.
FILLED_IN = {"$__rate_interval": "5m", "$__range": "6h", "$job": ".*", "$model": ".*"}


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_bytes())
    return found


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((MONITORING / "alerts.yaml").read_bytes())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def queries() -> Iterator[tuple[str, str]]:
    """Yield each query with the name of the alert, panel, annotation or variable that uses it."""
    for alert in alerts():
        yield alert["alert"], alert["expr"]
    shown = dashboard()
    for panel in shown["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for annotation in shown["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]
    for variable in shown["templating"]["list"]:
        if variable["type"] == "query":
            asked = re.fullmatch(r"label_values\((.+), \w+\)", variable["query"]["query"])
            assert asked is not None
            yield variable["name"], asked[1]


def selectors(query: str) -> list[promql_parser.VectorSelector]:
    """Return the selectors in a query."""
    for name, value in FILLED_IN.items():
        query = query.replace(name, value)
    found: list[promql_parser.VectorSelector] = []

    def visit(node: promql_parser.Expr) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        elif isinstance(node, promql_parser.MatrixSelector):
            found.append(node.vector_selector)
        return True

    promql_parser.walk(promql_parser.parse(query), visit)
    return found


def groupings(query: str) -> set[str]:
    """Return the labels by which a query groups or matches."""
    lists = re.findall(r"\b(?:by|on) \(([^)]*)\)", query)
    return {label.strip() for each in lists for label in each.split(",")}


@pytest.fixture(scope="module")
def told(server: str) -> dict[str, Labels]:
    """The labels of each series that a server exports after a few requests."""
    scribble = (ROOT / "serving" / "web" / "ui" / "gallery" / "scribble.webp").read_bytes()
    for content in (drawn.encode(drawn.on_paper(7)), scribble, b"no picture"):
        httpx.post(f"{server}/predict", content=content)
    found: dict[str, Labels] = OF_PROMETHEUS.copy()
    for family in text_string_to_metric_families(httpx.get(f"{server}/metrics").text):
        for sample in family.samples:
            labels = found.setdefault(sample.name, ADDED.copy())
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    return found


@pytest.mark.parametrize(("where", "query"), list(queries()))
def test_a_query_asks_for_what_the_service_tells(
    where: str, query: str, told: dict[str, Labels]
) -> None:
    asked = selectors(query)
    assert asked, where
    for selector in asked:
        labels = told[str(selector.name)]
        for matcher in selector.matchers.matchers:
            assert matcher.name in labels, where
            if matcher.op == promql_parser.MatchOp.Equal:
                assert matcher.value in labels[matcher.name], where
    assert groupings(query) <= set().union(*(told[str(each.name)] for each in asked)), where


def test_there_is_an_alert_for_each_thing_that_can_go_wrong() -> None:
    assert [alert["alert"] for alert in alerts()] == [
        "DigitsDown",
        "DigitsErrors",
        "DigitsSlow",
        "DigitsRefused",
        "DigitsNotAccepted",
        "DigitsModelExchanged",
    ]
    anchors = re.findall(r"^### (\w+)$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    for alert in alerts():
        assert alert.keys() == {"alert", "expr", "for", "labels", "annotations"}
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}
        page, _, anchor = alert["annotations"]["runbook"].partition("#")
        assert (ROOT / page, anchor) == (DOCUMENT, alert["alert"].lower())
        assert alert["alert"] in anchors


def test_prometheus_operator_takes_the_alerts() -> None:
    """Run the documented command that turns the alerts into a PrometheusRule."""
    (command,) = re.findall(
        r"^(\{ printf .+\n\}) \| kubectl",
        DOCUMENT.read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    shell = ["/bin/sh", "-c", command]
    made = subprocess.run(shell, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    rule = v1.PrometheusRule.model_validate(yaml.safe_load(made))
    assert rule.spec.groups is not None
    assert len(rule.spec.groups[0].rules or ()) == len(alerts())


def test_grafana_knows_all_that_is_in_the_dashboard() -> None:
    sent = dashboard()
    understood = json.loads(JSONEncoder().encode(Dashboard.from_json(sent)))

    def lost(sent: Any, understood: Any, where: str) -> Iterator[str]:  # noqa: ANN401
        if isinstance(sent, dict) and isinstance(understood, dict):
            for name, value in sent.items():
                yield from lost(value, understood.get(name), f"{where}.{name}")
        elif isinstance(sent, list) and isinstance(understood, list):
            assert len(sent) == len(understood)
            for place, pair in enumerate(zip(sent, understood, strict=True)):
                yield from lost(*pair, f"{where}[{place}]")
        elif sent != understood:
            yield where

    assert list(lost(sent, understood, "")) == []
    ids = [panel["id"] for panel in sent["panels"]]
    assert len(set(ids)) == len(ids)


def test_compose_and_prometheus_take_their_files() -> None:
    check = Path(sys.executable).with_name("check-jsonschema")
    compose = MONITORING / "compose.yaml"
    subprocess.run([check, "--builtin-schema", "vendor.compose-spec", compose], check=True)
    mounted = {
        volume.split(":")[0]
        for service in yaml.safe_load(compose.read_bytes())["services"].values()
        for volume in service["volumes"]
        if volume.startswith("./")
    }
    assert all((MONITORING / name).is_file() for name in mounted)
    prometheus = yaml.safe_load((MONITORING / "prometheus.yaml").read_bytes())
    assert prometheus["rule_files"] == ["alerts.yaml"]
    (job,) = prometheus["scrape_configs"]
    (down,) = (alert for alert in alerts() if alert["alert"] == "DigitsDown")
    assert f'job="{job["job_name"]}"' in down["expr"]
