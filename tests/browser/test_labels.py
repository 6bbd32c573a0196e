"""Label pictures, and download them with their labels."""

from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import digit, draw, drop
from tests.pictures import drawn

FOUR = drawn.encode(drawn.on_paper(4), "JPEG")
OTHER = drawn.encode(drawn.on_paper(4, 200))


def test_pictures_are_kept_with_their_labels(page: Page, tmp_path: Path) -> None:
    labels = page.get_by_role("group", name="That was a")
    label = labels.get_by_role("button", name="9", exact=True)
    expect(label).to_be_disabled()
    draw(page, digit(4))
    expect(page.locator("#digit")).to_have_text("4")
    expect(page.locator("#compare")).to_be_visible()  # the last answer to the stroke is there
    label.click()
    expect(label).to_have_attribute("aria-pressed", "true")
    expect(labels).to_contain_text("1 picture is kept until you close this tab.")
    drop(page, ("Four.JPG", "image/jpeg", FOUR), ("four.png", "image/png", OTHER))
    expect(page.locator("#digit")).to_have_text("4")
    expect(label).to_have_attribute("aria-pressed", "false")
    label.click()
    labels.get_by_role("button", name="4", exact=True).click()  # changes the label from 9 to 4
    expect(label).to_have_attribute("aria-pressed", "false")
    page.locator("#pictures button").nth(1).click()
    expect(page.get_by_alt_text("four.png")).to_be_visible()
    expect(label).to_be_enabled()
    label.click()
    expect(labels).to_contain_text("3 pictures are kept")
    label.click()  # a second click removes the label
    expect(labels).to_contain_text("2 pictures are kept")

    with page.expect_download() as download:
        labels.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "my-digits.zip"
    download.value.save_as(tmp_path / "my-digits.zip")
    with ZipFile(tmp_path / "my-digits.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["9/1.png", "4/2.jpg"]
        assert archive.read("4/2.jpg") == FOUR
        with Image.open(BytesIO(archive.read("9/1.png"))) as drawing:
            assert (drawing.format, drawing.size) == ("PNG", (280, 280))
            assert drawing.convert("L").getextrema() == (0, 255)

    page.get_by_role("button", name="Forget them").click()
    expect(labels.get_by_role("button", name="Download")).to_be_hidden()
    page.get_by_role("button", name="Several digits").click()
    expect(page.locator("#verdict")).to_contain_text("5 digits")
    expect(label).to_be_disabled()
