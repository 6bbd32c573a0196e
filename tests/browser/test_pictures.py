"""Pictures that are dropped, pasted, chosen or clicked, and the errors that some of them get."""

import json
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage, digit, draw, drop
from tests.conftest import KEYS, ROOT, Server
from tests.pictures import drawn, gallery

SEVEN = drawn.encode(drawn.on_paper(7))
FOUR = drawn.encode(drawn.on_paper(4), "JPEG")
TEXT = b"This is no picture."

# The answers that the page shows for its own examples.
EXAMPLES = {
    "seven": "7",
    "thin-pen": "4",
    "thick-pen": "9",
    "chalk": "3",
    "coloured": "8",
    "squared": "2",
    "shadow": "6",
    "specks": "5",
    "corner": "1",
    "numbers": "902\n47",
}
REFUSED = ("letter", "scribble")


def test_a_dropped_file(page: Page) -> None:
    drop(page, ("four.jpg", "image/jpeg", FOUR))
    expect(page.locator("#digit")).to_have_text("4")
    expect(page.get_by_alt_text("four.jpg")).to_be_visible()
    expect(page.locator("#boxes rect")).to_have_count(1)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#digit")).to_have_text("?")
    draw(page, digit(3))
    expect(page.locator("#digit")).to_have_text("3")


def test_what_a_picture_took_the_place_of_comes_back(page: Page) -> None:
    draw(page, digit(3))
    expect(page.locator("#digit")).to_have_text("3")
    drop(page, ("four.jpg", "image/jpeg", FOUR), ("seven.png", "image/png", SEVEN))
    expect(page.locator("#digit")).to_have_text("4")
    page.locator("#pictures button").nth(1).click()
    expect(page.locator("#digit")).to_have_text("7")
    page.keyboard.press("Delete")
    expect(page.locator("#digit")).to_have_text("?")
    page.keyboard.press("Control+z")
    expect(page.get_by_alt_text("seven.png")).to_be_visible()
    expect(page.locator("#digit")).to_have_text("7")
    expect(page.locator("#pictures button").nth(1)).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Control+z")
    expect(page.locator("#pictures button")).to_have_count(0)
    expect(page.locator("#digit")).to_have_text("3")
    expect(page.locator("#paper")).to_be_visible()


def test_a_pasted_picture(server: str, open_page: OpenPage) -> None:
    page = open_page(f"{server}/ui/", permissions=["clipboard-read", "clipboard-write"])
    page.evaluate(
        """async content => {
            const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
            const picture = new Blob([bytes], { type: "image/png" });
            await navigator.clipboard.write([new ClipboardItem({ "image/png": picture })]);
        }""",
        b64encode(SEVEN).decode(),
    )
    page.keyboard.press("Control+v")
    expect(page.locator("#digit")).to_have_text("7")
    page.evaluate("navigator.clipboard.writeText('7')")
    page.keyboard.press("Control+v")
    expect(page.locator("#verdict")).to_have_text(
        "There is no picture in the clipboard. Copy one first."
    )


@pytest.mark.parametrize("button", ["#open", "#photograph"])
def test_a_chosen_file(page: Page, button: str) -> None:
    for _ in range(2):  # choosing the same file again works, too
        page.set_input_files(
            button, {"name": "seven.png", "mimeType": "image/png", "buffer": SEVEN}
        )
        expect(page.locator("#digit")).to_have_text("7")
        page.get_by_role("button", name="Clear").click()
        expect(page.locator("#digit")).to_have_text("?")


def test_several_files_are_a_list(page: Page) -> None:
    drop(
        page,
        ("seven.png", "image/png", SEVEN),
        ("notes.txt", "text/plain", TEXT),
        ("page.png", "image/png", drawn.encode(drawn.page("902", "10"))),
        ("four.jpg", "image/jpeg", FOUR),
    )
    rows = page.locator("#pictures button")
    expect(rows.locator(".outcome")).to_contain_text(
        ["7, > 99.9 %", "This is not a picture that can be read.", "902 / 10, ", "4, > 99.9 %"]
    )
    expect(page.locator("#digit")).to_have_text("7")
    rows.nth(3).dblclick()
    expect(page.locator("#digit")).to_have_text("4")
    expect(page.get_by_alt_text("four.jpg")).to_be_visible()
    expect(rows.nth(3)).to_have_attribute("aria-pressed", "true")
    expect(rows.nth(0)).to_have_attribute("aria-pressed", "false")
    rows.nth(2).click()
    expect(page.locator("#digit")).to_have_text("902\n10", use_inner_text=True)
    page.get_by_role("button", name="Clear").click()
    expect(rows).to_have_count(0)


def test_a_text_file_is_refused_in_a_sentence(page: Page) -> None:
    drop(page, ("notes.txt", "text/plain", TEXT))
    expect(page.locator("#verdict")).to_contain_text("This is not a picture that can be read.")
    expect(page.locator("#digit")).to_have_text("—")
    expect(page.get_by_role("status")).to_contain_text("This is not a picture")
    draw_again(page)


def draw_again(page: Page) -> None:
    page.get_by_role("button", name="Clear").click()
    draw(page, digit(5))
    expect(page.locator("#digit")).to_have_text("5")


def test_what_is_dropped_but_no_file(page: Page) -> None:
    expect(page.get_by_label("deeper")).to_be_checked()  # the page has loaded
    drop(page)
    expect(page.locator("#verdict")).to_have_text("That is not a file. Drop a picture file.")


@pytest.mark.parametrize(
    ("name", "kind", "content"),
    [
        ("seven.tif", "image/tiff", drawn.encode(drawn.on_paper(7), "TIFF")),
        ("IMG_7.HEIC", "", (ROOT / "docs" / "seven.heic").read_bytes()),
    ],
)
def test_a_picture_that_the_browser_cannot_show_is_answered(
    page: Page, name: str, kind: str, content: bytes
) -> None:
    drop(page, (name, kind, content))
    expect(page.locator("#digit")).to_have_text("7")
    expect(page.get_by_text("This browser cannot show the picture")).to_be_visible()


def test_an_avif_is_shown_and_answered(page: Page) -> None:
    drop(page, ("four.avif", "image/avif", drawn.encode(drawn.on_paper(4), "AVIF")))
    expect(page.locator("#digit")).to_have_text("4")
    expect(page.get_by_alt_text("four.avif")).to_be_visible()


def test_boxes_lie_on_a_picture_that_is_turned_by_its_exif(page: Page) -> None:
    upright = drawn.page("902")
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to display
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    drop(page, ("turned.jpg", "image/jpeg", drawn.encode(lying, "JPEG", exif)))
    expect(page.locator("#digit")).to_have_text("902")
    sheet, box = (
        page.locator("#sheet").bounding_box(),
        page.locator("#boxes rect").nth(0).bounding_box(),
    )
    assert sheet is not None
    assert box is not None
    place = (box["x"] + box["width"] / 2 - sheet["x"]) / sheet["width"]
    assert place == pytest.approx(120 / upright.width, abs=0.03)


@pytest.mark.parametrize("name", gallery.PICTURES)
def test_the_gallery(page: Page, name: str) -> None:
    page.locator(f"#gallery button:has(img[src='gallery/{name}.webp'])").click()
    if name in REFUSED:
        expect(page.locator("#verdict")).to_contain_text("Not accepted: ")
    else:
        expect(page.locator("#digit")).to_have_text(EXAMPLES[name], use_inner_text=True)
        expect(page.locator("#verdict")).to_contain_text("ccepted")


def test_removed_specks_are_told(page: Page) -> None:
    page.get_by_role("button", name="Dust and holes").click()
    expect(page.locator("#changes")).to_contain_text("Specks removed.")
    page.get_by_role("button", name="Chalk on a board").click()
    expect(page.locator("#changes")).to_contain_text("Not inverted")


def test_the_gallery_is_what_its_command_makes(tmp_path: Path) -> None:
    gallery.write(tmp_path)
    for name in gallery.PICTURES:
        file = f"{name}.webp"
        with Image.open(tmp_path / file) as made, Image.open(gallery.FOLDER / file) as kept:
            difference = np.abs(np.asarray(made, float) - np.asarray(kept, float))
            assert difference.mean() < 4, name  # of 255; encoders round differently


def copied(page: Page, button: str) -> str:
    page.get_by_role("button", name=button).click()
    expect(page.locator("#copied-note")).to_have_text("Copied:")
    expect(page.get_by_role("dialog")).to_be_visible()
    code = page.locator("#code").text_content()
    assert page.evaluate("navigator.clipboard.readText()") == code
    page.get_by_role("button", name="Close").click()
    assert code is not None
    return code


def run(language: list[str], code: str, folder: Path, **environment: str) -> str:
    return subprocess.run(
        [*language, code],
        cwd=folder,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", **environment},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_the_request_as_curl_and_as_python(
    server: str, open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(f"{server}/ui/", permissions=["clipboard-read", "clipboard-write"])
    draw(page, digit(9))
    expect(page.locator("#digit")).to_have_text("9")
    page.get_by_label("baseline").check()
    answer = json.loads(run(["bash", "-c"], copied(page, "Copy as curl"), tmp_path))
    assert (answer["digit"], answer["model"]) == (9, "baseline")
    assert run([sys.executable, "-c"], copied(page, "Copy as Python"), tmp_path) == f"{answer}\n"

    name = "it's 902.png"  # needs quoting in a shell
    content = drawn.encode(drawn.page("902"))
    (tmp_path / name).write_bytes(content)
    drop(page, (name, "image/png", content))
    expect(page.locator("#digit")).to_have_text("902")
    answer = json.loads(run(["bash", "-c"], copied(page, "Copy as curl"), tmp_path))
    assert answer["text"] == "902"
    assert run([sys.executable, "-c"], copied(page, "Copy as Python"), tmp_path) == f"{answer}\n"


def test_the_copied_request_has_no_key_in_it(
    closed_server: Server, open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(f"{closed_server.url}/ui/", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_label("API key").fill(KEYS[0])
    page.get_by_role("button", name="Use this key").click()
    page.get_by_role("button", name="A seven").click()
    expect(page.locator("#digit")).to_have_text("7")
    for button, language in (
        ("Copy as curl", ["bash", "-c"]),
        ("Copy as Python", [sys.executable, "-c"]),
    ):
        code = copied(page, button)
        assert KEYS[0] not in code
        assert "7" in run(language, code, tmp_path, QMNIST_API_KEY=KEYS[0])
