"""`bentoml build`, the bento that it makes, and `bentoml containerize`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT, StartServer
from tests.pictures import drawn


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `BENTOML_HOME`, where BentoML stores its bentos."""
    return tmp_path_factory.mktemp("bentoml")


@pytest.fixture(scope="module")
def bento(home: Path) -> Path:
    bentoml("build", "--version", "1", home=home)
    return home / "bentos" / "qmnist-digits" / "1"


def test_a_bento_holds_serving_models_and_the_report_and_nothing_else(bento: Path) -> None:
    source = bento / "src"
    files = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    serving = {path for path in files if path.parts[0] in ("artifact", "imaging", "serving")}
    models = {path for path in files if path.parts[0] == "models"}
    report = {path for path in files if path.parts[0] == "docs"}
    assert {Path("imaging/form.py"), Path("serving/service.py")} < serving
    assert Path("serving/web/ui/gallery/seven.webp") in serving
    assert Path("docs/report.md") in report
    assert {path.parent for path in report} == {Path("docs"), Path("docs/report")}
    assert models == {
        Path("models", name, file)
        for name in ("baseline", "deeper", "dropout", "notebook")
        for file in ("card.json", "model.onnx", "model.torchscript.pt")
    }
    locks = ("sbom", "serve", "serve-gpu", "serve-grpc", "serve-tracing")
    requirements = {Path("requirements", f"{name}.txt") for name in locks}
    assert files - serving - models - report - requirements == {
        Path(n) for n in ("LICENSE", "README.md", "bentofile.yaml")
    }
    assert requirements < files


def test_a_bento_needs_no_torch(bento: Path) -> None:
    text = (bento / "env" / "python" / "requirements.txt").read_text(encoding="utf-8")
    packages = {line.split("==")[0] for line in text.splitlines() if "==" in line}
    assert "onnxruntime" in packages
    assert not {name for name in packages if name.startswith(("torch", "nvidia-c", "onnxscript"))}


@pytest.mark.usefixtures("bento")
def test_a_bento_is_containerized_in_the_projects_folder(home: Path, tmp_path: Path) -> None:
    """Run everything up to the container engine, which is a stub here."""
    context = tmp_path / "context"
    engine = tmp_path / "docker"
    engine.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = version ]; then echo 28.0.0; exit; fi\n'
        f'cp -R . {context} && echo "$@" >{context}/arguments\n',
        encoding="utf-8",
    )
    engine.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    bentoml("containerize", "qmnist-digits:latest", home=home, **environment)
    arguments = (context / "arguments").read_text(encoding="utf-8").split()
    assert arguments[:3] == ["build", "--tag", "qmnist-digits:1"]
    dockerfile = (context / "env" / "docker" / "Dockerfile").read_text(encoding="utf-8")
    assert "\nFROM python:3.11-slim-bookworm AS " in dockerfile
    assert (context / "src" / "models" / "deeper" / "model.onnx").is_file()
    required = (context / "env" / "python" / "requirements.txt").read_text(encoding="utf-8")
    lock = (ROOT / "requirements" / "serve.txt").read_text(encoding="utf-8")
    for pinned in (r"^[\w.-]+==[\w.]+", r"--hash=\S+"):
        found, expected = (set(re.findall(pinned, text, re.MULTILINE)) for text in (required, lock))
        assert found == expected


def test_a_bento_serves(bento: Path, start_server: StartServer) -> None:
    with start_server(bento / "src" / "models", cwd=bento / "src") as url:
        answer = httpx.post(f"{url}/predict", content=drawn.encode(drawn.on_paper(4))).json()
        assert httpx.get(f"{url}/ui/report").is_success
    assert answer["digit"] == 4


def bentoml(*arguments: str, home: Path, **environment: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "bentoml", *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "BENTOML_HOME": str(home),
            "BENTOML_DO_NOT_TRACK": "True",
            **environment,
        },
        check=True,
    )
