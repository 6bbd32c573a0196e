"""Tensors over the Open Inference Protocol: ours beside what else speaks it, or could.

Triton is the one that PyTriton brings, behind its own HTTP. NVIDIA's Python front end of its own,
the wheels tritonserver and tritonfrontend, cannot be had from the package index: what is called
tritonserver there only says so.
"""

import json
import os
import shutil
import statistics
import subprocess
import time
from collections import defaultdict
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from benchmarks.servers import (
    PEERS,
    ROOT,
    Body,
    Measured,
    Server,
    environment,
    load,
    medians,
    ours,
    running,
)
from benchmarks.tables import middle, ratio, table, write
from benchmarks.targets import Target, fastapi, mlserver, network_alone, picture

SIZES = (1, 64, 1_024)
CLIENTS = {1: 16, 64: 4, 1_024: 4}

OURS = "ours, JSON"
HEADER = "Inference-Header-Content-Length"

console = Console(soft_wrap=True)


def in_json(size: int) -> Body:
    """So many pictures as numbers."""
    tensor = {**_tensor(size), "data": _pixels(size).ravel().tolist()}
    return Body(json.dumps({"inputs": [tensor]}).encode(), "application/json")


def binary(size: int) -> Body:
    """So many pictures as bytes, by Triton's extension; the answer is to be binary, too."""
    pixels = _pixels(size).tobytes()
    tensor = {**_tensor(size), "parameters": {"binary_data_size": len(pixels)}}
    request = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    head = json.dumps(request).encode()
    return Body(head + pixels, "application/octet-stream", {HEADER: str(len(head))})


def _tensor(size: int) -> dict[str, Any]:
    return {"name": "images", "datatype": "UINT8", "shape": [size, 28, 28]}


def _pixels(size: int) -> Any:  # noqa: ANN401
    return np.repeat(np.asarray(Image.open(BytesIO(picture())))[None], size, axis=0)


def pytriton(python: Path) -> Server:
    """Triton, as PyTriton has it: its server, and our classifier in a process of Python."""
    bins = environment(
        ".venv-bench-pytriton", PEERS / "requirements-pytriton.txt", python=str(python)
    )
    command = [str(bins / "python"), str(PEERS / "pytriton_app.py"), "{port}"]
    return Server("Triton", command, "/v2/models/tensors/ready", PEERS)


def pytriton_if_it_starts() -> Server | None:
    """Triton with the system's Python, or none, and a line that says so."""
    found = shutil.which("python3", path=os.defpath)
    try:
        if found:
            server = pytriton(Path(found))
            with running(server):
                return server
    except (subprocess.CalledProcessError, SystemExit):  # not installed, not started
        pass
    console.print(
        f"Triton is left out: PyTriton does not start with {found or 'no Python'}; "
        "--triton names another.\n",
        highlight=False,
    )
    return None


def targets(size: int, servers: dict[str, Server]) -> list[Target]:
    """All that is compared with so many pictures in a request."""
    infer = "/v2/models/tensors/infer"
    found = [
        Target(OURS, servers["ours"], "/v2/models/deeper/infer", in_json(size)),
        Target("ours, binary", servers["ours"], "/v2/models/deeper/infer", binary(size)),
        Target("FastAPI, JSON", servers["FastAPI"], infer, in_json(size)),
        Target("MLServer, JSON", servers["MLServer"], infer, in_json(size)),
    ]
    if triton := servers.get("Triton"):
        found += [
            Target("Triton, JSON", triton, infer, in_json(size)),
            Target("Triton, binary", triton, infer, binary(size)),
        ]
    return found


def compare(rounds: int, seconds: int, json_file: Path | None, triton: Path | None) -> None:
    """Compare all, one worker each, and print the table."""
    bins = environment(
        ".venv-bench", ROOT / "requirements" / "serve.txt", PEERS / "requirements.txt"
    )
    ml = environment(".venv-bench-mlserver", PEERS / "requirements-mlserver.txt").parent
    servers = {"ours": ours(), "FastAPI": fastapi(bins), "MLServer": mlserver(ml)}
    if pytriton_server := pytriton(triton) if triton else pytriton_if_it_starts():
        servers["Triton"] = pytriton_server
    every = {size: targets(size, servers) for size in SIZES}
    measured: dict[tuple[str, int], list[Measured]] = defaultdict(list)
    cores: dict[tuple[str, int], list[float]] = defaultdict(list)
    network: list[float] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        total = rounds * sum(map(len, every.values()))
        task = progress.add_task("tensors", total=total)
        for _ in range(rounds):
            network.append(network_alone(1_024))
            for server in servers.values():
                with running(server) as up:
                    for size, compared in every.items():
                        for target in compared:
                            if target.server is server:
                                url, clients = up.url + target.path, CLIENTS[size]
                                load(url, target.body, clients, 1)  # to warm up
                                before, started = up.cpu_seconds(), time.perf_counter()
                                found = load(url, target.body, clients, seconds)
                                computed = up.cpu_seconds() - before
                                cores[target.name, size].append(
                                    computed / (time.perf_counter() - started)
                                )
                                measured[target.name, size].append(found)
                                progress.advance(task)
    rows: list[dict[str, Any]] = []
    for (name, size), loads in sorted(measured.items(), key=lambda item: item[0][1]):
        images = [size * each.per_second for each in loads]
        rows.append(
            {
                "server": name,
                "images": size,
                "clients": CLIENTS[size],
                "images_per_second": statistics.median(images),
                **asdict(medians(loads)),
                "cores": statistics.median(cores[name, size]),
                "ours_is_faster": ratio(measured[OURS, size], loads),
                "of_network": middle(images, network),
            }
        )
    table(
        [
            "server",
            "N",
            "clients",
            "images/s",
            "requests/s",
            "p50 ms",
            "p99 ms",
            "errors",
            "cores",
            f"{OURS} is",
            "of the network",
        ],
        [
            [
                row["server"],
                f"{row['images']:,}",
                str(row["clients"]),
                f"{row['images_per_second']:,.0f}",
                f"{row['per_second']:,.0f}",
                f"{row['p50']:.1f}",
                f"{row['p99']:.1f}",
                str(row["errors"]),
                f"{row['cores']:.2f}",
                f"{row['ours_is_faster']:.2f} x",
                f"{100 * row['of_network']:.0f} %",
            ]
            for row in rows
        ],
    )
    console.print(
        "\nOne worker each. cores: the seconds that the server's processes computed in a second. "
        f"{OURS} is: its requests a second through theirs, the median over the rounds. of the "
        "network: through the images a second of ONNX Runtime alone in one process on one core, "
        f"1,024 a call, {statistics.median(network):,.0f}.",
        highlight=False,
    )
    write(json_file, {"rounds": rounds, "seconds": seconds, "network": network, "rows": rows})
