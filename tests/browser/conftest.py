"""A real Chromium, and the actions of a person who uses the page."""

import os
import shutil
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from tests.conftest import ROOT
from tests.pictures import drawn
from tests.pictures.drawn import Points

# Use the system's Chromium if there is one, otherwise the one that tests/browser/install unpacked.
OWN = str(ROOT / ".chromium" / "chromium")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", OWN)

OpenPage = Callable[..., Page]


def launch(playwright: Playwright) -> Browser:
    """Start the system's Chromium, or the project's own."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert found, "There is no Chromium. Run `make browser`."
    # As root (in a container, for example), Chromium cannot use its sandbox.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    return playwright.chromium.launch(executable_path=found, args=options)


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="package")
def browser(playwright: Playwright) -> Iterator[Browser]:
    browser = launch(playwright)
    yield browser
    browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """A function that opens a URL in a new browser profile; the page must not throw an error."""
    contexts = []
    errors: list[str] = []

    def open_page(url: str, **options: Any) -> Page:  # noqa: ANN401  Playwright's own
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        for page in context.pages:
            page.unroute_all(behavior="wait")
        context.close()
    assert errors == []


@pytest.fixture
def page(server: str, open_page: OpenPage) -> Page:
    """The drawing page of a server with the committed models."""
    return open_page(f"{server}/ui/")


def draw(page: Page, strokes: list[Points], *, lift: bool = True) -> None:
    """Draw with the mouse; coordinates are fractions of the paper's side, 0…1."""
    paper = page.locator("#paper")
    paper.scroll_into_view_if_needed()
    box = paper.bounding_box()
    assert box is not None
    for stroke in strokes:
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point)
        if lift:
            page.mouse.up()


def digit(number: int, size: float = 0.6, at: tuple[float, float] = (0.2, 0.2)) -> list[Points]:
    """Return the strokes of a digit, scaled and placed on the paper."""
    return [stroke * size + at for stroke in drawn.STROKES[number]]


def drop(page: Page, *files: tuple[str, str, bytes]) -> None:
    """Drop files on the page, each given as (name, type, content)."""
    described = [[name, kind, b64encode(content).decode()] for name, kind, content in files]
    transfer = page.evaluate_handle(
        """files => {
            const transfer = new DataTransfer();
            for (const [name, type, content] of files) {
                const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
                transfer.items.add(new File([bytes], name, { type }));
            }
            return transfer;
        }""",
        described,
    )
    page.dispatch_event("#paper", "dragover", {"dataTransfer": transfer})
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
