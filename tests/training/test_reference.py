"""The pages in docs/reference list everything that training has, and nothing else."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from artifact import Card, SplitResult
from tests.conftest import COMMITTED_MODELS
from tests.documents import REFERENCE, commands_of, commands_shown, rows
from training.__main__ import app


def fields(card: dict[str, Any]) -> Iterator[str]:
    """Yield a card's fields and the fields in those; `*` is any split or kind of picture."""
    for name, value in card.items():
        if name in ("evaluation", "rejection"):
            yield from {f"{name}.*.{field}" for each in (value or {}).values() for field in each}
        elif isinstance(value, dict) and name not in ("files", "sizes"):
            yield from (f"{name}.{field}" for field in value)
        else:
            yield name


def test_the_fields_that_training_adds_to_a_card(drawn_models: Path) -> None:
    paths = [*COMMITTED_MODELS.glob("*/card.json"), *drawn_models.glob("*/card.json")]
    found = {field for path in paths for field in fields(json.loads(path.read_bytes()))}
    of_serving = {field for field in found if field.partition(".")[0] in Card.model_fields}
    of_evaluation = {field for field in of_serving if field.startswith("evaluation.")}
    needed = {f"evaluation.*.{field}" for field in SplitResult.model_fields}
    documented = rows(REFERENCE / "card.md", "field", under="What training adds")
    assert {row["field"] for row in documented} == found - of_serving | of_evaluation - needed


def test_the_commands() -> None:
    program = "python -m training"
    assert commands_shown(REFERENCE / "command-line.md", program) == commands_of(app, program)
