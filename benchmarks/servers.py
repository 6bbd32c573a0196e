"""Starts servers for the benchmarks, one at a time, and loads them with wrk."""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent
PEERS = ROOT / "benchmarks" / "peers"
HOST = "127.0.0.1"
START_SECONDS = 120
STOP_SECONDS = 20

# wrk reads this script; what it measured comes out as one line of JSON. Its clock is in
# microseconds.
LUA = r"""
local file = io.open(os.getenv("BODY"), "rb")
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = os.getenv("CONTENT_TYPE")
for name, value in string.gmatch(os.getenv("HEADERS"), "([^:\n]+): ([^\n]+)") do
    wrk.headers[name] = value
end
file:close()
function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format(
        '{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "errors": %d}\n',
        summary.requests, summary.duration / 1e6,
        latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
        e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True)
class Body:
    """What is sent."""

    content: bytes
    content_type: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """What a load came to.

    Attributes:
        per_second: Requests a second.
        p50: Milliseconds that half of the requests take at most.
        p99: Milliseconds that all but one in a hundred take at most.
        errors: Requests that failed, or were answered with an error.
        cores: Seconds that the server's processes computed, a second.
        memory: Megabytes that they have after the load.
        peak_memory: Megabytes that they had at most.
        start_seconds: Seconds from the server's start to its first answer.
    """

    per_second: float
    p50: float
    p99: float
    errors: int
    cores: float
    memory: float
    peak_memory: float
    start_seconds: float


@dataclass(frozen=True, eq=False)
class Server:
    """How a server is started; `{port}` in the command is replaced."""

    name: str
    command: list[str]
    ready: str
    cwd: Path = ROOT
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Running:
    """A server that answers."""

    url: str
    process: psutil.Process
    start_seconds: float

    def memory(self) -> float:
        """Megabytes of resident memory of all its processes."""
        return float(sum(process.memory_info().rss for process in self._family())) / 1e6

    def cpu_seconds(self) -> float:
        """Seconds that all its processes have computed so far."""
        times = [process.cpu_times() for process in self._family()]
        return float(sum(each.user + each.system for each in times))

    def peak(self) -> float:
        """Megabytes that its processes had at most, each in its own moment."""
        return sum(map(peak_of, self._family()))

    def _family(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]


def peak_of(process: psutil.Process) -> float:
    """Megabytes of resident memory that a process had at most, as Linux tells it."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1_024 / 1e6


def ours(**settings: object) -> Server:
    """Our service, in the environment of `make serve`, which is set up if it is not there."""
    subprocess.run(["make", "--quiet", ".venv/installed"], cwd=ROOT, check=True)
    python = ROOT / ".venv" / "bin" / "python"
    return Server(
        "ours",
        [str(python), "-m", "bentoml", "serve", ".", "--host", HOST, "--port", "{port}"],
        ready="/readyz",
        environment={f"QMNIST_{name.upper()}": str(value) for name, value in settings.items()},
    )


@contextmanager
def running(server: Server) -> Iterator[Running]:
    """Start a server, wait for its first 200, and stop it in the end."""
    port = _free_port()
    environment = {
        **os.environ,
        "BENTOML_DO_NOT_TRACK": "True",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, PEERS))),
        **server.environment,
    }
    with tempfile.TemporaryDirectory() as home, (Path(home) / "log").open("w+") as log:
        started = time.perf_counter()
        process = subprocess.Popen(
            [part.format(port=port) for part in server.command],
            cwd=server.cwd,
            env={**environment, "BENTOML_HOME": home, "PYTRITON_HOME": home, "PORT": str(port)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # or Ctrl+C would reach it before the benchmark
        )
        url = f"http://{HOST}:{port}"
        try:
            while not _answers(url + server.ready):
                if process.poll() is not None or time.perf_counter() - started > START_SECONDS:
                    log.seek(0)
                    sys.exit(f"{server.name} did not start:\n{log.read()}")
                time.sleep(0.02)
            yield Running(url, psutil.Process(process.pid), time.perf_counter() - started)
        finally:
            _stop(process)


def load(server: Running, path: str, body: Body, clients: int, seconds: int) -> Measured:
    """Load a server with so many clients, each on a connection of its own that is kept."""
    before, began = server.cpu_seconds(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        script, content = Path(folder, "load.lua"), Path(folder, "body")
        script.write_text(LUA, encoding="utf-8")
        content.write_bytes(body.content)
        options = ["-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
        done = subprocess.run(
            [*wrk(), *options, server.url + path],
            env={
                **os.environ,
                "BODY": str(content),
                "CONTENT_TYPE": body.content_type,
                "HEADERS": "\n".join(f"{name}: {value}" for name, value in body.headers.items()),
            },
            capture_output=True,
            text=True,
            check=True,
        )
    found = json.loads(done.stdout.splitlines()[-1])
    return Measured(
        found["requests"] / found["seconds"],
        found["p50"],
        found["p99"],
        found["errors"],
        cores=(server.cpu_seconds() - before) / (time.perf_counter() - began),
        memory=server.memory(),
        peak_memory=server.peak(),
        start_seconds=server.start_seconds,
    )


def medians(measured: list[Measured]) -> dict[str, float]:
    """Return the medians of several loads, by name, and all errors."""
    each = list(map(asdict, measured))
    found = {name: statistics.median(one[name] for one in each) for name in each[0]}
    return {**found, "errors": sum(one["errors"] for one in each)}


def wrk() -> list[str]:
    """Find wrk, or get Debian's and the library that it needs, without installing them."""
    if found := shutil.which("wrk"):
        return [found]
    folder = ROOT / ".venv-bench" / "wrk"
    program = folder / "usr" / "bin" / "wrk"
    if not program.exists():
        if not shutil.which("apt-get"):
            sys.exit("This benchmark wants wrk: brew install wrk, or your system's own way.")
        folder.mkdir(parents=True, exist_ok=True)
        command = ["apt-get", "download", "--quiet", "wrk", "libluajit-5.1-2"]
        subprocess.run(command, cwd=folder, check=True)
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, folder], check=True)
    (libraries,) = folder.glob("usr/lib/*")
    return ["env", f"LD_LIBRARY_PATH={libraries}", str(program)]


def environment(name: str, *requirements: Path, python: str = sys.executable) -> Path:
    """Make a virtual environment, unless it is there, new and of this Python.

    Returns:
        Its folder of programs.
    """
    folder = ROOT / name
    stamp = folder / "installed"
    newest = max(file.stat().st_mtime for file in requirements)
    same = (folder / "bin" / "python").resolve() == Path(python).resolve()
    if not same or not stamp.exists() or stamp.stat().st_mtime < newest:
        subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
        for file in requirements:
            install = [str(folder / "bin" / "pip"), "install", "--quiet", "-r", str(file)]
            subprocess.run(install, check=True)
        stamp.touch()
    return folder / "bin"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a server, and what it would leave behind: LitServe's processes go on working."""
    children: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):  # it may have ended by itself
        children = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  it is ours
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port
