"""What is written of a training: `card.json` of its model, and its result for the report.

Both, and all files beside them, are written whole or not at all.
"""

import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from artifact import CARD_FILE, Acceptance, Card
from training.dataset import Digits, headline
from training.evaluation import Bin, Evaluation, History
from training.recipes import CALIBRATION, EXTRA, TYPICALITY, NetworkName, Recipe, RecipeName

LIBRARIES = ("torch", "torchvision", "onnx", "onnxruntime", "onnxscript", "numpy")

DROPOUT_OFF = (
    "It was trained with dropout off, so its activations are what sets it apart from deeper."
)
DECIMALS = 4  # of what the card has for charts
OF_FILES = ("details", "sizes", "files")  # of a card, what a result does not keep


@dataclass(frozen=True)
class Trained:
    """A trained network and what its card has to say of the training."""

    name: NetworkName
    network: nn.Module
    recipe: Recipe
    history: History
    seed: int
    device: str
    base: str | None = None  # the version of the model that it went on from


def describe(
    trained: Trained,
    version: str,
    splits: Mapping[str, Digits],
    evaluations: Mapping[str, Evaluation],
    temperature: float,
    acceptance: Acceptance | None,
    rejection: dict[str, dict[str, Any]] | None,
) -> dict[str, Any]:
    """Say all that a card says, but for its files.

    Args:
        trained: The network and its training.
        version: What names the numbers that are served.
        splits: The digits, by the name of their split.
        evaluations: How the model did on each of them.
        temperature: What its logits are divided by.
        acceptance: Its thresholds, if there were validation digits to set them on.
        rejection: What they refuse, by kind, as `measure_rejection` counts it.

    Returns:
        The card, as JSON has it; `write` completes it.
    """
    return {
        "name": trained.name,
        "version": version,
        "architecture": architecture(trained.network),
        "training": {
            "recipe": asdict(trained.recipe),
            "typicality": asdict(TYPICALITY) if acceptance else None,
            "calibration": asdict(CALIBRATION),
            "extra": asdict(EXTRA) if "extra_train" in splits else None,
            "base": trained.base,
            "seed": trained.seed,
            "device": trained.device,
            "libraries": {
                "python": platform.python_version(),
                **{name: metadata.version(name) for name in LIBRARIES},
            },
        },
        "data": {
            "source": "QMNIST and extra pictures" if "extra_train" in splits else "QMNIST",
            "splits": {
                name: {"rows": len(digits), "sha256": digits.sha256()}
                for name, digits in splits.items()
            },
        },
        "calibration": {
            "temperature": temperature,
            "acceptance": acceptance.model_dump() if acceptance else None,
        },
        "evaluation": {name: result.to_json() for name, result in evaluations.items()},
        "rejection": rejection,
        "details": _details(trained.history, headline(splits), evaluations),
    }


def write(card: dict[str, Any], folder: Path) -> None:
    """Complete a card with the sizes and hashes of a folder's files, and put it beside them."""
    files = sorted(folder.iterdir())
    card["sizes"] = {file.name: file.stat().st_size for file in files}
    card["files"] = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    Card.model_validate(card)  # or it would be found out where it is to be served
    text = json.dumps(card, indent=2) + "\n"
    (folder / CARD_FILE).write_text(text, encoding="utf-8")


def put_rejection(rejection: dict[str, dict[str, Any]], path: Path, results: Path) -> None:
    """Put what a model refuses on its card, and into its training's result, if that is there."""
    described = json.loads(path.read_text(encoding="utf-8")) | {"rejection": rejection}
    with replacing_file(path) as file:
        file.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    recipe = described["training"]["recipe"]["name"]
    for result in load_results(results, recipe, described["name"]):
        if result.card["version"] == described["version"]:
            result.card["rejection"] = rejection
            result.save(results)


def architecture(network: nn.Module) -> dict[str, Any]:
    """Say what a network is made of, as it was trained."""
    layers = [module for module in network.children() if isinstance(module, nn.Linear)]
    summary = (type(network).__doc__ or "").strip()
    if any(isinstance(module, nn.Dropout) and module.p == 0 for module in network.children()):
        summary += " " + DROPOUT_OFF
    return {
        "summary": summary,
        "layers": [layers[0].in_features, *(layer.out_features for layer in layers)],
        "parameters": sum(p.numel() for p in network.parameters()),
    }


def _details(history: History, split: str, evaluations: Mapping[str, Evaluation]) -> dict[str, Any]:
    return {
        "split": split,
        "confusion": evaluations[split].confusion.tolist(),
        "reliability": [
            {
                "count": b.count,
                "confidence": round(b.confidence, DECIMALS),
                "accuracy": round(b.accuracy, DECIMALS),
            }
            for b in evaluations[split].reliability
        ],
        "losses": [round(loss, DECIMALS) for loss in history.losses],
        "validation_accuracies": [round(a, DECIMALS) for a in history.validation_accuracies],
    }


@dataclass(frozen=True)
class Result:
    """One finished training, `results/<recipe>/<network>-<seed>.json`.

    Attributes:
        card: As in `card.json`, without what is of its files and what the result says itself.
        history: What the training came through.
        test: The name of the test split that the next two are of.
        predictions: The digits predicted for it, int64 `[N]`.
        reliability: Confidence against accuracy on it.
    """

    card: dict[str, Any]
    history: History
    test: str
    predictions: NDArray[np.int64]
    reliability: list[Bin]

    @classmethod
    def of(
        cls, card: dict[str, Any], history: History, evaluations: Mapping[str, Evaluation]
    ) -> "Result":
        """Gather what is kept of a training."""
        test = card["details"]["split"]
        kept = {k: v for k, v in card.items() if k not in OF_FILES}
        evaluation = evaluations[test]
        return cls(kept, history, test, evaluation.outputs.digits, evaluation.reliability)

    @property
    def seed(self) -> int:
        """The training's seed."""
        seed: int = self.card["training"]["seed"]
        return seed

    def accuracy(self, split: str) -> float:
        """The share of a split's digits that was right, 0…1."""
        accuracy: float = self.card["evaluation"][split]["accuracy"]
        return accuracy

    def save(self, results: Path) -> None:
        """Write it to its place."""
        content = {
            "card": self.card,
            "history": {
                "losses": [round(loss, 6) for loss in self.history.losses],
                "validation_accuracies": [round(a, 6) for a in self.history.validation_accuracies],
                "seconds": round(self.history.seconds, 1),
            },
            "test": self.test,
            "predictions": "".join(map(str, self.predictions)),
            "reliability": [asdict(b) for b in self.reliability],
        }
        recipe = self.card["training"]["recipe"]["name"]
        with replacing_file(results / recipe / f"{self.card['name']}-{self.seed}.json") as file:
            file.write_text(json.dumps(content) + "\n", encoding="utf-8")


def load_results(results: Path, recipe: RecipeName, network: NetworkName) -> list[Result]:
    """Read the results of one network by one recipe, by seed."""
    loaded = []
    for path in results.glob(f"{recipe}/{network}-*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        loaded.append(
            Result(
                content["card"],
                History(**content["history"]),
                content["test"],
                np.array(list(content["predictions"]), np.int64),
                [Bin(**b) for b in content["reliability"]],
            )
        )
    return sorted(loaded, key=lambda result: result.seed)


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Give a place beside a file, which takes the file's own once it is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}")
    try:
        yield unfinished
        _flush_to_disk(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside `folder` that takes its place once it is complete.

    Whenever this is interrupted, `folder` is the old one or the new one, whole; killed between
    the two renames, the old one is found under the name `.<name>-old`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    old = folder.with_name(f".{folder.name}-old")
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        new = Path(scratch) / folder.name
        new.mkdir()
        yield new
        for file in new.iterdir():
            _flush_to_disk(file)
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except BaseException:
            if old.exists():
                old.rename(folder)
            raise
        if old.exists():
            shutil.rmtree(old)


def _flush_to_disk(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
