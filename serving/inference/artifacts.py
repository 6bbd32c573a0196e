"""Reads and verifies the artifacts in `models/`: every file must match its SHA-256 on the card."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from artifact import CARD_FILE, ONNX_FILE, Card
from serving.errors import first_mistake


class ArtifactError(Exception):
    """A model cannot be served; the message names the file and the problem."""


@dataclass(frozen=True)
class Artifact:
    """A verified model: its card, and the bytes of its ONNX file."""

    card: Card
    onnx: bytes

    @property
    def name(self) -> str:
        """The model's name, also the name of its folder."""
        return self.card.name


def load(folder: Path) -> Artifact:
    """Read one artifact and check every file that its card lists.

    Raises:
        ArtifactError: A file is missing, or does not match the card.
    """
    if not folder.is_dir():
        names = ", ".join(path.name for path in folders(folder.parent)) or "none"
        raise ArtifactError(
            f"there is no model {folder.name!r} in {folder.parent}, which has {names}"
        )
    card = _read_card(folder / CARD_FILE)
    if card.name != folder.name:
        raise ArtifactError(
            f"{folder / CARD_FILE} is the card of {card.name!r}, not of {folder.name!r}"
        )
    if ONNX_FILE not in card.files:
        raise ArtifactError(f"{folder / CARD_FILE} lists no {ONNX_FILE}")
    contents = {name: _read_verified(folder / name, digest) for name, digest in card.files.items()}
    return Artifact(card, contents[ONNX_FILE])


def load_all(models: Path) -> dict[str, Artifact]:
    """Read every artifact in a folder, by name.

    Raises:
        ArtifactError: There are none, or one of them is missing a file or damaged.
    """
    found = folders(models)
    if not found:
        raise ArtifactError(f"there are no models in {models}")
    return {folder.name: load(folder) for folder in found}


def folders(models: Path) -> list[Path]:
    """List the folders of artifacts in a folder, except those with a leading dot."""
    return sorted(path for path in models.glob("[!.]*") if path.is_dir())


def _read_card(path: Path) -> Card:
    try:
        return Card.model_validate_json(_read(path))
    except ValidationError as error:
        raise ArtifactError(f"{path} is not a model card: {first_mistake(error)}") from error


def _read_verified(path: Path, digest: str) -> bytes:
    content = _read(path)
    actual = hashlib.sha256(content).hexdigest()
    if actual != digest:
        raise ArtifactError(
            f"{path} is damaged: its SHA-256 is {actual}, but {CARD_FILE} says {digest}"
        )
    return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error
