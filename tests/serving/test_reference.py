"""The other pages in docs/reference list everything that exists, and nothing else."""

import re
import sys
from itertools import chain
from typing import Any

import onnx

from artifact import CARD_FILE, ONNX_FILE, TORCHSCRIPT_FILE
from serving.__main__ import app
from serving.protocol import statistics
from serving.resources import WEB
from serving.settings import Settings
from serving.telemetry import metrics
from serving.telemetry.counts import FAMILIES, Family, Histogram
from tests.conftest import COMMITTED_MODELS, ROOT
from tests.documents import REFERENCE, arguments, commands_of, commands_shown, read, rows, words

CARD = REFERENCE / "card.md"
COMMANDS = REFERENCE / "command-line.md"
METRICS = REFERENCE / "metrics.md"
PAGE = REFERENCE / "page.md"
SETTINGS = REFERENCE / "settings.md"

BOUNDS = {"exclusiveMinimum": ">", "minimum": "≥", "maximum": "≤"}


def test_the_files_and_the_network_of_a_model() -> None:
    files = {row["file"] for row in rows(CARD, "file")}
    model = onnx.load(COMMITTED_MODELS / "deeper" / ONNX_FILE)
    assert files == {CARD_FILE, ONNX_FILE, TORCHSCRIPT_FILE}
    documented = [
        (row["tensor"], row["direction"], row["type"], row["shape"].strip("`"))
        for row in rows(CARD, "tensor")
    ]
    tensors = []
    for direction, nodes in (("input", model.graph.input), ("output", model.graph.output)):
        for node in nodes:
            of = node.type.tensor_type
            dtype = onnx.helper.tensor_dtype_to_np_dtype(of.elem_type)
            shape = ", ".join(str(each.dim_param or each.dim_value) for each in of.shape.dim)
            tensors.append((node.name, direction, dtype.name, f"[{shape}]"))
    assert documented == tensors
    properties = [row["property"] for row in rows(CARD, "property")]
    assert properties == [each.key for each in model.metadata_props]


def test_the_metrics() -> None:
    assert statistics.__name__ in sys.modules, "not all metrics are registered"

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
    found: dict[str, list[float]] = {}
    for name, family in FAMILIES.items():
        if isinstance(family, Histogram):
            labels = tuple("" for _ in family.label_names)
            samples = family.metric({labels: family.new().numbers}).samples
            found[name] = [float(each.labels["le"]) for each in samples if "le" in each.labels][:-1]
    documented = {
        row["histogram"]: [float(bound) for bound in row["bounds"].split(",")]
        for row in rows(METRICS, "histogram")
    }
    assert documented == found


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


def test_the_variables_of_make_and_their_defaults() -> None:
    makefile = read(ROOT / "Makefile")
    defaults = dict(re.findall(r"^(\w+) \?=(?: ([^$\n]+)$|.*$)", makefile, re.MULTILINE))
    defaults |= dict.fromkeys(re.findall(r"^(?:else )?ifdef (\w+)$", makefile, re.MULTILINE), "")
    documented = rows(SETTINGS, "variable", under="Variables of make")
    assert {row["variable"]: row["default"] for row in documented} == defaults | {"DATA": "data"}


def test_the_commands() -> None:
    program = "qmnist-digits"
    assert commands_shown(COMMANDS, program) == commands_of(app, program)
    assert app.registered_callback is not None
    (version,) = rows(COMMANDS, "argument", under="`qmnist-digits`")
    ((name, _, default),) = arguments(app.registered_callback.callback)
    assert (version["argument"], version["default"]) == (name, default)


def test_the_targets_of_make() -> None:
    (targets,) = re.findall(r"^\.PHONY: (.+)$", read(ROOT / "Makefile"), re.MULTILINE)
    assert {row["target"] for row in rows(COMMANDS, "target")} == set(targets.split())


def test_the_controls_of_the_page() -> None:
    page = read(WEB / "ui" / "index.html")
    controls = re.findall(r"<(?:button|legend)[^>]*>([^<]+)</", page)
    documented = [re.findall(r"\*([^*]+)\*", row["control"]) for row in rows(PAGE, "control")]
    assert sorted(chain.from_iterable(documented)) == sorted(controls)
