"""The command line: `qmnist-digits …`, or `python -m serving …` in a clone."""

import os
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import orjson
import typer
from fsspec.core import url_to_fs
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from serving import __version__, resources, settings
from serving.inference import artifacts
from serving.inference.artifacts import Artifact, ArtifactError
from serving.inference.classifier import ContractError, ProviderError, choose_provider
from serving.offline import engines, sources
from serving.offline.engines import Done, Engine, EngineError
from serving.offline.labelling import REFUSED, Count, Job
from serving.offline.results import Format, Results, ResultsError
from serving.offline.shards import TRANSIENT, Shard, SourceError
from serving.settings import SettingsError

app = typer.Typer(no_args_is_help=True)
console = Console(soft_wrap=True)

SourceArgument = Annotated[
    str,
    typer.Argument(
        help="A folder or glob of pictures, tar files or Parquet files, or a torchvision root with "
        "QMNIST: a path, or a URL that fsspec can open."
    ),
]
Model = Annotated[str | None, typer.Option(help="A model in QMNIST_MODELS; default: QMNIST_MODEL.")]
EngineOption = Annotated[
    Engine, typer.Option(help="`local` uses processes on this machine, `ray` uses Ray.")
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Number of parallel workers; default: one per core.")
]
Address = Annotated[
    str | None, typer.Option(help="Address of a Ray cluster; default: Ray starts one here.")
]
Column = Annotated[str | None, typer.Option(help="Column of Parquet files with the pictures.")]


@dataclass(frozen=True)
class Run:
    """How to run the shards, for either command."""

    engine: Engine
    workers: int
    address: str | None

    def start(self, job: Job, shards: engines.Shards, results: Results | None) -> Iterator[Done]:
        """Process shards; yield each one's number and counts when it is done."""
        if self.engine is Engine.RAY:
            return engines.run_ray(job, shards, results, self.workers, self.address)
        return engines.run_local(job, shards, results, self.workers)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Read handwritten digits, as a service or offline.

    Settings are environment variables, QMNIST_…; options of the commands override some of them.
    """


def _ip_address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise typer.BadParameter("use an IP address, such as 0.0.0.0 for all interfaces") from None


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise typer.BadParameter(f"{host} port {port}: {error.strerror}") from None


@app.command(name="serve")
def serve_command(
    host: Annotated[
        str,
        typer.Option(
            parser=_ip_address, help="IP address to listen on; 0.0.0.0 admits other machines."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535)] = 3000,
    model: Annotated[
        str | None, typer.Option(help="Model for requests that name none; default: QMNIST_MODEL.")
    ] = None,
    models: Annotated[
        Path | None, typer.Option(help="Folder of the models; default: QMNIST_MODELS.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of processes; default: QMNIST_WORKERS.")
    ] = None,
) -> None:
    """Serve the models over HTTP, with a page to draw on at /ui/."""
    _check_port(host, port)
    given = {"model": model, "models": models, "workers": workers}
    _export({name: value for name, value in given.items() if value is not None})
    # The workers start in the code's folder, not in one that may contain another `serving`.
    _export({name: value.absolute() for name, value in settings.load() if isinstance(value, Path)})
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")  # or it sends telemetry
    command = [sys.executable, "-P", "-m", "bentoml", "serve", "serving.service:DigitClassifier"]
    command += ["--working-dir", str(resources.PACKAGE.parent)]
    os.execv(command[0], [*command, "--host", host, "--port", str(port)])  # noqa: S606  no shell


def _export(values: Mapping[str, object]) -> None:
    os.environ.update({f"QMNIST_{name.upper()}": str(value) for name, value in values.items()})


@app.command(name="evaluate")
def evaluate_command(
    source: SourceArgument = "data",
    model: Model = None,
    engine: EngineOption = Engine.LOCAL,
    workers: Workers = None,
    address: Address = None,
    column: Column = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the results to this file.")
    ] = None,
) -> None:
    """Count how many labelled digits a model gets right.

    Labels come from QMNIST's files, folders named 0 to 9, `.cls` files in a tar file, or a column
    `label`. A labelled picture that cannot be read counts as wrong.
    """
    job = _job(model)
    shards = sources.find_shards(source, column)
    counts: dict[str, Count] = {}
    run = Run(engine, workers or _cores(), address)
    for number, count in _with_progress(run, job, dict(enumerate(shards)), None):
        counts.setdefault(shards[number].group, Count()).add(count)
    described = [_describe(job.artifact, group, counts[group]) for group in sorted(counts)]
    for group in sorted(counts):
        _show(job.artifact, group, counts[group])
    if json_file is not None:
        json_file.write_bytes(
            orjson.dumps(described, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        )
    if not any(count.confusion.sum() for count in counts.values()):
        raise SourceError(f"no picture at {source} has a label")


@app.command(name="label")
def label_command(
    source: SourceArgument,
    output: Annotated[str, typer.Argument(help="Folder for the results: a path or a URL.")],
    model: Model = None,
    file_format: Annotated[
        Format, typer.Option("--format", help="Format of the results.")
    ] = Format.PARQUET,
    engine: EngineOption = Engine.LOCAL,
    workers: Workers = None,
    address: Address = None,
    column: Column = None,
) -> None:
    """Write the digit of each picture and its confidence, or why it could not be read.

    Run the same command again to resume an interrupted run.
    """
    job = _job(model)
    shards = sources.find_shards(source, column)
    try:
        inside = f"{_place(output)}/".startswith(f"{_place(source)}/")
    except (ValueError, ImportError) as error:
        raise ResultsError(f"nothing can be written to {output}: {error}") from error
    if inside:
        raise ResultsError(f"{output} is inside the source; choose another folder")
    results = Results(output, file_format)
    card = job.artifact.card
    done = results.prepare(card.name, card.version, sources.names(shards))
    if done:
        console.print(f"{len(done):,} of {len(shards):,} parts are already done", highlight=False)
    waiting = {number: shard for number, shard in enumerate(shards) if number not in done}
    total, started = Count(), perf_counter()
    for _, count in _with_progress(
        Run(engine, workers or _cores(), address), job, waiting, results
    ):
        total.add(count)
    seconds = perf_counter() - started
    wrong = f", {total.errors:,} of them with an error" if total.errors else ""
    pictures = "picture" if total.rows == 1 else "pictures"
    console.print(
        f"{total.rows:,} {pictures} labelled by {card.name} in {seconds:.1f} seconds{wrong}: "
        f"{output}",
        highlight=False,
    )


def _place(url: str) -> str:
    filesystem, path = url_to_fs(url)
    return str(filesystem.unstrip_protocol(path)).rstrip("/")


def _job(model: str | None) -> Job:
    chosen = settings.load()
    artifact = artifacts.load(chosen.models / (model or chosen.model))
    provider = choose_provider(chosen.provider, artifact)
    return Job(artifact, provider, chosen.max_image_bytes, chosen.max_image_pixels)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _with_progress(
    run: Run, job: Job, shards: dict[int, Shard], results: Results | None
) -> Iterator[Done]:
    errors = Console(stderr=True)
    progress = Progress(
        BarColumn(),
        TextColumn("{task.percentage:.0f} %, {task.fields[rows]:,} pictures"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(elapsed_when_finished=False),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    )
    with progress:
        task = progress.add_task("", total=sum(s.weight for s in shards.values()), rows=0)
        rows = 0
        if not shards:
            return
        for number, count in run.start(job, shards, results):
            rows += count.rows
            progress.update(task, advance=shards[number].weight, rows=rows)
            yield number, count


def _describe(artifact: Artifact, group: str, count: Count) -> dict[str, Any]:
    total, correct = int(count.confusion.sum()), int(count.confusion.trace())
    return {
        "model": artifact.name,
        "version": artifact.card.version,
        "source": group,
        "correct": correct,
        "refused": int(count.confusion[:, REFUSED].sum()),
        "total": total,
        "accuracy": correct / total if total else None,
        "errors": count.errors,
        "images_per_second": count.rows / count.seconds if count.seconds else None,
        "by_class": [
            {
                "digit": digit,
                "correct": int(row[digit]),
                "refused": int(row[REFUSED]),
                "total": int(row.sum()),
            }
            for digit, row in enumerate(count.confusion)
        ],
        "confusion": count.confusion[:, :REFUSED].tolist(),
    }


def _show(artifact: Artifact, group: str, count: Count) -> None:
    described = _describe(artifact, group, count)
    if not described["total"]:
        return
    refused, others = described["refused"], count.errors - described["refused"]
    accuracy = f"{100 * described['accuracy']:.2f} %"
    parts = [
        f"{described['correct']:,} of {described['total']:,} right, {accuracy}",
        *([f"{refused:,} of them could not be read"] if refused else []),
        *([f"{others:,} without a label could not be read"] if others else []),
        f"{described['images_per_second']:,.0f} images per second in the model",
    ]
    console.print(f"{artifact.name} on {group}: {'; '.join(parts)}", highlight=False)
    table = Table(title="rows: true digit; columns: predicted digit")
    for heading in ("", *map(str, range(10)), "refused", "right"):
        table.add_column(heading, justify="right")
    for digit, row in enumerate(count.confusion):
        share = f"{100 * row[digit] / row.sum():.2f} %" if row.sum() else "—"
        table.add_row(f"[bold]{digit}", *_cells(digit, row), share)
    console.print(table)


def _cells(digit: int, row: Iterable[int]) -> list[str]:
    return [
        f"[bold]{count}[/]" if column == digit else str(count) if count else "·"
        for column, count in enumerate(row)
    ]


def main() -> None:
    """Run a command; report errors that the user can fix in one line, with exit code 2."""
    try:
        app()
    except (
        *(ArtifactError, ContractError, ProviderError, SettingsError),
        *(SourceError, ResultsError, EngineError),
    ) as error:
        _fail(str(error))
    except TRANSIENT as error:
        reason = str(error) or "no answer arrived in time"
        _fail(f"{reason}; run the same command again: `label` continues where it stopped")


def _fail(message: str) -> None:
    Console(stderr=True, soft_wrap=True).print(f"error: {message}", style="red", markup=False)
    sys.exit(2)


if __name__ == "__main__":
    main()
