"""What was measured, as a table to read and as JSON."""

import json
import statistics
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.servers import Measured

console = Console(soft_wrap=True)


def ratio(ours: list[Measured], theirs: list[Measured]) -> float:
    """Divide our requests a second by theirs, round by round, and return the median."""
    return middle([m.per_second for m in ours], [m.per_second for m in theirs])


def middle(values: list[float], others: list[float]) -> float:
    """Divide round by round, and return the median."""
    return statistics.median(a / b for a, b in zip(values, others, strict=True))


def table(head: list[str], rows: list[list[str]]) -> None:
    """Print a table that is at home in a terminal and in Markdown."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells: list[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        return " | ".join([first[0].ljust(first[1]), *(c.rjust(w) for c, w in others)])

    rule = " | ".join(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    for text in (line(head), rule, *map(line, rows)):
        console.print(f"| {text} |", highlight=False, markup=False)


def write(path: Path | None, figures: dict[str, Any]) -> None:
    """Write the figures, if a file was asked for."""
    if path is not None:
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
