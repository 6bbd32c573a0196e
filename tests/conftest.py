"""What the tests share: digits, models and a running server.

`QMNIST_DATA` names a torchvision root with QMNIST. Where it has none, every test that wants
QMNIST gets digits that the project draws, and models trained on those: nothing is skipped.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import httpx
import pytest

from tests import drawn

ROOT = Path(__file__).parent.parent
COMMITTED_MODELS = ROOT / "models"
START_SECONDS = 60
STOP_SECONDS = 20


@dataclass(frozen=True)
class Server:
    """A running server; `log` is what it wrote."""

    url: str
    process: subprocess.Popen[str]
    log: Path

    def worker_pids(self) -> list[int]:
        """The processes that answer, of which it is the parent."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]


class RunServer(Protocol):
    """Runs `bentoml serve .` with the models of a folder and the settings, then stops it."""

    def __call__(
        self,
        models: Path = COMMITTED_MODELS,
        cwd: Path = ROOT,
        port: int | None = None,
        **settings: object,
    ) -> AbstractContextManager[Server]: ...


class StartServer(Protocol):
    """The same, for those who want its URL alone."""

    def __call__(
        self, models: Path, cwd: Path = ROOT, **settings: object
    ) -> AbstractContextManager[str]: ...


@pytest.fixture(scope="session")
def drawn_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A torchvision root with drawn digits in the place of QMNIST's."""
    root = tmp_path_factory.mktemp("drawn")
    drawn.write_qmnist(root, train=2_000, test=1_000)
    return root


@pytest.fixture(scope="session")
def drawn_models(drawn_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All three models, trained on drawn digits by the command that trains the real ones."""
    folder = tmp_path_factory.mktemp("models-of-drawn")
    command = [sys.executable, "-m", "training", "fit", "all", "--recipe", "notebook"]
    command += ["--data", str(drawn_root), "--models", str(folder)]
    command += ["--runs", str(folder / ".runs"), "--results", str(folder / ".results")]
    subprocess.run(command, cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="session")
def qmnist_root() -> Path | None:
    """The torchvision root with QMNIST, if there is one."""
    root = Path(os.environ.get("QMNIST_DATA", ROOT / "data"))
    return root if (root / "QMNIST" / "raw").is_dir() else None


@pytest.fixture(scope="session")
def data_root(qmnist_root: Path | None, request: pytest.FixtureRequest) -> Path:
    """QMNIST, or else drawn digits."""
    root: Path = qmnist_root or request.getfixturevalue("drawn_root")
    return root


@pytest.fixture(scope="session")
def models(qmnist_root: Path | None, request: pytest.FixtureRequest) -> Path:
    """The models that were trained on `data_root`: the committed ones, if that is QMNIST."""
    folder: Path = COMMITTED_MODELS if qmnist_root else request.getfixturevalue("drawn_models")
    return folder


@pytest.fixture(scope="session")
def run_server(tmp_path_factory: pytest.TempPathFactory) -> RunServer:
    """A way to run servers."""

    @contextmanager
    def run(
        models: Path = COMMITTED_MODELS,
        cwd: Path = ROOT,
        port: int | None = None,
        **settings: object,
    ) -> Iterator[Server]:
        home = tmp_path_factory.mktemp("server")
        port = port or free_port()
        url = f"http://127.0.0.1:{port}"
        settings = {"models": models, "drain": 0, **settings}
        environment = {f"QMNIST_{name.upper()}": str(value) for name, value in settings.items()}
        with (home / "log").open("w+", encoding="utf-8") as log:
            process = bentoml_serve(port, environment, home, log, cwd)
            try:
                wait_until_ready(url, process, home / "log")
                yield Server(url, process, home / "log")
            finally:
                process.terminate()
                process.wait(STOP_SECONDS)

    return run


@pytest.fixture(scope="session")
def start_server(run_server: RunServer) -> StartServer:
    """A way to start servers."""

    @contextmanager
    def start(models: Path, cwd: Path = ROOT, **settings: object) -> Iterator[str]:
        with run_server(models, cwd, None, **settings) as server:
            yield server.url

    return start


@pytest.fixture(scope="session")
def server(start_server: StartServer) -> Iterator[str]:
    """The URL of a server with the committed models."""
    with start_server(COMMITTED_MODELS) as url:
        yield url


def bentoml_serve(
    port: int, settings: dict[str, str], home: Path, log: IO[str], cwd: Path = ROOT
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bentoml", "serve", ".", "--host", "127.0.0.1", "--port", str(port)],
        cwd=cwd,
        env={**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", **settings},
        stdout=log,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_until_ready(url: str, server: subprocess.Popen[str], *logs: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(f"{url}/readyz").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    said = "".join(log.read_text(encoding="utf-8") for log in logs)
    pytest.fail(f"the server did not start:\n{said}")


def free_port() -> int:
    """A port that nobody listens on, as the operating system gives it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
