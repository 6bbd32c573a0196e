"""Compare offline labelling with the work that it cannot avoid: the network, or decoding.

    .venv-dev/bin/python benchmarks/offline.py --json docs/performance/offline.json

- Pixels, in a QMNIST file or a Parquet file, with one process: compared with ONNX Runtime alone on
  the same digits in memory.
- PNG files, with one process per core: compared with as many processes that only open and decode
  the files with Pillow.
- A million digits: the peak memory of all processes together.
- Ray: the same pixels.

Both sides of a comparison run in turn; the ratios are medians over the rounds. A command's time
includes its start and end.
"""

import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.tables import middle, table, write  # noqa: E402
from serving.inference import artifacts  # noqa: E402
from serving.inference.classifier import Classifier  # noqa: E402
from serving.offline.idx import IMAGES  # noqa: E402
from serving.settings import Provider  # noqa: E402
from tests.pictures import drawn  # noqa: E402

MODEL = "deeper"
KINDS = 10_000  # different digits, which are repeated
ROWS = 100_000  # per row group; DuckDB's have 122,880, and pyarrow's ten times as many
ALONE = 1_024  # digits per batch for ONNX Runtime alone, in calls of 256, the fastest size
CORES = os.cpu_count() or 1
PARQUET = "pixels.parquet"


def main(
    pixels: Annotated[int, typer.Option(help="Digits in each file of pixels.")] = 1_000_000,
    files: Annotated[int, typer.Option(help="How many PNG files to label.")] = 300_000,
    million: Annotated[
        int, typer.Option(help="Digits in the run that measures memory.")
    ] = 1_000_000,
    rounds: Annotated[int, typer.Option(help="How often to compare.")] = 3,
    json: Annotated[Path | None, typer.Option(help="Also write the figures to this file.")] = None,
) -> None:
    """Measure, and print a table."""
    digits, _ = drawn.digits(KINDS, seed=1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = [
            *_pixels(folder, digits, pixels, rounds),
            _files(folder, digits, files, rounds),
            _million(folder, digits, million),
            _ray(folder, pixels),
        ]
    columns = {
        "labelling": "{name}",
        "per second": "{per_second:,.0f}",
        "compared with": "{beside}",
        "ratio": "{share}",
        "seconds": "{seconds:.1f}",
        "peak MB": "{peak}",
    }
    table(columns, rows)
    write(json, {"rows": rows})


def _pixels(
    folder: Path, digits: NDArray[np.uint8], count: int, rounds: int
) -> Iterator[dict[str, Any]]:
    classifier = Classifier(artifacts.load(ROOT / "models" / MODEL), Provider.CPU)
    _write_idx(folder / f"digits-{IMAGES}", digits, count)
    sources = {"QMNIST's form": folder / f"digits-{IMAGES}", "Parquet": folder / PARQUET}
    _write_parquet(sources["Parquet"], digits, count)
    for name, source in sources.items():
        ours, alone = [], []
        for number in track(range(rounds), name, transient=True):
            started = time.perf_counter()
            for first in range(0, count, ALONE):
                start = first % KINDS
                classifier.predict(digits[start : start + ALONE])
            alone.append(count / (time.perf_counter() - started))
            ours.append(count / _label(source, folder / f"{source.name}-{number}", workers=1))
        yield _compared(f"pixels, one process: {name}", ours, alone, count)


def _files(folder: Path, digits: NDArray[np.uint8], count: int, rounds: int) -> dict[str, Any]:
    source = folder / "files"
    source.mkdir()
    paths = [source / f"{number:06}.png" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(drawn.encode(digits[number % KINDS]))
    ours, alone = [], []
    parts = [paths[core::CORES] for core in range(CORES)]
    for number in track(range(rounds), "files", transient=True):
        with ProcessPoolExecutor(CORES) as pool:
            list(pool.map(len, parts))  # starts the processes
            started = time.perf_counter()
            list(pool.map(_decode, parts))
            alone.append(count / (time.perf_counter() - started))
        ours.append(count / _label(source, folder / f"files-{number}", workers=CORES))
    return _compared(f"PNG files, {CORES} processes", ours, alone, count)


def _decode(paths: list[Path]) -> None:
    for path in paths:
        with Image.open(path) as image:
            image.load()


def _million(folder: Path, digits: NDArray[np.uint8], count: int) -> dict[str, Any]:
    source = folder / "million.parquet"
    _write_parquet(source, digits, count)
    started = time.perf_counter()
    peak = _peak(_start(source, folder / "million", CORES))
    seconds = time.perf_counter() - started
    name = f"{count:,} digits, {CORES} processes"
    return _row(name, [count / seconds], count, peak=f"{peak / 1e6:.0f}")


def _ray(folder: Path, count: int) -> dict[str, Any]:
    seconds = _label(folder / PARQUET, folder / "ray", CORES, "--engine", "ray")
    return _row(f"pixels by Ray, {CORES} actors", [count / seconds], count)


def _compared(name: str, ours: list[float], alone: list[float], count: int) -> dict[str, Any]:
    beside, share = f"{statistics.median(alone):,.0f}", f"{middle(ours, alone):.0%}"
    return _row(name, ours, count, beside=beside, share=share)


def _row(
    name: str, ours: list[float], count: int, beside: str = "", share: str = "", peak: str = ""
) -> dict[str, Any]:
    return {
        "name": name,
        "per_second": statistics.median(ours),
        "beside": beside,
        "share": share,
        "seconds": count / statistics.median(ours),
        "peak": peak,
    }


def _write_idx(path: Path, digits: NDArray[np.uint8], count: int) -> None:
    with path.open("wb") as file:
        file.write(b"\0\0\x08\x03" + struct.pack(">3I", count, *digits.shape[1:]))
        for rows in _rows(count):
            file.write(digits[rows].tobytes())


def _write_parquet(path: Path, digits: NDArray[np.uint8], count: int) -> None:
    kind = pa.binary(digits[0].size)
    schema = pa.schema({"pixels": kind})
    with pq.ParquetWriter(path, schema) as writer:
        for rows in _rows(count):
            buffer = pa.py_buffer(digits[rows].tobytes())
            column = pa.FixedSizeBinaryArray.from_buffers(kind, len(rows), [None, buffer])
            writer.write_table(pa.table([column], schema), ROWS)


def _rows(count: int) -> Iterator[NDArray[np.int64]]:
    for first in range(0, count, ROWS):
        yield np.random.default_rng(0).integers(KINDS, size=min(ROWS, count - first))


def _start(source: Path, output: Path, workers: int, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "serving", "label", source, output, "--model", MODEL]
    command += ["--workers", str(workers), *more]
    return subprocess.Popen(
        [str(part) for part in command],
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )


def _label(source: Path, output: Path, workers: int, *more: str) -> float:
    """Run the label command and return its seconds, including its start and end."""
    started = time.perf_counter()
    if _start(source, output, workers, *more).wait() != 0:
        sys.exit(f"Labelling {source} failed.")
    return time.perf_counter() - started


def _peak(process: subprocess.Popen[bytes]) -> int:
    """Wait for a command and return the peak memory of all its processes, in bytes."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(_memory(process.pid)))
        time.sleep(0.05)
    if process.returncode != 0:
        sys.exit("Labelling failed.")
    return peak


def _memory(pid: int) -> Iterator[int]:
    try:
        parent = psutil.Process(pid)
        processes = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            # The proportional set size: shared memory is divided among the processes.
            yield process.memory_full_info().pss


if __name__ == "__main__":
    typer.run(main)
