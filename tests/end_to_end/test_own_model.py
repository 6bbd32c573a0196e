"""Follow docs/own-model.md and docs/own-data.md: train your own network on your own data."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import ROOT, RunServer
from tests.pictures import hand

MODEL = (ROOT / "docs" / "own-model.md").read_text(encoding="utf-8")
DATA = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
REGISTRATION = "NETWORKS: Mapping[str, Callable[[float], nn.Module]] = {\n"

# Run all commands in one process: importing PyTorch takes longer than any of them.
RUN = """
import json, sys
from training.__main__ import app
for arguments in json.loads(sys.argv[1]):
    app(arguments, standalone_mode=False)
"""


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def commands(page: str, module: str) -> Iterator[list[str]]:
    """Yield the arguments of each command of a module that a page shows."""
    for block in blocks(page, "sh"):
        for line in block.splitlines():
            _, found, arguments = line.partition(f" -m {module} ")
            if found:
                yield shlex.split(arguments)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which both pages have been followed, up to the evaluation."""
    clone = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "training", clone / "training")
    for package in ("artifact", "imaging"):
        (clone / package).symlink_to(ROOT / package)
    written, registered = blocks(MODEL, "python")
    networks = clone / "training" / "networks.py"
    above, below = networks.read_text(encoding="utf-8").split(REGISTRATION)
    networks.write_text(f"{above}{written}\n\n{REGISTRATION}    {registered}{below}", "utf-8")

    (train, folder), (test, other, digits, seed) = commands(DATA, "tests.pictures.hand")
    # Use a fifth of the page's pictures to save time.
    hand.write_folder(clone / folder, int(train) // 5, range(10))
    hand.write_folder(clone / other, int(test) // 5, map(int, digits), int(seed))

    given = [*commands(DATA, "training"), *commands(MODEL, "training")]
    assert [command[0] for command in given] == ["samples", "fit", "evaluate", "fit", "evaluate"]
    mine = [["my-set" if word == "data" else word for word in command] for command in given]
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(mine)],
        cwd=clone,
        env={**os.environ, "PYTHONPATH": str(clone)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (clone / "output").write_text(done.stdout, encoding="utf-8")
    return clone


def card(clone: Path, name: str) -> dict[str, Any]:
    path = clone / "runs" / "models" / name / "card.json"
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return read


@pytest.mark.parametrize("name", ["deeper", "convolutional"])
def test_a_card_tells_of_the_data_it_was_trained_on(name: str, clone: Path) -> None:
    data = card(clone, name)["data"]
    assert data["source"] == "my-set"
    assert {split: counts["rows"] for split, counts in data["splits"].items()} == {
        "train": 200,
        "test": 40,
    }
    assert data["splits"] == card(clone, "deeper")["data"]["splits"]


def test_an_own_network_is_described_by_its_class(clone: Path) -> None:
    described = card(clone, "convolutional")["architecture"]
    assert described["summary"] == "Two convolutions with ReLU and max pooling, then a dense layer."
    assert described["parameters"] == 8 * 9 + 8 + 16 * 8 * 9 + 16 + 10 * 784 + 10
    assert described["layers"] == [784, 8, 16, 10]


def test_both_models_are_served_and_right_as_often_as_their_cards_say(
    clone: Path, run_server: RunServer
) -> None:
    pictures = sorted((clone / "my-set" / "test").glob("*/*.png"))
    files = [("images", (path.name, path.read_bytes())) for path in pictures]
    (seven,) = re.findall(r"curl --data-binary @(\S+) '[^/]+(/\S+)'", MODEL)
    with run_server(clone / "runs" / "models", model="convolutional") as server:
        picture = (ROOT / seven[0]).read_bytes()
        answer = httpx.post(f"{server.url}{seven[1]}", content=picture).json()
        assert answer["version"] == card(clone, "convolutional")["version"]
        for name in ("deeper", "convolutional"):
            url = f"{server.url}/predict_batch?model={name}"
            answers = httpx.post(url, files=files).json()["predictions"]
            right = sum(
                str(answer["digit"]) == path.parent.name
                for answer, path in zip(answers, pictures, strict=True)
            )
            counted = card(clone, name)["evaluation"]["test"]
            assert (right, len(pictures)) == (counted["correct"], counted["total"])
            assert right > len(pictures) / 2
