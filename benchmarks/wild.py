"""Measure how often the service is right on pictures that other people made.

    .venv-dev/bin/python benchmarks/wild.py FOLDER [--model deeper] [--mistakes FILE]

Below FOLDER, each picture in a folder named 0 to 9 shows that digit, and each `labels.tsv` lists
pictures in its folder and the digits in them: `|` starts the next line, and spaces are ignored. The
pictures pass through `imaging` and the network as in `/predict` and `/read`. A picture without an
answer counts as wrong. For comparison, each network also gets what Pillow's resize alone makes of
the pictures.
"""

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).parent.parent))

from imaging import SIDE, Candidate, look, look_for_all, open_picture
from imaging.errors import PictureError
from serving.inference import artifacts, reader
from serving.inference.classifier import Classifier
from serving.settings import Provider

T = TypeVar("T")

MODELS = Path(__file__).parent.parent / "models"
MAX_PIXELS = 40_000_000
LIGHT = 128  # of 255: what is lighter than this on average is dark on light
CHUNK = 16  # pictures that a process looks at in one go

console = Console(stderr=True)


class Labelled(NamedTuple):
    """A picture, and the digits in it, line by line."""

    path: Path
    text: str


class Answer(NamedTuple):
    """What is read in a picture, or an error's code; and whether each digit of it is accepted."""

    text: str
    accepted: bool


def main(
    folder: Annotated[Path, typer.Argument(help="Where labelled pictures are.")],
    model: Annotated[
        list[str], typer.Option(help="A model in models/. Repeat the option for more.")
    ] = ["notebook", "deeper"],  # noqa: B006 - typer reads it, and nothing changes it
    mistakes: Annotated[Path | None, typer.Option(help="Write the mistakes to this file.")] = None,
) -> None:
    """Print the tables."""
    digits, strings = find_digits(folder), find_strings(folder)
    paths = [each.path for group in digits.values() for each in group]
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:

        def made(function: Callable[[Path], T], what: str) -> dict[Path, T]:
            found = pool.map(function, paths, chunksize=CHUNK)
            shown = track(found, what, len(paths), console=console, transient=True)
            return dict(zip(paths, shown, strict=True))

        resized = made(resize, "Pillow's resize")
        looked = made(look_at, "one digit")
    wrong: list[str] = []
    print("| one digit | pictures | seen by | right | accepted | right of accepted |")
    print("| --- | ---: | --- | ---: | ---: | ---: |")
    for group, pictures in digits.items():
        for name in model:
            served = load(MODELS / name)
            answers = classify(served, [resized[each.path] for each in pictures])
            print_row(group, pictures, f"Pillow's resize, `{name}`", answers)
            answers = classify(served, [looked[each.path] for each in pictures])
            print_row(group, pictures, f"`imaging`, `{name}`", answers)
            wrong += listed(name, pictures, answers)
    print("\n| several digits | pictures | seen by | right | accepted | right of accepted |")
    print("| --- | ---: | --- | ---: | ---: | ---: |")
    for group, pictures in strings.items():
        candidates = [look_for_all_in(each.path) for each in pictures]
        for name in model:
            served = load(MODELS / name)
            answers = [read(served, found) for found in candidates]
            print_row(group, pictures, f"`imaging`, `{name}`", answers)
            wrong += listed(name, pictures, answers)
    if mistakes is not None:
        mistakes.write_text("".join(wrong), encoding="utf-8")


def find_digits(folder: Path) -> dict[str, list[Labelled]]:
    """Find pictures of one digit, by the folder that holds the digits' folders."""
    groups: dict[str, list[Labelled]] = {}
    for place in sorted(path for path in folder.rglob("[0-9]") if path.is_dir()):
        pictures = [Labelled(path, place.name) for path in sorted(place.iterdir())]
        groups.setdefault(str(place.parent.relative_to(folder)), []).extend(pictures)
    return groups


def find_strings(folder: Path) -> dict[str, list[Labelled]]:
    """Find pictures of several digits, by the folder that they are in."""
    groups = {}
    for table in sorted(folder.rglob("labels.tsv")):
        rows = (line.split("\t") for line in table.read_text(encoding="utf-8").splitlines())
        groups[str(table.parent.relative_to(folder))] = [
            Labelled(table.parent / name, text.replace("|", "\n").replace(" ", ""))
            for name, text in rows
        ]
    return groups


def resize(path: Path) -> NDArray[np.uint8]:
    """Make a picture small as a first attempt does; uint8 `[28, 28]`."""
    shades = Image.open(path).convert("L")
    if np.asarray(shades).mean() >= LIGHT:
        shades = ImageOps.invert(shades)
    return np.asarray(shades.resize((SIDE, SIDE)))


def look_at(path: Path) -> NDArray[np.uint8] | str:
    """Look at a picture as `/predict` does; uint8 `[28, 28]`, or an error's code."""
    try:
        return look(open_picture(path.read_bytes(), MAX_PIXELS)).pixels
    except PictureError as error:
        return error.code


def look_for_all_in(path: Path) -> list[list[Candidate]] | str:
    """Look at a picture as `/read` does; or return an error's code."""
    try:
        return look_for_all(open_picture(path.read_bytes(), MAX_PIXELS))
    except PictureError as error:
        return error.code


def load(folder: Path) -> Classifier:
    """Load a model."""
    return Classifier(artifacts.load(folder), Provider.CPU)


def classify(classifier: Classifier, seen: list[NDArray[np.uint8] | str]) -> list[Answer]:
    """Answer with the digit of each picture."""
    pixels = [each for each in seen if not isinstance(each, str)]
    found = classifier.predict(np.stack(pixels)).rows() if pixels else iter(())
    return [
        Answer(each, accepted=False)
        if isinstance(each, str)
        else Answer(str((row := next(found)).digit), bool(row.accepted))
        for each in seen
    ]


def read(classifier: Classifier, found: list[list[Candidate]] | str) -> Answer:
    """Answer with all digits of a picture."""
    if isinstance(found, str):
        return Answer(found, accepted=False)
    lines = reader.read(classifier, found)
    accepted = all(digit.prediction.accepted for line in lines for digit in line)
    return Answer(reader.text(lines), accepted)


def print_row(group: str, pictures: list[Labelled], system: str, answers: list[Answer]) -> None:
    """Print what share is right and accepted."""
    right = [answer.text == each.text for each, answer in zip(pictures, answers, strict=True)]
    accepted = sum(answer.accepted for answer in answers)
    both = sum(
        is_right and answer.accepted for is_right, answer in zip(right, answers, strict=True)
    )
    of_accepted = f"{both / accepted:.1%}" if accepted else ""
    print(
        f"| {group} | {len(pictures):,} | {system} | {sum(right) / len(right):.1%} | "
        f"{accepted / len(right):.1%} | {of_accepted} |",
        flush=True,
    )


def listed(model: str, pictures: list[Labelled], answers: list[Answer]) -> Iterator[str]:
    """List the mistakes: model, picture, label, answer, whether it was accepted."""
    for (path, text), answer in zip(pictures, answers, strict=True):
        if answer.text != text:
            row = (model, path, text, answer.text, answer.accepted)
            yield "\t".join(repr(str(each))[1:-1] for each in row) + "\n"


if __name__ == "__main__":
    typer.run(main)
