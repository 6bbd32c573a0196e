"""Read the documents and the command lines that they describe."""

import inspect
import re
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from typer.models import ArgumentInfo

from tests.conftest import ROOT

REFERENCE = ROOT / "docs" / "reference"


def read(page: Path) -> str:
    """Return the text of a page."""
    return page.read_text(encoding="utf-8")


def rows(page: Path, first: str, under: str = "") -> list[dict[str, str]]:
    """Return the rows, by heading, of the page's tables whose first heading is `first`.

    With `under`, only tables in the section with that heading count. If a first cell begins with
    code in backticks, that code is the cell's value.
    """
    text = read(page)
    if under:
        section = rf"^#+ {re.escape(under)}\n(.*?)(?=^#+ |\Z)"
        (text,) = re.findall(section, text, re.MULTILINE | re.DOTALL)
    found: list[dict[str, str]] = []
    headings: list[str] | None = None
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            headings = None
        elif headings is None:
            headings = cells
        elif headings[0] == first and not set(line) <= set("|-: "):
            row = dict(zip(headings, cells, strict=True))
            row[first] = re.sub(r"^\[?`([^`]+)`.*", r"\1", row[first])
            found.append(row)
    return found


def words(cell: str) -> list[str]:
    """Return the pieces of a cell that are in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def arguments(function: Callable[..., object] | None) -> list[tuple[str, str, str]]:
    """Return the name, type and default of each argument of a typer command's function."""
    assert function is not None
    found = []
    for name, parameter in inspect.signature(function).parameters.items():
        kind: Any = parameter.annotation
        info: Any = None
        if get_origin(kind) is Annotated:
            kind, info = get_args(kind)[0], kind.__metadata__[0]
        default = parameter.default
        is_required = default is parameter.empty
        if isinstance(info, ArgumentInfo) or (info is None and is_required):
            shown = name.upper()
        else:
            # In an annotation, typer.Option("--json") stores its first name as `default`.
            declared = [info.default, *(info.param_decls or ())] if info is not None else []
            given = (each for each in declared if isinstance(each, str) and each.startswith("--"))
            shown = next(given, f"--{name.replace('_', '-')}")
        is_left_out = default is None or default is False
        text = "required" if is_required else "" if is_left_out else str(default)
        found.append((shown, _values(kind, info), text))
    return found


def _values(kind: Any, info: Any) -> str:  # noqa: ANN401  any type, and typer's description of it
    if get_origin(kind) in (Union, UnionType):
        (kind,) = (each for each in get_args(kind) if each is not NoneType)
    if info is not None and info.parser is not None:
        return str(info.parser.__name__).strip("_").replace("_", " ").replace("ip", "IP")
    if get_origin(kind) is Literal or issubclass(kind, Enum):
        values = [f"`{each}`" for each in get_args(kind) or kind]
        return " or ".join([", ".join(values[:-1]), values[-1]])
    name = {bool: "", int: "integer", str: "string", Path: "path"}[kind]
    if getattr(info, "max", None) is not None:
        return f"{name}, {info.min} to {info.max}"
    return f"{name}, ≥ {info.min}" if getattr(info, "min", None) is not None else name


def commands_of(app: typer.Typer, program: str) -> dict[str, list[tuple[str, str, str]]]:
    """Return the commands of an app, each with its arguments."""
    named = [
        (each.name or getattr(each.callback, "__name__", "").replace("_", "-"), each.callback)
        for each in app.registered_commands
    ]
    return {f"{program} {name}": arguments(callback) for name, callback in named}


def commands_shown(page: Path, program: str) -> dict[str, list[tuple[str, str, str]]]:
    """Return the commands that a page documents, each with the arguments in its section's table."""
    names: list[str] = re.findall(rf"^## `({program} .+)`$", read(page), re.MULTILINE)
    return {
        name: [
            (row["argument"], row["value"], row["default"])
            for row in rows(page, "argument", under=f"`{name}`")
        ]
        for name in names
    }
