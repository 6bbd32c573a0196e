"""The wheel, installed outside the clone: its files and commands."""

import csv
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import httpx
import pytest

from serving import __version__
from tests.conftest import ROOT, STOP_SECONDS, free_port, wait_until_ready

PACKAGES = ("artifact", "imaging", "serving", "training")
UV = [sys.executable, "-m", "uv"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [*UV, "build", "--offline", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*command, "--out-dir", str(folder), str(ROOT)], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of a new environment with the wheel; its dependencies are this environment's."""
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    python = home / "bin" / "python"
    (site,) = home.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    command = [*UV, "pip", "install", "--offline", "--no-deps", "--python", str(python)]
    subprocess.run([*command, str(wheel)], check=True)
    return python.parent


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder with a picture of a seven, and with a package that is named like one of ours."""
    (tmp_path / "pictures" / "7").mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "seven.png", tmp_path / "pictures" / "7")
    (tmp_path / "serving").mkdir()
    (tmp_path / "serving" / "__init__.py").write_text("raise ImportError", encoding="utf-8")
    return tmp_path


def run(program: Path, *arguments: str, cwd: Path) -> str:
    command = [str(program), *arguments]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


def test_the_wheel_holds_the_packages_the_models_and_the_report(wheel: Path) -> None:
    folders = [ROOT / package for package in PACKAGES]
    expected = {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    beside = [*(ROOT / "models").glob("[!.]*/*"), *(ROOT / "docs" / "report").iterdir()]
    for path in (*beside, ROOT / "docs" / "report.md"):
        expected.add(f"serving/{path.relative_to(ROOT).as_posix()}")
    with zipfile.ZipFile(wheel) as files:
        names = {name for name in files.namelist() if ".dist-info/" not in name}
    assert names == expected


def test_the_packages_are_those_of_the_wheel(programs: Path, tmp_path: Path) -> None:
    program = "import sys; from importlib.util import find_spec; from importlib.metadata import *; "
    program += "print(*(find_spec(name).origin for name in sys.argv[1:]), version('qmnist-digits'))"
    *origins, version = run(programs / "python", "-c", program, *PACKAGES, cwd=tmp_path).split()
    assert all(origin.startswith(f"{programs.parent}/lib/") for origin in origins)
    assert version == __version__


def test_it_labels_and_evaluates_pictures(programs: Path, elsewhere: Path) -> None:
    program = programs / "qmnist-digits"
    run(program, "label", "pictures", "labels", "--format", "csv", cwd=elsewhere)
    (part,) = (elsewhere / "labels").glob("*.csv")
    (row,) = csv.DictReader(part.read_text(encoding="utf-8").splitlines())
    assert row["digit"] == "7"
    said = run(program, "evaluate", "pictures", "--workers", "1", cwd=elsewhere)
    assert "1 of 1 right" in said


def test_it_serves(programs: Path, elsewhere: Path) -> None:
    # The folder of models is given relative to the working directory, as a person would.
    shutil.copytree(ROOT / "models" / "dropout", elsewhere / "mine" / "dropout")
    port = free_port()
    url, log = f"http://127.0.0.1:{port}", elsewhere / "log"
    command = [str(programs / "qmnist-digits"), "serve", "--port", str(port)]
    command += ["--models", "mine", "--model", "dropout"]
    environment = {**os.environ, "BENTOML_HOME": str(elsewhere), "QMNIST_DRAIN": "0"}
    with (
        log.open("w", encoding="utf-8") as stream,
        subprocess.Popen(
            command, cwd=elsewhere, env=environment, stdout=stream, stderr=stream, text=True
        ) as server,
    ):
        try:
            wait_until_ready(url, server, log)
            picture = (ROOT / "docs" / "seven.png").read_bytes()
            answer = httpx.post(f"{url}/predict", content=picture).json()
            assert (answer["digit"], answer["model"]) == (7, "dropout")
            assert httpx.get(f"{url}/ui/report").is_success
        finally:
            server.terminate()
            assert server.wait(STOP_SECONDS) == 0
    assert f"Draw a digit: {url}/ui/" in log.read_text(encoding="utf-8")
