"""How fast the service is, beside what else one could take, all doing the same work.

    python benchmarks/serving.py peers --quick     # ours against FastAPI, 16 clients
    python benchmarks/serving.py peers             # against all, at 1, 16 and 64 clients
    python benchmarks/serving.py batches           # many pictures in one request
    python benchmarks/serving.py workers           # one worker against two
    python benchmarks/serving.py adaptive          # whether adaptive batching helps one picture

Each server is started anew in every round, one after the other, so that what else the machine does
hits all alike; what is compared are medians over the rounds. The load comes from wrk, on the same
machine. The environments of the peers are set up in .venv-bench and .venv-bench-mlserver; our own
is what `make serve` sets up. `--json FILE` writes what was measured.
"""

import base64
import json
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
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
    HOST,
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
from serving import artifacts, settings  # noqa: E402
from serving.classifier import Classifier  # noqa: E402
from serving.imaging import look, open_picture  # noqa: E402
from serving.settings import Provider  # noqa: E402

CLIENTS = (1, 16, 64)
BOUNDARY = "a-boundary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"

app = typer.Typer(help=__doc__, no_args_is_help=True, rich_markup_mode=None)
console = Console(soft_wrap=True)

Rounds = Annotated[int, typer.Option(help="How often each server is started and measured.")]
Seconds = Annotated[int, typer.Option(help="Of each load.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")]


@dataclass(frozen=True)
class Target:
    """One way to send a picture to one server."""

    name: str
    server: Server
    path: str
    body: Body


def picture() -> bytes:
    """A digit as QMNIST has them, 28 x 28, as PNG."""
    stream = BytesIO()
    seven = look(open_picture((ROOT / "docs" / "seven.png").read_bytes(), 10**7)).pixels
    Image.fromarray(seven).save(stream, "PNG")
    return stream.getvalue()


def form(name: str, pictures: list[bytes]) -> Body:
    """A form with files of one name."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="7.png"\r\n'
    parts = [head.encode() + b"Content-Type: image/png\r\n\r\n" + p + b"\r\n" for p in pictures]
    return Body(b"".join(parts) + f"--{BOUNDARY}--\r\n".encode(), FORM)


def raw() -> Body:
    """The picture as it is."""
    return Body(picture(), "image/png")


def tensor() -> Body:
    """The picture as the Open Inference Protocol has it."""
    text = base64.b64encode(picture()).decode()
    sent = {
        "name": "picture",
        "datatype": "BYTES",
        "shape": [1, 1],
        "parameters": {"content_type": "base64"},
        "data": [text],
    }
    return Body(json.dumps({"inputs": [sent]}).encode(), "application/json")


def fastapi(bin_folder: Path) -> Server:
    """FastAPI on uvicorn, with uvloop and httptools."""
    command = [str(bin_folder / "uvicorn"), "fastapi_app:app", "--host", HOST, "--port", "{port}"]
    return Server("FastAPI", [*command, "--no-access-log"], "/ready", PEERS)


def bentoml_service(bin_folder: Path, module: str, name: str) -> Server:
    """One of the BentoML services among the peers."""
    command = [str(bin_folder / "python"), "-m", "bentoml", "serve", f"{module}:{name}"]
    return Server(name, [*command, "--host", HOST, "--port", "{port}"], "/readyz", PEERS)


def mlserver(folder: Path) -> Server:
    """MLServer, with its model in this process: parallel workers cost it more than they bring."""
    settings = {"host": HOST, "parallel_workers": 0, "grpc_port": 0, "metrics_endpoint": None}
    model = {"name": "digits", "implementation": "mlserver_model.Digits"}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    start = "MLSERVER_HTTP_PORT={port} MLSERVER_METRICS_PORT=0 exec "
    command = ["sh", "-c", f"{start}{folder / 'bin' / 'mlserver'} start {folder}"]
    return Server("MLServer", command, "/v2/models/digits/ready", PEERS)


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
                    "ours_is_faster": _ratio(own, loads),
                    "memory": statistics.median(memory[target.server.name]),
                    "peak_memory": statistics.median(peaks[target.server.name]),
                    "start_seconds": statistics.median(starts[target.server.name]),
                }
            )
    _table(
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
    _write(json_file, {"rounds": rounds, "seconds": seconds, "rows": rows})


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
            per_second["network alone, of 1,024"].append(_network_alone(1_024))
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
            "of_single": _middle(values, single),
            "of_network": _middle(values, network),
        }
        for name, values in per_second.items()
    ]
    _table(
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
    _write(json_file, {"rounds": rounds, "seconds": seconds, "errors": errors, "rows": rows})


@app.command()
def workers(rounds: Rounds = 3, seconds: Seconds = 4, json_file: JsonFile = None) -> None:
    """Compare one worker with two."""
    _compare(
        {f"{count} worker(s)": ours(workers=count) for count in (1, 2)},
        rounds,
        seconds,
        json_file,
        raw(),
    )


@app.command()
def adaptive(rounds: Rounds = 3, seconds: Seconds = 4, json_file: JsonFile = None) -> None:
    """Compare BentoML's API with and without adaptive batching, and ours, which has none."""
    bins = environment(
        ".venv-bench", ROOT / "requirements" / "serve.txt", PEERS / "requirements.txt"
    )
    servers = {
        "BentoML, plain": bentoml_service(bins, "bentoml_plain", "Plain"),
        "BentoML, batched": bentoml_service(bins, "bentoml_batched", "Batched"),
        "ours": ours(),
    }
    both = form("image", [picture()])
    batched = Body(both.content.replace(b'name="image"', b'name="images"'), FORM)
    _compare(servers, rounds, seconds, json_file, both, {"BentoML, batched": batched})


def _compare(
    servers: dict[str, Server],
    rounds: int,
    seconds: int,
    json_file: Path | None,
    body: Body,
    bodies: dict[str, Body] | None = None,
) -> None:
    """Load each server's `/predict`, and compare all with the first."""
    measured: dict[tuple[str, int], list[Measured]] = defaultdict(list)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("servers", total=rounds * len(servers) * len(CLIENTS))
        for _ in range(rounds):
            for name, server in servers.items():
                sent = (bodies or {}).get(name, body)
                with running(server) as up:
                    load(f"{up.url}/predict", sent, 16, 2)
                    for count in CLIENTS:
                        found = load(f"{up.url}/predict", sent, count, seconds)
                        measured[name, count].append(found)
                        progress.advance(task)
    first = next(iter(servers))
    rows = [
        {
            "server": name,
            "clients": count,
            **asdict(medians(loads)),
            "of_first": _ratio(loads, measured[first, count]),
        }
        for (name, count), loads in measured.items()
    ]
    _table(
        ["server", "clients", "requests/s", "p50 ms", "p99 ms", "errors", f"of {first}"],
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
    _write(json_file, {"rounds": rounds, "seconds": seconds, "rows": rows})


def _network_alone(size: int) -> float:
    """Images a second of the network in this process, on one core."""
    chosen = settings.load()
    classifier = Classifier(artifacts.load(chosen.models / chosen.model), Provider.CPU)
    images = np.repeat(np.asarray(Image.open(BytesIO(picture())))[None], size, axis=0)
    times = []
    for _ in range(100):
        started = time.perf_counter()
        classifier.predict(images)
        times.append(time.perf_counter() - started)
    return size / statistics.median(times)


def _ratio(ours: list[Measured], theirs: list[Measured]) -> float:
    return _middle([m.per_second for m in ours], [m.per_second for m in theirs])


def _middle(values: list[float], others: list[float]) -> float:
    """Divide round by round, and return the median."""
    return statistics.median(a / b for a, b in zip(values, others, strict=True))


def _table(head: list[str], rows: list[list[str]]) -> None:
    """Print a table that is at home in a terminal and in Markdown."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells: list[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        return " | ".join([first[0].ljust(first[1]), *(c.rjust(w) for c, w in others)])

    rule = " | ".join(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    for text in (line(head), rule, *map(line, rows)):
        console.print(f"| {text} |", highlight=False, markup=False)


def _write(path: Path | None, figures: dict[str, Any]) -> None:
    if path is not None:
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app()
