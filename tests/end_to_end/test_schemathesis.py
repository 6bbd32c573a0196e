"""Schemathesis sends all kinds of requests, generated from the service's own description."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RunServer

# Every answer is checked against these promises of the description.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "negative_data_rejection",
    "ignored_auth",
)


@pytest.fixture(scope="module")
def keyed(run_server: RunServer) -> Iterator[str]:
    """The URL of a server of its own: requests of the second description may unload its models."""
    with run_server(api_keys="key") as server:
        yield server.url


@pytest.mark.parametrize("description", ["docs.json", "v2/openapi.json"])
def test_every_answer_is_as_described(keyed: str, tmp_path: Path, description: str) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{keyed}/{description}"]
    command += ["--header", "X-API-Key: key", "--checks", ",".join(CHECKS)]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", "50"]
    command += ["--seed", "1", "--request-timeout", "30", "--no-color"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
