"""Measure how soon the page shows the answer to a stroke, in Chromium on this machine.

    .venv-dev/bin/python benchmarks/page.py --json docs/performance/page.json

The benchmark draws digits with the mouse, 60 movements per second. `during the stroke` is the time
from a movement after a pause to the frame that shows its answer. `at its end` is the time from
releasing the button to the frame with the last answer, while requests for earlier movements may
still be in flight. Each answer is that of all models.
"""

import statistics
import sys
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer
from playwright.sync_api import Page, sync_playwright
from rich.progress import track

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.servers import ours, running  # noqa: E402
from benchmarks.tables import table, write  # noqa: E402
from tests.browser.conftest import digit, launch  # noqa: E402

FRAME = 1_000 / 60  # ms
PAUSE = 300  # ms, after which no request is in flight
PAUSES = 4  # per stroke

# Records, for each answer that is shown, the milliseconds since the last event on the paper.
WATCH = """() => {
    window.shown = [];
    let moved = 0;
    for (const kind of ["pointermove", "pointerup"]) {
        document.getElementById("paper").addEventListener(kind, (event) => {
            moved = event.timeStamp;
            window.shown = [];
        }, true);
    }
    new MutationObserver(() => {
        requestAnimationFrame(() => setTimeout(() => window.shown.push(performance.now() - moved)));
    }).observe(document.getElementById("digit"), { childList: true });
}"""


def main(
    strokes: Annotated[int, typer.Option(help="How many digits to draw.")] = 50,
    json: Annotated[Path | None, typer.Option(help="Also write the figures to this file.")] = None,
) -> None:
    """Measure, and print a table."""
    during: list[float] = []
    end: list[float] = []
    with running(ours()) as server, sync_playwright() as playwright:
        page = launch(playwright).new_page()
        page.goto(f"{server.url}/ui/")
        page.get_by_label("deeper").wait_for()
        page.evaluate(WATCH)
        for number in track(range(strokes), "drawing", transient=True):
            draw(page, number % 10, during, end)
            page.keyboard.press("Delete")
    found = {"during_the_stroke": during, "at_its_end": end}
    show(found)
    write(json, found)


def show(found: dict[str, list[float]]) -> None:
    """Print a table of the milliseconds until answers were shown."""
    columns = {
        "ms until the page shows the answer": "{name}",
        "median": "{median:.0f}",
        "95th percentile": "{highest:.0f}",
        "longest": "{longest:.0f}",
        "answers": "{answers}",
    }
    rows = [{"name": name.replace("_", " "), **figures(times)} for name, times in found.items()]
    table(columns, rows)


def draw(page: Page, number: int, during: list[float], end: list[float]) -> None:
    """Draw one digit, with pauses in which to wait for its answers."""
    box = page.locator("#paper").bounding_box()
    assert box is not None  # noqa: S101  it is on the page
    for stroke in digit(number):
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for i, (start, stop) in enumerate(pairwise(points)):
            steps = max(1, 48 // len(points))  # about as slow as a person
            for step in range(1, steps + 1):
                x, y = (a + (b - a) * step / steps for a, b in zip(start, stop, strict=True))
                page.mouse.move(x, y)
                page.wait_for_timeout(FRAME)
            if i % max(1, len(points) // PAUSES) == 1:
                page.wait_for_timeout(PAUSE)
                page.mouse.move(x + 1, y)
                during += first(page)
        page.mouse.up()
        page.wait_for_timeout(PAUSE)
        end += last(page)


def first(page: Page) -> list[float]:
    """Wait for the first answer after the last movement."""
    page.wait_for_timeout(PAUSE)
    return page.evaluate("window.shown.slice(0, 1)")  # type: ignore[no-any-return]


def last(page: Page) -> list[float]:
    """Return the last answer's time."""
    return page.evaluate("window.shown.slice(-1)")  # type: ignore[no-any-return]


def figures(values: list[float]) -> dict[str, float]:
    """Return the figures of one row of the table."""
    return {
        "median": statistics.median(values),
        "highest": statistics.quantiles(values, n=20)[-1],
        "longest": max(values),
        "answers": len(values),
    }


if __name__ == "__main__":
    typer.run(main)
