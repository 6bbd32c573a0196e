"""axe-core finds no fault on any page; the pages work with forced colours and narrow screens."""

from io import BytesIO

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import OpenPage, digit, draw, drop
from tests.conftest import Server
from tests.pictures import drawn

SCHEMES = ("light", "dark")


def check(page: Page) -> None:
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_page_to_draw_on(server: str, open_page: OpenPage, scheme: str) -> None:
    page = open_page(f"{server}/ui/", color_scheme=scheme)
    expect(page.get_by_label("deeper")).to_be_checked()
    check(page)
    draw(page, digit(7))
    expect(page.locator("#digit")).to_have_text("7")
    page.get_by_role("heading", name="Inside the network").click()
    expect(page.locator("#mattered-words")).to_contain_text("blanked out")
    expect(page.locator("#compare")).to_be_visible()
    page.get_by_role("button", name="Erase").click()
    check(page)
    page.get_by_role("button", name="Copy as curl").click()
    expect(page.locator("dialog")).to_be_visible()
    check(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Several digits").click()
    expect(page.locator("#verdict")).to_contain_text("5 digits")
    check(page)
    page.get_by_role("button", name="A letter").click()
    expect(page.locator("#verdict")).to_contain_text("Not accepted")
    check(page)
    drop(
        page,
        ("notes.txt", "text/plain", b"no picture"),
        ("seven.png", "image/png", drawn.encode(drawn.on_paper(7))),
        ("page.png", "image/png", drawn.encode(drawn.page("902", "10"))),
    )
    expect(page.locator("#pictures .outcome").nth(2)).to_contain_text("902")
    expect(page.locator("#verdict")).to_contain_text("not a picture")
    check(page)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_question_for_a_key(closed_server: Server, open_page: OpenPage, scheme: str) -> None:
    page = open_page(f"{closed_server.url}/ui/", color_scheme=scheme)
    page.get_by_label("API key").fill("third")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("The API key is not known.")
    check(page)


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("path", ["models", "report"])
def test_the_other_pages(
    server: str, open_page: OpenPage, path: str, scheme: str, width: int
) -> None:
    viewport = {"width": width, "height": 844}
    page = open_page(f"{server}/ui/{path}", color_scheme=scheme, viewport=viewport)
    expect(page.get_by_role("table").first).to_be_visible()
    check(page)
    assert page.evaluate("document.documentElement.scrollWidth") == width


def colours(part: Locator) -> list[tuple[int, int, int]]:
    """Return the RGB colours in a part of the page, the most frequent first."""
    picture = Image.open(BytesIO(part.screenshot())).convert("RGB")
    counted = picture.getcolors(picture.width * picture.height) or []
    return [colour for _, colour in sorted(counted, reverse=True)]  # type: ignore[misc]  # RGB


def test_forced_colours(server: str, open_page: OpenPage) -> None:
    page = open_page(f"{server}/ui/", color_scheme="dark", forced_colors="active")
    draw(page, digit(7))
    expect(page.locator("#digit")).to_have_text("7")
    check(page)
    (card,), (bar,) = (colours(page.locator(place))[:1] for place in (".models", ".likeliest div"))
    assert bar != card
    (released,) = colours(page.locator("#erase"))[:1]
    page.get_by_role("button", name="Erase").click()
    (pressed,) = colours(page.locator("#erase"))[:1]
    assert pressed != released
    paper, ink, *_ = colours(page.locator("#paper"))
    assert min(paper) > 200
    assert max(ink) < 50


def test_a_browser_that_cannot_run_the_page_says_so(server: str, open_page: OpenPage) -> None:
    pages = [open_page(f"{server}/ui/{path}", java_script_enabled=False) for path in ("", "models")]
    pages.append(open_page("about:blank"))
    pages[-1].route("**/main.js", lambda route: route.abort())  # as if the browser could not run it
    pages[-1].goto(f"{server}/ui/")
    for page in pages:
        needed = page.get_by_text("This page needs JavaScript and a browser from 2024 or later.")
        expect(needed).to_be_visible()
