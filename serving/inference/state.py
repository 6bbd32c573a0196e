"""The folder that a running service's processes share: their metrics, and the models they serve.

BentoML's own folder for metrics is shared by all services of a user, and each start empties it.
"""

import atexit
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from artifact import Card
from serving.inference.artifacts import Artifact, ArtifactError

# Tells workers where the folder is. Not a setting: the parent process sets it.
VARIABLE = "QMNIST_STATE"

# A file's inode, time and size. A replacement has at least another inode.
Stamp = tuple[int, int, int]


def make() -> Path:
    """Make a folder, which is removed when this process exits normally.

    Raises:
        OSError: It cannot be made.
    """
    folder = Path(tempfile.mkdtemp(prefix="qmnist-digits-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # systemd removes temporary folders unused for ten days, except locked ones. The lock ends with
    # the process.
    fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX)
    return folder


def share() -> Path:
    """Make a folder for the processes that this one will start.

    Raises:
        OSError: It cannot be made.
    """
    folder = make()
    os.environ[VARIABLE] = str(folder)
    return folder


def shared() -> Path | None:
    """Return the folder shared with other processes; `None` if the parent set none."""
    folder = os.environ.get(VARIABLE)
    return None if folder is None else Path(folder)


def stamps(folder: Path) -> dict[str, Stamp]:
    """Return the stamp of each file in a folder, except those with a leading dot."""
    found = {}
    with suppress(FileNotFoundError):  # deleted meanwhile
        for path in sorted(folder.glob("[!.]*")):
            status = path.stat()
            found[path.name] = (status.st_ino, status.st_mtime_ns, status.st_size)
    return found


class Copies:
    """The copies of the models' artifacts; the file of an unloaded model is empty.

    Args:
        folder: The service's folder.

    Raises:
        OSError: It cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "models"
        self._folder.mkdir(exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the copies against changes by other threads and processes."""
        with (self._folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def look(self) -> dict[str, Stamp]:
        """Return each model's stamp, which changes with its copy."""
        return stamps(self._folder)

    def unloaded(self) -> set[str]:
        """Return the names of unloaded models."""
        return {name for name, (*_, size) in self.look().items() if size == 0}

    def read(self, name: str) -> Artifact | None:
        """Return a model's artifact; `None` if it is unloaded.

        Raises:
            ArtifactError: The copy is damaged.
            OSError: It cannot be read.
        """
        content = (self._folder / name).read_bytes()
        if not content:
            return None
        digest, _, content = content.partition(b"\n")
        if hashlib.sha256(content).hexdigest().encode() != digest:
            raise ArtifactError(f"{self._folder / name} is damaged")
        card, _, onnx = content.partition(b"\n")
        return Artifact(Card.model_validate_json(card), onnx)

    def write(self, artifact: Artifact) -> None:
        """Replace a model's copy with an artifact.

        Raises:
            ArtifactError: It cannot be written.
        """
        content = artifact.card.model_dump_json().encode() + b"\n" + artifact.onnx
        digest = hashlib.sha256(content).hexdigest().encode()
        new = self._folder / ".new"
        try:
            new.write_bytes(digest + b"\n" + content)
            new.replace(self._folder / artifact.name)
        except OSError as error:
            new.unlink(missing_ok=True)
            raise ArtifactError(f"{new} cannot be written: {error.strerror}") from error

    def unload(self, name: str) -> None:
        """Empty a model's copy, which works even on a full disk."""
        (self._folder / name).write_bytes(b"")
