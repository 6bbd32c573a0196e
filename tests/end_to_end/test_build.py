"""`bentoml build`, and the bento it makes."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests import drawn
from tests.conftest import ROOT, StartServer


@pytest.fixture(scope="module")
def bento(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("bentoml")
    subprocess.run(
        [sys.executable, "-m", "bentoml", "build", "--version", "1", "."],
        cwd=ROOT,
        env={**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"},
        check=True,
    )
    return home / "bentos" / "qmnist-digits" / "1"


def test_a_bento_holds_serving_models_and_the_report_and_nothing_else(bento: Path) -> None:
    source = bento / "src"
    files = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    serving = {path for path in files if path.parts[0] == "serving"}
    models = {path for path in files if path.parts[0] == "models"}
    report = {path for path in files if path.parts[0] == "docs"}
    assert {Path("serving/service.py"), Path("serving/web/ui/gallery/seven.webp")} < serving
    assert Path("docs/report.md") in report
    assert {path.parent for path in report} == {Path("docs"), Path("docs/report")}
    assert models == {
        Path("models", name, file)
        for name in ("baseline", "deeper", "dropout")
        for file in ("card.json", "model.onnx", "model.torchscript.pt")
    }
    assert files - serving - models - report == {
        Path(n) for n in ("LICENSE", "README.md", "bentofile.yaml")
    }


def test_a_bento_needs_no_torch(bento: Path) -> None:
    text = (bento / "env" / "python" / "requirements.txt").read_text(encoding="utf-8")
    packages = {line.split("==")[0] for line in text.splitlines() if "==" in line}
    assert "onnxruntime" in packages
    assert not {name for name in packages if name.startswith(("torch", "nvidia-c", "onnxscript"))}


def test_a_bento_sends_no_telemetry(bento: Path) -> None:
    dockerfile = (bento / "env" / "docker" / "Dockerfile").read_text(encoding="utf-8")
    assert "ENV BENTOML_DO_NOT_TRACK=$BENTOML_DO_NOT_TRACK" in dockerfile
    assert "ARG BENTOML_DO_NOT_TRACK=True" in dockerfile


def test_a_bento_serves(bento: Path, start_server: StartServer) -> None:
    with start_server(bento / "src" / "models", cwd=bento / "src") as url:
        answer = httpx.post(f"{url}/predict", content=drawn.encode(drawn.on_paper(4))).json()
        assert httpx.get(f"{url}/ui/report").is_success
    assert answer["digit"] == 4
