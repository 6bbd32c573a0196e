"""The command line: `python -m training …`."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args

import torch
import typer
from rich.console import Console
from rich.table import Table

from training import dataset, figures
from training.dataset import DatasetError, Digits
from training.export import ONNX_FILE, ExportError, Trained, export, onnx_predict
from training.fit import Evaluation, evaluate_splits, fit, torch_predict
from training.recipes import RECIPES, NetworkName, Recipe, RecipeName
from training.report import Comparison
from training.runs import Run, start_run

app = typer.Typer(
    help="Train, export and look at three small QMNIST networks.", no_args_is_help=True
)
console = Console(soft_wrap=True)

Data = Annotated[
    Path, typer.Option(help="A torchvision root; QMNIST is downloaded into it when missing.")
]
Models = Annotated[Path, typer.Option(help="Where the artifacts are.")]
Runs = Annotated[Path, typer.Option(help="Where the metrics of each run are kept.")]
Seed = Annotated[int, typer.Option(help="One seed makes one model, bit for bit.")]


Device = Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to train; absent is an error.")]


@app.command(name="fit")
def fit_command(
    network: Literal[NetworkName, "all"],
    recipe: RecipeName = "notebook",
    seed: Seed = 0,
    data: Data = Path("data"),
    models: Models = Path("models"),
    runs: Runs = Path("runs"),
    device: Device = "cpu",
) -> None:
    """Train a network, or all three, and write `models/<name>/`."""
    chosen = _device(device)
    train, test = dataset.load(data, "train"), dataset.load(data, "test")
    names: tuple[NetworkName, ...] = get_args(NetworkName) if network == "all" else (network,)
    for name in names:
        splits = _splits(train, test, RECIPES[recipe][name])
        with start_run(runs, name, console) as run:
            trained = _train(name, RECIPES[recipe][name], seed, splits["train"], chosen, run)
            evaluations = export(trained, models, splits)
            _record(run, evaluations)
            console.print(_table(name, evaluations))
            console.print(f"{name}: wrote {models / name}")


@app.command()
def compare(
    recipe: RecipeName = "notebook",
    seeds: Annotated[int, typer.Option(help="How many: 0, 1, 2, ….", min=1)] = 3,
    data: Data = Path("data"),
    runs: Runs = Path("runs"),
    device: Device = "cpu",
) -> None:
    """Train all three networks from several seeds; print accuracies, mean and range."""
    chosen = _device(device)
    train, test = dataset.load(data, "train"), dataset.load(data, "test")
    results: dict[NetworkName, dict[int, dict[str, Evaluation]]] = {
        name: {} for name in RECIPES[recipe]
    }
    for name, by_seed in results.items():
        splits = _splits(train, test, RECIPES[recipe][name])
        for seed in range(seeds):
            with start_run(runs, f"{name}-seed{seed}", console) as run:
                trained = _train(name, RECIPES[recipe][name], seed, splits["train"], chosen, run)
                by_seed[seed] = evaluate_splits(torch_predict(trained.network), splits)
                _record(run, by_seed[seed])
    sys.stdout.write(Comparison(recipe, results).markdown() + "\n")


@app.command()
def samples(
    split: Annotated[Literal["train", "test"], typer.Option(help="Whose digits.")] = "train",
    data: Data = Path("data"),
    seed: Seed = 0,
    output: Annotated[Path, typer.Option(help="The PNG file.")] = Path("runs/samples.png"),
) -> None:
    """Draw nine random digits with their labels."""
    figures.draw_samples(dataset.load(data, split), seed, output)
    console.print(f"wrote {output}")


@app.command()
def predictions(
    network: NetworkName,
    data: Data = Path("data"),
    models: Models = Path("models"),
    seed: Seed = 0,
    output: Annotated[Path, typer.Option(help="The PNG file.")] = Path("runs/predictions.png"),
) -> None:
    """Draw nine random test digits, each with its own prediction."""
    predict = onnx_predict(models / network / ONNX_FILE)
    figures.draw_predictions(dataset.load(data, "test"), predict, seed, output)
    console.print(f"wrote {output}")


def _splits(train: Digits, test: Digits, recipe: Recipe) -> dict[str, Digits]:
    fitted_on, validation = dataset.hold_out_writers(train, recipe.validation)
    splits = {"train": fitted_on, "validation": validation, **dataset.test_splits(test)}
    return {name: digits for name, digits in splits.items() if len(digits) > 0}


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise typer.BadParameter("there is no CUDA device here", param_hint="--device")
    return torch.device(name)


def _train(
    name: NetworkName, recipe: Recipe, seed: int, digits: Digits, device: torch.device, run: Run
) -> Trained:
    network = fit(name, recipe, digits, seed=seed, device=device, run=run)
    return Trained(name, network, recipe, seed, device.type)


def _record(run: Run, evaluations: Mapping[str, Evaluation]) -> None:
    for split, result in evaluations.items():
        run.record(
            "evaluation",
            split=split,
            correct=result.correct,
            total=result.total,
            accuracy=result.accuracy,
            calibration_error=result.calibration_error,
        )


def _table(title: str, evaluations: Mapping[str, Evaluation]) -> Table:
    table = Table("split", "right", "of", "accuracy", title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    for split, result in evaluations.items():
        table.add_row(
            split, f"{result.correct:,}", f"{result.total:,}", f"{100 * result.accuracy:.2f} %"
        )
    return table


def main() -> None:
    """Run a command; what a person can mend is one sentence and exit code 2."""
    try:
        app()
    except DatasetError as error:
        sys.exit(_complain(error, 2))
    except ExportError as error:
        sys.exit(_complain(error, 1))


def _complain(error: Exception, code: int) -> int:
    Console(stderr=True, soft_wrap=True).print(f"error: {error}", style="red", markup=False)
    return code


if __name__ == "__main__":
    main()
