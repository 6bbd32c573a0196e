"""Measure what OpenTelemetry's traces cost in processor time per request.

    .venv-dev/bin/python benchmarks/tracing.py --json docs/performance/tracing.json

The benchmark sends one 28 x 28 PNG to our application in this process: without traces, with traces
of one request in a hundred, and with traces of all requests, in turns. The time is that of all
threads, so it includes making and sending spans. The collector is another process.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.progress import track

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.layers import ask, started  # noqa: E402
from benchmarks.tables import middle, table, write  # noqa: E402
from benchmarks.targets import picture  # noqa: E402
from serving.service import DigitClassifier  # noqa: E402
from serving.telemetry import traces  # noqa: E402

REQUESTS = 2_000  # per turn; the last spans are sent at its end

# Accepts everything that is sent to it, and prints its port.
COLLECTOR = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""

SAMPLERS = {"without": None, "one in a hundred": "0.01", "all": "1"}


def main(
    rounds: Annotated[int, typer.Option(help="How many turns each gets.")] = 8,
    json: Annotated[Path | None, typer.Option(help="Also write the figures to this file.")] = None,
) -> None:
    """Measure, and print a table."""
    with collector() as url:
        found = uvloop.run(measure(rounds, url))
    rows = [
        {
            "traces": name,
            "us": 1e6 * statistics.median(seconds),
            "ratio": middle(seconds, found["without"]),
        }
        for name, seconds in found.items()
    ]
    table({"traces": "{traces}", "µs": "{us:.0f}", "times without": "{ratio:.2f}"}, rows)
    write(json, {"rounds": rounds, "requests": REQUESTS, "traces": rows})


@contextmanager
def collector() -> Iterator[str]:
    """Run a collector and yield its URL."""
    command = [sys.executable, "-c", COLLECTOR]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101  it is a pipe
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.terminate()


async def measure(rounds: int, url: str) -> dict[str, list[float]]:
    """Return the processor seconds per request, turn by turn."""
    service: Any = DigitClassifier  # a bentoml.Service, because it is decorated
    gateway: Any = service.to_asgi()
    png = picture()
    found: dict[str, list[float]] = {name: [] for name in SAMPLERS}
    async with started(gateway):
        # Set only now, because the application reads it at startup.
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = url
        os.environ["OTEL_TRACES_SAMPLER"] = "parentbased_traceidratio"
        for _ in track(range(rounds), "asking", transient=True):
            for name, share in SAMPLERS.items():
                os.environ["OTEL_TRACES_SAMPLER_ARG"] = share or ""
                with traces.exporting() if share else nullcontext():
                    await ask(gateway, png)
                    began = time.process_time()
                    for _ in range(REQUESTS):
                        await ask(gateway, png)
                found[name].append((time.process_time() - began) / REQUESTS)
    return found


if __name__ == "__main__":
    typer.run(main)
