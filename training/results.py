"""What trainings came to, `results/<recipe>/<network>-<seed>.json`: what the report is made of."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluation import Bin, Evaluation
from training.learner import History
from training.recipes import NetworkName, RecipeName


@dataclass(frozen=True)
class Result:
    """One finished training.

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
        cls, card: dict[str, Any], history: History, test: str, evaluation: Evaluation
    ) -> "Result":
        """Gather what is kept of a training."""
        kept = {k: v for k, v in card.items() if k not in ("details", "sizes", "files")}
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


def save(result: Result, results: Path) -> None:
    """Write a result to its place."""
    recipe = result.card["training"]["recipe"]["name"]
    path = results / recipe / f"{result.card['name']}-{result.seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "card": result.card,
        "history": {
            "losses": [round(loss, 6) for loss in result.history.losses],
            "validation_accuracies": [round(a, 6) for a in result.history.validation_accuracies],
            "seconds": round(result.history.seconds, 1),
        },
        "test": result.test,
        "predictions": "".join(map(str, result.predictions)),
        "reliability": [asdict(b) for b in result.reliability],
    }
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")


def load(results: Path, recipe: RecipeName, network: NetworkName) -> list[Result]:
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
