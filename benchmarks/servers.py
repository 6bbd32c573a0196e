"""Start servers for the benchmarks, one at a time, and load them with wrk."""

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

# wrk runs this script and prints its results as one line of JSON. Its times are in microseconds.
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
    """A request body, its content type and further headers."""

    content: bytes
    content_type: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """The figures of one load.

    Attributes:
        per_second: Requests per second.
        p50: The median latency in milliseconds.
        p99: The 99th percentile of latency in milliseconds.
        errors: How many requests failed or returned an error.
        cores: Processor seconds of the server's processes, per second.
        memory: Their resident memory after the load, in megabytes.
        peak_memory: Their peak resident memory, in megabytes.
        start_seconds: Seconds from the server's start to its first successful health check.
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
    """How to start a server; `{port}` in the command is replaced."""

    name: str
    command: list[str]
    ready: str
    cwd: Path = ROOT
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Running:
    """A server that is ready."""

    url: str
    process: psutil.Process
    start_seconds: float

    def memory(self) -> float:
        """Return the resident memory of all its processes in megabytes."""
        return float(sum(process.memory_info().rss for process in self._family())) / 1e6

    def cpu_seconds(self) -> float:
        """Return the processor seconds of all its processes so far."""
        times = [process.cpu_times() for process in self._family()]
        return float(sum(each.user + each.system for each in times))

    def peak(self) -> float:
        """Return the sum of its processes' peak resident memory in megabytes."""
        return sum(map(peak_of, self._family()))

    def _family(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]


def peak_of(process: psutil.Process) -> float:
    """Return a process's peak resident memory in megabytes (on Linux)."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1_024 / 1e6


def ours(**settings: object) -> Server:
    """Return our service, in the environment of `make serve`, which is set up if missing."""
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
    """Start a server, wait until it is ready, and stop it at the end."""
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
            start_new_session=True,  # so Ctrl+C reaches only the benchmark, which stops it
        )
        url = f"http://{HOST}:{port}"
        try:
            while not _answers(url + server.ready):
                if process.poll() is not None or time.perf_counter() - started > START_SECONDS:
                    log.seek(0)
                    sys.exit(f"{server.name} did not start. Its output:\n{log.read()}")
                time.sleep(0.02)
            yield Running(url, psutil.Process(process.pid), time.perf_counter() - started)
        finally:
            _stop(process)


def load(server: Running, path: str, body: Body, clients: int, seconds: int) -> Measured:
    """Load a server with `clients` clients, each on its own open connection."""
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
    """Return the median of each figure over several loads, and the sum of the errors."""
    each = list(map(asdict, measured))
    found = {name: statistics.median(one[name] for one in each) for name in each[0]}
    return {**found, "errors": sum(one["errors"] for one in each)}


def wrk() -> list[str]:
    """Find wrk, or unpack Debian's packages of it and its library without installing them."""
    if found := shutil.which("wrk"):
        return [found]
    folder = ROOT / ".venv-bench" / "wrk"
    program = folder / "usr" / "bin" / "wrk"
    if not program.exists():
        if not shutil.which("apt-get"):
            sys.exit("This benchmark needs wrk. Install it, for example with `brew install wrk`.")
        folder.mkdir(parents=True, exist_ok=True)
        command = ["apt-get", "download", "--quiet", "wrk", "libluajit-5.1-2"]
        subprocess.run(command, cwd=folder, check=True)
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, folder], check=True)
    (libraries,) = folder.glob("usr/lib/*")
    return ["env", f"LD_LIBRARY_PATH={libraries}", str(program)]


def environment(name: str, *requirements: Path, python: str = sys.executable) -> Path:
    """Create a virtual environment, unless an up-to-date one of this Python exists.

    Returns:
        The environment's `bin` folder.
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
    """Stop a server and its child processes, which LitServe would leave running."""
    children: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):  # it may have exited already
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
