"""The tables in the documents are the ones that the benchmarks print for the stored figures."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import gpu, page, serving, soak, wild
from tests.conftest import ROOT

SHOWN: dict[str, Callable[[Any], None]] = {
    "performance/peers": serving.show_peers,
    "performance/batches": serving.show_batches,
    "performance/tensors": serving.show_tensors,
    "performance/workers": serving.show_workers,
    "performance/gpu": gpu.show,
    "performance/page": page.show,
    "performance/soak": soak.show,
    "imaging/wild": wild.show,
}


@pytest.mark.parametrize("name", SHOWN)
def test_the_document_has_what_the_benchmark_prints(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = ROOT / "docs" / f"{name}.json"
    SHOWN[name](json.loads(path.read_text(encoding="utf-8")))
    printed = capsys.readouterr().out
    document = path.parent.with_suffix(".md").read_text(encoding="utf-8")
    table = [line for line in printed.splitlines() if line.startswith("|")]
    assert "\n".join(table) in document
    if not table:
        assert " ".join(printed.split()) in " ".join(document.split())


@pytest.mark.parametrize(
    ("ratio", "shown"), [(0.834, "0.83x"), (0.996, "1.0x"), (1.84, "1.8x"), (9.96, "10x")]
)
def test_ratios_have_about_two_digits(ratio: float, shown: str) -> None:
    assert serving.times(ratio) == shown
