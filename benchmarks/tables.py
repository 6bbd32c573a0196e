"""Print figures as a table and write them as JSON."""

import json
import statistics
from pathlib import Path
from typing import Any

from rich.console import Console

console = Console(soft_wrap=True)


def middle(values: list[float], others: list[float]) -> float:
    """Return the median over the rounds of one value divided by the other."""
    return statistics.median(a / b for a, b in zip(values, others, strict=True))


def table(columns: dict[str, str], rows: list[dict[str, Any]]) -> None:
    """Print a table that reads well both in a terminal and in Markdown.

    Args:
        columns: For each heading, a template for `str.format` with the fields of a row.
        rows: The fields of each row.
    """
    head = list(columns)
    cells = [[text.format(**row) for text in columns.values()] for row in rows]
    widths = [max(len(row[i]) for row in [head, *cells]) for i in range(len(head))]

    def line(texts: list[str]) -> str:
        first, *others = zip(texts, widths, strict=True)
        return " | ".join([first[0].ljust(first[1]), *(c.rjust(w) for c, w in others)])

    rule = " | ".join(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    for text in (line(head), rule, *map(line, cells)):
        console.print(f"| {text} |", highlight=False, markup=False)


def write(path: Path | None, figures: dict[str, Any]) -> None:
    """Write the figures to `path` as JSON, unless it is `None`."""
    if path is not None:
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
