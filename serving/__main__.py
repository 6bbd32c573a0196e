"""The command line: `python -m serving …`."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from serving import artifacts, settings
from serving.artifacts import ArtifactError
from serving.classifier import Classifier, ContractError, ProviderError, choose_provider
from serving.evaluate import Result, Source, SourceError, evaluate, open_sources
from serving.settings import SettingsError

app = typer.Typer(help="Use the models in models/ offline.", no_args_is_help=True)
console = Console(soft_wrap=True)


@app.callback()
def _commands() -> None:
    """Keep `evaluate` a command of its own: typer would make an only command the program."""


@app.command(name="evaluate")
def evaluate_command(
    model: Annotated[str, typer.Argument(help="The name of a model in QMNIST_MODELS.")],
    data: Annotated[
        Path,
        typer.Option(help="A torchvision root with QMNIST, or a folder with pictures in 0/ … 9/."),
    ] = Path("data"),
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the results to this file.")
    ] = None,
) -> None:
    """Count how many labelled digits a model gets right, with ONNX Runtime alone."""
    chosen = settings.load()
    artifact = artifacts.load(chosen.models / model)
    classifier = Classifier(artifact, choose_provider(chosen.provider, artifact))
    results = [
        _with_progress(classifier, source) for source in open_sources(data, chosen.max_image_pixels)
    ]
    for result in results:
        _show(result)
    if json_file is not None:
        text = json.dumps([result.to_json() for result in results], indent=2) + "\n"
        json_file.write_text(text, encoding="utf-8")


def _with_progress(classifier: Classifier, source: Source) -> Result:
    progress = Progress(
        TextColumn(source.name),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with progress:
        task = progress.add_task("", total=source.total)
        return evaluate(classifier, source, lambda count: progress.advance(task, count))


def _show(result: Result) -> None:
    console.print(
        f"{result.model} on {result.source}: {result.correct:,} of {result.total:,} right, "
        f"{100 * result.accuracy:.2f} %, {result.images_per_second:,.0f} images a second in the "
        "model",
        highlight=False,
    )
    table = Table(title="rows: the digit; columns: what it was taken for")
    for heading in ("", *map(str, range(10)), "right"):
        table.add_column(heading, justify="right")
    for digit, row in enumerate(result.confusion):
        share = f"{100 * row[digit] / row.sum():.2f} %" if row.sum() else "—"
        table.add_row(f"[bold]{digit}", *_cells(digit, row), share)
    console.print(table)


def _cells(digit: int, row: Iterable[int]) -> list[str]:
    return [
        f"[bold]{count}[/]" if column == digit else str(count) if count else "·"
        for column, count in enumerate(row)
    ]


def main() -> None:
    """Run a command; what a person can mend is one sentence and exit code 2."""
    try:
        app()
    except (ArtifactError, ContractError, ProviderError, SettingsError, SourceError) as error:
        Console(stderr=True, soft_wrap=True).print(f"error: {error}", style="red", markup=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
