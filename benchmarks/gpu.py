"""CUDA beside the CPU: pictures a second by batch, and how far their probabilities lie apart.

    make GPU=1 .venv-gpu/installed
    .venv-gpu/bin/python benchmarks/gpu.py --json docs/performance/gpu.json

Of the network alone, in one thread of the CPU and on the first GPU, with the pictures in memory as
a request's would be, and as the service does it: it gives a batch to the CPU 256 pictures a call,
because more take longer there, and to CUDA as a whole. The last line says for how many pictures
both take equally long: `classifier.LEAST_ON_CUDA`, below which the service asks the CPU.
Exit code 1 if a probability of any model differs by more than 1e-5, or if CUDA cannot be used.
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
SECONDS = 0.3  # a round


def main(
    model: Annotated[str, typer.Option(help="Which model's speed is measured.")] = "deeper",
    rounds: Annotated[int, typer.Option(help="How often all are measured in turn.")] = 5,
    json: Annotated[Path | None, typer.Option(help="Where the figures go.")] = None,
) -> None:
    """Measure, and print two tables."""
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
    columns = {
        "batch": "{batch:,}",
        "CPU, a second": "{cpu:,.0f}",
        "CUDA, a second": "{cuda:,.0f}",
        "CUDA is": "{cuda_is:.2f} x",
    }
    table(columns, rows)
    console.print()
    columns = {
        "probabilities differ by": "{name}",
        "noise": "{noise:.1e}",
        "drawn digits": "{drawn:.1e}",
    }
    table(columns, [{"name": name, **of} for name, of in apart.items()])
    found, equal = card(), crossing(rows)
    console.print(
        f"\n{model} on {found}: CUDA takes no longer from {equal:.0f} pictures on", highlight=False
    )
    figures = {
        "card": found,
        "model": model,
        "rounds": rounds,
        "rows": rows,
        "crossing": equal,
        "differences": apart,
    }
    write(json, figures)
    if not all(value <= TOLERANCE for of in apart.values() for value in of.values()):
        sys.exit(f"CUDA's probabilities differ from the CPU's by more than {TOLERANCE:g}.")


def difference(cpu: Network, cuda: Network, images: NDArray[np.uint8]) -> float:
    """Return how far apart two probabilities of one digit are, at most."""
    which = OUTPUTS.index("probabilities")
    ours, theirs = (each.run(images)[which] for each in (cpu, cuda))
    return float(np.abs(ours - theirs).max())


def measure(
    cpu: Network, cuda: Network, images: NDArray[np.uint8], rounds: int
) -> dict[int, dict[str, list[float]]]:
    """Return pictures a second, of each batch and provider, in each round."""
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
    """Return how many pictures a second are classified by calls that take so many."""
    call()  # CUDA sets itself up for each new shape
    calls, started = 0, time.perf_counter()
    while (seconds := time.perf_counter() - started) < SECONDS:
        call()
        calls += 1
    return calls * pictures / seconds


def crossing(rows: list[dict[str, Any]]) -> float:
    """Return for how many pictures both take equally long, as if straight between two batches.

    It is infinite if CUDA is always slower, and the smallest batch if it never is.
    """
    lead = [(of["batch"], of["batch"] / of["cpu"] - of["batch"] / of["cuda"]) for of in rows]
    if lead[0][1] >= 0:
        return float(lead[0][0])
    for (fewer, behind), (more, ahead) in pairwise(lead):
        if ahead >= 0:
            return float(fewer + (more - fewer) * behind / (behind - ahead))
    return math.inf


def card() -> str:
    """Return the first GPU's name."""
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", "--id=0"]
    return subprocess.run(query, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    typer.run(main)
