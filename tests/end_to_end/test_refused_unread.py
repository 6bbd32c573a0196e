"""A request that is refused before its body is read gets an answer; its body is not read."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from tests.conftest import RunServer

MANY = 300_000_000  # bytes
PIECE = bytes(1_000_000)
LINGERS = 5_000_000  # bytes that the server still reads after its answer
IN_BETWEEN = 30_000_000  # bytes that both sides' kernels may buffer

KEY = "X-API-Key: secret"
LENGTH = f"Content-Length: {MANY}"


@pytest.fixture(scope="module")
def closed(run_server: RunServer) -> Iterator[str]:
    """The address of a server that requires a key."""
    with run_server(api_keys="secret", max_batch_bytes=LINGERS) as server:
        yield urlsplit(server.url).netloc


@contextmanager
def asking(netloc: str, path: str, *headers: str) -> Iterator[socket.socket]:
    host, _, port = netloc.partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        lines = [f"POST {path} HTTP/1.1", "Host: a", *headers, "", ""]
        connection.sendall("\r\n".join(lines).encode())
        yield connection


def read_answer(connection: socket.socket) -> bytes:
    """Read until the server closes the connection."""
    answer = b""
    while piece := connection.recv(65_536):
        answer += piece
    return answer


def send_all(connection: socket.socket, piece: bytes) -> int:
    """Send until all is sent or nobody reads it; return how many bytes were sent."""
    sent = 0
    try:
        while sent < MANY:
            connection.sendall(piece)
            sent += len(piece)
    except OSError:
        pass
    return sent


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/predict", (KEY, LENGTH)),
        ("/predict", (LENGTH,)),
        ("/classify", (KEY, LENGTH)),
        ("/nothing", (KEY, LENGTH)),
        ("/models", (KEY, LENGTH)),
        ("/v2/nothing", (KEY, LENGTH)),
    ],
)
def test_a_client_cannot_go_on_sending(closed: str, path: str, headers: tuple[str, ...]) -> None:
    with asking(closed, path, *headers) as connection:
        assert send_all(connection, PIECE) < LINGERS + IN_BETWEEN


def test_a_client_cannot_go_on_sending_pieces_either(closed: str) -> None:
    piece = b"%x\r\n%b\r\n" % (len(PIECE), PIECE)
    with asking(closed, "/v2/models/deeper/infer", KEY, "Transfer-Encoding: chunked") as connection:
        most_json = 4 * 10_000_000  # read until the limit is exceeded
        assert send_all(connection, piece) < most_json + LINGERS + IN_BETWEEN


def test_the_answer_comes_first_and_then_the_connection_is_closed(closed: str) -> None:
    with asking(closed, "/predict", KEY, LENGTH) as connection:
        head, _, body = read_answer(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nconnection: close" in head.lower()
    assert b'"code":"image_too_large"' in body


def test_a_client_that_asks_first_sends_nothing(closed: str) -> None:
    with asking(closed, "/predict", "Expect: 100-continue", LENGTH) as connection:
        answer = read_answer(connection)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"100 Continue" not in answer


def test_a_client_that_sends_all_before_it_reads_gets_its_answer(closed: str) -> None:
    with closing(HTTPConnection(closed, timeout=30)) as connection:
        connection.request("POST", "/predict", bytes(LINGERS), {"Content-Type": "image/png"})
        response = connection.getresponse()
        assert response.status == 401
        assert response.getheader("Connection") == "close"
        assert b"API key" in response.read()


def test_a_connection_is_kept_where_the_body_was_read(closed: str) -> None:
    with closing(HTTPConnection(closed, timeout=30)) as connection:
        for body in (b"no picture", b"nor this"):
            connection.request("POST", "/predict", body, {"X-API-Key": "secret"})
            response = connection.getresponse()
            assert response.status == 415
            assert response.getheader("Connection") is None
            response.read()
            assert connection.sock is not None
