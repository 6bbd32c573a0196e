"""The page's view inside a network, and its comparison with the notebook's preprocessing."""

import httpx
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import digit, draw
from tests.pictures import drawn

TOLERANCE = 1e-4

COMPUTE = """async ([model, version, pictures]) => {
    const { Network } = await import("/ui/network.js");
    const { fetchModel } = await import("/ui/service.js");
    const network = Network.read(await fetchModel(model, version));
    const passes = pictures.map((pixels) => network.run(pixels));
    const { losses, worst } = network.occlude(passes[0]);
    const likeliest = passes[0].probabilities.indexOf(Math.max(...passes[0].probabilities));
    const influence = network.influence(passes[0], network.layers.length - 1, likeliest);
    return {
        size: network.size,
        logits: passes.map(({ values }) => [...values.at(-1)]),
        probabilities: passes.map(({ probabilities }) => [...probabilities]),
        influence: [...influence],
        losses: [...losses],
        worst,
    };
}"""


@pytest.mark.parametrize("model", ["baseline", "deeper", "dropout", "notebook"])
def test_the_page_computes_what_the_service_answers(page: Page, server: str, model: str) -> None:
    digits, _ = drawn.digits(8, seed=3)
    noise = np.random.default_rng(3).integers(0, 256, (2, 28, 28)).astype(np.uint8)
    pictures = np.concatenate([digits, noise])

    def classify(pictures: NDArray[np.uint8]) -> tuple[str, NDArray[np.float64]]:
        headers = {"Content-Type": "application/octet-stream"}
        url = f"{server}/classify?model={model}"
        answer = httpx.post(url, content=pictures.tobytes(), headers=headers).json()
        return answer["version"], np.array(answer["probabilities"])

    version, answered = classify(pictures)
    found = page.evaluate(COMPUTE, [model, version, pictures.reshape(10, 784).tolist()])
    np.testing.assert_allclose(found["probabilities"], answered, atol=TOLERANCE)
    architecture = next(
        card["architecture"]
        for card in httpx.get(f"{server}/models").json()["models"]
        if card["name"] == model
    )
    assert found["size"] == architecture["parameters"]

    # Without the most important patch, the service gives the answer that the page predicts.
    worst = found["worst"]
    blanked = pictures[:1].copy()
    x, y, side = (worst[name] for name in ("x", "y", "side"))
    blanked[:, max(0, y) : y + side, max(0, x) : x + side] = 0
    _, without = classify(blanked)
    assert without[0].argmax() == worst["digit"]
    assert without[0].max() == pytest.approx(worst["probability"], abs=TOLERANCE)
    losses = np.reshape(found["losses"], (28, 28))
    assert losses[y + side // 2, x + side // 2] == losses.max() > 0

    # Added ink in the most influential pixels moves the logit as their influence predicts.
    likeliest = int(answered[0].argmax())
    strongest = np.argsort(-np.abs(found["influence"]))[:5]
    changed = np.repeat(pictures[:1].reshape(1, 784).astype(float), 6, axis=0)
    changed[np.arange(1, 6), strongest] += 0.5
    before, *after = page.evaluate(COMPUTE, [model, version, changed.tolist()])["logits"]
    moved = [(logits[likeliest] - before[likeliest]) / 0.5 for logits in after]
    np.testing.assert_allclose(moved, np.take(found["influence"], strongest), rtol=0.05)


def test_the_units_light_up_and_can_be_looked_at_with_keys(page: Page) -> None:
    fetched: list[str] = []
    page.on("request", lambda request: fetched.append(request.url))
    draw(page, digit(7))
    expect(page.locator("#digit")).to_have_text("7")
    assert not [url for url in fetched if "model.onnx" in url]
    page.get_by_role("heading", name="Inside the network").click()
    answer = page.get_by_role("option", name="Digit 7: > 99.9 %")
    expect(answer).to_have_attribute("aria-selected", "true")
    expect(page.locator("#unit-title")).to_have_text("Digit 7: > 99.9 %")
    expect(page.locator("#mattered-words")).to_contain_text("blanked out")
    layers = page.locator("#stage [role=listbox]")
    assert [layer.locator("[role=option]").count() for layer in layers.all()] == [128, 128, 64, 10]

    first = layers.nth(0).locator("[role=option]")
    first.nth(0).focus()
    for key, unit in (("ArrowRight", 1), ("ArrowDown", 9), ("End", 127), ("ArrowDown", 127)):
        page.keyboard.press(key)
        expect(first.nth(unit)).to_be_focused()
        expect(page.locator("#unit-title")).to_contain_text(f"Unit {unit + 1} of 128 in layer 1: ")
    expect(layers.nth(0).locator("[tabindex='0']")).to_have_count(1)
    expect(page.locator("#unit-words")).to_contain_text("Its weights")
    layers.nth(2).locator("[role=option]").nth(5).hover()
    expect(page.locator("#unit-title")).to_contain_text("Unit 6 of 64 in layer 3: ")
    expect(page.locator("#unit-words")).to_contain_text("of layer 2.")

    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#stage")).to_be_hidden()
    draw(page, digit(4))
    expect(page.get_by_role("option", name="Digit 4: ")).to_have_class("likeliest")
    assert len([url for url in fetched if "model.onnx" in url]) == 1


def test_a_network_that_cannot_be_drawn_is_a_message(page: Page) -> None:
    """docs/own-model.md promises this; the rest of the page still works."""
    node = onnx.helper.make_node("Conv", ["images", "weights"], ["logits"])
    softmax = onnx.helper.make_node("Softmax", ["logits"], ["probabilities"])
    graph = onnx.helper.make_graph([node, softmax], "convolutional", [], [])
    content = onnx.helper.make_model(graph).SerializeToString()
    page.route("**/model.onnx?*", lambda route: route.fulfill(body=content))
    draw(page, digit(7))
    page.get_by_role("heading", name="Inside the network").click()
    expect(page.locator("#inside-words")).to_have_text("The page cannot draw this kind of network.")
    expect(page.locator("#stage")).to_be_hidden()
    expect(page.locator("#digit")).to_have_text("7")


def test_the_notebooks_way_beside_this_services(page: Page) -> None:
    sent: list[NDArray[np.uint8]] = []

    def answer(route: Route) -> None:
        sent.append(np.frombuffer(route.request.post_data_buffer or b"", np.uint8))
        digit = 5 if "notebook" in route.request.url else 4
        route.fulfill(json={"digits": [digit], "confidences": [0.75]})

    page.route("**/classify?*", answer)
    draw(page, digit(4, 0.3))
    expect(page.locator("#compare-words")).to_have_text(
        "After a plain resize, notebook says 5 and deeper 4; after this service's processing, both "
        "say 4."
    )
    rows = page.locator("#compare-rows tr").all()
    cells = [row.locator("td").all_inner_texts() for row in rows]
    assert cells[0] == ["5\n75.0 %\n✗ another digit", "4\n75.0 %"]
    assert [text.split("\n")[0] for text in cells[1]] == ["4", "4"]
    pixels = sent[-1].reshape(28, 28)
    assert pixels.max() > 200  # ink is light on dark
    ys, xs = np.nonzero(pixels)
    assert 4 <= ys.min() < ys.max() <= 16  # and is where it was drawn
    assert 4 <= xs.min() < xs.max() <= 16
    page.get_by_role("button", name="Several digits").click()
    expect(page.locator("#verdict")).to_contain_text("5 digits")
    expect(page.locator("#compare")).to_be_hidden()
