"""Who imports whom: `imaging` nobody, `training` and `serving` not each other."""

import ast
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

OURS = {"artifact", "imaging", "serving", "training", "tests", "benchmarks"}


def imported(path: Path) -> set[str]:
    """The modules that a module imports, those in its functions among them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "no relative imports"
            found.add(node.module or "")
    return found


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("imaging", set()),
        ("artifact", set()),
        ("serving", {"artifact", "imaging"}),
        ("training", {"artifact", "imaging"}),
    ],
)
def test_a_package_imports_none_of_ours_but_those_it_may(package: str, allowed: set[str]) -> None:
    modules = list((ROOT / package).rglob("*.py"))
    assert modules
    for path in modules:
        packages = {name.partition(".")[0] for name in imported(path)}
        assert packages & OURS <= allowed | {package}, path


def test_imaging_needs_numpy_opencv_pillow_and_libheif_alone() -> None:
    known = {"numpy", "cv2", "PIL", "pi_heif", "imaging"}
    for path in (ROOT / "imaging").glob("*.py"):
        for name in imported(path):
            package = name.partition(".")[0]
            assert package in known or package in sys.stdlib_module_names, path


def test_who_uses_imaging_knows_what_it_exports_and_no_more() -> None:
    for package in ("serving", "training"):
        for path in (ROOT / package).rglob("*.py"):
            inside = {name for name in imported(path) if name.startswith("imaging.")}
            assert inside <= {"imaging.errors"}, path


def test_serving_imports_no_torch() -> None:
    for path in (ROOT / "serving").rglob("*.py"):
        assert not imported(path) & {"torch", "torchvision"}, path
