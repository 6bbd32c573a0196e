"""The comparison of the three models, over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from training.fit import Evaluation
from training.recipes import NetworkName, RecipeName


@dataclass(frozen=True)
class Comparison:
    """One recipe's accuracy for each network and seed, by split.

    Attributes:
        results: `results[network][seed][split]`.
    """

    recipe: RecipeName
    results: Mapping[NetworkName, Mapping[int, Mapping[str, Evaluation]]]

    def markdown(self) -> str:
        """Format it as a table: a row a network, the mean and the seeds' range for each split."""
        first = next(iter(next(iter(self.results.values())).values()))
        lines = [
            f"| network, recipe `{self.recipe}` | " + " | ".join(first) + " |",
            "| --- |" + " ---: |" * len(first),
        ]
        for network, by_seed in self.results.items():
            cells = [
                _cell([by_split[split].accuracy for by_split in by_seed.values()])
                for split in first
            ]
            lines.append(f"| `{network}` | " + " | ".join(cells) + " |")
        return "\n".join(lines)


def _cell(accuracies: Sequence[float]) -> str:
    low, middle, high = (f"{100 * f(accuracies):.2f}" for f in (min, mean, max))
    return f"{middle} % ({low} to {high})"
