"""The project's own files: GitHub workflows, releases, the citation, quoted messages."""

import errno
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from artifact import CARD_FILE
from serving import __version__
from tests.conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def commands(value: Any) -> Iterator[str]:  # noqa: ANN401  any YAML
    """Yield the value of every `run` key, in steps and in matrices that steps use."""
    if isinstance(value, dict):
        if isinstance(value.get("run"), str):
            yield value["run"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from commands(item)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_what_a_person_can_type(workflow: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    run = list(commands(yaml.safe_load(workflow.read_text(encoding="utf-8"))))
    ours = [match for each in run for match in re.findall(r"\b(make) (\S+)|(\.ci/\S+)", each)]
    assert len(ours) > 2
    for make, target, script in ours:
        assert target in phony.split() if make else os.access(ROOT / script, os.X_OK)


def notes(tag: str) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / ".ci" / "notes"), tag]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_tag_of_another_version_has_no_notes() -> None:
    done = notes("v999.0")
    assert done.returncode == 1
    assert done.stderr == (
        f"The tag is v999.0, but the version in the code is {__version__}. Tag it v{__version__}.\n"
    )


def test_the_notes_of_a_release_are_its_section_of_the_changelog() -> None:
    done = notes(f"v{__version__}")
    assert done.returncode == 0, done.stderr
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert done.stdout.strip() in changelog
    assert done.stdout.startswith("### Added\n")
    assert not re.search("^## ", done.stdout, re.MULTILINE)


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{__version__}] - {citation['date-released']}\n" in changelog


def test_troubleshooting_quotes_real_messages() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(PYTHON)", "python3")
    code = [path.read_text(encoding="utf-8") for path in (ROOT / "serving").rglob("*.py")]
    # The code may split a message into several literals. On the page, `…` replaces what varies.
    said = re.sub(r'"\s*f?"', "", "\n".join([makefile, *code]))
    said = re.sub(r"\{EXECUTION_PROVIDERS\[provider\]\}|\{wanted\}", "CUDAExecutionProvider", said)
    said = said.replace("{CARD_FILE}", CARD_FILE)
    said = said.replace("{error.strerror}", os.strerror(errno.EADDRINUSE))
    messages = re.findall(r"^### `(.+)`$", page, re.MULTILINE)
    assert len(messages) > 5
    for part in (part for message in messages for part in message.split("…")):
        assert part in said, part
