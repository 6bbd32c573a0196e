"""The tables and pictures of `docs/report.md`, made from the results of trainings.

People write the words of the page. `write_report` replaces only the blocks between two marks.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np

from training import figures
from training.card import Result, load_results, replacing_file
from training.dataset import Digits
from training.evaluation import confusion, interval
from training.networks import CLASSES
from training.recipes import RecipeName

RECIPES: tuple[RecipeName, ...] = ("notebook", "strong")

# The accuracies that the course notebook prints: one run each, on all 60,000 test digits.
NOTEBOOK = {"baseline": 0.94857, "deeper": 0.96322, "dropout": 0.93077}
NETWORKS = tuple(NOTEBOOK)

# The marks around a block: definitions of links that nothing uses, which Markdown does not show.
BEGIN = '[//]: # "made by make report: {}"'
END = '[//]: # "end"'

# How the report calls kinds of pictures, where the card's name is too short.
SHOWN = {"halves": "joined halves", "lookalikes": "look-alike letters"}


class ReportError(Exception):
    """The report cannot be made; the message names the problem and the remedy."""


@dataclass(frozen=True)
class Source:
    """The inputs of the report.

    Attributes:
        results: The results of each recipe and network, ordered by seed.
        test: The test digits that were predicted.
        pictures: The folder to write pictures to.
    """

    results: Mapping[RecipeName, Mapping[str, Sequence[Result]]]
    test: Digits
    pictures: Path

    @property
    def served(self) -> Mapping[str, Result]:
        """The results of the served models: seed 0 of the recipe `strong`."""
        return {network: found[0] for network, found in self.results["strong"].items()}

    @property
    def split(self) -> str:
        """The name of the test split."""
        return self.served["baseline"].test

    def runs(self) -> Iterable[tuple[str, RecipeName, Sequence[Result]]]:
        """Yield the results of each network and recipe."""
        for network in NETWORKS:
            for recipe in RECIPES:
                yield network, recipe, self.results[recipe][network]


def write_report(folder: Path, test: Digits, docs: Path) -> None:
    """Replace the generated blocks of `report.md`, and write its pictures.

    Args:
        folder: The folder with the results.
        test: The test digits that were predicted.
        docs: The folder with `report.md`, which is created without words if it is missing. The
            pictures are written to `report/` in it.

    Raises:
        ReportError: Results are missing, or have more predictions than there are test digits, or
            the page lacks a mark.
    """
    results = {
        recipe: {network: _load(folder, recipe, network, test) for network in NETWORKS}
        for recipe in RECIPES
    }
    source = Source(results, test, docs / "report")
    page = docs / "report.md"
    text = page.read_text(encoding="utf-8") if page.exists() else _without_words()
    for name, block in BLOCKS.items():
        text = _filled(text, name, block(source), page)
    with replacing_file(page) as file:
        file.write_text(text, encoding="utf-8")


def _load(folder: Path, recipe: RecipeName, network: str, test: Digits) -> list[Result]:
    found = load_results(folder, recipe, network)
    if not found:
        raise ReportError(
            f"{folder} has no results of {network} with the recipe {recipe}. Run `make train`."
        )
    for result in found:
        if len(result.predictions) > len(test):
            raise ReportError(
                f"{folder} has results of {network} for {len(result.predictions):,} test digits, "
                f"but the data has only {len(test):,}. Pass the data of that training."
            )
    return found


def _without_words() -> str:
    sections = [f"## {name.capitalize()}\n\n{BEGIN.format(name)}\n\n{END}\n" for name in BLOCKS]
    return "\n".join(["# Report\n", *sections])


def _filled(text: str, name: str, block: str, page: Path) -> str:
    begin = BEGIN.format(name)
    made = f"{begin}\n\n{block}\n\n{END}"
    pattern = f"{re.escape(begin)}\n.*?{re.escape(END)}"
    filled, count = re.subn(pattern, lambda _: made, text, flags=re.DOTALL)
    if count != 1:
        raise ReportError(
            f"{page} needs exactly one block for {name}, but has {count}. A block begins with "
            f"{begin} and ends with {END}."
        )
    return filled


def _accuracy(source: Source) -> str:
    columns = ["train", "validation", "test", "test, lowest to highest", "seeds", "test, seed 0"]
    columns += ["parameters", "in the notebook"]
    rows = []
    for network, recipe, found in source.runs():
        accuracies = [result.accuracy(source.split) for result in found]
        first = found[0].card
        evaluation = first["evaluation"][source.split]
        rows.append(
            [
                f"`{network}`",
                f"`{recipe}`",
                _mean(found, "train"),
                _mean(found, "validation"),
                f"**{percent(mean(accuracies))}**",
                f"{percent(min(accuracies))} to {percent(max(accuracies))}",
                f"{len(found)}",
                f"{evaluation['correct']:,} of {evaluation['total']:,}",
                f"{first['architecture']['parameters']:,}",
                percent(NOTEBOOK[network]) if recipe == "notebook" else "",
            ]
        )
    return table(["network", "recipe"], columns, rows)


def _learning(source: Source) -> str:
    figures.draw_curves(source.results, source.pictures / "curves.png")
    curves = {network: r.history.validation_accuracies for network, r in source.served.items()}
    last = len(curves["baseline"])
    epochs = sorted({1, min(10, last), min(100, last), last})
    total = source.served["baseline"].card["evaluation"]["validation"]["total"]
    rows = [
        [f"`{network}`", *(share(round(curve[epoch - 1] * total), total) for epoch in epochs)]
        for network, curve in curves.items()
    ]
    columns = [f"epoch {epoch}" for epoch in epochs]
    return "![loss and errors by epoch](report/curves.png)\n\n" + table(["network"], columns, rows)


def _mistakes(source: Source) -> str:
    labels = source.test.labels.numpy()
    predictions = {network: result.predictions for network, result in source.served.items()}
    figures.draw_confusions(predictions, labels, source.pictures / "confusion.png")
    best = max(NETWORKS, key=lambda network: source.served[network].accuracy("validation"))
    truth = labels[: len(predictions[best])]
    wrong = np.flatnonzero(predictions[best] != truth)
    figures.draw_mistakes(source.test, wrong, predictions[best], source.pictures / "mistakes.png")
    rows = []
    for network, predicted in predictions.items():
        counts = confusion(labels[: len(predicted)], predicted)
        pairs = [(a, b) for a in range(CLASSES) for b in range(CLASSES) if a != b]
        most = sorted(pairs, key=lambda pair: -counts[pair])[:3]
        rows.append(
            [
                f"`{network}`",
                f"{counts.sum() - counts.trace():,}",
                "; ".join(f"{a} read as {b} ({counts[a, b]} times)" for a, b in most),
            ]
        )
    return f"""![confusion matrices of the served models](report/confusion.png)

{table(["network"], ["mistakes", "most frequent"], rows)}

![test digits that one model gets wrong](report/mistakes.png)

*All mistakes of `{best}`, the best model on validation digits, on `{source.split}`.*"""


def _confidence(source: Source) -> str:
    reliability = {network: result.reliability for network, result in source.served.items()}
    figures.draw_reliability(reliability, source.pictures / "reliability.png")
    rows = []
    for network, result in source.served.items():
        temperature = result.card["calibration"]["temperature"]
        evaluation = result.card["evaluation"][source.split]
        if temperature != 1:
            rows.append([f"`{network}`", "1", *_scores(evaluation["without_temperature"])])
        rows.append([f"`{network}`", f"{temperature:.3f} (served)", *_scores(evaluation)])
    columns = ["calibration error", "negative log-likelihood", "Brier score"]
    picture = "![reliability diagrams](report/reliability.png)"
    return f"{picture}\n\n{table(['network', 'temperature'], columns, rows)}"


def _scores(scores: Mapping[str, float]) -> list[str]:
    likelihood, brier = scores["negative_log_likelihood"], scores["brier_score"]
    return [percent(scores["calibration_error"]), f"{likelihood:.4f}", f"{brier:.4f}"]


def _acceptance(source: Source) -> str:
    rows = []
    for network, result in source.served.items():
        evaluation = result.card["evaluation"][source.split]
        accepted = evaluation["accepted"]
        accepted_share = share(accepted, evaluation["total"])
        right = share(evaluation["accepted_correct"], accepted)
        rows.append([f"`{network}`", accepted_share, right])
    return table(["network"], ["accepted test digits", "correct among them"], rows)


def _refusal(source: Source) -> str:
    found = {network: result.card["rejection"] for network, result in source.served.items()}
    refused, areas = [], []
    for kind in found["baseline"]:
        of_kind = [found[network][kind] for network in NETWORKS]
        name = SHOWN.get(kind, kind)
        refused.append([name, *(share(some["refused"], some["total"]) for some in of_kind)])
        for family in of_kind[0].get("families", ()):
            of_family = [some["families"][family] for some in of_kind]
            cells = [share(some["refused"], some["total"]) for some in of_family]
            refused.append([f"{name} in {family}", *cells])
        areas.append([name, f"{of_kind[0]['auroc_typicality']:.4f}"])
        areas[-1] += [f"{some['auroc_confidence']:.4f}" for some in of_kind]
    columns = [f"`{network}`" for network in NETWORKS]
    of_areas = ["typicality", *(f"confidence of {column}" for column in columns)]
    return f"""{table(["pictures refused"], columns, refused)}

{table(["area under the ROC curve"], of_areas, areas)}"""


def _layer(source: Source) -> str:
    rows = []
    for recipe, found in source.results.items():
        baselines = {r.seed: r.accuracy(source.split) for r in found["baseline"]}
        points = [
            100 * (deeper.accuracy(source.split) - baselines[deeper.seed])
            for deeper in found["deeper"]
            if deeper.seed in baselines
        ]
        if len(points) < 2:
            raise ReportError(
                f"An interval needs at least two seeds of the recipe {recipe}. Run `make train`."
            )
        lowest, highest = interval(points)
        spread = f"{lowest:+.2f} to {highest:+.2f}"
        rows.append([f"`{recipe}`", f"{len(points)}", f"{mean(points):+.2f}", spread])
    return table(["recipe"], ["seeds", "mean gain in points", "95 % confidence interval"], rows)


def _overfitting(source: Source) -> str:
    splits = ("train", "validation", source.split)
    rows = [
        [f"`{recipe}`", *(_mean(found["dropout"], split) for split in splits)]
        for recipe, found in source.results.items()
    ]
    return table(["recipe"], ["train", "validation", "test"], rows)


def _writers(source: Source) -> str:
    labels, series = source.test.labels.numpy(), source.test.series.numpy()
    rows = []
    for network, recipe, found in source.runs():
        of = series[: len(found[0].predictions)]
        groups = {"employees (HSF 0 and 1)": of <= 1, "students (HSF 4)": of == 4}
        columns = [f"{name}: {some.sum():,}" for name, some in groups.items()]
        rows.append([f"`{network}`", f"`{recipe}`"])
        for some in groups.values():
            chosen = np.flatnonzero(some)
            right = [(r.predictions[chosen] == labels[chosen]).mean() for r in found]
            rows[-1].append(percent(mean(right)))
    return table(["network", "recipe"], columns, rows)


BLOCKS: Mapping[str, Callable[[Source], str]] = {
    "accuracy": _accuracy,
    "learning": _learning,
    "mistakes": _mistakes,
    "confidence": _confidence,
    "acceptance": _acceptance,
    "refusal": _refusal,
    "layer": _layer,
    "overfitting": _overfitting,
    "writers": _writers,
}


def table(names: Sequence[str], columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Make a Markdown table: `names` aligned to the left, `columns` to the right."""
    lines = [[*names, *columns], ["---"] * len(names) + ["---:"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _mean(found: Sequence[Result], split: str) -> str:
    if split not in found[0].card["evaluation"]:
        return "—"
    return percent(mean(result.accuracy(split) for result in found))


def share(count: int, total: int) -> str:
    """Format a count, its total and the percentage."""
    return f"{count:,} of {total:,} ({percent(count / total)})"


def percent(share: float) -> str:
    """Format a share in 0…1 as a percentage."""
    return f"{100 * share:.2f} %"
