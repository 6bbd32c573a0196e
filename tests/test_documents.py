"""Links to documents from other files. `make documents` checks links between documents."""

import re
import subprocess
from pathlib import Path

from tests.conftest import ROOT


def anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub makes from a document's headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_documents_that_code_names_are_there() -> None:
    command = ["git", "ls-files", "*.py", "*.html", "*.toml", "*.yaml", "*.yml", "*file"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    named: set[tuple[str, str]] = set()
    for path in listed.stdout.splitlines():
        text = (ROOT / path).read_text(encoding="utf-8")
        named.update(re.findall(r"(?<![\w/])(docs/[\w/-]+\.md)(?:#([\w-]+))?", text))
    assert len(named) > 10
    for document, anchor in named:
        assert (ROOT / document).is_file(), document
        assert not anchor or anchor in anchors(ROOT / document), f"{document}#{anchor}"
