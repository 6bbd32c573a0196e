"""How many replicas it takes, and what a sudden load does until they are there.

    python benchmarks/capacity.py measure --json docs/scaling/measured.json    # a minute
    python benchmarks/capacity.py flood --json docs/scaling/flood.json         # three minutes
    python benchmarks/capacity.py replicas --price 0.04
    python benchmarks/capacity.py jump --json docs/scaling/jump.json --picture docs/scaling/jump.png

`measure` and `flood` ask the real server. The other two compute, from what it measured and from
`docs/performance/`. What `jump` simulates is in `benchmarks/autoscaling.py`.
"""

import http.client
import json
import math
import socket
import statistics
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import numpy as np
import typer
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.progress import Progress

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.autoscaling import (  # noqa: E402
    AFTER,
    BACKLOG,
    BEFORE,
    LEAST,
    LIMIT,
    REPORTED,
    TARGET,
    Case,
    Second,
    draw,
    outcome,
    row,
    simulate,
)
from benchmarks.servers import Body, load, ours, peak_of, running  # noqa: E402
from benchmarks.tables import console, table, write  # noqa: E402
from benchmarks.targets import raw  # noqa: E402

MEASURED = ROOT / "docs" / "scaling" / "measured.json"
PERFORMANCE = ROOT / "docs" / "performance"

HOURLY = (1_000, 1_000_000, 100_000_000)
PLANNED = 2 / 3  # of what a core carries: so that others can take over what one of them did

JUMP = 10
AT_FIRST = 0.5  # of what two replicas carry

CLIENTS = 4  # that ask at the same time while the CPU's time is measured

# Seconds of a flood: until all clients have their connections, while it is counted, and after that.
SETTLING, COUNTING, ENDING = 15, 15, 5

app = typer.Typer(help="How many replicas it takes.")
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")]


@dataclass(frozen=True)
class Kind:
    """A kind of picture, and how many of it a client sends."""

    name: str
    body: Body
    count: int


@app.command()
def jump(
    node_start: Annotated[
        float, typer.Option(help="Assumed: seconds until a new machine takes pods.")
    ] = 90,
    pod_start: Annotated[
        float, typer.Option(help="Assumed: seconds until a pod is placed and its image there.")
    ] = 10,
    seed: Annotated[int, typer.Option()] = 0,
    picture: Annotated[Path | None, typer.Option(help="Also draw it here, as PNG.")] = None,
    json_file: JsonFile = None,
) -> None:
    """Simulate a tenfold jump of the load."""
    carried = one_core()
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    shape = np.array(measured["service_time_quantiles"])
    services = shape / shape.mean() / carried
    start = pod_start + measured["start_seconds"]
    at_first = AT_FIRST * LEAST * carried
    rates = [at_first] * BEFORE + [JUMP * at_first] * AFTER
    half = math.ceil(JUMP * at_first / carried / TARGET) // 2
    cases = [
        Case("as in deploy/kubernetes", TARGET, start, BACKLOG),
        Case("a limit in front", TARGET, start, LIMIT),
        Case("limit, target 40 %", 0.4, start, LIMIT),
        Case("limit, new machines", TARGET, start + node_start, LIMIT),
        Case(f"limit, {half} replicas at least", TARGET, start, LIMIT, half),
    ]
    seconds: list[Second] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("seconds", total=len(cases) * len(rates))
        for case in cases:
            for second in simulate(case, services, rates, seed):
                seconds.append(second)
                progress.advance(task)
    if picture is not None:
        draw(cases, seconds, carried, picture)
    figures = {
        "seed": seed,
        "start": start,
        "outcomes": [outcome(case, [s for s in seconds if s.case == case.name]) for case in cases],
        "rows": [row(seconds[i : i + REPORTED]) for i in range(0, len(seconds), REPORTED)],
    }
    show_jump(figures)
    write(json_file, figures)


def show_jump(figures: dict[str, Any]) -> None:
    """Print what happened in the first two cases, and what came of all."""
    for name in [each["name"] for each in figures["outcomes"][:2]]:
        console.print(f"{name}:\n", highlight=False)
        table(
            [
                "seconds since the jump",
                "requests/s",
                "replicas",
                "ready",
                "p50 ms",
                "p99 ms",
                "refused",
            ],
            [
                [
                    str(row["since_jump"]),
                    f"{row['per_second']:,.0f}",
                    str(row["replicas"]),
                    f"{row['ready']:.1f}",
                    _shown(row["p50"], ".1f"),
                    _shown(row["p99"], ".1f"),
                    f"{100 * row['refused']:.1f} %",
                ]
                for row in figures["rows"]
                if row["case"] == name
            ],
        )
        console.print()
    table(
        ["", "replicas at first", "in the end", "refused in all", "until under 1 % is refused, s"],
        [
            [
                each["name"],
                str(each["replicas_at_first"]),
                str(each["replicas_in_the_end"]),
                f"{100 * each['refused']:.1f} %",
                _shown(each["seconds_until_few_are_refused"], "d", f"over {AFTER}"),
            ]
            for each in figures["outcomes"]
        ],
    )


def _shown(value: float | None, form: str, unknown: str = "") -> str:
    return unknown if value is None else format(value, form)


@app.command()
def replicas(
    price: Annotated[
        float, typer.Option(help="Assumed: dollars for an hour of one virtual CPU.")
    ] = 0.04,
    json_file: JsonFile = None,
) -> None:
    """Compute replicas and cost; one replica is one core."""
    batches = json.loads((PERFORMANCE / "batches.json").read_text(encoding="utf-8"))["rows"]
    name = "/predict_batch of 256, 4 clients"
    (batched,) = (row["images_per_second"] for row in batches if row["case"] == name)
    rows: list[dict[str, Any]] = []
    for way, carried in (("one a request", one_core()), ("256 a request", batched)):
        for hourly in HOURLY:
            busy = hourly / 3_600 / carried
            count = max(LEAST, math.ceil(busy / PLANNED))
            rows.append(
                {
                    "way": way,
                    "hourly": hourly,
                    "carried": carried,
                    "busy_cores": busy,
                    "replicas": count,
                    "dollars_an_hour": count * price,
                    "dollars_a_million": count * price / hourly * 1e6,
                }
            )
    table(
        [
            "pictures",
            "an hour",
            "a second",
            "a core carries",
            "cores busy",
            "replicas",
            "$ an hour",
            "$ a million",
        ],
        [
            [
                row["way"],
                f"{row['hourly']:,}",
                f"{row['hourly'] / 3_600:,.1f}",
                f"{row['carried']:,.0f}",
                f"{row['busy_cores']:.4f}",
                str(row["replicas"]),
                f"{row['dollars_an_hour']:.2f}",
                f"{row['dollars_a_million']:,.4f}",
            ]
            for row in rows
        ],
    )
    write(json_file, {"price": price, "rows": rows})


def one_core() -> float:
    """Pictures a second of one worker, as docs/performance.md has it."""
    rows = json.loads((PERFORMANCE / "workers.json").read_text(encoding="utf-8"))["rows"]
    (row,) = (r for r in rows if r["server"] == "1 worker(s)" and r["clients"] == 16)
    return float(row["per_second"])


@app.command()
def measure(rounds: Annotated[int, typer.Option(min=1)] = 3, json_file: JsonFile = None) -> None:
    """Measure what pictures of several sizes cost, and the times of single requests."""
    kinds = pictures()
    found: dict[str, list[dict[str, float]]] = {kind.name: [] for kind in kinds}
    starts: list[float] = []
    at_rest: list[float] = []
    times: list[float] = []
    with (
        Progress(console=Console(stderr=True), transient=True) as progress,
        ThreadPoolExecutor(CLIENTS) as clients,
    ):
        task = progress.add_task("pictures", total=rounds * len(kinds))
        for _ in range(rounds):
            for kind in kinds:
                with running(ours(workers=1)) as up:
                    starts.append(up.start_seconds)
                    at_rest.append(up.memory())
                    (worker,) = up.process.children()
                    alone = ask(up.url, kind.body, kind.count)
                    times += alone if kind is kinds[0] else []
                    before = up.cpu_seconds()
                    asked = [
                        clients.submit(ask, up.url, kind.body, kind.count) for _ in range(CLIENTS)
                    ]
                    answered = sum(len(each.result()) for each in asked)
                    sent, received = on_the_wire(up.url, kind.body)
                    found[kind.name].append(
                        {
                            "cpu_ms": 1_000 * (up.cpu_seconds() - before) / answered,
                            "peak_mb": peak_of(worker),
                            "bytes_in": sent,
                            "bytes_out": received,
                        }
                    )
                progress.advance(task)
    figures = {
        "rounds": rounds,
        "start_seconds": statistics.median(starts),
        "mb_at_rest": statistics.median(at_rest),
        "rows": [
            {"picture": name, **{key: statistics.median(r[key] for r in each) for key in each[0]}}
            for name, each in found.items()
        ],
        # Of one request after the other, with the way to the server and back.
        "service_time_quantiles": np.quantile(times, (np.arange(1_000) + 0.5) / 1_000).tolist(),
    }
    show_measured(figures)
    write(json_file, figures)


def show_measured(figures: dict[str, Any]) -> None:
    """Print what pictures cost."""
    table(
        ["picture", "CPU ms", "a core carries, /s", "kB in", "kB out", "Mbit/s in", "peak MB"],
        [
            [
                row["picture"],
                f"{row['cpu_ms']:.2f}",
                f"{1_000 / row['cpu_ms']:,.0f}",
                f"{row['bytes_in'] / 1_000:,.2f}",
                f"{row['bytes_out'] / 1_000:,.2f}",
                f"{row['bytes_in'] * 8 / 1e6 * 1_000 / row['cpu_ms']:,.0f}",
                f"{row['peak_mb']:.0f}",
            ]
            for row in figures["rows"]
        ],
    )
    console.print(
        f"\nFrom start to ready: {figures['start_seconds']:.1f} s. At rest all its processes have "
        f"{figures['mb_at_rest']:.0f} MB.",
        highlight=False,
    )


@app.command()
def flood(json_file: JsonFile = None) -> None:
    """See what a worker says of itself when it has too much to do."""
    small, _, large = pictures()
    cases = [(kind, clients) for kind in (small, large) for clients in (16, 256)]
    rows: list[dict[str, Any]] = []
    with (
        Progress(console=Console(stderr=True), transient=True) as progress,
        ThreadPoolExecutor(1) as pool,
    ):
        task = progress.add_task("floods", total=len(cases))
        for kind, clients in cases:
            with running(ours(workers=1)) as up:
                whole = SETTLING + COUNTING + ENDING
                loading = pool.submit(load, f"{up.url}/predict", kind.body, clients, whole)
                time.sleep(SETTLING)
                counts, probes = flooded(up.url)
                found = loading.result()
            rows.append(
                {
                    "picture": kind.name,
                    "clients": clients,
                    **counts,
                    "p50": found.p50,
                    "probe_ms": 1_000 * statistics.median(probes),
                }
            )
            progress.advance(task)
    figures = {"rows": rows}
    show_flood(figures)
    write(json_file, figures)


def flooded(url: str) -> tuple[dict[str, float], list[float]]:
    """Look at a server that is loaded.

    Returns:
        What it counts a second, and the seconds that probes take, each over a new connection.
    """
    before, began = counted(url), time.perf_counter()
    probes = []
    while time.perf_counter() < began + COUNTING:
        asked = time.perf_counter()
        with urllib.request.urlopen(f"{url}/readyz") as response:  # noqa: S310  it is ours
            response.read()
        probes.append(time.perf_counter() - asked)
        time.sleep(1)
    after, passed = counted(url), time.perf_counter() - began
    return {key: (after[key] - before[key]) / passed for key in after}, probes


def show_flood(figures: dict[str, Any]) -> None:
    """Print what a worker says of itself, and the threshold that follows from it."""
    table(
        [
            "picture",
            "clients",
            "answered/s",
            "refused/s",
            "in flight",
            "busy",
            "p50 ms",
            "probe ms",
        ],
        [
            [
                row["picture"],
                str(row["clients"]),
                f"{row['answered']:,.0f}",
                f"{row['refused']:,.0f}",
                f"{row['in_flight']:.2f}",
                f"{row['busy']:.2f}",
                f"{row['p50']:,.1f}",
                f"{row['probe_ms']:,.0f}",
            ]
            for row in figures["rows"]
        ],
    )
    console.print(
        f"\n{100 * TARGET:.0f} % of the least in flight: {threshold(figures):.2f}.", highlight=False
    )


def threshold(figures: dict[str, Any]) -> float:
    """Say how many requests in flight are, of the pictures that show the fewest, `TARGET`."""
    return float(TARGET * min(row["in_flight"] for row in figures["rows"]))


def counted(url: str) -> dict[str, float]:
    """Read what a server has counted so far.

    Returns:
        Requests that were answered and refused, the seconds that they were there (`in_flight`), and
        those of decoding and of the networks (`busy`).
    """
    with urllib.request.urlopen(f"{url}/metrics") as response:  # noqa: S310  it is ours
        families = list(text_string_to_metric_families(response.read().decode()))
    found = dict.fromkeys(("answered", "refused", "in_flight", "busy"), 0.0)
    for sample in chain.from_iterable(family.samples for family in families):
        if sample.name in {"qmnist_decode_seconds_sum", "qmnist_network_seconds_sum"}:
            found["busy"] += sample.value
        elif sample.name == "bentoml_service_request_duration_seconds_sum":
            found["in_flight"] += sample.value
        elif sample.name == "bentoml_service_request_total":
            status = sample.labels["http_response_code"]
            if sample.labels["endpoint"] == "/predict" and status in {"200", "503"}:
                found["answered" if status == "200" else "refused"] += sample.value
    return found


def pictures() -> list[Kind]:
    """Pictures that people send."""
    drawn = ROOT / "docs" / "seven.png"
    shades = np.asarray(Image.open(drawn).convert("L").resize((4_000, 3_000)), np.float64)
    noisy = shades + np.random.default_rng(0).normal(0, 4, shades.shape)
    photograph = BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).convert("RGB").save(
        photograph, "JPEG", quality=85
    )
    return [
        Kind("a digit, 28 x 28, PNG", raw(), 1_000),
        Kind("a drawing, 280 x 280, PNG", Body(drawn.read_bytes(), "image/png"), 300),
        Kind("a photograph, 4000 x 3000, JPEG", Body(photograph.getvalue(), "image/jpeg"), 5),
    ]


def on_the_wire(url: str, body: Body) -> tuple[int, int]:
    """Count the bytes of one request and of its answer."""
    parts = urlsplit(url)
    head = (
        f"POST /predict HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n"
        f"Content-Type: {body.content_type}\r\nContent-Length: {len(body.content)}\r\n\r\n"
    )
    request = head.encode("ascii") + body.content
    with socket.create_connection((parts.hostname, parts.port or 0)) as connection:
        connection.sendall(request)
        received = sum(map(len, iter(lambda: connection.recv(10_000), b"")))
    return len(request), received


def ask(url: str, body: Body, count: int) -> list[float]:
    """Time requests, one after the other, on one connection."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    times = []
    for _ in range(count):
        began = time.perf_counter()
        connection.request("POST", "/predict", body.content, {"Content-Type": body.content_type})
        connection.getresponse().read()
        times.append(time.perf_counter() - began)
    connection.close()
    return times


if __name__ == "__main__":
    app()
