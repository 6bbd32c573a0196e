import io
import json
import tracemalloc
from base64 import b64encode
from typing import Any

import numpy as np
import pytest
from httpx import Request as HttpxRequest

from serving.api.http import Request
from serving.api.requests import (
    PictureRequest,
    PicturesRequest,
    PixelsRequest,
    parse_picture,
    parse_pictures,
    parse_pixels,
)
from serving.errors import InvalidRequest, TooManyPictures, UnsupportedBody
from tests.serving.asker import request as sent

MAX_BATCH = 4
PNG = b"\x89PNG\r\n\x1a\n and so on"
HEIC = b"\0\0\0\x1cftypheic and so on"
URL = "http://testserver/predict"


def as_asgi(request: HttpxRequest) -> Request:
    headers = [(name.lower(), value) for name, value in request.headers.raw]
    return sent(path=request.url.path, headers=headers, query=request.url.query)


def picture(request: HttpxRequest) -> PictureRequest:
    return parse_picture(as_asgi(request), request.read())


def pictures(request: HttpxRequest) -> PicturesRequest:
    return parse_pictures(as_asgi(request), request.read(), MAX_BATCH)


def pixels(
    content: bytes, content_type: str = "application/json", query: str = ""
) -> PixelsRequest:
    request = HttpxRequest(
        "POST", URL + query, content=content, headers={"Content-Type": content_type}
    )
    return parse_pixels(as_asgi(request), content, MAX_BATCH)


def post(**options: object) -> HttpxRequest:
    return HttpxRequest("POST", URL, **options)  # type: ignore[arg-type]


def form(*parts: tuple[str, str | bytes]) -> HttpxRequest:
    """Return a form as a browser sends it: `str` as text, `bytes` as files."""
    files = [(name, (None if isinstance(v, str) else "a.png", v)) for name, v in parts]
    return HttpxRequest("POST", URL, files=files)


@pytest.mark.parametrize(
    "content_type", ["image/png", "application/octet-stream", "application/x-www-form-urlencoded"]
)
def test_a_body_is_the_picture(content_type: str) -> None:
    request = post(content=b"picture", headers={"Content-Type": content_type})
    assert picture(request) == PictureRequest(b"picture", None, explain=False)


def test_a_body_without_a_type_is_the_picture() -> None:
    assert picture(post(content=b"picture")) == PictureRequest(b"picture", None, explain=False)


def test_a_forms_file_is_the_picture() -> None:
    expected = PictureRequest(b"pict\r\nure\0", None, explain=False)
    assert picture(form(("image", b"pict\r\nure\0"))) == expected


def test_the_model_is_in_the_query() -> None:
    request = HttpxRequest("POST", f"{URL}?model=deeper", content=b"picture")
    assert picture(request).models == "deeper"


@pytest.mark.parametrize("text", ["deeper", '"deeper"'])
def test_or_the_model_is_in_the_form_also_as_json(text: str) -> None:
    assert picture(form(("image", b"picture"), ("model", text))).models == "deeper"


@pytest.mark.parametrize(("text", "expected"), [("true", True), ("1", True), ("False", False)])
def test_an_explanation_is_asked_for_in_the_query_or_the_form(text: str, expected: bool) -> None:
    in_query = HttpxRequest("POST", f"{URL}?explain={text}", content=b"picture")
    assert picture(in_query).explain is expected
    assert picture(form(("image", b"picture"), ("explain", text))).explain is expected


def test_a_switch_that_is_neither_on_nor_off_is_said() -> None:
    with pytest.raises(InvalidRequest, match="'explain' must be true or false, not 'maybe'"):
        picture(HttpxRequest("POST", f"{URL}?explain=maybe", content=b"picture"))


def test_the_query_goes_before_the_form() -> None:
    request = form(("image", b"picture"), ("model", "deeper"))
    request.url = request.url.copy_with(query=b"model=baseline")
    assert picture(request).models == "baseline"


def part(headers: str, content: bytes, before: bytes = b"") -> HttpxRequest:
    """Return a form with one part, written byte by byte."""
    body = b"--y\r\n" + headers.encode() + b"\r\n\r\n" + content + b"\r\n--y--\r\n"
    return post(content=before + body, headers={"Content-Type": "Multipart/Form-Data; Boundary=y"})


DISPOSITION = 'Content-Disposition: form-data; name="image"'


@pytest.mark.parametrize(
    "request_",
    [
        form(("picture", b"picture")),
        form(("image[]", b"picture")),
        form(("image[0]", b"picture"), *[("field", "text")] * 12),
        part(f'{DISPOSITION}; filename="7.png"', b"picture"),
        part(f'{DISPOSITION}; filename="7.png"', b"picture", before=b"This is a form.\r\n"),
        part(f"{DISPOSITION}; filename*=UTF-8''sieben%20%C3%BC.png", b"picture"),
        part(f"{DISPOSITION}; filename=7.png", b"picture"),
        part(f'content-type: image/png\r\n{DISPOSITION}; filename="a\\"b;.png"', b"picture"),
        part(
            f'{DISPOSITION}; filename="7.png"\r\nContent-Transfer-Encoding: Base64',
            b64encode(b"picture"),
        ),
    ],
)
def test_a_form_is_read_however_a_client_writes_it(request_: HttpxRequest) -> None:
    assert picture(request_).picture == b"picture"


def test_a_files_name_is_read_in_each_form() -> None:
    for written, read in (
        ('filename="7.png"', "7.png"),
        ("filename*=UTF-8''sieben%20%C3%BC.png", "sieben ü.png"),
        ("filename=\"x.png\"; filename*=utf-8'de'%C3%BC.png", "ü.png"),
        ('filename="a\\"b;.png"', 'a"b;.png'),
    ):
        sent = pictures(part(f'Content-Disposition: form-data; name="images"; {written}', b"x"))
        assert sent.parts is not None
        assert [each.filename for each in sent.parts] == [read]


@pytest.mark.parametrize("name", ["image", "images", "images[]", "image[]"])
def test_many_files_are_read_however_a_client_names_them(name: str) -> None:
    sent = pictures(form((name, b"one"), (name, b"two")))
    assert sent.parts is not None
    assert [each.content for each in sent.parts] == [b"one", b"two"]


def test_an_input_of_which_no_file_was_chosen_is_none() -> None:
    nothing = b'--y\r\nContent-Disposition: form-data; name="images"; filename=""\r\n\r\n\r\n'
    images = 'Content-Disposition: form-data; name="images"'
    sent = pictures(part(f'{images}; filename="7.png"', b"one", before=nothing))
    assert sent.parts is not None
    assert [each.content for each in sent.parts] == [b"one"]
    with pytest.raises(InvalidRequest, match="too many fields"):
        pictures(part(f'{images}; filename="7.png"', b"one", before=nothing * 101))
    with pytest.raises(InvalidRequest, match="no file 'images'; it has nothing"):
        pictures(part(f'{images}; filename=""', b""))


def test_a_parts_headers_are_short() -> None:
    request = part(f'{DISPOSITION}; filename="7.png"' + ";a=" * 1_000_000, b"picture")
    sent, body = as_asgi(request), request.read()
    tracemalloc.start()
    with pytest.raises(InvalidRequest, match="it is malformed"):
        parse_picture(sent, body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_an_archive_may_be_the_file_of_a_form() -> None:
    archive = b"PK\x03\x04 and so on"
    assert pictures(form(("archive", archive))) == PicturesRequest(None, archive, None)


def in_json(**fields: object) -> HttpxRequest:
    return post(json=fields)


def test_a_picture_may_be_in_json_as_a_canvas_gives_it() -> None:
    text = b64encode(PNG).decode()
    for way in (text, f"data:image/png;base64,{text}", f"{text[:20]}\r\n {text[20:]}\n"):
        assert picture(in_json(image=way)) == PictureRequest(PNG, None, explain=False)
    asked = picture(in_json(image=text, model="deeper", explain=True, other=[1]))
    assert asked == PictureRequest(PNG, "deeper", explain=True)


@pytest.mark.parametrize(
    "asked",
    [
        {"json": {"image": b64encode(PNG).decode(), "model": "deeper", "explain": True}},
        {"files": {"image": PNG}, "data": {"model": "deeper", "explain": "true"}},
    ],
    ids=["json", "form"],
)
def test_the_query_counts_before_the_body(asked: dict[str, Any]) -> None:
    request = HttpxRequest("POST", f"{URL}?model=baseline&explain=false", **asked)
    assert picture(request) == PictureRequest(PNG, "baseline", explain=False)


def test_pictures_may_be_in_json() -> None:
    sent = pictures(in_json(images=[b64encode(b"one").decode(), b64encode(b"two").decode()]))
    assert sent.parts is not None
    assert [(part.filename, part.content) for part in sent.parts] == [("0", b"one"), ("1", b"two")]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "must be an object with 'image'"),
        ({"image": 5}, "'image' must be text"),
        ({"image": None}, "'image' must be text"),
        ({"image": "http://localhost/7.png"}, "a URL is not fetched"),
        ({"image": "file:///etc/passwd"}, "a URL is not fetched"),
        ({"image": "no base64!"}, "'image' is not base64"),
        ({"image": "ü"}, "'image' is not base64"),
        ({"image": "data:image/png,abc"}, "'image' is not base64"),
        ({"image": "data:image/png;base64"}, "'image' is empty"),
        ({"image": ""}, "'image' is empty"),
        ({"image": "data:image/png;base64,"}, "'image' is empty"),
        ({"image": "abcd", "model": 5}, "'model' must be text"),
        ({"image": "abcd", "explain": "maybe"}, "'explain' must be true or false"),
    ],
)
def test_wrong_json_of_a_picture_is_said(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        picture(in_json(**fields))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("abcd", "must be a list"),
        ([], "must be a list"),
        (["abcd", "https://localhost"], r"images\[1\]' must be a picture in base64; a URL"),
        (["abcd", 5], r"images\[1\]' must be text"),
    ],
)
def test_wrong_json_of_many_pictures_is_said(images: object, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        pictures(in_json(images=images))


def test_more_pictures_in_json_than_allowed_are_refused() -> None:
    with pytest.raises(TooManyPictures):
        pictures(in_json(images=["abcd"] * (MAX_BATCH + 1)))


def broken_form(body: bytes, content_type: str) -> HttpxRequest:
    return post(content=body, headers={"Content-Type": content_type})


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (post(), "The request is empty"),
        (form(("image", b"")), "The file 'image' is empty"),
        (form(("image", "http://localhost/7.png")), "a URL is not fetched"),
        (form(("a", b"1"), ("b", b"2")), "Too many files"),
        (form(("picture", "text")), "no file 'image'; it has 'picture'"),
        (post(content=PNG.replace(b"\r\n", b"")), "lost its line breaks"),
        (post(content=b64encode(PNG)), "is base64 text"),
        (post(content=b64encode(HEIC)), "is base64 text"),
        (post(content=b"data:image/png;base64," + b64encode(PNG)), "is base64 text"),
        (form(("image", b64encode(PNG))), "is base64 text"),
        (form(("image", b"one"), ("image", b"two")), "Too many files"),
        (form(("image", b"one"), *[("field", "text")] * 101), "too many fields"),
        (form(("image", b"one"), ("field", "x" * 1_001)), "'field' is longer than 1,000 bytes"),
        (broken_form(b"x", "multipart/form-data"), "has no boundary"),
        (broken_form(b"x", "multipart/form-data; boundary=y" + ";a" * 500), "too long"),
        (broken_form(b"x", "multipart/form-data; boundary=y"), "it is malformed"),
        (
            broken_form(
                b'--y\r\nContent-Disposition: form-data; name="image"\r\n\r\ncut sh',
                "multipart/form-data; boundary=y",
            ),
            "it ends too early",
        ),
        (
            broken_form(
                b"--y\r\nContent-Type: image/png\r\n\r\npicture\r\n--y--\r\n",
                "multipart/form-data; boundary=y",
            ),
            "has no name",
        ),
    ],
)
def test_a_wrong_request_is_said(request_: HttpxRequest, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        picture(request_)


def test_a_forms_pictures_keep_their_order_and_names() -> None:
    files = [("images", (f"{i}.png", f"picture {i}".encode())) for i in range(3)]
    sent = pictures(HttpxRequest("POST", URL, files=files, data={"model": "deeper"}))
    assert sent.parts is not None
    assert [part.filename for part in sent.parts] == ["0.png", "1.png", "2.png"]
    assert [part.content for part in sent.parts] == [b"picture 0", b"picture 1", b"picture 2"]
    assert sent.models == "deeper"


def test_a_body_that_is_no_form_is_an_archive() -> None:
    assert pictures(post(content=b"archive")) == PicturesRequest(None, b"archive", None)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (post(), "The request is empty"),
        (form(("a", b"one"), ("b", b"two")), "no file 'images'; it has 'a', 'b'"),
        (form(("images", b"picture"), ("images", "http://localhost")), "a URL is not fetched"),
    ],
)
def test_a_wrong_request_of_many_is_said(request_: HttpxRequest, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        pictures(request_)


def test_more_pictures_than_allowed_are_refused() -> None:
    with pytest.raises(TooManyPictures, match="has more than 4 pictures"):
        pictures(form(*[("images", b"picture")] * 5))
    with pytest.raises(TooManyPictures, match=r"The request has 5 pictures\. Send at most 4"):
        pixels(bytes(5 * 784), "application/octet-stream")
    with pytest.raises(TooManyPictures, match=r"The request has 5 pictures\. Send at most 4"):
        pixels(pixels_json([[[0] * 28] * 28] * 5))


IMAGES = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)


@pytest.mark.parametrize(
    "request_",
    [
        (IMAGES.tobytes(), "application/octet-stream"),
        (json.dumps(IMAGES.tolist()).encode(), "application/json"),
        (json.dumps({"pixels": IMAGES.tolist()}).encode(), "application/json; charset=utf-8"),
    ],
    ids=["bytes", "list", "object"],
)
def test_pixels(request_: tuple[bytes, str]) -> None:
    sent = pixels(*request_)
    assert sent.pixels.dtype == np.uint8
    assert (sent.pixels == IMAGES).all()
    assert sent.model is None


def test_the_model_for_pixels_is_in_the_query_or_the_json() -> None:
    body = json.dumps({"pixels": IMAGES.tolist(), "model": "deeper"}).encode()
    assert pixels(body).model == "deeper"
    assert pixels(body, query="?model=baseline").model == "baseline"


def pixels_json(sent: object) -> bytes:
    return json.dumps({"pixels": sent}).encode()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[" * 10_000, "not valid JSON"),
        (b"{}", "The JSON has no 'pixels'"),
        (b'{"images": []}', "The JSON has no 'pixels'"),
        (b'"http://localhost/7.png"', "must be lists of whole numbers"),
        (pixels_json([]), "must be lists of whole numbers"),
        (pixels_json([[[0] * 28] * 27]), "not nested"),
        (pixels_json([[[0] * 28] * 27 + [[0]]]), "not nested"),
        (pixels_json([[[0.5] * 28] * 28]), "not whole numbers"),
        (pixels_json([[["1"] * 28] * 28]), "not numbers"),
        (pixels_json([[[None] * 28] * 28]), "not numbers"),
        (pixels_json([[[256] * 28] * 28]), "outside 0…255"),
        (pixels_json([[[-1] * 28] * 28]), "outside 0…255"),
        (pixels_json([[[2**70] * 28] * 28]), "not valid JSON|outside"),
        (pixels_json([0] * 784), "must be lists of whole numbers"),
        (pixels_json(["x" * 10_000, *[""] * 10_000]), "must be lists of whole numbers"),
        (pixels_json([[["x"] * 28] * 28, "x" * 10_000]), "not nested"),
        (pixels_json([[[[0]] * 28] * 28]), "not numbers"),
        (json.dumps({"pixels": [[[0] * 28] * 28], "model": 1}).encode(), "'model' must be text"),
    ],
)
def test_wrong_pixels_are_said(body: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        pixels(body)


@pytest.mark.parametrize("length", [0, 1, 783, 785])
def test_bytes_that_are_not_so_many_pixels_are_said(length: int) -> None:
    with pytest.raises(InvalidRequest, match="784 per picture"):
        pixels(bytes(length), "application/octet-stream")


def test_pixels_come_as_json_or_bytes_only() -> None:
    stream = io.BytesIO()
    np.save(stream, IMAGES)
    with pytest.raises(UnsupportedBody, match="application/octet-stream"):
        pixels(stream.getvalue(), "application/x-npy")
