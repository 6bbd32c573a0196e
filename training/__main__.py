"""The command line: `python -m training …`."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer
from rich.console import Console
from rich.table import Table

from artifact import CARD_FILE, ONNX_FILE, Acceptance
from training import dataset, figures, folders
from training.base import BaseError
from training.base import load as load_base
from training.card import Result, Trained, put_rejection
from training.dataset import DatasetError, Digits, Split, joined
from training.evaluation import predict_all
from training.export import ExportError, copy_for_comparison, export, onnx_predict
from training.extra import Extra, weighted
from training.extra import load as load_extra
from training.fit import CheckpointError, fit, start_run
from training.folders import FolderError
from training.networks import NETWORKS, NetworkError
from training.recipes import EXTRA, TYPICALITY, RecipeName, recipe_for
from training.report import ReportError, write_report
from training.synthetic.pictures import KINDS, learned_from
from training.synthetic.rejection import measure_rejection
from training.synthetic.typicality import fit_typicality
from training.worked_example import work_out

app = typer.Typer(
    help="Train, export and inspect small networks that read digits.", no_args_is_help=True
)
console = Console(soft_wrap=True)

FEW = 10  # held-out pictures; a count of fewer says little
ALL = "all"

Network = Annotated[str, typer.Argument(metavar="|".join([*NETWORKS, ALL]), help="The network.")]
Data = Annotated[
    Path,
    typer.Option(
        help="The data set: a torchvision root, into which QMNIST is downloaded if it is missing, "
        "or a folder of yours with train/ and test/, each with pictures in folders 0/ to 9/."
    ),
]
Models = Annotated[Path, typer.Option(help="The folder of the models.")]
Runs = Annotated[Path, typer.Option(help="The folder for the metrics of each run.")]
Results = Annotated[Path, typer.Option(help="The folder for the results of trainings.")]
Seed = Annotated[int, typer.Option(help="The same seed makes the same model, bit for bit.")]
Device = Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to train.")]


@app.command(name="fit")
def fit_command(
    network: Network,
    recipe: Annotated[
        RecipeName | None,
        typer.Option(help="How to train. Default: strong; with --extra, finetune."),
    ] = None,
    seed: Seed = 0,
    data: Data = Path("data"),
    models: Models = Path("runs/models"),
    results: Results = Path("runs/results"),
    runs: Runs = Path("runs"),
    device: Device = "cpu",
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a training that was interrupted.")
    ] = False,
    extra: Annotated[
        Path | None,
        typer.Option(help="Also learn your pictures: a folder with 0/ to 9/, or a zip of it."),
    ] = None,
    base: Annotated[
        Path, typer.Option(help="The models that finetune starts from and --extra compares with.")
    ] = Path("models"),
) -> None:
    """Train one network or all, and write the model and the result of the training."""
    names = _names(network)
    where, checkpoints = _device(device), runs / "checkpoints"
    own = None if extra is None else _load_extra(extra)
    chosen: RecipeName = recipe or ("strong" if own is None else "finetune")
    train, test = _load(data, "train"), _load(data, "test")
    for name in names:
        how, title = recipe_for(name, chosen), f"{chosen}-{name}-{seed}"
        there = load_base(base / name, name) if own is not None or how.fine_tune else None
        begun = there if how.fine_tune else None
        if begun is not None and begun.typicality is None:
            raise BaseError(
                f"The model in {base / name} has no thresholds, so it cannot be fine-tuned. "
                "Start from one that was trained with --recipe strong."
            )
        splits = dataset.splits(train, test, how.validation)
        learned, typical = learned_from(
            how.pictures, splits["train"], cache=checkpoints, console=console
        )
        if own is not None:
            splits |= own.splits()
            learned = joined(learned, weighted(own.train, learned, EXTRA))
        with start_run(runs, title, console) as run:
            fitted, history = fit(
                name,
                how,
                learned,
                splits.get("validation"),
                seed=seed,
                device=where,
                run=run,
                checkpoint=checkpoints / f"{title}.pt",
                start=None if begun is None else begun.weights,
                resume=resume,
            )
            typicality = None
            if begun is not None:
                typicality = begun.typicality
            elif "validation" in splits:  # needed to set its threshold
                typicality = fit_typicality(TYPICALITY, typical, cache=checkpoints, console=console)
            version = None if begun is None else begun.card.version
            origin = dataset.source(data)
            trained = Trained(name, fitted, how, history, seed, where.type, version, origin)
            card, evaluations = export(trained, typicality, models, splits)
            for split, evaluation in card["evaluation"].items():
                run.record("evaluation", split=split, **evaluation)
            if there is None:
                table = _table(name, card["evaluation"])
            else:
                before = {split: e.to_json() for split, e in there.evaluate(splits).items()}
                for split, evaluation in before.items():
                    run.record("before", split=split, **evaluation)
                table = _comparison(name, before, card["evaluation"])
        Result.of(card, history, evaluations).save(results)
        console.print(table)
        console.print(f"{name}: wrote {models / name}\n")


@app.command()
def compare(
    artifact: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="The folder of a trained model.")
    ],
    name: Annotated[str, typer.Argument(help="The copy's name.")],
    models: Models = Path("models"),
) -> None:
    """Copy a model to `models/<name>/`, to serve it for comparison with the others."""
    copy_for_comparison(artifact, models / name)
    console.print(f"wrote {models / name}")


@app.command()
def evaluate(
    network: Network = ALL,
    data: Data = Path("data"),
    models: Models = Path("models"),
) -> None:
    """Count how many digits of a data set one trained model gets right, or each of them."""
    names = _names(network)
    if network == ALL:
        names = [name for name in names if (models / name).is_dir()]
        if not names:
            raise BaseError(f"There is no model in {models}. Choose another folder with --models.")
    train, test = _load(data, "train"), _load(data, "test")
    for name in names:
        model = load_base(models / name, name)
        described = model.card.model_extra or {}
        learned = described["data"]["source"].startswith(dataset.source(data))
        held_out = described["training"]["recipe"]["validation"] if learned else 0.0
        evaluations = model.evaluate(dataset.splits(train, test, held_out))
        console.print(_table(name, {split: each.to_json() for split, each in evaluations.items()}))


@app.command()
def report(
    data: Data = Path("data"),
    results: Results = Path("results"),
    docs: Annotated[Path, typer.Option(help="The folder for report.md.")] = Path("docs"),
) -> None:
    """Write the report on the notebook's networks from their results, and its pictures."""
    if dataset.is_own(data):
        raise ReportError(f"The report is about QMNIST, and {data} is another data set.")
    write_report(results, dataset.load(data, "test"), docs)
    console.print(f"wrote {docs / 'report.md'}")


@app.command()
def refusal(
    data: Data = Path("data"), models: Models = Path("models"), results: Results = Path("results")
) -> None:
    """Measure how many other pictures each model refuses; about a minute per model."""
    splits = dataset.test_splits(_load(data, "test"))
    test = splits[dataset.headline(splits)]
    for path in sorted(models.glob(f"*/{CARD_FILE}")):
        described = json.loads(path.read_text(encoding="utf-8"))
        thresholds = described["calibration"]["acceptance"]
        if thresholds is None:
            continue
        predict = onnx_predict(path.parent / ONNX_FILE)
        outputs = predict_all(predict, test.images)
        rejection = measure_rejection(predict, Acceptance(**thresholds), test, outputs)
        put_rejection(rejection, path, results)
        for kind, counts in rejection.items():
            share = counts["refused"] / counts["total"]
            console.print(f"{path.parent.name}: {share:.1%} of {kind}", highlight=False)


@app.command()
def samples(
    split: Annotated[Split, typer.Option(help="Which split to draw from.")] = "train",
    data: Data = Path("data"),
    seed: Seed = 0,
    output: Annotated[Path, typer.Option(help="The PNG file.")] = Path("runs/samples.png"),
) -> None:
    """Draw nine random digits with their labels."""
    figures.draw_samples(_load(data, split), seed, output)
    console.print(f"wrote {output}")


@app.command()
def sheets(
    data: Data = Path("data"),
    seed: Seed = 0,
    output: Annotated[Path, typer.Option(help="The folder for the PNG files.")] = Path(
        "docs/recipe"
    ),
) -> None:
    """Draw examples of the generated training pictures, one sheet per kind."""
    digits = _load(data, "train")
    for kind in KINDS:
        figures.draw_sheet(kind, digits, seed, output / f"{kind}.png")
        console.print(f"wrote {output / kind}.png")


@app.command()
def predictions(
    network: Annotated[str, typer.Argument(help="A model in --models.")],
    data: Data = Path("data"),
    models: Models = Path("models"),
    seed: Seed = 0,
    output: Annotated[Path, typer.Option(help="The PNG file.")] = Path("runs/predictions.png"),
) -> None:
    """Draw nine random test digits, each with its own prediction."""
    path = models / network / ONNX_FILE
    if not path.exists():
        raise typer.BadParameter(
            f"There is no {path}. Choose another folder or model.", param_hint="--models"
        )
    predict = onnx_predict(path)
    figures.draw_predictions(_load(data, "test"), predict, seed, output)
    console.print(f"wrote {output}")


@app.command()
def worked_example() -> None:
    """Print one step of backpropagation, which the notebook works out by hand."""
    example = work_out()
    for title, quantities in (("Forward", example.forward), ("Backward", example.backward)):
        table = Table("quantity", "how", "value", title=title)
        for name, formula, value in quantities:
            table.add_row(name, formula, f"{value:.6f}")
        console.print(table)
    table = Table("parameter", "before", "after", title="The step")
    for name, before, after in example.updates:
        table.add_row(name, f"{before:.1f}", f"{after:.6f}")
    console.print(table)


def _names(network: str) -> list[str]:
    if network not in (*NETWORKS, ALL):
        raise NetworkError(
            f"There is no network {network!r}. Choose one of {', '.join([*NETWORKS, ALL])}, or "
            "register yours in training/networks.py."
        )
    return list(NETWORKS) if network == ALL else [network]


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise typer.BadParameter("This machine has no CUDA device.", param_hint="--device")
    return torch.device(name)


def _load(root: Path, split: Split) -> Digits:
    return dataset.load(root, split, console)


def _load_extra(path: Path) -> Extra:
    own = load_extra(path, EXTRA, console)
    held_out = len(own.validation)
    console.print(f"{path}: {len(own.train)} pictures to learn from, {held_out} held out")
    if held_out < FEW:
        folders.warn(
            f"A count of {held_out} held-out pictures says little. Add more pictures.", console
        )
    return own


def _comparison(name: str, before: dict[str, Any], after: dict[str, Any]) -> Table:
    columns = ["of", "right before", "after", "accepted before", "after"]
    table = Table("split", *columns, title=f"{name}, before and after")
    table.columns[0].no_wrap = True
    for column in table.columns[1:]:
        column.justify = "right"
    for split, now in after.items():
        total = now["total"]
        counts = (e.get(key) for key in ("correct", "accepted") for e in (before[split], now))
        shares = ("—" if n is None else f"{n:,}\n{100 * n / total:.2f} %" for n in counts)
        table.add_row(split, f"{total:,}", *shares)
    return table


def _table(title: str, evaluation: dict[str, Any]) -> Table:
    table = Table("split", "right", "of", "accuracy", "accepted", "of these right", title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    for split, result in evaluation.items():
        accepted = result.get("accepted")
        table.add_row(
            split,
            f"{result['correct']:,}",
            f"{result['total']:,}",
            f"{100 * result['accuracy']:.2f} %",
            "—" if accepted is None else f"{100 * accepted / result['total']:.2f} %",
            "—" if accepted is None else f"{100 * result['accepted_correct'] / accepted:.2f} %",
        )
    return table


def main() -> None:
    """Run a command; print a message and exit with code 2 for an error that you can fix."""
    try:
        app()
    except (
        BaseError,
        CheckpointError,
        DatasetError,
        FolderError,
        NetworkError,
        ReportError,
    ) as error:
        sys.exit(_complain(error, 2))
    except ExportError as error:
        sys.exit(_complain(error, 1))


def _complain(error: Exception, code: int) -> int:
    Console(stderr=True, soft_wrap=True).print(f"error: {error}", style="red", markup=False)
    return code


if __name__ == "__main__":
    main()
