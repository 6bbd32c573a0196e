"""Labelled pictures in folders named `0` to `9`, as the networks see them.

The pictures are read through `imaging`, as the service reads its users' pictures.
"""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from imaging import SIDE, look, open_picture
from imaging.errors import PictureError

MAX_PIXELS = 40_000_000  # in a picture: the service's limit
LABELS = {str(digit): digit for digit in range(10)}
ARCHIVERS = "__MACOSX"  # a folder that macOS adds to zip files
SHOWN = 10  # warnings, before the rest is summed up

Place = Path | zipfile.Path
# BadZipFile and zlib.error: a damaged zip. RuntimeError: a zip with a password.
READ_ERRORS = (PictureError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error)


class FolderError(Exception):
    """The pictures in a folder cannot be used; the message says why and what to do."""


def read(path: Path, console: Console) -> tuple[Tensor, Tensor]:
    """Read the pictures in a folder or a zip file, label by label.

    A picture that occurs twice counts once, so that it cannot be both learned from and held out.
    Files that cannot be read are left out with a warning.

    Args:
        path: Contains folders named `0` to `9`, and in each the pictures of that digit.
        console: Shows the progress and the warnings.

    Returns:
        Pictures, uint8 `[N, 28, 28]` with 255 for ink, and labels, int64 `[N]`.

    Raises:
        FolderError: The folder or zip does not exist, a folder in it has another name, a picture
            has two labels, or no picture can be read.
    """
    seen: dict[bytes, tuple[int, Place]] = {}
    left_out = []
    with _opened(path) as root:
        files = list(_files(root))
        for label, file in track(files, f"{path}", console=console, transient=True):
            try:
                pixels = look(open_picture(file.read_bytes(), MAX_PIXELS)).pixels.tobytes()
            except READ_ERRORS as error:
                left_out.append(f"{file} is left out: {error}")
                continue
            known, first = seen.setdefault(pixels, (label, file))
            if known != label:
                raise FolderError(
                    f"{first} and {file} are one picture with two labels. Delete the wrong one."
                )
            if first is not file:
                left_out.append(f"{file} is left out: it is the same picture as {first}")
    for message in left_out[:SHOWN]:
        warn(message, console)
    if len(left_out) > SHOWN:
        warn(f"{len(left_out) - SHOWN:,} more files are left out", console)
    if not seen:
        raise FolderError(
            f"There is no readable picture in {path}. Put some into its folders 0 to 9."
        )
    images = np.frombuffer(b"".join(seen), np.uint8).reshape(-1, SIDE, SIDE)
    labels = torch.tensor([label for label, _ in seen.values()])
    return torch.from_numpy(images.copy()), labels


def warn(message: str, console: Console) -> None:
    """Show a warning."""
    console.print(f"warning: {message}", style="yellow", markup=False)


@contextmanager
def _opened(path: Path) -> Iterator[Place]:
    if path.is_dir():
        yield path
        return
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise FolderError(f"{path} is neither a folder nor a zip file of one: {error}") from error
    with archive:
        yield zipfile.Path(archive)


def _files(root: Place) -> Iterator[tuple[int, Place]]:
    for folder in _visible(root):
        if folder.is_dir() and folder.name not in LABELS:
            raise FolderError(
                f"The folder {folder} is not named after a digit. "
                "Name it 0 to 9, or move it elsewhere."
            )
        if folder.is_dir():
            for file in _visible(folder):
                yield LABELS[folder.name], file


def _visible(folder: Place) -> list[Place]:
    found = [path for path in folder.iterdir() if path.name != ARCHIVERS]
    return sorted((path for path in found if path.name[0] != "."), key=lambda path: path.name)
