"""CUDA beside the CPU: pictures a second by batch, and how far their probabilities lie apart.

    make serve GPU=1                       # makes .venv-gpu; stop it then
    .venv-gpu/bin/python benchmarks/gpu.py --json docs/performance/gpu.json

Of the network alone, in one thread of the CPU and on the first GPU, with the digits in memory as a
request's would be. Exit code 1 if a probability differs by more than 1e-5, or if there is no GPU.
"""

import json as json_
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from serving import artifacts  # noqa: E402
from serving.classifier import Classifier, ProviderError  # noqa: E402
from serving.settings import Provider  # noqa: E402

BATCHES = (1, 4, 16, 64, 256, 1_024, 4_096, 16_384)
TOLERANCE = 1e-5
SECONDS = 0.3  # a round

console = Console(soft_wrap=True)


def main(
    model: Annotated[str, typer.Option(help="Which model.")] = "deeper",
    rounds: Annotated[int, typer.Option(help="How often the two are measured in turn.")] = 5,
    json: Annotated[Path | None, typer.Option(help="Where the figures go.")] = None,
) -> None:
    """Measure, and print a table."""
    artifact = artifacts.load(ROOT / "models" / model)
    try:
        cuda = Classifier(artifact, Provider.CUDA)
    except ProviderError as error:
        sys.exit(f"There is no GPU to measure here: {error}")
    cpu = Classifier(artifact, Provider.CPU)
    images = np.random.default_rng(0).integers(0, 256, (max(BATCHES), 28, 28), np.uint8)
    apart = float(
        np.abs(cpu.predict(images).probabilities - cuda.predict(images).probabilities).max()
    )
    rows = []
    for batch in BATCHES:
        measured = [
            (_speed(cpu, images[:batch]), _speed(cuda, images[:batch])) for _ in range(rounds)
        ]
        on_cpu, on_cuda = (statistics.median(speeds) for speeds in zip(*measured, strict=True))
        rows.append({"batch": batch, "cpu": on_cpu, "cuda": on_cuda})
    _show(rows)
    card = _card()
    console.print(f"{card}; probabilities differ by {apart:.1e} at most", highlight=False)
    if json is not None:
        figures = {"card": card, "model": model, "difference": apart, "batches": rows}
        json.write_text(json_.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if not apart <= TOLERANCE:
        sys.exit(f"CUDA's probabilities differ from the CPU's by more than {TOLERANCE:g}.")


def _speed(classifier: Classifier, images: NDArray[np.uint8]) -> float:
    """Return how many pictures a second are classified."""
    classifier.predict(images)  # CUDA sets itself up for each new shape
    calls, started = 0, time.perf_counter()
    while (seconds := time.perf_counter() - started) < SECONDS:
        classifier.predict(images)
        calls += 1
    return calls * len(images) / seconds


def _show(rows: list[dict[str, float]]) -> None:
    table = Table("batch", "CPU, a second", "CUDA, a second", "ratio")
    for column in table.columns:
        column.justify = "right"
    for row in rows:
        ratio = row["cuda"] / row["cpu"]
        table.add_row(
            f"{row['batch']:,}", f"{row['cpu']:,.0f}", f"{row['cuda']:,.0f}", f"{ratio:.2f}"
        )
    console.print(table)


def _card() -> str:
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", "--id=0"]
    return subprocess.run(query, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    typer.run(main)
