"""One folder a run, `runs/<time>-<name>/`, with the run's metrics as JSON lines."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TextIO

from rich.console import Console

METRICS_FILE = "metrics.jsonl"


class Run:
    """Where a training puts its metrics, and the console on which it shows its progress."""

    def __init__(self, metrics: TextIO, console: Console) -> None:
        self.console = console
        self._metrics = metrics

    def record(self, event: str, **metrics: object) -> None:
        """Keep the metrics of one event as a line of JSON, at once."""
        self._metrics.write(json.dumps({"event": event, **metrics}) + "\n")
        self._metrics.flush()


@contextmanager
def start_run(runs: Path, name: str, console: Console) -> Iterator[Run]:
    """Open a new run's folder."""
    time = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S-%f")
    folder = runs / f"{time}-{name}"
    folder.mkdir(parents=True)
    with (folder / METRICS_FILE).open("w", encoding="utf-8") as metrics:
        yield Run(metrics, console)
