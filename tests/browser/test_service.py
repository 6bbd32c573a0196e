"""The page with several models, an unreachable or returning service, or one that needs a key."""

import json
import re

import pytest
from playwright.sync_api import FilePayload, Page, Route, expect

from tests.browser.conftest import OpenPage, digit, draw
from tests.conftest import KEYS, ROOT, RunServer, Server
from tests.pictures import drawn

SEVERAL: list[FilePayload] = [
    {
        "name": f"{number}.png",
        "mimeType": "image/png",
        "buffer": drawn.encode(drawn.on_paper(number)),
    }
    for number in (4, 7)
]
CARDS = {
    path.parent.name: json.loads(path.read_text(encoding="utf-8"))
    for path in (ROOT / "models").glob("*/card.json")
}
GONE = "The service does not answer. Trying again every two seconds."


@pytest.fixture
def closed(closed_server: Server) -> Server:
    """A server that requires an API key."""
    return closed_server


def answer_otherwise(page: Page, model: str, **changes: object) -> None:
    """Change fields of a model's answers."""

    def change(route: Route) -> None:
        response = route.fetch()
        body = response.json()
        for answer in body.get("answers", ()):  # absent if a stroke has only just begun
            if answer["model"] == model:
                answer.update(changes)
        route.fulfill(response=response, body=json.dumps(body))

    page.route("**/predict?*", change)


def test_where_models_disagree(page: Page) -> None:
    answer_otherwise(
        page, "baseline", digit=1, confidence=0.612345, accepted=False, reason="unsure"
    )
    draw(page, digit(7))
    expect(page.locator("#agreement")).to_have_text(
        "They disagree: baseline says 1; deeper, dropout and notebook say 7."
    )
    expect(page.locator("#digit")).to_have_text("7")
    page.get_by_label("baseline").check()
    expect(page.locator("#digit")).to_have_text("1")
    wanted = 100 * CARDS["baseline"]["calibration"]["acceptance"]["confidence"]
    expect(page.locator("#verdict")).to_have_text(
        f"Not accepted: the confidence is only 61.2 %; it needs {wanted:.1f} %."
    )
    page.get_by_label("dropout").check()
    expect(page.locator("#digit")).to_have_text("7")


def test_what_does_not_look_like_a_digit(page: Page) -> None:
    answer_otherwise(
        page, "deeper", confidence=0.99, typicality=-10, accepted=False, reason="atypical"
    )
    draw(page, digit(7))
    expect(page.locator("#verdict")).to_have_text("Not accepted: this does not look like a digit.")
    wanted = CARDS["deeper"]["calibration"]["acceptance"]
    confidence = page.get_by_role("meter", name="Confidence")
    expect(confidence).to_have_attribute("aria-valuenow", "0.99")
    expect(confidence).to_have_attribute(
        "aria-valuetext", f"99.0 % (needs {100 * wanted['confidence']:.1f} %)"
    )
    typicality = page.get_by_role("meter", name="Typicality")
    expect(typicality).to_have_attribute(
        "aria-valuetext",
        f"−10.0, too low (needs −{-wanted['typicality']:.1f})",  # noqa: RUF001
    )
    scale, level, threshold = (
        part.bounding_box()
        for part in (typicality, *(typicality.locator(f".{n}") for n in ("level", "threshold")))
    )
    assert scale is not None
    assert level is not None
    assert threshold is not None
    place = (threshold["x"] + threshold["width"] / 2 - scale["x"]) / scale["width"]
    assert place == pytest.approx((wanted["typicality"] + 20) / 40, abs=0.01)
    assert level["width"] / scale["width"] == pytest.approx(0.25, abs=0.01)


def test_a_model_without_thresholds(page: Page) -> None:
    answer_otherwise(page, "deeper", confidence=0.5, accepted=None)
    draw(page, digit(7))
    expect(page.locator("#verdict")).to_have_text(
        "Confidence: 50.0 %. This model has no acceptance thresholds."
    )
    expect(page.get_by_role("meter", name="Confidence")).to_be_visible()


def test_models_that_have_gone(page: Page) -> None:
    draw(page, digit(1))
    expect(page.locator("#digit")).to_have_text("1")
    body = {"error": {"code": "unknown_model", "message": "There is no model 'baseline'."}}
    page.route("**/predict?*", lambda route: route.fulfill(status=404, json=body))
    draw(page, digit(1))
    expect(page.locator("#verdict")).to_have_text("There is no model 'baseline'.")
    listed: list[str] = []
    page.on("request", lambda request: listed.append(request.url))
    page.unroute("**/predict?*")
    draw(page, digit(1))
    expect(page.locator("#digit")).to_have_text("1")
    page.get_by_role("button", name="Clear").click()
    draw(page, digit(7))
    expect(page.locator("#digit")).to_have_text("7")
    assert [url.rsplit("/", 1)[1] for url in listed].count("models") <= 1  # not once per stroke


def test_a_server_that_is_gone(run_server: RunServer, open_page: OpenPage) -> None:
    with run_server() as server:
        page = open_page(f"{server.url}/ui/")
        expect(page.get_by_label("deeper")).to_be_checked()
    draw(page, digit(7))
    expect(page.locator("#verdict")).to_have_text(GONE)
    expect(page.locator("#digit")).to_have_text("—")


def test_a_server_that_comes_back(page: Page) -> None:
    expect(page.get_by_label("deeper")).to_be_checked()
    page.context.set_offline(True)
    draw(page, digit(2))
    expect(page.locator("#verdict")).to_have_text(GONE)
    page.context.set_offline(False)
    expect(page.locator("#digit")).to_have_text("2")  # without drawing it again


def test_a_key_is_asked_for_and_kept_for_the_tab(closed: Server, open_page: OpenPage) -> None:
    page = open_page(f"{closed.url}/ui/")
    key, use = page.get_by_label("API key"), page.get_by_role("button", name="Use this key")
    expect(key).to_be_focused()
    expect(key).to_have_attribute("type", "password")
    key.fill("third")
    use.click()
    expect(page.get_by_role("alert")).to_have_text("The API key is not known.")
    key.fill(KEYS[1])
    page.keyboard.press("Enter")
    expect(key).to_be_hidden()
    draw(page, digit(8))
    expect(page.locator("#digit")).to_have_text("8")

    page.reload()
    draw(page, digit(0))
    expect(page.locator("#digit")).to_have_text("0")
    page.goto(f"{closed.url}/ui/models")
    expect(page.get_by_role("heading", name="deeper")).to_be_visible()
    assert page.evaluate("Object.keys(localStorage)") == []
    assert page.evaluate("document.cookie") == ""

    other = page.context.new_page()
    other.goto(f"{closed.url}/ui/")
    expect(other.get_by_label("API key")).to_be_visible()
    other.goto(f"{closed.url}/ui/models")
    expect(other.get_by_role("alert")).to_contain_text("requires an API key")


def test_a_drawing_waits_for_the_key(closed: Server, open_page: OpenPage) -> None:
    page = open_page(f"{closed.url}/ui/")
    expect(page.get_by_label("API key")).to_be_visible()
    draw(page, digit(3))
    page.get_by_label("API key").fill(KEYS[0])
    page.get_by_role("button", name="Use this key").click()
    expect(page.locator("#digit")).to_have_text("3")


def test_a_late_refusal_does_not_forget_the_key(closed: Server, open_page: OpenPage) -> None:
    page = open_page(f"{closed.url}/ui/")
    expect(page.get_by_label("API key")).to_be_visible()
    held: list[Route] = []

    def hold(route: Route) -> None:
        if "authorization" in route.request.headers:
            route.continue_()
        else:
            held.append(route)

    page.route("**/models", hold)
    draw(page, digit(3))
    page.get_by_label("API key").fill(KEYS[0])
    page.get_by_role("button", name="Use this key").click()
    assert held
    for route in held:
        route.continue_()
    expect(page.locator("#digit")).to_have_text("3")


def test_no_request_leaves_the_host(server: str, open_page: OpenPage) -> None:
    page = open_page("about:blank")
    asked: list[str] = []
    page.context.on("request", lambda request: asked.append(request.url))
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    for path in ("/ui/", "/ui/models", "/ui/report"):
        page.goto(server + path, wait_until="networkidle")
    page.goto(f"{server}/ui/")
    for example in page.locator("#gallery button").all():
        example.click()
    expect(page.locator("#verdict")).to_contain_text("Not accepted")
    page.get_by_role("button", name="Clear").click()
    draw(page, digit(7))
    expect(page.locator("#digit")).to_have_text("7")
    page.get_by_role("heading", name="Inside the network").click()
    expect(page.locator("#mattered-words")).to_contain_text("blanked out")
    page.goto(server, wait_until="networkidle")
    expect(page.get_by_text("The digit in one picture")).to_be_visible()
    assert len(asked) > 50
    hosts = {url.split("/ui/")[0] for url in asked if "/ui/" in url}
    assert hosts == {server}
    assert all(url.startswith((f"{server}/", "data:", "blob:")) for url in asked)
    assert not [line for line in refused if "Content Security Policy" in line]


def test_the_page_is_small() -> None:
    files = [path for path in (ROOT / "serving" / "web" / "ui").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 150_000
    for path in files:
        if path.suffix in {".html", ".css", ".js"}:
            text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
            assert "://" not in text  # nothing from another host


def test_the_models_page_shows_the_cards(server: str, open_page: OpenPage) -> None:
    page = open_page(f"{server}/ui/models")
    card = page.get_by_role("article").filter(
        has=page.get_by_role("heading", name="deeper default")
    )
    said = CARDS["deeper"]
    test, details = said["evaluation"]["test10k"], said["details"]
    expect(card).to_contain_text(f"{100 * test['accuracy']:.2f} %")
    expect(card).to_contain_text(f"right on test10k: {test['correct']:,} of 10,000")
    expect(card).to_contain_text(f"{said['sizes']['model.onnx'] / 1000:.0f} kB")
    mistaken = card.locator(".confusion tbody tr").nth(9).locator("td").nth(4)
    expect(mistaken).to_have_text(str(details["confusion"][9][4]))
    reliability, curve = card.get_by_role("img").all()
    expect(reliability).to_have_attribute("aria-label", re.compile(r"answers 100 % confident"))
    accuracies = details["validation_accuracies"]
    said_of_it = (
        f"Validation accuracy after {len(accuracies)} epochs: {100 * accuracies[-1]:.2f} %."
    )
    expect(curve).to_have_attribute("aria-label", said_of_it)
    expect(page.get_by_role("article")).to_have_count(4)
    comparison = page.get_by_role("heading", name="for comparison")
    expect(comparison).to_have_text("notebookfor comparison")
    right = {
        name: card["evaluation"]["validation"]["correct"]
        for name, card in CARDS.items()
        if not card.get("comparison")
    }
    assert max(right, key=lambda name: right[name]) == "deeper"
    expect(page.locator("#choice")).to_contain_text(
        f"because it gets the most validation digits right: of 5,003, deeper {right['deeper']:,}"
    )
    expect(page.locator("#choice")).to_contain_text("so they are equally good there.")
    page.get_by_role("navigation").get_by_role("link", name="Report").click()
    expect(page.get_by_role("heading", name="Report")).to_be_visible()
    expect(page.locator("img")).to_have_count(4)
    page.wait_for_function("[...document.images].every((image) => image.naturalWidth > 0)")
    aligned = page.locator("td.right").first
    assert aligned.evaluate("cell => getComputedStyle(cell).textAlign") == "right"


def test_several_pictures_wait_for_the_key(closed: Server, open_page: OpenPage) -> None:
    page = open_page(f"{closed.url}/ui/")
    expect(page.get_by_label("API key")).to_be_visible()
    page.set_input_files("#open", SEVERAL)
    page.get_by_label("API key").fill(KEYS[0])
    page.keyboard.press("Enter")
    outcomes = page.locator("#pictures .outcome")
    expect(outcomes).to_contain_text(["4, > 99.9 %", "7, > 99.9 %"])
    expect(page.locator("#digit")).to_have_text("4")


def test_a_key_that_is_revoked_is_asked_for_again(closed: Server, open_page: OpenPage) -> None:
    page = open_page(f"{closed.url}/ui/")
    page.get_by_label("API key").fill(KEYS[0])
    page.keyboard.press("Enter")
    expect(page.get_by_label("deeper")).to_be_checked()
    expect(page.locator("#paper")).to_be_focused()
    page.get_by_label("dropout").check()
    page.evaluate("sessionStorage.setItem('qmnist-api-key', 'revoked')")
    draw(page, digit(7))
    expect(page.get_by_role("alert")).to_have_text("The API key is not known.")
    page.get_by_role("button", name="Clear").click()
    draw(page, digit(7))  # sent without a key: the page has forgotten the revoked one
    expect(page.locator("#verdict")).to_contain_text("Send an API key")
    expect(page.get_by_role("alert")).to_have_text("The API key is not known.")
    page.get_by_label("API key").fill(KEYS[1])
    page.keyboard.press("Enter")
    expect(page.get_by_label("API key")).to_be_hidden()
    expect(page.locator("#digit")).to_have_text("7")
    expect(page.get_by_label("dropout")).to_be_checked()  # the choice of model survives


@pytest.mark.parametrize("content", ["", "<html>Bad gateway</html>"])
def test_a_proxy_without_a_server_is_asked_again(page: Page, content: str) -> None:
    expect(page.get_by_label("deeper")).to_be_checked()
    page.route("**/predict?*", lambda route: route.fulfill(status=502, body=content))
    page.set_input_files("#open", SEVERAL)
    expect(page.locator("#verdict")).to_have_text(GONE)
    page.unroute("**/predict?*")
    expect(page.locator("#digit")).to_have_text("4")
    expect(page.locator("#pictures .outcome")).to_contain_text(["4, > 99.9 %", "7, > 99.9 %"])


def test_an_example_is_asked_for_again(page: Page) -> None:
    expect(page.get_by_label("deeper")).to_be_checked()
    page.context.set_offline(True)
    page.get_by_role("button", name="A thin pen").click()
    expect(page.locator("#verdict")).to_have_text(GONE)
    page.context.set_offline(False)
    expect(page.locator("#digit")).to_have_text("4")
