"""The pages in docs/reference name what there is, all of it and nothing else."""

import re
import sys
from typing import Any

import pytest

from serving.api.frame import CLIENT_DISCONNECTED
from serving.errors import STATUS
from serving.protocol import statistics
from serving.settings import Settings
from serving.telemetry import metrics
from serving.telemetry.counts import FAMILIES, Family, Histogram
from tests.conftest import ROOT
from tests.documents import REFERENCE, read, rows, words

ERRORS = REFERENCE / "errors.md"
METRICS = REFERENCE / "metrics.md"
SETTINGS = REFERENCE / "settings.md"

BOUNDS = {"exclusiveMinimum": ">", "minimum": "≥", "maximum": "≤"}


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


def test_the_settings_and_their_types() -> None:
    schema = Settings.model_json_schema()

    def kind(of: dict[str, Any]) -> str:
        of = next((each for each in of.get("anyOf", ()) if each != {"type": "null"}), of)
        if "$ref" in of:
            values = schema["$defs"][of["$ref"].rpartition("/")[2]]["enum"]
            return re.sub(", (`[^`]+`)$", r" or \1", ", ".join(f"`{value}`" for value in values))
        name = {"array": "list"}.get(of["type"], of.get("format", of["type"]))
        return ", ".join([name, *(f"{s} {of[b]:g}" for b, s in BOUNDS.items() if b in of)])

    documented = {row["setting"]: row["type"] for row in rows(SETTINGS, "setting")}
    assert documented == {
        f"QMNIST_{name}".upper(): kind(each) for name, each in schema["properties"].items()
    }


def test_the_defaults_of_settings() -> None:
    shown: dict[str, Any] = {
        row["setting"].removeprefix("QMNIST_").lower(): row["default"].strip("`")
        for row in rows(SETTINGS, "setting")
    }
    shown["models"] = ROOT / shown["models"]
    given = {name: value for name, value in shown.items() if value != ""}
    assert Settings(**given) == Settings()
    assert not any(getattr(Settings(), name) for name in shown.keys() - given.keys())


def test_the_variables_documented_and_their_defaults() -> None:
    makefile = read(ROOT / "Makefile")
    defaults = dict(re.findall(r"^(\w+) \?=(?: ([^$\n]+)$|.*$)", makefile, re.MULTILINE))
    defaults |= dict.fromkeys(re.findall(r"^(?:else )?ifdef (\w+)$", makefile, re.MULTILINE), "")
    documented = {
        row["variable"]: row["default"]
        for row in rows(SETTINGS, "variable", under="Variables of make")
    }
    assert documented.keys() == defaults.keys() - {"OTEL_EXPORTER_OTLP_ENDPOINT"}
    assert documented == {name: defaults[name] for name in documented} | {"DATA": "data"}
