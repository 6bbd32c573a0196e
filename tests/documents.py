"""The documents, as the tests read them."""

import re
from pathlib import Path

from tests.conftest import ROOT

REFERENCE = ROOT / "docs" / "reference"


def read(page: Path) -> str:
    """The text of a page."""
    return page.read_text(encoding="utf-8")


def rows(page: Path, first: str, under: str = "") -> list[dict[str, str]]:
    """The rows of a page's tables whose first column is headed `first`, by heading.

    `under` a heading takes those in that section alone. Of a first cell in backticks, what is in
    the first pair is the cell.
    """
    text = read(page)
    if under:
        section = rf"^#+ {re.escape(under)}\n(.*?)(?=^#+ |\Z)"
        (text,) = re.findall(section, text, re.MULTILINE | re.DOTALL)
    found: list[dict[str, str]] = []
    headings: list[str] | None = None
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            headings = None
        elif headings is None:
            headings = cells
        elif headings[0] == first and not set(line) <= set("|-: "):
            row = dict(zip(headings, cells, strict=True))
            row[first] = re.sub(r"^\[?`([^`]+)`.*", r"\1", row[first])
            found.append(row)
    assert found, f"{page} has no table of {first}"
    return found


def words(cell: str) -> list[str]:
    """What is in backticks in a cell."""
    return re.findall(r"`([^`]+)`", cell)
