"""Take the screenshots of the page (`make screenshots`): three sizes, all colour schemes, parts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, ViewportSize, expect, sync_playwright

from benchmarks.servers import ours, running
from tests.browser.conftest import digit, draw, launch

FOLDER = Path(__file__).parent.parent.parent / "docs" / "page"
DESK: ViewportSize = {"width": 1100, "height": 950}
TOP: ViewportSize = {"width": 1100, "height": 632}  # the README's first picture
CARDS: ViewportSize = {"width": 1100, "height": 1790}
TABLET: ViewportSize = {"width": 820, "height": 1180}
PHONE: ViewportSize = {"width": 390, "height": 1040}


def two(page: Page) -> None:
    draw(page, digit(2))
    expect(page.locator("#digit")).to_have_text("2")
    expect(page.locator("#compare")).to_be_visible()


def squared(page: Page) -> None:
    page.get_by_role("button", name="Squared paper").click()
    expect(page.locator("#digit")).to_have_text("2")


def several(page: Page) -> None:
    page.get_by_role("button", name="Several digits").click()
    expect(page.locator("#digit")).to_have_text("902\n47", use_inner_text=True)


def letter(page: Page) -> None:
    page.get_by_role("button", name="A letter").click()
    expect(page.locator("#verdict")).to_contain_text("Not accepted")


def cards(page: Page) -> None:
    page.get_by_role("link", name="Models").click()
    expect(page.get_by_role("article")).to_have_count(4)


def small(page: Page) -> None:
    draw(page, digit(4, 0.3, (0.1, 0.1)))
    expect(page.locator("#compare-words")).to_contain_text("notebook says")
    page.get_by_role("heading", name="Inside the network").click()
    expect(page.locator("#mattered-words")).to_contain_text("blanked out")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with running(ours()) as server, sync_playwright() as playwright:
        browser = launch(playwright)

        def visit(show: Callable[[Page], None], **options: Any) -> Page:  # noqa: ANN401  Playwright's own
            page = browser.new_page(**options)
            page.goto(f"{server.url}/ui/")
            show(page)
            page.mouse.move(0, 0)
            page.evaluate("document.activeElement.blur()")
            page.evaluate("scrollTo(0, 0)")
            return page

        def shoot(name: str, show: Callable[[Page], None], **options: Any) -> None:  # noqa: ANN401
            visit(show, **options).screenshot(path=FOLDER / f"{name}.png")

        shoot("light", two, viewport=TOP, color_scheme="light")
        shoot("dark", several, viewport=DESK, color_scheme="dark")
        shoot("forced", letter, viewport=DESK, color_scheme="dark", forced_colors="active")
        shoot("tablet", squared, viewport=TABLET, has_touch=True)
        shoot("phone", two, viewport=PHONE, is_mobile=True, has_touch=True)
        shoot("models", cards, viewport=CARDS)
        page = visit(small, viewport=DESK, color_scheme="light")
        for part in ("compare", "inside"):
            place = FOLDER / f"{part}.png"
            page.locator(f"#{part}").screenshot(path=place, animations="disabled")


if __name__ == "__main__":
    main()
