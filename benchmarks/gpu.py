"""Compare CUDA with the CPU: pictures per second by batch size, and the difference of results.

    make GPU=1 .venv-gpu/installed
    .venv-gpu/bin/python benchmarks/gpu.py --json docs/performance/gpu.json

This measures the network alone, on one CPU thread and on the first GPU, with the pictures in
memory. As in the service, the CPU gets a batch in calls of 256 pictures, because larger calls are
slower per picture, and CUDA gets it whole. The last line gives the batch size at which both take
equally long. `LEAST_ON_CUDA` in `classifier.py` is that number: below it the service uses the CPU.
The exit code is 1 if a probability of any model differs by more than 1e-5, or if CUDA does not
work.
"""

import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from artifact import OUTPUTS  # noqa: E402
from benchmarks.tables import console, middle, table, write  # noqa: E402
from serving.inference import artifacts  # noqa: E402
from serving.inference.classifier import Network, ProviderError  # noqa: E402
from serving.settings import Provider  # noqa: E402
from tests.pictures import drawn  # noqa: E402

BATCHES = (1, 4, 16, 64, 256, 1_024, 4_096, 16_384)
DRAWN = 1_000
TOLERANCE = 1e-5
SECONDS = 0.3  # per batch size and round


def main(
    model: Annotated[str, typer.Option(help="The model to time.")] = "deeper",
    rounds: Annotated[int, typer.Option(help="How often to time each batch size.")] = 5,
    json: Annotated[Path | None, typer.Option(help="Also write the figures to this file.")] = None,
) -> None:
    """Measure speed and differences, and print them."""
    loaded = artifacts.load_all(ROOT / "models")
    try:
        on_cuda = {name: Network(each, Provider.CUDA) for name, each in loaded.items()}
    except ProviderError as error:
        sys.exit(f"CUDA cannot be used here: {error}")
    on_cpu = {name: Network(each, Provider.CPU) for name, each in loaded.items()}
    noise = np.random.default_rng(0).integers(0, 256, (max(BATCHES), 28, 28), np.uint8)
    digits, _ = drawn.digits(DRAWN, seed=0)
    apart = {
        name: {
            "noise": difference(on_cpu[name], on_cuda[name], noise),
            "drawn": difference(on_cpu[name], on_cuda[name], digits),
        }
        for name in loaded
    }
    speeds = measure(on_cpu[model], on_cuda[model], noise, rounds)
    rows = [
        {
            "batch": batch,
            **{name: statistics.median(found) for name, found in of.items()},
            "cuda_is": middle(of["cuda"], of["cpu"]),
        }
        for batch, of in speeds.items()
    ]
    figures = {
        "card": card(),
        "model": model,
        "rounds": rounds,
        "rows": rows,
        "crossing": crossing(rows),
        "differences": apart,
    }
    show(figures)
    write(json, figures)
    if not all(value <= TOLERANCE for of in apart.values() for value in of.values()):
        sys.exit(f"CUDA's probabilities differ from the CPU's by more than {TOLERANCE:g}.")


def show(figures: dict[str, Any]) -> None:
    """Print the speeds, the largest differences, and the batch size from which on CUDA pays."""
    columns = {
        "batch": "{batch:,}",
        "CPU, pictures per second": "{cpu:,.0f}",
        "CUDA": "{cuda:,.0f}",
        "ratio": "{cuda_is:.2f}x",
    }
    table(columns, figures["rows"])
    noise, drawn_digits = (
        max(of[kind] for of in figures["differences"].values()) for kind in ("noise", "drawn")
    )
    console.print(
        f"\nProbabilities differ by at most {noise:.1e} on noise and {drawn_digits:.1e} on drawn "
        f"digits.\n{figures['model']} on {figures['card']}: CUDA is faster from "
        f"{figures['crossing']:.0f} pictures on.",
        highlight=False,
    )


def difference(cpu: Network, cuda: Network, images: NDArray[np.uint8]) -> float:
    """Return the largest difference between two probabilities of one digit."""
    which = OUTPUTS.index("probabilities")
    ours, theirs = (each.run(images)[which] for each in (cpu, cuda))
    return float(np.abs(ours - theirs).max())


def measure(
    cpu: Network, cuda: Network, images: NDArray[np.uint8], rounds: int
) -> dict[int, dict[str, list[float]]]:
    """Return pictures per second for each batch size and provider, round by round."""
    found: dict[int, dict[str, list[float]]] = {batch: {"cpu": [], "cuda": []} for batch in BATCHES}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("batches", total=rounds * len(BATCHES))
        for _ in range(rounds):
            for batch, of in found.items():
                part = images[:batch]
                of["cpu"].append(speed(partial(cpu.run, part), batch))
                of["cuda"].append(speed(partial(cuda.run, part), batch))
                progress.advance(task)
    return found


def speed(call: Callable[[], object], pictures: int) -> float:
    """Return the pictures per second of a call that classifies `pictures` of them."""
    call()  # CUDA prepares itself for each new shape
    calls, started = 0, time.perf_counter()
    while (seconds := time.perf_counter() - started) < SECONDS:
        call()
        calls += 1
    return calls * pictures / seconds


def crossing(rows: list[dict[str, Any]]) -> float:
    """Return the number of pictures for which both take equally long.

    It is interpolated between two batch sizes. It is infinite if CUDA is always slower, and the
    smallest batch size if CUDA never is.
    """
    lead = [(of["batch"], of["batch"] / of["cpu"] - of["batch"] / of["cuda"]) for of in rows]
    if lead[0][1] >= 0:
        return float(lead[0][0])
    for (fewer, behind), (more, ahead) in pairwise(lead):
        if ahead >= 0:
            return float(fewer + (more - fewer) * behind / (behind - ahead))
    return math.inf


def card() -> str:
    """Return the name of the first GPU."""
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", "--id=0"]
    return subprocess.run(query, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    typer.run(main)
