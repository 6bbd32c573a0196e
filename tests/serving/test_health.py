"""The container's health check."""

import subprocess
import sys

from tests.conftest import ROOT, free_port


def check(port: int | str) -> int:
    command = [sys.executable, "-m", "serving.health"]
    return subprocess.run(command, cwd=ROOT, env={"PORT": str(port)}, check=False).returncode


def test_a_service_that_is_ready_is_healthy(server: str) -> None:
    assert check(server.rpartition(":")[2]) == 0


def test_where_nobody_listens_nothing_is_healthy() -> None:
    assert check(free_port()) == 1
