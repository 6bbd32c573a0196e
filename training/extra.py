"""Extra pictures, of whoever trains: a folder of `<label>/`, or a zip of it, as digits.

They arrive through `imaging`, as the service shows them to the networks.
"""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from imaging import SIDE, look, open_picture
from imaging.errors import PictureError
from training.dataset import Digits
from training.recipes import ExtraRecipe

MAX_PIXELS = 40_000_000  # of a picture: what the service takes
LABELS = {str(digit): digit for digit in range(10)}
ARCHIVERS = "__MACOSX"  # what macOS puts into a zip beside the files

Place = Path | zipfile.Path
# BadZipFile and zlib's are of a damaged zip; RuntimeError is of one with a password.
READ_ERRORS = (PictureError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error)


class ExtraError(Exception):
    """Nothing can be learned from what was given; the message says why and what to do."""


@dataclass(frozen=True)
class Extra:
    """Extra pictures as the networks see them; the writers and the series are -1.

    Attributes:
        train: Those to learn from.
        validation: Those held out; there may be none.
        problems: A sentence for each file that is left out.
    """

    train: Digits
    validation: Digits
    problems: tuple[str, ...]

    def splits(self) -> dict[str, Digits]:
        """Name them as a card does, those held out only where there are any."""
        named = {"extra_train": self.train, "extra_validation": self.validation}
        return {name: digits for name, digits in named.items() if len(digits) > 0}


def load(path: Path, recipe: ExtraRecipe, console: Console) -> Extra:
    """Read a folder of pictures, or a zip of one.

    Of each label, the same share is held out every time, whatever the seed of the training. A
    picture that is there twice counts once, so that none is on both sides.

    Args:
        path: In it are folders named 0 to 9, and in these the pictures of that digit.
        recipe: What share is held out.
        console: Where the progress is shown.

    Raises:
        ExtraError: There is no such folder or zip, a folder in it is no digit's, one picture has
            two labels, or no picture can be read.
    """
    seen: dict[bytes, tuple[int, Place]] = {}
    problems = []
    with _opened(path) as root:
        files = list(_files(root))
        for label, file in track(files, "your pictures", console=console, transient=True):
            try:
                pixels = look(open_picture(file.read_bytes(), MAX_PIXELS)).pixels.tobytes()
            except READ_ERRORS as error:
                problems.append(f"{file} is left out: {error}")
                continue
            known, first = seen.setdefault(pixels, (label, file))
            if known != label:
                raise ExtraError(f"{first} and {file} are one picture; keep the one that is right")
            if first is not file:
                problems.append(f"{file} is left out: it is the same picture as {first}")
    if not seen:
        raise ExtraError("\n".join([f"{path} has no picture to learn from", *problems]))
    images = np.frombuffer(b"".join(seen), np.uint8).reshape(-1, SIDE, SIDE)
    nobody = torch.full((len(seen),), -1)
    labels = torch.tensor([label for label, _ in seen.values()])
    digits = Digits(torch.from_numpy(images.copy()), labels, nobody, nobody)
    held_out = _held_out(digits, recipe.held_out)
    return Extra(digits[~held_out], digits[held_out], tuple(problems))


def weighted(extra: Digits, digits: Digits, recipe: ExtraRecipe) -> Digits:
    """Repeat extra pictures until, of each label that they have, they are a share of all.

    Args:
        extra: The pictures.
        digits: What else is learned from.
        recipe: Which share.
    """
    rows = []
    for label in extra.labels.unique():
        some = (extra.labels == label).nonzero().squeeze(1)
        others = int((digits.labels == label).sum())
        count = others * recipe.share / (1 - recipe.share)
        rows.append(some.repeat(max(1, round(count / len(some)))))
    return extra[torch.cat(rows)]


@contextmanager
def _opened(path: Path) -> Iterator[Place]:
    if path.is_dir():
        yield path
        return
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise ExtraError(f"{path} is no folder, and no zip of one: {error}") from error
    with archive:
        yield zipfile.Path(archive)


def _files(root: Place) -> Iterator[tuple[int, Place]]:
    for folder in _visible(root):
        if folder.is_dir() and folder.name not in LABELS:
            raise ExtraError(f"{folder} is no digit's folder; name it 0 to 9, or move it away")
        if folder.is_dir():
            for file in _visible(folder):
                yield LABELS[folder.name], file


def _visible(folder: Place) -> list[Place]:
    found = [path for path in folder.iterdir() if path.name != ARCHIVERS]
    return sorted((path for path in found if path.name[0] != "."), key=lambda path: path.name)


def _held_out(digits: Digits, share: float) -> torch.Tensor:
    held_out = torch.zeros(len(digits), dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    for label in digits.labels.unique():
        some = (digits.labels == label).nonzero().squeeze(1)
        order = torch.randperm(len(some), generator=generator)
        held_out[some[order[: round(share * len(some))]]] = True
    return held_out
