"""`bentoml build`, the bento it makes, and the Dockerfile in it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT, StartServer
from tests.pictures import drawn


@pytest.fixture(scope="module")
def bento(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("bentoml"))


@pytest.fixture(scope="module")
def dockerfile(bento: Path) -> str:
    return (bento / "env" / "docker" / "Dockerfile").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def image(dockerfile: str) -> str:
    """The stage of the Dockerfile that is the image; the others are left behind."""
    return dockerfile[dockerfile.rindex("\nFROM ") :]


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
        for name in ("baseline", "deeper", "dropout")
        for file in ("card.json", "model.onnx", "model.torchscript.pt")
    }
    requirements = {
        Path("requirements", f"{name}.txt") for name in ("sbom", "serve", "serve-gpu", "serve-grpc")
    }
    assert files - serving - models - report - requirements == {
        Path(n) for n in ("LICENSE", "README.md", "bentofile.yaml")
    }
    assert requirements < files


def test_a_bento_needs_no_torch(bento: Path) -> None:
    text = (bento / "env" / "python" / "requirements.txt").read_text(encoding="utf-8")
    packages = {line.split("==")[0] for line in text.splitlines() if "==" in line}
    assert "onnxruntime" in packages
    assert not {name for name in packages if name.startswith(("torch", "nvidia-c", "onnxscript"))}


def test_an_image_is_made_without_a_compiler_and_without_git(dockerfile: str) -> None:
    commands = re.sub(r"^#.*$", "", dockerfile, flags=re.MULTILINE)
    assert not re.search(r"\b(apt|apt-get|build-essential|gcc|git)\b", commands)
    pips = re.findall(r"pip --python (?:.*\\\n)*.*", dockerfile)
    assert len(pips) == 2
    assert all("--require-hashes" in pip and "--only-binary :all:" in pip for pip in pips)
    # Where packages come from, and who may fetch them, is mounted and not written down.
    assert "index-url" not in dockerfile
    assert dockerfile.count("--mount=type=secret,id=pip.conf") == 2


@pytest.mark.parametrize("variant", ["", "grpc", "gpu"])
def test_a_variant_of_the_image_is_the_same_bento_with_other_packages(
    bento: Path, variant: str
) -> None:
    command = ["make", "--dry-run", "image", f"VARIANT={variant}", "ENGINE=docker"]
    environment = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"}
    text = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout
    lock = f"requirements/serve-{variant}.txt" if variant else "requirements/serve.txt"
    assert re.findall(r"build-arg=REQUIREMENTS=(\S+)", text) == [lock]
    assert (bento / "src" / lock).is_file()
    assert ".venv/bin/bentoml build" in text
    assert ".venv-gpu" not in text


def test_packages_come_before_the_models_and_do_not_change_with_them(
    bento: Path, dockerfile: str, image: str, tmp_path: Path
) -> None:
    stage = dockerfile[dockerfile.index(" AS packages") : dockerfile.index(" AS sbom")]
    assert re.findall(r"^COPY (.+)$", stage, re.MULTILINE) == [
        "src/${REQUIREMENTS} /build/requirements.txt"
    ]
    assert re.findall(r"^COPY --from=(\w+) ", image, re.MULTILINE) == ["packages", "sbom", "bento"]

    changed = tmp_path / "changed"
    shutil.copytree(bento / "src", changed)
    shutil.copytree(ROOT / "deploy", changed / "deploy")
    with (changed / "models" / "deeper" / "card.json").open("a", encoding="utf-8") as card:
        card.write("\n")
    other = build(changed, tmp_path / "bentoml")
    for file in (
        "env/docker/Dockerfile",
        "src/requirements/serve.txt",
        "src/requirements/sbom.txt",
    ):
        assert (other / file).read_bytes() == (bento / file).read_bytes()


def test_a_bento_serves(bento: Path, start_server: StartServer) -> None:
    with start_server(bento / "src" / "models", cwd=bento / "src") as url:
        answer = httpx.post(f"{url}/predict", content=drawn.encode(drawn.on_paper(4))).json()
        assert httpx.get(f"{url}/ui/report").is_success
    assert answer["digit"] == 4


def build(folder: Path, home: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "bentoml", "build", "--version", "1", "."],
        cwd=folder,
        env={**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"},
        check=True,
    )
    return home / "bentos" / "qmnist-digits" / "1"
