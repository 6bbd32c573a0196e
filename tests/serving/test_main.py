"""`qmnist-digits --version`, and `serve`: the command that it runs, and its errors."""

import os
import socket
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from serving import __version__
from serving.__main__ import app
from serving.settings import SettingsError
from tests.conftest import ROOT, free_port


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command that replaces this process; empty until then."""
    command: list[str] = []
    monkeypatch.setattr(os, "execv", lambda _, arguments: command.extend(arguments))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return command


def serve(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["serve", "--port", str(free_port()), *arguments])


def test_the_version() -> None:
    assert CliRunner().invoke(app, ["--version"]).output == f"{__version__}\n"


def test_it_becomes_bentoml_where_the_code_is(
    started: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = serve("--host", "0.0.0.0", "--models", "mine", "--workers", "2")  # noqa: S104
    assert result.exit_code == 0, result.output
    assert started[:5] == [sys.executable, "-P", "-m", "bentoml", "serve"]
    options = dict(zip(started[6::2], started[7::2], strict=True))
    assert options["--working-dir"] == str(ROOT)
    assert options["--host"] == "0.0.0.0"  # noqa: S104
    assert os.environ["QMNIST_MODELS"] == str(tmp_path / "mine")
    assert os.environ["QMNIST_WORKERS"] == "2"
    assert os.environ["BENTOML_DO_NOT_TRACK"] == "True"


def test_a_port_that_is_taken(started: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = serve("--port", str(taken.getsockname()[1]))
    assert result.exit_code == 2
    assert "Address already in use" in result.output
    assert not started


def test_a_host_that_is_no_address(started: list[str]) -> None:
    result = serve("--host", "localhost")
    assert result.exit_code == 2
    assert "use an IP address" in result.output
    assert not started


def test_a_setting_that_is_wrong(started: list[str]) -> None:
    os.environ["QMNIST_DRAIN"] = "x"
    result = serve()
    assert isinstance(result.exception, SettingsError)
    assert "QMNIST_DRAIN='x'" in str(result.exception)
    assert not started
