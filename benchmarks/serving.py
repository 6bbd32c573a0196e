"""How fast the service is, beside what else one could take, all doing the same work.

    python benchmarks/serving.py peers --quick     # ours against FastAPI
    python benchmarks/serving.py peers             # against all
    python benchmarks/serving.py batches           # many pictures in one request
    python benchmarks/serving.py workers           # one worker against two
    python benchmarks/serving.py tensors           # pixels, over the Open Inference Protocol

Each server is started anew in every round, one after the other, so that what else the machine does
hits all alike; what is compared are medians over the rounds. The load comes from wrk, on the same
machine. The environments of the peers are set up in .venv-bench and .venv-bench-mlserver; our own
is what `make serve` sets up. `--json FILE` writes what was measured.
"""

import sys
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.servers import Body, Measured, medians, ours  # noqa: E402
from benchmarks.tables import console, middle, table, write  # noqa: E402
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
SIZES = {1: 16, 64: 4, 1_024: 4}  # pictures in a request of tensors -> clients

LOAD = {
    "server": "{server}",
    "clients": "{clients}",
    "requests/s": "{per_second:,.0f}",
    "p50 ms": "{p50:.1f}",
    "p99 ms": "{p99:.1f}",
    "errors": "{errors}",
}

app = typer.Typer(help=__doc__, rich_markup_mode=None)

Rounds = Annotated[int, typer.Option(help="How often each server is started and measured.")]
Seconds = Annotated[int, typer.Option(help="Of each load.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")]


def row(target: Target, loads: list[Measured], **more: float) -> dict[str, Any]:
    """Return what came of a target: medians over the rounds."""
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
    """Divide requests a second round by round, and return the median."""
    return middle([each.per_second for each in loads], [each.per_second for each in others])


def share(target: Target, loads: list[Measured], network: list[float]) -> float:
    """Divide pictures a second by the network's alone, and return the median."""
    return middle([target.pictures * each.per_second for each in loads], network)


@app.command()
def peers(
    rounds: Rounds = 5,
    seconds: Seconds = 4,
    quick: Annotated[bool, typer.Option(help="Ours against FastAPI alone.")] = False,
    only: Annotated[str, typer.Option(help="A part of the pictures' names.")] = "",
    json_file: JsonFile = None,
) -> None:
    """Compare with what else one could take: one worker, 16 clients, one picture a request."""
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
    columns = {
        "picture": "{picture}",
        **{name: text for name, text in LOAD.items() if name != "clients"},
        "ours is": "{ours_is_faster:.2f} x",
        "our p99 is": "{ours_p99:.2f} x",
        "µs of CPU": "{cpu_us:,.0f}",
        "MB": "{memory:.0f}",
        "peak MB": "{peak_memory:.0f}",
        "start s": "{start_seconds:.1f}",
    }
    table(columns, rows)
    console.print(
        "\nours is: our requests a second through theirs, form by form and else without a form, "
        "the median over the rounds; µs of CPU: of all the server's processes, a request."
    )
    write(json_file, {"rounds": rounds, "seconds": seconds, "rows": rows})


@app.command()
def batches(rounds: Rounds = 3, seconds: Seconds = 3, json_file: JsonFile = None) -> None:
    """Compare many pictures in one request with one in each, and pixels with the bare network."""
    server = ours()
    single = Target("/predict", server, "/predict", raw(), 16)
    compared = [("/predict_batch", 4, size) for size in (1, 8, 64, 256, 1_024)]
    compared += [("/classify", clients, size) for size in (1, 64, 1_024) for clients in (1, 4, 64)]

    def body(path: str, size: int) -> Body:
        if path == "/predict_batch":
            return form("images", [picture()] * size)
        return Body(pixels(size).tobytes(), "application/octet-stream")

    targets = [
        Target(f"{path} of {size}", server, path, body(path, size), clients, size)
        for path, clients, size in compared
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
    columns = {
        "request": "{server}",
        "clients": "{clients}",
        "pictures/s": "{images_per_second:,.0f}",
        "errors": "{errors}",
        "of /predict": "{of_single:.2f} x",
        "of the network": "{of_network:.0%}",
    }
    table(columns, rows)
    console.print(f"\nThe network alone: {median(network):,.0f} a second.", highlight=False)
    write(json_file, {"rounds": rounds, "seconds": seconds, "network": network, "rows": rows})


@app.command()
def tensors(
    rounds: Rounds = 3,
    seconds: Seconds = 3,
    json_file: JsonFile = None,
    python: Annotated[
        Path | None,
        typer.Option(
            "--triton",
            help="The Python for Triton's environment, in place of the system's. PyTriton runs "
            "models in a Python of its own on this one's library, so not all fit (of 3.11, "
            "3.11.2 does and 3.11.7 does not). Without this option Triton is left out if it does "
            "not start.",
        ),
    ] = None,
) -> None:
    """Compare pixels over the Open Inference Protocol with what else speaks it."""
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
    columns = {
        "server": "{server}",
        "N": "{images:,}",
        "clients": "{clients}",
        "images/s": "{images_per_second:,.0f}",
        **{name: text for name, text in LOAD.items() if name not in {"server", "clients"}},
        "cores": "{cores:.2f}",
        "ours, JSON is": "{ours_is_faster:.2f} x",
        "of the network": "{of_network:.0%}",
    }
    table(columns, rows)
    console.print(f"\nThe network alone: {median(network):,.0f} a second.", highlight=False)
    write(json_file, {"rounds": rounds, "seconds": seconds, "network": network, "rows": rows})


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
    table({**LOAD, "of 1 worker(s)": "{of_first:.2f} x"}, rows)
    write(json_file, {"rounds": rounds, "seconds": seconds, "rows": rows})


if __name__ == "__main__":
    app()
