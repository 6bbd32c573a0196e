"""Imports between packages, and the names in docs/architecture.md and its drawings."""

import ast
import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.conftest import ROOT

OURS = {"artifact", "imaging", "serving", "training", "tests", "benchmarks"}
DOCS = ROOT / "docs"
PAGE = (DOCS / "architecture.md").read_text(encoding="utf-8")

# The folders in which the names in a drawing are looked up.
DRAWN = [
    ROOT / each
    for each in ("", "imaging", "serving", "serving/api", "serving/inference", "serving/protocol")
]


def imported(path: Path) -> set[str]:
    """Return the modules that a module imports, including imports inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "use absolute imports"
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


@pytest.mark.parametrize("drawing", ["architecture", "architecture-request"])
def test_a_drawing_names_modules_that_are_there(drawing: str) -> None:
    text = (DOCS / f"{drawing}.svg").read_text(encoding="utf-8")
    named = [
        "".join(element.itertext())
        for element in ET.fromstring(text).iter()  # noqa: S314  our own file
        if "module" in element.get("class", "").split()
    ]
    assert len(named) > 7
    for name in named:
        places = [folder / name.replace(".", "/") for folder in DRAWN]
        assert any(each.is_dir() or each.with_suffix(".py").is_file() for each in places), name


def test_the_page_shows_the_drawings() -> None:
    shown = re.findall(r"\]\((architecture[\w-]*\.svg)\)", PAGE)
    assert sorted(shown) == sorted(path.name for path in DOCS.glob("architecture*.svg"))


def test_the_page_lists_every_file() -> None:
    sections = re.findall(r"^### `([^`]+)/`\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL)
    listed = {
        f"{folder}/{name}"
        for folder, section in sections
        for cell in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)
        for name in re.findall(r"`(.+?)`", cell)
    }
    there = {
        path.relative_to(ROOT).as_posix()
        for package in ("artifact", "imaging", "serving", "training")
        for path in (ROOT / package).rglob("*")
        if path.suffix in {".py", ".js"}
    }
    missing = {path for path in there - listed if not path.endswith("/__init__.py")}
    assert not missing
    assert not listed - there
