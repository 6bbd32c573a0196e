"""Measure how often the service is right on pictures that other people made.

    .venv-dev/bin/python benchmarks/wild.py FOLDER [--json FILE] [--mistakes FILE]

Below FOLDER, each picture in a folder named 0 to 9 shows that digit, and each `labels.tsv` lists
pictures in its folder and the digits in them: `|` starts the next line, and spaces are ignored. The
script sends the former to `/predict` of a running service and the latter to `/read`, and asks the
models `notebook` and `deeper`. An error counts as a wrong answer. For comparison, both models also
classify the pictures of one digit resized by Pillow alone (`/classify`).
"""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import httpx
import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.servers import ours, running
from benchmarks.tables import table, write

MODELS = ("notebook", "deeper")
RESIZE, SERVICE = "Pillow's resize", "the service"
SIDE = 28
LIGHT = 128  # of 255: a picture that is lighter than this on average is dark on light
CLIENTS = 4  # requests at a time
BINARY = {"Content-Type": "application/octet-stream"}

console = Console(stderr=True)


class Picture(NamedTuple):
    """A picture and the digits in it, line by line."""

    path: Path
    label: str


class Answer(NamedTuple):
    """What a model reads in a picture that was prepared by `system`, or an error's code."""

    picture: str
    label: str
    system: str
    model: str
    text: str
    accepted: bool


def main(
    folder: Annotated[Path, typer.Argument(help="The folder with labelled pictures.")],
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the counts here, too.")
    ] = None,
    mistakes: Annotated[Path | None, typer.Option(help="List the mistakes in this file.")] = None,
) -> None:
    """Print the shares of each group of pictures that are read correctly and accepted."""
    groups = [(*group, ask_for_one) for group in find_digits(folder).items()]
    groups += [(*group, ask_for_all) for group in find_strings(folder).items()]
    rows: list[dict[str, Any]] = []
    wrong = []
    with (
        running(ours()) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
        ThreadPoolExecutor(CLIENTS) as threads,
    ):
        for name, pictures, ask in groups:
            found = threads.map(partial(ask, client), pictures)
            answers = list(chain.from_iterable(track(found, name, len(pictures), console=console)))
            rows += count(name, answers)
            wrong += [each._asdict() for each in answers if each.text != each.label]
    figures = {"rows": rows}
    show(figures)
    write(json_file, figures)
    if mistakes is not None:
        mistakes.write_text("".join(json.dumps(each) + "\n" for each in wrong), encoding="utf-8")


def show(figures: dict[str, Any]) -> None:
    """Print one row per group: the accuracy of each model and way, and what `deeper` accepts."""
    found: dict[str, dict[tuple[str, str], Any]] = {}
    for each in figures["rows"]:
        found.setdefault(each["group"], {})[each["system"], each["model"]] = each
    rows = []
    for ways in found.values():
        shares = {
            f"{system} {model}": ways.get((system, model), {"right_share": ""})["right_share"]
            for system in (RESIZE, SERVICE)
            for model in MODELS
        }
        rows.append({**ways[SERVICE, "deeper"], **shares})
    columns = {
        f"`{model}`, {name}": f"{{{system} {model}}}"
        for model in MODELS
        for system, name in ((RESIZE, "resized"), (SERVICE, "imaging"))
    }
    table(
        {
            "pictures": "{group}",
            "number": "{pictures:,}",
            **columns,
            "`deeper` accepts": "{accepted_share}",
            "correct among accepted": "{right_of_accepted}",
        },
        rows,
    )


def find_digits(folder: Path) -> dict[str, list[Picture]]:
    """Find pictures of one digit, grouped by the folder that has the folders 0 to 9."""
    groups: dict[str, list[Picture]] = {}
    for place in sorted(path for path in folder.rglob("[0-9]") if path.is_dir()):
        pictures = [Picture(path, place.name) for path in sorted(place.iterdir())]
        groups.setdefault(str(place.parent.relative_to(folder)), []).extend(pictures)
    return groups


def find_strings(folder: Path) -> dict[str, list[Picture]]:
    """Find pictures of several digits, grouped by their folder."""
    groups = {}
    for labels in sorted(folder.rglob("labels.tsv")):
        rows = (line.split("\t") for line in labels.read_text(encoding="utf-8").splitlines())
        groups[str(labels.parent.relative_to(folder))] = [
            Picture(labels.parent / name, text.replace("|", "\n").replace(" ", ""))
            for name, text in rows
        ]
    return groups


def ask_for_one(client: httpx.Client, picture: Picture) -> list[Answer]:
    """Ask each model for the digit, with the resized picture and with the picture itself."""
    pixels = resize(picture.path).tobytes()
    resized = []
    for model in MODELS:
        found = client.post("/classify", params={"model": model}, content=pixels, headers=BINARY)
        said = found.raise_for_status().json()
        digit, accepted = str(said["digits"][0]), said.get("accepted") == [True]
        resized.append(Answer(str(picture.path), picture.label, RESIZE, model, digit, accepted))
    return resized + [ask(client, "/predict", picture, model) for model in MODELS]


def ask_for_all(client: httpx.Client, picture: Picture) -> list[Answer]:
    """Ask each model for all digits of a picture."""
    return [ask(client, "/read", picture, model) for model in MODELS]


def ask(client: httpx.Client, endpoint: str, picture: Picture, model: str) -> Answer:
    """Send an unchanged picture to a model."""
    content = picture.path.read_bytes()
    said = client.post(endpoint, params={"model": model}, content=content).json()
    if "error" in said:
        text, accepted = said["error"]["code"], False
    else:
        text = str(said["digit"] if "digit" in said else said["text"])
        accepted = all(each.get("accepted") for each in said.get("digits", [said]))
    return Answer(str(picture.path), picture.label, SERVICE, model, text, accepted)


def resize(path: Path) -> NDArray[np.uint8]:
    """Shrink a picture as a simple service would; uint8 `[28, 28]`."""
    shades = Image.open(path).convert("L")
    if np.asarray(shades).mean() >= LIGHT:
        shades = ImageOps.invert(shades)
    return np.asarray(shades.resize((SIDE, SIDE)))


def count(group: str, answers: list[Answer]) -> Iterator[dict[str, Any]]:
    """Count the correct and the accepted answers of each way and model."""
    for system, model in dict.fromkeys((each.system, each.model) for each in answers):
        own = [each for each in answers if (each.system, each.model) == (system, model)]
        accepted = [each for each in own if each.accepted]
        both = sum(each.text == each.label for each in accepted)
        yield {
            "group": group,
            "system": system,
            "model": model,
            "pictures": len(own),
            "right": (right := sum(each.text == each.label for each in own)),
            "accepted": len(accepted),
            "right_accepted": both,
            "right_share": f"{right / len(own):.1%}",
            "accepted_share": f"{len(accepted) / len(own):.1%}",
            "right_of_accepted": f"{both / len(accepted):.1%}" if accepted else "",
        }


if __name__ == "__main__":
    typer.run(main)
