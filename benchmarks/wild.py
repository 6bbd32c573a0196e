"""Measure how often the service is right on pictures that other people made.

    .venv-dev/bin/python benchmarks/wild.py FOLDER [--json FILE] [--mistakes FILE]

Below FOLDER, each picture in a folder named 0 to 9 shows that digit, and each `labels.tsv` lists
pictures in its folder and the digits in them: `|` starts the next line, and spaces are ignored. The
first go to `/predict` of a running service, the others to `/read`, and the notebook's model and the
default model answer. An error counts as a wrong answer. For comparison, both models also get
what Pillow's resize alone makes of the pictures of one digit, through `/classify`.
"""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated, NamedTuple

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
    """A picture, and the digits in it, line by line."""

    path: Path
    label: str


class Answer(NamedTuple):
    """What a model reads in a picture that a system has made small, or an error's code."""

    picture: str
    label: str
    system: str
    model: str
    text: str
    accepted: bool


def main(
    folder: Annotated[Path, typer.Argument(help="Where labelled pictures are.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the counts here.")] = None,
    mistakes: Annotated[Path | None, typer.Option(help="List the wrong answers here.")] = None,
) -> None:
    """Print a table of how many pictures of each group are read right."""
    groups = [(*group, ask_for_one) for group in find_digits(folder).items()]
    groups += [(*group, ask_for_all) for group in find_strings(folder).items()]
    rows, wrong = [], []
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
    table(
        {
            "pictures": "{group}",
            "number": "{pictures:,}",
            "made small by": "{system}",
            "model": "`{model}`",
            "right": "{right_share}",
            "accepted": "{accepted_share}",
            "right of accepted": "{right_of_accepted}",
        },
        rows,
    )
    write(json_file, {"rows": rows})
    if mistakes is not None:
        mistakes.write_text("".join(json.dumps(each) + "\n" for each in wrong), encoding="utf-8")


def find_digits(folder: Path) -> dict[str, list[Picture]]:
    """Find pictures of one digit, by the folder that holds the digits' folders."""
    groups: dict[str, list[Picture]] = {}
    for place in sorted(path for path in folder.rglob("[0-9]") if path.is_dir()):
        pictures = [Picture(path, place.name) for path in sorted(place.iterdir())]
        groups.setdefault(str(place.parent.relative_to(folder)), []).extend(pictures)
    return groups


def find_strings(folder: Path) -> dict[str, list[Picture]]:
    """Find pictures of several digits, by their folder."""
    groups = {}
    for labels in sorted(folder.rglob("labels.tsv")):
        rows = (line.split("\t") for line in labels.read_text(encoding="utf-8").splitlines())
        groups[str(labels.parent.relative_to(folder))] = [
            Picture(labels.parent / name, text.replace("|", "\n").replace(" ", ""))
            for name, text in rows
        ]
    return groups


def ask_for_one(client: httpx.Client, picture: Picture) -> list[Answer]:
    """Ask each model for the digit, on a plain resize and on the picture itself."""
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
    """Ask a model about a picture as it is."""
    content = picture.path.read_bytes()
    said = client.post(endpoint, params={"model": model}, content=content).json()
    if "error" in said:
        text, accepted = said["error"]["code"], False
    else:
        text = str(said["digit"] if "digit" in said else said["text"])
        accepted = all(each.get("accepted") for each in said.get("digits", [said]))
    return Answer(str(picture.path), picture.label, SERVICE, model, text, accepted)


def resize(path: Path) -> NDArray[np.uint8]:
    """Make a picture small as a first attempt does; uint8 `[28, 28]`."""
    shades = Image.open(path).convert("L")
    if np.asarray(shades).mean() >= LIGHT:
        shades = ImageOps.invert(shades)
    return np.asarray(shades.resize((SIDE, SIDE)))


def count(group: str, answers: list[Answer]) -> Iterator[dict[str, object]]:
    """Count the right and the accepted answers of each system and model."""
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
