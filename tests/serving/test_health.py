"""The container's health check."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from serving import health
from tests.conftest import ROOT, free_port


def check(port: int | str) -> int:
    command = [sys.executable, "-m", "serving.health"]
    return subprocess.run(command, cwd=ROOT, env={"PORT": str(port)}, check=False).returncode


def test_a_service_that_is_ready_is_healthy(server: str) -> None:
    assert check(server.rpartition(":")[2]) == 0


def test_where_nobody_listens_nothing_is_healthy() -> None:
    assert check(free_port()) == 1


@pytest.mark.parametrize(("status", "ready"), [(200, True), (503, False)])
def test_a_service_is_as_ready_as_it_says(status: int, ready: bool) -> None:
    with service(status) as port:
        assert health.is_ready(port) is ready


def test_a_service_that_hangs_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "SECONDS", 0.1)
    with service(200, hangs=True) as port:
        assert not health.is_ready(port)


@contextmanager
def service(status: int, *, hangs: bool = False) -> Iterator[int]:
    """Yield the port of a server whose /readyz returns a status, or hangs until the end."""
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if hangs:
                ended.wait()
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            ended.set()
            server.shutdown()
            thread.join()
