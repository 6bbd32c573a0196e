"""The commands, code and output in the README and the other documents are correct."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
import yaml

from serving import __main__ as serving
from serving.inference import state
from serving.settings import Settings
from tests.conftest import ROOT
from tests.documents import read, rows
from training import __main__ as training
from training.card import load_results
from training.recipes import RecipeName
from training.report import NETWORKS

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
# The page, language and text of each block of code.
BLOCKS = [
    (str(page.relative_to(ROOT)), *block)
    for page in PAGES
    for block in re.findall(r"^ *```(\w*)\n(.*?)^ *```$", read(page), re.MULTILINE | re.DOTALL)
]
COMMANDS: list[tuple[str, str]] = [
    (command, answer)
    for _, language, block in BLOCKS
    if language == "console"
    for command, answer in re.findall(r"^\$ (.+)\n((?:[^$].*\n)*)", block, re.MULTILINE)
]
SHELL = [
    command.strip()
    for _, language, block in BLOCKS
    if language == "sh"
    for command in block.replace("\\\n", "").splitlines()
]
REQUESTS = [
    command
    for page, language, block in BLOCKS
    if language == "sh" and page.startswith(("README.md", "docs/reference/"))
    for command in block.splitlines()
    if command.startswith("curl ")
]
APPS: dict[str, typer.Typer] = {"training": training.app, "serving": serving.app}

# Python programs, each followed by its output.
PROGRAMS: list[tuple[str, str]] = [
    found
    for page in PAGES
    for found in re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", read(page), re.DOTALL)
]

# The parser for each language; `str` accepts any text.
PARSERS: dict[str, Callable[[str], object]] = {
    "caddyfile": str,
    "console": str,
    "json": json.loads,
    "mermaid": str,
    # A block may show a single line of a dictionary.
    "python": lambda block: ast.parse(f"{{{block}}}" if block.startswith('"') else block),
    "sh": lambda block: subprocess.run(["/bin/sh", "-n"], input=block, text=True, check=True),
    "text": str,
    "toml": tomllib.loads,
    "yaml": lambda block: list(yaml.safe_load_all(block)),
}


def here(text: str, server: str) -> str:
    return text.replace("localhost:3000", urlsplit(server).netloc)


def rounded(value: object) -> object:
    """Round numbers so that other processors get the same, and drop request ids."""
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items() if name != "request_id"}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value


@pytest.mark.parametrize(
    ("page", "language", "block"),
    BLOCKS,
    ids=[f"{page} {language}" for page, language, _ in BLOCKS],
)
def test_a_block_of_code_is_in_its_language(page: str, language: str, block: str) -> None:
    assert language in PARSERS, f"{page}: name one of the languages in PARSERS"
    PARSERS[language](block)


@pytest.mark.parametrize(("command", "answer"), COMMANDS, ids=[c for c, _ in COMMANDS])
def test_a_command_answers_as_shown(command: str, answer: str, server: str) -> None:
    curl, *arguments = shlex.split(here(command, server))
    assert curl == "curl"
    done = subprocess.run(
        [curl, "--silent", "--show-error", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert rounded(json.loads(done.stdout)) == rounded(json.loads(answer))


@pytest.mark.parametrize("command", REQUESTS)
def test_a_request_is_answered(command: str, server: str, tmp_path: Path) -> None:
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    (tmp_path / ".curlrc").write_text("fail\nsilent\nshow-error\n", encoding="utf-8")
    shell = ["/bin/sh", "-c", here(command, server)]
    environment = {**os.environ, "CURL_HOME": str(tmp_path)}
    done = subprocess.run(shell, cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert done.stdout or "-o " in command


@pytest.mark.parametrize(("program", "answer"), PROGRAMS)
def test_a_program_prints_what_is_shown(program: str, answer: str, server: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", here(program, server)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    printed = [float(number) for number in done.stdout.split()]
    assert printed == pytest.approx([float(number) for number in answer.split()], abs=2e-6)


def test_the_settings_that_are_named_exist() -> None:
    known = {f"QMNIST_{name}".upper() for name in Settings.model_fields} | {
        "QMNIST_DATA",
        state.VARIABLE,
    }
    for page in PAGES:
        assert set(re.findall(r"\bQMNIST_[A-Z_]+\b", read(page))) <= known, page


def test_the_commands_take_the_arguments_that_are_shown() -> None:
    pattern = re.compile(r"(?:python -m (training|serving)|^qmnist-digits) (.+)")
    known = [pattern.search(command) for command in SHELL]
    assert sum(map(bool, known)) > 5
    for package, line in (match.groups() for match in known if match):
        name, *arguments = shlex.split(line, comments=True)
        group: Any = typer.main.get_command(APPS[package or "serving"])
        group.commands[name].make_context(name, arguments)  # exits with a message if they are wrong


def test_the_scripts_that_are_shown_are_there() -> None:
    scripts = set(re.findall(r"python (\w+/\w+\.py)", "\n".join(SHELL)))
    assert len(scripts) > 5
    for script in scripts:
        assert (ROOT / script).is_file(), script


@pytest.mark.parametrize("network", NETWORKS)
def test_the_accuracies_are_the_results(network: str) -> None:
    ((notebook, strong),) = re.findall(
        rf"^\| `{network}` \| [\d-]+ \| ([\d.]+) % \| \*\*([\d.]+) %\*\* \|$", README, re.MULTILINE
    )
    shown: dict[RecipeName, str] = {"notebook": notebook, "strong": strong}
    for recipe, accuracy in shown.items():
        found = load_results(ROOT / "results", recipe, network)
        assert accuracy == f"{100 * mean(result.accuracy('test10k') for result in found):.2f}"


def test_the_shares_of_other_peoples_pictures_are_those_measured() -> None:
    wild = json.loads((ROOT / "docs" / "imaging" / "wild.json").read_text(encoding="utf-8"))
    shares = {
        (each["group"], each["system"], each["model"]): each["right_share"].rstrip("%")
        for each in wild["rows"]
    }
    for group in ("scans", "boxes", "drawings", "crops"):
        resized, ours = ("Pillow's resize", "notebook"), ("Pillow's resize", "deeper")
        cells = [shares[group, *each] for each in (resized, ours, ("the service", "deeper"))]
        assert f"| {cells[0]} | {cells[1]} | **{cells[2]}** |" in README, group
    assert f"{shares['strings/cheques', 'the service', 'deeper']} % right" in README


def test_the_shares_of_strings_are_those_of_the_page_on_imaging() -> None:
    page = ROOT / "docs" / "imaging.md"
    shown = {row["strings of 3 to 8 digits"]: row for row in rows(page, "strings of 3 to 8 digits")}
    touching, apart = (
        shown[kind]["read without a mistake"].replace("%", " %")
        for kind in ("touching", "wide gaps")
    )
    text = " ".join(README.split())
    assert f"gets {touching} right if digits touch and {apart} if they don't" in text


def test_the_speeds_are_those_measured() -> None:
    peers = json.loads((ROOT / "docs" / "performance" / "peers.json").read_text(encoding="utf-8"))
    faster = {(each["picture"], each["server"]): each["ours_is_faster"] for each in peers["rows"]}
    small = [
        f"{faster['28 x 28', server]:.{digits}f} times"
        for server, digits in [
            ("FastAPI, Pillow's resize", 1),
            ("MLServer", 1),
            ("LitServe, form", 0),
            ("BentoML, plain, form", 0),
        ]
    ]
    assert re.findall(r"[\d.]+ times", README)[:4] == small
    drawings = [
        faster[f"280 x 280 {kind}", f"FastAPI, Pillow's resize{form}"]
        for kind in ("grey", "RGBA")
        for form in ("", ", form")
    ]
    assert f"{min(drawings):.1f} to {max(drawings):.1f} times" in README


def test_what_is_accepted_and_refused_is_on_the_card() -> None:
    card = json.loads((ROOT / "models" / "deeper" / "card.json").read_text(encoding="utf-8"))
    refused = {
        kind: f"{100 * each['refused'] / each['total']:.0f} %"
        for kind, each in card["rejection"].items()
    }
    tested = card["evaluation"]["test10k"]
    accepted, right = tested["accepted"], tested["accepted_correct"]
    text = " ".join(README.split())
    assert f"accepts {accepted:,}, and {right:,} of these are right" in text
    assert f"{refused['letters']} of letters (other than those above)" in text
    assert f"{refused['scribbles']} of scribbles" in text
    assert f"{refused['halves']} of the pictures that join two halves" in text
    assert f"the error is {100 * tested['calibration_error']:.2f} %" in text
    for kind in ("lookalikes", "printed digits"):
        each = card["rejection"][kind]
        assert f"{each['refused']} of {each['total']}" in text, kind
