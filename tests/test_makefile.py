"""The Python versions that `make` accepts, and its messages about others."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make in a folder without environments."""
    (folder / "requirements").symlink_to(ROOT / "requirements")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", "--file", str(ROOT / "Makefile"), *arguments],  # noqa: S607
        cwd=folder,
        env=inherited,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("goal", ["serve", "test", "test-fast"])
def test_a_python_that_is_too_old_is_said_in_a_sentence(tmp_path: Path, goal: str) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nprintf 3.9.18\n", encoding="utf-8")
    old.chmod(0o755)
    made = make(tmp_path, goal, f"PYTHON={old}")
    assert made.returncode == 2
    (line,) = made.stderr.splitlines()
    assert f"This project needs Python 3.11 or newer, but {old} is 3.9.18." in line
    assert f"Choose another: make {goal} " in line
    assert made.stdout == ""
    assert not list(tmp_path.glob(".venv*"))


def test_so_is_one_that_is_not_there(tmp_path: Path) -> None:
    made = make(tmp_path, "PYTHON=no-python")
    assert "but no-python is not installed. Choose another: make serve " in made.stderr
    assert not list(tmp_path.glob(".venv*"))


def test_one_that_is_new_enough_is_taken(tmp_path: Path) -> None:
    made = make(tmp_path, "--dry-run", "serve", f"PYTHON={sys.executable}")
    assert made.returncode == 0, made.stderr
    assert f"{sys.executable} -m venv --clear .venv\n" in made.stdout


def test_the_pythons_are_the_same_wherever_they_are_named() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.search(r"You need Python 3\.(\d+) to 3\.(\d+) ", readme)
    assert named
    oldest, newest = map(int, named.groups())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    language = "Programming Language :: Python :: 3."
    assert [each for each in project["classifiers"] if each.startswith(language)] == [
        f"{language}{minor}" for minor in range(oldest, newest + 1)
    ]
    assert project["requires-python"] == f">=3.{oldest}"
    assert f"(3, {oldest})" in (ROOT / "Makefile").read_text(encoding="utf-8")
