"""Draw on the page as a person does, and read the answer."""

import numpy as np
import pytest
from playwright.sync_api import CDPSession, Page, Route, expect

from tests.browser.conftest import OpenPage, digit, draw
from tests.pictures.drawn import line

NOTHING = "Draw a digit to get an answer."


def ink(page: Page) -> int:
    """Return how many pixels of the paper have ink."""
    count: int = page.locator("#paper").evaluate(
        """canvas => {
            const { width, height } = canvas;
            const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
            return data.filter((value, i) => i % 4 === 3 && value > 127).length;
        }"""
    )
    return count


@pytest.mark.parametrize("number", range(10))
def test_a_drawn_digit_is_answered(page: Page, number: int) -> None:
    draw(page, digit(number))
    expect(page.locator("#digit")).to_have_text(str(number))
    expect(page.locator("#bars .likeliest th")).to_have_text(str(number))
    expect(page.locator("#verdict")).to_contain_text("ccepted: ")


def test_the_answer_follows_the_stroke(page: Page) -> None:
    """The answer needs no button, and comes before the mouse button is released."""
    (seven,) = digit(7)
    draw(page, [seven], lift=False)
    expect(page.locator("#digit")).to_have_text("7")


def test_an_answer_shows_all_that_is_known(page: Page) -> None:
    draw(page, digit(4))
    expect(page.locator("#digit")).to_have_text("4")
    expect(page.locator("#verdict")).to_have_text("Accepted: more than 99.9 % confidence.")
    shares = page.locator("#bars .share").all_text_contents()
    assert len(shares) == 10
    assert shares[4] == "> 99.9 %"
    expect(page.locator("#changes")).to_contain_text("Inverted")
    seen = page.get_by_alt_text("The 4 as the network saw it, 28 by 28 pixels")
    assert seen.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [28, 28]
    expect(page.locator("#seen-pictures")).to_have_text("PictureInkStrokesNetwork")
    for alt in ("in the decoded picture", "without the paper", "strokes of the 4 alone"):
        step = page.get_by_alt_text(alt)
        assert 100 < step.evaluate("image => image.naturalHeight") <= 112
    models = page.locator("#model-choices label")
    *strong, notebook = (label.split("\n") for label in models.all_inner_texts())
    assert strong == [[name, "4", "> 99.9 %"] for name in ("baseline", "deeper", "dropout")]
    assert notebook[:2] == ["notebook", "4"]
    expect(page.locator("#agreement")).to_have_text("All agree.")
    # A screen reader announces the answer once it no longer changes.
    expect(page.get_by_role("status")).to_have_text("4. Accepted: more than 99.9 % confidence.")


def test_the_latest_stroke_wins(page: Page) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        if not held:
            held.append(route)
        else:
            route.continue_()

    page.route("**/predict?*", hold)
    draw(page, digit(1))
    for _ in range(300):
        if held:
            break
        page.wait_for_timeout(10)
    draw(page, [line((0.15, 0.22), (0.5, 0.22))])  # turns the one into a seven
    (route,) = held  # one request asks all models
    route.continue_()
    expect(page.locator("#digit")).to_have_text("7")


def test_what_was_cleared_is_not_answered(page: Page) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/predict?*", hold)
    draw(page, digit(1))
    page.get_by_role("button", name="Clear").click()
    page.unroute("**/predict?*")
    draw(page, digit(0))
    expect(page.locator("#digit")).to_have_text("0")
    assert held


def test_undo_takes_back_the_last_stroke(page: Page) -> None:
    one, *_ = digit(1)
    draw(page, [one, line((0.05, 0.05), (0.95, 0.9)), line((0.95, 0.05), (0.05, 0.9))])
    page.keyboard.press("Control+z")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#digit")).to_have_text("1")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#verdict")).to_have_text(NOTHING)
    assert ink(page) == 0


@pytest.mark.parametrize("way", ["keys", "buttons"])
def test_clearing_can_be_undone(page: Page, way: str) -> None:
    draw(page, digit(3))
    expect(page.locator("#digit")).to_have_text("3")
    if way == "keys":
        page.keyboard.press("Delete")
    else:
        page.get_by_role("button", name="Clear").click()
    expect(page.locator("#digit")).to_have_text("?")
    expect(page.locator("#verdict")).to_have_text(NOTHING)
    assert ink(page) == 0
    draw(page, digit(1))
    expect(page.locator("#digit")).to_have_text("1")
    for _ in range(1 + len(digit(1))):
        if way == "keys":
            page.keyboard.press("Control+z")
        else:
            page.get_by_role("button", name="Undo").click()
    expect(page.locator("#digit")).to_have_text("3")


def test_the_rubber_takes_ink_away(page: Page) -> None:
    draw(page, digit(8))
    expect(page.locator("#digit")).to_have_text("8")
    erase = page.get_by_role("button", name="Erase")
    erase.click()
    assert erase.get_attribute("aria-pressed") == "true"
    # Erase the left sides of both loops: a three remains.
    draw(page, [line((0.34, 0.29), (0.34, 0.41)), line((0.31, 0.58), (0.31, 0.69))])
    expect(page.locator("#digit")).to_have_text("3")
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#digit")).to_have_text("8")


def press(session: CDPSession, kind: str, x: float, y: float, force: float) -> None:
    session.send(
        "Input.dispatchMouseEvent",
        {
            "type": kind,
            "x": x,
            "y": y,
            "button": "left",
            "buttons": 1,
            "clickCount": 1,
            "pointerType": "pen",
            "force": force,
        },
    )


def test_a_pen_draws_thicker_the_harder_it_is_pressed(page: Page) -> None:
    session = page.context.new_cdp_session(page)
    box = page.locator("#paper").bounding_box()
    assert box is not None
    inks = []
    for force in (0.1, 0.5, 0.9):
        x, top, bottom = box["x"] + 100, box["y"] + 50, box["y"] + 250
        press(session, "mousePressed", x, top, force)
        press(session, "mouseMoved", x, bottom, force)
        press(session, "mouseReleased", x, bottom, 0)
        inks.append(ink(page))
        page.get_by_role("button", name="Clear").click()
    thin, medium, thick = inks
    assert 1.5 * thin < medium
    assert 1.3 * medium < thick


def test_a_finger_draws_on_a_phone(server: str, open_page: OpenPage) -> None:
    page = open_page(
        f"{server}/ui/",
        viewport={"width": 390, "height": 844},
        is_mobile=True,
        has_touch=True,
    )
    session = page.context.new_cdp_session(page)
    box = page.locator("#paper").bounding_box()
    assert box is not None
    for stroke in digit(2):
        points = (stroke * box["width"] + (box["x"], box["y"])).tolist()
        for kind, (x, y) in [
            ("touchStart", points[0]),
            *(("touchMove", point) for point in points[1:]),
        ]:
            session.send(
                "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]}
            )
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(page.locator("#digit")).to_have_text("2")
    # The first lines of the answer are visible, and nothing is wider than the screen.
    expect(page.locator("#digit")).to_be_in_viewport(ratio=1)
    expect(page.locator("#verdict")).to_be_in_viewport(ratio=1)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("scrollY") == 0
    expect(page.get_by_text("Take a photo")).to_be_visible()


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    def tab_to(selector: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("s => document.activeElement.matches(s)", selector):
                return
        pytest.fail(f"no way with the keyboard to {selector}")

    def go(key: str, times: int) -> None:
        for _ in range(times):
            page.keyboard.press(key)

    tab_to("#paper")
    go("ArrowUp", 9)
    page.keyboard.press("Space")
    expect(page.locator("#pen")).to_have_text("Pen down.")
    go("ArrowDown", 18)
    page.keyboard.press("Space")
    expect(page.locator("#digit")).to_have_text("1")
    go("ArrowUp", 18)
    go("ArrowLeft", 10)
    page.keyboard.press("Space")
    go("ArrowRight", 10)
    page.keyboard.press("Space")
    expect(page.locator("#digit")).to_have_text("7")
    page.keyboard.press("e")
    expect(page.locator("#erase")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("e")
    page.keyboard.press("Control+z")
    expect(page.locator("#digit")).to_have_text("1")
    tab_to("#clear")
    page.keyboard.press("Enter")
    expect(page.locator("#digit")).to_have_text("?")
    tab_to("#gallery button")
    page.keyboard.press("Enter")
    expect(page.locator("#digit")).to_have_text("7")


def test_several_digits_are_read(page: Page) -> None:
    for place, number in enumerate((9, 0, 2)):
        draw(page, digit(number, 0.26, (0.06 + 0.31 * place, 0.35)))
    expect(page.locator("#digit")).to_have_text("902")
    expect(page.locator("#verdict")).to_contain_text("3 digits, ")
    expect(page.locator("#boxes text")).to_have_text(["9", "0", "2"])
    expect(page.locator("#seen-pictures img")).to_have_count(3)
    expect(page.locator("#bars")).to_be_hidden()
    sheet = page.locator("#sheet").bounding_box()
    assert sheet is not None
    # Read all boxes in one call: the last answer may arrive meanwhile and replace them.
    boxes = page.locator("#boxes rect").evaluate_all(
        "rects => rects.map((rect) => rect.getBoundingClientRect().toJSON())"
    )
    for place, box in enumerate(boxes):
        middle = (box["x"] + box["width"] / 2 - sheet["x"]) / sheet["width"]
        assert np.isclose(middle, 0.19 + 0.31 * place, atol=0.04)
