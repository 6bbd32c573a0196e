"""The README's pictures of the page, `make screenshots`: light, dark, and on a phone."""

from pathlib import Path

from playwright.sync_api import Page, ViewportSize, expect, sync_playwright

from benchmarks.servers import ours, running
from tests.browser.conftest import digit, draw, launch

FOLDER = Path(__file__).parent.parent.parent / "docs" / "page"
WIDE: ViewportSize = {"width": 1100, "height": 930}
PHONE: ViewportSize = {"width": 390, "height": 1040}


def two(page: Page) -> None:
    draw(page, digit(2))
    expect(page.locator("#digit")).to_have_text("2")


def several(page: Page) -> None:
    page.get_by_role("button", name="Several digits").click()
    expect(page.locator("#digit")).to_have_text("902\n47", use_inner_text=True)
    page.mouse.move(0, 0)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with running(ours()) as server, sync_playwright() as playwright:
        browser = launch(playwright)

        def shoot(name: str, page: Page) -> None:
            page.evaluate("document.activeElement.blur()")
            page.evaluate("scrollTo(0, 0)")
            page.screenshot(path=FOLDER / f"{name}.png")

        page = browser.new_page(viewport=WIDE, color_scheme="light")
        page.goto(f"{server.url}/ui/")
        two(page)
        shoot("light", page)
        page = browser.new_page(viewport=WIDE, color_scheme="dark")
        page.goto(f"{server.url}/ui/")
        several(page)
        shoot("dark", page)
        page = browser.new_page(viewport=PHONE, is_mobile=True, has_touch=True)
        page.goto(f"{server.url}/ui/")
        two(page)
        shoot("phone", page)
        page = browser.new_page(viewport={"width": 1100, "height": 1610})
        page.goto(f"{server.url}/ui/models")
        expect(page.get_by_role("article")).to_have_count(3)
        shoot("models", page)


if __name__ == "__main__":
    main()
