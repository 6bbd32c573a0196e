"""A server survives kills, floods, slow and broken clients, and loses as little as possible."""

import http.client
import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import httpx

from tests.conftest import (
    PATIENCE,
    STOP_SECONDS,
    RunServer,
    Server,
    in_flight,
    is_ready,
    until,
)
from tests.pictures import drawn, odd

SEVEN = drawn.encode(drawn.on_paper(7))
CLIENTS = 16


class Client:
    """Sends one request after the other on one connection, and counts answers and losses."""

    def __init__(self, url: str) -> None:
        self.netloc = urlsplit(url).netloc
        self.connection: http.client.HTTPConnection | None = None
        self.answered = 0
        self.lost = 0
        self.told_to_close = False

    def ask(self) -> None:
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.netloc, timeout=PATIENCE)
            self.connection.connect()
        try:
            self.connection.request("POST", "/predict", SEVEN)
            response = self.connection.getresponse()
            body = response.read()
        except (http.client.HTTPException, OSError):
            self.lost += 1
            self.close()
            return
        assert response.status == 200, body
        assert body.startswith(b'{"digit":7,')
        self.answered += 1
        if response.getheader("Connection") == "close":
            self.told_to_close = True
            self.close()

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


@contextmanager
def load(url: str, stop: Callable[[Client], bool]) -> Iterator[list[Client]]:
    """Keep sixteen clients busy until `stop` is true of each, or the context ends."""
    clients = [Client(url) for _ in range(CLIENTS)]
    ended = threading.Event()

    def run(client: Client) -> None:
        while not (ended.wait(0.005) or stop(client)):
            client.ask()
        client.close()

    with ThreadPoolExecutor(CLIENTS) as pool:
        runs = [pool.submit(run, client) for client in clients]
        try:
            until(lambda: all(client.answered for client in clients))
            yield clients
        finally:
            ended.set()
    for done in runs:
        done.result()


def test_sigterm_loses_no_request(run_server: RunServer) -> None:
    """Sixteen clients keep sending requests while the server is told to stop."""
    with run_server(drain=1) as server:
        with (
            httpx.Client() as probe,
            load(server.url, stop=lambda client: client.told_to_close) as clients,
        ):
            assert probe.get(f"{server.url}/readyz").status_code == 200
            server.process.send_signal(signal.SIGTERM)
            statuses: list[int] = []
            while not statuses or statuses[-1] == 200:
                statuses.append(probe.get(f"{server.url}/readyz").status_code)
            assert statuses[-1] == 503
            until(lambda: all(client.told_to_close for client in clients))
        server.process.wait(STOP_SECONDS)
    assert sum(client.lost for client in clients) == 0


def test_a_request_in_flight_is_answered_after_sigterm(run_server: RunServer) -> None:
    with run_server() as server, socket.create_connection(address(server)) as connection:
        connection.sendall(head(len(SEVEN)) + SEVEN[:50])
        until(lambda: in_flight(server.url) == 1)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: not is_ready(server.url))
        connection.sendall(SEVEN[50:])
        answer = read_all(connection)
        server.process.wait(STOP_SECONDS)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b'{"digit":7,' in answer


def test_a_killed_worker_loses_no_more_than_it_had_and_comes_back(run_server: RunServer) -> None:
    with run_server(workers=2) as server:
        until(lambda: len(workers(server)) == 2)
        with load(server.url, stop=lambda _: False) as clients:
            victim = min(workers(server))
            os.kill(victim, signal.SIGKILL)
            until(lambda: len(workers(server) - {victim}) == 2)
            before = [client.answered for client in clients]
            until(lambda: all(c.answered > b for c, b in zip(clients, before, strict=True)))
        lost = [client.lost for client in clients]
        assert max(lost) <= 1  # the request in flight on that worker when it died
        assert sum(lost) <= CLIENTS
        assert httpx.post(f"{server.url}/predict", content=SEVEN).json()["digit"] == 7


def test_over_its_limit_a_worker_refuses_and_stays_healthy(run_server: RunServer) -> None:
    limit = 4
    with (
        run_server(max_in_flight=limit) as server,
        connected(server, limit) as connections,
        httpx.Client(base_url=server.url) as client,
    ):
        for connection in connections:
            connection.sendall(head(len(SEVEN)) + SEVEN[:50])

        def refused() -> bool:
            response = client.post("/predict", content=SEVEN)
            if response.status_code == 200:
                return False
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "overloaded"
            assert response.headers["Retry-After"] == "1"
            return True

        until(refused)
        for _ in range(20):
            assert refused()
            for path in ("/livez", "/readyz", "/healthz"):
                assert client.get(path).status_code == 200
        for connection in connections:
            connection.sendall(SEVEN[50:])
        answers = [read_answer(connection) for connection in connections]
        assert all(answer.startswith(b"HTTP/1.1 200 OK") for answer in answers)
        assert not refused()


def test_more_bytes_than_there_is_room_for_are_refused(run_server: RunServer) -> None:
    """Each batch is within its limit, but all of them together are not."""
    with (
        run_server(max_image_bytes=1_000, max_batch_bytes=1_000_000) as server,
        connected(server, 12) as connections,
    ):
        for connection in connections:
            connection.sendall(head(1_000_000, "/predict_batch") + bytes(999_000))
        statuses = []
        for connection in connections:
            try:
                connection.sendall(bytes(1_000))
            except OSError:
                continue
            statuses.append(read_answer(connection).split()[1])
        assert b"503" in statuses
        assert set(statuses) <= {b"415", b"503"}  # zeros are not an archive
        assert httpx.post(f"{server.url}/predict", content=SEVEN[:0]).status_code == 400


def test_a_slow_client_is_cut_off_and_holds_up_nobody(run_server: RunServer) -> None:
    with (
        run_server(timeout=1) as server,
        connected(server, 50) as slow,
        httpx.Client(base_url=server.url) as client,
    ):
        for connection, path in zip(slow, itertools.cycle(["/predict", "/classify"]), strict=False):
            connection.sendall(head(len(SEVEN), path) + SEVEN[:1])
        for _ in range(50):
            assert client.post("/predict", content=SEVEN).status_code == 200
        answers = [read_all(connection) for connection in slow]  # until the server closes it
        assert all(answer.startswith(b"HTTP/1.1 408 Request Timeout") for answer in answers)
        assert all(b'"code":"request_timeout"' in answer for answer in answers)


def test_a_body_that_never_ends_is_refused_while_it_streams(run_server: RunServer) -> None:
    """Send a body with a huge announced length, and one in chunks without end."""
    with run_server(max_image_bytes=100_000) as server:
        with socket.create_connection(address(server)) as connection:
            connection.sendall(head(10**12) + bytes(1_000))
            assert read_answer(connection).startswith(b"HTTP/1.1 413 ")
        with socket.create_connection(address(server)) as connection:
            connection.sendall(
                b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            connection.setblocking(False)
            chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
            sent, answer = 0, b""
            while not answer and sent < 10**9:
                try:
                    sent += connection.send(chunk[sent % len(chunk) :])
                except BlockingIOError:
                    time.sleep(0.001)
                try:
                    answer = connection.recv(1_000)
                except BlockingIOError:
                    continue
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"image_too_large" in answer
        assert sent < 50_000_000  # including the kernel's buffers, so the worker kept less
        assert httpx.post(f"{server.url}/predict", content=SEVEN[:0]).status_code == 400


def test_bad_requests_hurt_no_good_ones(run_server: RunServer) -> None:
    """Send 70 bad requests of many kinds while sixteen clients send good ones."""
    kinds = itertools.cycle(bad_requests())
    with (
        run_server() as server,
        httpx.Client(base_url=server.url, timeout=PATIENCE) as bad,
        load(server.url, stop=lambda _: False) as clients,
    ):
        for _ in range(70):
            path, body, headers = next(kinds)
            response = bad.post(path, content=body, headers=headers)
            assert 400 <= response.status_code < 500, (path, response.text)
            assert response.json()["error"].keys() == {"code", "message", "request_id"}
    assert sum(client.lost for client in clients) == 0
    assert all(client.answered for client in clients)


def bad_requests() -> list[tuple[str, bytes, dict[str, str]]]:
    json_type = {"Content-Type": "application/json"}
    form_type = {"Content-Type": "multipart/form-data; boundary=y"}
    return [
        ("/predict", b"", {}),
        ("/predict", b"text", {}),
        ("/predict", SEVEN[:100], {}),
        ("/predict", b"--y\r\n", form_type),
        ("/predict", b"x" * 10_000_001, {}),
        ("/predict?explain=maybe", SEVEN, {}),
        ("/predict?model=none", SEVEN, {}),
        ("/read", SEVEN[:200], {}),
        ("/predict_batch", b"PK\x03\x04", {}),
        ("/predict_batch", b"--y--", form_type),
        ("/classify", b"x" * 783, {}),
        ("/classify", b"[" * 50_000, json_type),
        ("/classify", b'{"pixels": [[1, 2], [3]]}', json_type),
        ("/nothing", SEVEN, {}),
    ]


def test_odd_pictures_in_a_batch_hurt_nobody(server: str) -> None:
    pictures = {name: data for name, data in odd.pictures().items() if len(data) < 100_000}
    assert len(pictures) > 300
    files = [("images", (name, data)) for name, data in pictures.items()]
    answer = httpx.post(f"{server}/predict_batch", files=files, timeout=60)
    assert answer.status_code == 200, answer.text
    predictions = answer.json()["predictions"]
    assert [prediction["name"] for prediction in predictions] == list(pictures)
    for each in predictions:
        assert ("digit" in each) != ("error" in each), each
        if "error" in each:
            assert each["error"].keys() == {"code", "message"}, each
            assert each["error"]["message"].endswith("."), each
    assert 100 < len([each for each in predictions if "digit" in each]) < len(pictures) - 100
    assert httpx.post(f"{server}/predict", content=SEVEN).json()["digit"] == 7


def address(server: Server) -> tuple[str, int]:
    parts = urlsplit(server.url)
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


@contextmanager
def connected(server: Server, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(address(server))) for _ in range(count)]


def head(length: int, path: str = "/predict") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode()


def read_answer(connection: socket.socket) -> bytes:
    """Read as much of an answer as has arrived."""
    connection.settimeout(PATIENCE)
    return connection.recv(10_000)


def read_all(connection: socket.socket) -> bytes:
    """Read until the server closes the connection."""
    connection.settimeout(PATIENCE)
    return b"".join(iter(lambda: connection.recv(10_000), b""))


def workers(server: Server) -> set[int]:
    return set(server.worker_pids())
