"""How fast the service is, beside what else one could take, all doing the same work.

    python benchmarks/serving.py peers --quick     # ours against FastAPI, 16 clients
    python benchmarks/serving.py peers             # against all, at 1, 16 and 64 clients
    python benchmarks/serving.py batches           # many pictures in one request
    python benchmarks/serving.py workers           # one worker against two
    python benchmarks/serving.py tensors           # pixels, over the Open Inference Protocol

Each server is started anew in every round, one after the other, so that what else the machine does
hits all alike; what is compared are medians over the rounds. The load comes from wrk, on the same
machine. The environments of the peers are set up in .venv-bench and .venv-bench-mlserver; our own
is what `make serve` sets up. `--json FILE` writes what was measured.
"""

import statistics
import sys
from collections import defaultdict
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image
from rich.console import Console
from rich.progress import Progress

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.servers import (  # noqa: E402
    PEERS,
    Body,
    Measured,
    Server,
    environment,
    load,
    medians,
    ours,
    running,
)
from benchmarks.tables import middle, ratio, table, write  # noqa: E402
from benchmarks.targets import (  # noqa: E402
    Target,
    bentoml_service,
    fastapi,
    form,
    mlserver,
    network_alone,
    picture,
    raw,
    tensor,
)
from benchmarks.tensors import compare  # noqa: E402

CLIENTS = (1, 16, 64)

app = typer.Typer(help=__doc__, rich_markup_mode=None)
console = Console(soft_wrap=True)


Rounds = Annotated[int, typer.Option(help="How often each server is started and measured.")]
Seconds = Annotated[int, typer.Option(help="Of each load.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")]


def targets(quick: bool) -> list[Target]:
    """All that is compared."""
    bins = environment(
        ".venv-bench", ROOT / "requirements" / "serve.txt", PEERS / "requirements.txt"
    )
    own, bare, upload = ours(), fastapi(bins), form("image", [picture()])
    found = [
        Target("ours, raw", own, "/predict", raw()),
        Target("ours, form", own, "/predict", upload),
        Target("FastAPI, raw", bare, "/raw", raw()),
        Target("FastAPI, form", bare, "/form", upload),
    ]
    if not quick:
        lit = [str(bins / "python"), str(PEERS / "litserve_app.py"), "{port}"]
        ml = environment(".venv-bench-mlserver", PEERS / "requirements-mlserver.txt").parent
        found += [
            Target(
                "BentoML, plain",
                bentoml_service(bins, "bentoml_plain", "Plain"),
                "/predict",
                upload,
            ),
            Target("LitServe", Server("LitServe", lit, "/health", PEERS), "/predict", upload),
            Target("MLServer", mlserver(ml), "/v2/models/digits/infer", tensor()),
        ]
    return found


@app.command()
def peers(
    rounds: Rounds = 3,
    seconds: Seconds = 4,
    quick: Annotated[bool, typer.Option(help="Ours against FastAPI alone, 16 clients.")] = False,
    json_file: JsonFile = None,
) -> None:
    """Compare with what else one could take: one worker, one picture a request."""
    all_targets = targets(quick)
    clients = (16,) if quick else CLIENTS
    measured: dict[tuple[str, int], list[Measured]] = defaultdict(list)
    starts: dict[str, list[float]] = defaultdict(list)
    memory: dict[str, list[float]] = defaultdict(list)
    peaks: dict[str, list[float]] = defaultdict(list)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("peers", total=rounds * len(all_targets) * len(clients))
        for _ in range(rounds):
            for server in dict.fromkeys(target.server.name for target in all_targets):
                chosen = [target for target in all_targets if target.server.name == server]
                with running(chosen[0].server) as up:
                    for target in chosen:
                        load(up.url + target.path, target.body, 16, 1)  # to warm up
                        for count in clients:
                            found = load(up.url + target.path, target.body, count, seconds)
                            measured[target.name, count].append(found)
                            progress.advance(task)
                    starts[server].append(up.start_seconds)
                    memory[server].append(up.memory())
                    peaks[server].append(up.peak())

    rows: list[dict[str, Any]] = []
    for target in all_targets:
        for count in clients:
            loads = measured[target.name, count]
            own = measured["ours, form" if "form" in target.name else "ours, raw", count]
            rows.append(
                {
                    "server": target.name,
                    "clients": count,
                    **asdict(medians(loads)),
                    "ours_is_faster": ratio(own, loads),
                    "memory": statistics.median(memory[target.server.name]),
                    "peak_memory": statistics.median(peaks[target.server.name]),
                    "start_seconds": statistics.median(starts[target.server.name]),
                }
            )
    table(
        [
            "server",
            "clients",
            "requests/s",
            "p50 ms",
            "p99 ms",
            "errors",
            "ours is",
            "MB",
            "peak MB",
            "start s",
        ],
        [
            [
                row["server"],
                str(row["clients"]),
                f"{row['per_second']:,.0f}",
                f"{row['p50']:.1f}",
                f"{row['p99']:.1f}",
                str(row["errors"]),
                f"{row['ours_is_faster']:.2f} x",
                f"{row['memory']:.0f}",
                f"{row['peak_memory']:.0f}",
                f"{row['start_seconds']:.1f}",
            ]
            for row in rows
        ],
    )
    console.print("\nours is: our requests a second through theirs, the median over the rounds.")
    write(json_file, {"rounds": rounds, "seconds": seconds, "rows": rows})


@app.command()
def batches(rounds: Rounds = 3, seconds: Seconds = 3, json_file: JsonFile = None) -> None:
    """Compare many pictures in one request with one in each, and pixels with the bare network."""
    sizes = (1, 8, 64, 256, 1_024)
    pixels = np.asarray(Image.open(BytesIO(picture()))).tobytes()
    per_second: dict[str, list[float]] = defaultdict(list)
    cases: dict[str, tuple[str, Body, int, int]] = {
        "/predict, 16 clients": ("/predict", raw(), 16, 1)
    }
    for size in sizes:
        body = form("images", [picture()] * size)
        cases[f"/predict_batch of {size}, 4 clients"] = ("/predict_batch", body, 4, size)
    for size in (1, 64, 1_024):
        body = Body(pixels * size, "application/octet-stream")
        for clients in (1, 4, 64):
            cases[f"/classify of {size}, {clients} clients"] = ("/classify", body, clients, size)
    errors = 0
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("batches", total=rounds * len(cases))
        for _ in range(rounds):
            per_second["network alone, of 1,024"].append(network_alone(1_024))
            with running(ours()) as up:
                for name, (path, body, clients, size) in cases.items():
                    load(up.url + path, body, clients, 1)
                    found = load(up.url + path, body, clients, seconds)
                    per_second[name].append(found.per_second * size)
                    errors += found.errors
                    progress.advance(task)
    single, network = per_second["/predict, 16 clients"], per_second["network alone, of 1,024"]
    rows: list[dict[str, Any]] = [
        {
            "case": name,
            "images_per_second": statistics.median(values),
            "of_single": middle(values, single),
            "of_network": middle(values, network),
        }
        for name, values in per_second.items()
    ]
    table(
        ["request", "pictures/s", "of /predict", "of the network"],
        [
            [
                str(row["case"]),
                f"{row['images_per_second']:,.0f}",
                f"{row['of_single']:.2f} x",
                f"{100 * row['of_network']:.0f} %",
            ]
            for row in rows
        ],
    )
    console.print(f"\n{errors} errors.")
    write(json_file, {"rounds": rounds, "seconds": seconds, "errors": errors, "rows": rows})


@app.command()
def tensors(
    rounds: Rounds = 3,
    seconds: Seconds = 3,
    json_file: JsonFile = None,
    triton: Annotated[
        Path | None,
        typer.Option(
            help="The Python for Triton's environment, in place of the system's. PyTriton runs "
            "models in a Python of its own on this one's library, so not all fit (of 3.11, "
            "3.11.2 does and 3.11.7 does not). Without this option Triton is left out if it does "
            "not start."
        ),
    ] = None,
) -> None:
    """Compare pixels over the Open Inference Protocol with what else speaks it."""
    compare(rounds, seconds, json_file, triton)


@app.command()
def workers(rounds: Rounds = 3, seconds: Seconds = 4, json_file: JsonFile = None) -> None:
    """Compare one worker with two."""
    measured: dict[tuple[int, int], list[Measured]] = defaultdict(list)
    counts, body = (1, 2), raw()
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("workers", total=rounds * len(counts) * len(CLIENTS))
        for _ in range(rounds):
            for count in counts:
                with running(ours(workers=count)) as up:
                    load(f"{up.url}/predict", body, 16, 2)  # to warm up
                    for clients in CLIENTS:
                        found = load(f"{up.url}/predict", body, clients, seconds)
                        measured[count, clients].append(found)
                        progress.advance(task)
    rows = [
        {
            "server": f"{count} worker(s)",
            "clients": clients,
            **asdict(medians(loads)),
            "of_first": ratio(loads, measured[1, clients]),
        }
        for (count, clients), loads in measured.items()
    ]
    table(
        ["server", "clients", "requests/s", "p50 ms", "p99 ms", "errors", "of 1 worker(s)"],
        [
            [
                str(row["server"]),
                str(row["clients"]),
                f"{row['per_second']:,.0f}",
                f"{row['p50']:.1f}",
                f"{row['p99']:.1f}",
                str(row["errors"]),
                f"{row['of_first']:.2f} x",
            ]
            for row in rows
        ],
    )
    write(json_file, {"rounds": rounds, "seconds": seconds, "rows": rows})


if __name__ == "__main__":
    app()
