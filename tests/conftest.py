"""Shared fixtures: digits, models and a running server.

`QMNIST_DATA` names a torchvision root with QMNIST; the default is `data/`. If QMNIST isn't there,
the tests that ask for it get drawn digits, and models trained on them, so that nothing is skipped.
These tests are marked `data`: they request `qmnist_root`, directly or through another fixture.

The tests run in several processes (`pytest -n`). Each process has its own session fixtures and its
own ports; the processes share only the folders that `made_once` makes.
"""

import fcntl
import functools
import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import httpx
import onnxruntime
import pytest

from tests.pictures import drawn

ROOT = Path(__file__).parent.parent
COMMITTED_MODELS = ROOT / "models"
START_SECONDS = 60
STOP_SECONDS = 20
PATIENCE = 30  # seconds to wait for something to happen
KEYS = ("first-key", "second-key")

# Every call of `httpx.get` loads all certificate authorities, in 20 ms. No test uses TLS.
pytest.MonkeyPatch().setattr(
    "httpx._transports.default.create_ssl_context", functools.cache(httpx.create_ssl_context)
)


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and "qmnist_root" in item.fixturenames:
            item.add_marker("data")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        want_cuda = [item for item in items if item.get_closest_marker("cuda")]
        config.hook.pytest_deselected(items=want_cuda)
        items[:] = [item for item in items if item not in want_cuda]


@dataclass(frozen=True)
class Server:
    """A running server; `log` is the file with its output."""

    url: str
    process: subprocess.Popen[str]
    log: Path
    grpc: str = ""  # the address for gRPC, if there is one

    def worker_pids(self) -> list[int]:
        """Return the ids of the server's worker processes."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]


class RunServer(Protocol):
    """Runs `bentoml serve .` with a folder of models and with settings, then stops it."""

    def __call__(
        self,
        models: Path = COMMITTED_MODELS,
        cwd: Path = ROOT,
        port: int | None = None,
        **settings: object,
    ) -> AbstractContextManager[Server]: ...


class StartServer(Protocol):
    """Runs a server as `RunServer` does, but yields only its URL."""

    def __call__(
        self, models: Path, cwd: Path = ROOT, **settings: object
    ) -> AbstractContextManager[str]: ...


class MadeOnce(Protocol):
    """Makes a folder once per run: other processes wait for it, then use the same one."""

    def __call__(self, name: str, make: Callable[[Path], object]) -> Path: ...


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """A function that makes a folder for all processes of this run."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # the folder of all processes

    def once(name: str, make: Callable[[Path], object]) -> Path:
        folder = shared / name
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                unfinished = shared / f"{name}.unfinished"
                unfinished.mkdir()
                make(unfinished)
                unfinished.rename(folder)
        return folder

    return once


@pytest.fixture(scope="session")
def drawn_root(made_once: MadeOnce) -> Path:
    """A torchvision root with drawn digits instead of QMNIST's."""
    return made_once("drawn", lambda root: drawn.write_qmnist(root, train=2_000, test=1_000))


@pytest.fixture(scope="session")
def drawn_models(drawn_root: Path, made_once: MadeOnce) -> Path:
    """All three models, trained on drawn digits by the command that trains the real ones."""

    def train(folder: Path) -> None:
        command = [sys.executable, "-m", "training", "fit", "all", "--recipe", "notebook"]
        command += ["--data", str(drawn_root), "--models", str(folder)]
        command += ["--runs", str(folder / ".runs"), "--results", str(folder / ".results")]
        subprocess.run(command, cwd=ROOT, check=True)

    return made_once("models-of-drawn", train)


@pytest.fixture(scope="session")
def qmnist_root() -> Path | None:
    """The torchvision root with QMNIST, if there is one."""
    root = Path(os.environ.get("QMNIST_DATA", ROOT / "data"))
    return root if (root / "QMNIST" / "raw").is_dir() else None


@pytest.fixture(scope="session")
def data_root(qmnist_root: Path | None, request: pytest.FixtureRequest) -> Path:
    """A torchvision root with QMNIST if it is available, otherwise with drawn digits."""
    root: Path = qmnist_root or request.getfixturevalue("drawn_root")
    return root


@pytest.fixture(scope="session")
def models(qmnist_root: Path | None, request: pytest.FixtureRequest) -> Path:
    """The models trained on `data_root`; for QMNIST, the committed ones."""
    folder: Path = COMMITTED_MODELS if qmnist_root else request.getfixturevalue("drawn_models")
    return folder


@pytest.fixture(scope="session")
def run_server(tmp_path_factory: pytest.TempPathFactory) -> RunServer:
    """A function that runs a server and yields a `Server`."""

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
                grpc = f"127.0.0.1:{settings['grpc_port']}" if "grpc_port" in settings else ""
                yield Server(url, process, home / "log", grpc)
            finally:
                process.terminate()
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()  # if left running, it would disturb later tests
                    raise

    return run


@pytest.fixture(scope="session")
def start_server(run_server: RunServer) -> StartServer:
    """A function that runs a server and yields its URL."""

    @contextmanager
    def start(models: Path, cwd: Path = ROOT, **settings: object) -> Iterator[str]:
        with run_server(models, cwd, None, **settings) as server:
            yield server.url

    return start


@pytest.fixture(scope="session")
def open_server(run_server: RunServer) -> Iterator[Server]:
    """A server with the committed models and default settings."""
    with run_server() as server:
        yield server


@pytest.fixture(scope="session")
def server(open_server: Server) -> str:
    """The URL of `open_server`."""
    return open_server.url


@pytest.fixture(scope="session")
def closed_server(run_server: RunServer) -> Iterator[Server]:
    """A server with the committed models that requires one of `KEYS`."""
    with run_server(api_keys=",".join(KEYS), cors_origins="https://page.example") as server:
        yield server


@pytest.fixture(scope="session")
def grpc_server(run_server: RunServer) -> Iterator[Server]:
    """A server with two workers that also serves gRPC and logs each request."""
    with run_server(grpc_port=free_port(), workers=2, max_batch=64, log="json") as server:
        yield server


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
    with httpx.Client() as client:
        while time.monotonic() < deadline and server.poll() is None:
            try:
                if client.get(f"{url}/readyz").is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
    said = "".join(log.read_text(encoding="utf-8") for log in logs)
    pytest.fail(f"the server did not start:\n{said}")


def is_ready(url: str) -> bool:
    """Return whether the server reports that it is ready."""
    try:
        return httpx.get(f"{url}/readyz").is_success
    except httpx.TransportError:
        return False


def in_flight(url: str) -> int:
    """Return how many requests the server reports in flight, not counting this one."""
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    (line,) = (n for n in lines if n.startswith("bentoml_service_request_in_progress{"))
    return int(float(line.split()[-1])) - 1


def until(happened: Callable[[], bool]) -> None:
    """Wait until something happens; fail after `PATIENCE` seconds."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, f"nothing happened within {PATIENCE} seconds"
        time.sleep(0.02)


def _ports() -> Iterator[int]:
    """Cycle through 50 ports of this process, below those that the system gives to clients.

    Up to 20 processes of a run have different ports. Another run very likely has others, too.
    """
    run = int(os.environ.get("PYTEST_XDIST_TESTRUNUID", f"{os.getpid():x}"), 16)
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 10_000 + 1_000 * (run % 22) + 50 * (worker % 20)
    return itertools.cycle(range(first, first + 50))


PORTS = _ports()


def free_port() -> int:
    """Return a free port. It is not returned again until the other 49 have been tried."""
    for port in itertools.islice(PORTS, 50):
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    pytest.fail("none of fifty ports is free")
