"""Measure the cost of pictures, and the metrics of an overloaded worker.

    .venv-dev/bin/python benchmarks/capacity.py measure --json docs/scaling/measured.json  # 1 min
    .venv-dev/bin/python benchmarks/capacity.py flood --json docs/scaling/flood.json       # 3 min

The last line of `flood` is the threshold on requests in flight by which `deploy/kubernetes` scales.
"""

import statistics
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.progress import Progress

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.servers import Body, load, ours, peak_of, running  # noqa: E402
from benchmarks.tables import console, table, write  # noqa: E402
from benchmarks.targets import raw  # noqa: E402

TARGET = 0.65  # cores per replica that the autoscaler aims for, as in deploy/kubernetes

CLIENTS = 4  # while CPU time is measured

# Seconds of a flood: for all clients to connect, to count, and to finish.
SETTLING, COUNTING, ENDING = 15, 15, 5

app = typer.Typer(help="Measure what one worker carries.")
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Also write the figures to this file.")
]


@app.command()
def measure(rounds: int = 3, seconds: int = 3, json_file: JsonFile = None) -> None:
    """Measure the cost of pictures of several sizes."""
    kinds = pictures()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in kinds}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("pictures", total=rounds * len(kinds))
        for _ in range(rounds):
            for name, body in kinds.items():
                with running(ours(workers=1)) as up:
                    at_rest = up.memory()
                    (worker,) = up.process.children()
                    load(up, "/predict", body, CLIENTS, 1)  # to warm up
                    loaded = load(up, "/predict", body, CLIENTS, seconds)
                    carries = loaded.per_second / loaded.cores
                    found[name].append(
                        {
                            "cpu_ms": 1_000 / carries,
                            "carries": carries,
                            "kb": len(body.content) / 1_000,
                            "mbits": carries * len(body.content) * 8 / 1e6,
                            "peak_mb": peak_of(worker),
                            "start_seconds": up.start_seconds,
                            "mb_at_rest": at_rest,
                        }
                    )
                progress.advance(task)
    rows: list[dict[str, Any]] = [
        {"picture": name, **{key: statistics.median(r[key] for r in each) for key in each[0]}}
        for name, each in found.items()
    ]
    figures = {
        "rounds": rounds,
        "start_seconds": statistics.median(row["start_seconds"] for row in rows),
        "mb_at_rest": statistics.median(row["mb_at_rest"] for row in rows),
        "rows": rows,
    }
    show_measured(figures)
    write(json_file, figures)


def show_measured(figures: dict[str, Any]) -> None:
    """Print the cost of pictures."""
    columns = {
        "picture": "{picture}",
        "CPU ms": "{cpu_ms:.2f}",
        "a core carries, /s": "{carries:,.0f}",
        "kB": "{kb:,.2f}",
        "Mbit/s": "{mbits:,.0f}",
        "peak MB": "{peak_mb:.0f}",
    }
    table(columns, figures["rows"])
    console.print(
        f"\nFrom start to ready: {figures['start_seconds']:.1f} s. At rest all its processes have "
        f"{figures['mb_at_rest']:.0f} MB.",
        highlight=False,
    )


@app.command()
def flood(json_file: JsonFile = None) -> None:
    """Measure the metrics of an overloaded worker."""
    small, _, large = pictures().items()
    cases = [(*kind, clients) for kind in (small, large) for clients in (16, 256)]
    rows: list[dict[str, Any]] = []
    with (
        Progress(console=Console(stderr=True), transient=True) as progress,
        ThreadPoolExecutor(1) as pool,
    ):
        task = progress.add_task("floods", total=len(cases))
        for name, body, clients in cases:
            with running(ours(workers=1)) as up:
                whole = SETTLING + COUNTING + ENDING
                loading = pool.submit(load, up, "/predict", body, clients, whole)
                time.sleep(SETTLING)
                counts, probes = flooded(up.url)
                found = loading.result()
            rows.append(
                {
                    "picture": name,
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
    """Watch a loaded server.

    Returns:
        Its counts per second, and the seconds of health checks, each over a new connection.
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
    """Print the metrics of an overloaded worker, and the threshold that follows from them."""
    columns = {
        "picture": "{picture}",
        "clients": "{clients}",
        "answered/s": "{answered:,.0f}",
        "refused/s": "{refused:,.0f}",
        "in flight": "{in_flight:.2f}",
        "busy": "{busy:.2f}",
        "p50 ms": "{p50:,.1f}",
        "probe ms": "{probe_ms:,.0f}",
    }
    table(columns, figures["rows"])
    console.print(
        f"\n{100 * TARGET:.0f} % of the least in flight: {threshold(figures):.2f}.", highlight=False
    )


def threshold(figures: dict[str, Any]) -> float:
    """Return `TARGET` times the fewest requests in flight of any flood."""
    return float(TARGET * min(row["in_flight"] for row in figures["rows"]))


def counted(url: str) -> dict[str, float]:
    """Read a server's counts so far.

    Returns:
        The numbers of requests answered and refused, and the seconds that requests were in flight
        and that decoding and the networks took (`busy`).
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


def pictures() -> dict[str, Body]:
    """Return pictures as people send them."""
    drawn = ROOT / "docs" / "seven.png"
    shades = np.asarray(Image.open(drawn).convert("L").resize((4_000, 3_000)), np.float64)
    noisy = shades + np.random.default_rng(0).normal(0, 4, shades.shape)
    photograph = BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).convert("RGB").save(
        photograph, "JPEG", quality=85
    )
    return {
        "a digit, 28 x 28, PNG": raw(),
        "a drawing, 280 x 280, PNG": Body(drawn.read_bytes(), "image/png"),
        "a photograph, 4000 x 3000, JPEG": Body(photograph.getvalue(), "image/jpeg"),
    }


if __name__ == "__main__":
    app()
