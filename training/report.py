"""The report: `docs/report.md` and its pictures, from the results of trainings and nothing else."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from training import figures, negatives, results
from training.dataset import Digits
from training.recipes import NetworkName, RecipeName
from training.results import Result
from training.statistics import McNemar

Results = Mapping[RecipeName, Mapping[NetworkName, Sequence[Result]]]

NETWORKS: tuple[NetworkName, ...] = get_args(NetworkName)
RECIPES: tuple[RecipeName, ...] = get_args(RecipeName)

# What the course notebook printed, of one run each, on all 60,000 test digits.
NOTEBOOK = {"baseline": 0.94857, "deeper": 0.96322, "dropout": 0.93077}


class ReportError(Exception):
    """Results that the report needs are missing; the message says how to make them."""


def write_report(folder: Path, test: Digits, docs: Path) -> None:
    """Write the report.

    Args:
        folder: Where the results are.
        test: The test digits that the results are of.
        docs: Where `report.md` goes, and `report/` with its pictures.

    Raises:
        ReportError: Results are missing, or are of other test digits.
    """
    loaded = {
        recipe: {network: _load(folder, recipe, network, test) for network in NETWORKS}
        for recipe in RECIPES
    }
    pictures = docs / "report"
    pictures.mkdir(parents=True, exist_ok=True)
    split = loaded["strong"]["deeper"][0].test
    sections = [
        _introduction(split),
        _accuracy(loaded, split),
        _curves(loaded, pictures),
        _mistakes(loaded, test, split, pictures),
        _confidence(loaded, split, pictures),
        _refusal(loaded, split),
        _questions(loaded, test, split),
        _writers(loaded, test, split),
    ]
    (docs / "report.md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def _load(folder: Path, recipe: RecipeName, network: NetworkName, test: Digits) -> list[Result]:
    found = results.load(folder, recipe, network)
    if not found:
        raise ReportError(f"{folder} has no results of {network} by {recipe}; make train")
    for result in found:
        if len(result.predictions) > len(test):
            raise ReportError(f"{folder} has results of more test digits than there are")
    return found


def _introduction(split: str) -> str:
    return f"""# Report

Made by `make report` from the results of all trainings, `results/`, and the test digits. Each
network was trained three times by each recipe, from the seeds 0, 1 and 2; the models that are
served are seed 0 of the recipe `strong`. Nothing was chosen by looking at test digits.

*Train* are the digits that a network learned from: all 60,000 for the notebook's recipe, and for
`strong` those of 91.5 % of the writers. *Validation* are the digits of the other writers. `{split}`
are the first 10,000 test digits of QMNIST, with MNIST's pixels."""


def _accuracy(loaded: Results, split: str) -> str:
    columns = ["network", "recipe", "train", "validation", "test, mean", "lowest to highest"]
    columns += ["seed 0", "parameters", "seconds", "the notebook's own"]
    rows = [f"| {' | '.join(columns)} |", "| --- | --- |" + " ---: |" * (len(columns) - 2)]
    for network in NETWORKS:
        for recipe in RECIPES:
            found = loaded[recipe][network]
            accuracies = [result.accuracy(split) for result in found]
            first = found[0].card
            evaluation = first["evaluation"]
            cells = [
                f"`{network}`",
                f"`{recipe}`",
                _mean(found, "train"),
                _mean(found, "validation") if "validation" in evaluation else "—",
                f"**{percent(mean(accuracies))}**",
                f"{percent(min(accuracies))} to {percent(max(accuracies))}",
                f"{evaluation[split]['correct']:,} of {evaluation[split]['total']:,}",
                f"{first['architecture']['parameters']:,}",
                f"{mean(result.history.seconds for result in found):.0f}",
                percent(NOTEBOOK[network]) if recipe == "notebook" else "",
            ]
            rows.append(f"| {' | '.join(cells)} |")
    return (
        "## Accuracy\n\n"
        + "\n".join(rows)
        + f"""

All but *lowest to highest* and *seed 0* are means over the seeds; *seconds* are of training, on two
cores that had other work to do as well. The notebook's own figures are of one run each and of all
60,000 test digits, of which the last 50,000 are slightly harder than `{split}`; that, and the luck
of one seed, is why they are lower."""
    )


def _mean(found: Sequence[Result], split: str) -> str:
    return percent(mean(result.accuracy(split) for result in found))


def _curves(loaded: Results, pictures: Path) -> str:
    figures.draw_curves(loaded, pictures / "curves.png")
    first, last = (
        mean(loaded["strong"][network][0].history.validation_accuracies[i] for network in NETWORKS)
        for i in (9, -1)
    )
    return f"""## Learning

![loss and accuracy by epoch](report/curves.png)

*The strong recipe goes on learning to its last epoch: on validation digits from {percent(first)}
after ten epochs to {percent(last)}, the mean of the three networks. Its training loss is of
distorted digits, which are harder than the ones it is tested on.*"""


def _mistakes(loaded: Results, test: Digits, split: str, pictures: Path) -> str:
    labels = test.labels.numpy()
    figures.draw_confusions(
        {network: _first(loaded, network).predictions for network in NETWORKS},
        labels,
        pictures / "confusion.png",
    )
    best = max(NETWORKS, key=lambda network: _first(loaded, network).accuracy("validation"))
    predictions = _first(loaded, best).predictions
    wrong = np.flatnonzero(predictions != labels[: len(predictions)])
    figures.draw_mistakes(test, wrong, predictions, pictures / "mistakes.png")
    return f"""## Mistakes

![confusion matrices of the served models](report/confusion.png)

*The mistakes of the served models on `{split}` are few, and mostly between digits that are written
alike: {_likeliest_confusions(predictions, labels)} (`{best}`).*

![all test digits that the best model gets wrong](report/mistakes.png)

*All {len(wrong)} digits of `{split}` that `{best}` gets wrong, the served model that is best on
validation.*"""


def _likeliest_confusions(predictions: NDArray[np.int64], labels: NDArray[np.int64]) -> str:
    counts: dict[tuple[int, int], int] = {}
    for label, predicted in zip(labels, predictions, strict=False):
        if label != predicted:
            pair = (int(label), int(predicted))
            counts[pair] = counts.get(pair, 0) + 1
    most = sorted(counts, key=lambda pair: (-counts[pair], pair))[:3]
    return ", ".join(f"{a} taken for {b} ({counts[a, b]} times)" for a, b in most)


def _first(loaded: Results, network: NetworkName) -> Result:
    """Return the served model's result."""
    return loaded["strong"][network][0]


def _confidence(loaded: Results, split: str, pictures: Path) -> str:
    figures.draw_reliability(
        {network: _first(loaded, network).reliability for network in NETWORKS},
        pictures / "reliability.png",
    )
    rows = [
        "| network | temperature | calibration error, served | mean over seeds |",
        "| --- | ---: | ---: | ---: |",
    ]
    for network in NETWORKS:
        found = loaded["strong"][network]
        errors = [r.card["evaluation"][split]["calibration_error"] for r in found]
        temperature = found[0].card["calibration"]["temperature"]
        rows.append(
            f"| `{network}` | {temperature:.3f} | {percent(errors[0])} | {percent(mean(errors))} |"
        )
    return (
        "## Confidence\n\n![reliability diagrams](report/reliability.png)\n\n"
        "*Confidence is what it says, as far as so few answers can tell: each point is a bin, with "
        "the number of answers in it; the bars are one standard deviation.*\n\n"
        + "\n".join(rows)
        + f"""

The expected calibration error on `{split}`, in 15 bins. The temperature was fitted on validation
digits, and is 1 where it did not help on writers that it was not fitted on."""
    )


def _refusal(loaded: Results, split: str) -> str:
    lines = [
        "| network | test digits accepted | of these right |",
        "| --- | ---: | ---: |",
    ]
    for network in NETWORKS:
        evaluation = _first(loaded, network).card["evaluation"][split]
        accepted, right = evaluation["accepted"], evaluation["accepted_correct"]
        lines.append(
            f"| `{network}` | {percent(accepted / evaluation['total'])} "
            f"| {percent(right / accepted)} |"
        )
    kinds = list(_first(loaded, "baseline").card["rejection"])
    lines += ["", "| not digits | " + " | ".join(f"`{network}`" for network in NETWORKS) + " |"]
    lines += ["| --- |" + " --- |" * len(NETWORKS)]
    for kind in kinds:
        cells = []
        for network in NETWORKS:
            result = _first(loaded, network).card["rejection"][kind]
            cells.append(
                f"{percent(result['refused'] / result['total'])}; "
                f"{result['auroc_typicality']:.4f}, {result['auroc_confidence']:.4f}"
            )
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return (
        "## Refusal\n\nWhat is accepted of the test digits by the served models, at the thresholds "
        "that were set on validation digits:\n\n"
        + "\n".join(lines)
        + f"""

In the second table: the share that is refused; then the area under the ROC curve between these and
the test digits, by typicality and by plain confidence (the largest softmax). Nothing was fitted on
these pictures, fonts and random numbers; the letters, but none of the others, were looked at when
the shares that the thresholds refuse were chosen.

What stays hard. The letters that are digits in shape (`{negatives.LOOKALIKES}`, *lookalikes*,
which are among the *letters*) are refused in good part because they are *printed*, and these
networks know handwriting: of the *printed digits* of the same fonts, which are digits, many are
refused, too. A handwritten O, l or S was not to be had for this report; nothing in its pixels would
say that it is not a 0, a 1 or a 5."""
    )


def _questions(loaded: Results, test: Digits, split: str) -> str:
    labels = test.labels.numpy()
    lines = [
        "| recipe | seed | `deeper` alone right | `baseline` alone right | p (McNemar, exact) |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for recipe in RECIPES:
        pairs = zip(loaded[recipe]["deeper"], loaded[recipe]["baseline"], strict=True)
        for deeper, baseline in pairs:
            truth = labels[: len(deeper.predictions)]
            test_ = McNemar.of(deeper.predictions == truth, baseline.predictions == truth)
            lines.append(
                f"| `{recipe}` | {deeper.seed} | {test_.first_only} | {test_.second_only} "
                f"| {test_.p_value:.4f} |"
            )
    fits = [
        "| recipe | train | validation | test |",
        "| --- | ---: | ---: | ---: |",
    ]
    for recipe in RECIPES:
        found = loaded[recipe]["dropout"]
        held_out = "validation" in found[0].card["evaluation"]
        fits.append(
            f"| `{recipe}` | {_mean(found, 'train')} "
            f"| {_mean(found, 'validation') if held_out else '—'} | {_mean(found, split)} |"
        )
    gain = {
        recipe: mean(r.accuracy(split) for r in loaded[recipe]["deeper"])
        - mean(r.accuracy(split) for r in loaded[recipe]["baseline"])
        for recipe in RECIPES
    }
    underfit = loaded["notebook"]["dropout"]
    gap = mean(r.accuracy("train") - r.accuracy(split) for r in underfit)
    return (
        "## The notebook's questions\n\n### Does the extra layer help?\n\n"
        + "\n".join(lines)
        + f"""

By {100 * gain["notebook"]:.2f} points with the notebook's recipe and {100 * gain["strong"]:.2f}
with the strong one, the means over the seeds. The table counts, for the same test digits, those
that one of the two networks gets right and the other wrong; p is how likely so uneven a split would
be if the two were equally good.

### Does the third network overfit?

"""
        + "\n".join(fits)
        + f"""

The notebook says so. It does not: with the notebook's recipe it is only {100 * gap:.2f} points
better on the digits it learned from than on new ones, and bad on both. That is *underfitting*, from
dropout of half of 128 units and five epochs. The same network, trained longer and without dropout,
reaches {_mean(loaded["strong"]["dropout"], split)}."""
    )


def _writers(loaded: Results, test: Digits, split: str) -> str:
    labels, series = test.labels.numpy(), test.series.numpy()
    groups: dict[str, Callable[[NDArray[np.int64]], NDArray[np.bool_]]] = {
        "employees (HSF 0 and 1)": lambda s: (s == 0) | (s == 1),
        "students (HSF 4)": lambda s: s == 4,
    }
    lines = [
        "| network | recipe | " + " | ".join(groups) + " |",
        "| --- | --- |" + " ---: |" * len(groups),
    ]
    sizes: list[int] = []
    for network in NETWORKS:
        for recipe in RECIPES:
            cells = []
            sizes = []
            for member in groups.values():
                found = loaded[recipe][network]
                rows = np.flatnonzero(member(series[: len(found[0].predictions)]))
                sizes.append(len(rows))
                cells.append(
                    percent(mean((r.predictions[rows] == labels[rows]).mean() for r in found))
                )
            lines.append(f"| `{network}` | `{recipe}` | " + " | ".join(cells) + " |")
    return (
        "## Writers\n\nQMNIST says who wrote each digit: employees of the Census Bureau "
        f"({sizes[0]:,} digits of `{split}`), or high-school students ({sizes[1]:,}). Mean "
        "accuracy over the seeds:\n\n" + "\n".join(lines)
    )


def percent(share: float) -> str:
    """Format a share of 0…1."""
    return f"{100 * share:.2f} %"
