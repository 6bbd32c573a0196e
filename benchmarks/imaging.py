"""Measure how accurate `imaging` is on pictures that differ from QMNIST's, and how fast.

    .venv-dev/bin/python benchmarks/imaging.py --data DIR [--pictures docs/imaging]
    .venv-dev/bin/python benchmarks/imaging.py --times

The benchmark draws QMNIST's validation digits in every condition of `tests/pictures`, the same
digits each time, and prints how many points of accuracy each condition costs. It does the same for
strings of digits (`/read`) and for photographs without a digit, and it times the steps of
`imaging`. `--times` prints only the times. `--pictures` draws examples. No test digit is used.
`python -m training refusal` measures what is refused of other pictures that are not digits.
"""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from io import BytesIO
from itertools import islice
from pathlib import Path
from statistics import median
from time import process_time
from typing import Annotated
from unittest import mock

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps
from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).parent.parent))

import imaging
from imaging import View, form, look, look_for_all, open_picture
from imaging.errors import NoDigit, SeveralDigits
from serving.inference import artifacts, reader
from serving.inference.classifier import Classifier
from serving.settings import Provider
from tests.pictures import conditions, drawn, phone
from tests.pictures.boxes import heif
from tests.pictures.conditions import CONDITIONS, Condition
from training import dataset
from training.recipes import STRONG

MODELS = Path(__file__).parent.parent / "models"
MAX_PIXELS = 40_000_000
SEED = 3

GOALS = {"exact": 0.3, "rough": 1.0}  # percentage points that a condition may cost
NEGLIGIBLE = 0.15  # of such points; conditions that cost no more are listed together

# The gaps between the digits of a string, in heights; below zero they touch and overlap.
GAPS = {"wide gaps": (0.3, 1.2), "narrow gaps": (0.05, 0.4), "touching": (-0.12, 0.0)}

# The steps of `look`, and their functions; decoding is the rest.
STEPS: dict[str, tuple[str, ...]] = {
    "decoding": (),
    "ink": ("find_ink",),
    "strokes": ("find_strokes", "one_digit"),
    "form": ("to_form",),
}

console = Console(stderr=True)


def main(
    data: Annotated[Path, typer.Option(help="A torchvision root with QMNIST.")] = Path("data"),
    model: Annotated[str, typer.Option(help="A model in models/.")] = "deeper",
    count: Annotated[int, typer.Option(help="Digits in each condition.", min=10)] = 2_000,
    strings: Annotated[int, typer.Option(help="Strings for each gap.", min=10)] = 500,
    pictures: Annotated[Path | None, typer.Option(help="Draw examples into this folder.")] = None,
    times: Annotated[bool, typer.Option("--times", help="Print only the times.")] = False,
) -> None:
    """Print the tables."""
    cv2.setNumThreads(1)
    if times:
        print_times()
        return
    classifier = Classifier(artifacts.load(MODELS / model), Provider.CPU)
    _, validation = dataset.hold_out_writers(dataset.load(data, "train"), STRONG.validation)
    digits, labels = validation.images.numpy(), validation.labels.numpy()
    chosen = np.random.default_rng(SEED).permutation(len(digits))[:count]
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        draw_conditions(classifier, digits[chosen], labels[chosen], pictures)
        draw_strings(classifier, digits, labels, pictures)
    print_conditions(classifier, digits[chosen], labels[chosen])
    print_thickness(classifier, digits[chosen[: count // 4]], labels[chosen[: count // 4]])
    print_strings(classifier, digits, labels, strings)
    print_photographs(classifier, count)
    print_times()


def print_conditions(
    classifier: Classifier, digits: NDArray[np.uint8], labels: NDArray[np.int64]
) -> None:
    """Print the accuracy of each condition; those that cost next to nothing share a sentence."""
    native = classifier.predict(digits)
    right = float((native.digits == labels).mean())
    print("| condition | correct | points | goal | accepted |")
    print("| --- | ---: | ---: | ---: | ---: |")
    print(f"| unchanged | {right:.2%} | | | {_accepted(native.accepted):.1%} |")
    cheap: dict[str, float] = {}  # the shares that are accepted, by condition
    for condition in track(CONDITIONS, "conditions", console=console, transient=True):
        share, accepted = _evaluate(classifier, condition, digits, labels)
        points = 100 * (share - right)
        goal = GOALS[condition.group]
        if points >= -NEGLIGIBLE - 1e-9:
            cheap[condition.name] = accepted
            continue
        met = "" if points >= -goal - 1e-9 else " **missed**"
        print(
            f"| {condition.name} | {share:.2%} | {points:+.2f} | -{goal}{met} | {accepted:.1%} |",
            flush=True,
        )
    if cheap:
        low, high = min(cheap.values()), max(cheap.values())
        print(
            f"\n{len(cheap)} conditions cost at most {NEGLIGIBLE} points, with {low:.1%} to "
            f"{high:.1%} accepted: {'; '.join(cheap)}."
        )


def print_thickness(
    classifier: Classifier, digits: NDArray[np.uint8], labels: NDArray[np.int64]
) -> None:
    """Print the accuracy with and without a change of the strokes' thickness."""
    print("\n| condition | thickness unchanged | thickness of QMNIST |")
    print("| --- | ---: | ---: |")
    for condition in CONDITIONS:
        if condition.name.startswith("pen") or condition.name == "280 px":
            with mock.patch.multiple(form, THINNEST=0.0, THICKEST=np.inf):
                without, _ = _evaluate(classifier, condition, digits, labels)
            brought, _ = _evaluate(classifier, condition, digits, labels)
            print(f"| {condition.name} | {without:.2%} | {brought:.2%} |", flush=True)


def _evaluate(
    classifier: Classifier,
    condition: Condition,
    digits: NDArray[np.uint8],
    labels: NDArray[np.int64],
) -> tuple[float, float]:
    """Return the shares of the digits that are correct and accepted in a condition."""
    rng = np.random.default_rng(SEED)
    pixels = np.zeros_like(digits)
    seen = np.zeros(len(digits), bool)
    for i, digit in enumerate(digits):
        try:
            pixels[i] = look(open_picture(condition.render(digit, rng), MAX_PIXELS)).pixels
            seen[i] = True
        except (NoDigit, SeveralDigits):
            pass  # this counts as wrong
    predictions = classifier.predict(pixels)
    right = float((seen & (predictions.digits == labels)).mean())
    return right, _accepted(predictions.accepted)


def _accepted(accepted: NDArray[np.bool_] | None) -> float:
    return 0.0 if accepted is None else float(accepted.mean())


def print_photographs(classifier: Classifier, count: int) -> None:
    """Print the share of photographs without a digit that is refused."""
    made = conditions.photographs(np.random.default_rng(SEED))
    seen = [view.pixels for view in map(_look, islice(made, count)) if view is not None]
    accepted = len(seen) * _accepted(classifier.predict(np.stack(seen)).accepted)
    print(
        f"\nOf {count:,} squares of photographs without a digit, {1 - accepted / count:.1%} are "
        f"refused, {1 - len(seen) / count:.1%} because no digit or several are found."
    )


def print_strings(
    classifier: Classifier, digits: NDArray[np.uint8], labels: NDArray[np.int64], count: int
) -> None:
    """Print the share of strings that is read without a mistake."""
    print("\n| strings of 3 to 8 digits | read without a mistake | right number of digits |")
    print("| --- | ---: | ---: |")
    for name, gap in GAPS.items():
        made = conditions.lines(digits, labels, np.random.default_rng(SEED), gap)
        right = as_many = 0
        for line in islice(made, count):
            text = _read(classifier, line.picture)
            right += text == line.text
            as_many += len(text) == len(line.text)
        print(f"| {name} | {right / count:.1%} | {as_many / count:.1%} |", flush=True)


def _read(classifier: Classifier, picture: bytes) -> str:
    return reader.text(reader.read(classifier, look_for_all(open_picture(picture, MAX_PIXELS))))


def print_times() -> None:
    """Print how long pictures take from bytes to 28 x 28, and to be decoded by Pillow alone."""
    digits, _ = drawn.digits(1, SEED)
    drawing, photograph = drawn.on_paper(3), drawn.photograph(3)
    scribbled = {
        "28 x 28 PNG": drawn.encode(digits[0]),
        "280 x 280 drawing, grey PNG": drawn.encode(drawing),
        "280 x 280 drawing, RGBA PNG": drawn.encode(drawing.convert("RGBA")),
        "12-megapixel JPEG photograph": drawn.encode(photograph, "JPEG"),
        "12-megapixel HEIC photograph": heif(phone.tiled(photograph, phone.hevc), b"heic"),
        "12-megapixel AVIF photograph": drawn.encode(photograph, "AVIF"),
    }
    print(f"\n| picture | bytes to 28 x 28 | {' | '.join(STEPS)} | Pillow decodes |")
    print(f"| --- | ---: | {' | '.join(['---:'] * len(STEPS))} | ---: |")
    for name, picture in scribbled.items():
        repeat = 5 if len(picture) > 1_000_000 else 15 if len(picture) > 100_000 else 500
        # Interleaved, so that other load on the machine affects all alike.
        rounds = [
            (_seconds(_see, picture), *_steps(picture), _seconds(_load, picture))
            for _ in range(repeat)
        ]
        columns = zip(*rounds, strict=True)
        print(f"| {name} | {' | '.join(_time(median(column)) for column in columns)} |")


def _steps(picture: bytes) -> list[float]:
    """Return the seconds of each step; decoding is what the other steps leave."""
    spent = dict.fromkeys((name for names in STEPS.values() for name in names), 0.0)

    def timed(name: str) -> Callable[..., object]:
        function = getattr(imaging, name)

        def run(*arguments: object) -> object:
            start = process_time()
            found = function(*arguments)
            spent[name] += process_time() - start
            return found

        return run

    with ExitStack() as patches:
        for name in spent:
            patches.enter_context(mock.patch.object(imaging, name, timed(name)))
        whole = _seconds(_see, picture)
    steps = [sum(spent[name] for name in names) for names in STEPS.values()]
    return [whole - sum(steps), *steps[1:]]


def _see(picture: bytes) -> None:
    look(open_picture(picture, MAX_PIXELS))


def _load(picture: bytes) -> None:
    Image.open(BytesIO(picture)).load()


def _seconds(work: Callable[[bytes], None], picture: bytes) -> float:
    start = process_time()
    work(picture)
    return process_time() - start


def _time(seconds: float) -> str:
    return f"{1e3 * seconds:.0f} ms" if seconds >= 0.01 else f"{1e6 * seconds:.0f} µs"


def draw_conditions(
    classifier: Classifier, digits: NDArray[np.uint8], labels: NDArray[np.int64], folder: Path
) -> None:
    """Draw, for each condition, three pictures, what the network sees of them, and its answers."""
    for group in GOALS:
        chosen = [condition for condition in CONDITIONS if condition.group == group]
        rows = [_row(classifier, condition, digits, labels) for condition in chosen]
        half = -(-len(rows) // 2)
        columns = [rows[:half], rows[half:]]
        width, height = rows[0].size
        sheet = Image.new("RGB", (2 * width, half * height), "white")
        for x, column in enumerate(columns):
            for y, row in enumerate(column):
                sheet.paste(row, (x * width, y * height))
        sheet.save(folder / f"{group}.png", optimize=True)


def _row(
    classifier: Classifier,
    condition: Condition,
    digits: NDArray[np.uint8],
    labels: NDArray[np.int64],
) -> Image.Image:
    row = Image.new("RGB", (700, 96), "white")
    pen = ImageDraw.Draw(row)
    pen.text((8, 38), condition.name, "black", ImageFont.load_default(15))
    rng = np.random.default_rng(SEED)
    for i in range(3):
        picture = condition.render(digits[i], rng)
        left = 170 + 176 * i
        row.paste(_shown(picture, (84, 84)), (left, 6))
        view = _look(picture)
        if view is None:
            pen.text((left + 92, 38), "none", "red", ImageFont.load_default(15))
            continue
        answer = int(classifier.predict(view.pixels[None]).digits[0])
        seen = Image.fromarray(view.pixels).resize((56, 56), Image.Resampling.NEAREST)
        row.paste(seen, (left + 90, 20))
        colour = "green" if answer == labels[i] else "red"
        pen.text((left + 152, 38), str(answer), colour, ImageFont.load_default(18))
    return row


def _look(picture: bytes) -> View | None:
    try:
        return look(open_picture(picture, MAX_PIXELS))
    except (NoDigit, SeveralDigits):
        return None


def _shown(picture: bytes, size: tuple[int, int]) -> Image.Image:
    """Fit a picture into `size`, with transparency as grey."""
    image = Image.open(BytesIO(picture)).convert("RGBA")
    behind = Image.new("RGBA", image.size, (150, 150, 150, 255))
    image = Image.alpha_composite(behind, image).convert("RGB")
    return ImageOps.expand(ImageOps.contain(image, size), 1, (200, 200, 200))


def draw_strings(
    classifier: Classifier, digits: NDArray[np.uint8], labels: NDArray[np.int64], folder: Path
) -> None:
    """Draw strings with the boxes and the text that were read in them."""
    sheet = Image.new("RGB", (1400, 5 * 100), "white")
    pen = ImageDraw.Draw(sheet)
    for x, gap in enumerate((GAPS["narrow gaps"], GAPS["touching"])):
        made = conditions.lines(digits, labels, np.random.default_rng(SEED), gap)
        for y, line in enumerate(islice(made, 5)):
            lines = reader.read(classifier, look_for_all(open_picture(line.picture, MAX_PIXELS)))
            shown = Image.open(BytesIO(line.picture)).convert("RGB")
            boxes = ImageDraw.Draw(shown)
            for digit in (digit for found in lines for digit in found):
                left, top, width, height = digit.view.box
                colour = "green" if digit.prediction.accepted else "orange"
                boxes.rectangle((left, top, left + width, top + height), outline=colour, width=2)
            shown = ImageOps.contain(shown, (560, 92))
            sheet.paste(shown, (x * 700 + 8, y * 100 + 5))
            text = reader.text(lines)
            colour = "green" if text == line.text else "red"
            pen.text((x * 700 + 580, y * 100 + 34), text, colour, ImageFont.load_default(20))
    sheet.save(folder / "read.png", optimize=True)


if __name__ == "__main__":
    typer.run(main)
