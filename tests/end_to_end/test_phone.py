"""A phone's HEIC and AVIF photographs are answered on every endpoint, as a JPEG is."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from PIL import Image, ImageOps

from imaging.decoding import ORIENTATION
from serving.inference import artifacts
from serving.offline.labelling import Count, Job, Labeller
from serving.offline.sources import find_shards
from serving.settings import Provider
from tests.archives import tarred, zipped
from tests.conftest import COMMITTED_MODELS
from tests.pictures import boxes, drawn, phone
from tests.pictures.boxes import Item, exif, turns

TURNED_BACK = {6: 8, 8: 6}  # every other orientation is its own inverse
DIGIT = phone.TILE + 88  # pixels: needs two tiles in each direction


def photographs(picture: Image.Image, orientation: int = 1) -> dict[str, bytes]:
    """Encode a picture as tiled HEIC and as AVIF, stored for an orientation to turn it upright."""
    lying = picture.copy()
    lying.getexif()[ORIENTATION] = TURNED_BACK.get(orientation, orientation)
    lying = ImageOps.exif_transpose(lying)
    items: dict[str, Sequence[Item]] = {
        "heic": phone.tiled(lying, phone.hevc, *turns(orientation)),
        "avif": [phone.av1(lying).item(*turns(orientation))],
    }
    return {
        name: boxes.heif([*made, exif(orientation)], name.encode()) for name, made in items.items()
    }


SEVEN = photographs(drawn.on_paper(7, DIGIT), 6)
FORMATS = pytest.mark.parametrize("name", SEVEN)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_digit_is_read_however_the_phone_was_held(server: str, orientation: int) -> None:
    # A seven upside down or mirrored is another digit, or none.
    for name, picture in photographs(drawn.on_paper(7, DIGIT), orientation).items():
        headers = {"Content-Type": f"image/{name}"}
        answer = httpx.post(f"{server}/predict", content=picture, headers=headers).json()
        assert (answer["digit"], answer["accepted"]) == (7, True), name


@FORMATS
def test_forms_json_and_tensors(server: str, name: str) -> None:
    file = (f"IMG_1.{name.upper()}", SEVEN[name], f"image/{name}")
    text = b64encode(SEVEN[name]).decode()
    tensor = {"name": "pictures", "datatype": "BYTES", "shape": [1], "data": [text]}
    by_form = httpx.post(f"{server}/predict", files={"image": file})
    by_json = httpx.post(f"{server}/predict", json={"image": f"data:image/{name};base64,{text}"})
    by_tensor = httpx.post(f"{server}/v2/models/deeper/infer", json={"inputs": [tensor]})
    assert by_form.json()["digit"] == by_json.json()["digit"] == 7
    outputs = {each["name"]: each["data"] for each in by_tensor.json()["outputs"]}
    assert outputs["digit"] == [7]


def test_batches(server: str) -> None:
    files = {f"IMG_{i}.{name.upper()}": data for i, (name, data) in enumerate(SEVEN.items())}
    form = [("images", (name, data)) for name, data in files.items()]
    for sent in (
        httpx.post(f"{server}/predict_batch", files=form),
        httpx.post(f"{server}/predict_batch", content=zipped(files)),
        httpx.post(f"{server}/predict_batch", content=tarred(files)),
    ):
        assert [each["digit"] for each in sent.json()["predictions"]] == [7, 7]


def test_all_digits_of_a_page(server: str) -> None:
    for name, page in photographs(drawn.page("902", "47"), 3).items():
        assert httpx.post(f"{server}/read", content=page).json()["text"] == "902\n47", name


@FORMATS
def test_what_is_too_large_and_what_is_damaged(server: str, name: str) -> None:
    frame = {"heic": phone.hevc, "avif": phone.av1}[name](drawn.on_paper(7))
    huge = boxes.heif([replace(frame, size=(60_000, 50_000)).item()], name.encode())
    refused = httpx.post(f"{server}/predict", content=huge)
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "image_too_large")
    assert (
        "The picture has 60000 x 50000 pixels. Send one of at most"
        in refused.json()["error"]["message"]
    )
    for share in (0.1, 0.5, 0.9):
        cut = SEVEN[name][: int(share * len(SEVEN[name]))]
        answer = httpx.post(f"{server}/predict", content=cut)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "damaged_image")


def test_folders_and_tars_are_labelled(tmp_path: Path) -> None:
    for name, picture in SEVEN.items():
        (tmp_path / f"IMG_1.{name.upper()}").write_bytes(picture)
        (tmp_path / f"{name}.tar").write_bytes(tarred({f"IMG_2.{name.upper()}": picture}))
    artifact = artifacts.load(COMMITTED_MODELS / "deeper")
    job = Job(artifact, Provider.CPU, max_image_bytes=10**6, max_image_pixels=10**6)
    labeller, count = Labeller(job), Count()
    rows = [rows for shard in find_shards(str(tmp_path)) for rows in labeller.label(shard, count)]
    assert [digit for each in rows for digit in each.predictions.digits] == [7] * 4
    assert count.errors == 0
