"""What the README shows is what happens."""

import json
import re
import shlex
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from tests.conftest import COMMITTED_MODELS, ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")

COMMANDS: list[tuple[str, str]] = [
    (command, answer)
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for command, answer in re.findall(r"^\$ (.+)\n((?:[^$].*\n)*)", block, re.MULTILINE)
]
(PYTHON, PYTHON_ANSWER), *_ = re.findall(
    r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.DOTALL
)


def here(text: str, server: str) -> str:
    return text.replace("localhost:3000", urlsplit(server).netloc)


@pytest.mark.parametrize(("command", "answer"), COMMANDS, ids=[c for c, _ in COMMANDS])
def test_a_command_answers_as_shown(command: str, answer: str, server: str) -> None:
    curl, *arguments = shlex.split(here(command, server))
    done = subprocess.run(
        [curl, "--silent", "--show-error", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    answered, shown = json.loads(done.stdout), json.loads(answer)
    # Another processor may round the last digit otherwise.
    for field in ("confidence", "probabilities"):
        if field in shown:
            assert answered.pop(field) == pytest.approx(shown.pop(field), abs=2e-6)
    assert answered == shown


def test_the_python_example_prints_what_is_shown(server: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", here(PYTHON, server)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    digit, confidence = done.stdout.split()
    digit_shown, confidence_shown = PYTHON_ANSWER.split()
    assert digit == digit_shown
    assert float(confidence) == pytest.approx(float(confidence_shown), abs=2e-6)


def test_the_committed_models_accuracies_are_the_cards() -> None:
    (shown,) = re.findall(
        r"The committed models are seed 0: (.+?) on\s+`test10k`", README, re.DOTALL
    )
    for name in ("baseline", "deeper", "dropout"):
        card = json.loads((COMMITTED_MODELS / name / "card.json").read_text(encoding="utf-8"))
        assert f"`{name}` {100 * card['evaluation']['test10k']['accuracy']:.2f} %" in shown
