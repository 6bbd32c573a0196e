"""Compare the service's throughput with other servers that do the same work.

    .venv-dev/bin/python benchmarks/serving.py peers --quick   # FastAPI only
    .venv-dev/bin/python benchmarks/serving.py peers           # all other servers
    .venv-dev/bin/python benchmarks/serving.py batches         # many pictures per request
    .venv-dev/bin/python benchmarks/serving.py workers         # one worker against two
    .venv-dev/bin/python benchmarks/serving.py tensors         # the Open Inference Protocol

Every round starts each server again, one after the other, so other load on the machine affects all
of them alike. The tables compare medians over the rounds. wrk generates the load on the same
machine. The other servers are installed in .venv-bench and .venv-bench-mlserver, ours in .venv as
by `make serve`. `--json FILE` also writes the figures to a file.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.servers import Body, Measured, medians, ours  # noqa: E402
from benchmarks.tables import middle, table, write  # noqa: E402
from benchmarks.targets import (  # noqa: E402
    Target,
    bentoml_plain,
    binary,
    fastapi,
    form,
    kinds,
    litserve,
    measure,
    mlserver,
    numbers,
    picture,
    pixels,
    raw,
    tensor,
    triton,
    triton_if_it_starts,
)

CLIENTS = (1, 16, 64)
SIZES = {1: 16, 64: 4, 1_024: 4}  # pictures per tensor request: clients

app = typer.Typer(help=__doc__, rich_markup_mode=None)

Rounds = Annotated[int, typer.Option(help="How often to start and measure each server.")]
Seconds = Annotated[int, typer.Option(help="How long to load a server each time.")]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Also write the figures to this file.")
]


def row(target: Target, loads: list[Measured], **more: float) -> dict[str, Any]:
    """Return a target's figures, as medians over the rounds."""
    return {
        "server": target.name,
        "clients": target.clients,
        "images": target.pictures,
        "cpu_us": 1e6 * middle([x.cores for x in loads], [x.per_second for x in loads]),
        "images_per_second": target.pictures * medians(loads)["per_second"],
        **medians(loads),
        **more,
    }


def ratio(loads: list[Measured], others: list[Measured]) -> float:
    """Return the median over the rounds of one throughput divided by the other."""
    return middle([each.per_second for each in loads], [each.per_second for each in others])


def share(target: Target, loads: list[Measured], network: list[float]) -> float:
    """Return the median over the rounds of pictures per second, divided by the bare network's."""
    return middle([target.pictures * each.per_second for each in loads], network)


def times(ratio: float) -> str:
    """Format a ratio with about two digits."""
    decimals = 0 if ratio >= 9.95 else 1 if ratio >= 0.995 else 2
    return f"{ratio:.{decimals}f}x"


@app.command()
def peers(
    rounds: Rounds = 5,
    seconds: Seconds = 4,
    quick: Annotated[bool, typer.Option(help="Compare with FastAPI only.")] = False,
    only: Annotated[
        str, typer.Option(help="Send only pictures whose name contains this text.")
    ] = "",
    json_file: JsonFile = None,
) -> None:
    """Compare with other servers: one worker, 16 clients, one picture per request."""
    own, bare = ours(), fastapi()
    if not quick:
        plain, lit, ml = bentoml_plain(), litserve(), mlserver()
    targets = []
    for kind, content in kinds().items():
        if only not in kind:
            continue
        body, upload = raw(content), form("image", [content])
        compared = [
            ("ours", own, "/predict", body),
            ("ours, form", own, "/predict", upload),
            ("FastAPI, Pillow's resize", bare, "/raw", body),
            ("FastAPI, Pillow's resize, form", bare, "/form", upload),
        ]
        if not quick:
            compared += [
                ("FastAPI, our imaging", bare, "/imaging/raw", body),
                ("FastAPI, our imaging, form", bare, "/imaging/form", upload),
                ("BentoML, plain, form", plain, "/predict", upload),
                ("LitServe, form", lit, "/predict", upload),
                ("MLServer", ml, "/v2/models/digits/infer", tensor(content)),
            ]
        targets += [Target(*each, clients=16, kind=kind) for each in compared]
    found, _ = measure(targets, rounds, seconds)
    of_ours = {(each.kind, each.name): found[each] for each in targets}
    rows = []
    for target, loads in found.items():
        same = of_ours[target.kind, "ours, form" if "form" in target.name else "ours"]
        slower = middle([each.p99 for each in same], [each.p99 for each in loads])
        more = {"ours_is_faster": ratio(same, loads), "ours_p99": slower}
        rows.append({"picture": target.kind, **row(target, loads, **more)})
    figures = {"rounds": rounds, "seconds": seconds, "rows": rows}
    show_peers(figures)
    write(json_file, figures)


def show_peers(figures: dict[str, Any]) -> None:
    """Print one row per server: how many times its requests ours answers, for each picture."""
    found: dict[str, dict[str, Any]] = {}
    for each in figures["rows"]:
        found.setdefault(each["server"], {})[each["picture"]] = each
    pictures = list(found["ours"])
    rows = []
    for name, by_picture in found.items():
        if name.removesuffix(", form") != name and name.removesuffix(", form") in found:
            continue  # the server without a form is in the table
        first = by_picture[pictures[0]]
        rows.append(
            {
                "server": name,
                **{each: times(by_picture[each]["ours_is_faster"]) for each in pictures},
                "p99": times(1 / first["ours_p99"]),
                "peak": max(each["peak_memory"] for each in by_picture.values()),
                "start": first["start_seconds"],
            }
        )
    columns = {
        "ours answers": "{server}",
        **{each: f"{{{each}}}" for each in pictures},
        f"p99, {pictures[0]}": "{p99}",
        "peak MB": "{peak:.0f}",
        "start s": "{start:.1f}",
    }
    table(columns, rows)


@app.command()
def batches(rounds: Rounds = 3, seconds: Seconds = 3, json_file: JsonFile = None) -> None:
    """Compare requests of many pictures with requests of one, and with the bare network."""
    server = ours()
    single = Target("/predict", server, "/predict", raw(), 16)
    compared = [("/predict_batch", size) for size in (8, 64, 256, 1_024)]
    compared += [("/classify", size) for size in (1, 64, 1_024)]

    def body(path: str, size: int) -> Body:
        if path == "/predict_batch":
            return form("images", [picture()] * size)
        return Body(pixels(size).tobytes(), "application/octet-stream")

    targets = [
        Target(f"{path} of {size}", server, path, body(path, size), 4, size)
        for path, size in compared
    ]
    found, network = measure([single, *targets], rounds, seconds)
    rows = [
        row(
            target,
            loads,
            of_single=target.pictures * ratio(loads, found[single]),
            of_network=share(target, loads, network),
        )
        for target, loads in found.items()
    ]
    figures = {"rounds": rounds, "seconds": seconds, "network": network, "rows": rows}
    show_batches(figures)
    write(json_file, figures)


def show_batches(figures: dict[str, Any]) -> None:
    """Print pictures per second, as multiples of `/predict` and shares of the bare network."""
    rows = [{**each, "times": times(each["of_single"])} for each in figures["rows"]]
    columns = {
        "request": "{server}",
        "pictures per second": "{images_per_second:,.0f}",
        "of /predict": "{times}",
        "of the bare network": "{of_network:.0%}",
    }
    table(columns, rows)


@app.command()
def tensors(
    rounds: Rounds = 3,
    seconds: Seconds = 3,
    json_file: JsonFile = None,
    python: Annotated[
        Path | None,
        typer.Option(
            "--triton",
            help="The Python to install PyTriton with, instead of the system's. PyTriton needs a "
            "matching libpython: 3.11.2 works, 3.11.7 does not. Without this option, Triton is "
            "skipped if it does not start.",
        ),
    ] = None,
) -> None:
    """Compare with other servers that speak the Open Inference Protocol, pixels as input."""
    infer = "/v2/models/tensors/infer"
    own, bare, ml = ours(), fastapi(), mlserver()
    compared = [
        ("ours, JSON", own, "/v2/models/deeper/infer", numbers),
        ("ours, binary", own, "/v2/models/deeper/infer", binary),
        ("FastAPI, JSON", bare, infer, numbers),
        ("MLServer, JSON", ml, infer, numbers),
    ]
    if server := triton(python) if python else triton_if_it_starts():
        compared += [("Triton, JSON", server, infer, numbers)]
        compared += [("Triton, binary", server, infer, binary)]
    targets = [
        Target(name, server, path, body(size), clients, size)
        for size, clients in SIZES.items()
        for name, server, path, body in compared
    ]
    found, network = measure(targets, rounds, seconds)
    of_ours = {each.pictures: found[each] for each in targets if each.name == "ours, JSON"}
    rows = [
        row(
            target,
            loads,
            ours_is_faster=ratio(of_ours[target.pictures], loads),
            of_network=share(target, loads, network),
        )
        for target, loads in found.items()
    ]
    figures = {"rounds": rounds, "seconds": seconds, "network": network, "rows": rows}
    show_tensors(figures)
    write(json_file, figures)


def show_tensors(figures: dict[str, Any]) -> None:
    """Print one row per server: how many times its requests ours answers in JSON, by size."""
    found: dict[str, dict[int, Any]] = {}
    for each in figures["rows"]:
        found.setdefault(each["server"], {})[each["images"]] = each
    rows = [
        {
            "server": name,
            **{f"n{size}": times(each["ours_is_faster"]) for size, each in by_size.items()},
            "of_network": by_size[max(SIZES)]["of_network"],
        }
        for name, by_size in found.items()
    ]
    columns = {
        "ours in JSON answers": "{server}",
        **{f"{size:,} per request": f"{{n{size}}}" for size in SIZES},
        f"of the bare network, {max(SIZES):,}": "{of_network:.0%}",
    }
    table(columns, rows)


@app.command()
def workers(rounds: Rounds = 3, seconds: Seconds = 4, json_file: JsonFile = None) -> None:
    """Compare one worker with two."""
    targets = [
        Target(f"{count} worker(s)", server, "/predict", raw(), clients)
        for count, server in ((count, ours(workers=count)) for count in (1, 2))
        for clients in CLIENTS
    ]
    found, _ = measure(targets, rounds, seconds)
    of_one = {each.clients: found[each] for each in targets if each.name == "1 worker(s)"}
    rows = [
        row(target, loads, of_first=ratio(loads, of_one[target.clients]))
        for target, loads in found.items()
    ]
    figures = {"rounds": rounds, "seconds": seconds, "rows": rows}
    show_workers(figures)
    write(json_file, figures)


def show_workers(figures: dict[str, Any]) -> None:
    """Print requests per second of one worker and of two, by number of clients."""
    one, two = (
        {
            each["clients"]: each
            for each in figures["rows"]
            if each["server"] == f"{count} worker(s)"
        }
        for count in (1, 2)
    )
    rows = [
        {
            "clients": clients,
            "one": one[clients]["per_second"],
            "two": two[clients]["per_second"],
            "times": times(two[clients]["of_first"]),
        }
        for clients in one
    ]
    columns = {
        "clients": "{clients}",
        "one worker, requests per second": "{one:,.0f}",
        "two workers": "{two:,.0f}",
        "ratio": "{times}",
    }
    table(columns, rows)


if __name__ == "__main__":
    app()
