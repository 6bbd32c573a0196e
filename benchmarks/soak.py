"""Check that memory stays flat and pauses stay short over many requests.

    .venv-dev/bin/python benchmarks/soak.py                      # 100,000 requests
    .venv-dev/bin/python benchmarks/soak.py --requests 10000     # as in CI

Sixteen clients send one worker requests of every kind, including bad ones. The exit code is 1 if
the worker's peak memory grows by more than 10 % after the first thousand requests, if a status is
not the expected one, or if a run of Python's garbage collector takes more than 20 ms.
"""

import http.client
import itertools
import re
import sys
import threading
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from PIL import Image
from rich.console import Console
from rich.progress import Progress

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.servers import Body, Running, ours, peak_of, running  # noqa: E402
from benchmarks.tables import write  # noqa: E402
from benchmarks.targets import form, picture, raw  # noqa: E402

CLIENTS = 16
FIRST = 1_000
GROWTH = 0.10
PAUSE = 0.02  # seconds

console = Console(soft_wrap=True)


@dataclass(frozen=True)
class Kind:
    """A request, and the status that it must get."""

    path: str
    body: Body
    status: int


def kinds() -> list[Kind]:
    """Return all kinds in the order in which they are sent, again and again."""
    large = BytesIO()
    seven = Image.open(ROOT / "docs" / "seven.png").convert("L").resize((1_200, 1_200))
    seven.save(large, "JPEG")
    numbers = Body((ROOT / "docs" / "numbers.png").read_bytes(), "image/png")
    octets = "application/octet-stream"
    tensor = Body((ROOT / "docs" / "infer.json").read_bytes(), "application/json")
    often = [
        Kind("/predict", raw(), 200),
        Kind("/predict?explain=true", raw(), 200),
        Kind("/predict?model=dropout", form("image", [picture()]), 200),
        Kind("/classify", Body(bytes(8 * 784), octets), 200),
        Kind("/v2/models/deeper/infer", tensor, 200),
        Kind("/v2/models/none/infer", tensor, 404),
        Kind("/predict", Body(b"no picture", octets), 415),
        Kind("/predict", Body(picture()[:100], "image/png"), 422),
        Kind("/predict?model=none", raw(), 404),
        Kind("/classify", Body(b"no pixels", octets), 400),
    ]
    seldom = [
        Kind("/read", numbers, 200),
        Kind("/predict", Body(large.getvalue(), "image/jpeg"), 200),
        Kind("/predict_batch", form("images", [picture(), b"no picture"] * 8), 200),
    ]
    return [kind for rare in seldom for kind in (*often * 4, rare)]


def main(
    requests: Annotated[int, typer.Option(help="How many requests to send.")] = 100_000,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures to this file.")
    ] = None,
) -> None:
    """Send requests and check the worker."""
    with running(ours(workers=1)) as server:
        wrong = send(server.url, FIRST)
        first = peak(server)
        wrong += send(server.url, requests - FIRST)
        last = peak(server)
        pauses, long_pauses = collector_pauses(server.url)
    figures = {"requests": requests, "first_mb": first, "last_mb": last, "pauses": pauses}
    show(figures)
    write(json_file, figures)
    problems = [f"unexpected: {what}, {count} times" for what, count in wrong.items()]
    if long_pauses:
        problems.append(f"collections longer than {1_000 * PAUSE:.0f} ms: {long_pauses}")
    if last / first - 1 > GROWTH:
        problems.append(f"memory grew by more than {GROWTH:.0%}")
    if problems:
        sys.exit("\n".join(problems))


def show(figures: dict[str, float]) -> None:
    """Print the worker's peak memory, and how often the garbage collector ran."""
    first, last = figures["first_mb"], figures["last_mb"]
    console.print(
        f"Peak memory of the worker: {first:.1f} MB after {FIRST:,} requests, {last:.1f} MB after "
        f"{figures['requests']:,} ({100 * (last / first - 1):+.1f} %). "
        f"Garbage collections: {figures['pauses']}.",
        highlight=False,
    )


def send(url: str, count: int) -> Counter[str]:
    """Send `count` requests; return the unexpected statuses and how often each came."""
    waiting = itertools.islice(itertools.cycle(kinds()), count)
    lock = threading.Lock()
    wrong: Counter[str] = Counter()

    def client(progress: Progress) -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        while True:
            with lock:
                kind = next(waiting, None)
            if kind is None:
                break
            headers = {"Content-Type": kind.body.content_type}
            connection.request("POST", kind.path, kind.body.content, headers)
            response = connection.getresponse()
            response.read()
            if response.status != kind.status:
                wrong[f"{kind.path}: {response.status}"] += 1
            progress.advance(progress.task_ids[0])
        connection.close()

    with (
        Progress(console=Console(stderr=True), transient=True) as progress,
        ThreadPoolExecutor(CLIENTS) as pool,
    ):
        progress.add_task("requests", total=count)
        for done in [pool.submit(client, progress) for _ in range(CLIENTS)]:
            done.result()
    return wrong


def peak(server: Running) -> float:
    """Return the worker's peak resident memory in megabytes."""
    (worker,) = server.process.children()
    return peak_of(worker)


def collector_pauses(url: str) -> tuple[int, int]:
    """Return how often the garbage collector ran, and how often for longer than `PAUSE`."""
    with urllib.request.urlopen(f"{url}/metrics") as response:  # noqa: S310  it is ours
        text = response.read().decode()
    bucket = r'qmnist_collector_pause_seconds_bucket\{le="%s"\} (\S+)'
    counts = {le: re.search(bucket % re.escape(le), text) for le in (str(PAUSE), "+Inf")}
    short, every = (int(float(found[1])) if found else 0 for found in counts.values())
    return every, every - short


if __name__ == "__main__":
    typer.run(main)
