import anyio
import pytest
from httpx import Request as HttpxRequest
from starlette.requests import Request
from starlette.types import Message

from serving.errors import InvalidRequest, PictureTooLarge, RequestError
from serving.requests import PictureRequest, read_picture

LIMIT = 1_000
URL = "http://testserver/predict"


def read(request: HttpxRequest, chunks: list[bytes] | None = None) -> PictureRequest:
    """Hand a request over as a server does, in chunks, of which those not asked for are left."""
    waiting = [request.read()] if chunks is None else chunks

    async def receive() -> Message:
        body = waiting.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(waiting)}

    scope = {
        "type": "http",
        "method": "POST",
        "path": request.url.path,
        "query_string": request.url.query,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
    }

    async def run() -> PictureRequest:
        return await read_picture(Request(scope, receive), LIMIT)

    return anyio.run(run)


def post(**options: object) -> HttpxRequest:
    return HttpxRequest("POST", URL, **options)  # type: ignore[arg-type]


def form(*parts: tuple[str, str | bytes]) -> HttpxRequest:
    """A form as a browser sends it: text for `str`, files for `bytes`."""
    files = [(name, (None if isinstance(v, str) else "a.png", v)) for name, v in parts]
    return HttpxRequest("POST", URL, files=files)


@pytest.mark.parametrize(
    "content_type", ["image/png", "application/octet-stream", "application/x-www-form-urlencoded"]
)
def test_a_body_is_the_picture(content_type: str) -> None:
    request = post(content=b"picture", headers={"Content-Type": content_type})
    assert read(request) == PictureRequest(b"picture", None, explain=False)


def test_a_body_without_a_type_is_the_picture() -> None:
    assert read(post(content=b"picture")) == PictureRequest(b"picture", None, explain=False)


def test_a_forms_file_is_the_picture() -> None:
    assert read(form(("image", b"picture"))) == PictureRequest(b"picture", None, explain=False)


def test_the_model_is_in_the_query() -> None:
    request = HttpxRequest("POST", f"{URL}?model=deeper", content=b"picture")
    assert read(request).model == "deeper"


@pytest.mark.parametrize("text", ["deeper", '"deeper"'])
def test_or_the_model_is_in_the_form_also_as_json(text: str) -> None:
    assert read(form(("image", b"picture"), ("model", text))).model == "deeper"


@pytest.mark.parametrize(("text", "expected"), [("true", True), ("1", True), ("False", False)])
def test_an_explanation_is_asked_for_in_the_query_or_the_form(text: str, expected: bool) -> None:
    in_query = HttpxRequest("POST", f"{URL}?explain={text}", content=b"picture")
    assert read(in_query).explain is expected
    assert read(form(("image", b"picture"), ("explain", text))).explain is expected


def test_a_switch_that_is_neither_on_nor_off_is_said() -> None:
    with pytest.raises(InvalidRequest, match="'explain' is true or false, not 'maybe'"):
        read(HttpxRequest("POST", f"{URL}?explain=maybe", content=b"picture"))


def test_the_query_goes_before_the_form() -> None:
    request = form(("image", b"picture"), ("model", "deeper"))
    request.url = request.url.copy_with(query=b"model=baseline")
    assert read(request).model == "baseline"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (post(), "The request is empty"),
        (form(("image", b"")), "The file 'image' is empty"),
        (form(("image", "http://localhost/7.png")), "a URL is not fetched"),
        (form(("picture", b"picture")), "no file 'image'; it has 'picture'"),
        (form(("image", b"one"), ("image", b"two")), "Too many files"),
        (
            post(content=b"x", headers={"Content-Type": "multipart/form-data"}),
            "The form cannot be read",
        ),
        (
            post(content=b"x", headers={"Content-Type": "multipart/form-data; boundary=y"}),
            "The form",
        ),
        (
            post(
                content=b'--y\r\nContent-Disposition: form-data; name="image"\r\n\r\ncut sh',
                headers={"Content-Type": "multipart/form-data; boundary=y"},
            ),
            "The form",
        ),
    ],
)
def test_a_wrong_request_is_said(request_: HttpxRequest, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        read(request_)


def test_a_picture_of_just_the_limit_is_read() -> None:
    assert len(read(post(content=b"x" * LIMIT)).picture) == LIMIT
    assert len(read(form(("image", b"x" * LIMIT))).picture) == LIMIT


def test_an_announced_length_over_the_limit_is_refused_unread() -> None:
    request = post(content=b"x" * (LIMIT + 1))
    with pytest.raises(PictureTooLarge, match="at most 1,000 bytes"):
        read(request, chunks=[])


def test_a_body_is_refused_at_the_chunk_that_is_too_much() -> None:
    """A body that announces no length, of which nothing after the limit is read."""
    chunks = [b"x" * 400] * 10
    with pytest.raises(PictureTooLarge):
        read(HttpxRequest("POST", URL), chunks)
    assert len(chunks) == 7


def test_every_error_says_what_it_is() -> None:
    kinds = RequestError.__subclasses__()
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert all(400 <= kind.status < 500 for kind in kinds)
