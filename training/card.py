"""The records of a training: its model's `card.json`, and its result for the report.

Files and folders are replaced as a whole or not at all.
"""

import hashlib
import inspect
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
from training.networks import PIXELS
from training.recipes import CALIBRATION, EXTRA, TYPICALITY, Recipe, RecipeName

LIBRARIES = ("torch", "torchvision", "onnx", "onnxruntime", "onnxscript", "numpy")

DROPOUT_OFF = "It was trained with dropout off."
DECIMALS = 4  # of the numbers for the card's charts
OF_FILES = ("details", "sizes", "files")  # fields of a card that a result leaves out


@dataclass(frozen=True)
class Trained:
    """A trained network, and the facts about its training that its card needs."""

    name: str
    network: nn.Module
    recipe: Recipe
    history: History
    seed: int
    device: str
    base: str | None = None  # the version of the model that was fine-tuned
    source: str = "QMNIST"  # the data set's name


def describe(
    trained: Trained,
    version: str,
    splits: Mapping[str, Digits],
    evaluations: Mapping[str, Evaluation],
    temperature: float,
    acceptance: Acceptance | None,
    rejection: dict[str, dict[str, Any]] | None,
) -> dict[str, Any]:
    """Describe a model and its training.

    Args:
        trained: The network and its training.
        version: Identifies the weights that are served.
        splits: The digits, by the name of their split.
        evaluations: The model's results on each split.
        temperature: What its logits are divided by.
        acceptance: Its thresholds, if there were validation digits to set them on.
        rejection: What the thresholds refuse, by kind, as `measure_rejection` counts it.

    Returns:
        The card as JSON values, without its files; `write` adds these.
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
            "source": trained.source + (" and extra pictures" if "extra_train" in splits else ""),
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
    """Add the sizes and hashes of a folder's files to a card, and write it next to them."""
    files = sorted(folder.iterdir())
    card["sizes"] = {file.name: file.stat().st_size for file in files}
    card["files"] = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    Card.model_validate(card)  # here rather than when it is served
    text = json.dumps(card, indent=2) + "\n"
    (folder / CARD_FILE).write_text(text, encoding="utf-8")


def put_rejection(rejection: dict[str, dict[str, Any]], path: Path, results: Path) -> None:
    """Write what a model refuses to its card, and to its training's result if there is one."""
    described = json.loads(path.read_text(encoding="utf-8")) | {"rejection": rejection}
    with replacing_file(path) as file:
        file.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    recipe = described["training"]["recipe"]["name"]
    for result in load_results(results, recipe, described["name"]):
        if result.card["version"] == described["version"]:
            result.card["rejection"] = rejection
            result.save(results)


def architecture(network: nn.Module) -> dict[str, Any]:
    """Describe a network by its class's docstring, and the sizes of its layers."""
    summary = inspect.cleandoc(type(network).__doc__ or type(network).__name__)
    if any(isinstance(module, nn.Dropout) and module.p == 0 for module in network.modules()):
        summary += " " + DROPOUT_OFF
    return {
        "summary": summary,
        # The first dimension of a layer's weights is that of its output; biases have no other.
        "layers": [PIXELS, *(len(p) for p in network.parameters() if p.ndim > 1)],
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
        card: The contents of `card.json`, without the fields in `OF_FILES`.
        history: The history of the training.
        test: The name of the test split for the next two attributes.
        predictions: The digits predicted for that split, int64 `[N]`.
        reliability: Confidence against accuracy on that split.
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
        """Select what a result keeps of a training."""
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
        """Return the share of a split's digits that were right, 0…1."""
        accuracy: float = self.card["evaluation"][split]["accuracy"]
        return accuracy

    def save(self, results: Path) -> None:
        """Write it to `<results>/<recipe>/<network>-<seed>.json`."""
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


def load_results(results: Path, recipe: RecipeName, network: str) -> list[Result]:
    """Read the results of one network by one recipe, sorted by seed."""
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
    """Yield a path next to a file; what is written there then replaces the file."""
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
    """Yield an empty folder next to `folder`, which replaces it once it is complete.

    After an interruption, `folder` is the complete old one or the complete new one. If the process
    is killed between the two renames, the old one is left as `.<name>-old`.
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
